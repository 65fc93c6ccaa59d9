"""Train a back-end on vectors: ``python -m plda.train VECTORS UTT2SPK --out FILE``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ivector.base.cli import SEED, Parser, number, whole
from ivector.base.errors import UsageError
from plda.commands import COMMANDS

if TYPE_CHECKING:
    from plda.training.choice import Candidate


def make_parser() -> Parser:
    """Describe the command line."""
    parser = Parser(
        prog="python -m plda.train",
        description=COMMANDS["train"].sentence,
        parameters={"n_components": "--lda"},
    )
    add = parser.add_argument
    add("vectors", help="Kaldi's ark or scp, .npz, .npy with .ids beside it, HDF5, .csv or .tsv")
    add("utt2spk", help="'utterance speaker' a line")
    add("--out", required=True, metavar="FILE", help="written: the back-end, ending in .npz")
    add(
        "--chain", default="kaldi", help="kaldi: center lda length-norm plda; vbx, which VBx, "
        "pyannote and DiariZen can read: center length-norm lda length-norm plda; or steps of "
        "these, whiten and cosine, with blanks between",
    )  # fmt: skip
    add(
        "--lda", type=whole(1), metavar="N", help="dimensions behind LDA; without it they are "
        "chosen by verification of training speakers held out",
    )  # fmt: skip
    add(
        "--smoothing", type=number(0, 1), metavar="SHARE", help="share of the between-speaker "
        "covariance that is added to the one within; without it chosen, likewise",
    )  # fmt: skip
    add(
        "--skip-missing", action="store_true", help="leave out vectors without a speaker and "
        "utterances without a vector, instead of refusing them",
    )  # fmt: skip
    add(
        "--memory", type=whole(0), default=0, metavar="MIB", help="MiB that may be taken, refused "
        "before work begins where it does not do; 0 for no limit",
    )  # fmt: skip
    add("--seed", type=SEED, default=0, help="of the speakers held out")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Train, tell what was chosen, save."""
    from ivector.base.budget import set_memory_limit
    from plda.formats.models import save_model
    from plda.training.train import train_backend

    if not arguments.out.endswith(".npz"):
        raise UsageError(f"--out {arguments.out}: a back-end is a file that ends in .npz")
    set_memory_limit(arguments.memory)
    trained = train_backend(
        arguments.vectors, arguments.utt2spk, arguments.chain, arguments.lda,
        arguments.smoothing, arguments.skip_missing, arguments.seed,
    )  # fmt: skip
    if trained.candidates:
        print("\n".join(_table(trained.candidates)))
    save_model(trained.backend, arguments.out)
    steps = " ".join(type(step).__name__ for _, step in trained.backend.steps)
    n_vectors, n_speakers = trained.n_vectors, trained.n_speakers
    print(f"{arguments.out}: {steps}, of {n_vectors} vectors of {n_speakers} speakers")


def _table(candidates: list[Candidate]) -> list[str]:
    """What was tried, of each LDA size the best smoothing; the chosen one is marked."""
    best: dict[int | None, Candidate] = {}
    for candidate in candidates:  # the best come first
        best.setdefault(candidate.lda, candidate)
    lines = ["speakers held out:   LDA  smoothing   cost    EER"]
    for size in sorted(best, key=lambda size: size or 0):
        one = best[size]
        smoothing = "" if one.smoothing is None else f"{one.smoothing:g}"
        mark = "  chosen" if one is candidates[0] else ""
        lines.append(
            f"{size or '':>24} {smoothing:>10} {one.errors.cost:>6.3f} {one.errors.eer:>6.2%}{mark}"
        )
    return lines
