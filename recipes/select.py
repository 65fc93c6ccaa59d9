"""Choose a system's options by cross-validation over training speakers, never on the trials.

``python -m recipes.inner_folds`` makes the data folder of folds inside the training folds;
this command then tries every combination of the options given on it::

    python -m recipes.inner_folds --data data/hyke --out data/hyke-cv
    python -m recipes.select --data data/hyke-cv --features exp/hyke/features \\
        --num-components 16 32 --rank 50 80 --lda-dim 0 30 --plda-smoothing 0 0.1 0.3

and prints them, the best first: by the mean of EER and minDCF(0.01), each relative to the best of
all combinations. The inner folds train on fewer speakers than the recipe will, so what is best for
them is, if anything, a little small.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fusion.metrics.rates import OperatingPoints
from ivector.base.cli import SEED, Parser, add_parallel_options, number, run, whole
from ivector.base.errors import UsageError
from ivector.base.files import write_text
from ivector.base.log import progress
from ivector.base.shards import map_shards
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.full import FullGMM
from ivector.pipeline import FrontEnd
from ivector.statistics import baum_welch
from ivector.total_variability.model import TotalVariability
from plda import PLDA
from recipes.commands import COMMANDS
from recipes.experiment.frames import Corpus
from recipes.experiment.protocol import (
    Protocol,
    fold_utterances,
    folds,
    read_protocol,
    read_utt2spk,
)
from recipes.steps.backend import transforms
from recipes.steps.scores import VectorScorer

P_TARGET = 0.01


@dataclass(frozen=True, order=True)
class Choice:
    """One combination of options, named as in ``run.sh``."""

    num_components: int
    rank: int
    parametrisation: str
    lda_dim: int
    plda_smoothing: float


# Scores of target and nontarget trials of one fold.
Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """Tries all choices that share a number of components on one fold."""

    corpus: Corpus
    choices: tuple[Choice, ...]
    seed: int

    def __call__(self, job: tuple[Path, int]) -> dict[Choice, Split]:
        fold, num_components = job
        utt2spk = read_utt2spk(fold / "train.utt2spk")
        train = self.corpus.usable(sorted(utt2spk), "training")
        every = self.corpus.usable(fold_utterances(fold), "train, enrolment and test")
        frames = np.concatenate([self.corpus.frames(utt) for utt in train])
        diagonal = DiagonalGMM(num_components, random_state=self.seed).fit(frames)
        ubm = FullGMM(init=diagonal).fit(frames)
        learn = baum_welch(ubm, (self.corpus.frames(utt) for utt in train), second_order=True)
        extract = baum_welch(ubm, (self.corpus.frames(utt) for utt in every))
        protocol, labels = read_protocol(fold, set(every)), np.array([utt2spk[u] for u in train])
        found: dict[Choice, Split] = {}
        mine = [choice for choice in self.choices if choice.num_components == num_components]
        for (rank, form), group in itertools.groupby(mine, lambda c: (c.rank, c.parametrisation)):
            tv = TotalVariability(
                rank, parametrisation=form, init="random", random_state=self.seed
            ).fit(learn, ubm=ubm)
            vectors = dict(zip(every, tv.transform(extract)))
            X = np.stack([vectors[utt] for utt in train])
            for choice in group:
                found[choice] = _score(choice, vectors, X, labels, protocol)
        return found


def _score(
    choice: Choice,
    vectors: dict[str, np.ndarray],
    X: np.ndarray,
    labels: np.ndarray,
    protocol: Protocol,
) -> Split:
    pipeline = transforms(choice.lda_dim, 0.0)
    model = PLDA().fit(pipeline.fit_transform(X, labels), labels)
    if choice.plda_smoothing:
        model = model.smooth(choice.plda_smoothing)
    scorer = VectorScorer(vectors, pipeline, model, "book")
    scores = scorer.trials(protocol.enrolment, protocol.tests, protocol.pairs)
    target = np.array(protocol.targets, bool)
    return scores[target], scores[~target]


def combinations(arguments: argparse.Namespace) -> tuple[Choice, ...]:
    """Every combination that makes sense, in order."""
    every = itertools.product(
        arguments.num_components,
        arguments.rank,
        arguments.parametrisation,
        arguments.lda_dim,
        arguments.plda_smoothing,
    )
    kept = sorted(choice for choice in (Choice(*c) for c in every) if choice.lda_dim < choice.rank)
    if not kept:
        raise UsageError("every --lda-dim is as large as every --rank; 0 leaves LDA out")
    return tuple(kept)


def ranking(results: dict[Choice, list[Split]]) -> Iterator[tuple[Choice, float, float]]:
    """Choices with pooled EER and minDCF, the best first."""
    rates = {}
    for choice, splits in results.items():
        tar, non = (np.concatenate(side) for side in zip(*splits))
        points = OperatingPoints(tar, non)
        rates[choice] = (points.eer(), points.min_dcf(P_TARGET))
    best = np.maximum(np.min(list(rates.values()), axis=0), 1e-6)
    order = sorted(rates, key=lambda c: (float(np.mean(np.array(rates[c]) / best)), c))
    return ((choice, *rates[choice]) for choice in order)


def main(arguments: argparse.Namespace) -> None:
    """Try everything and print the table."""
    front_end = FrontEnd(normalisation=arguments.normalisation, cmn_window=arguments.cmn_window)
    choices = combinations(arguments)
    trial = Trial(Corpus(arguments.features, front_end), choices, arguments.seed)
    jobs = [(f, n) for f in folds(arguments.data) for n in sorted(set(arguments.num_components))]
    results: dict[Choice, list[Split]] = {choice: [] for choice in choices}
    done = map_shards(trial, jobs, nj=arguments.nj)
    for part in progress(done, len(jobs), "choices", "fold"):
        for choice, split in part.items():
            results[choice].append(split)
    rows = [{**asdict(c), "eer": eer, "min_dcf": dcf} for c, eer, dcf in ranking(results)]
    print(f"{'components':>10} {'rank':>5} {'form':>10} {'LDA':>4} {'smooth':>6} "
          f"{'EER %':>6} {'minDCF':>6}")  # fmt: skip
    for row in rows:
        print(f"{row['num_components']:>10} {row['rank']:>5} {row['parametrisation']:>10} "
              f"{row['lda_dim']:>4} {row['plda_smoothing']:>6} "
              f"{100 * row['eer']:>6.2f} {row['min_dcf']:>6.3f}")  # fmt: skip
    if arguments.json:
        write_text(arguments.json, json.dumps(rows, indent=1) + "\n")


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = Parser(prog="python -m recipes.select", description=COMMANDS["select"].sentence)
    parser.add_argument("--data", type=Path, required=True, help="made by recipes.inner_folds")
    parser.add_argument("--features", type=Path, required=True, help="EXP/features of stage 1")
    parser.add_argument("--num-components", type=whole(1), nargs="+", default=[16, 32, 64])
    parser.add_argument("--rank", type=whole(1), nargs="+", default=[50, 80])
    parser.add_argument(
        "--parametrisation", choices=("kaldi", "classical"), nargs="+", default=["kaldi"]
    )
    parser.add_argument("--lda-dim", type=whole(0), nargs="+", default=[0, 30])
    parser.add_argument("--plda-smoothing", type=number(0, 1), nargs="+", default=[0.0, 0.1, 0.3])
    parser.add_argument("--normalisation", default="cmn", help="as in run.sh")
    parser.add_argument("--cmn-window", type=whole(1), default=300)
    add_parallel_options(parser)
    parser.add_argument("--seed", type=SEED, default=0)
    parser.add_argument("--json", type=Path, help="also write the table here")
    return parser


def cli() -> int:
    """Entry point."""
    return run(make_parser(), main)


if __name__ == "__main__":
    # Through the import system, so that worker processes find the classes by name.
    from recipes.select import cli as entry

    raise SystemExit(entry())
