"""Identification: which of the enrolled speakers a recording is of, if of any.

Closed-set, every test is of an enrolled speaker: accuracy at rank k and the confusion matrix.
Open-set, some are not: a search returns the models that score at or above a threshold, and errs
in two ways (ISO/IEC 19795-1:2021, 3.22 and following; NIST's FRTE 1:N reports alike):

FPIR, the false-positive identification rate
    Share of the searches of speakers not enrolled that return one model or more.
FNIR, the false-negative identification rate
    Share of the searches of enrolled speakers whose own model is not returned: it scores below the
    threshold, or, if candidate lists are limited to `rank` models, is not among the highest.

Models of equal score are ranked at random, and the expectation over all orders is given: a system
of constant scores is right as often as one that guesses.

Dimension legend: N tests, M models, E tests of enrolled speakers, K thresholds.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ivector.base.errors import DataError, UsageError

_NOT_ENROLLED = -1
_BLOCK_SCORES = 1 << 24


class Confusion(NamedTuple):
    """Models (M,), sorted, and how many tests of each (rows) were taken for which (M, M)."""

    models: np.ndarray
    counts: np.ndarray


class IdentificationCurve(NamedTuple):
    """Error rates (K,) at thresholds (K,), ascending; the last threshold is +inf."""

    fpir: np.ndarray
    fnir: np.ndarray
    thresholds: np.ndarray


class Searches(NamedTuple):
    """What decides open-set identification.

    `enrolled` (N,) bool, whether the test's speaker is; `own` (E,), score of the right model;
    `found` (E,), probability that it is on the candidate list; `other` (O,), highest score of each
    test of a speaker not enrolled.
    """

    enrolled: np.ndarray
    own: np.ndarray
    found: np.ndarray
    other: np.ndarray


def top_k_accuracy(
    scores: ArrayLike, labels: ArrayLike, k: int = 1, *, models: Sequence[Hashable] | None = None
) -> float:
    """Share of tests whose right model is among the k that score highest.

    Parameters
    ----------
    scores : array-like (N, M)
        Of every test against every model; higher is more alike, -inf where none was computed.
    labels : array-like (N,)
        Right model of each test: its column, or its name if `models` are named.
    k : int
    models : sequence of hashable, optional
        Names of the columns (M,).

    Raises
    ------
    DataError
        Shapes that do not fit, NaN, a label that is no model, or a test of nobody enrolled.
    UsageError
        A k below 1 or beyond the number of models.

    Examples
    --------
    >>> from fusion import top_k_accuracy
    >>> scores = [[3, 1, 0], [1, 2, 4], [0, 1, 5], [2, 1, 0]]
    >>> top_k_accuracy(scores, [0, 1, 2, 0]), top_k_accuracy(scores, [0, 1, 2, 0], k=2)
    (0.75, 1.0)
    """
    return float(in_top_k(scores, labels, k, models=models).mean())


def in_top_k(
    scores: ArrayLike, labels: ArrayLike, k: int = 1, *, models: Sequence[Hashable] | None = None
) -> np.ndarray:
    """Probability (N,) that each test's right model is among the k highest.

    Between 0 and 1 only where models tie. Takes and raises what `top_k_accuracy` does.
    """
    table, columns = _checked(scores, labels, models)
    _refuse_unknown(columns)
    return _among_highest(table, columns, _rank(k, table))


def confusion(
    scores: ArrayLike, labels: ArrayLike, *, models: Sequence[Hashable] | None = None
) -> Confusion:
    """For which model the tests of each were taken, by the highest score.

    Takes and raises what `top_k_accuracy` does.

    Returns
    -------
    models : ndarray (M,)
        Names (without `models`, columns), sorted.
    counts : ndarray (M, M) float64
        Tests of the row's model taken for the column's. A test whose highest score several models
        share counts in equal parts, so that the diagonal sums to the tests that are right.

    Examples
    --------
    >>> from fusion import confusion
    >>> scores = [[3, 1, 0], [1, 2, 4], [0, 1, 5], [2, 1, 0]]
    >>> found = confusion(scores, ["ann", "ben", "eve", "ann"], models=["ann", "ben", "eve"])
    >>> found.models.tolist()
    ['ann', 'ben', 'eve']
    >>> found.counts.tolist()
    [[2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    table, columns = _checked(scores, labels, models)
    _refuse_unknown(columns)
    n_models = table.shape[1]
    counts = np.zeros((n_models, n_models))
    highest = table == table.max(axis=1, keepdims=True)
    tests, taken = np.nonzero(highest)
    np.add.at(counts, (columns[tests], taken), 1 / highest.sum(axis=1)[tests])
    names = np.arange(n_models)
    if models is not None:
        names = _names(models)
        order = np.array(sorted(range(n_models), key=lambda i: names[i]))
        names, counts = names[order], counts[np.ix_(order, order)]
    return Confusion(names, counts)


def identification_curve(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    rank: int | None = None,
    models: Sequence[Hashable] | None = None,
) -> IdentificationCurve:
    """Open-set error rates at every threshold.

    Parameters
    ----------
    scores : array-like (N, M)
    labels : array-like (N,)
        As in `top_k_accuracy`; -1, or None if `models` are named, for a speaker not enrolled.
    rank : int, optional
        Length of the candidate lists; without it, all models at or above the threshold count.
    models : sequence of hashable, optional

    Returns
    -------
    fpir, fnir, thresholds : ndarray (K,)
        Thresholds are the scores at which a rate changes, and +inf.

    Raises
    ------
    DataError
        Shapes that do not fit, NaN, a label that is no model, or no tests of enrolled or of other
        speakers.
    UsageError
        A rank below 1 or beyond the number of models.

    Examples
    --------
    >>> from fusion import identification_curve
    >>> scores = [[3, 1, 0], [1, 2, 4], [0, 1, 5], [2, 1, 0]]
    >>> labels = [0, 1, 2, -1]  # the last test is of nobody enrolled
    >>> curve = identification_curve(scores, labels)
    >>> curve.fpir.tolist()
    [1.0, 0.0, 0.0, 0.0]
    >>> curve.fnir.round(2).tolist()
    [0.0, 0.33, 0.67, 1.0]
    >>> curve.thresholds.tolist()
    [2.0, 3.0, 5.0, inf]
    """
    _, own, found, other = open_set(scores, labels, rank=rank, models=models)
    other, order = np.sort(other), np.argsort(own)
    own, found = own[order], found[order]
    thresholds = np.append(np.unique(np.concatenate([own, other])), np.inf)
    fpir = 1 - np.searchsorted(other, thresholds) / len(other)
    # Found at or above each threshold; +inf, the last one, stands for "nothing is returned".
    left = np.append(np.cumsum(found[::-1])[::-1], 0.0)
    fnir = 1 - left[np.searchsorted(own, thresholds)] / len(own)
    fpir[-1], fnir[-1] = 0, 1
    return IdentificationCurve(fpir, fnir, thresholds)


def open_set(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    rank: int | None = None,
    models: Sequence[Hashable] | None = None,
) -> Searches:
    """What decides each search; takes and raises what `identification_curve` does."""
    table, columns = _checked(scores, labels, models)
    enrolled = columns != _NOT_ENROLLED
    if enrolled.all() or not enrolled.any():
        kind = "speakers not enrolled (label -1)" if enrolled.all() else "enrolled speakers"
        raise DataError(f"there are no tests of {kind}; open-set identification needs both kinds")
    own = table[enrolled, columns[enrolled]]
    found = np.ones(len(own))
    if rank is not None:
        found = _among_highest(table[enrolled], columns[enrolled], _rank(rank, table))
    return Searches(enrolled, own, found, table[~enrolled].max(axis=1))


def fnir_at_fpir(
    scores: ArrayLike,
    labels: ArrayLike,
    fpir: float,
    *,
    rank: int | None = None,
    models: Sequence[Hashable] | None = None,
) -> float:
    """Least FNIR of the thresholds whose FPIR is at most `fpir`.

    Takes and raises what `identification_curve` does; also UsageError for an `fpir` that is not
    between 0 and 1.

    Examples
    --------
    >>> from fusion import fnir_at_fpir
    >>> scores = [[3, 1, 0], [1, 2, 4], [0, 1, 5], [2, 1, 0]]
    >>> labels = [0, 1, 2, -1]  # the last test is of nobody enrolled
    >>> round(fnir_at_fpir(scores, labels, fpir=0.5), 2)
    0.33
    """
    if not 0 <= fpir <= 1:
        raise UsageError(f"a false-positive identification rate is from 0 to 1, got {fpir}")
    curve = identification_curve(scores, labels, rank=rank, models=models)
    # A rate is a fraction of tests, so that its last bits say nothing.
    return float(curve.fnir[np.argmax(curve.fpir <= fpir + 1e-12)])


def _checked(
    scores: ArrayLike, labels: ArrayLike, models: Sequence[Hashable] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, M) and the column of each test's model (N,), -1 for none."""
    try:
        table = np.asarray(scores)
        if table.dtype != np.float32:
            table = table.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise DataError(
            "the identification scores are not numbers; give (n_tests, n_models)"
        ) from None
    if table.ndim != 2 or not table.size:
        raise DataError(
            f"identification scores of shape {table.shape}; give (n_tests, n_models), both "
            "at least 1"
        )
    if np.isnan(table).any():
        row, column = np.argwhere(np.isnan(table))[0]
        raise DataError(
            f"{np.isnan(table).sum()} identification scores are NaN, first of test {row}, model "
            f"{column}; mend the scoring"
        )
    columns = _columns(labels, models, table.shape[1])
    if columns.shape != (len(table),):
        raise DataError(f"{len(table)} tests but labels of shape {columns.shape}; give one each")
    return table, columns


def _columns(labels: ArrayLike, models: Sequence[Hashable] | None, n_models: int) -> np.ndarray:
    if models is None:
        columns = np.asarray(labels)
        if not np.issubdtype(columns.dtype, np.integer):
            raise DataError("labels must be columns of the scores, or give the names of the models")
        if columns.size and (columns.min() < _NOT_ENROLLED or columns.max() >= n_models):
            raise DataError(
                f"labels from {columns.min()} to {columns.max()} of {n_models} models; give "
                f"0 to {n_models - 1}, or -1 for a speaker not enrolled"
            )
        return columns.astype(np.int64)
    names = _list(models)
    if len(names) != n_models:
        raise DataError(f"{len(names)} names of models but scores of {n_models}; give one each")
    positions = {name: i for i, name in enumerate(names)}
    if len(positions) < n_models:
        twice = next(name for i, name in enumerate(names) if positions[name] != i)
        raise DataError(f"the model {twice!r} is there twice; give each speaker one model")
    return np.array([_position(label, positions) for label in _list(labels)], np.int64)


def _list(names: Any) -> list[Hashable]:
    listed = names.tolist() if isinstance(names, np.ndarray) else list(names)
    if not all(isinstance(name, Hashable) for name in listed):
        raise DataError("labels and models are named by words or numbers; give one name for each")
    return listed


def _position(label: Hashable, positions: dict[Hashable, int]) -> int:
    if label in positions:
        return positions[label]
    if label is None or label == _NOT_ENROLLED:
        return _NOT_ENROLLED
    raise DataError(
        f"the label {label!r} is the name of no model; give None for a speaker not enrolled"
    )


def _names(models: Sequence[Hashable]) -> np.ndarray:
    """Names (M,), of one kind if they are strings or numbers."""
    listed = _list(models)
    names = np.asarray(listed)
    return names if names.ndim == 1 else np.array([*listed, None], object)[:-1]


def _refuse_unknown(columns: np.ndarray) -> None:
    unknown = np.flatnonzero(columns == _NOT_ENROLLED)
    if len(unknown):
        raise DataError(
            f"{len(unknown)} of {len(columns)} tests are of speakers not enrolled, first test "
            f"{unknown[0]}; take them out, or measure FNIR at FPIR (identification_curve)"
        )


def _rank(rank: int, table: np.ndarray) -> int:
    if not 1 <= rank <= table.shape[1]:
        raise UsageError(f"a rank is from 1 to the number of models, {table.shape[1]}; got {rank}")
    return rank


def _among_highest(table: np.ndarray, columns: np.ndarray, rank: int) -> np.ndarray:
    """Probability (N,) that each test's own model is among the `rank` highest."""
    own = table[np.arange(len(table)), columns][:, None]
    higher, tied = np.empty(len(table), np.int64), np.empty(len(table), np.int64)
    step = max(1, _BLOCK_SCORES // table.shape[1])
    for start in range(0, len(table), step):
        part = slice(start, start + step)
        higher[part] = (table[part] > own[part]).sum(axis=1)
        tied[part] = (table[part] == own[part]).sum(axis=1)
    return np.clip((rank - higher) / tied, 0, 1)
