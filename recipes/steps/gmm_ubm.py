"""Stage 6 of the GMM-UBM system: MAP-adapted models, scored against every test."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ivector.base.budget import MIB
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from ivector.gmm.verifier import GMMVerifier
from recipes.engine.run import Job, Run, Task
from recipes.engine.stage import resume_folder
from recipes.experiment.frames import Corpus, Kept, Located
from recipes.experiment.protocol import Models, fold_utterances, protocol_digest
from recipes.experiment.trials import score_fold
from recipes.steps.ubm import front_end, load_ubm

TESTS_PER_SHARD = 16
MODEL_BYTES = 40  # of a mean: the adapted one, its differences and products in the scoring


@dataclass
class GMMScorer:
    """Scores models against tests; adapted models are kept, scores of shards in `resume`."""

    corpus: Corpus
    verifier: GMMVerifier
    nj: int
    resume: Path | None = None
    memory: int = 2048
    _models: dict[str, np.ndarray] = field(default_factory=dict)

    def matrix(self, models: Models, tests: list[str]) -> np.ndarray:
        """Score all pairs, (n_models, n_tests)."""
        blocks = make_shards(models.utterances, self.models_at_once)
        return np.concatenate([self._block(block, tests) for block in blocks])

    @property
    def models_at_once(self) -> int:
        """Models that a process holds, with what it derives of them, in a quarter of its memory."""
        means = self.verifier.ubm.means_
        return max(1, self.memory * MIB // 4 // (MODEL_BYTES * means.size))

    def _block(self, models: Sequence[list[str]], tests: list[str]) -> np.ndarray:
        adapted = np.stack([self._enrol(utts) for utts in models])
        shards = make_shards(self.corpus.located(tests), TESTS_PER_SHARD)
        score: Any = _Score(self.corpus, self.verifier, adapted)
        jobs: Sequence[Any] = shards
        if self.resume is not None:
            what = hashlib.sha256(repr((models, tests)).encode()).hexdigest()[:16]
            score, jobs = Kept(score, self.resume / f"scores.{what}"), list(enumerate(shards))
        parts = map_shards(score, jobs, nj=self.nj)
        return np.concatenate(list(progress(parts, len(shards), "GMM scores", "shard")), axis=1)

    def trials(self, models: Models, tests: list[str], pairs: np.ndarray) -> np.ndarray:
        """Score listed pairs, (n_trials, 2) to (n_trials,); a test is read once for all models."""
        return self.matrix(models, tests)[pairs[:, 0], pairs[:, 1]]

    def _enrol(self, utterances: list[str]) -> np.ndarray:
        key = " ".join(utterances)
        model = self._models.get(key)
        if model is None:
            model = self.verifier.enrol([self.corpus.frames(utt) for utt in utterances])
            if len(self._models) < self.models_at_once:
                self._models[key] = model
        return model


@dataclass(frozen=True)
class _Score:
    corpus: Corpus
    verifier: GMMVerifier
    models: np.ndarray

    def __call__(self, tests: Sequence[Located]) -> np.ndarray:
        columns = [self.verifier.score_models(self.models, self.corpus.frames(t)) for t in tests]
        return np.stack(columns, axis=1)


def score(task: Task, work: Path, nj: int) -> None:
    """Score one fold's trials into `work`."""
    values, ubm = task.values, task.folder("ubm")
    corpus, cohort = Corpus(task.run.features, front_end(ubm)), []
    usable = set(corpus.usable(fold_utterances(task.fold), "train, enrolment and test"))
    if task.cohort():
        cohort = sorted(Corpus(task.run.cohort, corpus.front_end).locations())
        corpus = replace(corpus, cohort=task.run.cohort)
    verifier = GMMVerifier(load_ubm(ubm), relevance=values.relevance, top_n=values.top_n)
    scorer = GMMScorer(corpus, verifier, nj, resume_folder(work), values.memory)
    score_fold(
        task.fold, usable, scorer, values.score_norm, work, values.memory, values.disk,
        cohort, values.cohort_top,
    )  # fmt: skip


def job(task: Task) -> Job:
    """The scores of a fold."""
    values = task.values
    options = {
        "relevance": values.relevance,
        "top_n": values.top_n,
        **task.normalising(),
    }
    upstream = {"features": task.features(), "ubm": task.trained("ubm", "ubm"), **task.cohort()}
    upstream["protocol"] = protocol_digest(task.fold)
    return task.job("gmm_ubm", "scores", options, upstream, functools.partial(score, task))


def jobs(run: Run) -> Iterator[Job]:
    """The scores of all folds."""
    return map(job, run.tasks("gmm_ubm"))
