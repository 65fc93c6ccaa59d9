"""Training data and sufficient statistics of the mixtures.

Dimension legend: C components, D feature dimensions, n frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivector.base.errors import DataError
from ivector.base.estimators import as_matrix, check_columns

# A variance below this fraction of the mean square is rounding: the dimension is constant.
CONSTANT = 1e-10

# Frames of a shard of one ndarray; the size depends on nothing, so that sums never do either.
SHARD_FRAMES = 1 << 17

Loader = Callable[[], np.ndarray]
Data = np.ndarray | Sequence[Loader] | Sequence[np.ndarray]


@dataclass
class GMMStatistics:
    """Sufficient statistics of a mixture, raw (about the origin); they add.

    Attributes
    ----------
    zeroth : ndarray (n_components,)
        Σ_t γ_t(c), frames.
    first : ndarray (n_components, n_features)
        Σ_t γ_t(c) x_t.
    second : ndarray (n_components, n_features) or (n_components, n_features, n_features)
        Σ_t γ_t(c) x_t² for a diagonal, Σ_t γ_t(c) x_t x_tᵀ for a full mixture.
    log_likelihood : float
        Σ_t log p(x_t), natural logarithm.
    n_frames : int
    """

    zeroth: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_likelihood: float
    n_frames: int

    def __iadd__(self, other: GMMStatistics) -> GMMStatistics:
        if not isinstance(other, GMMStatistics):
            return NotImplemented
        if self.second.shape != other.second.shape:
            raise DataError(
                f"statistics of shapes {self.second.shape} and {other.second.shape} do not add; "
                "gather them with the same model"
            )
        self.zeroth += other.zeroth
        self.first += other.first
        self.second += other.second
        self.log_likelihood += other.log_likelihood
        self.n_frames += other.n_frames
        return self

    def __add__(self, other: GMMStatistics) -> GMMStatistics:
        if not isinstance(other, GMMStatistics):
            return NotImplemented
        total = GMMStatistics(
            self.zeroth.copy(), self.first.copy(), self.second.copy(),
            self.log_likelihood, self.n_frames,
        )  # fmt: skip
        total += other
        return total

    def __radd__(self, other: int) -> GMMStatistics:
        return self if other == 0 else NotImplemented  # For sum().

    def global_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and covariance — variances (D,) or (D, D) — of all frames together."""
        count = self.zeroth.sum()
        mean = self.first.sum(axis=0) / count
        square = np.outer(mean, mean) if self.second.ndim == 3 else mean**2
        return mean, self.second.sum(axis=0) / count - square


def check_frames(X: Any, n_features: int | None = None, model: str = "the model") -> np.ndarray:
    """Return a block of frames as a C-contiguous float32 or float64 (n_frames, n_features).

    Parameters
    ----------
    X : array_like
    n_features : int, optional
        Dimension that it must have.
    model : str
        Whose dimension that is, for the error.

    Raises
    ------
    DataError
        Not two-dimensional, not real numbers, or not of the model's dimension.
    """
    X = as_matrix(
        X,
        "features (n_frames, n_features)",
        "give one recording as a matrix, many as one stacked matrix or as loaders. Reshape your "
        "data: one frame is x[None, :]",
    )
    if n_features is not None:
        cure = "extract them with the options the model was trained with"
        check_columns(X.shape[1], n_features, model, cure)
    return np.ascontiguousarray(X)


def as_shards(X: Data) -> list[Any]:
    """Cut training data into shards: blocks of an ndarray, or the given loaders.

    Raises
    ------
    DataError
        No data, or not data.
    """
    if not any(hasattr(X, name) for name in ("__array__", "toarray")):
        if not isinstance(X, Iterable):
            raise DataError(
                f"training data must be a matrix or a list of loaders, got {type(X).__name__}"
            )
        shards: list[Any] = list(X)
        if not shards:
            raise DataError("no data to train on: the list of loaders is empty")
        if all(callable(shard) or getattr(shard, "ndim", 0) == 2 for shard in shards):
            return shards
    frames = check_frames(X)
    return [frames[i : i + SHARD_FRAMES] for i in range(0, max(len(frames), 1), SHARD_FRAMES)]


def load_shard(shard: Any, n_features: int | None = None) -> np.ndarray:
    """Frames of a shard, checked."""
    return check_frames(shard() if callable(shard) else shard, n_features)
