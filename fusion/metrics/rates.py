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

Where scores are natural log-likelihood ratios (llr), what they are worth at a prior or over all
priors is measured too: actual costs, Cllr, empirical cross-entropy, Bayes error.

Infinite scores are scores; NaN is refused, as it can stand on no side of a threshold.

Dimension legend: K points of the curve, one for each distinct score and one that rejects all;
G prior log-odds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fusion.metrics.arrays import ascending, checked, log_odds, priors
from fusion.metrics.kernels import crossing, lower_hull, merge_counts, softplus_sum
from fusion.metrics.points import OperatingPoint, named_points

_EACH_ONCE = np.empty(0, np.int64)


class DetCurve(NamedTuple):
    """Error rates (K,) at thresholds (K,), ascending; the last threshold is +inf."""

    p_miss: np.ndarray
    p_fa: np.ndarray
    thresholds: np.ndarray


class CrossEntropy(NamedTuple):
    """Empirical cross-entropies (G,) in bits: as given, after PAV, and without scores."""

    prior_log_odds: np.ndarray
    actual: np.ndarray
    minimum: np.ndarray
    default: np.ndarray


class BayesError(NamedTuple):
    """Error rates (G,): at the Bayes threshold, at the best one, and without scores."""

    prior_log_odds: np.ndarray
    actual: np.ndarray
    minimum: np.ndarray
    default: np.ndarray


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
        tar, non = ascending(tar, "target"), ascending(non, "nontarget")
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
        n_tar, n_non, last = self.n_targets, self.n_nontargets, len(self.misses) - 1

        def miss_less_fa(k: int) -> int:
            """P_miss - P_fa times both counts; it grows with k."""
            return int(self.misses[k]) * n_non + (int(self.rejections[k]) - n_non) * n_tar

        k = bisect_left(range(last), 0, key=miss_less_fa)
        return float(crossing(self.rejections, self.misses, np.array([k - 1, k, last]), 3))

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

    def act_dcf(
        self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0, normalised: bool = True
    ) -> float:
        """See `act_dcf`."""
        weights = cost_weights(p_target, c_miss, c_fa, normalised)
        p_miss, p_fa = self._at(_threshold(weights))
        return float(weights[0] * p_miss + weights[1] * p_fa)

    def c_primary(self, points: str | Sequence[OperatingPoint], minimum: bool = False) -> float:
        """See `c_primary`."""
        cost = self.min_dcf if minimum else self.act_dcf
        return float(np.mean([cost(p.p_target, p.c_miss, p.c_fa) for p in named_points(points)]))

    def cllr(self) -> float:
        """See `cllr`."""
        return self._cross_entropy(0.0)

    def min_cllr(self) -> float:
        """See `min_cllr`."""
        return self._cross_entropy(0.0, minimum=True)

    def ece(self, prior_log_odds: ArrayLike) -> CrossEntropy:
        """See `ece`."""
        odds = log_odds(prior_log_odds)
        actual = [self._cross_entropy(o) for o in odds.tolist()]
        least = [self._cross_entropy(o, minimum=True) for o in odds.tolist()]
        prior, other = priors(odds)
        default = prior * np.logaddexp(0, -odds) + other * np.logaddexp(0, odds)
        return CrossEntropy(odds, np.array(actual), np.array(least), default / np.log(2))

    def bayes_error(self, prior_log_odds: ArrayLike, normalised: bool = True) -> BayesError:
        """See `bayes_error`."""
        odds = log_odds(prior_log_odds)
        prior, other = priors(odds)
        default = np.minimum(prior, other)
        scale = default if normalised else 1.0
        p_miss, p_fa = self._at(-odds)
        actual = prior * p_miss + other * p_fa
        hull = self.rates(self.hull)
        least = [np.min(p * hull.p_miss + q * hull.p_fa) for p, q in zip(prior, other)]
        return BayesError(odds, actual / scale, np.array(least) / scale, default / scale)

    def pav(self, scores: ArrayLike) -> np.ndarray:
        """Log-likelihood ratios (n,) of scores after monotone recalibration on these points."""
        edges = self.thresholds[self.hull[1:-1]]
        return self._blocks[np.searchsorted(edges, checked(scores, "given"), side="right")]

    @cached_property
    def _blocks(self) -> np.ndarray:
        """LLR of each edge of the hull (a block of PAV)."""
        n_tar = np.diff(self.misses[self.hull])
        n_non = np.diff(self.rejections[self.hull])
        with np.errstate(divide="ignore"):
            return np.log(n_tar / self.n_targets) - np.log(n_non / self.n_nontargets)

    def _at(self, thresholds: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P_miss and P_fa where scores from `thresholds` on are accepted."""
        k = np.searchsorted(self.thresholds, thresholds)
        return (
            self.misses[k] / self.n_targets,
            (self.n_nontargets - self.rejections[k]) / self.n_nontargets,
        )

    def _cross_entropy(self, odds: float, minimum: bool = False) -> float:
        """Cross-entropy in bits at prior log-odds, of the scores or after PAV."""
        llr, tar, non = self.thresholds[:-1], self.misses, self.rejections
        if minimum:
            llr, tar, non = self._blocks, tar[self.hull], non[self.hull]
        miss = softplus_sum(llr, tar, -1.0, -odds) / self.n_targets
        accept = softplus_sum(llr, non, 1.0, odds) / self.n_nontargets
        prior, other = priors(np.array(odds))
        return float((prior * miss + other * accept) / np.log(2))


def _threshold(weights: tuple[float, float]) -> float:
    """LLR from which accepting costs no more than rejecting."""
    return float(np.log(weights[1]) - np.log(weights[0]))


def cost_weights(
    p_target: float, c_miss: float = 1.0, c_fa: float = 1.0, normalised: bool = True
) -> tuple[float, float]:
    """Factors of P_miss and P_fa in the detection cost.

    Normalised costs are divided by that of the better of accepting and rejecting everything
    (NIST SRE 2008 evaluation plan, section 2).

    Raises
    ------
    UsageError
        What `fusion.metrics.points.OperatingPoint` raises.
    """
    OperatingPoint(p_target, c_miss, c_fa)  # refuses the impossible
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
    tar_llr, non_llr = checked(tar_llr, "target"), checked(non_llr, "nontarget")
    weights = cost_weights(p_target, c_miss, c_fa, normalised)
    threshold = _threshold(weights)
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
    tar_llr, non_llr = checked(tar_llr, "target"), checked(non_llr, "nontarget")
    miss = softplus_sum(tar_llr, _EACH_ONCE, -1.0, 0.0) / len(tar_llr)
    accept = softplus_sum(non_llr, _EACH_ONCE, 1.0, 0.0) / len(non_llr)
    return float((miss + accept) / 2 / np.log(2))


def min_cllr(tar: ArrayLike, non: ArrayLike) -> float:
    """`cllr` after the best monotone recalibration (`pav`), in bits."""
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
    """
    return OperatingPoints(tar_llr, non_llr).bayes_error(prior_log_odds, normalised)
