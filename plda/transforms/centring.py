"""Centre and whiten vectors.

N vectors, D dimensions, K classes (speakers).
Kaldi: ``ivector-subtract-global-mean``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import OneToOneFeatureMixin

from ivector.base.errors import UsageError
from ivector.base.foreign.schema import Field, Schema
from ivector.base.parallel.workers import one_thread
from plda.checks import (
    check_labels,
    check_n_components,
    check_range,
    check_training,
    check_vectors,
    refuse_equal_vectors,
)
from plda.linalg import ClassStatistics, class_means, floored_eigh, total_covariance
from plda.transforms.base import LinearTransformer, Projection, warn_rank


class Center(OneToOneFeatureMixin, LinearTransformer):
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
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> Center().fit_transform([[0.0, 2], [2, 6]])
    array([[-1., -2.],
           [ 1.,  2.]])
    """

    learnt: ClassVar[Schema] = {"mean_": Field(("D",))}

    def __init__(self, mean: Any = None, per_class: bool = False):
        self.mean = mean
        self.per_class = per_class

    def fit(self, X: Any, y: Any = None) -> Center:
        """Find the mean of `X` (n_vectors, n_features)."""
        X = check_training(self, X)
        if self.mean is not None:
            mean = check_vectors(np.atleast_2d(self.mean), "mean", X.shape[1])[0]
            self.mean_ = mean.astype(np.float64)
        elif self.per_class:
            classes, index = check_labels(y, len(X), self, min_classes=1)
            self.mean_ = class_means(X, index, len(classes))[1].mean(axis=0)
        else:
            self.mean_ = X.mean(axis=0, dtype=np.float64)
        return self

    def fit_statistics(self, stats: ClassStatistics) -> Center:
        """Fit on statistics of vectors that need not be in memory; ``mean`` goes first."""
        if self.mean is not None:
            return self.fit(np.atleast_2d(self.mean))
        self.n_features_in_ = stats.means.shape[1]
        self.mean_ = stats.means.mean(axis=0) if self.per_class else stats.mean
        return self


class Whiten(Projection):
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
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(100, 3)) @ [[3, 0, 0], [1, 2, 0], [0, 0, 1]]
    >>> out = Whiten(2).fit_transform(X)
    >>> bool(np.allclose(np.cov(out.T, bias=True), np.eye(2)))
    True
    """

    learnt: ClassVar[Schema] = {
        "mean_": Field(("D",)),
        "explained_variance_": Field(("K",), least=0),
        "projection_": Field(("P", "D")),
    }

    def __init__(
        self,
        n_components: int | None = None,
        method: str = "pca",
        covariance_floor: float = 1e-6,
    ):
        self.n_components = n_components
        self.method = method
        self.covariance_floor = covariance_floor

    @one_thread()
    def fit(self, X: Any, y: Any = None) -> Whiten:
        """Find the principal components of `X` (n_vectors, n_features)."""
        X = check_training(self, X)
        return self._fit(*total_covariance(X), len(X))

    def fit_statistics(self, stats: ClassStatistics) -> Whiten:
        """Fit on statistics of vectors that need not be in memory."""
        self.n_features_in_ = stats.means.shape[1]
        return self._fit(stats.mean, stats.total_covariance, stats.n_vectors)

    def _fit(self, mean: np.ndarray, covariance: np.ndarray, n_vectors: int) -> Whiten:
        n_dims = len(mean)
        keep = check_n_components(self.n_components, n_dims, n_dims)
        floor = check_range("covariance_floor", self.covariance_floor, 0.0, 1.0)
        if self.method not in ("pca", "zca"):
            raise UsageError(f"method must be 'pca' or 'zca', got {self.method!r}")
        if self.method == "zca" and keep < n_dims:
            raise UsageError("method='zca' keeps the dimension; leave `n_components` at None")
        refuse_equal_vectors(np.trace(covariance), mean, n_vectors)
        values, vectors, rank = floored_eigh(covariance, floor)
        if rank < keep:
            warn_rank("total covariance", rank, n_dims, n_vectors, floor, f"Whiten({rank})")
        projection = vectors[:, :keep].T / np.sqrt(values[:keep, None])
        self.mean_ = mean
        self.explained_variance_ = values[:keep]
        self.projection_ = vectors @ projection if self.method == "zca" else projection
        return self
