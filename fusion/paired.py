"""Are two systems different? A paired bootstrap over speakers, and McNemar's test.

Both systems are measured under the same draws of speakers, so that what makes speakers easy or
hard for both cancels in the difference. The two-sided p-value is that of the level at which the
interval of the difference would just reach zero.

Dimension legend: N trials, B replicates, P operating points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fusion._bootstrap import Drawing, Interval, System, checked_trials, corrected, number_units
from fusion._bootstrap import replicates as _replicates
from fusion.presets import OperatingPoint


@dataclass(frozen=True)
class Difference:
    """Two systems in one metric.

    Parameters
    ----------
    a, b : float
        The metric of either.
    interval : Interval
        Of b - a.
    p_value : float
        Two-sided, of no difference.
    """

    a: float
    b: float
    interval: Interval
    p_value: float


@dataclass(frozen=True)
class PairedResult:
    """What `paired_bootstrap` found, second system minus first.

    Parameters
    ----------
    differences : dict of (str, int) to Difference
        By metric (``eer``, ``min_dcf``, ``min_cllr``, and with log-likelihood ratios ``cllr`` and
        ``act_dcf``) and number of the operating point (0 if the metric has none).
    replicates : ndarray (B, M)
        Difference of every statistic in every replicate.
    """

    differences: dict[tuple[str, int], Difference]
    replicates: np.ndarray


def paired_bootstrap(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    is_target: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    shared: bool = True,
    points: Sequence[OperatingPoint] = (),
    llr: bool = False,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> PairedResult:
    """Differences of two systems on the same trials, with intervals and p-values.

    Parameters
    ----------
    scores_a, scores_b : array-like (N,)
        In the same order of trials; each on its own scale.
    is_target : array-like (N,) bool
    enrol_speaker, test_speaker : array-like (N,) int
        As in `bootstrap_interval`, and so `shared`, `n_bootstrap`, `level`, `random_state`.
    points : sequence of OperatingPoint
    llr : bool
        Whether both scores are natural-log likelihood ratios; then Cllr and actual costs are
        compared too.

    Raises
    ------
    DataError
        Too few speakers, one class only, NaN, or arrays of different lengths.
    UsageError
        An impossible level or number of replicates.
    """
    drawing = Drawing(n_bootstrap, level, random_state)
    both, target, enrol, test = checked_trials(
        [scores_a, scores_b], is_target, enrol_speaker, test_speaker
    )
    units = number_units(enrol, test, shared)
    systems = [System(scores, target, units, points, llr) for scores in both]
    (one, two), _ = _replicates(systems, drawing)
    first, second = (system.estimates() for system in systems)
    differences = {}
    for i, key in enumerate(systems[0].keys):
        change = float(second[i] - first[i])
        low, high, p_value = corrected(two[:, i] - one[:, i], change, level)
        interval = Interval(change, low, high, level)
        differences[key] = Difference(float(first[i]), float(second[i]), interval, p_value)
    return PairedResult(differences, two - one)
