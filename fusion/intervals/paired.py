"""Are two systems different? A paired bootstrap over speakers, and McNemar's test.

Both systems are measured under the same draws of speakers, so that what makes speakers easy or
hard for both cancels in the difference. The two-sided p-value is 1 less the level at which the
interval of the difference just reaches zero.

Dimension legend: N trials, B replicates, P operating points.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.bootstrap import intervals_of, spreads_of
from fusion.intervals.ends import Errors, Scale, difference, enough_errors, errors, scales
from fusion.intervals.influence import (
    degrees,
    pair_rows,
    unbiased,
    unit_sums,
    without_pairs,
)
from fusion.intervals.optimism import SPLITS, optimism
from fusion.intervals.replicates import (
    System,
    check_drawing,
    checked_trials,
    number_units,
    renumbered,
    replicates,
)
from fusion.intervals.results import Difference, McNemar, MetricIntervals
from fusion.metrics.points import OperatingPoint

# How often to take the noise of pairs from rates that choose thresholds: of the 2 that are too
# many a part is left for the noise of their optimism (measured: tests/benchmarks/coverage.py).
_CHOOSING = 1.25


@dataclass(frozen=True)
class PairedResult:
    """What `paired_bootstrap` found, second system minus first.

    Parameters
    ----------
    differences : dict of (str, int) to Difference
        By metric (those that need log-likelihood ratios only of such) and number of the operating
        point (0 if the metric has none).
    replicates : ndarray (B, M)
        Difference of every statistic in every replicate.
    systems : tuple of MetricIntervals
        Of the first system and of the second, as `bootstrap_interval` finds them.

    Examples
    --------
    >>> from fusion import paired_bootstrap
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> cosine, plda = part.scores["cosine"], part.scores["plda"]
    >>> found = paired_bootstrap(cosine, plda, part.target, *part.sides)
    >>> list(found.differences)
    [('eer', 0), ('min_cllr', 0)]
    >>> found.replicates.shape
    (1000, 2)
    """

    differences: dict[tuple[str, int], Difference]
    replicates: np.ndarray
    systems: tuple[MetricIntervals, MetricIntervals]


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

    Examples
    --------
    >>> from fusion import paired_bootstrap
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> cosine, plda = part.scores["cosine"], part.scores["plda"]
    >>> found = paired_bootstrap(cosine, plda, part.target, *part.sides)
    >>> eer = found.differences["eer", 0]
    >>> print(f"EER {eer.a:.2f} and {eer.b:.2f}, p < 0.05: {eer.p_value < 0.05}")
    EER 0.09 and 0.10, p < 0.05: False
    """
    check_drawing(n_bootstrap, level)
    both, target, enrol, test = checked_trials(
        [scores_a, scores_b], is_target, enrol_speaker, test_speaker
    )
    units = number_units(enrol, test, shared)
    rng = np.random.default_rng(random_state)
    again = copy.deepcopy(rng)
    # One after the other, as a system takes several times the memory of its scores.
    one = _drawn(System(both[0], target, units, points, llr), n_bootstrap, rng, level)
    system = System(both[1], target, units, points, llr)
    two = _drawn(system, n_bootstrap, again, level, less=one.pairs)
    free = degrees([b - a for a, b in zip(one.sums, two.sums)])
    choose = np.array([metric.choice is not None for metric, _ in system.asked])
    with np.errstate(invalid="ignore"):  # an infinite Cllr has no spread
        spread = (two.raised - one.raised).var(axis=0, ddof=1)
    spread = without_pairs(spread, two.apart, np.where(choose, _CHOOSING, 2))
    deviations = np.sqrt(spread * unbiased(units.sizes))
    enough = enough_errors(one.made, two.made)
    differences = {}
    for i, key in enumerate(system.keys):
        a, b = float(one.estimates[i]), float(two.estimates[i])
        gain = two.gained[i] - one.gained[i]
        found = difference(
            two.scales[i], b - a, gain, deviations[i], free[i], level, enough=enough[i]
        )
        differences[key] = Difference(a, b, *found)
    return PairedResult(differences, two.found - one.found, (one.intervals, two.intervals))


class _Drawn(NamedTuple):
    """Of one system: replicates, as found and raised; estimates, optimism, influences.

    `pairs` are the influences of pairs on each statistic; those of a second system are not kept,
    but `apart`, the sums of squares (M,) of what they differ by. `made` are the errors of
    each statistic.
    """

    found: np.ndarray
    raised: np.ndarray
    estimates: np.ndarray
    gained: np.ndarray
    sums: list[np.ndarray]
    pairs: list[np.ndarray]
    apart: np.ndarray
    made: list[Errors | None]
    scales: list[Scale]
    intervals: MetricIntervals


def _drawn(
    system: System,
    n_bootstrap: int,
    rng: np.random.Generator,
    level: float,
    less: list[np.ndarray] | None = None,
) -> _Drawn:
    found, _ = replicates(system, n_bootstrap, rng)
    gained = optimism(system, SPLITS, rng)
    sums, rows, squares, apart = unit_sums(system), [], [], []
    for i, row in enumerate(pair_rows(system)):
        squares.append(float((row**2).sum()))
        if less is None:
            rows.append(row)
        else:
            apart.append(float(np.sum((row - less[i]) ** 2)))
    spreads = spreads_of(system, found, gained, sums, np.array(squares), level)
    return _Drawn(
        found, _raised(system, found, gained), system.estimates, gained, sums, rows,
        np.array(apart), errors(system), scales(system),
        MetricIntervals(intervals_of(system, spreads, level)),
    )  # fmt: skip


def _raised(system: System, found: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """Replicates (B, M) brought to the size of the estimate without its optimism.

    What has a logarithmic scale spreads in proportion to its size, and is even smaller than the
    estimate.
    """
    size = found.mean(axis=0)
    grows = np.array([metric.scale != "plain" for metric, _ in system.asked])
    whole = np.divide(
        system.estimates + gained,
        size,
        out=np.ones(len(size)),
        where=grows & (size > 0) & np.isfinite(size),
    )
    return found * whole


def mcnemar(
    wrong_a: ArrayLike,
    wrong_b: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    shared: bool = True,
) -> McNemar:
    """McNemar's test of whether two systems make as many errors as each other.

    Beside the exact test, one for clustered pairs: the difference of errors by the root of the sum
    over speakers of its square, against Student's t (V. Durkalski et al., "Analysis of clustered
    matched-pair data", Statistics in Medicine 22, 2003; here a trial is of both its speakers).

    Parameters
    ----------
    wrong_a, wrong_b : array-like (N,) bool
        Whether either system decides the trial wrongly.
    enrol_speaker, test_speaker : array-like (N,) int
        As in `bootstrap_interval`, and so `shared`.

    Raises
    ------
    DataError
        Arrays of different lengths, or speakers that are not numbers.
    """
    from scipy.special import stdtr
    from scipy.stats import binomtest

    one, two = np.asarray(wrong_a, bool), np.asarray(wrong_b, bool)
    _, _, enrol, test = checked_trials([two], one, enrol_speaker, test_speaker)
    differ = np.flatnonzero(one != two)
    more = two[differ].astype(np.float64) - one[differ]
    only_a, only_b = int((more < 0).sum()), int((more > 0).sum())
    if not only_a + only_b:
        return McNemar(0, 0, 1.0, 1.0)
    units = renumbered(enrol, test, shared)
    size = max(units.sizes)
    enrol, test = units.enrol[differ], units.test[differ]
    sides = [np.bincount(enrol, more, size), np.bincount(test, more, size)]
    if shared:
        own = enrol == test
        sides = [sides[0] + sides[1] - np.bincount(enrol[own], more[own], size)]
    spread = float(sum((side**2).sum() for side in sides))
    p_speakers = 1.0
    if spread and min(units.sizes) > 1:
        p_speakers = float(2 * stdtr(min(units.sizes) - 1, -abs(more.sum()) / np.sqrt(spread)))
    p_exact = float(binomtest(only_a, only_a + only_b).pvalue)
    return McNemar(only_a, only_b, p_exact, p_speakers)
