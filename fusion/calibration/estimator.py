"""What calibration and fusion share as scikit-learn estimators: binary classifiers of trials.

Their scores are log-likelihood ratios, so that `decision_function` and `transform` tell the same;
`predict` and `predict_proba` add the prior of a target by Bayes' rule.

Dimension legend: N trials.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_feature_names_in, column_or_1d

from fusion.calibration.logistic import binary_labels, refuse_one_class
from ivector.base.errors import DataError, NotNumbersError
from ivector.base.estimators import note_columns


class LlrClassifier(ClassifierMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """Log-likelihood ratios, and the decisions that follow from them at ``prior``.

    Attributes
    ----------
    classes_ : ndarray (2,)
        Labels of nontargets and targets.
    """

    prior: float
    classes_: np.ndarray
    n_features_in_: int

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Log-likelihood ratios (N,) of scores.

        After ``set_output(transform="pandas")`` they are the column ``llr`` of a data frame.

        Raises
        ------
        DataError
            An infinite score, other columns than in training, or a missing score that cannot be
            done without.
        """
        return self._llr(X)

    def fit_transform(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Log-likelihood ratios (N,) of the trials trained on, which flatter the model."""
        return self.fit(X, y)._llr(X)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-likelihood ratios (N,), always as an array."""
        return self._llr(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label (N,) of the class that is more probable at the prior."""
        return self._decide(self._llr(X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities (N, 2) of nontarget and target at the prior."""
        return np.exp(self._log_posterior(self._llr(X)))

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms (N, 2) of `predict_proba`."""
        return self._log_posterior(self._llr(X))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name of the one column of the output: ``llr``."""
        _check_feature_names_in(self, input_features)
        return np.array(["llr"], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    @abstractmethod
    def _llr(self, X: ArrayLike) -> np.ndarray:
        """Checked log-likelihood ratios (N,)."""

    def _decide(self, llr: np.ndarray) -> np.ndarray:
        return self.classes_[(llr + self._prior_log_odds() > 0).astype(int)]

    def _log_posterior(self, llr: np.ndarray) -> np.ndarray:
        odds = llr + self._prior_log_odds()
        return -np.logaddexp(0, np.column_stack([odds, -odds]))

    def _prior_log_odds(self) -> float:
        return float(np.log(self.prior) - np.log1p(-self.prior))

    def _targets(self, y: ArrayLike, n_trials: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether each trial (N,) is a target, and the labels (2,) of nontargets and targets."""
        if y is None:
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; say "
                "which trials are targets"
            )
        return two_classes(y, n_trials)

    def _check_names(self, X: ArrayLike, reset: bool) -> None:
        """Learn the names of a table's columns, or compare them with those learned."""
        note_columns(self, X, reset=reset, ensure_2d=False)


def two_classes(y: ArrayLike, n_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each trial (N,) is a target, and the labels (2,) of nontargets and targets.

    Labels are 0 and 1 or any other two, of which targets have the one that sorts last.

    Raises
    ------
    DataError
        Not one label for each trial, or not two classes.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    usual = labels.dtype.kind in "biufO" and np.isin(labels, (0, 1)).all()
    if usual or labels.shape != (n_trials,):
        target = binary_labels(labels, n_trials)
        refuse_one_class(target)
        return target, np.array([0, 1], labels.dtype)
    try:
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"labels must be 1 (target) or 0 (nontarget): {error}") from None
    if len(classes) > 2:
        raise DataError(
            f"Only binary classification is supported. y has {len(classes)} classes; labels must "
            "be 1 (target) or 0 (nontarget); take unknown ones out"
        )
    if len(classes) < 2:
        raise DataError(f"all labels are of one class, {classes[0]}; training needs both classes")
    if classes.dtype.kind == "i" and classes.tolist() == [-1, 0]:
        raise DataError("there are labels -1 (unknown) and 0 (nontarget), but no target, 1")
    return codes.astype(bool), classes


def number_table(X: Any, what: str = "scores") -> np.ndarray:
    """Real numbers (N,) or (N, n_columns) as float64; not all need be finite.

    Raises
    ------
    DataError
        Sparse, complex, no numbers, or no columns.
    """
    if hasattr(X, "toarray"):
        raise DataError(f"the {what} are sparse; dense data is required: use .toarray()")
    try:
        table = np.asarray(X)
        if np.iscomplexobj(table):
            raise DataError(f"Complex data not supported: {what}")
        table = table.astype(np.float64, copy=False)
    except TypeError as error:
        raise NotNumbersError(f"the {what} are not numbers ({error}); give an array") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the {what} are not numbers ({error}); give an array") from None
    if table.ndim == 2 and not table.shape[1]:
        raise DataError(
            f"the {what} have 0 feature(s) (shape={table.shape}) while a minimum of 1 is required."
        )
    return table


def stored_options(estimator: type, options: Mapping[str, Any]) -> Any:
    """An estimator of the options that a file holds, each of the type of its default.

    Raises
    ------
    KeyError, TypeError
        There is no such option, or it is of another type; `names` are texts or None.
    """
    if not isinstance(options, Mapping):
        raise TypeError("its options are no object")
    defaults = inspect.signature(estimator).parameters
    for name, value in options.items():
        default = defaults[name].default
        if name == "names":
            several = isinstance(value, (list, tuple))
            fits = value is None or (several and all(isinstance(text, str) for text in value))
        elif isinstance(default, float):
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        else:
            fits = isinstance(value, type(default))
        if not fits:
            raise TypeError(f"its {name} is {str(value)[:40]}")
    return estimator(**options)
