"""Scores of the same trials by several systems, side by side; NaN where a system has none.

Dimension legend: N trials, K systems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fusion.formats.files import align
from fusion.formats.layouts import UNKNOWN
from fusion.formats.records import Origin
from fusion.formats.tables import Scores, Trials
from ivector.base.errors import DataError


class _Rows(Origin):
    """Origin of some rows of another table."""

    def __init__(self, whole: Origin, rows: np.ndarray):
        self._whole, self._rows = whole, rows

    @property
    def name(self) -> str:
        return self._whole.name

    @property
    def paths(self) -> list[str]:
        return self._whole.paths

    def place(self, row: int) -> tuple[str, int]:
        return self._whole.place(int(self._rows[row]))

    def where(self, row: int) -> str:
        return self._whole.where(int(self._rows[row]))


class _Joined(Origin):
    """Origin of rows that come from several tables."""

    def __init__(self, origins: Sequence[Origin], table: np.ndarray, row: np.ndarray):
        self._origins, self._table, self._row = origins, table, row

    @property
    def name(self) -> str:
        return " + ".join(origin.name for origin in self._origins)

    @property
    def paths(self) -> list[str]:
        return [path for origin in self._origins for path in origin.paths]

    def place(self, row: int) -> tuple[str, int]:
        return self._origins[self._table[row]].place(int(self._row[row]))

    def where(self, row: int) -> str:
        return self._origins[self._table[row]].where(int(self._row[row]))


def join(
    systems: Mapping[str, Scores],
    trials: Trials,
    *,
    missing: bool = False,
    subset: bool = False,
    allow_duplicates: bool = False,
) -> np.ndarray:
    """Scores (N, K) float64 of every trial by every system, matched by the pair of ids.

    Parameters
    ----------
    systems : mapping of str to Scores
        By name, in the order of the columns.
    trials : Trials
    missing : bool
        Whether a system may lack trials, whose scores are then NaN; every trial needs one.
    subset, allow_duplicates : bool
        As in `align`.

    Raises
    ------
    DataError
        What `align` raises; or trials without a score, with the count for each system, unless
        `missing`, and trials without the score of any system.
    """
    table = np.full((len(trials), len(systems)), np.nan)
    first: dict[str, int] = {}
    for column, (name, scores) in enumerate(systems.items()):
        rows = np.flatnonzero(_scored(scores, trials))
        if not len(rows):
            raise DataError(
                f"{scores.origin.name} has a score of none of the {len(trials)} trials of "
                f"{trials.origin.name}; do their ids belong together?"
            )
        part = trials if len(rows) == len(trials) else _part(trials, rows)
        scored = align(scores, part, subset=subset, allow_duplicates=allow_duplicates)
        table[rows, column] = scored.values
        if part is not trials:
            lacks = np.ones(len(trials), bool)
            lacks[rows] = False
            first[name] = int(np.argmax(lacks))
    if first and not missing:
        raise DataError(
            f"missing scores: of {len(trials)} trials of {trials.origin.name} "
            f"{_lacking(table, systems, trials, first)}; score them, take them out, or fuse what "
            "is there with --missing fallback (missing=True in Python)"
        )
    nothing = np.flatnonzero(np.isnan(table).all(axis=1))
    if len(nothing):
        raise DataError(
            f"{len(nothing)} of {len(trials)} trials of {trials.origin.name} have no score of any "
            f"system, first {_show(trials, int(nothing[0]))}; take them out"
        )
    return table


def all_trials(systems: Mapping[str, Scores]) -> Trials:
    """Every pair that a system has scored, without labels: the first system's, then the others'.

    For scores to be fused without a trial list.
    """
    enrol_ids, enrol = _interned([(s.enrol_ids, s.enrol) for s in systems.values()])
    test_ids, test = _interned([(s.test_ids, s.test) for s in systems.values()])
    sizes = [len(scores) for scores in systems.values()]
    keys = enrol.astype(np.int64) * len(test_ids) + test
    table = np.repeat(np.arange(len(sizes)), sizes)
    row = np.concatenate([np.arange(size) for size in sizes])
    _, firsts, pair = np.unique(keys, return_index=True, return_inverse=True)
    # A pair that one file has twice stays twice, for `align` to refuse or let pass.
    kept = np.flatnonzero(table == table[firsts][pair])
    origin = _Joined([s.origin for s in systems.values()], table[kept], row[kept])
    labels = np.full(len(kept), UNKNOWN, np.int8)
    return Trials(enrol[kept], test[kept], labels, enrol_ids, test_ids, origin)


def _interned(sides: Sequence[tuple[list[str], np.ndarray]]) -> tuple[list[str], np.ndarray]:
    """One numbering of the ids of several tables: the ids and all rows' numbers."""
    numbers: dict[str, int] = {}
    codes = []
    for ids, side in sides:
        new = np.array([numbers.setdefault(name, len(numbers)) for name in ids], np.int32)
        codes.append(new[side])
    return list(numbers), np.concatenate(codes)


def _keys(scores: Scores, trials: Trials) -> np.ndarray:
    """Pair of each score (n_scores,) in the numbering of the trials, -1 for other ids."""
    sides = []
    for mine, theirs, side in (
        (scores.enrol_ids, trials.enrol_ids, scores.enrol),
        (scores.test_ids, trials.test_ids, scores.test),
    ):
        known = {name: code for code, name in enumerate(theirs)}
        sides.append(np.array([known.get(name, -1) for name in mine], np.int64)[side])
    enrol, test = sides
    return np.where((enrol < 0) | (test < 0), -1, enrol * len(trials.test_ids) + test)


def _trial_keys(trials: Trials) -> np.ndarray:
    return trials.enrol.astype(np.int64) * len(trials.test_ids) + trials.test


def _scored(scores: Scores, trials: Trials) -> np.ndarray:
    """Whether each trial (N,) has a score."""
    return np.isin(_trial_keys(trials), _keys(scores, trials))


def _part(trials: Trials, rows: np.ndarray) -> Trials:
    return replace(
        trials,
        enrol=trials.enrol[rows],
        test=trials.test[rows],
        labels=trials.labels[rows],
        origin=_Rows(trials.origin, rows),
    )


def _lacking(
    table: np.ndarray, systems: Mapping[str, Scores], trials: Trials, first: Mapping[str, int]
) -> str:
    """Count of trials without a score for each system that lacks some, and the first."""
    counts = dict(zip(systems, np.isnan(table).sum(axis=0)))
    return ", ".join(
        f"{counts[name]} lack {name} (first {_show(trials, row)})" for name, row in first.items()
    )


def _show(trials: Trials, row: int) -> str:
    pair = f"{trials.enrol_ids[trials.enrol[row]]} {trials.test_ids[trials.test[row]]}"
    return f"'{pair}' ({trials.origin.where(row)})"
