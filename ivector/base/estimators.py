"""Manners that scikit-learn expects of an estimator: errors, matrices of numbers, column names."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from ivector.base.errors import DataError, NotNumbersError, UsageError


class UnfittedError(UsageError, NotFittedError):
    """An estimator without parameters was asked for something that needs them."""


def as_matrix(X: Any, name: str, cure: str) -> np.ndarray:
    """Return `X` (two-dimensional) as float32 or float64, which are kept; others become float64.

    Parameters
    ----------
    X : array_like
        A table (pandas, polars) too.
    name : str
        What errors call it and its two dimensions.
    cure : str
        What to do about another number of dimensions.

    Raises
    ------
    DataError
        Not two-dimensional, without columns, sparse, or not real numbers.
    """
    if hasattr(X, "toarray"):
        raise DataError(f"{name} is sparse, dense data is required: use X.toarray()")
    X = np.asarray(X)
    if X.ndim != 2:
        raise DataError(f"{name} must be a matrix, got shape {X.shape}; {cure}")
    if X.dtype.kind not in "fiubO":
        what = "Complex data not supported: " if X.dtype.kind == "c" else ""
        raise DataError(f"{what}{name} must be real numbers, got dtype {X.dtype}")
    if not X.shape[1]:
        raise DataError(
            f"{name} has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required."
        )
    if X.dtype not in (np.float32, np.float64):
        try:
            X = X.astype(np.float32 if X.dtype == np.float16 else np.float64)
        except (TypeError, ValueError) as error:
            raise NotNumbersError(f"{name} must be real numbers: {error}") from error
    return X


def check_columns(n_columns: int, n_features: int, model: str, cure: str) -> None:
    """Refuse a matrix of another number of columns than a model has.

    Raises
    ------
    DataError
        In scikit-learn's words.
    """
    if n_columns != n_features:
        raise DataError(
            f"X has {n_columns} features, but {model} is expecting {n_features} features as "
            f"input; {cure}"
        )


def column_names(estimator: Any, X: Any, *, reset: bool) -> None:
    """Keep the column names of a table as ``feature_names_in_``, or compare them with these.

    Parameters
    ----------
    estimator : estimator
    X : array_like (n_samples, n_features)
    reset : bool
        True in ``fit``.

    Raises
    ------
    ValueError
        Other names than in ``fit``.
    """
    if len(getattr(X, "shape", ())) != 2:  # Lists and stacks have no columns.
        if reset:
            estimator.__dict__.pop("feature_names_in_", None)
        return
    if not reset and isinstance(X, np.ndarray) and not hasattr(estimator, "feature_names_in_"):
        return  # The usual case, not worth scikit-learn's time a block of frames.
    note_columns(estimator, X, reset=reset)


def note_columns(estimator: Any, X: Any, *, reset: bool, ensure_2d: bool = True) -> None:
    """Keep number and names of columns as scikit-learn does, or compare them with these.

    Parameters
    ----------
    estimator : estimator
    X : array_like
    reset : bool
        True in ``fit``.
    ensure_2d : bool
        Refuse a list of numbers.

    Raises
    ------
    ValueError
        In scikit-learn's words.
    """
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # scikit-learn before 1.6
        if ensure_2d:
            estimator._validate_data(X, reset=reset, cast_to_ndarray=False)
        else:
            estimator._check_feature_names(X, reset=reset)
        return
    validate_data(estimator, X, reset=reset, skip_check_array=True, ensure_2d=ensure_2d)
