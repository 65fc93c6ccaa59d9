"""Feature warping and RASTA filtering, two remedies against channels.

T  frames of a recording
D  dimensions of a frame
N  window of the ranks, frames

Pelecanos and Sridharan, "Feature warping for robust speaker verification", Odyssey 2001.
Hermansky and Morgan, "RASTA processing of speech", IEEE Transactions on Speech and Audio
Processing 2 (4), 1994.
"""

from __future__ import annotations

import functools

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.frames import check_frames, check_whole

LARGEST_WINDOW = 32767  # the kernel counts in 16 bits
# The zeros of the filter of Hermansky and Morgan: 0.1 (2 z⁴ + z³ − z − 2).
RASTA_TAPS = (0.2, 0.1, 0.0, -0.1, -0.2)


def feature_warping(features: np.ndarray, window: int = 301) -> np.ndarray:
    """Map the distribution of every dimension in a sliding window to the standard normal.

    A number of rank R among the N of its window (the largest has rank 1) becomes
    Φ⁻¹((N + ½ − R) / N), the rule of the paper. Equal numbers share their mean rank, so that
    constant features become 0. Near the ends the window is moved so as to stay inside the
    recording; a shorter recording is its own window.

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)
    window : int
        Frames; 3 s as a rule. The time taken grows with it.

    Returns
    -------
    ndarray (n_frames, n_dims), float32

    Raises
    ------
    DataError
        Not a matrix of finite numbers.
    UsageError
        A window below 1 or above 32767 frames.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import feature_warping
    >>> skewed = np.array([[0.0], [1.0], [10.0], [1000.0]])
    >>> [round(float(value), 2) for value in feature_warping(skewed)[:, 0]]
    [-1.15, -0.32, 0.32, 1.15]
    """
    features = check_frames(features)
    return warp_voiced(features, np.ones(len(features), bool), check_window(window))


def check_window(window: int) -> int:
    """Check the window of `feature_warping`."""
    window = check_whole("window", window, 1)
    if window > LARGEST_WINDOW:
        raise UsageError(f"window must be at most {LARGEST_WINDOW} frames, got {window}")
    return window


def warp_voiced(features: np.ndarray, voiced: np.ndarray, window: int) -> np.ndarray:
    """`feature_warping` of checked features, put out for the voiced frames only."""
    out = np.empty((int(np.count_nonzero(voiced)), features.shape[1]), np.float32)
    window = min(window, len(features))
    if out.size:
        from ivector.features.kernels_cmvn import sliding_warp

        sliding_warp(features, voiced, window, _quantiles(window), out)
    return out


@functools.lru_cache(maxsize=64)
def _quantiles(window: int) -> np.ndarray:
    """Φ⁻¹ by B = smaller − larger numbers in the window, −(N − 1) … N − 1.

    The mid-rank counted from the largest is R = (N + 1 − B) / 2, and (N + ½ − R) / N is
    (N + B) / 2N.
    """
    from scipy.special import ndtri

    balance = np.arange(1 - window, window)
    return ndtri((window + balance) / (2.0 * window)).astype(np.float32)


def rasta(features: np.ndarray, pole: float = 0.98) -> np.ndarray:
    """Band-pass filter the trajectory of every dimension, about 0.3 to 13 Hz at 100 frames/s.

    H(z) = 0.1 z⁴ (2 + z⁻¹ − z⁻³ − 2 z⁻⁴) / (1 − pole z⁻¹), the filter of the paper, for log
    energies or cepstra. Frame t so depends on the frames up to t + 4.

    Transients: the recording is continued by its first frame for ever before it and by its last
    one behind it. What is constant so gives zeros from the first frame, and there is no click;
    but what follows still remembers the first frames for some 1 / (1 − pole) frames (0.5 s),
    and recordings of that length are mostly transient.

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)
    pole : float
        In [0, 1). The later 0.94 forgets faster and lets less of slow changes pass.

    Returns
    -------
    ndarray (n_frames, n_dims), float32

    Raises
    ------
    DataError
        Not a matrix of finite numbers.
    UsageError
        An unstable pole.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import rasta
    >>> log_energy = np.sin(np.arange(300.0))[:, None]
    >>> channel = 5.0  # a constant factor is a constant in log energies
    >>> bool(np.allclose(rasta(log_energy + channel), rasta(log_energy), atol=1e-5))
    True
    """
    if not 0 <= pole < 1:
        raise UsageError(f"pole must be at least 0 and below 1, got {pole!r}")
    features = check_frames(features)
    if not len(features):
        return features
    from scipy.signal import lfilter

    ahead = len(RASTA_TAPS) - 1
    # The filter does not pass constants: less the first frame, the endless past is zeros.
    centred = features.astype(float) - features[0]
    padded = np.pad(centred, ((0, ahead), (0, 0)), mode="edge")
    return lfilter(RASTA_TAPS, (1.0, -pole), padded, axis=0)[ahead:].astype(np.float32)
