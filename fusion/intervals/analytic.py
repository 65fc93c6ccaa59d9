"""Fast confidence intervals of error rates, without replicates.

The variance is that of the speakers' influence functions (`fusion.intervals.influence`); the
optimism of what is least over thresholds is told from a few halves of the speakers
(`fusion.intervals.optimism`), and
its square is added to the variance for the noise of the thresholds themselves, which influence
functions do not see. Ten times as fast as a bootstrap of 1,000 replicates or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.ends import interval, scales
from fusion.intervals.influence import degrees, unit_sums, variances
from fusion.intervals.optimism import optimism
from fusion.intervals.replicates import (
    Interval,
    System,
    check_level,
    checked_trials,
    fields,
    number_units,
)
from fusion.metrics.points import OperatingPoint

_SPLITS = 10


@dataclass(frozen=True)
class AnalyticResult:
    """What `analytic_interval` found; fields as in `fusion.intervals.bootstrap.BootstrapResult`."""

    eer: Interval
    min_dcf: list[Interval]
    min_cllr: Interval
    cllr: Interval | None = None
    act_dcf: list[Interval] = field(default_factory=list)


def analytic_interval(
    scores: ArrayLike,
    is_target: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    shared: bool = True,
    points: Sequence[OperatingPoint] = (),
    llr: bool = False,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> AnalyticResult:
    """Confidence intervals of the EER, of normalised detection costs and of Cllr.

    Parameters
    ----------
    scores : array-like (N,)
    is_target : array-like (N,) bool
    enrol_speaker, test_speaker : array-like (N,) int
        As in `fusion.intervals.bootstrap.bootstrap_interval`, and so `shared`.
    points : sequence of OperatingPoint
    llr : bool
        Whether the scores are natural-log likelihood ratios; then Cllr and actual costs are
        measured too.
    level : float
    random_state : int, numpy.random.Generator or None
        Of the halves.

    Raises
    ------
    DataError
        Too few speakers, one class only, NaN, or arrays of different lengths.
    UsageError
        An impossible level.
    """
    check_level(level)
    (values,), target, *sides = checked_trials([scores], is_target, enrol_speaker, test_speaker)
    system = System(values, target, number_units(sides[0], sides[1], shared), points, llr)
    (gained,) = optimism([system], _SPLITS, np.random.default_rng(random_state))
    sums = unit_sums(system)
    spread, free = np.sqrt(variances(sums) + _threshold_noise(system, gained)), degrees(sums)
    found = {}
    for i, (key, scale) in enumerate(zip(system.keys, scales(system))):
        estimate = float(system.estimates[i])
        error = spread[i] * scale.slope(estimate)
        found[key] = interval(scale, estimate, gained[i], error, free[i], level)
    return AnalyticResult(**fields(found))


def _threshold_noise(system: System, gained: np.ndarray) -> np.ndarray:
    """Variance (M,) that the choice of thresholds adds, from what it gains.

    Both fall like N^(-4/3). That of one threshold is about the square of its gain, with the error
    of the gain itself; in min Cllr the noise of many thresholds averages.
    """
    part = np.array([0.5 if key[0] == "min_cllr" else 1.0 for key in system.keys])
    return part * gained**2
