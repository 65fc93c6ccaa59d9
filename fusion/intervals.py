"""Confidence intervals of error rates by a bootstrap that draws speakers, not trials.

Trials that share a speaker are not independent, so that intervals from the number of trials are
too narrow. Here every replicate draws the speakers with replacement. A trial between two
speakers counts as often as the product of their draws; a trial of a speaker with herself as often
as she was drawn: two copies of one speaker are never set against each other (T. Snijders,
S. Borgatti, "Non-parametric standard errors and tests for network statistics", Connections 22,
1999). Drawing the two sides separately instead squares the weight of the target trials and makes
intervals about 1.7 times too wide. Where the sides are different populations, they are drawn
separately (A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007).

Intervals are bias-corrected percentiles (B. Efron, R. Tibshirani, "An introduction to the
bootstrap", 1993, section 14.3 with acceleration 0): the convex hull and the least cost fit a
replicate's fewer distinct speakers too well, and plain percentiles would lie too low.

Dimension legend: N trials, B replicates, P detection costs, G false-alarm rates of a band.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fusion._kernels_metrics import bootstrap_block
from fusion.metrics import OperatingPoints, cost_weights
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.log import progress

_BLOCK_NUMBERS = 1 << 21  # draws held at once
_BLOCK_TRIALS = 1 << 28  # weighted between two looks at the clock, about a second
_LONG = 1 << 31  # trials times replicates from which progress is shown
_FEW_SPEAKERS = 10


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; error rates are fractions."""

    estimate: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class BootstrapResult:
    """What `bootstrap_interval` found.

    Parameters
    ----------
    eer : Interval
        EER on the ROC convex hull.
    min_dcf : list of Interval
        One for each prior.
    replicates : ndarray (B, 1 + P)
        EER and costs of every replicate that drew both classes.
    p_fa, p_miss_low, p_miss_high : ndarray (G,)
        Pointwise band of the miss rate at given false-alarm rates.
    """

    eer: Interval
    min_dcf: list[Interval]
    replicates: np.ndarray
    p_fa: np.ndarray
    p_miss_low: np.ndarray
    p_miss_high: np.ndarray


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
    band: Sequence[float] | np.ndarray = (),
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> BootstrapResult:
    """Confidence intervals of the EER and of normalised minimum costs.

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
    """
    if n_bootstrap < 20 or not 0 < level < 1:
        raise UsageError(
            f"an interval needs at least 20 replicates and a level between 0 and 1, got "
            f"{n_bootstrap} and {level}"
        )
    trials = _sorted_trials(scores, is_target, enrol_speaker, test_speaker)
    points = OperatingPoints(trials[0][trials[1]], trials[0][~trials[1]])
    costs = np.array([cost_weights(p, c_miss, c_fa) for p in p_target]).reshape(-1, 2)
    estimates = [points.eer(), *(points.min_dcf(p, c_miss, c_fa) for p in p_target)]
    rng = np.random.default_rng(random_state)
    grid = np.asarray(band, np.float64)
    if not ((grid >= 0) & (grid <= 1)).all():
        raise UsageError(f"false-alarm rates of a band must be from 0 to 1, got {band!r}")
    values, misses = _replicates(trials, shared, costs, grid, n_bootstrap, rng)
    found = [
        Interval(estimate, *_corrected(values[:, i], estimate, level), level)
        for i, estimate in enumerate(estimates)
    ]
    at = np.searchsorted(-points.rates().p_fa, -grid)
    miss = [
        _corrected(misses[:, g], points.misses[k] / points.n_targets, level)
        for g, k in enumerate(at)
    ]
    low, high = np.array(miss).reshape(-1, 2).T
    return BootstrapResult(found[0], found[1:], values, grid, low, high)


def _sorted_trials(
    scores: ArrayLike, is_target: ArrayLike, enrol: ArrayLike, test: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Check the arrays and put the trials in ascending order of score."""
    values = np.asarray(scores, np.float64)
    target = np.asarray(is_target, bool)
    sides = [np.asarray(side) for side in (enrol, test)]
    if values.ndim != 1 or any(a.shape != values.shape for a in (target, *sides)):
        shapes = ", ".join(str(np.shape(a)) for a in (values, target, *sides))
        raise DataError(
            f"scores, classes and speakers of shapes {shapes}; give four of (n_trials,)"
        )
    if np.isnan(values).any():
        raise DataError(f"{np.isnan(values).sum()} scores are NaN; mend the scoring")
    if any(not np.issubdtype(side.dtype, np.integer) or (side < 0).any() for side in sides):
        raise DataError("speakers must be numbers from 0; number them first")
    order = np.argsort(values, kind="stable")
    enrol32, test32 = (side.astype(np.int32)[order] for side in sides)
    return values[order], target[order], enrol32, test32


def _replicates(
    trials: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    shared: bool,
    costs: np.ndarray,
    grid: np.ndarray,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """EER and costs (B, 1 + P) and miss rates (B, G) of the replicates."""
    scores, target, enrol, test = trials
    last = np.append(scores[1:] != scores[:-1], True)
    sizes, enrol, test = _renumber(enrol, test, shared)
    eer, dcf = np.empty(n_bootstrap), np.empty((n_bootstrap, len(costs)))
    miss = np.empty((n_bootstrap, len(grid)))
    step = max(1, min(_BLOCK_NUMBERS // sum(sizes), _BLOCK_TRIALS // len(scores)))
    starts: Iterable[int] = range(0, n_bootstrap, step)
    if n_bootstrap * len(scores) > _LONG:
        starts = progress(starts, desc="bootstrap", unit="block")
    for start in starts:
        part = slice(start, min(start + step, n_bootstrap))
        draws = [
            [np.bincount(rng.integers(n, size=n), minlength=n) for n in sizes]
            for _ in range(start, part.stop)
        ]
        weights = [np.array(w, np.int64) for w in zip(*draws)]
        bootstrap_block(
            enrol, test, target, last, shared, weights[0], weights[-1],
            costs, grid, eer[part], dcf[part], miss[part],
        )  # fmt: skip
    drawn = ~np.isnan(eer)
    if 2 * drawn.sum() < n_bootstrap:
        raise DataError("most replicates drew no target or no nontarget trial; use more speakers")
    return np.column_stack([eer, dcf])[drawn], miss[drawn]


def _renumber(
    enrol: np.ndarray, test: np.ndarray, shared: bool
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Number the speakers that occur without gaps; sizes of the populations to draw from."""
    if shared:
        found, codes = np.unique(np.concatenate([enrol, test]), return_inverse=True)
        sizes = [len(found)]
        enrol, test = codes[: len(enrol)].astype(np.int32), codes[len(enrol) :].astype(np.int32)
    else:
        (one, enrol), (two, test) = (np.unique(a, return_inverse=True) for a in (enrol, test))
        sizes = [len(one), len(two)]
        enrol, test = enrol.astype(np.int32), test.astype(np.int32)
    if min(sizes) < 2:
        raise DataError("an interval needs at least 2 speakers to draw from; use --bootstrap 0")
    if min(sizes) < _FEW_SPEAKERS:
        warnings.warn(
            f"only {min(sizes)} speakers to draw from: the intervals are rough, use more",
            DegenerateDataWarning,
            stacklevel=4,
        )
    return sizes, enrol, test


def _corrected(values: np.ndarray, estimate: float, level: float) -> tuple[float, float]:
    """Bias-corrected percentile interval of replicates (B,); includes the estimate."""
    from scipy.special import ndtr, ndtri

    n = len(values)
    # Half of the ties: replicates of a discrete statistic often equal the estimate.
    below = ((values < estimate).sum() + (values <= estimate).sum()) / (2 * n)
    bias = ndtri(np.clip(below, 1 / n, 1 - 1 / n))
    tail = ndtri((1 + level) / 2)
    low, high = np.quantile(values, ndtr(2 * bias + np.array([-tail, tail])))
    return min(float(low), estimate), max(float(high), estimate)
