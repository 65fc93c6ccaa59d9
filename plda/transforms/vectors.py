"""Vector transforms of the back-end as scikit-learn transformers: centre, whiten, LDA, WCCN, norm.

N vectors, D dimensions, K classes (speakers). Every transformer keeps float32 vectors float32
but computes in float64. Covariances without full rank are floored, with a
`DegenerateDataWarning` that names the rank.

A back-end in one line, as in Kaldi's speaker-identification recipes:

>>> from sklearn.pipeline import make_pipeline
>>> from plda import LDA, PLDA, Center, LengthNorm
>>> backend = make_pipeline(Center(), LDA(40), LengthNorm(), PLDA())  # doctest: +SKIP
>>> backend.fit(X, speakers)                                          # doctest: +SKIP
>>> project, plda = backend[:-1], backend[-1]                         # doctest: +SKIP
>>> scores = plda.score_matrix(project.transform(enrol), project.transform(test))  # doctest: +SKIP

References
----------
A. O. Hatch, S. Kajarekar, A. Stolcke, "Within-class covariance normalization for SVM-based
speaker recognition", Interspeech 2006.
D. Garcia-Romero, C. Espy-Wilson, "Analysis of i-vector length normalization in speaker
recognition systems", Interspeech 2011.
Kaldi: ``ivector-subtract-global-mean``, ``ivector-compute-lda``, ``ivector-normalize-length``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ivector.base.errors import DataError, UsageError
from ivector.base.workers import one_thread
from plda.checks import (
    check_input,
    check_labels,
    check_n_components,
    check_range,
    check_vectors,
    warn_degenerate,
)
from plda.linalg import (
    class_means,
    class_statistics,
    eigh_descending,
    floored_eigh,
    total_covariance,
)


class _Transformer(TransformerMixin, BaseEstimator):
    """x → A (x − mean), with A (n_components, D) or None for the identity."""

    mean_: np.ndarray

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


class _LabelledTransformer(_Transformer):
    """One that is fitted on labelled vectors."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class Center(_Transformer):
    """Subtract the mean (Kaldi's ``ivector-subtract-global-mean``).

    Parameters
    ----------
    mean : array_like (n_features,), optional
        Subtract this instead of the training vectors' mean, e.g. the mean of in-domain data.
    per_class : bool
        Average the class means, so that a speaker of many utterances weighs no more than
        another; needs labels. Kaldi's recipes average over utterances.

    Attributes
    ----------
    mean_ : ndarray (n_features,)
    """

    def __init__(self, mean=None, per_class=False):
        self.mean = mean
        self.per_class = per_class

    def fit(self, X: Any, y: Any = None) -> Center:
        """Find the mean of `X` (n_vectors, n_features)."""
        X = check_vectors(X)
        self.n_features_in_ = X.shape[1]
        if self.mean is not None:
            mean = check_vectors(np.atleast_2d(self.mean), "mean", X.shape[1])[0]
            self.mean_ = mean.astype(np.float64)
        elif self.per_class:
            classes, index = check_labels(y, len(X), self, min_classes=1)
            self.mean_ = class_means(X, index, len(classes))[1].mean(axis=0)
        else:
            self.mean_ = X.mean(axis=0, dtype=np.float64)
        return self


class Whiten(_Transformer):
    """Make the total covariance the identity, by its principal components.

    Parameters
    ----------
    n_components : int, optional
        Principal components to keep; all by default.
    method : {"pca", "zca"}
        "pca" gives the components in order of variance; "zca" turns back into the original
        axes, which stays closest to the input and keeps its dimension.
    covariance_floor : float
        Eigenvalues are floored at this fraction of the greatest. Raise it where the trailing
        directions are noise.

    Attributes
    ----------
    mean_ : ndarray (n_features,)
    projection_ : ndarray (n_components, n_features)
    explained_variance_ : ndarray (n_components,)
        Floored eigenvalues.
    """

    def __init__(self, n_components=None, method="pca", covariance_floor=1e-6):
        self.n_components = n_components
        self.method = method
        self.covariance_floor = covariance_floor

    @one_thread()
    def fit(self, X: Any, y: Any = None) -> Whiten:
        """Find the principal components of `X` (n_vectors, n_features)."""
        X = check_vectors(X)
        n_vectors, n_dims = X.shape
        keep = check_n_components(self.n_components, n_dims, n_dims)
        floor = check_range("covariance_floor", self.covariance_floor, 0.0, 1.0)
        if self.method not in ("pca", "zca"):
            raise UsageError(f"method must be 'pca' or 'zca', got {self.method!r}")
        if self.method == "zca" and keep < n_dims:
            raise UsageError("method='zca' keeps the dimension; leave n_components at None")
        mean, covariance = total_covariance(X)
        _refuse_equal_vectors(covariance, mean, n_vectors)
        values, vectors, rank = floored_eigh(covariance, floor)
        if rank < keep:
            _warn_rank("total covariance", rank, n_dims, n_vectors, floor, f"Whiten({rank})")
        projection = vectors[:, :keep].T / np.sqrt(values[:keep, None])
        self.n_features_in_ = n_dims
        self.mean_ = mean
        self.explained_variance_ = values[:keep]
        self.projection_ = vectors @ projection if self.method == "zca" else projection
        return self


class LDA(_LabelledTransformer):
    """Linear discriminant analysis with the numbers of Kaldi's ``ivector-compute-lda``.

    Normalises the within-class covariance (divided by N, not N − K), floored relative to its
    greatest eigenvalue, then keeps the directions of most between-class covariance. The mean is
    subtracted. Rows equal Kaldi's up to sign.

    Parameters
    ----------
    n_components : int, optional
        Dimensions to keep, Kaldi's ``--dim``; by default as many as the classes determine,
        min(n_features, n_classes − 1).
    total_covariance_factor : float
        Normalise f·total + (1 − f)·within instead of within. Raise it where there are few
        utterances per speaker; Kaldi's recipes use 0 or 0.1.
    covariance_floor : float
        Floor of the normalised covariance's eigenvalues relative to the greatest.

    Attributes
    ----------
    mean_ : ndarray (n_features,)
    projection_ : ndarray (n_components, n_features)
    between_variance_ : ndarray (n_components,)
        Between-class variance of each output dimension.
    """

    def __init__(self, n_components=None, total_covariance_factor=0.0, covariance_floor=1e-6):
        self.n_components = n_components
        self.total_covariance_factor = total_covariance_factor
        self.covariance_floor = covariance_floor

    @one_thread()
    def fit(self, X: Any, y: Any = None) -> LDA:
        """Fit on vectors `X` (n_vectors, n_features) of speakers `y` (n_vectors,)."""
        X = check_vectors(X)
        n_vectors, n_dims = X.shape
        classes, index = check_labels(y, n_vectors, self)
        keep = check_n_components(self.n_components, n_dims, min(n_dims, len(classes) - 1))
        floor = check_range("covariance_floor", self.covariance_floor, 0.0, 1.0)
        factor = check_range("total_covariance_factor", self.total_covariance_factor, 0.0, 1.0)
        stats = class_statistics(X, index, len(classes))
        within = stats.within_scatter / n_vectors
        between = stats.between_scatter / n_vectors
        if keep > len(classes) - 1:
            warn_degenerate(
                f"n_components={keep}, but {len(classes)} classes have means of rank"
                f" {len(classes) - 1} at most; the other dimensions carry no class information:"
                f" use LDA({len(classes) - 1}) or more classes"
            )
        _refuse_equal_vectors(within + between, stats.mean, n_vectors)
        normalised = _within_or_total(within, between, factor)
        values, vectors, rank = floored_eigh(normalised, floor)
        if rank < n_dims:
            _warn_rank(
                "within-class covariance", rank, n_dims, n_vectors, floor, f"Whiten({rank}) before"
            )
        whiten = vectors.T / np.sqrt(values)[:, None]
        variances, rotation = eigh_descending(whiten @ between @ whiten.T)
        self.n_features_in_ = n_dims
        self.mean_ = stats.mean
        self.between_variance_ = np.maximum(variances[:keep], 0.0)
        self.projection_ = rotation[:, :keep].T @ whiten
        return self


class WCCN(_LabelledTransformer):
    """Within-class covariance normalisation, x → B'(x − mean) with B B' = W⁻¹ (Hatch 2006).

    W is the average over classes of the classes' covariances, so that every speaker counts the
    same; a speaker of one vector adds nothing and is left out of the average.

    Parameters
    ----------
    covariance_floor : float
        Floor of W's eigenvalues relative to the greatest.

    Attributes
    ----------
    mean_ : ndarray (n_features,)
    projection_ : ndarray (n_features, n_features)
        B', upper triangular.
    """

    def __init__(self, covariance_floor=1e-6):
        self.covariance_floor = covariance_floor

    @one_thread()
    def fit(self, X: Any, y: Any = None) -> WCCN:
        """Fit on vectors `X` (n_vectors, n_features) of speakers `y` (n_vectors,)."""
        X = check_vectors(X)
        n_vectors, n_dims = X.shape
        classes, index = check_labels(y, n_vectors, self)
        floor = check_range("covariance_floor", self.covariance_floor, 0.0, 1.0)
        stats = class_statistics(X, index, len(classes), equal_classes=True)
        within = stats.within_scatter / max(1, np.count_nonzero(stats.counts > 1))
        between = stats.between_scatter / n_vectors
        _refuse_equal_vectors(within + between, stats.mean, n_vectors)
        within = _within_or_total(within, between, 0.0)
        values, vectors, rank = floored_eigh(within, floor)
        if rank < n_dims:
            _warn_rank(
                "within-class covariance", rank, n_dims, n_vectors, floor, f"Whiten({rank}) before"
            )
        inverse = (vectors / values) @ vectors.T
        self.n_features_in_ = n_dims
        self.mean_ = stats.mean
        self.projection_ = linalg.cholesky((inverse + inverse.T) / 2)
        return self


class Affine(TransformerMixin, BaseEstimator):
    """Apply a given matrix, as Kaldi's ``ivector-transform`` does; there is nothing to fit.

    Parameters
    ----------
    matrix : array_like (n_components, n_features) or (n_components, n_features + 1)
        Linear, or affine with the offset as last column.
    """

    def __init__(self, matrix):
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


class LengthNorm(TransformerMixin, BaseEstimator):
    """Scale every vector to the same length (Kaldi's ``ivector-normalize-length``).

    Vectors of length zero stay so.

    Parameters
    ----------
    scale : bool
        To length √D, the expected length of a vector of unit covariance, as Kaldi does by
        default; False gives unit length (``--scaleup=false``).
    """

    def __init__(self, scale=True):
        self.scale = scale

    def fit(self, X: Any, y: Any = None) -> LengthNorm:
        """Note the dimension of `X` (n_vectors, n_features)."""
        self.n_features_in_ = check_vectors(X).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Normalise the lengths of `X` (n_vectors, n_features)."""
        X = check_input(self, X)
        return length_norm(X, self.scale)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def length_norm(X: np.ndarray, scale: bool = True) -> np.ndarray:
    """Vectors (n_vectors, n_dims) scaled to length √n_dims, or 1 if not `scale`; zeros stay."""
    # The maximum is taken out first, so that squares neither overflow nor vanish.
    largest = np.abs(X).max(axis=1, keepdims=True).astype(np.float64)
    if not largest.all():
        warn_degenerate(
            f"{np.count_nonzero(largest == 0)} of {len(X)} vectors have length zero and stay so;"
            " were they extracted from silence?"
        )
        largest[largest == 0] = 1.0
    scaled = X / largest
    length = np.sqrt(np.einsum("nd,nd->n", scaled, scaled))[:, None]
    length[length == 0] = 1.0
    return (scaled * ((np.sqrt(X.shape[1]) if scale else 1.0) / length)).astype(X.dtype)


def _refuse_equal_vectors(covariance: np.ndarray, mean: np.ndarray, n_vectors: int) -> None:
    # Equal vectors still differ from their computed mean by rounding errors.
    rounding = (64 * np.finfo(np.float64).eps) ** 2 * (mean @ mean)
    if np.trace(covariance) <= rounding:
        raise DataError(
            f"all {n_vectors} sample(s) in X are equal, so the covariance has rank 0;"
            " give different vectors"
        )


def _within_or_total(within: np.ndarray, between: np.ndarray, factor: float) -> np.ndarray:
    """f·total + (1 − f)·within, or total where no class has two different vectors."""
    if np.trace(within) <= 1e-20 * np.trace(between):
        warn_degenerate(
            "no class has two different vectors, so the within-class covariance has rank 0 of"
            f" {len(within)} dimensions; the total covariance is normalised instead: give"
            " several utterances per speaker"
        )
        return within + between
    return within + factor * between


def _warn_rank(what: str, rank: int, n_dims: int, n_vectors: int, floor: float, cure: str) -> None:
    warn_degenerate(
        f"the {what} of {n_vectors} vectors has rank {rank} of {n_dims} dimensions (eigenvalues"
        f" above {floor:g} of the greatest); the rest was floored: use more vectors, or fewer"
        f" dimensions with {cure}"
    )
