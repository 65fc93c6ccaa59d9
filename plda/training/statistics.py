"""Class statistics of labelled vectors that are read pass by pass, never all in memory.

N vectors, D dimensions, K classes. A pass sums counts, vectors of each class and the scatter about
a fixed origin near the mean, which leaves float64 digits enough for the scatter within classes.
Statistics behind an affine step follow from those before it; only length norms need a new pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from plda.linalg import ClassStatistics

Labelled = tuple[np.ndarray, np.ndarray]


class LabelledVectors(Protocol):
    """Vectors with their class indices, as often as they are asked for."""

    n_classes: int

    def blocks(self) -> Iterable[Labelled]:
        """Yield vectors (n, D) and their class indices (n,)."""


class HeldVectors:
    """Labelled vectors in memory.

    Parameters
    ----------
    X : ndarray (N, D)
    index : ndarray (N,)
        Class of each vector, 0 to K − 1.
    """

    _ROWS = 4096

    def __init__(self, X: np.ndarray, index: np.ndarray):
        self.X, self.index = X, index
        self.n_classes = int(index.max()) + 1

    def blocks(self) -> Iterator[Labelled]:
        """Yield vectors (n, D) and their class indices (n,)."""
        for start in range(0, len(self.X), self._ROWS):
            rows = slice(start, start + self._ROWS)
            yield self.X[rows], self.index[rows]


class Sums:
    """Sums of labelled vectors; blocks are added one by one.

    Parameters
    ----------
    n_classes : int
    """

    def __init__(self, n_classes: int):
        self.counts = np.zeros(n_classes)
        self._sums = np.empty((0, 0))
        self._scatter = np.empty((0, 0))
        self._origin = np.empty(0)

    def add(self, X: np.ndarray, index: np.ndarray) -> None:
        """Add vectors (n, D) of classes (n,)."""
        if not len(X):
            return
        if not self._origin.size:
            n_dims = X.shape[1]
            self._origin = X.mean(axis=0, dtype=np.float64)
            self._sums = np.zeros((len(self.counts), n_dims))
            self._scatter = np.zeros((n_dims, n_dims))
        self.counts += np.bincount(index, minlength=len(self.counts))
        offsets = X - self._origin
        self._scatter += offsets.T @ offsets
        order = np.argsort(index, kind="stable")
        labels = index[order]
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        self._sums[labels[starts]] += np.add.reduceat(offsets[order], starts, axis=0)

    def statistics(self) -> ClassStatistics:
        """Statistics of the classes that have vectors; of use only once all were added."""
        some = self.counts > 0
        counts, means = self.counts[some], self._sums[some]
        means /= counts[:, None]
        within = self._scatter - (means * counts[:, None]).T @ means
        means += self._origin
        return ClassStatistics(counts, means, (within + within.T) / 2)


def statistics_of(vectors: LabelledVectors, steps: Sequence[Any] = ()) -> ClassStatistics:
    """Statistics of vectors behind fitted steps, in one pass."""
    sums = Sums(vectors.n_classes)
    for X, index in vectors.blocks():
        for step in steps:
            X = step.transform(X)
        sums.add(X, index)
    return sums.statistics()


def fit_chain(
    steps: Sequence[Any],
    vectors: LabelledVectors,
    stats: ClassStatistics | None = None,
    told: Callable[[int], None] = lambda n_fitted: None,
) -> Pipeline:
    """Fit steps one after the other, each on what those before it make of the vectors.

    Parameters
    ----------
    steps : sequence of estimators
        With ``fit_statistics``; fitted in place.
    vectors : LabelledVectors
    stats : ClassStatistics, optional
        Of the vectors themselves, where a pass has found them already.
    told : callable
        Called with the number of fitted steps before each pass.

    Returns
    -------
    Pipeline
    """
    for n_fitted, step in enumerate(steps):
        if stats is None:
            told(n_fitted)
            stats = statistics_of(vectors, steps[:n_fitted])
        step.fit_statistics(stats)
        stats = _behind(step, stats)
    return make_pipeline(*steps)


def _behind(step: Any, stats: ClassStatistics) -> ClassStatistics | None:
    """Statistics of what an affine step makes of vectors; None for another step."""
    if not hasattr(step, "affine"):
        return None
    projection = step.affine()[:, :-1]
    within = projection @ stats.within_scatter @ projection.T
    return ClassStatistics(stats.counts, step.transform(stats.means), (within + within.T) / 2)
