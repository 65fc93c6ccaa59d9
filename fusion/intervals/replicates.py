"""Replicates of speaker bootstraps: checked and sorted trials, draws of speakers, statistics.

Dimension legend: N trials, B replicates, P operating points, G false-alarm rates, M statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.kernels import COMPUTED, bootstrap_block
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint, cost_weights
from fusion.metrics.table import METRICS, Key, Metric, statistics
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller
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
    enrol, test : ndarray (N,) integers
        Of as few bytes as their numbers need.
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
        warn_caller(
            f"only {fewest} speakers to draw from: the intervals are rough, use more",
            DegenerateDataWarning,
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
        return *np.split(_small(codes, len(found)), len(sides)), len(found)
    occurs = np.zeros(most + 1, bool)
    for side in sides:
        occurs[side] = True
    numbers = np.cumsum(occurs) - 1
    size = int(numbers[-1]) + 1
    return *(_small(numbers, size)[side] for side in sides), size


def _small(numbers: np.ndarray, size: int) -> np.ndarray:
    """Numbers below a size, as integers of few bytes."""
    return numbers.astype(np.uint16 if size <= 1 << 16 else np.int32)


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
    estimates : ndarray (M,)
        Statistics of the trials as they are.
    """

    def __init__(
        self,
        scores: np.ndarray,
        target: np.ndarray,
        units: Units,
        points: Sequence[OperatingPoint],
        llr: bool,
    ):
        order = np.argsort(scores)
        scores, self.target = scores[order], target[order]
        self.enrol, self.test = units.enrol[order], units.test[order]
        del order  # as large as the scores
        self.units, self.points, self.llr = units, list(points), llr
        self.keys = statistics(len(self.points), llr)
        self.operating, self.estimates = self._measured_once(scores)
        self.last = np.append(scores[1:] != scores[:-1], True)
        weights = [cost_weights(p.p_target, p.c_miss, p.c_fa) for p in points]
        self.costs = np.array(weights, np.float64).reshape(-1, 2)
        self.bars, self.bits = np.empty(0, np.int64), np.empty(0)
        if llr:
            thresholds = np.log(self.costs[:, 1]) - np.log(self.costs[:, 0])
            self.bars = np.searchsorted(self.operating.thresholds[:-1], thresholds)
            self.bits = np.negative(scores, where=self.target, out=scores)
            np.logaddexp(0, self.bits, out=self.bits)
            self.bits /= np.log(2)

    @property
    def asked(self) -> list[tuple[Metric, OperatingPoint | None]]:
        """Metric and operating point of each statistic."""
        metrics = [(METRICS[name], number) for name, number in self.keys]
        return [(m, self.points[number] if m.per_point else None) for m, number in metrics]

    def _measured_once(self, scores: np.ndarray) -> tuple[OperatingPoints, np.ndarray]:
        """The curve of sorted scores (N,), and its statistics (M,)."""
        curve = OperatingPoints.of_sorted(scores, self.target, keep=self.llr)
        return curve, np.array([metric.measure(curve, at) for metric, at in self.asked])

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
    system: System,
    n_bootstrap: int,
    rng: np.random.Generator,
    grid: np.ndarray | Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Statistics (B, M) and miss rates (B, G) of a system under draws of both classes.

    Raises
    ------
    DataError
        Most draws lack a class.
    """
    values = np.empty((n_bootstrap, len(system.keys)))
    misses = np.empty((n_bootstrap, len(grid)))
    for part, weights in draws(system.units, len(system.target), n_bootstrap, rng):
        values[part], misses[part] = system.weighted(weights, grid)
    drawn = ~np.isnan(values[:, 0])
    if 2 * drawn.sum() < n_bootstrap:
        raise DataError("most replicates drew no target or no nontarget trial; use more speakers")
    return values[drawn], misses[drawn]
