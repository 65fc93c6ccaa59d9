"""Validation shared by the back-end: vectors, labels, counts and options, with errors that cure."""

from __future__ import annotations

from typing import Any

import numpy as np

from ivector.base.errors import (
    DataError,
    DegenerateDataWarning,
    NotNumbersError,
    UsageError,
    warn_caller,
)


def check_vectors(X: Any, name: str = "X", n_dims: int | None = None) -> np.ndarray:
    """Return `X` as finite float32 or float64 vectors (n_vectors, n_dims), copied only if needed.

    Parameters
    ----------
    X : array_like (n_vectors, n_dims)
        float32 and float64 are kept, float16 becomes float32, anything else float64.
    name : str
        What the error calls it.
    n_dims : int, optional
        Dimension it must have.

    Raises
    ------
    DataError
        Not two-dimensional, empty, not real numbers, NaN or infinity, or of another dimension.
    """
    X = _as_float(X, name)
    if X.ndim != 2:
        raise DataError(
            f"Expected 2D array, got {X.ndim}D array instead: {name} must be (n_vectors, n_dims)."
            " Reshape your data: a single vector is x[None, :]"
        )
    if X.shape[0] == 0:
        raise DataError(
            f"{name} has 0 sample(s) (shape={X.shape}) while a minimum of 1 is required."
        )
    if X.shape[1] == 0:
        raise DataError(
            f"{name} has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required."
        )
    # The sum is finite when all are, save for overflow: only then is every number looked at.
    if not np.isfinite(X.sum(dtype=np.float64)):
        bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
        if len(bad):
            raise DataError(
                f"{name} contains NaN or infinity in {len(bad)} of {len(X)} vectors (first: row"
                f" {bad[0]}); remove them, or find out why they could not be extracted"
            )
    if n_dims is not None and X.shape[1] != n_dims:
        raise DataError(
            f"{name} has {X.shape[1]} features, but {n_dims} features are expected as input;"
            " were the vectors made by the same extractor and transforms?"
        )
    return X


def _as_float(X: Any, name: str) -> np.ndarray:
    if hasattr(X, "toarray"):
        raise DataError(f"{name} is sparse; dense data is required: use .toarray()")
    try:
        X = np.asarray(X)
        if np.iscomplexobj(X):
            raise DataError(f"Complex data not supported: {name}")
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(np.float32 if X.dtype == np.float16 else np.float64)
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        # TypeError stays one, as scikit-learn's users expect of an argument of the wrong type.
        kind = DataError if isinstance(error, ValueError) else NotNumbersError
        raise kind(f"{name} is not an array of numbers: {error}") from error
    return X


def check_training(estimator: Any, X: Any) -> np.ndarray:
    """`check_vectors` for the ``fit`` of a scikit-learn estimator.

    Sets its ``n_features_in_`` and, of a data frame, ``feature_names_in_``.
    """
    vectors = check_vectors(X)
    note_features(estimator, X)
    return vectors


def check_input(estimator: Any, X: Any) -> np.ndarray:
    """`check_vectors` for the ``transform`` of a scikit-learn estimator, against its ``fit``."""
    vectors = check_vectors(X)
    expected = getattr(estimator, "n_features_in_", vectors.shape[1])
    if vectors.shape[1] != expected and not hasattr(X, "columns"):
        raise DataError(
            f"X has {vectors.shape[1]} features, but {type(estimator).__name__} is expecting"
            f" {expected} features as input; were the vectors made by the same extractor?"
        )
    note_features(estimator, X, reset=False)
    return vectors


def note_features(estimator: Any, X: Any, reset: bool = True) -> None:
    """Note number and names of features; without `reset` compare them, in scikit-learn's words."""
    # Here, as readers of files need these checks without scikit-learn.
    from ivector.base.estimators import note_columns

    note_columns(estimator, X, reset=reset)


def check_labels(
    y: Any, n_vectors: int, estimator: Any = None, min_classes: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes (n_classes,) and each vector's class index (n_vectors,).

    Raises
    ------
    DataError
        No labels, not one per vector, missing labels, or fewer than `min_classes` classes.
    """
    who = "This estimator" if estimator is None else type(estimator).__name__
    if y is None:
        raise DataError(
            f"{who} requires y to be passed, but the target y is None; give each vector's speaker"
        )
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = _only_column(y)
    if y.shape != (n_vectors,):
        raise DataError(
            f"y has shape {y.shape} but X holds {n_vectors} vectors; give one speaker label each"
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError("y contains NaN or infinity; give every vector a speaker label")
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise DataError(
            "Unknown label type: y holds fractions; give speakers as strings or integers"
        )
    try:
        classes, index = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise DataError("y mixes types that cannot be compared; use strings or integers") from error
    if len(classes) < min_classes:
        raise DataError(
            f"y holds {len(classes)} class, {who} needs at least {min_classes};"
            " labels must be speakers, not data sets"
        )
    return classes, index


def _only_column(y: np.ndarray) -> np.ndarray:
    from sklearn.exceptions import DataConversionWarning

    warn_caller(
        "A column-vector y was passed when a 1d array was expected; its only column is used",
        DataConversionWarning,
    )
    return y[:, 0]


def check_counts(counts: Any, n_vectors: int, name: str = "n_enrol") -> np.ndarray:
    """Return `counts`, one number or one per vector, as positive float64 (n_vectors,)."""
    try:
        values = np.asarray(counts, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be a number or one number per vector: {error}") from error
    if values.ndim not in (0, 1) or (values.ndim == 1 and len(values) != n_vectors):
        raise DataError(f"{name} has shape {values.shape}; give one number or {n_vectors}")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise DataError(f"{name} must be positive: it is the number of utterances averaged")
    return np.broadcast_to(values, (n_vectors,))


def check_priors(priors: Any, n_classes: int) -> np.ndarray:
    """Return prior probabilities (n_classes,), equal ones for None.

    Raises
    ------
    UsageError
        Not one positive number for each class, or numbers that do not sum to 1.
    """
    if priors is None:
        return np.full(n_classes, 1 / n_classes)
    values = np.asarray(priors, dtype=np.float64)
    if values.shape != (n_classes,) or not (values > 0).all() or abs(values.sum() - 1) > 1e-6:
        raise UsageError(
            f"priors must be {n_classes} positive numbers that sum to 1, in the order of classes_,"
            f" got {priors!r}"
        )
    return values


def check_diagonal_model(
    mean: Any, transform: Any, psi: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a PLDA model's mean (D,), transform (D, D) and ψ (D,) as float64 copies."""
    mean, transform, psi = (np.array(a, dtype=np.float64) for a in (mean, transform, psi))
    n_dims = mean.size
    if mean.shape != (n_dims,) or transform.shape != (n_dims, n_dims) or n_dims == 0:
        raise DataError(
            f"PLDA needs a mean (D,) and a transform (D, D), got {mean.shape} and {transform.shape}"
        )
    if psi.shape != (n_dims,) or not (psi >= 0).all():
        raise DataError(
            f"PLDA's psi must be {n_dims} variances of at least 0, got shape {psi.shape}"
            + (f" with least value {psi.min():g}" if psi.size else "")
        )
    if not (np.isfinite(mean).all() and np.isfinite(transform).all() and np.isfinite(psi).all()):
        raise DataError("PLDA's mean, transform and psi must be finite")
    if np.linalg.matrix_rank(transform) < n_dims:
        raise DataError("PLDA's transform is singular; the file is damaged, or not a PLDA model")
    return mean, transform, psi


def check_range(name: str, value: float, low: float, high: float = np.inf) -> float:
    """Return `value` if it is a number within [low, high].

    Raises
    ------
    UsageError
        Otherwise.
    """
    if not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        bound = f"at least {low:g}" if high == np.inf else f"from {low:g} to {high:g}"
        raise UsageError(f"{name} must be a number {bound}, got {value!r}")
    return float(value)


def check_n_components(n_components: int | None, n_dims: int, default: int) -> int:
    """Return the number of dimensions to keep, `default` for None."""
    if n_components is None:
        return default
    if not isinstance(n_components, (int, np.integer)) or not 1 <= n_components <= n_dims:
        raise UsageError(
            f"n_components must be an integer from 1 to the {n_dims} dimensions of X,"
            f" got {n_components!r}"
        )
    return int(n_components)


def refuse_equal_vectors(variance: float, mean: np.ndarray, n_vectors: int) -> None:
    """Refuse vectors that do not differ: their variance (a trace, or the greatest) is rounding.

    Raises
    ------
    DataError
        They do not.
    """
    # Equal vectors still differ from their computed mean (D,) by rounding errors.
    if variance <= (64 * np.finfo(np.float64).eps) ** 2 * (mean @ mean):
        raise DataError(
            f"all {n_vectors} sample(s) in X are equal, so the covariance has rank 0;"
            " give different vectors"
        )


def warn_degenerate(message: str) -> None:
    """Give a `DegenerateDataWarning` that points at the call from outside of this package."""
    warn_caller(message, DegenerateDataWarning)
