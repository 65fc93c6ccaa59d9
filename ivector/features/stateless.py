"""Scikit-learn's manners of estimators that learn nothing: before `fit`, `transform` works too."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ivector.base.errors import DataError
from ivector.base.estimators import note_columns
from ivector.features.frames import check_frames


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
        note_columns(estimator, X, reset=fit)
    except ValueError as error:
        raise DataError(str(error)) from None
    return frames
