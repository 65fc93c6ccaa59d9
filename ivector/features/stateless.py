"""Scikit-learn's manners of estimators that learn nothing: before `fit`, `transform` works too."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ivector.base.errors import DataError
from ivector.features.frames import check_frames

# Modules that a warning's reader did not write.
_INNER = ("ivector.", "sklearn")


class Stateless(TransformerMixin, BaseEstimator):
    """An estimator that learns nothing; sub-classes say what they take and put out.

    Attributes
    ----------
    n_features_in_ : int
    """

    _dtypes: tuple[str, ...] = ("float32",)  # that are put out as they come

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = list(self._dtypes)
        return tags


def warn_caller(message: str, category: type[Warning]) -> None:
    """Give a warning that points at the call from outside of `ivector` and scikit-learn."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_INNER):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def check_columns(estimator: Any, X: Any, fit: bool) -> np.ndarray:
    """`check_frames` for an estimator: `fit` notes the columns, otherwise they must be those.

    Raises
    ------
    DataError
        As `check_frames`; no frames or columns to fit; other columns than were fitted.
    """
    frames = check_frames(X)
    if fit and not frames.size:
        what = "sample(s)" if frames.shape[1] else "feature(s)"
        raise DataError(
            f"features have 0 {what} (shape={frames.shape}) while a minimum of 1 is required."
        )
    if not fit and not hasattr(estimator, "n_features_in_"):
        return frames
    try:
        _note_columns(estimator, X, fit)
    except ValueError as error:
        raise DataError(str(error)) from None
    return frames


def _note_columns(estimator: Any, X: Any, fit: bool) -> None:
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # scikit-learn before 1.6
        estimator._validate_data(X, reset=fit, cast_to_ndarray=False)
    else:
        validate_data(estimator, X, reset=fit, skip_check_array=True)
