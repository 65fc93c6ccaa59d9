"""Parts of the trials by a column: its categories, or quarters of its numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ivector.base.errors import DataError

MOST_CATEGORIES = 12
_FEW_NUMBERS = 6  # that many different numbers are categories, such as counts of utterances
MISSING, OTHERS = "(missing)", "(others)"


def groups_of(name: str, column: np.ndarray, n_trials: int) -> Iterator[tuple[str, np.ndarray]]:
    """`groups` of a condition, called so; refuses one that has not a value for each trial."""
    if column.shape != (n_trials,):
        raise DataError(f"the condition {name!r} has shape {column.shape} for {n_trials} trials")
    yield from groups(column)


def groups(column: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name and positions of each part of the trials.

    Parameters
    ----------
    column : ndarray (n_trials,)
        Numbers, of which NaN is missing, or categories, of which None is missing.

    Yields
    ------
    name : str
    chosen : ndarray (n,) int
        Categories are sorted; the rarest, beyond 12, are one part. Numbers of more than six
        values are cut at their quartiles.
    """
    if np.issubdtype(column.dtype, np.number):
        numbers = column.astype(np.float64)
        missing = np.isnan(numbers)
        names, codes = _quarters(numbers, missing)
    else:
        texts = ["" if value is None else str(value) for value in column.tolist()]
        missing = np.array([value is None for value in column.tolist()], bool)
        names, codes = _categories(np.array(texts, object), missing)
    codes = np.where(missing, -1, codes)
    for code, name in enumerate(names):
        yield name, np.flatnonzero(codes == code)
    if missing.any():
        yield MISSING, np.flatnonzero(missing)


def _quarters(numbers: np.ndarray, missing: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of parts of numbers, and the part of each."""
    present = numbers[~missing]
    values = np.unique(present)
    if len(values) <= _FEW_NUMBERS:
        return [f"{value:g}" for value in values], np.searchsorted(values, numbers)
    inner = np.unique(np.quantile(present, (0.25, 0.5, 0.75)))
    codes = np.searchsorted(inner, numbers, side="right")
    names: list[str] = []
    kept = np.zeros(len(inner) + 1, np.int64)
    for code in range(len(inner) + 1):
        part = present[np.searchsorted(inner, present, side="right") == code]
        kept[code] = len(names)
        if len(part):
            names.append(f"{part.min():.4g} to {part.max():.4g}")
    return names, kept[codes]


def _categories(texts: np.ndarray, missing: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of categories, and the category of each."""
    values, counts = np.unique(texts[~missing], return_counts=True)
    rank = np.argsort(-counts, kind="stable")
    kept = np.sort(rank[: MOST_CATEGORIES - 1]) if len(values) > MOST_CATEGORIES else np.sort(rank)
    codes_of = {values[k]: n for n, k in enumerate(kept)}
    codes = np.array([codes_of.get(text, len(kept)) for text in texts], np.int64)
    names = [str(values[k]) for k in kept]
    return names + [OTHERS] * (len(kept) < len(values)), codes
