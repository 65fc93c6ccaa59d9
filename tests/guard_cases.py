"""Fusions that are healthy, and those with a planted fault, for the guard.

Dimension legend: N trials, K = 3 systems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from speaker_world import Effects, Scenario, design

from fusion.calibration.applied import promised
from fusion.calibration.linear import LinearFusion
from fusion.calibration.notices import development
from fusion.calibration.reference import Reference
from fusion.calibration.worth import Contest, guard, paired
from fusion.formats.speakers import TrialSpeakers
from fusion.metrics.points import OperatingPoint

POINTS = [OperatingPoint(0.01)]
NAMES = ["a", "b", "c"]


@dataclass(frozen=True)
class World:
    """Trials of a world and their scores (N, 3) by three systems of different scales."""

    scores: np.ndarray
    target: np.ndarray
    enrol: np.ndarray
    test: np.ndarray
    n_speakers: int
    n_recordings: int

    @property
    def spread(self) -> np.ndarray:
        """Deviation (3,) of nontargets."""
        return np.nanstd(self.scores[~self.target], axis=0)

    def picked(self, rows: np.ndarray) -> World:
        """Some of the trials."""
        arrays = {name: getattr(self, name)[rows] for name in ("scores", "target", "enrol", "test")}
        return replace(self, **arrays)


def world(n_speakers: int, seed: list[int]) -> World:
    """Every speaker's model meets three recordings of every speaker."""
    rng = np.random.default_rng(seed)
    scenario = Scenario(True, n_speakers, 3)
    trials = design(scenario, rng)
    effects = Effects(scenario, trials, rng)
    columns = [
        effects.scores(3.3),
        0.5 * effects.twin(rng, 0.3).scores(2.8) + 2,
        0.05 * effects.twin(rng, 0.3).scores(2.2),
    ]
    target = trials.enrol == trials.test
    enrol, test = trials.enrol.astype(np.int32), trials.test.astype(np.int32)
    return World(np.column_stack(columns), target, enrol, test, n_speakers, 4 * n_speakers)


class Learnt:
    """A fusion of a development world and what is kept of it."""

    def __init__(self, part: World, seed: int, n_bootstrap: int = 200):
        estimator = LinearFusion(names=NAMES, missing="fallback")
        told = TrialSpeakers(part.enrol, part.test, part.n_speakers, "told")
        contest = Contest(estimator, part.scores, part.target, told, POINTS, random_state=seed)
        self.fusion = contest.fit(range(len(NAMES)))
        sides = part.enrol, part.test
        self.reference = Reference.learn(
            part.scores, part.target, sides, NAMES, part.n_recordings, seed
        )
        self.reference.worth = promised(contest)
        wrong = development(self.reference, part.scores, part.target)
        findings = guard(contest, paired(contest, n_bootstrap, seed))
        self.noticed = bool(wrong) or any(finding.certain for finding in findings)


Change = Callable[[World, np.random.Generator], World]


def _system(k: int, change: Callable[[np.ndarray, World, np.random.Generator], np.ndarray]):
    """The scores of one system changed."""

    def planted(part: World, rng: np.random.Generator) -> World:
        scores = part.scores.copy()
        scores[:, k] = change(scores[:, k], part, rng)
        return replace(part, scores=scores)

    return planted


def _all(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Change:
    """All scores changed, of them and the deviations of nontargets."""
    return lambda part, rng: replace(part, scores=change(part.scores, part.spread))


def _more(k: int, times: float) -> Change:
    return _system(k, lambda s, part, rng: s + times * part.spread[k])


def _one_wild(s: np.ndarray, part: World, rng: np.random.Generator) -> np.ndarray:
    s = s.copy()
    s[rng.choice(np.flatnonzero(~part.target))] = 1e6
    return s


def _wild(s: np.ndarray, part: World, rng: np.random.Generator) -> np.ndarray:
    wild = ~part.target & (rng.random(len(s)) < 0.005)
    return np.where(wild, s + 30 * np.std(s), s)


def _noisy(s: np.ndarray, part: World, rng: np.random.Generator) -> np.ndarray:
    return s + 3 * np.std(s) * rng.normal(size=len(s))


def _without_targets(s: np.ndarray, part: World, rng: np.random.Generator) -> np.ndarray:
    return np.where(part.target & (rng.random(len(s)) < 0.6), np.nan, s)


def _without_nontargets(s: np.ndarray, part: World, rng: np.random.Generator) -> np.ndarray:
    return np.where(~part.target & (rng.random(len(s)) < 0.6), np.nan, s)


def _leaky(s: np.ndarray, part: World, rng: np.random.Generator) -> np.ndarray:
    """The labels shine through: what the fusion believes most is worth nothing elsewhere."""
    return s + np.where(part.target, 6, 0) * np.std(s[~part.target])


def _fitted(s: np.ndarray, part: World, rng: np.random.Generator) -> np.ndarray:
    """Trained on the development trials: errors are pulled towards their class."""
    means = [s[part.target == wanted].mean() for wanted in (False, True)]
    return 0.3 * s + 0.7 * np.where(part.target, means[1], means[0])


# Of the same population: nothing is to be noticed.
HEALTHY: dict[str, Change] = {
    "healthy": lambda part, rng: part,
    "healthy, half the targets": lambda part, rng: part.picked(
        ~part.target | (rng.random(len(part.target)) < 0.5)
    ),
    "healthy, as many of a kind": lambda part, rng: part.picked(
        part.target | (rng.random(len(part.target)) < 1 / part.n_speakers)
    ),
    "healthy, some lack a system": _system(
        2, lambda s, part, rng: np.where(rng.random(len(s)) < 0.1, np.nan, s)
    ),
}
SHIFTS = {
    "shift of all by 1": _all(lambda s, spread: s + spread),
    "shift of all by -1": _all(lambda s, spread: s - spread),
    "shift of the best by 1": _more(0, 1),
    "shift of the best by -1.5": _more(0, -1.5),
    "shift of the second by 1.5": _more(1, 1.5),
}
FLIPS = {
    "the best flipped": _system(0, lambda s, part, rng: -s),
    "the second flipped": _system(1, lambda s, part, rng: -s),
    "the worst flipped in place": _system(2, lambda s, part, rng: 2 * np.median(s) - s),
    "all flipped": _all(lambda s, spread: -s),
}
OUTLIERS = {
    "one score of 1e6": _system(0, _one_wild),
    "outliers, 0.5 %": _system(1, _wild),
}
# Planted where the fusion is applied.
KINDS: dict[str, Change] = {
    **SHIFTS,
    **FLIPS,
    **OUTLIERS,
    "scale of all by 1.5": _all(lambda s, spread: 1.5 * s),
    "scale of the best by 1.5": _system(0, lambda s, part, rng: 1.5 * s),
    "scale of the best by 1/2": _system(0, lambda s, part, rng: s / 2),
    "the best shuffled": _system(0, lambda s, part, rng: rng.permutation(s)),
    "noise on the best": _system(0, _noisy),
    "the best twice": _system(1, lambda s, part, rng: part.scores[:, 0]),
    "two systems swapped": lambda part, rng: replace(part, scores=part.scores[:, [1, 0, 2]]),
    "targets lack the best": _system(0, _without_targets),
    "nontargets lack the best": _system(0, _without_nontargets),
    "the best stuck": _system(0, lambda s, part, rng: np.full(len(s), np.median(s))),
}  # fmt: skip
# Planted in development.
DEVELOPMENT: dict[str, Change] = {
    "leaky in development": _system(0, _leaky),
    "over-fitted in development": _system(2, _fitted),
    "one 1e6 in development": _system(0, _one_wild),
    "outliers in development": _system(1, _wild),
    "gaps in development": _system(0, _without_targets),
}
