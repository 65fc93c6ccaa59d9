"""Bi-Gaussianised calibration: scores are warped until their distribution is that of perfect llr.

G. Morrison, "Bi-Gaussianized calibration of likelihood ratios", Law, Probability and Risk 23, 2024.
The llr of a perfectly calibrated system whose classes are Gaussian are N(σ²/2, σ²) of targets and
N(−σ²/2, σ²) of nontargets. Here σ is the one whose Cllr is that of logistic calibration of the
training scores, and a score becomes the llr that has the same cumulative probability in the mixture
of the two Gaussians as the score has among the training scores, both classes weighing the same.

Dimension legend: N trials, K different training scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from fusion.calibration.bounded import lean
from fusion.calibration.estimator import LlrClassifier
from fusion.calibration.logistic import fit_logistic
from fusion.calibration.methods import scores_and_measures
from fusion.metrics.rates import cllr
from ivector.base.errors import DataError, UsageError

_NODES = 200  # of the quadrature
_TABLE = 8193  # llr at which the mixture's distribution is known
_TAILS = 9.0  # standard deviations
_SIGMA = (1e-3, 100.0)  # between which systems are told apart


class BiGaussianCalibration(LlrClassifier):
    """Turn scores into llr whose distribution is that of a perfectly calibrated Gaussian system.

    Scores are an array (N,) or (N, 1). In between training scores the llr is linear, and outside it
    rises only so much that no two scores become one (`fusion.calibration.bounded.lean`): no llr is
    larger than the trials of training say.

    Parameters
    ----------
    prior : float
        Prior of a target at which `predict` and `predict_proba` decide.

    Attributes
    ----------
    classes_ : ndarray (2,)
        Labels of nontargets and targets.
    n_features_in_ : int
        1.
    cllr_ : float
        In bits, of the logistic calibration of the training scores.
    sigma_ : float
        Standard deviation σ of the llr of either class.
    knots_, llr_ : ndarray (K,) float64
        Training scores and their llr.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion.forensic import BiGaussianCalibration
    >>> rng = np.random.default_rng(0)
    >>> y = rng.random(2000) < 0.3
    >>> scores = np.where(y, 0.6, 0.2) + 0.2 * rng.standard_normal(2000)
    >>> calibration = BiGaussianCalibration().fit(scores, y)
    >>> calibration.transform([0.0, 0.2, 0.8]).round().tolist()
    [-4.0, -2.0, 4.0]
    """

    def __init__(self, prior: float = 0.5):
        self.prior = prior

    def fit(self, X: ArrayLike, y: ArrayLike) -> BiGaussianCalibration:
        """Train on scored trials.

        Parameters
        ----------
        X : array-like (N,) or (N, 1)
        y : array-like (N,) bool
            Whether a trial is a target; or any two labels, of which the last is the targets'.

        Raises
        ------
        DataError
            One class only, scores that are constant or not finite, that tell nothing, or that are
            lower for targets.
        UsageError
            An impossible prior.
        """
        if not 0 < self.prior < 1:
            raise UsageError(f"the prior of a target must be between 0 and 1, got {self.prior}")
        values = self._scores(X)
        target, classes = self._targets(y, len(values))
        self._check_names(X, reset=True)
        fit = fit_logistic(values, target)
        if fit.weights[0] <= 0:
            raise DataError("scores are no higher for targets; turn their sign or mend the scoring")
        llr = fit.weights[0] * values + fit.offset
        self.cllr_ = cllr(llr[target], llr[~target])
        self.sigma_ = sigma_of_cllr(self.cllr_)
        self.knots_, place = np.unique(values, return_inverse=True)
        share = np.where(target, 0.5 / target.sum(), 0.5 / (~target).sum())
        at = np.bincount(place.ravel(), share)
        below = np.cumsum(at) - at / 2
        above = np.cumsum(at[::-1])[::-1] - at / 2
        self.llr_ = _mixture_quantile(np.log(below) - np.log(above), self.sigma_)
        self.n_features_in_, self.classes_ = 1, classes
        return self

    def _llr(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self, "classes_")
        self._check_names(X, reset=False)
        values = self._scores(X)
        outside = (values - np.clip(values, *self.knots_[[0, -1]])) / np.ptp(self.knots_)
        return np.interp(values, self.knots_, self.llr_) + lean(outside)

    def _scores(self, X: ArrayLike) -> np.ndarray:
        """Scores (N,), finite."""
        values, others = scores_and_measures(X, None)
        if others.shape[1]:
            raise DataError(
                f"X has {1 + others.shape[1]} features, but {type(self).__name__} is expecting 1 "
                "features as input: the scores of one system"
            )
        return values


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
