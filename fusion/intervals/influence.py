"""Influence of every speaker, or pair of speakers, on each metric, and the variance of that.

What each trial costs a metric is told by `fusion.metrics.trial_costs`; here it is summed.

Dimension legend: N trials, M statistics, n_units speakers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from fusion.intervals.kernels import class_sums
from fusion.intervals.replicates import System
from fusion.metrics.trial_costs import Costs, Cut, TrialCosts

_NONE, _EACH_ONCE = np.empty(0, np.int32), np.empty(0)
_BLOCK = 1 << 20  # pairs numbered at once


class _Side(NamedTuple):
    """Numbers (N,) of what trials are summed over, how many, and which of them are left out."""

    codes: np.ndarray
    size: int
    other: np.ndarray = _NONE


class _Class:
    """Trials of one class in ascending order of score, to sum over their units or pairs."""

    def __init__(self, target: np.ndarray, wanted: bool, groupings: list[list[_Side]]):
        self.target, self.wanted, self.groupings = target, wanted, groupings
        self.n = int(np.count_nonzero(target == wanted))
        self.counts = self.sums(slice(None))

    def sums(self, part: slice, weights: np.ndarray | None = None) -> list[np.ndarray]:
        """Trials of each unit in a part, or the sum of their weights, for each grouping."""
        start, stop, _ = part.indices(self.n)
        used = _EACH_ONCE if weights is None else weights
        found = []
        for sides in self.groupings:
            sums = [np.zeros(side.size + 1) for side in sides]
            for side, out in zip(sides, sums):
                class_sums(
                    side.codes, side.other, self.target, self.wanted, start, stop, used, out
                )  # fmt: skip
            found.append(np.sum([out[:-1] for out in sums], axis=0))
        return found

    def influence(self, part: slice, weights: np.ndarray | None = None) -> list[np.ndarray]:
        """Influence of each unit on the class's mean of the weights (or of being in the part)."""
        whole = np.arange(self.n)[part].size if weights is None else weights[part].sum()
        found = zip(self.sums(part, weights), self.counts)
        return [(total - whole / self.n * count) / self.n for total, count in found]


def unit_sums(system: System) -> list[np.ndarray]:
    """Influence of each unit on each statistic, (M, n_units) for each population drawn from.

    The sum over the unit's trials of their cost less the mean of their class, by the size of the
    class. With one population a trial counts for both its speakers, but once for a single one.
    """
    enrol, test, sizes = system.enrol, system.test, system.units.sizes
    if len(sizes) == 1:
        # A trial of a speaker with herself counts once.
        groupings = [[_Side(enrol, sizes[0]), _Side(test, sizes[0], enrol)]]
    else:
        groupings = [[_Side(enrol, sizes[0])], [_Side(test, sizes[1])]]
    return [np.array(side) for side in zip(*_rows(system, groupings))]


def pair_rows(system: System) -> Iterator[np.ndarray]:
    """Influence (n_pairs,) of each pair of units on each statistic.

    With one population, trials of a speaker with herself are no pair.
    """
    for (row,) in _rows(system, [[_numbered_pairs(system)]]):
        yield row


def pair_squares(rows: Iterable[np.ndarray]) -> np.ndarray:
    """Sums of squares (M,) over pairs of units of the influence on each statistic.

    The variance that the noise of single pairs makes; `rows` as of `pair_rows`.
    """
    return np.array([(row**2).sum() for row in rows])


def _numbered_pairs(system: System) -> _Side:
    """Pair of units of each trial, numbered without gaps in the order of the units' numbers."""
    shared, size = system.units.shared, system.units.sizes[-1]
    n_trials, n_cells = len(system.target), system.units.sizes[0] * size
    parts = [slice(start, start + _BLOCK) for start in range(0, n_trials, _BLOCK)]

    def pairs(part: slice) -> np.ndarray:
        low, high = (side[part].astype(np.int64) for side in (system.enrol, system.test))
        if shared:
            low, high = np.minimum(low, high), np.maximum(low, high)
        return low * size + high

    codes = np.empty(n_trials, np.int32)
    if n_cells <= 2 * n_trials:
        occurs = np.zeros(n_cells, bool)
        for part in parts:
            occurs[pairs(part)] = True
        numbers = np.cumsum(occurs, dtype=np.int32)
        n_pairs = int(numbers[-1])
        for part in parts:
            codes[part] = numbers[pairs(part)] - 1
    else:
        found = np.unique(np.concatenate([pairs(part) for part in parts]))
        n_pairs = len(found)
        for part in parts:
            codes[part] = np.searchsorted(found, pairs(part))
    if shared:
        # They keep a number, which nothing is counted for.
        codes[system.enrol == system.test] = n_pairs
    return _Side(codes, n_pairs)


def _rows(system: System, groupings: list[list[_Side]]) -> Iterator[list[np.ndarray]]:
    """Influence on each statistic, of each unit in each grouping."""
    tar, non = (_Class(system.target, wanted, groupings) for wanted in (True, False))
    points = system.operating

    def at(cut: Cut) -> list[np.ndarray]:
        missed_below, rejected_below = points.below(cut.at)
        missed = tar.influence(slice(0, missed_below))
        accepted = non.influence(slice(rejected_below, None))
        both = zip(missed, accepted)
        return [cut.part * (cut.miss * one + cut.accept * two) for one, two in both]

    def of(costs: TrialCosts) -> list[np.ndarray]:
        if not isinstance(costs, Costs):
            return [np.sum(parts, axis=0) for parts in zip(*map(at, costs))]
        if not (np.isfinite(costs.tar).all() and np.isfinite(costs.non).all()):
            return [np.full(len(count), np.nan) for count in tar.counts]
        everything = slice(None)
        both = zip(tar.influence(everything, costs.tar), non.influence(everything, costs.non))
        return [one + two for one, two in both]

    for metric, at_point in system.asked:
        yield of(metric.influences(points, at_point))


def variances(sums: list[np.ndarray]) -> np.ndarray:
    """Variance (M,) of each statistic by the infinitesimal jackknife over units.

    The double sum of the influences over all pairs of trials that share a speaker, a pair counted
    for each speaker that it shares. The dyadic estimator (P. Aronow, C. Samii, V. Assenova,
    "Cluster-robust variance estimation for dyadic data", Political Analysis 23, 2015) counts pairs
    that share both speakers once; it is unbiased, but too small too often when errors are few (C.
    Cameron, D. Miller, "Robust inference for dyadic data", 2014), and this one errs on the other
    side, by the noise of single pairs.
    """
    return sum((side**2).sum(axis=1) * side.shape[1] / (side.shape[1] - 1) for side in sums)  # type: ignore[return-value]


def without_pairs(spread: np.ndarray, pairs: np.ndarray, times: float | np.ndarray) -> np.ndarray:
    """Variances (M,) of replicates without what they count too often of the noise of pairs.

    A replicate weights a pair of speakers by a product of draws, whose variance is 3 where a
    draw's is 1 (A. Owen, 2007), so that the noise of single pairs counts three times.
    """
    return np.maximum(spread - times * pairs, spread / 3)


def unbiased(sizes: list[int]) -> float:
    """What makes a bootstrap's variance of n units, a sum over n, one over n - 1."""
    return min(sizes) / (min(sizes) - 1)


def degrees(sums: list[np.ndarray]) -> np.ndarray:
    """Degrees of freedom (M,) of the variances (Satterthwaite).

    A sum of squares over n units of kurtosis k varies like chi-square with 2 n / (k - 1) degrees:
    n for normal influences, few where few speakers make the errors.
    """
    total, spread = np.zeros(len(sums[0])), np.zeros(len(sums[0]))
    for side in sums:
        n = side.shape[1]
        second, fourth = (side**2).mean(axis=1), (side**4).mean(axis=1)
        kurtosis = np.divide(fourth, second**2, out=np.full(len(side), 3.0), where=second > 0)
        free = np.clip(2 * n / np.maximum(kurtosis - 1, 1e-9), min(4, n - 1), n - 1)
        total += n * second
        spread += (n * second) ** 2 / free
    least = float(min(side.shape[1] - 1 for side in sums))
    return np.divide(total**2, spread, out=np.full(len(total), least), where=spread > 0)
