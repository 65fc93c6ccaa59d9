"""Cepstral mean and variance normalisation, over a sliding window or a whole recording.

T  frames of a recording
D  dimensions of a frame

Follows Kaldi's ``SlidingWindowCmn`` (``feat/feature-functions.cc``, ``apply-cmvn-sliding``) and
``transform/cmvn.cc`` (``compute-cmvn-stats``, ``apply-cmvn``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller
from ivector.features.frames import check_frames, check_whole
from ivector.features.stateless import Stateless, check_columns

GLOBAL_VARIANCE_FLOOR = 1e-20  # of Kaldi's ApplyCmvn


class SlidingCMVN(OneToOneFeatureMixin, Stateless):
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

    Attributes
    ----------
    n_features_in_ : int
        Columns of the features given to `fit`, if any were; `transform` works without.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import SlidingCMVN
    >>> features = np.array([[1.0, 20.0], [2.0, 20.0], [6.0, 20.0]])
    >>> SlidingCMVN(cmn_window=300, center=True).transform(features).tolist()
    [[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]]
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
        """Check the options and note the columns of `X`; there is nothing to learn."""
        self._check()
        if X is not None:
            check_columns(self, X, fit=True)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Normalise one recording.

        Parameters
        ----------
        X : ndarray (n_frames, n_dims)

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
        features = check_columns(self, X, fit=False)
        from ivector.features.kernels_cmvn import sliding_cmvn

        out = np.empty_like(features)
        every = np.ones(len(features), bool)
        n_floored = sliding_cmvn(
            features, every, window, min_window, bool(self.center), bool(self.norm_vars), out
        )
        if n_floored:
            warn_caller(
                f"{n_floored} of {features.size} variances were floored: dimensions are constant "
                "over a whole window; is part of the recording digital silence?",
                DegenerateDataWarning,
            )
        return out

    def _check(self) -> tuple[int, int]:
        return (
            check_whole("cmn_window", self.cmn_window, 1),
            check_whole("min_cmn_window", self.min_cmn_window, 1),
        )


class GlobalCMVN(OneToOneFeatureMixin, Stateless):
    """Normalise a recording as a whole, as ``compute-cmvn-stats`` and ``apply-cmvn``.

    Parameters
    ----------
    norm_means, norm_vars : bool
        Subtract the mean; divide by the standard deviation (not without the former).

    Attributes
    ----------
    n_features_in_ : int
        Columns of the features given to `fit`, if any were; `transform` works without.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import GlobalCMVN
    >>> features = np.array([[1.0, 20.0], [3.0, 24.0]])
    >>> GlobalCMVN(norm_vars=True).transform(features).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    def __init__(self, norm_means: bool = True, norm_vars: bool = False):
        self.norm_means = norm_means
        self.norm_vars = norm_vars

    def fit(self, X: Any = None, y: Any = None) -> GlobalCMVN:
        """Check the options and note the columns of `X`; there is nothing to learn."""
        self._check()
        if X is not None:
            check_columns(self, X, fit=True)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Normalise one recording.

        Parameters
        ----------
        X : ndarray (n_frames, n_dims)

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
        self._check()
        features = check_columns(self, X, fit=False)
        if not self.norm_means or not len(features):
            return features
        return apply_cmvn(features, compute_cmvn_stats(features), self.norm_vars)

    def _check(self) -> None:
        if self.norm_vars and not self.norm_means:
            raise UsageError("norm_vars=True needs norm_means=True")


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
            warn_caller(
                f"{np.sum(variance < GLOBAL_VARIANCE_FLOOR)} of {len(variance)} dimensions are "
                "constant; is the recording digital silence?",
                DegenerateDataWarning,
            )
        centred /= np.sqrt(np.maximum(variance, GLOBAL_VARIANCE_FLOOR))
    return centred.astype(np.float32)
