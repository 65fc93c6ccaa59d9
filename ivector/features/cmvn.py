"""Cepstral mean and variance normalisation, over a sliding window or a whole recording.

T  frames of a recording
D  dimensions of a frame

Follows Kaldi's ``SlidingWindowCmn`` (``feat/feature-functions.cc``, ``apply-cmvn-sliding``) and
``transform/cmvn.cc`` (``compute-cmvn-stats``, ``apply-cmvn``).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.features.frames import check_frames, check_whole

GLOBAL_VARIANCE_FLOOR = 1e-20  # of Kaldi's ApplyCmvn


class SlidingCMVN(TransformerMixin, BaseEstimator):
    """Normalise every frame by the mean of a window around it, as ``apply-cmvn-sliding``.

    Near the ends the window is moved so as to stay inside the recording; recordings shorter
    than it are normalised as a whole.

    Parameters
    ----------
    cmn_window : int
        Frames. Without `center`, Kaldi's window holds one frame more.
    min_cmn_window : int
        Frames that the first windows hold at least, without `center`.
    center : bool
        Put the window around its frame instead of before it. Kaldi's speaker recipes do, with
        ``cmn_window=300``.
    norm_vars : bool
        Also divide by the standard deviation (variances floored at 1e-10).
    """

    def __init__(
        self,
        cmn_window: int = 600,
        min_cmn_window: int = 100,
        center: bool = False,
        norm_vars: bool = False,
    ):
        self.cmn_window = cmn_window
        self.min_cmn_window = min_cmn_window
        self.center = center
        self.norm_vars = norm_vars

    def fit(self, X: Any = None, y: Any = None) -> SlidingCMVN:
        """Check the options; there is nothing to learn."""
        self._check()
        return self

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Normalise one recording.

        Parameters
        ----------
        features : ndarray (n_frames, n_dims)

        Returns
        -------
        ndarray (n_frames, n_dims), float32

        Raises
        ------
        DataError
            Not a matrix of finite numbers.
        UsageError
            A window below 1 frame.

        Warns
        -----
        DegenerateDataWarning
            With `norm_vars`, a dimension is constant in some window.
        """
        window, min_window = self._check()
        features = check_frames(features)
        from ivector.features.kernels_cmvn import sliding_cmvn

        out = np.empty_like(features)
        every = np.ones(len(features), bool)
        n_floored = sliding_cmvn(
            features, every, window, min_window, bool(self.center), bool(self.norm_vars), out
        )
        if n_floored:
            warnings.warn(
                f"{n_floored} of {features.size} variances were floored: dimensions are constant "
                "over a whole window; is part of the recording digital silence?",
                DegenerateDataWarning,
                stacklevel=2,
            )
        return out

    def _check(self) -> tuple[int, int]:
        return (
            check_whole("cmn_window", self.cmn_window, 1),
            check_whole("min_cmn_window", self.min_cmn_window, 1),
        )


class GlobalCMVN(TransformerMixin, BaseEstimator):
    """Normalise a recording as a whole, as ``compute-cmvn-stats`` and ``apply-cmvn``.

    Parameters
    ----------
    norm_means, norm_vars : bool
        Subtract the mean; divide by the standard deviation (not without the former).
    """

    def __init__(self, norm_means: bool = True, norm_vars: bool = False):
        self.norm_means = norm_means
        self.norm_vars = norm_vars

    def fit(self, X: Any = None, y: Any = None) -> GlobalCMVN:
        """Check the options; there is nothing to learn."""
        if self.norm_vars and not self.norm_means:
            raise UsageError("norm_vars=True needs norm_means=True")
        return self

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Normalise one recording.

        Parameters
        ----------
        features : ndarray (n_frames, n_dims)

        Returns
        -------
        ndarray (n_frames, n_dims), float32

        Raises
        ------
        DataError
            Not a matrix of finite numbers.
        UsageError
            Variances without means.

        Warns
        -----
        DegenerateDataWarning
            With `norm_vars`, a dimension is constant.
        """
        self.fit()
        features = check_frames(features)
        if not self.norm_means or not len(features):
            return features
        return apply_cmvn(features, compute_cmvn_stats(features), self.norm_vars)


def compute_cmvn_stats(features: np.ndarray) -> np.ndarray:
    """Sums that a mean and variance come from; those of a speaker's recordings add.

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)

    Returns
    -------
    ndarray (2, n_dims + 1), float64
        Kaldi's layout: sums and number of frames; sums of squares and 0.
    """
    features = check_frames(features)
    wide = features.astype(float)
    stats = np.zeros((2, features.shape[1] + 1))
    stats[0, :-1], stats[0, -1] = wide.sum(axis=0), len(wide)
    stats[1, :-1] = np.einsum("td,td->d", wide, wide)
    return stats


def apply_cmvn(features: np.ndarray, stats: np.ndarray, norm_vars: bool = False) -> np.ndarray:
    """Normalise by the mean, and the variance if asked, that `stats` give.

    Parameters
    ----------
    features : ndarray (n_frames, n_dims)
    stats : ndarray (2, n_dims + 1)
        From `compute_cmvn_stats`, of this recording or of several.
    norm_vars : bool

    Returns
    -------
    ndarray (n_frames, n_dims), float32

    Raises
    ------
    DataError
        Statistics of another dimension or of no frames.
    """
    features, stats = check_frames(features), np.asarray(stats, float)
    if stats.shape != (2, features.shape[1] + 1):
        raise DataError(
            f"CMVN statistics have shape {stats.shape}, expected (2, {features.shape[1] + 1})"
        )
    count = stats[0, -1]
    if not count >= 1:
        raise DataError(f"CMVN statistics of {count:g} frames; compute them from the features")
    mean = stats[0, :-1] / count
    centred = features - mean
    if norm_vars:
        variance = stats[1, :-1] / count - mean**2
        if (variance < GLOBAL_VARIANCE_FLOOR).any():
            warnings.warn(
                f"{np.sum(variance < GLOBAL_VARIANCE_FLOOR)} of {len(variance)} dimensions are "
                "constant; is the recording digital silence?",
                DegenerateDataWarning,
                stacklevel=2,
            )
        centred /= np.sqrt(np.maximum(variance, GLOBAL_VARIANCE_FLOOR))
    return centred.astype(np.float32)
