"""How sure a single llr is: the error of the calibration that gave it.

A calibration llr = w s + b is learnt from some speakers; other speakers would have given another.
Two intervals say how much:

- resampled: speakers are drawn with replacement, trials count as often as their speakers were drawn
  (`fusion.intervals.bootstrap`), and the calibration is learnt anew from each draw. The interval is
  as wide as Student's t makes it from the standard deviation of the replicates, about the estimate
  less the bias that they show, on the scale asinh(llr / 20): near 0 llr spread evenly, far from it
  in proportion to their size.
- Bayesian: the central interval of a Gaussian posterior of w and b (Laplace's approximation). The
  prior is Gaussian about 0 with a standard deviation of 10, of the llr at the mean score and of
  what a standard deviation of the scores adds to it; it draws llr towards 0 where trials are few.
  The likelihood is that of logistic regression at the prior P of `fit_logistic`, with the
  curvature that it would have if its errors were those of the replicates, since trials that share
  a speaker are not independent (curvature adjustment of a composite likelihood: M. Ribatet, D.
  Cooley, A. Davison, "Bayesian inference from composite likelihoods", Statistica Sinica 22, 2012).

Both are of the calibration alone: that its data are like the case is not in them.

Dimension legend: N trials, B replicates, M llr asked for; 2 parameters, w and b of
standardised scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from fusion.calibration.kernels import logistic_pass
from fusion.calibration.logistic import fit_logistic
from fusion.intervals.influence import degrees, unbiased, without_pairs
from fusion.intervals.replicates import Units, check_drawing, checked_trials, draws, number_units
from ivector.base.errors import DataError, UsageError

PRIOR_DEVIATION = 10.0  # of both standardised parameters
LINEAR = 20.0  # llr up to about which intervals are symmetric
_STEPS, _CLOSE, _LONGEST = 30, 1e-6, 2.0  # of Newton's method: most, end, and length of a step
_MOST_FAILED = 0.1  # part of the replicates whose classes may not overlap
_GRID = 2049  # llr asked for beyond which those in between are interpolated


@dataclass(frozen=True)
class CalibrationUncertainty:
    """A logistic calibration and how sure its llr are.

    Parameters
    ----------
    weight, offset : float
        llr = weight · score + offset.
    level : float
        Of the intervals.

    Examples
    --------
    >>> from fusion.example import simulate
    >>> from fusion.forensic import calibration_uncertainty
    >>> part = simulate(n_speakers=40)
    >>> found = calibration_uncertainty(part.scores["plda"], part.target, *part.sides)
    >>> print(f"{found.llr([5.0])[0]:.1f}, {found.interval([5.0]).round(1)[0].tolist()}")
    3.9, [2.9, 4.6]
    >>> found.credible([5.0]).round(1)[0].tolist()
    [3.0, 4.6]
    """

    weight: float
    offset: float
    level: float
    _scaling: tuple[float, float] = field(repr=False)  # mean and standard deviation of scores
    _replicates: np.ndarray = field(repr=False)  # (B, 2)
    _sums: list[np.ndarray] = field(repr=False)  # influence (n_units, 2) of the units of each side
    _pairs: np.ndarray = field(repr=False)  # (2, 2), of pairs of speakers
    _posterior: tuple[np.ndarray, np.ndarray] = field(repr=False)  # mean (2,), covariance (2, 2)

    def llr(self, scores: ArrayLike) -> np.ndarray:
        """Calibrated llr (M,) of scores."""
        return self.weight * _finite(scores) + self.offset

    def interval(self, scores: ArrayLike) -> np.ndarray:
        """Ends (M, 2) of the intervals of llr, the calibration resampled over speakers."""
        values = _finite(scores)
        if len(values) <= _GRID:
            return self._interval(values)
        # Quantiles, or one score far away would leave no grid for the others.
        grid = np.unique(np.quantile(values, np.linspace(0, 1, _GRID)))
        return np.column_stack([np.interp(values, grid, end) for end in self._interval(grid).T])

    def credible(self, scores: ArrayLike) -> np.ndarray:
        """Ends (M, 2) of the central posterior intervals of the llr of scores."""
        from scipy.special import ndtri

        design = self._design(_finite(scores))
        mean, covariance = self._posterior
        middle = design @ mean
        half = ndtri((1 + self.level) / 2) * np.sqrt(((design @ covariance) * design).sum(axis=1))
        return np.column_stack([middle - half, middle + half])

    def _design(self, scores: np.ndarray) -> np.ndarray:
        mean, deviation = self._scaling
        return np.column_stack([(scores - mean) / deviation, np.ones(len(scores))])

    def _interval(self, scores: np.ndarray) -> np.ndarray:
        from scipy.special import stdtrit

        design = self._design(scores)
        llr = self.weight * scores + self.offset
        estimate, drawn = _scale(llr), _scale(self._replicates @ design.T)
        noise = ((design @ self._pairs) * design).sum(axis=1) / (llr**2 + LINEAR**2)
        sizes = [len(sums) for sums in self._sums]
        spread = without_pairs(drawn.var(axis=0, ddof=1), noise, 1) * unbiased(sizes)
        free = degrees([design @ sums.T for sums in self._sums])
        half = stdtrit(free, (1 + self.level) / 2) * np.sqrt(spread)
        centre = 2 * estimate - drawn.mean(axis=0)
        low, high = np.minimum(centre - half, estimate), np.maximum(centre + half, estimate)
        return LINEAR * np.sinh(np.column_stack([low, high]))


def calibration_uncertainty(
    scores: ArrayLike,
    is_target: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    shared: bool = True,
    prior: float = 0.5,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> CalibrationUncertainty:
    """Learn a logistic calibration, and how sure its llr are.

    Parameters
    ----------
    scores : array-like (N,)
    is_target : array-like (N,) bool
    enrol_speaker, test_speaker : array-like (N,) int
        Numbers from 0 of the speaker of either side.
    shared : bool
        Whether both sides number the same speakers, as in `bootstrap_interval`.
    prior : float
        Of a target, at which the calibration serves best.
    n_bootstrap : int
        Number B of replicates.
    level : float
    random_state : int, numpy.random.Generator or None

    Raises
    ------
    DataError
        Scores that are not finite, one class only, too few speakers, or classes that overlap so
        little that many draws of the speakers leave no calibration to learn.
    UsageError
        An impossible prior, level or number of replicates.

    Examples
    --------
    >>> from fusion.example import simulate
    >>> from fusion.forensic import calibration_uncertainty
    >>> part = simulate(n_speakers=40)
    >>> found = calibration_uncertainty(
    ...     part.scores["plda"], part.target, *part.sides, n_bootstrap=200
    ... )
    >>> (low, high), = found.interval([5.0])
    >>> bool(low < found.llr([5.0])[0] < high)
    True
    """
    check_drawing(n_bootstrap, level)
    (values,), target, *sides = checked_trials([scores], is_target, enrol_speaker, test_speaker)
    _finite(values)
    units = number_units(sides[0], sides[1], shared)
    fit = fit_logistic(values, target, prior=prior)
    if fit.separable:
        raise _too_few()
    scaling = float(values.mean()), float(values.std())
    learner = _Learner(values, target, units, prior, scaling)
    weight, offset = float(fit.weights[0]), float(fit.offset)
    start = np.array([weight * scaling[1], offset + weight * scaling[0]])
    sums, pairs = learner.influence(start)
    drawn = learner.replicates(start, n_bootstrap, np.random.default_rng(random_state))
    posterior = _posterior(start, np.cov(drawn.T) * unbiased(units.sizes))
    return CalibrationUncertainty(weight, offset, level, scaling, drawn, sums, pairs, posterior)


def _posterior(estimate: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (2,) and covariance (2, 2) of the parameters by prior, estimate and its error."""
    told = np.linalg.inv(covariance)
    found = np.linalg.inv(told + np.eye(2) / PRIOR_DEVIATION**2)
    return found @ told @ estimate, found


class _Learner:
    """Trials with standardised scores, and what logistic regression learns of them by weights."""

    def __init__(
        self,
        values: np.ndarray,
        target: np.ndarray,
        units: Units,
        prior: float,
        scaling: tuple[float, float],
    ):
        self.columns = ((values - scaling[0]) / scaling[1])[None]
        self.target, self.units, self.prior = target, units, prior
        self.shift = float(np.log(prior) - np.log1p(-prior))

    def signed(self, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Weights (n,) of the cost, P in sum for targets and −(1 − P) for nontargets."""
        tar, non = weight[target].sum(), weight[~target].sum()
        return weight * np.where(target, self.prior / tar, (self.prior - 1) / non)

    def newton(
        self, columns: np.ndarray, signed: np.ndarray, start: np.ndarray
    ) -> np.ndarray | None:
        """Parameters (2,) of least cost; None if they run away or the search does not end."""
        point, gradient, hessian = start.copy(), np.empty(2), np.empty((2, 2))
        for _ in range(_STEPS):
            logistic_pass(columns, signed, point[:1], point[1], self.shift, gradient, hessian)
            if not np.linalg.det(hessian) > 0:
                return None
            step = -np.linalg.solve(hessian, gradient)
            longest = float(np.abs(step).max())
            point += step * min(1.0, _LONGEST / max(longest, _CLOSE))
            if longest < _CLOSE:
                return point
        return None

    def replicates(
        self, start: np.ndarray, n_bootstrap: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Parameters (B, 2) learnt from draws of the speakers.

        Raises
        ------
        DataError
            Many draws lack a class, or have classes that do not overlap.
        """
        found = []
        for _, sides in draws(self.units, len(self.target), n_bootstrap, rng):
            for one, two in zip(sides[0], sides[-1]):
                learnt = self._replicate(one, two, start)
                if learnt is not None:
                    found.append(learnt)
        if len(found) < max((1 - _MOST_FAILED) * n_bootstrap, 2):
            raise _too_few()
        return np.array(found)

    def _replicate(self, one: np.ndarray, two: np.ndarray, start: np.ndarray) -> np.ndarray | None:
        enrol, test = self.units.enrol, self.units.test
        other = two[test]
        if self.units.shared:
            # A trial of a speaker with herself counts as often as she was drawn.
            other = np.where(enrol == test, 1, other)
        weight = one[enrol] * other
        used = np.flatnonzero(weight)
        target = self.target[used]
        if not target.any() or target.all():
            return None
        signed = self.signed(target, weight[used].astype(np.float64))
        return self.newton(np.ascontiguousarray(self.columns[:, used]), signed, start)

    def influence(self, point: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Influence of units, and squares of that of pairs.

        Returns
        -------
        sums : list of ndarray (n_units, 2)
            Of each population drawn from; to first order what a unit adds to the parameters.
        pairs : ndarray (2, 2)
            Sum over pairs of units of the outer products of their influence.
        """
        x, target, n_trials = self.columns[0], self.target, len(self.target)
        signed = self.signed(target, np.ones(n_trials))
        gradient, hessian = np.empty(2), np.empty((2, 2))
        logistic_pass(self.columns, signed, point[:1], point[1], self.shift, gradient, hessian)
        margin = point[0] * x + point[1] + self.shift
        wrong = np.exp(-np.logaddexp(0, np.where(target, margin, -margin)))
        slope = np.column_stack([wrong * x, wrong])
        for part in (target, ~target):
            slope[part] -= slope[part].mean(axis=0)
        trials = (signed[:, None] * slope) @ np.linalg.inv(hessian)
        enrol, test, sizes = self.units.enrol, self.units.test, self.units.sizes
        alone = enrol == test if self.units.shared else np.zeros(n_trials, bool)
        if self.units.shared:
            sums = [
                _summed(trials, enrol, sizes[0]) + _summed(trials * ~alone[:, None], test, sizes[0])
            ]
        else:
            sums = [_summed(trials, enrol, sizes[0]), _summed(trials, test, sizes[1])]
        one, two = enrol[~alone].astype(np.int64), test[~alone].astype(np.int64)
        if self.units.shared:
            one, two = np.minimum(one, two), np.maximum(one, two)
        _, codes = np.unique(one * sizes[-1] + two, return_inverse=True)
        of_pairs = _summed(trials[~alone], codes, codes.max(initial=-1) + 1)
        return sums, of_pairs.T @ of_pairs


def _summed(trials: np.ndarray, codes: np.ndarray, size: int) -> np.ndarray:
    """Sums (size, 2) of rows by their code."""
    return np.column_stack([np.bincount(codes, column, size) for column in trials.T])


def _scale(llr: np.ndarray) -> np.ndarray:
    return np.arcsinh(llr / LINEAR)


def _finite(scores: ArrayLike) -> np.ndarray:
    """Scores (M,) float64, finite."""
    values = np.asarray(scores, np.float64)
    if values.ndim != 1:
        raise UsageError(f"scores of shape {values.shape}; give (n_scores,)")
    if not np.isfinite(values).all():
        raise DataError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite; mend them"
        )
    return values


def _too_few() -> DataError:
    return DataError(
        "the classes overlap so little that many draws of the speakers leave no calibration to "
        "learn: too few errors for an interval of llr; take more speakers or harder trials"
    )
