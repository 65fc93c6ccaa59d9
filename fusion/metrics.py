"""Error rates of a detector from the scores of its target and nontarget trials.

A trial is accepted when its score is at or above the threshold. Everything follows from one sort
of each class: the counts of errors at every distinct score, and the lower convex hull of those
points (N. Brümmer, E. de Villiers, "The BOSARIS toolkit", 2011, section 3; the hull is what the
pool-adjacent-violators algorithm gives). Counts are integers, so that ties are exact: trials of
equal score are accepted together.

`eer` is BOSARIS's EER, on the ROC convex hull (ROCCH), the lowest that a threshold mixed at random
can reach and the one that does not depend on how a step is cut. `eer_interpolated` is the one of
most papers, on the ROC itself; it is never below `eer`. Kaldi's ``compute-eer`` instead steps
through the target scores and prints the miss rate of the first whose miss rate is at least the
false-alarm rate: a multiple of 1 / n_targets, up to that much above `eer_interpolated`.

Dimension legend: K points of the curve, one for each distinct score and one that rejects all.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fusion._kernels_metrics import crossing, lower_hull, merge_counts
from ivector.base.errors import DataError, UsageError


class DetCurve(NamedTuple):
    """Error rates (K,) at thresholds (K,), ascending; the last threshold is +inf."""

    p_miss: np.ndarray
    p_fa: np.ndarray
    thresholds: np.ndarray


class OperatingPoints:
    """The errors of a detector at every threshold, from one sort of the scores.

    Parameters
    ----------
    tar, non : array-like
        Scores of the target and of the nontarget trials, (n_targets,) and (n_nontargets,).

    Attributes
    ----------
    n_targets, n_nontargets : int
    thresholds : ndarray (K,) float64
        Distinct scores, ascending, and +inf.
    misses, rejections : ndarray (K,) int64
        Targets and nontargets below each threshold.

    Raises
    ------
    DataError
        A class has no scores, or a score is not a number.
    """

    def __init__(self, tar: ArrayLike, non: ArrayLike):
        tar, non = np.sort(_checked(tar, "target")), np.sort(_checked(non, "nontarget"))
        self.n_targets, self.n_nontargets = len(tar), len(non)
        size = len(tar) + len(non) + 1
        thresholds = np.empty(size)
        misses, rejections = np.empty(size, np.int64), np.empty(size, np.int64)
        n_points = merge_counts(tar, non, thresholds, misses, rejections)
        self.thresholds = thresholds[:n_points]
        self.misses, self.rejections = misses[:n_points], rejections[:n_points]

    @cached_property
    def hull(self) -> np.ndarray:
        """Positions of the points that are vertices of the ROC convex hull."""
        vertices = np.empty(len(self.misses), np.int64)
        n_vertices = lower_hull(self.rejections, self.misses, len(self.misses), vertices)
        return vertices[:n_vertices].copy()

    def rates(self, points: np.ndarray | slice = slice(None)) -> DetCurve:
        """Error rates at some points, default all."""
        p_miss = self.misses[points] / self.n_targets
        p_fa = (self.n_nontargets - self.rejections[points]) / self.n_nontargets
        return DetCurve(p_miss, p_fa, self.thresholds[points])

    def eer(self) -> float:
        """See `eer`."""
        return float(crossing(self.rejections, self.misses, self.hull, len(self.hull)))

    def eer_interpolated(self) -> float:
        """See `eer_interpolated`."""
        points = np.arange(len(self.misses))
        return float(crossing(self.rejections, self.misses, points, len(points)))

    def best_point(self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> int:
        """Position of the point of least detection cost (the first, if several)."""
        weights = cost_weights(p_target, c_miss, c_fa)
        p_miss, p_fa, _ = self.rates(self.hull)
        return int(self.hull[np.argmin(weights[0] * p_miss + weights[1] * p_fa)])

    def min_dcf(
        self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0, normalised: bool = True
    ) -> float:
        """See `min_dcf`."""
        weights = cost_weights(p_target, c_miss, c_fa, normalised)
        # A linear cost is least at a vertex of the hull.
        p_miss, p_fa, _ = self.rates(self.hull)
        return float(np.min(weights[0] * p_miss + weights[1] * p_fa))

    def min_cllr(self) -> float:
        """See `min_cllr`."""
        llr, n_tar, n_non = self._blocks()
        miss = n_tar[n_tar > 0] @ np.logaddexp(0, -llr[n_tar > 0]) / self.n_targets
        accept = n_non[n_non > 0] @ np.logaddexp(0, llr[n_non > 0]) / self.n_nontargets
        return float((miss + accept) / 2 / np.log(2))

    def pav(self, scores: ArrayLike) -> np.ndarray:
        """Log-likelihood ratios (n,) of scores after monotone recalibration on these points."""
        llr, _, _ = self._blocks()
        edges = self.thresholds[self.hull[1:-1]]
        return llr[np.searchsorted(edges, np.asarray(scores, np.float64), side="right")]

    def _blocks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """LLR, targets and nontargets of each edge of the hull (a block of PAV)."""
        n_tar = np.diff(self.misses[self.hull])
        n_non = np.diff(self.rejections[self.hull])
        with np.errstate(divide="ignore"):
            llr = np.log(n_tar / self.n_targets) - np.log(n_non / self.n_nontargets)
        return llr, n_tar, n_non


def _checked(scores: ArrayLike, name: str) -> np.ndarray:
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"the {name} scores are not numbers") from None
    if array.ndim != 1 or not len(array):
        raise DataError(f"{name} scores of shape {array.shape}; give at least one, as (n,)")
    if np.isnan(array).any():
        raise DataError(
            f"{np.isnan(array).sum()} of {len(array)} {name} scores are NaN, first at "
            f"{int(np.argmax(np.isnan(array)))}; mend the scoring"
        )
    return array


def cost_weights(
    p_target: float, c_miss: float = 1.0, c_fa: float = 1.0, normalised: bool = True
) -> tuple[float, float]:
    """Factors of P_miss and P_fa in the detection cost.

    Normalised costs are divided by that of the better of accepting and rejecting everything
    (NIST SRE 2008 evaluation plan, section 2).

    Raises
    ------
    UsageError
        The prior is not strictly between 0 and 1, or a cost is not positive and finite.
    """
    if not 0 < p_target < 1:
        raise UsageError(f"the prior of a target must be between 0 and 1, got {p_target}")
    if not (0 < c_miss < np.inf and 0 < c_fa < np.inf):
        raise UsageError(f"costs must be positive, got c_miss {c_miss} and c_fa {c_fa}")
    miss, accept = c_miss * p_target, c_fa * (1 - p_target)
    scale = min(miss, accept) if normalised else 1.0
    return miss / scale, accept / scale


def eer(tar: ArrayLike, non: ArrayLike) -> float:
    """Equal error rate on the ROC convex hull, as a fraction.

    The hull's intersection with P_miss = P_fa (BOSARIS's ``rocch2eer``); equally the largest, over
    priors, of the least Bayes error of a threshold.

    Parameters
    ----------
    tar, non : array-like (n_targets,), (n_nontargets,)
        Scores of target and nontarget trials.

    Raises
    ------
    DataError
        A class has no scores, or a score is not a number.
    """
    return OperatingPoints(tar, non).eer()


def eer_interpolated(tar: ArrayLike, non: ArrayLike) -> float:
    """Equal error rate on the ROC, linear between neighbouring thresholds, as a fraction.

    What is got from scikit-learn's ``roc_curve`` by solving FNR = FPR. Takes and raises what
    `eer` does.
    """
    return OperatingPoints(tar, non).eer_interpolated()


def min_dcf(
    tar: ArrayLike,
    non: ArrayLike,
    p_target: float,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    normalised: bool = True,
) -> float:
    """Least detection cost over all thresholds: C_miss P_tar P_miss + C_fa (1 - P_tar) P_fa.

    Parameters
    ----------
    tar, non : array-like (n_targets,), (n_nontargets,)
    p_target : float
        Prior probability of a target trial.
    c_miss, c_fa : float
    normalised : bool
        Whether 1 is the cost of the better decision without scores.

    Raises
    ------
    DataError
        A class has no scores, or a score is not a number.
    UsageError
        An impossible prior or cost.
    """
    return OperatingPoints(tar, non).min_dcf(p_target, c_miss, c_fa, normalised)


def act_dcf(
    tar_llr: ArrayLike,
    non_llr: ArrayLike,
    p_target: float,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    normalised: bool = True,
) -> float:
    """Detection cost at the Bayes threshold, ln(C_fa (1 - P_tar) / (C_miss P_tar)).

    Takes log-likelihood ratios (natural logarithm); otherwise like `min_dcf`.
    """
    tar_llr, non_llr = _checked(tar_llr, "target"), _checked(non_llr, "nontarget")
    weights = cost_weights(p_target, c_miss, c_fa, normalised)
    threshold = np.log(weights[1]) - np.log(weights[0])
    p_miss, p_fa = np.mean(tar_llr < threshold), np.mean(non_llr >= threshold)
    return float(weights[0] * p_miss + weights[1] * p_fa)


def det_curve(tar: ArrayLike, non: ArrayLike) -> DetCurve:
    """Error rates at every distinct score; takes and raises what `eer` does.

    Returns
    -------
    p_miss, p_fa : ndarray (K,) float64
        From (0, 1), everything accepted, to (1, 0).
    thresholds : ndarray (K,) float64
        Ascending; the last is +inf.
    """
    return OperatingPoints(tar, non).rates()


def rocch(tar: ArrayLike, non: ArrayLike) -> DetCurve:
    """Vertices of the ROC convex hull, like `det_curve` (BOSARIS's ``rocch``)."""
    points = OperatingPoints(tar, non)
    return points.rates(points.hull)


def pav(tar: ArrayLike, non: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Recalibrate scores monotonically to the log-likelihood ratios of least cost.

    The pool-adjacent-violators algorithm (BOSARIS's ``opt_loglr``); no smoothing, so that the
    outermost may be infinite.

    Returns
    -------
    tar_llr, non_llr : ndarray (n_targets,), (n_nontargets,)
        Natural logarithm, in the order of the scores.
    """
    points = OperatingPoints(tar, non)
    return points.pav(tar), points.pav(non)


def cllr(tar_llr: ArrayLike, non_llr: ArrayLike) -> float:
    """Cost of log-likelihood ratios over all priors, in bits.

    N. Brümmer, J. du Preez, "Application-independent evaluation of speaker detection", 2006,
    equation 41; takes natural logarithms and raises what `eer` does.
    """
    tar_llr, non_llr = _checked(tar_llr, "target"), _checked(non_llr, "nontarget")
    miss, accept = np.logaddexp(0, -tar_llr).mean(), np.logaddexp(0, non_llr).mean()
    return float((miss + accept) / 2 / np.log(2))


def min_cllr(tar: ArrayLike, non: ArrayLike) -> float:
    """`cllr` after the best monotone recalibration (`pav`), in bits."""
    return OperatingPoints(tar, non).min_cllr()
