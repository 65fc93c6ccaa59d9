"""What the scoring steps share: the cohort, score normalisation, the score and trial files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as TypingProtocol

import numpy as np

from fusion.formats.files import write_scores
from ivector.base.budget import MIB, require_disk, require_memory
from ivector.base.errors import DataError
from ivector.data import read_enroll, read_trials, write_trials
from plda import ScoreNorm
from recipes.engine.stage import digest
from recipes.steps.common import read_utt2spk

logger = logging.getLogger("recipe")

SCORE_NORMS = ("none", "z", "t", "zt", "s", "as")


@dataclass(frozen=True)
class Models:
    """Enrolment of models: ids, and the utterances of each."""

    ids: list[str]
    utterances: list[list[str]]


class Scorer(TypingProtocol):
    """What a system brings: scores of models against test utterances."""

    def matrix(self, models: Models, tests: list[str]) -> np.ndarray:
        """Score all pairs, (n_models, n_tests)."""

    def trials(self, models: Models, tests: list[str], pairs: np.ndarray) -> np.ndarray:
        """Score listed pairs of rows, (n_trials, 2) to (n_trials,)."""


@dataclass(frozen=True)
class Protocol:
    """A fold's enrolments, tests and trials, and a cohort of its training speakers.

    The cohort's models are enrolled as the fold's are, from as many utterances; the cohort's
    other utterances are its tests. So a normalised score compares like with like.
    """

    enrolment: Models
    tests: list[str]
    pairs: np.ndarray  # (n_trials, 2): rows in enrolment.ids and tests
    targets: list[bool | None]
    cohort: Models
    cohort_tests: list[str]
    cohort_owners: np.ndarray  # (n_cohort_tests,): their speakers

    @property
    def same_speaker(self) -> np.ndarray:
        """Which cohort tests are of a cohort model's speaker, (n_cohort, n_cohort_tests)."""
        return np.array(self.cohort.ids)[:, None] == self.cohort_owners[None, :]


def trial_lists(fold: Path) -> list[Path]:
    """The fold's trial lists: ``trials``, and ``trials-NAME`` where there are more."""
    return [fold / "trials", *sorted(fold.glob("trials-*"))]


def protocol_digest(fold: Path) -> str:
    """Digest of all that decides which trials a fold scores, and how."""
    return digest(fold / "enroll", fold / "train.utt2spk", *trial_lists(fold))


def read_protocol(fold: Path, usable: set[str], trial_list: Path | None = None) -> Protocol:
    """Read a fold, leaving out trials with unusable recordings, which is said."""
    trial_list = trial_list or fold / "trials"
    enroll = read_enroll(fold / "enroll")
    enrolment = {key: [utt for utt in utts if utt in usable] for key, utts in enroll.items()}
    trials = list(read_trials(trial_list))
    unknown = {trial.enrol for trial in trials} - set(enroll)
    if unknown:
        raise DataError(f"{trial_list}: {len(unknown)} enrolments are not in enroll, "
                        f"for example {min(unknown)}")  # fmt: skip
    kept = [t for t in trials if t.test in usable and enrolment[t.enrol]]
    if len(kept) < len(trials):
        logger.warning(
            "%s: %d of %d trials have no score, as a recording of theirs was skipped",
            fold.name, len(trials) - len(kept), len(trials),
        )  # fmt: skip
    if not kept:
        raise DataError(f"{trial_list}: no trial can be scored")
    ids = sorted({t.enrol for t in kept})
    tests = sorted({t.test for t in kept})
    row = {key: i for i, key in enumerate(ids)}
    column = {key: j for j, key in enumerate(tests)}
    n_enrol = int(np.median([len(utts) for utts in enroll.values()]))
    models, cohort_tests, owners = _cohort(fold, usable, n_enrol)
    return Protocol(
        Models(ids, [enrolment[key] for key in ids]),
        tests,
        np.array([(row[t.enrol], column[t.test]) for t in kept]),
        [t.is_target for t in kept],
        models,
        cohort_tests,
        owners,
    )


def _cohort(fold: Path, usable: set[str], n_enrol: int) -> tuple[Models, list[str], np.ndarray]:
    speakers: dict[str, list[str]] = {}
    for utt, speaker in sorted(read_utt2spk(fold / "train.utt2spk").items()):
        if utt in usable:
            speakers.setdefault(speaker, []).append(utt)
    ids = sorted(speakers)
    tests = [(utt, spk) for spk in ids for utt in speakers[spk][n_enrol:]]
    models = Models(ids, [speakers[spk][:n_enrol] for spk in ids])
    return models, [utt for utt, _ in tests], np.array([owner for _, owner in tests], dtype=str)


def score_fold(
    fold: Path,
    usable: set[str],
    scorer: Scorer,
    score_norm: str,
    work: Path,
    memory: int = 2048,
    disk: int = 0,
) -> None:
    """Write the scores of every trial list of a fold: ``scores`` and ``scores-NAME``.

    `memory` and `disk` are what may be taken, in MiB.
    """
    lists = trial_lists(fold)
    # A score is written in up to 25 characters, to a line of a copy of the trials.
    size = sum(path.stat().st_size + 25 * _lines(path) for path in lists)
    require_disk(work, 2 * size, disk, f"scores of {fold.name}")
    for trial_list in lists:
        protocol = read_protocol(fold, usable, trial_list)
        scores = trial_scores(score_norm, scorer, protocol, memory)
        _write_results(work, trial_list.name, protocol, scores)


def _lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def trial_scores(kind: str, scorer: Scorer, protocol: Protocol, memory: int = 2048) -> np.ndarray:
    """Score every trial, (n_trials,), normalised by the cohort.

    Parameters
    ----------
    kind : str
        Of `SCORE_NORMS`.
    scorer : Scorer
    protocol : Protocol
    memory : int
        MiB; scores of the cohort are made in blocks of an eighth of it.
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
    top_n = min(200, len(protocol.cohort_tests), len(cohort.ids))
    if top_n < 2:
        raise DataError(
            "score normalisation needs at least 2 training speakers; use --score-norm none"
        )
    cross = None
    if kind == "zt":
        require_memory(
            3 * 8 * len(cohort.ids) * len(protocol.cohort_tests),
            memory,
            f"zt-norm with {len(cohort.ids)} cohort models and {len(protocol.cohort_tests)} tests",
            "another --score-norm, which takes the cohort in blocks",
        )
        cross = scorer.matrix(cohort, protocol.cohort_tests)
        cross = np.where(protocol.same_speaker, np.nan, cross)

    def of_enrolments(part: slice) -> np.ndarray:
        models = Models(enrolment.ids[part], enrolment.utterances[part])
        return scorer.matrix(models, protocol.cohort_tests)

    def of_tests(part: slice) -> np.ndarray:
        return scorer.matrix(cohort, tests[part]).T

    norm = ScoreNorm(kind, top_n=top_n).fit(
        enrol_cohort=_rows(of_enrolments, len(enrolment.ids), len(protocol.cohort_tests), memory),
        test_cohort=_rows(of_tests, len(tests), len(cohort.ids), memory),
        cohort_cohort=cross,
    )
    return norm.transform_trials(scores, protocol.pairs[:, 0], protocol.pairs[:, 1])


def _rows(
    score: Callable[[slice], np.ndarray], n_rows: int, n_columns: int, memory: int
) -> np.ndarray | Iterator[np.ndarray]:
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
