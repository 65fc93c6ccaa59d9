"""From sparse posteriors of one utterance's frames to its Baum-Welch statistics.

Dimensions
----------
n frames of one utterance, k components kept for a frame, C components, D feature dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ivector.base.errors import DataError, UsageError


def accumulate(
    indices: np.ndarray,
    posts: np.ndarray,
    X: np.ndarray,
    n_components: int,
    posterior_scale: float = 1.0,
    max_count: float = 0.0,
    centre: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Zeroth- and first-order statistics of one utterance from sparse posteriors.

    Parameters
    ----------
    indices : ndarray (n_frames, n_selected) of int
        Components selected in each frame.
    posts : ndarray (n_frames, n_selected)
        Their posteriors; 0 where pruned (the index there is ignored).
    X : ndarray (n_frames, n_features)
    n_components : int
    posterior_scale, max_count : float
        As in `BaumWelchStatistics.scaled`.
    centre : ndarray (n_components, n_features), optional
        Subtracted from the features of each component; default none (raw statistics).

    Returns
    -------
    zeroth : ndarray (n_components,) of float64
    first : ndarray (n_components, n_features) of float64

    Raises
    ------
    DataError
        Shapes that do not match, NaN, infinity or negative posteriors (names the frame), a
        component out of range.

    Examples
    --------
    >>> import numpy as np
    >>> indices, posts = np.array([[0, 2], [2, 1]]), np.array([[0.5, 0.5], [1.0, 0.0]])
    >>> zeroth, first = accumulate(indices, posts, np.array([[2.0], [4.0]]), n_components=3)
    >>> zeroth.tolist(), first.tolist()
    ([0.5, 0.0, 1.5], [[1.0], [0.0], [5.0]])
    """
    # Here, as whoever only reads statistics does without Numba.
    from ivector.statistics.kernels import scatter_statistics

    indices, posts, features = _check_posteriors(indices, posts, X, n_components)
    shape = (n_components, features.shape[1])
    about = np.zeros(shape) if centre is None else np.asarray(centre, np.float64)
    if about.shape != shape:
        raise DataError(f"centre has shape {about.shape}, expected {shape}")
    zeroth, first = np.zeros(n_components), np.zeros(shape)
    scatter_statistics(indices, posts, features, about, zeroth, first)
    scale = count_scale(zeroth.sum(), posterior_scale, max_count)
    return zeroth * scale, first * scale


def accumulate_second(
    indices: np.ndarray,
    posts: np.ndarray,
    X: np.ndarray,
    n_components: int,
    centre: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Second-order statistics Σ_t γ_t(c) (x_t − b_c)(x_t − b_c)', one matrix product a component.

    Parameters as in `accumulate`; the frames may be of many utterances, the more the faster.

    Parameters
    ----------
    out : ndarray (n_components, n_features, n_features) of float64, optional
        Added to and returned.

    Returns
    -------
    ndarray (n_components, n_features, n_features) of float64

    Examples
    --------
    >>> import numpy as np
    >>> indices, posts = np.array([[0], [1]]), np.array([[1.0], [0.5]])
    >>> second = accumulate_second(indices, posts, np.array([[2.0], [4.0]]), n_components=2)
    >>> second.round(6).tolist()
    [[[4.0]], [[8.0]]]
    """
    indices, posts, features = _check_posteriors(indices, posts, X, n_components)
    n_selected, n_features = indices.shape[1], features.shape[1]
    kept = np.flatnonzero(posts)
    order = kept[np.argsort(indices.ravel()[kept], kind="stable")]
    component, gamma = indices.ravel()[order], posts.ravel()[order].astype(np.float64)
    frame = order // max(n_selected, 1)
    bounds = np.searchsorted(component, np.arange(n_components + 1))
    second = np.zeros((n_components, n_features, n_features)) if out is None else out
    for c in np.unique(component):
        span = slice(bounds[c], bounds[c + 1])
        rows = features[frame[span]].astype(np.float64)
        if centre is not None:
            rows -= centre[c]
        rows *= np.sqrt(gamma[span])[:, None]
        second[c] += rows.T @ rows
    return second


def ubm_means(ubm: Any) -> np.ndarray:
    """Means (C, D) float64 of a trained mixture; UsageError if it is none."""
    if not hasattr(ubm, "means_"):
        raise UsageError(f"the UBM is not a trained mixture but {ubm!r}; fit or read one")
    return np.asarray(ubm.means_, np.float64)


def count_scale(frames: ArrayLike, posterior_scale: float, max_count: float) -> np.ndarray:
    """Kaldi's scale on the posteriors of an utterance of so many frames (ivector-extract.cc)."""
    if posterior_scale <= 0 or max_count < 0:
        raise UsageError(
            f"posterior_scale must be positive and max_count not negative, got "
            f"{posterior_scale} and {max_count}"
        )
    frames = np.asarray(frames, np.float64)
    if max_count == 0:
        return np.full(frames.shape, float(posterior_scale))
    return posterior_scale * max_count / np.maximum(posterior_scale * frames, max_count)


def _check_posteriors(
    indices: ArrayLike, posts: ArrayLike, X: ArrayLike, n_components: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features = np.ascontiguousarray(X, np.float32)
    indices = np.ascontiguousarray(indices, np.int32)
    posts = np.ascontiguousarray(posts, np.float32)
    if features.ndim != 2:
        raise DataError(f"features have shape {features.shape}, expected (frames, features)")
    if indices.shape != posts.shape or indices.ndim != 2 or len(indices) != len(features):
        raise DataError(
            f"indices {indices.shape}, posteriors {posts.shape} and features {features.shape} do "
            "not match; expected (frames, selected) twice and (frames, features)"
        )
    for name, array in (("features", features), ("posteriors", posts)):
        if not np.isfinite(array.sum(dtype=np.float64)):
            bad = ~np.isfinite(array).all(1)
            raise DataError(f"{name} of frame {int(bad.argmax())} contain NaN or infinity")
    if posts.size and posts.min() < 0:
        raise DataError(f"posteriors of frame {int(posts.min(1).argmin())} are negative")
    used = indices[posts != 0]
    if used.size and (used.min() < 0 or used.max() >= n_components):
        raise DataError(
            f"posteriors name component {int(used.max())} (or a negative one) of a model with "
            f"{n_components}; they come from another UBM"
        )
    return indices, posts, features
