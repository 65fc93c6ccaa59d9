"""Confidence intervals of error rates by a bootstrap that draws speakers, not trials.

Trials that share a speaker are not independent, so that intervals from the number of trials are
too narrow. Here every replicate draws the speakers with replacement. A trial between two
speakers counts as often as the product of their draws; a trial of a speaker with herself as often
as she was drawn: two copies of one speaker are never set against each other (T. Snijders,
S. Borgatti, "Non-parametric standard errors and tests for network statistics", Connections 22,
1999). Drawing the two sides separately instead squares the weight of the target trials and makes
intervals about 1.7 times too wide. Where the sides are different populations, they are drawn
separately (A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007).

An interval is as wide as Student's t makes it from the standard deviation of the replicates on a
scale on which error rates spread symmetrically (`fusion.intervals.ends`), with the degrees of
freedom that few bad speakers leave (`fusion.intervals.influence`). Its middle is corrected for the
optimism of rates that are least over thresholds, of which a bootstrap sees only half
(`fusion.intervals.optimism`). Percentiles, corrected for bias and skewness or not, cover less.

Dimension legend: N trials, B replicates, P operating points, G false-alarm rates of a band, M
statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.ends import Scale, enough_errors, errors, interval, scales, unseen_errors
from fusion.intervals.influence import (
    degrees,
    pair_rows,
    pair_squares,
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
    replicates,
)
from fusion.intervals.results import Interval, MetricIntervals
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import METRICS, Key
from ivector.base.errors import UsageError

# How often the noise of pairs is taken away, of the two times too many: where a threshold is chosen
# more is left, for the noise of the choice (measured: tests/benchmarks/coverage.py).
_CHOOSING, _GIVEN = 1.0, 1.25


class Spread(NamedTuple):
    """What an interval is made of, beside the estimate: see `fusion.intervals.ends.interval`."""

    scale: Scale
    gained: float
    error: float
    free: float
    unseen: float


@dataclass(frozen=True)
class BootstrapResult(MetricIntervals):
    """What `bootstrap_interval` found, beside the intervals.

    Parameters
    ----------
    replicates : ndarray (B, M)
        Statistics of every replicate that drew both classes, in the order of `intervals`.
    p_fa, p_miss_low, p_miss_high : ndarray (G,)
        Pointwise band of the miss rate at given false-alarm rates.
    level : float
        Of all intervals.
    spreads : dict of (str, int) to Spread
        What the intervals are made of.

    Examples
    --------
    >>> from fusion import bootstrap_interval
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> found = bootstrap_interval(part.scores["plda"], part.target, *part.sides, n_bootstrap=200)
    >>> found.level, found.column(("eer", 0)).shape
    (0.95, (200,))
    >>> found.eer.low < found.eer.estimate < found.eer.high
    True
    """

    replicates: np.ndarray
    p_fa: np.ndarray
    p_miss_low: np.ndarray
    p_miss_high: np.ndarray
    level: float
    spreads: dict[Key, Spread] = field(repr=False)

    def column(self, key: Key) -> np.ndarray:
        """Replicates (B,) of one statistic."""
        return self.replicates[:, list(self.intervals).index(key)]

    def mean(self, keys: Sequence[Key]) -> Interval:
        """Interval of the mean of a metric over points, such as the C_primary of an evaluation.

        Its standard error is that of the parts by their correlation over the replicates; the
        degrees of freedom are the least of theirs.
        """
        spreads = [self.spreads[key] for key in keys]
        estimates = [self.intervals[key].estimate for key in keys]
        errors = np.array([s.error / s.scale.slope(e) for s, e in zip(spreads, estimates)])
        centred = np.array([self.column(key) for key in keys])
        centred -= centred.mean(axis=1, keepdims=True)
        lengths = np.sqrt((centred**2).sum(axis=1))
        centred /= np.where(lengths > 0, lengths, 1)[:, None]
        error = np.sqrt(((errors @ centred) ** 2).sum()) / len(keys)
        return self.alike(keys, float(np.mean(estimates)), float(error))

    def alike(self, keys: Sequence[Key], estimate: float, error: float) -> Interval:
        """Interval of what has the scale, optimism and freedom of the mean of some statistics."""
        spreads = [self.spreads[key] for key in keys]
        scale = spreads[0].scale.with_missed(float(np.mean([s.scale.missed for s in spreads])))
        return interval(
            scale,
            estimate,
            float(np.mean([s.gained for s in spreads])),
            error * scale.slope(estimate),
            min(s.free for s in spreads),
            self.level,
            unseen=float(np.mean([s.unseen for s in spreads])),
            enough=all(self.intervals[key].enough for key in keys),
        )


def bootstrap_interval(
    scores: ArrayLike,
    is_target: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    shared: bool = True,
    p_target: Sequence[float] = (),
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    points: Sequence[OperatingPoint] = (),
    llr: bool = False,
    band: Sequence[float] | np.ndarray = (),
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> BootstrapResult:
    """Confidence intervals of the EER, of normalised detection costs and of Cllr.

    Parameters
    ----------
    scores : array-like (N,)
    is_target : array-like (N,) bool
    enrol_speaker, test_speaker : array-like (N,) int
        Numbers from 0 of the speaker (or other unit of drawing) of either side.
    shared : bool
        Whether both sides number the same speakers. False if they are different populations,
        such as models and utterances whose speakers are not known.
    p_target : sequence of float
        Priors of the costs.
    c_miss, c_fa : float
        Costs that go with `p_target`.
    points : sequence of OperatingPoint
        Further priors, each with its own costs.
    llr : bool
        Whether the scores are natural-log likelihood ratios; then Cllr and actual costs are
        measured too.
    band : sequence of float
        False-alarm rates at which to give an interval of the miss rate.
    n_bootstrap : int
        Replicates; the ends of an interval vary by about 4 % of its width with 1,000.
    level : float
    random_state : int, numpy.random.Generator or None

    Raises
    ------
    DataError
        Too few speakers, one class only, NaN, or arrays of different lengths.
    UsageError
        An impossible prior, cost, level, false-alarm rate or number of replicates.

    Examples
    --------
    >>> from fusion import bootstrap_interval
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> eer = bootstrap_interval(part.scores["plda"], part.target, *part.sides).eer
    >>> print(f"EER {eer.estimate:.2f}, from {eer.low:.2f} to {eer.high:.2f}")
    EER 0.10, from 0.08 to 0.14
    """
    check_drawing(n_bootstrap, level)
    costs = [*(OperatingPoint(p, c_miss, c_fa) for p in p_target), *points]
    grid = np.asarray(band, np.float64)
    if not ((grid >= 0) & (grid <= 1)).all():
        raise UsageError(f"false-alarm rates of a band must be from 0 to 1, got {band!r}")
    (values,), target, *sides = checked_trials([scores], is_target, enrol_speaker, test_speaker)
    system = System(values, target, number_units(sides[0], sides[1], shared), costs, llr)
    rng = np.random.default_rng(random_state)
    found, misses = replicates(system, n_bootstrap, rng, grid)
    gained = optimism(system, SPLITS, rng)
    pairs = pair_squares(pair_rows(system))
    spreads = spreads_of(system, found, gained, unit_sums(system), pairs, level)
    intervals = intervals_of(system, spreads, level)
    low, high = _band(system, grid, misses, level)
    return BootstrapResult(intervals, found, grid, low, high, level, spreads)


def spreads_of(
    system: System,
    found: np.ndarray,
    gained: np.ndarray,
    sums: list[np.ndarray],
    pairs: np.ndarray,
    level: float,
) -> dict[Key, Spread]:
    """What the intervals of a system's statistics are made of.

    Parameters
    ----------
    system : System
    found : ndarray (B, M)
        Replicates.
    gained : ndarray (M,)
        Optimism.
    sums : list of ndarray (M, n_units)
        Influence of the speakers.
    pairs : ndarray (M,)
        Sums of squares of the influence of pairs of speakers.
    level : float
    """
    free, more = degrees(sums), unseen_errors(system, level)
    spreads = {}
    for i, (key, scale) in enumerate(zip(system.keys, scales(system))):
        noise = pairs[i] * scale.slope(float(system.estimates[i])) ** 2
        times = _GIVEN if METRICS[key[0]].choice is None else _CHOOSING
        with np.errstate(invalid="ignore"):  # an infinite Cllr has no spread
            spread = without_pairs(scale.to(found[:, i]).var(ddof=1), noise, times)
        error = float(np.sqrt(scale.of_samples(float(spread)) * unbiased(system.units.sizes)))
        spreads[key] = Spread(scale, gained[i], error, free[i], float(more[i]))
    return spreads


def intervals_of(system: System, spreads: dict[Key, Spread], level: float) -> dict[Key, Interval]:
    """Intervals of a system's statistics."""
    enough = enough_errors(errors(system))
    return {
        key: interval(
            s.scale, float(system.estimates[i]), s.gained, s.error, s.free, level,
            unseen=s.unseen, enough=enough[i],
        )
        for i, (key, s) in enumerate(spreads.items())
    }  # fmt: skip


def _band(
    system: System, grid: np.ndarray, misses: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper miss rates (G,) at false-alarm rates."""
    points = system.operating
    at = np.searchsorted(-points.rates().p_fa, -grid)
    ends = [
        corrected(misses[:, g], points.below(k)[0] / points.n_targets, level)
        for g, k in enumerate(at)
    ]
    low, high = np.array(ends).reshape(-1, 2).T
    return low, high


def corrected(values: np.ndarray, estimate: float, level: float) -> tuple[float, float]:
    """Bias-corrected percentile interval of replicates (B,); includes the estimate.

    B. Efron, R. Tibshirani, "An introduction to the bootstrap", 1993, section 14.3 with
    acceleration 0.
    """
    from scipy.special import ndtr, ndtri

    n = len(values)
    # Half of the ties: replicates of a discrete statistic often equal the estimate.
    below = ((values < estimate).sum() + (values <= estimate).sum()) / (2 * n)
    bias = ndtri(np.clip(below, 1 / n, 1 - 1 / n))
    tail = ndtri((1 + level) / 2)
    low, high = np.quantile(values, ndtr(2 * bias + np.array([-tail, tail])))
    return min(float(low), estimate), max(float(high), estimate)
