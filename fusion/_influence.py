"""Influence of every trial, and of every speaker, on each error rate.

To first order an error rate moves as the mean of what each trial costs. For rates that are least
over thresholds, the threshold may be held (envelope theorem). The EER is the largest over priors of
the least Bayes error, so that the prior may be held too: the one at which the hull's edge through
P_miss = P_fa has constant error. Min Cllr costs each trial the bits of its block of PAV.

Dimension legend: N trials, M statistics, P operating points, n_units speakers.
"""

from __future__ import annotations

import numpy as np

from fusion._bootstrap import System


class _Class:
    """Trials of one class in ascending order of score, to sum over their units."""

    def __init__(self, system: System, which: np.ndarray):
        self.enrol, self.test = system.enrol[which], system.test[which]
        self.sizes = system.units.sizes
        if len(self.sizes) == 1:
            # A trial of a speaker with herself counts once: its other side falls off the end.
            self.test = np.where(self.enrol == self.test, self.sizes[0], self.test)
        self.n = len(self.enrol)
        self.counts = self.sums(slice(None))

    def sums(self, part: slice, weights: np.ndarray | None = None) -> list[np.ndarray]:
        """Trials of each unit in a part, or the sum of their weights, for each population."""
        used = None if weights is None else weights[part]
        sides = (self.enrol[part], self.test[part])
        size = max(self.sizes) + 1
        one, two = (np.bincount(side, used, size).astype(np.float64) for side in sides)
        if len(self.sizes) == 1:
            return [(one + two)[: self.sizes[0]]]
        return [one[: self.sizes[0]], two[: self.sizes[1]]]

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
    tar, non = _Class(system, system.target), _Class(system, ~system.target)
    points, hull = system.operating, system.operating.hull
    rows: list[list[np.ndarray]] = []

    def at(point: np.integer, miss: float, accept: float) -> list[np.ndarray]:
        missed = tar.influence(slice(0, int(points.misses[point])))
        accepted = non.influence(slice(int(points.rejections[point]), None))
        return [miss * one + accept * two for one, two in zip(missed, accepted)]

    def of(tar_bits: np.ndarray, non_bits: np.ndarray) -> list[np.ndarray]:
        everything = slice(None)
        both = zip(tar.influence(everything, tar_bits), non.influence(everything, non_bits))
        return [(one + two) / 2 for one, two in both]

    prior, before, part = crossing_edge(system)
    ends = [at(hull[before + i], prior, 1 - prior) for i in (0, 1)]
    rows.append([(1 - part) * one + part * two for one, two in zip(*ends)])
    p_miss, p_fa, _ = points.rates(hull)
    for miss, accept in system.costs:
        rows.append(at(hull[np.argmin(miss * p_miss + accept * p_fa)], miss, accept))
    rows.append(of(*_block_bits(system)))
    if system.llr:
        rows.append(of(system.bits[system.target], system.bits[~system.target]))
        rows += [at(bar, *costs) for bar, costs in zip(system.bars, system.costs)]
    return [np.array(side) for side in zip(*rows)]


def _block_bits(system: System) -> tuple[np.ndarray, np.ndarray]:
    """Bits (n_targets,), (n_nontargets,) that min Cllr costs each trial, by its block of PAV."""
    points, hull = system.operating, system.operating.hull
    n_tar, n_non = np.diff(points.misses[hull]), np.diff(points.rejections[hull])
    a, b = n_tar / points.n_targets, n_non / points.n_nontargets
    with np.errstate(divide="ignore"):
        return np.repeat(np.log2((a + b) / a), n_tar), np.repeat(np.log2((a + b) / b), n_non)


def crossing_edge(system: System) -> tuple[float, int, float]:
    """Where P_miss = P_fa on the hull: prior of constant error, vertex before, part of the edge."""
    points = system.operating
    p_miss, p_fa, _ = points.rates(points.hull)
    ahead = p_miss - p_fa
    after = int(np.argmax(ahead >= 0))
    before = after - 1
    part = ahead[before] / (ahead[before] - ahead[after])
    rise, fall = p_miss[after] - p_miss[before], p_fa[before] - p_fa[after]
    return float(fall / (rise + fall)), before, float(part)


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
