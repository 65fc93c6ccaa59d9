"""Checks that everything working on frames shares."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError


def check_frames(features: Any, name: str = "features") -> np.ndarray:
    """Features as a writable C-contiguous float32 array (n_frames, n_dims).

    Writable, as a read-only array is another type to Numba and would be compiled for again.

    Raises
    ------
    DataError
        Not a matrix of finite real numbers.
    """
    array = np.asarray(features)
    if array.ndim != 2:
        raise DataError(f"{name} have shape {array.shape}, expected (n_frames, n_dims)")
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} of type {array.dtype} are not real numbers")
    array = np.require(array, np.float32, ["C", "W"])
    finite = np.isfinite(array)
    if not finite.all():
        frame, dim = np.argwhere(~finite)[0]
        raise DataError(
            f"{name} are NaN or infinite at frame {frame}, dimension {dim}; compute them again"
        )
    return array


def check_mask(voiced: Any, n_frames: int) -> np.ndarray:
    """Decisions as a writable bool array (n_frames,).

    Raises
    ------
    DataError
        Their number is not that of the frames.
    """
    mask = np.asarray(voiced)
    if mask.shape != (n_frames,):
        raise DataError(
            f"voice decisions have shape {mask.shape}, but there are {n_frames} frames; "
            "compute both from the same features"
        )
    return np.require(mask, np.bool_, ["C", "W"])


def check_whole(name: str, value: Any, least: int) -> int:
    """Whole number of at least `least`.

    Raises
    ------
    UsageError
        Anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)
