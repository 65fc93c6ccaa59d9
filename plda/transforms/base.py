"""What the transforms of vectors share: a mean, a projection, a warning of poor data.

N vectors, D dimensions. Every transformer keeps float32 vectors float32 but computes in float64.
Covariances without full rank are floored, with a `DegenerateDataWarning` that names the rank.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from plda.checks import check_input, warn_degenerate


class VectorTransformer(TransformerMixin, BaseEstimator):
    """One that keeps float32 vectors float32."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class LinearTransformer(VectorTransformer):
    """x → A (x − mean), with A (n_components, D) or None for the identity."""

    mean_: np.ndarray
    n_features_in_: int

    def transform(self, X: Any) -> np.ndarray:
        """Transform vectors.

        Parameters
        ----------
        X : array_like (n_vectors, n_features)

        Returns
        -------
        ndarray (n_vectors, n_components)
            float32 if X is, else float64.

        Raises
        ------
        DataError
            NaN, infinity, or another dimension than that of the training vectors.
        """
        check_is_fitted(self)
        X = check_input(self, X)
        projection = getattr(self, "projection_", None)
        centred = X - self.mean_
        return (centred if projection is None else centred @ projection.T).astype(
            X.dtype, copy=False
        )

    def affine(self) -> np.ndarray:
        """Return the transform as Kaldi's affine matrix (n_components, n_features + 1).

        The last column is the offset, ``x → A x + b``, as written by ``ivector-compute-lda`` and
        applied by ``ivector-transform``.
        """
        check_is_fitted(self)
        projection = getattr(self, "projection_", None)
        if projection is None:
            projection = np.eye(len(self.mean_))
        return np.hstack([projection, -(projection @ self.mean_)[:, None]])


class Projection(ClassNamePrefixFeaturesOutMixin, LinearTransformer):
    """One whose features are new; their names are the class's and a number: lda0, lda1, …"""

    projection_: np.ndarray

    @property
    def _n_features_out(self) -> int:
        return len(self.projection_)


class LabelledProjection(Projection):
    """One that is fitted on labelled vectors."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def warn_rank(what: str, rank: int, n_dims: int, n_vectors: int, floor: float, cure: str) -> None:
    """Warn of a covariance without full rank, floored; `cure` names what has fewer dimensions."""
    warn_degenerate(
        f"the {what} of {n_vectors} vectors has rank {rank} of {n_dims} dimensions (eigenvalues"
        f" above {floor:g} of the greatest); the rest was floored: use more vectors, or fewer"
        f" dimensions with {cure}"
    )
