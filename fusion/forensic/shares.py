"""Shares of trials with intervals, whose speakers are drawn and not the trials.

Dimension legend: N trials of a class.
"""

from __future__ import annotations

import numpy as np

from fusion.intervals.influence import degrees
from fusion.intervals.replicates import Units, renumbered
from fusion.intervals.results import Interval


def share_interval(
    hit: np.ndarray, enrol: np.ndarray, test: np.ndarray, shared: bool, level: float
) -> Interval:
    """Share of the trials of a class that are hit, and its interval.

    The variance is that of the sums over speakers, on the scale of the logit with Student's t.
    Where none or all are hit, the end is the share of speakers who could be otherwise without one
    of them being seen to.

    Parameters
    ----------
    hit : ndarray (N,) bool
    enrol, test : ndarray (N,) int
    shared : bool
        Whether both sides number the same speakers.
    level : float
    """
    from scipy.special import expit, logit, stdtrit

    units = renumbered(enrol, test, shared)
    share, fewest = float(hit.mean()), min(units.sizes)
    beyond = 1 - ((1 - level) / 2) ** (1 / fewest)
    if share in (0, 1):
        low, high = (0.0, beyond) if share == 0 else (1 - beyond, 1.0)
        return Interval(share, low, high, level)
    if fewest < 2:
        return Interval(share, 0.0, 1.0, level)
    sums = _sums((hit - share) / len(hit), units)
    variance = sum(float(side @ side) * len(side) / (len(side) - 1) for side in sums)
    free = float(degrees([side[None] for side in sums])[0])
    half = stdtrit(free, (1 + level) / 2) * np.sqrt(variance) / (share * (1 - share))
    low, high = (float(expit(logit(share) + sign * half)) for sign in (-1, 1))
    return Interval(share, low, high, level)


def _sums(values: np.ndarray, units: Units) -> list[np.ndarray]:
    """Sums over the trials of each unit; of one population, a trial of both sides counts once."""
    if not units.shared:
        sides = zip((units.enrol, units.test), units.sizes)
        return [np.bincount(side, values, size) for side, size in sides]
    size = units.sizes[0]
    other = np.where(units.enrol == units.test, 0.0, values)
    return [np.bincount(units.enrol, values, size) + np.bincount(units.test, other, size)]
