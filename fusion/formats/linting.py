"""What may be wrong with score files and trial lists: all of it, by file and line.

The readers of `fusion.formats` stop at the first defect, so that nothing is measured on damaged
data. The checks here go on after bad lines and look at what the good ones say together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fusion.formats.headers import SCORE, find, split_line
from fusion.formats.known_lists import recognise
from fusion.formats.layouts import (
    AS_FOUND,
    NONTARGET,
    TARGET,
    UNKNOWN,
    Chosen,
    guess_delimiter,
    looks_like_trials,
    read_header,
)
from fusion.formats.matching import PairIndex, contradict, repeats, rows_of, strangers
from fusion.formats.parsing import blank_start, is_hdf5, look, read_pairs
from fusion.formats.records import whole_lines
from fusion.formats.tables import Scores, Trials
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.order import order
from ivector.base.errors import DataError

ERROR, WARNING, NOTE = "error", "warning", "note"
EXAMPLES = 3
_FEW_SCORES = 1000  # distinct ones, beside ten times as many trials
_CLIPPED = 0.01  # of the trials at the lowest or highest score

_LINES = {
    "line": "lines cannot be read",
    "encoding": "lines are not UTF-8 text",
    "number": "scores are not numbers",
    "finite": "scores are not finite",
    "large": "scores are impossibly large",
    "label": "labels are not known",
}


@dataclass
class Finding:
    """A kind of defect of a file.

    Parameters
    ----------
    file : str
    severity : {"error", "warning", "note"}
    code : str
        Short and stable name, for machines.
    count : int
        How often.
    message : str
    examples : list of str
        The first few, with their lines.
    """

    file: str
    severity: str
    code: str
    count: int
    message: str
    examples: list[str] = field(default_factory=list)


@dataclass
class File:
    """A file as read; `table` is None if it could not be."""

    path: str
    kind: str
    table: Scores | Trials | None
    findings: list[Finding] = field(default_factory=list)
    known_list: str = ""

    def add(
        self, severity: str, code: str, count: int, message: str, examples: Iterable[str] = ()
    ) -> None:
        """Note a finding, if there is any."""
        if count:
            self.findings.append(
                Finding(self.path, severity, code, int(count), message, list(examples))
            )


def read(path: str | os.PathLike, columns: Chosen = AS_FOUND, scores: bool | None = None) -> File:
    """Read a score file or a trial list, which is told if `scores` is None, as far as it can be."""
    file = File(os.fspath(path), "unreadable", None)
    defects: dict[str, list[str]] = {}
    counts: dict[str, int] = {}

    def remember(path: str | os.PathLike, line: int, message: str, code: str = "line") -> None:
        counts[code] = counts.get(code, 0) + 1
        if counts[code] <= EXAMPLES:
            where = f"line {line}: " if line else ""
            defects.setdefault(code, []).append(where + message)

    try:
        scores = has_scores(path, columns) if scores is None else scores
        table = read_pairs(path, scores, columns, remember)
        if not len(table):
            raise DataError(f"{path}: no line of it can be read")
        file.kind, file.table = "scores" if scores else "trials", table
    except DataError as error:
        message = str(error).removeprefix(f"{path}").removeprefix(":").removeprefix(",").strip()
        file.add(ERROR, "file", 1, message)
    for code, examples in defects.items():
        file.add(ERROR, code, counts[code], _LINES[code], examples)
    return file


def has_scores(path: str | os.PathLike, columns: Chosen = AS_FOUND) -> bool:
    """Whether a file holds scores, and not a trial list.

    Raises
    ------
    DataError
        The file cannot be read, or is neither.
    """
    if is_hdf5(path):
        from fusion.formats.hdf5 import holds_scores

        return holds_scores(path)
    for number, _, data in whole_lines(path, lambda *_: None):
        skipped, start = blank_start(data)
        if start == len(data):
            continue
        line = data[start:].split(b"\n", 1)[0].decode("utf-8")
        header = read_header(line)
        if header:
            return find(header.names, SCORE) >= 0 or columns.score in header.names
        delimiter = guess_delimiter(line)
        for width in (3, 2, 4):
            rows = look(data[start:], delimiter, width)
            if rows:
                return width == 4 or not looks_like_trials(rows)
        n = len(split_line(path, number + skipped, line, delimiter))
        raise DataError(
            f"{path}, line {number + skipped}: has {n} columns; trials have 2 or 3, scores 3 or 4"
        )
    raise DataError(f"{path}: is empty")


def lint(
    paths: Sequence[str | os.PathLike],
    train: Sequence[tuple[str, str]] = (),
    utt2spk: dict[str, str] | None = None,
    columns: Chosen = AS_FOUND,
) -> list[File]:
    """Check score files and trial lists, each and together.

    Parameters
    ----------
    paths : sequence of path-like
    train : sequence of tuple of str
        Utterance and speaker of the training data; either may be "".
    utt2spk : dict of str to str, optional
        Speakers of the ids in the files.
    columns : Chosen
        Which columns are the scores and the labels, where several could be.

    Returns
    -------
    list of File
        In the order of `paths`, with their findings.
    """
    files = _decisions_apart([read(path, columns) for path in paths], columns)
    for file in files:
        if isinstance(file.table, Scores):
            check_values(file, file.table)
        elif file.table:
            check_labels(file, file.table)
        if file.table:
            check_pairs(file, file.table)
            check_speakers(file, file.table, train, utt2spk or {})
    lists = [file for file in files if isinstance(file.table, Trials)]
    for file in files:
        if isinstance(file.table, Scores) and lists:
            check_together(file, file.table, lists)
    return files


def _decisions_apart(files: list[File], columns: Chosen) -> list[File]:
    """Scores of 1 and -1, which look like labels of one class, beside a list that has both."""

    def classes(file: File) -> int:
        known = (TARGET, NONTARGET) if isinstance(file.table, Trials) else ()
        return sum(bool((file.table.labels == kind).any()) for kind in known)  # type: ignore[union-attr]

    if not any(classes(file) == 2 for file in files):
        return files
    found = []
    for file in files:
        again = read(file.path, columns, scores=True) if classes(file) == 1 else file
        found.append(again if again.table and not again.findings else file)
    return found


def _at(table: Scores | Trials, rows: np.ndarray) -> list[str]:
    """The first few of some trials, with their lines."""
    found = []
    for row in rows[:EXAMPLES]:
        line = table.origin.place(int(row))[1]
        pair = f"'{table.enrol_ids[table.enrol[row]]} {table.test_ids[table.test[row]]}'"
        found.append(f"line {line}: {pair}" if line else pair)
    return found


def check_pairs(file: File, table: Scores | Trials) -> None:
    """Trials that come twice, as they are or turned about, and of a recording with itself."""
    values = table.values if isinstance(table, Scores) else table.labels
    what = "scores" if isinstance(table, Scores) else "trials"
    names = {name: n for n, name in enumerate(table.test_ids)}
    number = np.array([names.setdefault(name, len(names)) for name in table.enrol_ids], np.int32)
    enrol, test = number[table.enrol], table.test
    again, differ = repeats(PairIndex(enrol, test).first, values)
    message = f"{what} contradict an earlier line of the same trial"
    file.add(ERROR, "contradictory", len(differ), message, _at(table, differ))
    same = np.setdiff1d(again, differ, assume_unique=True)
    file.add(ERROR, "duplicate", len(same), f"{what} repeat an earlier line", _at(table, same))
    first = PairIndex(np.minimum(enrol, test), np.maximum(enrol, test)).first
    _, turned = repeats(first, enrol > test)
    if isinstance(table, Trials):
        _, contrary = repeats(first, values)
        contrary = np.intersect1d(np.setdiff1d(contrary, differ), turned)
        message = "trials contradict an earlier line with the ids exchanged"
        file.add(ERROR, "contradictory-turned", len(contrary), message, _at(table, contrary))
        turned = np.setdiff1d(turned, contrary)
    turned = np.setdiff1d(turned, again)
    message = f"{what} are of an earlier pair with the ids exchanged"
    file.add(WARNING, "turned", len(turned), message, _at(table, turned))
    itself = np.flatnonzero(enrol == test)
    message = f"{what} compare a recording with itself"
    file.add(WARNING, "self", len(itself), message, _at(table, itself))
    both = set(table.enrol_ids) & set(table.test_ids)
    message = "ids stand on both sides, as model and as test"
    file.add(NOTE, "both-sides", len(both), message, sorted(both)[:EXAMPLES])


def check_values(file: File, scores: Scores) -> None:
    """Scores that cannot be measured, or hint at rounding."""
    finite = scores.values[np.isfinite(scores.values)]
    n = len(finite)
    if n < 2:
        return
    distinct, counts = np.unique(finite, return_counts=True)
    if len(distinct) == 1:
        file.add(ERROR, "constant", n, f"scores are all {distinct[0]:g}")
    elif len(distinct) < min(_FEW_SCORES, n / 10):
        message = f"distinct scores alone for {n} trials; were they rounded, or are they decisions?"
        file.add(WARNING, "few-distinct", len(distinct), message)
    if len(distinct) > 2:
        for end, where in ((0, "lowest"), (-1, "highest")):
            if counts[end] > max(10, _CLIPPED * n):
                message = f"scores are the {where}, {distinct[end]:g}; were they clipped?"
                file.add(WARNING, "clipped", counts[end], message)


def check_labels(file: File, trials: Trials) -> None:
    """Classes, contradictions through third recordings, models never met, and known lists."""
    file.known_list = recognise(file.path, trials)
    unknown = np.flatnonzero(trials.labels == UNKNOWN)
    n_target, n_nontarget = (np.sum(trials.labels == kind) for kind in (TARGET, NONTARGET))
    if len(unknown) == len(trials):
        file.add(NOTE, "unlabelled", len(unknown), "trials, all of them, have no label")
        return
    file.add(WARNING, "unlabelled", len(unknown), "trials have no label", _at(trials, unknown))
    for n, name in ((n_target, "target"), (n_nontarget, "nontarget")):
        if not n:
            message = f"trials with a label, and none is a {name} trial; error rates need both"
            file.add(ERROR, "one-class", len(trials) - len(unknown), message)
    from fusion.formats.speakers import linked_speakers

    linked = linked_speakers(trials)
    wrong = np.flatnonzero((trials.labels == NONTARGET) & (linked.enrol == linked.test))
    listed = PairIndex(trials.enrol, trials.test)
    targets = np.unique(listed.first[trials.labels == TARGET])
    wrong = wrong[~np.isin(listed.first[wrong], targets)]  # said already
    message = "nontarget trials are of one speaker, as the target trials link their sides"
    file.add(ERROR, "contradictory-linked", len(wrong), message, _at(trials, wrong))
    for kind, name in ((TARGET, "target"), (NONTARGET, "nontarget")):
        met = np.zeros(len(trials.enrol_ids), bool)
        met[trials.enrol[trials.labels == kind]] = True
        lonely = np.flatnonzero(~met)
        examples = [trials.enrol_ids[model] for model in lonely[:EXAMPLES]]
        file.add(NOTE, f"no-{name}", len(lonely), f"models have no {name} trial", examples)


def check_speakers(
    file: File,
    table: Scores | Trials,
    train: Sequence[tuple[str, str]],
    utt2spk: dict[str, str],
) -> None:
    """Labels against speakers, and what was seen in training."""
    sides = [_speakers_of(ids, utt2spk) for ids in (table.enrol_ids, table.test_ids)]
    if utt2spk:
        both = ((table.enrol_ids, sides[0]), (table.test_ids, sides[1]))
        lost = sorted({name for ids, found in both for name, told in zip(ids, found) if not told})
        message = "ids have no speaker in utt2spk"
        file.add(WARNING, "no-speaker", len(lost), message, lost[:EXAMPLES])
    if isinstance(table, Trials):
        numbers = {name: n for n, name in enumerate(sorted({*sides[0], *sides[1]}))}
        enrol, test = (
            np.array([numbers[name] if name else -1 for name in who], np.int32)[codes]
            for who, codes in zip(sides, (table.enrol, table.test))
        )
        told = (enrol >= 0) & (test >= 0) & (table.labels != UNKNOWN)
        wrong = np.flatnonzero(told & ((table.labels == TARGET) != (enrol == test)))
        message = f"labels contradict {'utt2spk' if utt2spk else 'the speakers in the ids'}"
        file.add(ERROR, "contradictory-speaker", len(wrong), message, _at(table, wrong))
    seen = {utt for utt, _ in train} - {""}
    found = sorted(seen & {*table.enrol_ids, *table.test_ids})
    message = "recordings are in the training list"
    file.add(ERROR, "trained-recording", len(found), message, found[:EXAMPLES])
    trained = {speaker for _, speaker in train} - {""}
    shared = sorted(trained & ({*sides[0], *sides[1]} | {*table.enrol_ids, *table.test_ids}))
    message = "speakers are in the training list"
    file.add(ERROR, "trained-speaker", len(shared), message, shared[:EXAMPLES])


def _speakers_of(ids: list[str], utt2spk: dict[str, str]) -> list[str]:
    """Speaker of each id, "" if nothing tells: by the map, else by ids like VoxCeleb's."""
    names = set(utt2spk.values())
    if utt2spk:
        return [utt2spk.get(name, name if name in names else "") for name in ids]
    return [_in_id(name) for name in ids]


def _in_id(name: str) -> str:
    """Speaker in an id like id10001/video/00001.wav, "" for others."""
    speaker, _, rest = name.partition("/")
    voxceleb = len(speaker) == 7 and speaker.startswith("id") and speaker[2:].isdecimal()
    return speaker if voxceleb and rest else ""


def check_together(file: File, scores: Scores, lists: Sequence[File]) -> None:
    """Scores against the trial lists with which they have trials in common."""
    covered = np.zeros(len(scores), bool)
    for other in lists:
        trials = other.table
        assert isinstance(trials, Trials)
        listed = PairIndex(trials.enrol, trials.test)
        place = rows_of(scores, trials, listed)
        known = place >= 0
        if not known.any():
            continue
        covered |= known
        scored = np.zeros(len(trials), bool)
        scored[place[known]] = True
        missing = np.flatnonzero(~scored[listed.first])
        del listed, scored
        message = f"of {len(trials)} trials of {other.path} have no score"
        file.add(ERROR, "missing", len(missing), message, _at(trials, missing))
        if scores.labels is not None:
            rows = np.flatnonzero(known)
            wrong = rows[contradict(scores.labels[rows], trials.labels[place[rows]])]
            message = f"labels contradict the list {other.path}"
            file.add(ERROR, "contradictory-list", len(wrong), message, _at(scores, wrong))
        known &= np.isfinite(scores.values)
        _check_sides(file, scores.values[known], trials.labels[place[known]], other.path)
    if not covered.any():
        told = "; ".join(strangers(scores, o.table) for o in lists if isinstance(o.table, Trials))
        message = f"scores, and none is of a trial in {' or '.join(o.path for o in lists)}: {told}"
        file.add(ERROR, "other-trials", len(scores), message)
        return
    extra = np.flatnonzero(~covered)
    message = "scores are of no trial in the lists"
    file.add(WARNING, "not-listed", len(extra), message, _at(scores, extra))


def _check_sides(file: File, values: np.ndarray, labels: np.ndarray, name: str) -> None:
    """Whether targets score higher than nontargets (area under the ROC, Mann and Whitney)."""
    tar, non = values[labels == TARGET], values[labels == NONTARGET]
    if not len(tar) or not len(non):
        return
    found = order(OperatingPoints(tar, non))
    area = found.area
    share = f"a target scores higher than a nontarget of {name} in {100 * area:.1f} % of cases"
    if found.turned:
        file.add(ERROR, "sign", 1, f"{share}; turn the sign, or are these distances?")
    elif not found.higher and len(values) >= 100:
        file.add(WARNING, "chance", 1, f"{share}, which is chance; do they belong together?")
    elif area == 1.0:
        file.add(NOTE, "separable", 1, "every target scores higher than every nontarget")


def count(files: Iterable[File], severity: str) -> int:
    """Findings of a severity."""
    return sum(finding.severity == severity for file in files for finding in file.findings)
