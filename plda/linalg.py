"""Class statistics and floored symmetric eigenproblems, common to the whole back-end.

N vectors, D dimensions, K classes (speakers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

_BLOCK_ROWS = 16384


@dataclass
class ClassStatistics:
    """What the back-end needs to know of labelled vectors, in float64.

    Attributes
    ----------
    counts : ndarray (K,)
        Vectors of each class.
    means : ndarray (K, D)
        Class means.
    within_scatter : ndarray (D, D)
        Sum over vectors of (x − class mean)(x − class mean)', each divided by its class's count
        where classes were asked to weigh the same.
    """

    counts: np.ndarray
    means: np.ndarray
    within_scatter: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of all vectors (D,)."""
        return self.counts @ self.means / self.counts.sum()

    @property
    def n_vectors(self) -> int:
        """Of all classes."""
        return int(self.counts.sum())

    @property
    def total_covariance(self) -> np.ndarray:
        """Covariance of all vectors (D, D), divided by their number."""
        return (self.within_scatter + self.between_scatter) / self.counts.sum()

    @property
    def between_scatter(self) -> np.ndarray:
        """Sum over vectors of (class mean − mean)(class mean − mean)', (D, D)."""
        centred = self.means - self.mean
        return (centred * self.counts[:, None]).T @ centred


def class_statistics(
    X: np.ndarray, index: np.ndarray, n_classes: int, equal_classes: bool = False
) -> ClassStatistics:
    """Statistics of vectors (N, D) whose class indices are `index` (N,).

    Two passes, as the scatter about known means suffers no cancellation; block by block, so
    that float32 vectors are never held in float64 all at once.
    """
    counts, means = class_means(X, index, n_classes)
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for rows in _blocks(len(X)):
        labels = index[rows]
        residual = X[rows] - means[labels]
        if equal_classes:
            residual /= np.sqrt(counts[labels])[:, None]
        scatter += residual.T @ residual
    return ClassStatistics(counts, means, scatter)


def class_means(
    X: np.ndarray,
    index: np.ndarray,
    n_classes: int,
    function: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Counts (K,) and means (K, D) of the classes of X, or of `function` of its rows; float64."""
    counts = np.bincount(index, minlength=n_classes).astype(np.float64)
    order = np.argsort(index, kind="stable")
    sums = np.zeros((n_classes, X.shape[1]))
    for rows in _blocks(len(X)):
        block = order[rows]
        labels = index[block]
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        vectors = X[block].astype(np.float64)
        values = vectors if function is None else function(vectors)
        sums[labels[starts]] += np.add.reduceat(values, starts, axis=0)
    return counts, sums / counts[:, None]


def total_covariance(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of X, divided by N, in float64."""
    mean = X.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for rows in _blocks(len(X)):
        residual = X[rows] - mean
        scatter += residual.T @ residual
    return mean, scatter / len(X)


def _blocks(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, _BLOCK_ROWS):
        yield slice(start, min(n_rows, start + _BLOCK_ROWS))


def eigh_descending(symmetric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (D,), greatest first, and eigenvectors as columns (D, D), signs fixed.

    Each eigenvector's entry of greatest magnitude is positive, so that the same data give the
    same transform with any LAPACK.
    """
    values, vectors = linalg.eigh((symmetric + symmetric.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    return values, vectors * _signs(vectors.T)


def _signs(rows: np.ndarray) -> np.ndarray:
    largest = np.argmax(np.abs(rows), axis=1)
    return np.where(rows[np.arange(len(rows)), largest] < 0, -1.0, 1.0)


def floored_eigh(
    covariance: np.ndarray, relative_floor: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Eigenvalues floored relative to the greatest, eigenvectors, and the rank before flooring.

    As Kaldi's ``ComputeNormalizingTransform`` in ``ivector-compute-lda.cc``. A floor below
    rounding error is raised to it.
    """
    values, vectors = eigh_descending(covariance)
    floor = values[0] * max(relative_floor, len(values) * np.finfo(np.float64).eps)
    rank = int(np.count_nonzero(values > max(floor, 0.0)))
    return np.maximum(values, floor), vectors, rank


def diagonalise(within: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find T (D, D) and ψ (D,) with T·within·T' = I and T·between·T' = diag(ψ), ψ descending.

    The end of Kaldi's ``PldaEstimator::GetOutput``; rows of T are defined up to sign, here
    such that the entry of greatest magnitude is positive.
    """
    values, vectors = linalg.eigh((within + within.T) / 2)
    whiten = vectors.T / np.sqrt(values)[:, None]
    psi, rotation = eigh_descending(whiten @ between @ whiten.T)
    transform = rotation.T @ whiten
    return transform * _signs(transform)[:, None], np.maximum(psi, 0.0)
