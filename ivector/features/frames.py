"""Checks that everything working on frames shares."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from ivector.base.errors import DataError, NotNumbersError, UsageError


def check_real(values: Any, name: str) -> np.ndarray:
    """Anything that NumPy takes for an array, of real numbers.

    Raises
    ------
    DataError
        Sparse, complex, or of things that are not numbers (`NotNumbersError`).
    """
    if hasattr(values, "toarray"):
        raise DataError(f"{name} are sparse; dense ones are required: use .toarray()")
    try:
        array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except TypeError as error:
        raise NotNumbersError(f"{name} are not numbers: {error}") from None
    except ValueError as error:
        raise DataError(f"{name} are not an array of numbers: {error}") from None
    if array.dtype.kind == "c":
        raise DataError(f"Complex data not supported: {name} of type {array.dtype}")
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} of type {array.dtype} are not real numbers")
    return array


def check_some(matrix: np.ndarray, name: str) -> None:
    """Refuse a matrix without rows or columns, in scikit-learn's words."""
    if not matrix.size:
        what = "sample(s)" if matrix.shape[1] else "feature(s)"
        raise DataError(
            f"{name} have 0 {what} (shape={matrix.shape}) while a minimum of 1 is required."
        )


def check_frames(features: Any, name: str = "features") -> np.ndarray:
    """Features as a writable C-contiguous float32 array (n_frames, n_dims).

    Writable, as a read-only array is another type to Numba and would be compiled for again.

    Raises
    ------
    DataError
        Not a matrix of finite real numbers.
    """
    array = check_real(features, name)
    if array.ndim != 2:
        raise DataError(
            f"{name} have shape {array.shape}, expected (n_frames, n_dims). Reshape your data: "
            "a single frame is x[None, :]"
        )
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
