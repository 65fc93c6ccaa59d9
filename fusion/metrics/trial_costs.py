"""What each trial costs a metric, to first order: its influence function.

To first order a metric moves as the mean of what its targets cost and the mean of what its
nontargets cost. For metrics that are least over thresholds, the threshold may be held (envelope
theorem). The EER is the largest over priors of the least Bayes error, so that the prior may be held
too: the one at which the hull's edge through P_miss = P_fa has constant error. Min Cllr costs each
trial the bits of its block of PAV.

A metric of which no such function is known has `cost_of_neighbours`.

Dimension legend: K points of a curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusion.metrics.points import cost_weights

if TYPE_CHECKING:
    from fusion.metrics.curve import OperatingPoints

_GROUPS = 200  # of each class in `cost_of_neighbours`


class Cut(NamedTuple):
    """Errors at one threshold: `miss` for each missed target, `accept` for each false alarm.

    Parameters
    ----------
    at : int
        Position of the point of the curve.
    miss, accept : float
    part : float
        By which both are multiplied.
    """

    at: int
    miss: float
    accept: float
    part: float = 1.0


class Costs(NamedTuple):
    """Costs of each target (n_targets,) and each nontarget (n_nontargets,), ascending in score."""

    tar: np.ndarray
    non: np.ndarray


TrialCosts = Sequence[Cut] | Costs


def of_crossing(points: OperatingPoints) -> list[Cut]:
    """EER: errors at the two vertices between which P_miss = P_fa."""
    prior, before, part = points.crossing_edge()
    ends = (int(points.hull[before + i]) for i in (0, 1))
    return [Cut(at, prior, 1 - prior, share) for at, share in zip(ends, (1 - part, part))]


def of_least_cost(
    points: OperatingPoints, p_target: float, c_miss: float, c_fa: float
) -> list[Cut]:
    """Least detection cost: errors at the best threshold."""
    at = points.best_point(p_target, c_miss, c_fa)
    return [Cut(at, *cost_weights(p_target, c_miss, c_fa))]


def of_actual_cost(
    points: OperatingPoints, p_target: float, c_miss: float, c_fa: float
) -> list[Cut]:
    """Actual detection cost: errors at the Bayes threshold."""
    at = points.bayes_point(p_target, c_miss, c_fa)
    return [Cut(at, *cost_weights(p_target, c_miss, c_fa))]


def of_bits(points: OperatingPoints) -> Costs:
    """Cllr: half the bits of each trial."""
    llr = points.thresholds[:-1]
    tar, non = np.repeat(llr, np.diff(points.misses)), np.repeat(llr, np.diff(points.rejections))
    np.negative(tar, out=tar)
    for bits in (tar, non):
        np.logaddexp(0, bits, out=bits)
        bits /= np.log(2)
        bits /= 2
    return Costs(tar, non)


def of_block_bits(points: OperatingPoints) -> Costs:
    """Min Cllr: half the bits of each trial after PAV, the same in each of its blocks."""
    n_tar, n_non = np.diff(points.misses[points.hull]), np.diff(points.rejections[points.hull])
    a, b = n_tar / points.n_targets, n_non / points.n_nontargets
    with np.errstate(divide="ignore"):
        return Costs(
            np.repeat(np.log2((a + b) / a), n_tar) / 2, np.repeat(np.log2((a + b) / b), n_non) / 2
        )


def cost_of_neighbours(
    measure: Callable[[OperatingPoints], float], points: OperatingPoints
) -> Costs:
    """Costs for any metric, numerically: one for all trials of a class with neighbouring scores.

    Each class is cut into 200 groups by score. Every group is once counted twice and once left out;
    half the difference of the two, a share of 1 - q² of the whole effect for a group that is the
    share q of its class, is exact for a mean over trials, and right to first order for others.

    Parameters
    ----------
    measure : callable
        The metric, of an `OperatingPoints`.
    points : OperatingPoints
    """

    def moved(counts: np.ndarray, sign: int, part: np.ndarray, of_targets: bool) -> float:
        both = (
            (counts + sign * part, points.rejections)
            if of_targets
            else (points.misses, counts + sign * part)
        )
        return measure(type(points).of_counts(points.thresholds, *both))

    found = []
    for counts, of_targets in ((points.misses, True), (points.rejections, False)):
        n = int(counts[-1])
        shares = n * np.arange(1, _GROUPS) / _GROUPS
        edges = np.unique([0, *np.searchsorted(counts, shares), len(counts) - 1])
        costs = np.zeros(n)
        for low, high in zip(counts[edges[:-1]], counts[edges[1:]]):
            if not 0 < high - low < n:
                continue  # a whole class moves nothing by its weight
            part, q = np.clip(counts, low, high) - low, (high - low) / n
            more, less = (moved(counts, sign, part, of_targets) for sign in (1, -1))
            costs[low:high] = (more - less) / 2 * (1 - q * q) / q
        found.append(costs)
    return Costs(*found)
