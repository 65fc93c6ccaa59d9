"""Cut the training part of every fold into folds of its own, to choose options without the trials.

``python -m recipes.inner_folds --data data/hyke --out data/hyke-cv`` writes a data folder whose
folds test training speakers on models trained on the other training speakers; ``run.sh --data
data/hyke-cv`` runs on it as on any other, and stage 9 learns calibration and fusion from such
folds. Inner folds of an earlier cut are removed. The outer folds' enrolments and trials play no
part, but for the number of enrolment utterances.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ivector.base.cli import SEED, Parser, run, whole
from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.data import read_enroll
from recipes.commands import COMMANDS
from recipes.experiment.protocol import folds, read_utt2spk

LEAST = 2  # speakers to test in a part, and to train on beside it


def make_fold(
    folder: str, utt2spk: dict[str, str], held_out: set[str], n_enrol: int, n_models: int
) -> dict[str, list[str]]:
    """Lines of the files of one inner fold, by path.

    A speaker has up to `n_models` models, each of the next `n_enrol` of her utterances in a circle,
    tried against all her other utterances and all of the others.
    """
    tests: dict[str, list[str]] = {}
    for utt, speaker in sorted(utt2spk.items()):
        if speaker in held_out:
            tests.setdefault(speaker, []).append(utt)
    usable = {spk: utts for spk, utts in tests.items() if len(utts) > n_enrol}
    train = [f"{u} {s}\n" for u, s in sorted(utt2spk.items()) if s not in held_out]
    models = {
        (spk, k): {utts[(k * n_enrol + i) % len(utts)] for i in range(n_enrol)}
        for spk, utts in usable.items()
        for k in range(min(n_models, len(utts)))
    }
    enroll = [f"{spk}-{k} {' '.join(sorted(utts))}\n" for (spk, k), utts in models.items()]
    trials = [
        f"{model}-{k} {utt} {'target' if model == speaker else 'nontarget'}\n"
        for (model, k), enrolled in models.items()
        for speaker, utts in usable.items()
        for utt in utts
        if utt not in enrolled
    ]
    return {f"{folder}/train.utt2spk": train, f"{folder}/enroll": enroll,
            f"{folder}/trials": trials}  # fmt: skip


class Cut:
    """The speakers that each part of a fold's training list holds out.

    Parameters
    ----------
    fold : Path
    number : int
        Of the fold: every fold is cut by chance of its own.
    seed : int
    """

    def __init__(self, fold: Path, number: int, seed: int):
        self.name = fold.name
        self.utt2spk = read_utt2spk(fold / "train.utt2spk")
        enroll = read_enroll(fold / "enroll")
        self.n_enrol = statistics.mode(len(utts) for utts in enroll.values())
        self.speakers = sorted(set(self.utt2spk.values()))
        self.order = np.random.default_rng([seed, number]).permutation(len(self.speakers))

    def held_out(self, part: int, n_parts: int) -> set[str]:
        """Speakers of a part."""
        return {self.speakers[i] for i in self.order[part::n_parts]}

    def allows(self, n_parts: int) -> bool:
        """Whether every part can be tested, on models trained on the others."""
        counts = Counter(self.utt2spk.values())
        testable = {speaker for speaker, count in counts.items() if count > self.n_enrol}
        parts = [self.held_out(part, n_parts) for part in range(n_parts)]
        return all(
            len(part & testable) >= LEAST and len(self.speakers) - len(part) >= LEAST
            for part in parts
        )


def most_parts(data: Path, wanted: int, seed: int) -> int:
    """The number of parts, at most `wanted`, that the speakers of all folds allow; 0 for none."""
    cuts = [Cut(fold, number, seed) for number, fold in enumerate(folds(data))]
    allowed = (n for n in range(wanted, 1, -1) if all(cut.allows(n) for cut in cuts))
    return next(allowed, 0)


def inner_folds(
    data: Path, num_folds: int, n_models: int, seed: int, first: int | None = None
) -> dict[str, list[str]]:
    """Lines of all files of the inner folds, by path.

    Parameters
    ----------
    data : Path
    num_folds, n_models : int
        Parts of each fold, and models of each speaker.
    seed : int
    first : int, optional
        Write so many of the parts only.
    """
    files: dict[str, list[str]] = {}
    for number, fold in enumerate(folds(data)):
        cut = Cut(fold, number, seed)
        for part in range(min(num_folds, first or num_folds)):
            held_out, name = cut.held_out(part, num_folds), f"{fold.name}-{part}"
            files |= make_fold(name, cut.utt2spk, held_out, cut.n_enrol, n_models)
    return files


def write(files: Mapping[str, list[str]], out: Path, home: Path, data: Path) -> None:
    """Write inner folds to `out`, which will stand as `home`, with a link to the recordings."""
    for path, lines in files.items():
        write_text(out / path, "".join(lines))
    # Between the folders themselves: the way up from a linked folder leads elsewhere.
    target = os.path.relpath(
        os.path.realpath(data / "wav"), os.path.join(os.path.realpath(home.parent), home.name)
    )
    link = out / "wav"
    if not link.is_symlink() or os.readlink(link) != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def main(arguments: argparse.Namespace) -> None:
    """Write the inner folds of every outer fold."""
    most = most_parts(arguments.data, arguments.num_folds, arguments.seed)
    if most < arguments.num_folds:
        cure = f"its speakers allow --num-folds {most}" if most else "its speakers allow none"
        raise DataError(
            f"{arguments.data}: --num-folds {arguments.num_folds} leaves fewer than {LEAST} "
            f"speakers to test, or to train on, in a part; {cure}"
        )
    files = inner_folds(arguments.data, most, arguments.models, arguments.seed, arguments.first)
    kept = {path.partition("/")[0] for path in files}
    for folder in arguments.out.glob("fold*-*"):
        if folder.name not in kept:
            shutil.rmtree(folder)
    write(files, arguments.out, arguments.out, arguments.data)
    total = sum(len(lines) for path, lines in files.items() if path.endswith("/trials"))
    print(f"{arguments.out}: {total} trials between training speakers")


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m recipes.inner_folds", description=COMMANDS["inner-folds"].sentence
    )
    parser.add_argument("--data", type=Path, required=True, help="data folder made by stage 0")
    parser.add_argument("--out", type=Path, required=True, help="data folder to make")
    parser.add_argument("--num-folds", type=whole(2), default=4, help="inner folds of each fold")
    parser.add_argument(
        "--first", type=whole(1), help="write so many of them only, as training takes long"
    )
    parser.add_argument(
        "--models", type=whole(1), default=1, help="models a speaker, of different utterances"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of the cut")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
