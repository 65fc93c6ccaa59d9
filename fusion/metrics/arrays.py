"""Arrays of scores and log-odds as the metrics take them, checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ivector.base.errors import DataError, UsageError

_MOST_ODDS = 700  # beyond, a probability has no float64


def _array(scores: ArrayLike, name: str) -> np.ndarray:
    """Scores (n,) as float64, or as float32 if they are."""
    try:
        array = np.asarray(scores)
        if array.dtype != np.float32:
            array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise DataError(f"the {name} scores are not numbers") from None
    if array.ndim != 1 or not len(array):
        raise DataError(f"{name} scores of shape {array.shape}; give at least one, as (n,)")
    return array


def _refuse_nan(array: np.ndarray, name: str) -> None:
    wrong = np.isnan(array)
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} of {len(array)} {name} scores are NaN, first at "
            f"{int(np.argmax(wrong))}; mend the scoring"
        )


def checked(scores: ArrayLike, name: str) -> np.ndarray:
    """Scores (n,) float64."""
    array = _array(scores, name)
    _refuse_nan(array, name)
    return np.ascontiguousarray(array, np.float64)


def ascending(scores: ArrayLike, name: str, out: np.ndarray | None = None) -> np.ndarray:
    """Scores (n,) float64, ascending, in `out` if it is given.

    Sorted as they came, as float32 takes half the time.
    """
    array = _array(scores, name)
    values = np.empty(len(array)) if out is None else out
    if array.dtype == np.float64:
        values[:] = array
        values.sort()
    else:
        values[:] = np.sort(array)
    if np.isnan(values[-1]):  # where sorting puts them
        _refuse_nan(array, name)
    return values


def log_odds(prior_log_odds: ArrayLike) -> np.ndarray:
    """Prior log-odds (n,) float64."""
    odds = np.atleast_1d(np.asarray(prior_log_odds, np.float64))
    if odds.ndim != 1 or not (np.abs(odds) <= _MOST_ODDS).all():
        raise UsageError(f"prior log-odds must be from -{_MOST_ODDS} to {_MOST_ODDS}, as (n,)")
    return odds


def priors(odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of target and nontarget at log-odds."""
    return np.exp(-np.logaddexp(0, -odds)), np.exp(-np.logaddexp(0, odds))
