"""Scores of a fold's trials: what a system brings, score normalisation, the files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol as TypingProtocol

import numpy as np

from fusion.formats.files import write_scores
from ivector.base.budget import MIB, require_disk, require_memory
from ivector.base.errors import DataError
from ivector.data import write_trials
from plda.normalisation import NORMS, ScoreNorm
from recipes.experiment.cohort import with_cohort
from recipes.experiment.protocol import Models, Protocol, read_protocol, trial_lists

logger = logging.getLogger("recipe")


class Scorer(TypingProtocol):
    """What a system brings: scores of models against test utterances."""

    def matrix(self, models: Models, tests: list[str]) -> np.ndarray:
        """Score all pairs, (n_models, n_tests)."""

    def trials(self, models: Models, tests: list[str], pairs: np.ndarray) -> np.ndarray:
        """Score listed pairs of rows, (n_trials, 2) to (n_trials,)."""


def score_fold(
    fold: Path,
    usable: set[str],
    scorer: Scorer,
    score_norm: str,
    work: Path,
    memory: int,
    disk: int,
    cohort: Sequence[str],
    top_n: int,
) -> None:
    """Write the scores of every trial list of a fold: ``scores`` and ``scores-NAME``.

    `memory` and `disk` are what may be taken, in MiB; `cohort` are utterances to normalise by
    instead of the training speakers, of which adaptive norms take the `top_n` most similar.
    """
    lists = trial_lists(fold)
    # A score is written in up to 25 characters, to a line of a copy of the trials.
    size = sum(path.stat().st_size + 25 * _lines(path) for path in lists)
    require_disk(work, 2 * size, disk, f"scores of {fold.name}")
    for trial_list in lists:
        protocol = read_protocol(fold, usable, trial_list)
        if cohort:
            protocol = with_cohort(protocol, cohort)
        scores = trial_scores(score_norm, scorer, protocol, memory, top_n)
        _write_results(work, trial_list.name, protocol, scores)


def _lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def trial_scores(
    kind: str, scorer: Scorer, protocol: Protocol, memory: int, top_n: int
) -> np.ndarray:
    """Score every trial, (n_trials,), normalised by the cohort.

    Parameters
    ----------
    kind : str
        "none", or of `plda.normalisation.NORMS`.
    scorer : Scorer
    protocol : Protocol
    memory : int
        MiB; scores of the cohort are made in blocks of an eighth of it.
    top_n : int
        Of the cohort, that adaptive norms take; where it is smaller that is said.
    """
    enrolment, tests, cohort = protocol.enrolment, protocol.tests, protocol.cohort
    scores = scorer.trials(enrolment, tests, protocol.pairs)
    if kind == "none":
        return scores
    if not protocol.cohort_tests:
        raise DataError(
            "score normalisation needs training speakers with more utterances than an enrolment; "
            "use --score-norm none"
        )
    size = min(len(protocol.cohort_tests), len(cohort.ids))
    if size < 2:
        raise DataError(
            f"score normalisation needs a cohort of at least 2, got {size}: give a larger "
            "--cohort, or use --score-norm none"
        )
    if NORMS[kind].adaptive and size <= top_n:
        logger.warning(
            "%s-norm takes the %d most similar of a cohort, which holds %d: all are taken, which "
            "is plain s-norm; give a larger --cohort or a smaller --cohort-top",
            kind, top_n, size,
        )  # fmt: skip
    top_n = min(top_n, size)
    cross = None
    cure = "another --score-norm, which takes the cohort in blocks"
    if NORMS[kind].cohort:
        require_memory(
            3 * 8 * len(cohort.ids) * len(protocol.cohort_tests),
            memory,
            f"{kind}-norm with {len(cohort.ids)} cohort models and "
            f"{len(protocol.cohort_tests)} tests",
            cure,
        )
        cross = scorer.matrix(cohort, protocol.cohort_tests)
        cross = np.where(protocol.same_speaker, np.nan, cross)

    def of_enrolments(part: slice) -> np.ndarray:
        models = Models(enrolment.ids[part], enrolment.utterances[part])
        return scorer.matrix(models, protocol.cohort_tests)

    def of_tests(part: slice) -> np.ndarray:
        return scorer.matrix(cohort, tests[part]).T

    enrol_cohort = _rows(of_enrolments, len(enrolment.ids), len(protocol.cohort_tests), memory)
    test_cohort = _rows(of_tests, len(tests), len(cohort.ids), memory)
    if NORMS[kind].crossed:
        n_rows = len(enrolment.ids) + len(tests)
        what = f"{kind}-norm of {n_rows} enrolments and tests"
        require_memory(4 * 8 * n_rows * len(cohort.ids), memory, what, cure)
        enrol_cohort, test_cohort = _one_cohort(enrol_cohort, test_cohort, protocol)
        top_n = min(top_n, test_cohort.shape[1])
    norm = ScoreNorm(kind, top_n=top_n).fit(enrol_cohort, test_cohort, cross)
    return norm.transform_trials(scores, protocol.pairs[:, 0], protocol.pairs[:, 1])


Cohort = np.ndarray | Iterator[np.ndarray]


def _one_cohort(enrol: Cohort, test: Cohort, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both sides against the same speakers: those of the cohort that have tests.

    An enrolment's score against a speaker is the mean over her tests.
    """
    tested = protocol.same_speaker[protocol.same_speaker.any(axis=1)]
    shares = tested / tested.sum(axis=1, keepdims=True)
    enrol = np.concatenate([block @ shares.T for block in _blocks(enrol)])
    return enrol, np.concatenate(list(_blocks(test)))[:, protocol.same_speaker.any(axis=1)]


def _blocks(scores: Cohort) -> Iterator[np.ndarray]:
    return iter([scores]) if isinstance(scores, np.ndarray) else scores


def _rows(score: Callable[[slice], np.ndarray], n_rows: int, n_columns: int, memory: int) -> Cohort:
    """Scores whole if they fit in an eighth of the memory, else in blocks of rows that do."""
    step = max(1, memory * MIB // 8 // (8 * n_columns))
    if step >= n_rows:
        return score(slice(0, n_rows))
    return (score(slice(start, start + step)) for start in range(0, n_rows, step))


def _write_results(work: Path, name: str, protocol: Protocol, scores: np.ndarray) -> None:
    """Write scores and trials in the order of the trial list."""
    enrol = [protocol.enrolment.ids[i] for i in protocol.pairs[:, 0]]
    test = [protocol.tests[j] for j in protocol.pairs[:, 1]]
    write_trials(work / name, zip(enrol, test, protocol.targets))
    write_scores(work / name.replace("trials", "scores", 1), enrol, test, scores)
