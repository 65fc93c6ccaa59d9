"""Parts of `Calibration`: input checks, knots of PAV and of warping, Gaussians, thresholds.

Dimension legend: N trials, Q quality measures, K knots.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fusion.calibration.bounded import lean
from fusion.calibration.estimator import number_table
from fusion.calibration.logistic import fit_logistic
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.order import order
from fusion.metrics.rates import cllr
from fusion.metrics.table import INFORMATION, METRICS
from ivector.base.errors import DataError, DegenerateDataWarning, warn_caller

LARGEST = 1e50  # of scores: no system's are, and their squares must not overflow
# Of bi-Gaussianising: nodes of the quadrature, llr at which the mixture's distribution is known,
# standard deviations of it, and deviations between which systems are told apart.
_NODES, _TABLE, _TAILS, _SIGMA = 200, 8193, 9.0, (1e-3, 100.0)


def crossing(slope: float, offset: float) -> float:
    """Where slope · s + offset rises through 0."""
    if slope <= 0:
        raise DataError(
            "lower scores speak for one speaker (the score has a negative weight), so that there "
            "is no lowest score to accept; turn the sign of the scores, or, if a few of them far "
            "out have turned it, train with `bounded`"
        )
    return float(-offset / slope)


def scores_and_measures(X: ArrayLike, quality: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) and measures (N, Q), finite, of scores alone or of a table (N, 1 + Q)."""
    table = number_table(X)
    columns = table[:, None] if table.ndim == 1 else table
    if columns.ndim != 2 or not len(columns):
        raise DataError(f"scores of shape {table.shape}; give (n_trials,)")
    values = np.ascontiguousarray(columns[:, 0])
    refuse_infinite(values, "scores")
    if max(values.max(), -values.min()) > LARGEST:
        raise DataError(f"a score is {values[np.abs(values).argmax()]:g}; mend the scoring")
    if quality is None:
        measures = np.ascontiguousarray(columns[:, 1:])
        refuse_infinite(measures, "quality measures")
        return values, measures
    if columns.shape[1] > 1:
        raise DataError(
            "quality measures are given twice, as columns beside the score and as quality; give "
            "them once"
        )
    return values, quality_table(quality, len(values))


def quality_table(quality: ArrayLike, n_trials: int) -> np.ndarray:
    """Measures (N, Q), finite, of (N, Q) or (N,)."""
    table = number_table(quality, "quality measures")
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != n_trials:
        raise DataError(
            f"{n_trials} trials but quality measures of shape {table.shape}; give (n_trials, Q)"
        )
    refuse_infinite(table, "quality measures")
    return table


def refuse_infinite(values: np.ndarray, what: str) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} {what} are NaN or infinite, first in trial "
            f"{int(np.argwhere(wrong)[0, 0])}; mend them"
        )


def pav_knots(values: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots (K,) and their llr: the first and the last score of each block of PAV."""
    ends = np.array([-np.inf, np.inf])
    points = OperatingPoints(np.append(values[target], ends), np.append(values[~target], ends))
    scores = np.unique(values)
    llr = points.pav(scores)
    edge = np.flatnonzero(np.diff(llr) > 0)
    keep = np.unique(np.concatenate([[0], edge, edge + 1, [len(scores) - 1]]))
    return scores[keep], llr[keep]


def bigaussian_knots(
    values: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Knots (K,), the training scores, with their llr, and σ of a perfect system of that Cllr.

    The llr of a score has the cumulative probability in the mixture of N(σ²/2, σ²) and N(−σ²/2, σ²)
    that the score has among the training scores, both classes weighing the same; σ is the one whose
    Cllr is that of logistic calibration, or of isotonic, where scores far out rule the former.
    """
    sigma = sigma_of_cllr(_bits(values, target))
    knots, place = np.unique(values, return_inverse=True)
    at = np.bincount(place.ravel(), np.where(target, 0.5 / target.sum(), 0.5 / (~target).sum()))
    below = np.cumsum(at) - at / 2
    above = np.cumsum(at[::-1])[::-1] - at / 2
    return knots, _mixture_quantile(np.log(below) - np.log(above), sigma), sigma


def _bits(values: np.ndarray, target: np.ndarray) -> float:
    """Cllr after logistic calibration; the least one, if scores far out make that worthless."""
    fit = fit_logistic(values, target)
    llr = fit.weights[0] * values + fit.offset
    bits = cllr(llr[target], llr[~target])
    if fit.weights[0] > 0 and bits < cllr_of_sigma(_SIGMA[0]):
        return bits
    points = OperatingPoints(values[target], values[~target])
    found = order(points)
    if found.higher:
        return METRICS[INFORMATION.best].measure(points)
    if fit.weights[0] <= 0:
        raise DataError(f"{found.words} of cases; turn the sign of the scores or mend the scoring")
    return bits


def beyond_knots(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """What (N,) keeps scores beyond the knots in order (`fusion.calibration.bounded.lean`)."""
    return lean((values - np.clip(values, *knots[[0, -1]])) / np.ptp(knots))


def cllr_of_sigma(sigma: float) -> float:
    """Cllr in bits of llr N(σ²/2, σ²) of targets and N(−σ²/2, σ²) of nontargets."""
    # Both classes cost the same. What is integrated falls like exp(-|x| / 2) at least: beyond 40
    # nothing is left, however far away the mean of the targets.
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    reach = min(40.0, sigma * _TAILS)
    x = reach * nodes
    log_density = -(((x - sigma**2 / 2) / sigma) ** 2) / 2 - np.log(sigma * np.sqrt(2 * np.pi))
    return float(reach * weights @ (np.exp(log_density) * np.logaddexp(0, -x)) / np.log(2))


def sigma_of_cllr(bits: float) -> float:
    """Standard deviation of the perfectly calibrated Gaussian llr that have a Cllr in bits.

    Raises
    ------
    DataError
        Cllr is so near to 1 that the scores tell nothing.
    """
    from scipy.optimize import brentq

    if bits >= cllr_of_sigma(_SIGMA[0]):
        raise DataError("the scores tell nothing (Cllr is 1 after calibration); mend the scoring")
    if bits <= cllr_of_sigma(_SIGMA[1]):
        return _SIGMA[1]
    return float(brentq(lambda sigma: cllr_of_sigma(sigma) - bits, *_SIGMA, xtol=1e-12))


def _mixture_quantile(log_odds: np.ndarray, sigma: float) -> np.ndarray:
    """Llr (K,) at which the mixture's cumulative probability has given log-odds (K,)."""
    from scipy.special import log_ndtr

    most = sigma**2 / 2 + _TAILS * sigma
    x = np.linspace(-most, most, _TABLE)
    up, down = (x - sigma**2 / 2) / sigma, (x + sigma**2 / 2) / sigma
    below = np.logaddexp(log_ndtr(up), log_ndtr(down))
    above = np.logaddexp(log_ndtr(-up), log_ndtr(-down))
    return np.interp(log_odds, below - above, x)


def fit_gaussians(values: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances (2,) of greatest likelihood, of nontargets and targets.

    One variance for both unless two raise the likelihood by more than Schwarz's criterion asks of
    a further parameter, ½ log N.
    """
    classes = [values[~target], values[target]]
    means = np.array([part.mean() for part in classes])
    own = np.array([np.square(part - mean).mean() for part, mean in zip(classes, means)])
    counts = np.array([len(part) for part in classes])
    shared = float(counts @ own / len(values))
    if not shared > 0:
        raise DataError(
            "all scores of a class are the same, so that Gaussians have no width; use more "
            "trials or another method"
        )
    if own.min() <= 1e-12 * shared:
        return means, np.full(2, shared)
    gain = (len(values) * np.log(shared) - counts @ np.log(own)) / 2
    if gain <= np.log(len(values)) / 2:
        return means, np.full(2, shared)
    turn = (means[1] * own[0] - means[0] * own[1]) / (own[0] - own[1])
    beyond = int(np.sum(values < turn if own[0] < own[1] else values > turn))
    if beyond:
        warn_caller(
            f"the two Gaussians differ in width: for {beyond} of {len(values)} scores "
            f"{'below' if own[0] < own[1] else 'above'} {turn:.4g} a higher one means less. "
            "Unless the scores are truly Gaussian, take another method",
            DegenerateDataWarning,
        )
    return means, own


def knot_threshold(knots: np.ndarray, llr: np.ndarray, aim: float) -> float:
    """Lowest score whose interpolated llr is at least `aim`."""
    if aim > llr[-1]:
        return math.inf
    if aim <= llr[0]:
        return -math.inf
    k = int(np.searchsorted(llr, aim))
    part = (aim - llr[k - 1]) / (llr[k] - llr[k - 1])
    return float(knots[k - 1] + part * (knots[k] - knots[k - 1]))


def gaussian_llr(values: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Log of the ratio of the second Gaussian's density (N,) to the first's."""
    density = [
        -(np.square(values - mean) / variance + np.log(variance)) / 2
        for mean, variance in zip(means, variances)
    ]
    return density[1] - density[0]


def gaussian_threshold(means: np.ndarray, variances: np.ndarray, aim: float) -> float:
    """Score at which the llr of two Gaussians rises through `aim`."""
    v0, v1 = map(float, variances)
    step = float(means[1] - means[0])
    # llr = a s² + b s + c, about the mean of nontargets.
    a, b = (1 / v0 - 1 / v1) / 2, step / v1
    c = (math.log(v0) - math.log(v1) - step * step / v1) / 2 - aim
    if v0 == v1:
        return float(means[0]) + crossing(b, c)
    inside = b * b - 4 * a * c
    if not inside >= 0:
        return -math.inf if a > 0 else math.inf
    # The root where 2 a s + b = +√: the rising side, written so that nothing cancels.
    root = math.sqrt(inside)
    return float(means[0]) + (-2 * c / (b + root) if b >= 0 else (root - b) / (2 * a))
