"""Measures of log-likelihood ratios (llr) as evidence, beside Cllr and min Cllr.

- devPAV (P. Vergeer et al., Forensic Science International 321, 2021): how far llr are from those
  that the trials themselves give.
- Mean distance over the trials: the same, but each trial counts and not each part of the range.
- Empirical lower and upper bounds, ELUB (P. Vergeer, A. van Es, A. de Jongh, I. Alberink,
  R. Stoel, "Numerical likelihood ratios outputted by LR systems are often based on extrapolation:
  When to stop extrapolating?", Science & Justice 56, 2016), and invariance bounds (I. Alberink et
  al., 2025, submitted): between which llr the trials are enough to support such values.
- Rates of misleading evidence (R. Royall, "On the probability of observing misleading statistical
  evidence", JASA 95, 2000).

Bounds are found exactly, not on a grid. All llr are natural logarithms.

Dimension legend: K points of a curve, T thresholds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fusion.metrics.arrays import checked
from fusion.metrics.curve import OperatingPoints
from ivector.base.errors import DataError, UsageError

LEAST_TRIALS = 10  # of a class; with fewer, a bound tells their number and not the system


class Bounds(NamedTuple):
    """Lower and upper llr, natural logarithms; 0 and 0 where the trials support no llr at all.

    Examples
    --------
    >>> from fusion.forensic import Bounds
    >>> Bounds(-2.0, 3.0).upper
    3.0
    """

    lower: float
    upper: float


def finite_points(tar: ArrayLike, non: ArrayLike) -> OperatingPoints:
    """The errors of llr at every threshold.

    Raises
    ------
    DataError
        A class has no llr, or one is not finite.
    """
    tar, non = checked(tar, "target"), checked(non, "nontarget")
    refuse_infinite(tar, "llr of target trials")
    refuse_infinite(non, "llr of nontarget trials")
    return OperatingPoints(tar, non, keep=True)


def refuse_infinite(values: np.ndarray, what: str) -> None:
    """Raise DataError unless all values (n,) are finite."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {len(values)} {what} are not finite, first "
            f"{values[wrong][0]:g}; evidence is never beyond all bounds, calibrate the scores"
        )


def dev_pav(tar: ArrayLike, non: ArrayLike) -> float:
    """Mean distance of llr from those that PAV finds in the trials.

    The area between the PAV map and the identity, where PAV is finite, by the length of that range.

    Parameters
    ----------
    tar, non : array-like (n_targets,), (n_nontargets,)
        Llr of target and nontarget trials.

    Returns
    -------
    float
        In natural logarithm; NaN if the classes overlap nowhere, so that nothing can be checked.

    Raises
    ------
    DataError
        A class has no llr, or one is not finite.

    Examples
    --------
    >>> from fusion.forensic import dev_pav
    >>> round(dev_pav([-0.5, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]), 3)
    0.625
    """
    return dev_pav_of(finite_points(tar, non))


def dev_pav_of(points: OperatingPoints) -> float:
    """`dev_pav` of the points of a curve."""
    ends = np.stack([points.hull[:-1], points.hull[1:] - 1], axis=1).ravel()
    given = points.thresholds[ends]
    distance = points.pav(given) - given
    seen = np.isfinite(distance)
    given, distance = given[seen], distance[seen]
    if len(given) < 2 or given[0] == given[-1]:
        return float("nan")
    one, two = distance[:-1], distance[1:]
    total = np.abs(one) + np.abs(two)
    # Where the distance changes sign there are two triangles.
    squares = np.divide(one**2 + two**2, total, out=np.zeros_like(total), where=total > 0)
    height = np.where(one * two < 0, squares, total) / 2
    return float(height @ np.diff(given) / (given[-1] - given[0]))


def mean_distance_of(points: OperatingPoints) -> float:
    """Mean distance of llr from those that PAV finds, over the trials of a curve.

    Both classes weigh alike, or the many nontargets would hide the targets; trials of whose llr PAV
    finds an infinite one count not. NaN if none is left.
    """
    given, found = points.thresholds[:-1], points.pav(points.thresholds[:-1])
    weight = np.diff(points.misses) / points.n_targets
    weight = weight + np.diff(points.rejections) / points.n_nontargets
    seen = np.isfinite(given) & np.isfinite(found)
    if not seen.any():
        return float("nan")
    return float(np.average(np.abs(given - found)[seen], weights=weight[seen]))


def elub(tar: ArrayLike, non: ArrayLike) -> Bounds:
    """Empirical lower and upper bounds of llr.

    At a threshold t, deciding by the llr costs P_miss + exp(t) P_fa, and deciding without them
    min(1, exp(t)). With one more target trial of llr −∞ and one more nontarget trial of +∞, the
    bounds are the thresholds nearest to 0, on either side, beyond which the llr cost more than
    none; at most log(n_nontargets + 1), and at least −log(n_targets + 1).

    Parameters
    ----------
    tar, non : array-like (n_targets,), (n_nontargets,)

    Raises
    ------
    DataError
        A class has fewer than 10 llr, or one is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion.forensic import elub
    >>> rng = np.random.default_rng(0)
    >>> tar, non = rng.normal(4.5, 3, 300), rng.normal(-4.5, 3, 3000)
    >>> print("%.1f to %.1f" % elub(tar, non))
    -4.0 to 6.6
    """
    return elub_of(finite_points(tar, non))


def elub_of(points: OperatingPoints) -> Bounds:
    """`elub` of the points of a curve."""
    _refuse_few(points)
    n_tar, n_non = points.n_targets, points.n_nontargets
    missed = (points.misses + 1) / (n_tar + 1)
    accepted = (n_non - points.rejections + 1) / (n_non + 1)
    with np.errstate(divide="ignore"):  # where all are missed or all accepted
        found = _nearest(
            points.thresholds, np.log(missed / (1 - accepted)), np.log((1 - missed) / accepted)
        )
    return Bounds(
        max(found.lower, -float(np.log(n_tar + 1))), min(found.upper, float(np.log(n_non + 1)))
    )


def invariance_bounds(tar: ArrayLike, non: ArrayLike) -> Bounds:
    """Bounds within which llr are no larger than the trials beyond them say.

    With tail shares p₁(t) = (#{targets ≥ t} + ½) / (n_targets + 1), and p₂ likewise of
    nontargets, the upper bound is the first t > 0 where log p₁ − log p₂ < t, and the lower the
    first t < 0 where log(1 − p₁) − log(1 − p₂) > t. Takes and raises what `elub` does.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion.forensic import invariance_bounds
    >>> rng = np.random.default_rng(0)
    >>> tar, non = rng.normal(4.5, 3, 300), rng.normal(-4.5, 3, 3000)
    >>> print("%.1f to %.1f" % invariance_bounds(tar, non))
    -4.2 to 7.1
    """
    return invariance_bounds_of(finite_points(tar, non))


def invariance_bounds_of(points: OperatingPoints) -> Bounds:
    """`invariance_bounds` of the points of a curve."""
    _refuse_few(points)
    n_tar, n_non = points.n_targets, points.n_nontargets
    tar = (n_tar - points.misses + 0.5) / (n_tar + 1)
    non = (n_non - points.rejections + 0.5) / (n_non + 1)
    return _nearest(points.thresholds, np.log((1 - tar) / (1 - non)), np.log(tar / non))


def _refuse_few(points: OperatingPoints) -> None:
    for count, name in ((points.n_targets, "target"), (points.n_nontargets, "nontarget")):
        if count < LEAST_TRIALS:
            raise DataError(
                f"bounds of llr need at least {LEAST_TRIALS} trials of either class, there are "
                f"{count} {name} trials; take more"
            )


def _nearest(thresholds: np.ndarray, below: np.ndarray, above: np.ndarray) -> Bounds:
    """Thresholds nearest to 0 that are under `below`, or over `above`.

    Those (K,) hold for all t after the threshold before, up to and with their own.
    """
    before = np.concatenate([[-np.inf], thresholds[:-1]])
    upper = np.maximum(np.maximum(before, above), 0.0)
    lower = np.minimum(np.minimum(thresholds, below), 0.0)
    return Bounds(
        float(lower[lower > before].max(initial=-np.inf)),
        float(upper[upper < thresholds].min(initial=np.inf)),
    )


class MisleadingRates(NamedTuple):
    """Shares (T,) of either class whose likelihood ratio misleads by at least a factor."""

    factors: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray


def misleading_rates(
    tar: ArrayLike, non: ArrayLike, factors: ArrayLike = (1.0, 10.0, 100.0, 1000.0)
) -> MisleadingRates:
    """How often likelihood ratios (LR) point the wrong way, and by how much.

    Parameters
    ----------
    tar, non : array-like (n_targets,), (n_nontargets,)
    factors : array-like (T,)
        Of at least 1. A target trial counts where LR < 1 / factor, a nontarget trial where
        LR > factor. Of llr that mean what they say, neither does in more than 1 / factor.

    Raises
    ------
    DataError
        A class has no llr, or one is not finite.
    UsageError
        A factor is below 1.

    Examples
    --------
    >>> from fusion.forensic import misleading_rates
    >>> rates = misleading_rates([-3.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.5, 1.5], factors=[1, 10])
    >>> rates.targets.tolist(), rates.nontargets.tolist()
    ([0.25, 0.25], [0.5, 0.0])
    """
    return misleading_rates_of(finite_points(tar, non), factors)


def misleading_rates_of(
    points: OperatingPoints, factors: ArrayLike = (1.0, 10.0, 100.0, 1000.0)
) -> MisleadingRates:
    """`misleading_rates` of the points of a curve."""
    ratios = np.atleast_1d(np.asarray(factors, np.float64))
    if not (np.isfinite(ratios) & (ratios >= 1)).all():
        raise UsageError(f"factors of misleading evidence are at least 1, got {factors!r}")
    wrong = points.rates(np.searchsorted(points.thresholds, -np.log(ratios))).p_miss
    over = points.rates(np.searchsorted(points.thresholds, np.log(ratios), side="right")).p_fa
    return MisleadingRates(ratios, wrong, over)
