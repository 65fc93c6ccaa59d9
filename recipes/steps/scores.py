"""Stage 6: scores of every trial of every fold by i-vectors, with PLDA or the cosine."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from ivector.base.cli import name
from ivector.base.workers import one_thread
from plda import PLDA, PairScorer, cosine_scorer
from plda.formats.models import load_model
from recipes.engine.stage import require, stage
from recipes.steps.common import folds, make_parser, require_vectors, stage_of
from recipes.steps.ivectors import read_vectors
from recipes.steps.trials import SCORE_NORMS, Models, protocol_digest, score_fold


@dataclass
class VectorScorer:
    """Scores models against tests through a back-end.

    Parameters
    ----------
    vectors : dict of str to ndarray
        I-vectors by utterance.
    transforms : Pipeline
    plda : PLDA or None
        None scores by the cosine.
    enrolment : {"book", "average"}
        "book": every enrolment vector is normalised on its own, and the likelihood ratio is that
        of all of them together. "average": they are averaged first, as Kaldi's recipes do.
    """

    vectors: dict[str, np.ndarray]
    transforms: Pipeline
    plda: PLDA | None
    enrolment: str

    def matrix(self, models: Models, tests: list[str]) -> np.ndarray:
        """Score all pairs, (n_models, n_tests)."""
        return self._prepare(models, tests).matrix()

    def trials(self, models: Models, tests: list[str], pairs: np.ndarray) -> np.ndarray:
        """Score listed pairs, (n_trials, 2) to (n_trials,)."""
        return self._prepare(models, tests).trials(pairs[:, 0], pairs[:, 1])

    def _prepare(self, models: Models, tests: list[str]) -> PairScorer:
        test = self.transforms.transform(np.stack([self.vectors[utt] for utt in tests]))
        counts = np.array([len(utts) for utts in models.utterances])
        if self.enrolment == "book" and self.plda is not None:
            flat = [self.vectors[utt] for utts in models.utterances for utt in utts]
            labels = np.repeat(np.arange(len(counts)), counts)
            return self.plda.scorer(
                self.transforms.transform(np.stack(flat)), test, enrol_labels=labels
            )
        means = [np.mean([self.vectors[u] for u in utts], axis=0) for utts in models.utterances]
        enrol = self.transforms.transform(np.stack(means))
        if self.plda is None:
            return cosine_scorer(enrol, test)
        return self.plda.scorer(enrol, test, n_enrol=counts)


@one_thread()
def score(
    arguments: argparse.Namespace, fold: Path, system: Path, vectors_folder: Path, work: Path
) -> None:
    """Score one fold's trials into `work`."""
    backend = system / "backend" / fold.name
    vectors = read_vectors(vectors_folder / "ivectors.npz")
    plda_path = backend / "plda.npz"
    scorer = VectorScorer(
        vectors,
        load_model(backend / "transforms.npz"),
        load_model(plda_path) if plda_path.exists() else None,
        arguments.enrolment,
    )
    usable = set(vectors)
    score_fold(fold, usable, scorer, arguments.score_norm, work, arguments.memory, arguments.disk)


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    options = {"enrolment": arguments.enrolment, "score_norm": arguments.score_norm}
    system = arguments.exp / arguments.system
    for fold in folds(arguments.data):
        folder = arguments.exp / (arguments.trunk or system.name) / "ivectors" / fold.name
        vectors = require_vectors(folder)
        backend = require(system / "backend" / fold.name, stage_of(system, 5), on=[vectors])
        upstream = {"vectors": vectors, "backend": backend, "protocol": protocol_digest(fold)}
        target = system / "scores" / fold.name
        with stage(target, options, upstream, force=arguments.force) as work:
            if work is not None:
                score(arguments, fold, system, folder, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("scores", __doc__ or "")
    parser.add_argument("--trunk", type=name, help="system whose i-vectors to take, default own")
    parser.add_argument("--enrolment", choices=("book", "average"), default="book")
    parser.add_argument("--score-norm", choices=SCORE_NORMS, default="none")
    return parser
