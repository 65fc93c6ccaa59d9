"""Scikit-learn's manners of estimators that learn nothing: before `fit`, `transform` works too."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ivector.base.errors import DataError
from ivector.base.estimators import note_columns
from ivector.features.frames import check_frames, check_some

Model = TypeVar("Model", bound="FrameTransformer")


class Stateless(TransformerMixin, BaseEstimator):
    """An estimator that learns nothing; sub-classes say what they take and put out."""

    _dtypes: tuple[str, ...] = ("float32",)  # that are put out as they come

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = list(self._dtypes)
        return tags


class FrameTransformer(Stateless):
    """One of the frames of a recording, which notes their columns if it is fitted.

    Attributes
    ----------
    n_features_in_ : int
    """

    def fit(self: Model, X: Any = None, y: Any = None) -> Model:
        """Check the options and note the columns of `X`; there is nothing to learn."""
        self._check()
        if X is not None:
            check_some(check_frames(X), "features")
            self._note_columns(X, reset=True)
        return self

    def check_input(self, X: Any) -> np.ndarray:
        """Return frames as `check_frames` does, of the columns that were fitted, if any were.

        Raises
        ------
        DataError
            As `check_frames`; other columns than were fitted.
        """
        frames = check_frames(X)
        if hasattr(self, "n_features_in_"):
            self._note_columns(X, reset=False)
        return frames

    def _note_columns(self, X: Any, reset: bool) -> None:
        try:
            note_columns(self, X, reset=reset)
        except ValueError as error:
            raise DataError(str(error)) from None

    def _check(self) -> Any:
        """Check the options."""
        raise NotImplementedError
