"""Intervals of C_primary equalised over partitions, by a bootstrap that draws speakers.

Dimension legend: N trials, B replicates, P operating points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fusion.intervals.bootstrap import corrected
from fusion.intervals.replicates import draws, number_units
from fusion.intervals.results import Interval
from fusion.metrics.equalised import EqualisedPoints


class Equalised(NamedTuple):
    """C_primary at the best and at the Bayes thresholds, equalised; ends NaN without replicates."""

    least: Interval
    actual: Interval


def equalised_interval(
    points: EqualisedPoints,
    enrol_speaker: np.ndarray,
    test_speaker: np.ndarray,
    *,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int = 0,
) -> Equalised:
    """Means over the operating points, with percentile intervals as those of the pooled C_primary.

    Parameters
    ----------
    points : EqualisedPoints
    enrol_speaker, test_speaker : ndarray (N,) int
        Speakers of both sides, in the order of the scores that `points` was made of.
    n_bootstrap : int
        Replicates; 0 for none.
    level : float
    random_state : int

    Raises
    ------
    DataError
        Fewer than two speakers.
    """
    estimates = points.least().mean(), points.actual().mean()
    if not n_bootstrap:
        return Equalised(*(Interval(float(e), np.nan, np.nan, level) for e in estimates))
    units = number_units(enrol_speaker[points.order], test_speaker[points.order], True)
    found = []
    rng = np.random.default_rng(random_state)
    for _, (drawn,) in draws(units, len(units.enrol), n_bootstrap, rng):
        for counts in drawn:
            # A trial of a speaker with herself counts as often as she was drawn.
            other = np.where(units.enrol == units.test, 1, counts[units.test])
            found.append(points.weighted(counts[units.enrol] * other).mean(axis=1))
    replicates = np.array(found)
    replicates = replicates[~np.isnan(replicates[:, 0])]
    ends = [corrected(replicates[:, k], float(e), level) for k, e in enumerate(estimates)]
    return Equalised(*(Interval(float(e), *both, level) for e, both in zip(estimates, ends)))
