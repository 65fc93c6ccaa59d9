"""The errors of a detector at every threshold, from one sort of its scores.

A trial is accepted when its score is at or above the threshold. Everything follows from one sort
of each class: the counts of errors at every distinct score, and the lower convex hull of those
points (N. Brümmer, E. de Villiers, "The BOSARIS toolkit", 2011, section 3; the hull is what the
pool-adjacent-violators algorithm gives). Counts are integers, so that ties are exact: trials of
equal score are accepted together.

What the measures mean is told by the functions of the same names in `fusion.metrics.rates`.

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
from fusion.metrics.kernels import count_sorted, crossing, lower_hull, merge_counts, softplus_sum
from fusion.metrics.points import OperatingPoint, cost_weights, named_points

_EACH_ONCE = np.empty(0, np.int64)


class DetCurve(NamedTuple):
    """Error rates (K,) at thresholds (K,), ascending; the last threshold is +inf.

    Examples
    --------
    >>> from fusion import det_curve
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> curve = det_curve(tar, non)
    >>> for p_miss, p_fa, threshold in zip(*(values.tolist() for values in curve)):
    ...     print(p_miss, p_fa, threshold)
    0.0 1.0 -3.0
    0.0 0.75 -2.0
    0.0 0.5 -1.0
    0.25 0.5 0.0
    0.25 0.25 1.0
    0.5 0.25 1.5
    0.5 0.0 2.0
    0.75 0.0 3.0
    1.0 0.0 inf
    """

    p_miss: np.ndarray
    p_fa: np.ndarray
    thresholds: np.ndarray


class CrossEntropy(NamedTuple):
    """Empirical cross-entropies (G,) in bits: as given, after PAV, and without scores.

    Examples
    --------
    >>> from fusion import ece
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> entropy = ece(tar, non, [-1.0, 0.0, 1.0])
    >>> entropy.actual.round(2).tolist()
    [0.67, 0.79, 0.65]
    >>> entropy.default.round(2).tolist()
    [0.84, 1.0, 0.84]
    """

    prior_log_odds: np.ndarray
    actual: np.ndarray
    minimum: np.ndarray
    default: np.ndarray


class BayesError(NamedTuple):
    """Error rates (G,): at the Bayes threshold, at the best one, and without scores.

    Examples
    --------
    >>> from fusion import bayes_error
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> error = bayes_error(tar, non, [-1.0, 0.0, 1.0])
    >>> error.actual.round(2).tolist()
    [0.93, 0.75, 0.5]
    >>> error.minimum.tolist()
    [0.5, 0.5, 0.5]
    """

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
    keep : bool
        Whether `cllr` is to add in the order of the scores as they came, and so be the function
        of that name to the last digit.

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

    Examples
    --------
    >>> from fusion import OperatingPoints
    >>> tar, non = [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]
    >>> points = OperatingPoints(tar, non)
    >>> points.eer(), points.min_dcf(0.5), round(points.cllr(), 2)
    (0.25, 0.5, 0.79)
    >>> points.n_targets, len(points.thresholds)
    (4, 9)
    """

    def __init__(self, tar: ArrayLike, non: ArrayLike, keep: bool = False):
        self._cllr: float | None = None
        if keep:
            self._cllr = mean_bits(checked(tar, "target"), checked(non, "nontarget"))
        tar = ascending(tar, "target")
        size = len(tar) + np.size(non) + 1
        thresholds = np.empty(size)
        # Sorted behind where they will stand, so that they are in memory once.
        non = ascending(non, "nontarget", out=thresholds[len(tar) + 1 :])
        missed, rejected = _counts(size)
        n_points = merge_counts(tar, non, thresholds, missed, rejected)
        self._keep_points(thresholds[:n_points], missed[:n_points], rejected[:n_points])

    @classmethod
    def of_counts(
        cls, thresholds: np.ndarray, misses: np.ndarray, rejections: np.ndarray
    ) -> OperatingPoints:
        """The same of trials that count several times or not at all; arguments as attributes."""
        points = cls.__new__(cls)
        points._cllr = None
        points._keep_points(thresholds, misses, rejections)
        return points

    @classmethod
    def of_sorted(cls, scores: np.ndarray, target: np.ndarray, keep: bool) -> OperatingPoints:
        """The same of all scores (N,) float64, ascending, and which are of targets (N,) bool.

        Takes less memory than two classes apart.

        Raises
        ------
        DataError
            A class has no scores.
        """
        for is_empty, name in ((not target.any(), "target"), (target.all(), "nontarget")):
            if is_empty:
                checked([], name)
        points = cls.__new__(cls)
        points._cllr = mean_bits(scores[target], scores[~target]) if keep else None
        thresholds, (missed, rejected) = np.empty(len(scores) + 1), _counts(len(scores) + 1)
        n_points = count_sorted(scores, target, thresholds, missed, rejected)
        points._keep_points(thresholds[:n_points], missed[:n_points], rejected[:n_points])
        return points

    def _keep_points(
        self, thresholds: np.ndarray, missed: np.ndarray, rejected: np.ndarray
    ) -> None:
        self.thresholds, self._missed, self._rejected = thresholds, missed, rejected
        self.n_targets, self.n_nontargets = self.below(-1)

    @property
    def misses(self) -> np.ndarray:
        """Targets (K,) int64 below each threshold."""
        return self._missed.astype(np.int64, copy=False)

    @property
    def rejections(self) -> np.ndarray:
        """Nontargets (K,) int64 below each threshold."""
        return self._rejected.astype(np.int64, copy=False)

    def below(self, point: int) -> tuple[int, int]:
        """Targets and nontargets below the threshold of a point."""
        return int(self._missed[point]), int(self._rejected[point])

    @cached_property
    def hull(self) -> np.ndarray:
        """Positions of the points that are vertices of the ROC convex hull."""
        vertices = np.empty(len(self._missed), np.int64)
        n_vertices = lower_hull(self._rejected, self._missed, len(self._missed), vertices)
        return vertices[:n_vertices].copy()

    def rates(self, points: np.ndarray | slice = slice(None)) -> DetCurve:
        """Error rates at some points, default all."""
        p_miss = self._missed[points] / self.n_targets
        p_fa = (self.n_nontargets - self._rejected[points]) / self.n_nontargets
        return DetCurve(p_miss, p_fa, self.thresholds[points])

    def eer(self) -> float:
        """See `eer`."""
        return float(crossing(self._rejected, self._missed, self.hull, len(self.hull)))

    def eer_interpolated(self) -> float:
        """See `eer_interpolated`."""
        n_tar, n_non, last = self.n_targets, self.n_nontargets, len(self._missed) - 1

        def miss_less_fa(k: int) -> int:
            """P_miss - P_fa times both counts; it grows with k."""
            missed, rejected = self.below(k)
            return missed * n_non + (rejected - n_non) * n_tar

        k = bisect_left(range(last), 0, key=miss_less_fa)
        return float(crossing(self._rejected, self._missed, np.array([k - 1, k, last]), 3))

    def crossing_edge(self) -> tuple[float, int, float]:
        """Where P_miss = P_fa on the hull, between two of its vertices.

        Returns
        -------
        prior : float
            At which the error is the same all along the edge.
        before : int
            Position in `hull` of the vertex before.
        part : float
            Of the edge, from that vertex to the crossing.
        """
        p_miss, p_fa, _ = self.rates(self.hull)
        ahead = p_miss - p_fa
        after = int(np.argmax(ahead >= 0))
        before = after - 1
        part = ahead[before] / (ahead[before] - ahead[after])
        rise, fall = p_miss[after] - p_miss[before], p_fa[before] - p_fa[after]
        return float(fall / (rise + fall)), before, float(part)

    def best_point(self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> int:
        """Position of the point of least detection cost (the first, if several)."""
        weights = cost_weights(p_target, c_miss, c_fa)
        p_miss, p_fa, _ = self.rates(self.hull)
        return int(self.hull[np.argmin(weights[0] * p_miss + weights[1] * p_fa)])

    def bayes_point(self, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> int:
        """Position of the point that the Bayes threshold decides by."""
        threshold = bayes_threshold(cost_weights(p_target, c_miss, c_fa))
        return int(np.searchsorted(self.thresholds, threshold))

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
        p_miss, p_fa = self._at(bayes_threshold(weights))
        return float(weights[0] * p_miss + weights[1] * p_fa)

    def c_primary(self, points: str | Sequence[OperatingPoint], minimum: bool = False) -> float:
        """See `c_primary`."""
        cost = self.min_dcf if minimum else self.act_dcf
        return float(np.mean([cost(p.p_target, p.c_miss, p.c_fa) for p in named_points(points)]))

    def cllr(self) -> float:
        """See `cllr`."""
        return self._cross_entropy(0.0) if self._cllr is None else self._cllr

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
        n_tar = np.diff(self._missed[self.hull])
        n_non = np.diff(self._rejected[self.hull])
        with np.errstate(divide="ignore"):
            return np.log(n_tar / self.n_targets) - np.log(n_non / self.n_nontargets)

    def _at(self, thresholds: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P_miss and P_fa where scores from `thresholds` on are accepted."""
        k = np.searchsorted(self.thresholds, thresholds)
        return (
            self._missed[k] / self.n_targets,
            (self.n_nontargets - self._rejected[k]) / self.n_nontargets,
        )

    def _cross_entropy(self, odds: float, minimum: bool = False) -> float:
        """Cross-entropy in bits at prior log-odds, of the scores or after PAV."""
        llr, tar, non = self.thresholds[:-1], self._missed, self._rejected
        if minimum:
            llr, tar, non = self._blocks, tar[self.hull], non[self.hull]
        miss = softplus_sum(llr, tar, -1.0, -odds) / self.n_targets
        accept = softplus_sum(llr, non, 1.0, odds) / self.n_nontargets
        prior, other = priors(np.array(odds))
        return float((prior * miss + other * accept) / np.log(2))


def _counts(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays (size,) for counts of trials, of as few bytes as those need."""
    dtype = np.int32 if size < 1 << 31 else np.int64
    return np.empty(size, dtype), np.empty(size, dtype)


def bayes_threshold(weights: tuple[float, float]) -> float:
    """LLR from which accepting costs no more than rejecting, for the factors of a cost."""
    return float(np.log(weights[1]) - np.log(weights[0]))


def mean_bits(tar_llr: np.ndarray, non_llr: np.ndarray) -> float:
    """Cllr of log-likelihood ratios (n_targets,), (n_nontargets,) float64, added in their order."""
    miss = softplus_sum(tar_llr, _EACH_ONCE, -1.0, 0.0) / len(tar_llr)
    accept = softplus_sum(non_llr, _EACH_ONCE, 1.0, 0.0) / len(non_llr)
    return float((miss + accept) / 2 / np.log(2))
