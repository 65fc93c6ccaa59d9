"""Intervals of C_primary equalised over partitions, by a bootstrap that draws speakers.

Dimension legend: N trials, B replicates, P operating points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion.intervals.bootstrap import BootstrapResult
from fusion.intervals.influence import unbiased
from fusion.intervals.replicates import draws, number_units
from fusion.intervals.results import Interval
from fusion.metrics.equalised import EqualisedPoints
from fusion.metrics.table import Key


def equalised_intervals(
    points: EqualisedPoints,
    enrol_speaker: np.ndarray,
    test_speaker: np.ndarray,
    pooled: BootstrapResult,
    keys: Sequence[Sequence[Key]],
    *,
    n_bootstrap: int = 1000,
    random_state: int = 0,
) -> list[Interval]:
    """Intervals of the means over the operating points: of the least and of the actual costs.

    They spread on the scale of the pooled costs, with the optimism and the degrees of freedom of
    those; how far, is told by replicates of their own.

    Parameters
    ----------
    points : EqualisedPoints
    enrol_speaker, test_speaker : ndarray (N,) int
        Speakers of both sides, in the order of the scores that `points` was made of.
    pooled : BootstrapResult
        Of the same scores without partitions.
    keys : sequence of sequences of (str, int)
        Which statistics of it are the least costs at the points, and which are the actual ones, if
        these are wanted.
    n_bootstrap : int
        Replicates.
    random_state : int

    Raises
    ------
    DataError
        Fewer than two speakers.
    """
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
    intervals = []
    for names, drawn_costs, costs in zip(keys, replicates.T, (points.least(), points.actual())):
        estimate, scale = float(costs.mean()), pooled.spreads[names[0]].scale
        spread = scale.of_samples(scale.to(drawn_costs).var(ddof=1)) * unbiased(units.sizes)
        intervals.append(pooled.alike(names, estimate, np.sqrt(spread) / scale.slope(estimate)))
    return intervals
