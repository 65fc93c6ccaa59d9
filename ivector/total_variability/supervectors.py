"""Supervectors in place of statistics: rows of a matrix, each an utterance that is seen whole.

A supervector holds an utterance's means of all components, one after the other. That is as if
each component had one frame, its mean: N_uc = 1 and F_uc = x_uc, so that the model becomes plain
factor analysis x_u = m + T w_u + ε_u with ε_u ~ N(0, Σ): the eigenvoices of Kenny et al. (2005),
of supervectors in place of frames. Without a UBM that says where components begin, a row is one
component and Σ diagonal, as a full Σ would explain everything that T should.

Dimensions
----------
U utterances, C components, D feature dimension of one.
"""

from __future__ import annotations

import warnings
from numbers import Real
from types import SimpleNamespace
from typing import Any

import numpy as np

from ivector.base.errors import DataError, DegenerateDataWarning
from ivector.base.estimators import as_matrix, check_columns
from ivector.gmm.statistics import CONSTANT
from ivector.statistics.batch import BaumWelchStatistics


def is_matrix(X: Any) -> bool:
    """Whether `X` is a matrix of supervectors, rather than statistics or a list of them."""
    if isinstance(X, BaumWelchStatistics):
        return False
    if any(hasattr(X, name) for name in ("__array__", "toarray")):
        return True
    while isinstance(X, list | tuple) and X:
        X = X[0]
    return isinstance(X, Real)


def as_statistics(X: Any, shape: tuple[int, int] | None = None) -> BaumWelchStatistics:
    """Raw statistics of supervectors (U, C D), without second order.

    Parameters
    ----------
    X : array_like (n_utterances, n_components * n_features)
    shape : (int, int), optional
        Components and features of the model; by default a row is one component.

    Raises
    ------
    DataError
        No matrix of finite numbers, or rows of another length than the model's.
    """
    rows = as_matrix(
        X,
        "X (n_utterances, n_features)",
        "give supervectors as rows, or BaumWelchStatistics. Reshape your data: one is x[None, :]",
    )
    if not len(rows):
        raise DataError("no supervectors: 0 sample(s), while a minimum of 1 is required")
    C, D = shape or (1, rows.shape[1])
    cure = f"a supervector of this model has {C} components of {D}"
    check_columns(rows.shape[1], C * D, "TotalVariability", cure)
    return BaumWelchStatistics(np.ones((len(rows), C), rows.dtype), rows.reshape(-1, C, D))


def with_scatter(raw: BaumWelchStatistics) -> BaumWelchStatistics:
    """Statistics of `as_statistics` about the mean supervector, with second order (C, D, D)."""
    mean = raw.first.mean(axis=0, dtype=np.float64)
    centred = raw.first - mean
    by_component = centred.transpose(1, 0, 2)  # (C, U, D)
    second = by_component.transpose(0, 2, 1) @ by_component
    return BaumWelchStatistics(raw.zeroth, centred.astype(raw.first.dtype), second, mean)


def one_gaussian(stats: BaumWelchStatistics) -> SimpleNamespace:
    """Mean and variances of the rows, in place of a UBM; constant columns get the least variance.

    Raises
    ------
    DataError
        All rows are equal.
    """
    assert stats.second is not None and stats.centre is not None
    variances = np.diagonal(stats.second[0]) / len(stats)
    constant = variances <= CONSTANT * (stats.centre[0] ** 2 + variances)
    if constant.all():
        raise DataError(f"all {len(stats)} sample(s) in X are equal; give different supervectors")
    if constant.any():
        warnings.warn(
            f"{int(constant.sum())} of {constant.size} columns are constant, first number "
            f"{int(constant.argmax())}; drop them",
            DegenerateDataWarning,
            stacklevel=4,
        )
    variances = np.where(constant, variances[~constant].min(), variances)
    return SimpleNamespace(weights_=np.ones(1), means_=stats.centre, covariances_=variances[None])
