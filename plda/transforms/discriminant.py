"""Transforms that set speakers apart: LDA and WCCN.

N vectors, D dimensions, K classes (speakers).

References
----------
A. O. Hatch, S. Kajarekar, A. Stolcke, "Within-class covariance normalization for SVM-based
speaker recognition", Interspeech 2006.
Kaldi: ``ivector-compute-lda``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy import linalg

from ivector.base.foreign.schema import Field, Schema
from ivector.base.parallel.workers import one_thread
from plda.checks import (
    check_labels,
    check_n_components,
    check_range,
    check_training,
    refuse_equal_vectors,
    warn_degenerate,
)
from plda.linalg import ClassStatistics, class_statistics, eigh_descending, floored_eigh
from plda.transforms.base import LabelledProjection, warn_rank


class LDA(LabelledProjection):
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
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> speakers = np.repeat(["ann", "bob", "cid"], 20)
    >>> X = 3 * rng.normal(size=(3, 5)).repeat(20, axis=0) + rng.normal(size=(60, 5))
    >>> LDA(2).fit(X, speakers).transform(X).shape
    (60, 2)
    """

    learnt: ClassVar[Schema] = {
        "mean_": Field(("D",)),
        "between_variance_": Field(("K",), least=0),
        "projection_": Field(("K", "D")),
    }

    def __init__(
        self,
        n_components: int | None = None,
        total_covariance_factor: float = 0.0,
        covariance_floor: float = 1e-6,
    ):
        self.n_components = n_components
        self.total_covariance_factor = total_covariance_factor
        self.covariance_floor = covariance_floor

    @one_thread()
    def fit(self, X: Any, y: Any = None) -> LDA:
        """Fit on vectors `X` (n_vectors, n_features) of speakers `y` (n_vectors,)."""
        X = check_training(self, X)
        classes, index = check_labels(y, len(X), self)
        return self._fit(class_statistics(X, index, len(classes)))

    def fit_statistics(self, stats: ClassStatistics) -> LDA:
        """Fit on statistics of vectors that need not be in memory."""
        self.n_features_in_ = stats.means.shape[1]
        return self._fit(stats)

    def _fit(self, stats: ClassStatistics) -> LDA:
        n_vectors, (n_classes, n_dims) = stats.n_vectors, stats.means.shape
        keep = check_n_components(self.n_components, n_dims, min(n_dims, n_classes - 1))
        floor = check_range("covariance_floor", self.covariance_floor, 0.0, 1.0)
        factor = check_range("total_covariance_factor", self.total_covariance_factor, 0.0, 1.0)
        within = stats.within_scatter / n_vectors
        between = stats.between_scatter / n_vectors
        if keep > n_classes - 1:
            warn_degenerate(
                f"n_components={keep}, but {n_classes} classes have means of rank"
                f" {n_classes - 1} at most; the other dimensions carry no class information:"
                f" use LDA({n_classes - 1}) or more classes"
            )
        refuse_equal_vectors(np.trace(within + between), stats.mean, n_vectors)
        normalised = _within_or_total(within, between, factor)
        values, vectors, rank = floored_eigh(normalised, floor)
        if rank < n_dims:
            warn_rank(
                "within-class covariance", rank, n_dims, n_vectors, floor, f"Whiten({rank}) before"
            )
        whiten = vectors.T / np.sqrt(values)[:, None]
        variances, rotation = eigh_descending(whiten @ between @ whiten.T)
        self.mean_ = stats.mean
        self.between_variance_ = np.maximum(variances[:keep], 0.0)
        self.projection_ = rotation[:, :keep].T @ whiten
        return self


class WCCN(LabelledProjection):
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
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> import numpy as np
    >>> speakers, offsets = np.repeat(np.arange(30), 10), np.array([[1, 0], [0, 5]])
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ offsets
    >>> out = WCCN().fit_transform(X, speakers).reshape(30, 10, 2)
    >>> within = np.mean([np.cov(own.T, bias=True) for own in out], axis=0)
    >>> bool(np.allclose(within, np.eye(2)))
    True
    """

    learnt: ClassVar[Schema] = {"mean_": Field(("D",)), "projection_": Field(("D", "D"))}

    def __init__(self, covariance_floor: float = 1e-6):
        self.covariance_floor = covariance_floor

    @one_thread()
    def fit(self, X: Any, y: Any = None) -> WCCN:
        """Fit on vectors `X` (n_vectors, n_features) of speakers `y` (n_vectors,)."""
        X = check_training(self, X)
        n_vectors, n_dims = X.shape
        classes, index = check_labels(y, n_vectors, self)
        floor = check_range("covariance_floor", self.covariance_floor, 0.0, 1.0)
        stats = class_statistics(X, index, len(classes), equal_classes=True)
        within = stats.within_scatter / max(1, np.count_nonzero(stats.counts > 1))
        between = stats.between_scatter / n_vectors
        refuse_equal_vectors(np.trace(within + between), stats.mean, n_vectors)
        within = _within_or_total(within, between, 0.0)
        values, vectors, rank = floored_eigh(within, floor)
        if rank < n_dims:
            warn_rank(
                "within-class covariance", rank, n_dims, n_vectors, floor, f"Whiten({rank}) before"
            )
        inverse = (vectors / values) @ vectors.T
        self.mean_ = stats.mean
        self.projection_ = linalg.cholesky((inverse + inverse.T) / 2)
        return self


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
