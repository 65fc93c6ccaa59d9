"""Cut the training part of every fold into folds of its own, to choose options without the trials.

``python -m recipes.inner_folds --data data/hyke --out data/hyke-cv`` writes a data folder whose
folds test training speakers on models trained on the other training speakers; ``run.sh --data
data/hyke-cv`` runs on it as on any other, and stage 9 learns calibration and fusion from it. Inner
folds of an earlier cut are removed. The outer folds' enrolments and trials play no part, but
for the number of enrolment utterances.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from pathlib import Path

import numpy as np

from ivector.base.cli import SEED, Parser, run, whole
from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.data import read_enroll
from recipes.engine.marks import is_planned, tell
from recipes.steps.common import folds, read_utt2spk


def make_fold(
    folder: Path, utt2spk: dict[str, str], held_out: set[str], n_enrol: int, n_models: int
) -> dict[Path, list[str]]:
    """Lines of the files of one inner fold.

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
    if len(usable) < 2:
        raise DataError(f"{folder.name}: fewer than 2 speakers to test; take fewer inner folds")
    return {folder / "train.utt2spk": train, folder / "enroll": enroll, folder / "trials": trials}


def main(arguments: argparse.Namespace) -> None:
    """Write the inner folds of every outer fold, or say whether they would be others."""
    if arguments.dry_run and is_planned(arguments.data):
        tell(arguments.out, [f"follows {arguments.data}"])
        return
    files: dict[Path, list[str]] = {}
    for number, fold in enumerate(folds(arguments.data)):
        utt2spk = read_utt2spk(fold / "train.utt2spk")
        n_enrol = statistics.mode(len(utts) for utts in read_enroll(fold / "enroll").values())
        speakers = sorted(set(utt2spk.values()))
        order = np.random.default_rng([arguments.seed, number]).permutation(len(speakers))
        for k in range(min(arguments.num_folds, arguments.first or arguments.num_folds)):
            held_out = {speakers[i] for i in order[k :: arguments.num_folds]}
            inner = arguments.out / f"{fold.name}-{k}"
            files |= make_fold(inner, utt2spk, held_out, n_enrol, arguments.models)
    former = sorted(set(arguments.out.glob("fold*-*")) - {path.parent for path in files})
    if arguments.dry_run:
        same = all(path.is_file() and "".join(lines) == path.read_text(encoding="utf-8")
                   for path, lines in files.items())  # fmt: skip
        there = arguments.out.is_dir()
        reason = "the cut of the speakers changed" if there else "not there yet"
        tell(arguments.out, [] if same and not former else [reason])
        return
    for path, lines in files.items():
        write_text(path, "".join(lines))
    for folder in former:
        shutil.rmtree(folder)
    link = arguments.out / "wav"
    # Between the folders themselves: the way up from a linked folder leads elsewhere.
    wav = os.path.realpath(arguments.data / "wav")
    target = os.path.relpath(wav, os.path.realpath(arguments.out))
    if not link.is_symlink() or os.readlink(link) != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    total = sum(len(lines) for path, lines in files.items() if path.name == "trials")
    print(f"{arguments.out}: {total} trials between training speakers")


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = Parser(prog="python -m recipes.inner_folds", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data folder made by stage 0")
    parser.add_argument("--out", type=Path, required=True, help="data folder to make")
    parser.add_argument("--num-folds", type=whole(2), default=4, help="inner folds of each fold")
    parser.add_argument(
        "--first", type=whole(1), help="write so many of them only, as training takes long"
    )
    parser.add_argument(
        "--models", type=whole(1), default=1, help="models a speaker, of different utterances"
    )
    parser.add_argument("--dry-run", action="store_true", help="say whether they would change")
    parser.add_argument("--seed", type=SEED, default=0, help="seed of the cut")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(build_parser(), main))
