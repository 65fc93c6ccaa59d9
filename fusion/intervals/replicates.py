"""Replicates of speaker bootstraps: checked and sorted trials, draws of speakers, statistics.

Dimension legend: N trials, B replicates, P operating points, G false-alarm rates, M statistics.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.kernels import COMPUTED, bootstrap_block
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint, cost_weights
from fusion.metrics.table import METRICS, Key, Metric, statistics
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.log import progress

_BLOCK_NUMBERS = 1 << 21  # draws held at once
_BLOCK_TRIALS = 1 << 28  # weighted between two looks at the clock, about a second
_LONG = 1 << 31  # trials times replicates from which progress is shown
_FEW_SPEAKERS = 10


def check_drawing(n_bootstrap: int, level: float) -> None:
    """Raise UsageError unless there are enough replicates and the level is between 0 and 1."""
    check_level(level)
    if n_bootstrap < 20:
        raise UsageError(f"an interval needs at least 20 replicates, got {n_bootstrap}")


def check_level(level: float) -> None:
    """Raise UsageError unless the level is between 0 and 1."""
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval must be between 0 and 1, got {level}")


@dataclass(frozen=True)
class Units:
    """What is drawn: units of either side of each trial, numbered without gaps.

    Parameters
    ----------
    enrol, test : ndarray (N,) int32
    sizes : list of int
        One number of units if both sides share them, else two.
    """

    enrol: np.ndarray
    test: np.ndarray
    sizes: list[int]

    @property
    def shared(self) -> bool:
        """Whether both sides number the same speakers."""
        return len(self.sizes) == 1


def checked_trials(
    scores: Sequence[ArrayLike], is_target: ArrayLike, enrol: ArrayLike, test: ArrayLike
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Check arrays of trials: scores of each system, classes, speakers of both sides.

    Raises
    ------
    DataError
        Shapes that differ, NaN, one class only, or speakers that are not numbers from 0.
    """
    systems = [np.asarray(values, np.float64) for values in scores]
    target = np.asarray(is_target, bool)
    sides = [np.asarray(side) for side in (enrol, test)]
    shape = systems[0].shape
    if len(shape) != 1 or any(a.shape != shape for a in (*systems, target, *sides)):
        shapes = ", ".join(str(np.shape(a)) for a in (*systems, target, *sides))
        raise DataError(
            f"scores, classes and speakers of shapes {shapes}; all must be of one (n_trials,)"
        )
    if not len(target):
        raise DataError("there are no trials")
    for values in systems:
        if np.isnan(values).any():
            raise DataError(f"{np.isnan(values).sum()} scores are NaN; mend the scoring")
    if any(not np.issubdtype(side.dtype, np.integer) or (side < 0).any() for side in sides):
        raise DataError("speakers must be numbers from 0; number them first")
    return systems, target, sides[0], sides[1]


def number_units(enrol: np.ndarray, test: np.ndarray, shared: bool) -> Units:
    """Number the speakers that occur without gaps; warn of few.

    Raises
    ------
    DataError
        Fewer than two speakers.
    """
    units = renumbered(enrol, test, shared)
    fewest = min(units.sizes)
    if fewest < 2:
        raise DataError("an interval needs at least 2 speakers to draw from; take trials of more")
    if fewest < _FEW_SPEAKERS:
        warnings.warn(
            f"only {fewest} speakers to draw from: the intervals are rough, use more",
            DegenerateDataWarning,
            stacklevel=3,
        )
    return units


def renumbered(enrol: np.ndarray, test: np.ndarray, shared: bool) -> Units:
    """Units of trials, numbered without gaps."""
    if shared:
        enrol, test, size = _without_gaps([enrol, test])
        return Units(enrol, test, [size])
    enrol, one = _without_gaps([enrol])
    test, two = _without_gaps([test])
    return Units(enrol, test, [one, two])


def _without_gaps(sides: list[np.ndarray]) -> Any:
    """Arrays numbered anew by the numbers that occur in any, and how many do."""
    most = max(int(side.max()) for side in sides)
    if most > 10 * len(sides[0]) + 1000:
        found, codes = np.unique(np.concatenate(sides), return_inverse=True)
        return *np.split(codes.astype(np.int32), len(sides)), len(found)
    occurs = np.zeros(most + 1, bool)
    for side in sides:
        occurs[side] = True
    numbers = (np.cumsum(occurs) - 1).astype(np.int32)
    return *(numbers[side] for side in sides), int(numbers[-1]) + 1


class System:
    """One system's trials in ascending order of score, and its statistics.

    Parameters
    ----------
    scores : ndarray (N,) float64
    target : ndarray (N,) bool
    units : Units
    points : sequence of OperatingPoint
    llr : bool
        Whether the scores are natural-log likelihood ratios, so that Cllr and actual costs count.

    Attributes
    ----------
    keys : list of (str, int)
        Name of each statistic and number of its operating point.
    order : ndarray (N,)
        Positions of the sorted trials.
    """

    def __init__(
        self,
        scores: np.ndarray,
        target: np.ndarray,
        units: Units,
        points: Sequence[OperatingPoint],
        llr: bool,
    ):
        self.order = np.argsort(scores)
        self.scores, self.target = scores[self.order], target[self.order]
        self.operating = OperatingPoints(
            self.scores[self.target], self.scores[~self.target], keep=True
        )
        self.enrol, self.test = units.enrol[self.order], units.test[self.order]
        self.units, self.points, self.llr = units, list(points), llr
        self.last = np.append(self.scores[1:] != self.scores[:-1], True)
        weights = [cost_weights(p.p_target, p.c_miss, p.c_fa) for p in points]
        self.costs = np.array(weights, np.float64).reshape(-1, 2)
        self.bars, self.bits = np.empty(0, np.int64), np.empty(0)
        if llr:
            thresholds = np.log(self.costs[:, 1]) - np.log(self.costs[:, 0])
            self.bars = np.searchsorted(self.scores[self.last], thresholds)
            self.bits = np.logaddexp(0, np.where(self.target, -1, 1) * self.scores) / np.log(2)
        self.keys = statistics(len(self.points), llr)

    @property
    def asked(self) -> list[tuple[Metric, OperatingPoint | None]]:
        """Metric and operating point of each statistic."""
        metrics = [(METRICS[name], number) for name, number in self.keys]
        return [(m, self.points[number] if m.per_point else None) for m, number in metrics]

    @cached_property
    def estimates(self) -> np.ndarray:
        """Statistics (M,) of the trials as they are."""
        return np.array([metric.measure(self.operating, at) for metric, at in self.asked])

    def weighted(
        self, weights: Sequence[np.ndarray], grid: np.ndarray | Sequence[float] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Statistics (B, M) and miss rates (B, G) under draws, each (B, n_units) int64."""
        rates = np.asarray(grid, np.float64)
        fast = self._computed()
        out = np.empty((len(weights[0]), len(fast)))
        miss = np.empty((len(weights[0]), len(rates)))
        bootstrap_block(
            self.enrol, self.test, self.target, self.last, self.units.shared,
            weights[0], weights[-1], self.costs, self.bars, self.bits, rates, out, miss,
        )  # fmt: skip
        if fast == self.keys:
            return out, miss
        found = np.empty((len(out), len(self.keys)))
        others = []
        for column, key in enumerate(self.keys):
            if key in fast:
                found[:, column] = out[:, fast.index(key)]
            else:
                others.append(column)
        for row in range(len(found)):
            found[row, others] = self._measured(weights[0][row], weights[-1][row], others)
        return found, miss

    def _computed(self) -> list[Key]:
        """Statistics that the kernel computes, in the order of its columns."""
        return [
            (name, number)
            for name in COMPUTED
            if self.llr or not METRICS[name].needs_llr
            for number in range(len(self.points) if METRICS[name].per_point else 1)
        ]

    def _measured(
        self, enrol_weight: np.ndarray, test_weight: np.ndarray, which: list[int]
    ) -> list[float]:
        """Some statistics under one draw of units (n_units,); NaN where a class is lacking."""
        weight = enrol_weight[self.enrol]
        other = test_weight[self.test]
        if self.units.shared:
            # A trial of a speaker with herself counts as often as she was drawn.
            other = np.where(self.enrol == self.test, 1, other)
        weight = weight * other
        ends = np.flatnonzero(self.last)
        misses, rejections = (
            np.concatenate([[0], np.cumsum(np.where(trials, weight, 0))[ends]])
            for trials in (self.target, ~self.target)
        )
        if not misses[-1] or not rejections[-1]:
            return [np.nan] * len(which)
        points = OperatingPoints.of_counts(self.operating.thresholds, misses, rejections)
        return [metric.measure(points, at) for metric, at in (self.asked[n] for n in which)]


def draws(
    units: Units, n_trials: int, n_bootstrap: int, rng: np.random.Generator
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Blocks of replicates: which, and how often each unit is drawn, (block, n_units) a side."""
    step = max(1, min(_BLOCK_NUMBERS // sum(units.sizes), _BLOCK_TRIALS // n_trials))
    starts: Iterable[int] = range(0, n_bootstrap, step)
    if n_bootstrap * n_trials > _LONG:
        starts = progress(starts, desc="bootstrap", unit="block")
    for start in starts:
        part = slice(start, min(start + step, n_bootstrap))
        numbers = [
            [np.bincount(rng.integers(n, size=n), minlength=n) for n in units.sizes]
            for _ in range(start, part.stop)
        ]
        yield part, [np.array(side, np.int64) for side in zip(*numbers)]


def replicates(
    systems: Sequence[System],
    n_bootstrap: int,
    rng: np.random.Generator,
    grid: np.ndarray | Sequence[float] = (),
) -> tuple[list[np.ndarray], np.ndarray]:
    """Statistics (B, M) of each system under the same draws; miss rates (B, G) of the first.

    Raises
    ------
    DataError
        Most draws lack a class.
    """
    units, n = systems[0].units, n_bootstrap
    values = [np.empty((n, len(system.keys))) for system in systems]
    misses = np.empty((n, len(grid)))
    for part, weights in draws(units, len(systems[0].scores), n, rng):
        values[0][part], misses[part] = systems[0].weighted(weights, grid)
        for system, found in zip(systems[1:], values[1:]):
            found[part] = system.weighted(weights)[0]
    drawn = ~np.isnan(values[0][:, 0])
    if 2 * drawn.sum() < n:
        raise DataError("most replicates drew no target or no nontarget trial; use more speakers")
    return [found[drawn] for found in values], misses[drawn]
