"""Dynamic features: deltas of any order and shifted delta cepstra.

T  frames of a recording
D  dimensions of a frame

Deltas follow Kaldi's ``DeltaFeatures`` (``feat/feature-functions.cc``, ``add-deltas``). Shifted
delta cepstra are those of Torres-Carrasquillo et al., "Approaches to language identification
using Gaussian mixture models and shifted delta cepstral features", ICSLP 2002.
"""

from __future__ import annotations

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.frames import check_frames, check_whole


def delta_filters(order: int, window: int) -> np.ndarray:
    """Filters of deltas 1 … `order`, centred, (order, 2 · order · window + 1) float64.

    The first is the slope of a straight line fitted to 2 · window + 1 frames, j / Σ j²; each
    further one is the former convolved with it.
    """
    slope = np.arange(-window, window + 1) / (2.0 * np.sum(np.arange(1, window + 1) ** 2))
    reach = order * window
    filters = np.zeros((order, 2 * reach + 1))
    taps = np.ones(1)
    for i in range(order):
        taps = np.convolve(taps, slope)
        filters[i, reach - (i + 1) * window : reach + (i + 1) * window + 1] = taps
    return filters


def add_deltas(features: np.ndarray, order: int = 2, window: int = 2) -> np.ndarray:
    """Append deltas up to `order`, as Kaldi's ``add-deltas``.

    Every order is one composed filter over the static features; frames beyond the ends are the
    first and the last one. (Taking deltas of deltas differs in the first and last frames.)

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)
    order : int
        0 leaves the features as they are.
    window : int
        Frames on either side that the slope is fitted to.

    Returns
    -------
    ndarray (n_frames, (order + 1) * n_dims), float32
        Static features, deltas, deltas of second order, …

    Raises
    ------
    DataError
        Not a matrix of finite numbers.
    UsageError
        A negative order or a window below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import add_deltas
    >>> slope = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    >>> add_deltas(slope, order=1, window=1).tolist()
    [[0.0, 0.5], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [4.0, 0.5]]
    """
    order, window = check_whole("order", order, 0), check_whole("window", window, 1)
    features = check_frames(features)
    n_frames, n_dims = features.shape
    if not order or not n_frames:
        return np.tile(features, (1, order + 1))
    from ivector.features.kernels_cmvn import filter_deltas

    out = np.empty((n_frames, (order + 1) * n_dims), np.float32)
    filters = delta_filters(order, window).astype(np.float32)
    filter_deltas(features, filters, order * window, out)
    return out


def shifted_delta_cepstra(
    features: np.ndarray, n: int = 7, d: int = 1, p: int = 3, k: int = 7
) -> np.ndarray:
    """Stack the differences of `k` places ahead: shifted delta cepstra n-d-p-k.

    Block i of frame t is c(t + i p + d) − c(t + i p − d), i = 0 … k − 1; frames beyond the ends
    are the first and the last one.

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)
    n : int
        Cepstra used, the first n columns.
    d, p : int
        Frames on either side of a difference; frames from one block to the next.
    k : int
        Number of blocks.

    Returns
    -------
    ndarray (n_frames, k * n), float32
        Block after block, without the static features.

    Raises
    ------
    DataError
        Not a matrix of finite numbers.
    UsageError
        An option below 1, or more cepstra asked for than there are.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import shifted_delta_cepstra
    >>> cepstra = np.arange(40.0).reshape(20, 2) ** 2
    >>> shifted_delta_cepstra(cepstra, n=2, d=1, p=3, k=3).shape
    (20, 6)
    """
    n, d, p, k = (check_whole(name, v, 1) for name, v in zip("ndpk", (n, d, p, k)))
    features = check_frames(features)
    n_frames, n_dims = features.shape
    if n > n_dims:
        raise UsageError(f"n={n} cepstra asked for, but features have {n_dims} dimensions")
    if not n_frames:
        return np.empty((0, k * n), np.float32)
    ahead = (k - 1) * p
    padded = np.pad(features[:, :n], ((d, ahead + d), (0, 0)), mode="edge")
    differences = padded[2 * d :] - padded[: -2 * d]
    return np.hstack([differences[i * p : i * p + n_frames] for i in range(k)])
