"""Stage 6 (of embeddings: 8): scores of every trial of every fold, of vectors by a back-end."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from plda.formats.models import load_model
from plda.models import BACKENDS
from plda.scoring.pairs import PairScorer
from recipes.engine.marks import read_options
from recipes.engine.run import Job, Run, Task
from recipes.engine.stage import require
from recipes.experiment import backends
from recipes.experiment.protocol import Models, protocol_digest
from recipes.experiment.trials import score_fold
from recipes.experiment.vectors import read_vectors
from recipes.systems import stage_of


@dataclass
class VectorScorer:
    """Scores models against tests through a back-end.

    Parameters
    ----------
    vectors : dict of str to ndarray
        I-vectors by utterance.
    transforms : Pipeline
    model : estimator
        Of `plda.models.BACKENDS`.
    enrolment : {"book", "average"}
        "book": every enrolment vector is normalised on its own, and the likelihood ratio is that
        of all of them together. "average": they are averaged first, as Kaldi's recipes do.
    """

    vectors: dict[str, np.ndarray]
    transforms: Pipeline
    model: Any
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
        if self.enrolment == "book" and backends.is_by_the_book(self.model):
            flat = [self.vectors[utt] for utts in models.utterances for utt in utts]
            labels = np.repeat(np.arange(len(counts)), counts)
            enrol = self.transforms.transform(np.stack(flat))
            return self.model.scorer(enrol, test, enrol_labels=labels)
        means = [np.mean([self.vectors[u] for u in utts], axis=0) for utts in models.utterances]
        enrol = self.transforms.transform(np.stack(means))
        return self.model.scorer(enrol, test, n_enrol=counts)


def read_scorer(vectors: dict[str, np.ndarray], folder: Path, enrolment: str) -> VectorScorer:
    """Scorer of a back-end that stage 5 or 8 has left in a folder."""
    options = read_options(folder)
    transforms = load_model(folder / "transforms.npz")
    return VectorScorer(vectors, transforms, backends.load(folder, options["scoring"]), enrolment)


def score(task: Task, work: Path, nj: int) -> None:
    """Score one fold's trials into `work`."""
    values = task.values
    vectors = read_vectors(task.folder("ivectors") / "ivectors.npz")
    usable, cohort = set(vectors), {}
    if task.cohort():
        cohort = read_vectors(task.folder(task.run.settings.cohort) / "ivectors.npz")
    kind = "adapted" if task.run.settings.adapts(task.system) else "backend"
    scorer = read_scorer({**vectors, **cohort}, task.folder(kind, own=True), values.enrolment)
    score_fold(
        task.fold, usable, scorer, values.score_norm, work, values.memory, values.disk,
        list(cohort), values.cohort_top,
    )  # fmt: skip


def job(task: Task) -> Job:
    """The scores of a fold."""
    values = task.values
    model = backends.make(values.scoring)
    enrolment = values.enrolment if backends.is_by_the_book(model) else "average"
    options = {"enrolment": enrolment, **task.normalising()}
    vectors = task.vectors()
    number = stage_of(task.system, "backend")
    backend = require(task.folder("backend", own=True), number, on=[vectors])
    protocol = protocol_digest(task.fold)
    upstream = {"vectors": vectors, "backend": backend, "protocol": protocol, **task.cohort()}
    if task.run.settings.adapts(task.system):
        on = [backend, task.other("adapt")]
        upstream["adapted back-end"] = require(task.folder("adapted", own=True), number, on=on)
    body, by_name = functools.partial(score, task), [BACKENDS[values.scoring].module]
    return task.job("scores", "scores", options, upstream, body, by_name=by_name)


def jobs(run: Run) -> Iterator[Job]:
    """The scores of all folds."""
    return map(job, run.tasks("scores"))
