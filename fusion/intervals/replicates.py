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

from fusion.intervals.kernels import bootstrap_block
from fusion.metrics.points import OperatingPoint
from fusion.metrics.rates import OperatingPoints, act_dcf, cllr, cost_weights
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.log import progress

_BLOCK_NUMBERS = 1 << 21  # draws held at once
_BLOCK_TRIALS = 1 << 28  # weighted between two looks at the clock, about a second
_LONG = 1 << 31  # trials times replicates from which progress is shown
_FEW_SPEAKERS = 10


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; error rates are fractions."""

    estimate: float
    low: float
    high: float
    level: float


def check_drawing(n_bootstrap: int, level: float) -> None:
    """Raise UsageError unless there are enough replicates and the level is between 0 and 1."""
    check_level(level)
    if n_bootstrap < 20:
        raise UsageError(f"an interval needs at least 20 replicates, got {n_bootstrap}")


def check_level(level: float) -> None:
    """Raise UsageError unless the level is between 0 and 1."""
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval must be between 0 and 1, got {level}")


def fields(found: dict[tuple[str, int], Any]) -> dict[str, Any]:
    """What was found for each statistic, by the fields of a result."""
    kinds: dict[str, Any] = {"min_dcf": [], "act_dcf": []}
    for (kind, _), one in found.items():
        if kind in ("min_dcf", "act_dcf"):
            kinds[kind].append(one)
        else:
            kinds[kind] = one
    return kinds


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
        raise DataError("an interval needs at least 2 speakers to draw from; use --bootstrap 0")
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
        Name of each statistic and its position among those of its kind.
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
        self.operating = OperatingPoints(scores[target], scores[~target])
        self.order = np.argsort(scores)
        self.scores, self.target = scores[self.order], target[self.order]
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
        n_points = range(len(self.points))
        self.keys = [("eer", 0), *(("min_dcf", i) for i in n_points), ("min_cllr", 0)]
        if llr:
            self.keys += [("cllr", 0), *(("act_dcf", i) for i in n_points)]

    @cached_property
    def estimates(self) -> np.ndarray:
        """Statistics (M,) of the trials as they are."""
        costs = [(p.p_target, p.c_miss, p.c_fa) for p in self.points]
        points = self.operating
        found = [points.eer(), *(points.min_dcf(*c) for c in costs), points.min_cllr()]
        if self.llr:
            tar, non = self.scores[self.target], self.scores[~self.target]
            found += [cllr(tar, non), *(act_dcf(tar, non, *c) for c in costs)]
        return np.array(found)

    def weighted(
        self, weights: Sequence[np.ndarray], grid: np.ndarray | Sequence[float] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Statistics (B, M) and miss rates (B, G) under draws, each (B, n_units) int64."""
        rates = np.asarray(grid, np.float64)
        out = np.empty((len(weights[0]), len(self.keys)))
        miss = np.empty((len(weights[0]), len(rates)))
        bootstrap_block(
            self.enrol, self.test, self.target, self.last, self.units.shared,
            weights[0], weights[-1], self.costs, self.bars, self.bits, rates, out, miss,
        )  # fmt: skip
        return out, miss


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
