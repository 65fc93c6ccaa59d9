"""Calibration: the scores of one system become natural-log likelihood ratios.

Four ways, each trained on scored trials of known class:

- "logistic": affine, by prior-weighted logistic regression (`fit_logistic`), optionally with
  quality measures of the trials and their products with the score (N. Brümmer, A. Swart, D. van
  Leeuwen, "A comparison of linear and non-linear calibrations for speaker recognition", Odyssey
  2014; M. I. Mandasari, R. Saeidi, M. McLaren, D. van Leeuwen, "Quality measure functions for
  calibration of speaker recognition systems in various duration conditions", IEEE Trans. ASLP 21,
  2013); or bounded, so that outliers can neither tilt nor pass it (`fusion.calibration.bounded`);
- "isotonic": any non-decreasing function, by the pool-adjacent-violators algorithm with one
  target and one nontarget trial added below and above all others, so that no llr is infinite
  (Laplace's rule of succession, BOSARIS's ``opt_loglr`` with 'laplace');
- "bigaussian": scores are warped until the llr have the distribution of a perfectly calibrated
  Gaussian system of the Cllr that "logistic" reaches (G. Morrison, "Bi-Gaussianized calibration of
  likelihood ratios", Law, Probability and Risk 23, 2024);
- "gaussian": the ratio of two Gaussian densities of greatest likelihood (Brümmer et al. 2014,
  section 3), of one variance, where it is affine, or of two, where it is a parabola.

Dimension legend: N trials, Q quality measures, K knots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from fusion.calibration.bounded import bound, bounds, fit_bounded, unbound
from fusion.calibration.estimator import LlrClassifier, stored_options
from fusion.calibration.logistic import fit_logistic
from fusion.calibration.methods import (
    LARGEST,
    beyond_knots,
    bigaussian_knots,
    crossing,
    fit_gaussians,
    gaussian_llr,
    gaussian_threshold,
    knot_threshold,
    pav_knots,
    scores_and_measures,
)
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller

if TYPE_CHECKING:
    from fusion.metrics.points import OperatingPoint

METHODS = ("logistic", "isotonic", "bigaussian", "gaussian")
KNOTTED = ("isotonic", "bigaussian")  # those whose llr are interpolated
# Learned arrays of each method, and how many numbers: a name stands for a size to be found.
_LEARNED: dict[str, dict[str, Any]] = {
    "logistic": {
        "coef_": "columns",
        "mean_": "measures",
        "scale_": "measures",
        "range_": "ends",
        "outlier_log_odds_": "odds",
    },
    "isotonic": {"knots_": "knots", "llr_": "knots"},
    "bigaussian": {"knots_": "knots", "llr_": "knots", "sigma_": 1},
    "gaussian": {"means_": 2, "variances_": 2},
}


class Calibration(LlrClassifier):
    """Turn scores into natural-log likelihood ratios.

    Scores are an array (N,), or the first column of a table (N, 1 + Q) whose other columns are
    quality measures of the trials, such as the logarithm of a duration; these can also be given as
    `quality`. As a scikit-learn classifier it tells targets from nontargets: `decision_function`
    and `transform` are the llr, `predict` and `predict_proba` decide at `prior`.

    Parameters
    ----------
    method : {"logistic", "isotonic", "bigaussian", "gaussian"}
        "logistic" needs few trials and keeps the order; "isotonic" and "bigaussian" bend as the
        scores ask for and need many; "gaussian" is for scores that are Gaussian in each class.
    prior : float
        Prior of a target at which "logistic" should serve best, and at which `predict` and
        `predict_proba` of all methods decide.
    ridge : float
        Penalty of "logistic", as in `fit_logistic`.
    bounded : bool
        Whether "logistic" takes some trials for outliers: no llr is larger than the share of
        outliers, found in training, allows. It needs some hundred trials of either class.
    interactions : bool
        Whether quality measures also change the slope of the score, not only the offset.
    names : sequence of str, optional
        Of the quality measures, for messages and the saved model; those of the columns of a
        data frame by default.

    Attributes
    ----------
    classes_ : ndarray (2,)
        Labels of nontargets and targets.
    n_features_in_ : int
        1 + Q.
    feature_names_in_ : ndarray (1 + Q,) of str
        If it was trained on a data frame.
    coef_ : ndarray (1 + Q,) or (1 + 2 Q,) float64
        "logistic": factors of the score, of the standardised quality measures and, with
        interactions, of their products with the score.
    offset_ : float
        "logistic".
    outlier_log_odds_ : ndarray (0,) or (2,) float64
        "logistic", if bounded: of outliers among targets and among nontargets, see `bound`.
    mean_, scale_ : ndarray (Q,) float64
        By which quality measures are standardised.
    range_ : ndarray (2 Q,) float64
        Lowest and highest of each quality measure in training.
    separable_ : bool
        "logistic": whether the classes did not overlap, see `fit_logistic`.
    objective_ : list of float
        "logistic": cost at the start and after each iteration.
    knots_, llr_ : ndarray (K,) float64
        "isotonic", "bigaussian": scores and their llr; linear in between, about constant outside.
    sigma_ : ndarray (1,) float64
        "bigaussian": standard deviation of the llr of either class.
    means_, variances_ : ndarray (2,) float64
        "gaussian": of nontargets and targets.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion import Calibration
    >>> rng = np.random.default_rng(0)
    >>> y = rng.random(2000) < 0.3
    >>> scores = np.where(y, 0.6, 0.2) + 0.2 * rng.standard_normal(2000)
    >>> calibration = Calibration(prior=0.1).fit(scores, y)
    >>> calibration.transform([0.0, 0.2, 0.8]).round().tolist()
    [-4.0, -2.0, 4.0]
    >>> calibration.predict([0.0, 0.2, 0.8]).tolist()
    [False, False, True]
    """

    def __init__(
        self,
        method: str = "logistic",
        prior: float = 0.5,
        ridge: float = 0.0,
        bounded: bool = False,
        interactions: bool = False,
        names: Sequence[str] | None = None,
    ):
        self.method = method
        self.prior = prior
        self.ridge = ridge
        self.bounded = bounded
        self.interactions = interactions
        self.names = names

    def fit(self, X: ArrayLike, y: ArrayLike, quality: ArrayLike | None = None) -> Calibration:
        """Train on scored trials.

        Parameters
        ----------
        X : array-like (N,) or (N, 1 + Q)
            Scores, and with "logistic" quality measures beside them. Durations serve best as
            logarithms.
        y : array-like (N,) bool
            Whether a trial is a target; or any two labels, of which the last is the targets'.
        quality : array-like (N, Q) or (N,), optional
            The measures, if `X` has none.

        Raises
        ------
        DataError
            One class only, scores or a measure that are constant or not finite, or arrays that do
            not fit together.
        UsageError
            An impossible option.

        Warns
        -----
        DegenerateDataWarning
            The classes are separable; or the parabola of "gaussian" turns among the scores.
        """
        self._check_options()
        values, measures = scores_and_measures(X, quality)
        target, classes = self._targets(y, len(values))
        # Measures given apart leave the names of the score's table incomplete: none are kept.
        self._check_names(X if quality is None else measures, reset=True)
        if not np.ptp(values):
            raise DataError(
                f"all {len(values)} scores are {values[0]:g}, which tells nothing; mend the scoring"
            )
        if measures.shape[1] and self.method != "logistic":
            raise UsageError(f'quality measures need method="logistic", not {self.method!r}')
        if self.method == "isotonic":
            self.knots_, self.llr_ = pav_knots(values, target)
        elif self.method == "bigaussian":
            self.knots_, self.llr_, sigma = bigaussian_knots(values, target)
            self.sigma_ = np.array([sigma])
        elif self.method == "gaussian":
            self.means_, self.variances_ = fit_gaussians(values, target)
        else:
            self._fit_logistic(values, target, measures)
        self.n_features_in_, self.classes_ = 1 + measures.shape[1], classes
        return self

    def transform(self, X: ArrayLike, quality: ArrayLike | None = None) -> np.ndarray:
        """Log-likelihood ratios (N,) of scores, with their measures as in training.

        After ``set_output(transform="pandas")`` they are the column ``llr`` of a data frame.

        Raises
        ------
        DataError
            Values that are not finite, or not the measures trained on.
        """
        return self._llr(X, quality)

    def fit_transform(
        self, X: ArrayLike, y: ArrayLike, quality: ArrayLike | None = None
    ) -> np.ndarray:
        """Log-likelihood ratios (N,) of the trials trained on, which flatter the calibration."""
        return self.fit(X, y, quality)._llr(X, quality)

    def decision_function(self, X: ArrayLike, quality: ArrayLike | None = None) -> np.ndarray:
        """Log-likelihood ratios (N,), always as an array."""
        return self._llr(X, quality)

    def predict(self, X: ArrayLike, quality: ArrayLike | None = None) -> np.ndarray:
        """Label (N,) of the class that is more probable at the prior."""
        return self._decide(self._llr(X, quality))

    def predict_proba(self, X: ArrayLike, quality: ArrayLike | None = None) -> np.ndarray:
        """Probabilities (N, 2) of nontarget and target at the prior."""
        return np.exp(self._log_posterior(self._llr(X, quality)))

    def predict_log_proba(self, X: ArrayLike, quality: ArrayLike | None = None) -> np.ndarray:
        """Logarithms (N, 2) of `predict_proba`."""
        return self._log_posterior(self._llr(X, quality))

    def threshold(self, point: OperatingPoint, quality: ArrayLike | None = None) -> float:
        """Lowest score at which to accept a trial, at an operating point.

        That is the score whose llr is ``point.threshold``; infinite where knots or a parabola do
        not reach it (+inf: accept nothing, -inf: accept everything).

        Parameters
        ----------
        point : OperatingPoint
        quality : array-like (Q,), optional
            Measures of the trial; their means of training by default.

        Raises
        ------
        DataError
            Lower scores speak for one speaker, so that no score is the lowest to accept.
        """
        check_is_fitted(self, "classes_")
        aim = float(point.threshold)
        if self.method == "logistic":
            measures = self.mean_ if quality is None else np.atleast_1d(np.asarray(quality, float))
            low, high = self._affine(np.array([0.0, 1.0]), np.tile(measures, (2, 1)))
            aim = unbound(aim, *self.outlier_log_odds_) if self.bounded else aim
            return crossing(high - low, low - aim)
        if self.method in KNOTTED:
            return knot_threshold(self.knots_, self.llr_, aim)
        return gaussian_threshold(self.means_, self.variances_, aim)

    def parameters(self) -> dict[str, float]:
        """Learned numbers by name; none of "isotonic"."""
        check_is_fitted(self, "classes_")
        if self.method == "gaussian":
            names = ["mean of nontargets", "mean of targets"]
            names += ["variance of nontargets", "variance of targets"]
            return dict(zip(names, map(float, (*self.means_, *self.variances_))))
        if self.method in KNOTTED:
            return {"sigma": float(self.sigma_[0])} if self.method == "bigaussian" else {}
        measures = self._names(len(self.mean_))
        names = ["score", *measures, *(f"score x {name}" for name in measures)]
        found = {**dict(zip(names, map(float, self.coef_))), "offset": float(self.offset_)}
        if self.bounded:
            found.update(
                zip(("lower level of llr", "upper level of llr"), bounds(*self.outlier_log_odds_))
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Options and learned numbers, fit for JSON."""
        check_is_fitted(self, "classes_")
        names = self._given_names()
        learned = {name: getattr(self, name).tolist() for name in _LEARNED[self.method]}
        if self.method == "logistic":
            learned.update(offset_=float(self.offset_), separable_=bool(self.separable_))
        return {"options": {**self.get_params(), "names": names}, **learned}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """The calibration that `to_dict` told of; all but `objective_`, with labels False and True.

        Raises
        ------
        DataError
            Something lacks or does not fit together.
        """
        try:
            model = stored_options(cls, content["options"])
            model._check_options()
            sizes: dict[Any, int] = {}
            for name, size in _LEARNED[model.method].items():
                array = np.array(content[name], np.float64)
                if array.ndim != 1 or sizes.setdefault(size, len(array)) != len(array):
                    raise ValueError(f"{name} has another size")
                setattr(model, name, array)
            if model.method == "logistic":
                model.offset_ = float(content["offset_"])
                model.separable_ = bool(content["separable_"])
            model._check_learned()
            model.n_features_in_ = 1 + (len(model.mean_) if model.method == "logistic" else 0)
            model.classes_ = np.array([False, True])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"not a calibration of this toolkit, or damaged ({error})") from None
        return model

    def _llr(self, X: ArrayLike, quality: ArrayLike | None = None) -> np.ndarray:
        check_is_fitted(self, "classes_")
        if quality is None:
            self._check_names(X, reset=False)
        values, measures = scores_and_measures(X, quality)
        if measures.shape[1] != self.n_features_in_ - 1:
            raise self._other_measures(measures.shape[1], quality is not None, np.ndim(X))
        if self.method in KNOTTED:
            llr = np.interp(values, self.knots_, self.llr_)
            return llr if self.method == "isotonic" else llr + beyond_knots(values, self.knots_)
        if self.method == "gaussian":
            return gaussian_llr(values, self.means_, self.variances_)
        self._warn_outside(measures)
        llr = self._affine(values, measures)
        return bound(llr, *self.outlier_log_odds_) if self.bounded else llr

    def _other_measures(self, n_given: int, apart: bool, n_axes: int) -> DataError:
        """Error of a number of quality measures that is not the one trained on."""
        n_measures = self.n_features_in_ - 1
        names = ", ".join(self._names(n_measures)) if n_measures else "none"
        if apart:
            return DataError(
                f"{n_given} quality measures, the calibration was trained on {n_measures}: {names}"
            )
        beside = f"needs the quality measures {names}" if n_measures else "takes the score alone"
        reshape = ". Reshape your data if it is one trial" if n_axes < 2 else ""
        return DataError(
            f"X has {1 + n_given} features, but Calibration is expecting {1 + n_measures} features "
            f"as input: the calibration {beside}{reshape}"
        )

    def _check_options(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if not 0 < self.prior < 1:
            raise UsageError(f"the prior of a target must be between 0 and 1, got {self.prior}")
        if not 0 <= self.ridge < math.inf:
            raise UsageError(f"the ridge must be at least 0 and finite, got {self.ridge}")

    def _check_learned(self) -> None:
        """Raise ValueError if learned numbers cannot be those of a calibration."""
        arrays = [getattr(self, name) for name in _LEARNED[self.method]]
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("a number is not finite")
        if self.method in KNOTTED:
            if not len(self.knots_) or any((np.diff(a) < 0).any() for a in arrays[:2]):
                raise ValueError("the knots do not ascend")
        elif self.method == "gaussian":
            if len(self.means_) != 2 or len(self.variances_) != 2 or (self.variances_ <= 0).any():
                raise ValueError("two means and two positive variances are needed")
            if (np.abs(self.means_) > LARGEST).any() or (self.variances_ > LARGEST**2).any():
                raise ValueError("a mean or a variance is impossible")
            if (self.variances_ < LARGEST**-4).any():
                raise ValueError("a variance is impossible")
        else:
            size = len(self.mean_)
            if not math.isfinite(self.offset_) or (self.scale_ <= 0).any():
                raise ValueError("the offset or a scale is impossible")
            if len(self.outlier_log_odds_) != 2 * bool(self.bounded):
                raise ValueError("the bounds are impossible")
            if len(self.coef_) != 1 + size * (1 + bool(self.interactions)):
                raise ValueError(f"{len(self.coef_)} coefficients for {size} quality measures")
            if len(self.range_) != 2 * size or len(self.names or [None] * size) != size:
                raise ValueError("the quality measures do not fit together")

    # --- logistic -----------------------------------------------------------------------------

    def _fit_logistic(self, values: np.ndarray, target: np.ndarray, measures: np.ndarray) -> None:
        n_measures = measures.shape[1]
        if self.names is not None and len(self.names) != n_measures:
            raise UsageError(f"{len(self.names)} names for {n_measures} quality measures")
        for name, column in zip(self._names(n_measures), measures.T):
            if np.ptp(column) <= 1e-12 * np.abs(column).max():
                raise DataError(
                    f"the quality measure {name} is {column[0]:g} in all trials and tells "
                    "nothing; leave it out"
                )
        self.mean_, self.scale_ = measures.mean(axis=0), measures.std(axis=0)
        self.range_ = np.column_stack([measures.min(axis=0), measures.max(axis=0)]).ravel()
        # About its mean, so that a measure's own weight and its product's can be told apart.
        middle = float(values.mean())
        standard = (measures - self.mean_) / self.scale_
        columns = [values[:, None], standard]
        if self.interactions:
            columns.append((values - middle)[:, None] * standard)
        table = np.hstack(columns) if n_measures else values[:, None]
        learn = fit_bounded if self.bounded else fit_logistic
        fit = learn(table, target, prior=self.prior, ridge=self.ridge)
        self.outlier_log_odds_ = np.array(getattr(fit, "outlier_log_odds", ()), np.float64)
        self.coef_, self.offset_ = fit.weights.copy(), float(fit.offset)
        if self.interactions and n_measures:
            self.coef_[1 : 1 + n_measures] -= middle * self.coef_[1 + n_measures :]
        self.separable_, self.objective_ = bool(fit.separable), list(fit.objective)

    def _affine(self, values: np.ndarray, measures: np.ndarray) -> np.ndarray:
        llr = self.coef_[0] * values + self.offset_
        n_measures = measures.shape[1]
        if n_measures:
            standard = (measures - self.mean_) / self.scale_
            llr += standard @ self.coef_[1 : 1 + n_measures]
            if self.interactions:
                llr += values * (standard @ self.coef_[1 + n_measures :])
        return llr

    def _warn_outside(self, measures: np.ndarray) -> None:
        """Warn of measures (N, Q) that training has not seen."""
        ends = self.range_.reshape(-1, 2)
        margin = 0.1 * (ends[:, 1] - ends[:, 0])
        beyond = (measures < ends[:, 0] - margin) | (measures > ends[:, 1] + margin)
        outside = beyond.mean(axis=0)
        for name, share, (low, high) in zip(self._names(len(ends)), outside, ends):
            if share > 0.05:
                warn_caller(
                    f"{share:.0%} of trials have a {name} far outside of the {low:g} to {high:g} "
                    "trained on: their llr are a guess; train on trials like them",
                    DegenerateDataWarning,
                )

    def _given_names(self) -> list[str] | None:
        """Names of the quality measures: those given, or of the columns beside the score."""
        if self.names is not None:
            return [str(name) for name in self.names]
        columns = getattr(self, "feature_names_in_", ())
        return [str(name) for name in columns[1:]] or None

    def _names(self, n_measures: int) -> list[str]:
        return self._given_names() or [f"quality {k + 1}" for k in range(n_measures)]
