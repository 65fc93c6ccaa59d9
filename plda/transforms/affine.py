"""A given matrix as a transform, such as one read from Kaldi's ``transform.mat``."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ivector.base.errors import DataError
from plda.checks import check_vectors


class Affine(TransformerMixin, BaseEstimator):
    """Apply a given matrix, as Kaldi's ``ivector-transform`` does; there is nothing to fit.

    Parameters
    ----------
    matrix : array_like (n_components, n_features) or (n_components, n_features + 1)
        Linear, or affine with the offset as last column.
    """

    def __init__(self, matrix: Any):
        self.matrix = matrix

    def fit(self, X: Any, y: Any = None) -> Affine:
        """Check that the matrix fits `X` (n_vectors, n_features)."""
        X = check_vectors(X)
        self._offset(X.shape[1])
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Transform `X` (n_vectors, n_features) to (n_vectors, n_components)."""
        X = check_vectors(X)
        projection = self.affine()[:, : X.shape[1]].astype(np.float64)
        return (X @ projection.T + self._offset(X.shape[1])).astype(X.dtype, copy=False)

    def affine(self) -> np.ndarray:
        """Return the matrix as it was given."""
        return check_vectors(self.matrix, "matrix")

    def _offset(self, n_dims: int) -> np.ndarray | float:
        matrix = self.affine()
        if matrix.shape[1] not in (n_dims, n_dims + 1):
            raise DataError(
                f"X has {n_dims} features, but a matrix of shape {matrix.shape} is expecting"
                f" {matrix.shape[1]} (or {matrix.shape[1] - 1} and an offset) as input"
            )
        return matrix[:, n_dims] if matrix.shape[1] > n_dims else 0.0

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
