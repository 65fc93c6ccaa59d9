"""Name every defect of a data directory or a prepared corpus: ``python -m recipes.validate DIR``.

DIR is a Kaldi data directory, or what ``recipes.prepare`` leaves (``wav/`` and ``fold*/``), whose
folds are then checked too. One line for each defect; exit status 1 where there is any.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ivector.base.cli import Parser, run
from ivector.base.errors import DataError
from ivector.base.files import read_lines
from ivector.base.foreign.names import shown
from ivector.data import LABELS
from ivector.data_checks import validate
from recipes.commands import COMMANDS


def make_parser() -> Parser:
    """Make the parser."""
    parser = Parser(prog="python -m recipes.validate", description=COMMANDS["validate"].sentence)
    parser.add_argument("dir", type=Path, metavar="DIR", help="data directory, or prepared corpus")
    parser.add_argument(
        "--audio",
        action="store_true",
        help="decode every recording as well (takes as long as reading them all)",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Print the defects, or one line that says what is there."""
    folder: Path = arguments.dir
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    data, folds = layout(folder)
    defects = validate(data, check_audio=arguments.audio)
    utt2spk = _two_columns(data / "utt2spk")
    for fold in folds:
        defects += check_fold(fold, utt2spk)
    for defect in defects:
        print(defect)
    if defects:
        print(shown(f"{folder}: {len(defects)} defect(s)"), file=sys.stderr)
        return 1
    speakers = len(set(utt2spk.values()))
    print(f"{folder}: valid, {len(utt2spk)} utterances, {speakers} speakers, {len(folds)} fold(s)")
    return 0


def layout(folder: Path) -> tuple[Path, list[Path]]:
    """Tell a prepared corpus from a data directory: the data directory and the folds."""
    folds = [path for path in folder.glob("fold*") if re.fullmatch(r"fold\d+", path.name)]
    folds.sort(key=lambda path: int(path.name[4:]))
    data = folder / "wav" if (folder / "wav" / "wav.scp").exists() else folder
    return data, folds


def check_fold(fold: Path, utt2spk: Mapping[str, str]) -> list[str]:
    """Defects of one fold: training list, enrolments and trial lists.

    Parameters
    ----------
    fold : Path
    utt2spk : mapping of str to str
        Speakers of all utterances.

    Returns
    -------
    defects : list of str
        ``file:line: what``.
    """
    needed = ("train.utt2spk", "enroll", "trials")
    if missing := [name for name in needed if not (fold / name).is_file()]:
        return [f"{fold / name}: missing" for name in missing]
    defects = list(_check_train(fold / "train.utt2spk", utt2spk))
    trained = set(_two_columns(fold / "train.utt2spk").values())
    speaker_of: dict[str, str] = {}
    defects += _check_enroll(fold / "enroll", utt2spk, speaker_of)
    defects += _check_trials(fold / "trials", utt2spk, speaker_of, trained)
    for path in sorted(fold.glob("trials-*")):
        # A further list may test speakers of the training material.
        defects += _check_trials(path, utt2spk, speaker_of, ())
    return defects


def _check_train(path: Path, utt2spk: Mapping[str, str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for where, number, fields in _records(path):
        if len(fields) != 2:
            yield f"{where}: expected 'utterance speaker', got {len(fields)} fields"
            continue
        utterance, speaker = fields
        if utterance in seen:
            yield f"{where}: {utterance} stands there already, in line {seen[utterance]}"
        seen.setdefault(utterance, number)
        if utterance not in utt2spk:
            yield f"{where}: {utterance} is not in utt2spk"
        elif utt2spk[utterance] != speaker:
            yield f"{where}: {utterance} is of {speaker} here, of {utt2spk[utterance]} in utt2spk"
    if not seen:
        yield f"{path}: holds no utterances"


def _check_enroll(
    path: Path, utt2spk: Mapping[str, str], speaker_of: dict[str, str]
) -> Iterator[str]:
    """Yield defects of the enrolment list; fills `speaker_of`, enrolment id to speaker."""
    seen: dict[str, int] = {}
    for where, number, (enrol, *utterances) in _records(path):
        if enrol in seen:
            yield f"{where}: {enrol} stands there already, in line {seen[enrol]}"
        seen.setdefault(enrol, number)
        if not utterances:
            yield f"{where}: {enrol} has no utterances"
        for utterance in utterances:
            if utterance not in utt2spk:
                yield f"{where}: {utterance} is not in utt2spk"
        speakers = sorted({utt2spk[u] for u in utterances if u in utt2spk})
        if len(speakers) > 1:
            yield f"{where}: {enrol} has utterances of several speakers ({', '.join(speakers)})"
        speaker_of.setdefault(enrol, speakers[0] if len(speakers) == 1 else "")
    if not seen:
        yield f"{path}: holds no enrolments"


def _check_trials(
    path: Path, utt2spk: Mapping[str, str], speaker_of: Mapping[str, str], trained: Collection[str]
) -> Iterator[str]:
    seen: dict[tuple[str, str], int] = {}
    shared: dict[str, str] = {}
    kinds: set[str] = set()
    for where, number, fields in _records(path):
        if len(fields) not in (2, 3):
            yield f"{where}: expected 'enrol-id utterance target|nontarget', got {len(fields)}"
            continue
        enrol, test = fields[:2]
        label = fields[2] if len(fields) == 3 else ""
        kinds.add(label)
        if (enrol, test) in seen:
            yield f"{where}: {enrol} {test} stands there already, in line {seen[enrol, test]}"
        seen.setdefault((enrol, test), number)
        if enrol not in speaker_of:
            yield f"{where}: {enrol} is not in enroll"
        if test not in utt2spk:
            yield f"{where}: {test} is not in utt2spk"
        if label and label not in LABELS:
            yield f"{where}: the label is {label!r}, expected target or nontarget"
            continue
        one, two = speaker_of.get(enrol, ""), utt2spk.get(test, "")
        if label and one and two and LABELS[label] != (one == two):
            yield f"{where}: {label}, but the speakers are {one} and {two}"
        for speaker in {one, two}.intersection(trained):
            shared.setdefault(speaker, where)
    if shared:
        speaker, where = next(iter(shared.items()))
        yield f"{where}: {len(shared)} speaker(s) are in train.utt2spk too, first {speaker}"
    if not seen:
        yield f"{path}: holds no trials"
    elif kinds != {""} and (absent := [label for label in LABELS if label not in kinds]):
        yield f"{path}: has no {absent[0]} trials"


def _records(path: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Yield (file:line, line number, fields) of the lines that are not empty."""
    for number, line in enumerate(read_lines(path) if path.is_file() else [], 1):
        if fields := line.split():
            yield f"{path}:{number}", number, fields


def _two_columns(path: Path) -> dict[str, str]:
    return {fields[0]: fields[1] for _, _, fields in _records(path) if len(fields) == 2}


def cli(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run(make_parser(), main, argv)


if __name__ == "__main__":
    sys.exit(cli())
