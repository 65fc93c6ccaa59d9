"""A given matrix as a transform, such as one read from Kaldi's ``transform.mat``."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted

from ivector.base.errors import DataError
from plda.checks import check_input, check_training, check_vectors
from plda.transforms.base import VectorTransformer


class Affine(ClassNamePrefixFeaturesOutMixin, VectorTransformer):
    """Apply a given matrix, as Kaldi's ``ivector-transform`` does; there is nothing to fit.

    Parameters
    ----------
    matrix : array_like (n_components, n_features) or (n_components, n_features + 1), optional
        Linear, or affine with the offset as last column. None leaves vectors as they are.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> Affine([[1, 1, 10]]).transform([[2.0, 3.0]]).tolist()
    [[15.0]]
    """

    n_features_in_: int

    def __init__(self, matrix: Any = None):
        self.matrix = matrix

    def fit(self, X: Any, y: Any = None) -> Affine:
        """Check that the matrix fits `X` (n_vectors, n_features)."""
        X = check_training(self, X)
        self._offset(X.shape[1])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Transform `X` (n_vectors, n_features) to (n_vectors, n_components)."""
        X = check_input(self, X)
        if self.matrix is None:
            return X.copy()
        projection = self.affine()[:, : X.shape[1]].astype(np.float64)
        return (X @ projection.T + self._offset(X.shape[1])).astype(X.dtype, copy=False)

    def affine(self) -> np.ndarray:
        """Return the matrix as it was given; for None, the identity (n_features, n_features)."""
        if self.matrix is None:
            check_is_fitted(self, "n_features_in_")
            return np.eye(self.n_features_in_)
        return check_vectors(self.matrix, "matrix")

    @property
    def _n_features_out(self) -> int:
        return len(self.affine())

    def _offset(self, n_dims: int) -> np.ndarray | float:
        if self.matrix is None:
            return 0.0
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
