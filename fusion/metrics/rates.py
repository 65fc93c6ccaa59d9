"""Error rates of a detector from the scores of its target and nontarget trials.

A trial is accepted when its score is at or above the threshold. Who wants several of them builds
`fusion.metrics.curve.OperatingPoints` once, whose methods have the same names.

`eer` is BOSARIS's EER, on the ROC convex hull (ROCCH), the lowest that a threshold mixed at random
can reach and the one that does not depend on how a step is cut. `eer_interpolated` is the one of
most papers, on the ROC itself; it is never below `eer`. Kaldi's ``compute-eer`` instead steps
through the target scores and prints the miss rate of the first whose miss rate is at least the
false-alarm rate: a multiple of 1 / n_targets, up to that much above `eer_interpolated`.

Where scores are natural log-likelihood ratios (llr), what they are worth at a prior or over all
priors is measured too: actual costs, Cllr, empirical cross-entropy, Bayes error.

Infinite scores are scores; NaN is refused, as it can stand on no side of a threshold.

Dimension legend: K points of the curve, one for each distinct score and one that rejects all;
G prior log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fusion.metrics.arrays import checked
from fusion.metrics.curve import (
    BayesError,
    CrossEntropy,
    DetCurve,
    OperatingPoints,
    bayes_threshold,
    mean_bits,
)
from fusion.metrics.points import OperatingPoint, cost_weights


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

    Examples
    --------
    >>> from fusion import eer
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> eer(tar, non)
    0.25
    """
    return OperatingPoints(tar, non).eer()


def eer_interpolated(tar: ArrayLike, non: ArrayLike) -> float:
    """Equal error rate on the ROC, linear between neighbouring thresholds, as a fraction.

    What is got from scikit-learn's ``roc_curve`` by solving FNR = FPR. Takes and raises what
    `eer` does.

    Examples
    --------
    >>> from fusion import eer_interpolated
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> eer_interpolated(tar, non)
    0.25
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

    Examples
    --------
    >>> from fusion import min_dcf
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> min_dcf(tar, non, p_target=0.5)
    0.5
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

    Examples
    --------
    >>> from fusion import act_dcf
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> act_dcf(tar, non, p_target=0.5)
    0.75
    """
    tar_llr, non_llr = checked(tar_llr, "target"), checked(non_llr, "nontarget")
    weights = cost_weights(p_target, c_miss, c_fa, normalised)
    threshold = bayes_threshold(weights)
    p_miss, p_fa = np.mean(tar_llr < threshold), np.mean(non_llr >= threshold)
    return float(weights[0] * p_miss + weights[1] * p_fa)


def c_primary(
    tar_llr: ArrayLike,
    non_llr: ArrayLike,
    points: str | Sequence[OperatingPoint],
    minimum: bool = False,
) -> float:
    """Mean of the normalised detection costs at several operating points, NIST's C_primary.

    As defined by the evaluation plan of NIST SRE 2016 and those after it.

    Parameters
    ----------
    tar_llr, non_llr : array-like (n_targets,), (n_nontargets,)
        Log-likelihood ratios (natural logarithm); any scores, if `minimum`.
    points : str or sequence of fusion.metrics.points.OperatingPoint
        Name of a preset, such as ``"sre16"``, or the points.
    minimum : bool
        Whether to take each cost at its best threshold instead of the Bayes threshold.

    Raises
    ------
    DataError
        A class has no scores, or a score is not a number.
    UsageError
        No such preset, or no points.

    Examples
    --------
    >>> from fusion import c_primary
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> c_primary(tar, non, "sre16")
    1.0
    >>> c_primary(tar, non, "sre16", minimum=True)
    0.5
    """
    return OperatingPoints(tar_llr, non_llr).c_primary(points, minimum)


def det_curve(tar: ArrayLike, non: ArrayLike) -> DetCurve:
    """Error rates at every distinct score; takes and raises what `eer` does.

    Returns
    -------
    p_miss, p_fa : ndarray (K,) float64
        From (0, 1), everything accepted, to (1, 0).
    thresholds : ndarray (K,) float64
        Ascending; the last is +inf.

    Examples
    --------
    >>> from fusion import det_curve
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> p_miss, p_fa, thresholds = det_curve(tar, non)
    >>> p_miss.tolist()
    [0.0, 0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 1.0]
    >>> p_fa.tolist()
    [1.0, 0.75, 0.5, 0.5, 0.25, 0.25, 0.0, 0.0, 0.0]
    """
    return OperatingPoints(tar, non).rates()


def rocch(tar: ArrayLike, non: ArrayLike) -> DetCurve:
    """Vertices of the ROC convex hull, like `det_curve` (BOSARIS's ``rocch``).

    Examples
    --------
    >>> from fusion import rocch
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> hull = rocch(tar, non)
    >>> hull.p_miss.tolist(), hull.p_fa.tolist()
    ([0.0, 0.0, 0.5, 1.0], [1.0, 0.5, 0.0, 0.0])
    """
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

    Examples
    --------
    >>> from fusion import pav
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> tar_llr, non_llr = pav(tar, non)
    >>> tar_llr.round(2).tolist()
    [0.0, 0.0, inf, inf]
    >>> non_llr.round(2).tolist()
    [-inf, -inf, 0.0, 0.0]
    """
    points = OperatingPoints(tar, non)
    return points.pav(tar), points.pav(non)


def cllr(tar_llr: ArrayLike, non_llr: ArrayLike) -> float:
    """Cost of log-likelihood ratios over all priors, in bits.

    N. Brümmer, J. du Preez, "Application-independent evaluation of speaker detection", 2006,
    equation 41; takes natural logarithms and raises what `eer` does.

    Examples
    --------
    >>> from fusion import cllr
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> round(cllr(tar, non), 2)
    0.79
    >>> cllr([0.0], [0.0])  # llrs that tell nothing
    1.0
    """
    tar_llr, non_llr = checked(tar_llr, "target"), checked(non_llr, "nontarget")
    return mean_bits(tar_llr, non_llr)


def min_cllr(tar: ArrayLike, non: ArrayLike) -> float:
    """`cllr` after the best monotone recalibration (`pav`), in bits.

    Examples
    --------
    >>> from fusion import cllr, min_cllr
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> round(min_cllr(tar, non), 2), round(cllr(tar, non), 2)
    (0.5, 0.79)
    """
    return OperatingPoints(tar, non).min_cllr()


def ece(tar_llr: ArrayLike, non_llr: ArrayLike, prior_log_odds: ArrayLike) -> CrossEntropy:
    """Empirical cross-entropy of the posteriors that llrs give, over priors.

    D. Ramos, J. Gonzalez-Rodriguez, "Reliable support: measuring calibration of likelihood
    ratios", Forensic Science International 230, 2013. At even odds it is `cllr`.

    Parameters
    ----------
    tar_llr, non_llr : array-like (n_targets,), (n_nontargets,)
        Log-likelihood ratios (natural logarithm).
    prior_log_odds : array-like (G,)
        Natural log-odds of a target; their decimal logarithms are often drawn.

    Returns
    -------
    prior_log_odds, actual, minimum, default : ndarray (G,)
        In bits. `minimum` is that after `pav`, what discrimination costs; `default` that of llrs
        of 0, the entropy of the prior: llrs that cost more do harm.

    Raises
    ------
    DataError
        A class has no scores, or a score is not a number.
    UsageError
        Log-odds that are not finite.

    Examples
    --------
    >>> from fusion import ece
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> ece(tar, non, [-2.0, 0.0, 2.0]).actual.round(2).tolist()
    [0.43, 0.79, 0.41]
    """
    return OperatingPoints(tar_llr, non_llr).ece(prior_log_odds)


def bayes_error(
    tar_llr: ArrayLike, non_llr: ArrayLike, prior_log_odds: ArrayLike, normalised: bool = True
) -> BayesError:
    """Bayes error rate over priors: the curves of an APE plot.

    N. Brümmer, E. de Villiers, "The BOSARIS toolkit", 2011. A prior and costs count as
    their effective prior (`fusion.metrics.points.OperatingPoint.prior`). Takes and raises what
    `ece` does.

    Parameters
    ----------
    tar_llr, non_llr : array-like (n_targets,), (n_nontargets,)
    prior_log_odds : array-like (G,)
    normalised : bool
        Whether to divide by the error of the better decision without scores.

    Returns
    -------
    prior_log_odds, actual, minimum, default : ndarray (G,)
        Errors at the Bayes threshold, minus the prior log-odds; at the best threshold; and of the
        better decision without scores.

    Examples
    --------
    >>> from fusion import bayes_error
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> bayes_error(tar, non, [-1.0, 0.0, 1.0]).actual.round(2).tolist()
    [0.93, 0.75, 0.5]
    """
    return OperatingPoints(tar_llr, non_llr).bayes_error(prior_log_odds, normalised)
