"""Scores of the same trials by several systems, side by side; NaN where a system has none.

Dimension legend: N trials, K systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fusion.formats.layouts import UNKNOWN
from fusion.formats.matching import PairIndex, align, rows_of, same_order, strangers
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


class Waiting(Mapping[str, Scores]):
    """Scores of systems that are fetched when they are asked for, and not kept.

    Parameters
    ----------
    fetch : mapping of str to callable
        Gives the scores of each system, by name.
    """

    def __init__(self, fetch: Mapping[str, Callable[[], Scores]]):
        self._fetch = fetch

    def __getitem__(self, name: str) -> Scores:
        return self._fetch[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fetch)

    def __len__(self) -> int:
        return len(self._fetch)


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
        By name, in the order of the columns; each is asked for once, when the one before is done.
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
    for column, name in enumerate(systems):
        here = _fill(table[:, column], systems[name], trials, subset, allow_duplicates)
        if not here.all():
            first[name] = int(np.argmin(here))
    if first and not missing:
        raise DataError(
            f"missing scores: of {len(trials)} trials of {trials.origin.name} "
            f"{_lacking(table, systems, trials, first)}; score them, take them out, or fuse what "
            "is there with `missing`"
        )
    nothing = np.flatnonzero(np.isnan(table).all(axis=1))
    if len(nothing):
        raise DataError(
            f"{len(nothing)} of {len(trials)} trials of {trials.origin.name} have no score of any "
            f"system, first {_show(trials, int(nothing[0]))}; take them out"
        )
    return table


def _fill(
    column: np.ndarray, scores: Scores, trials: Trials, subset: bool, allow_duplicates: bool
) -> np.ndarray:
    """Write a system's scores to its column (N,); which of the trials (N,) have one."""
    here = _scored(scores, trials)
    if not here.any():
        raise DataError(
            f"{scores.origin.name} has a score of none of the {len(trials)} trials of "
            f"{trials.origin.name}; {strangers(scores, trials)}"
        )
    part = trials if here.all() else _part(trials, np.flatnonzero(here))
    found = align(scores, part, subset=subset, allow_duplicates=allow_duplicates).values
    column[slice(None) if part is trials else here] = found
    return here


def all_trials(systems: Mapping[str, Scores]) -> Trials:
    """Every pair that a system has scored, without labels: the first system's, then the others'.

    For scores to be fused without a trial list.
    """
    tables = list(systems.values())
    enrols, enrol_ids, enrol_sided = _interned(
        [(s.enrol_ids, s.enrol_sided, s.enrol) for s in tables]
    )
    tests, test_ids, test_sided = _interned([(s.test_ids, s.test_sided, s.test) for s in tables])
    enrol, test, origin = enrols[0], tests[0], tables[0].origin
    rows = [np.arange(len(enrol), dtype=np.int32)]
    for one, two in zip(enrols[1:], tests[1:]):
        # A pair that one file has twice stays twice, for `align` to refuse or let pass.
        new = PairIndex(enrol, test).find(one, two) < 0
        rows.append(np.flatnonzero(new).astype(np.int32))
        if len(rows[-1]):
            enrol = np.concatenate([enrol, one[new]])
            test = np.concatenate([test, two[new]])
    if len(rows[0]) < len(enrol):
        table = np.repeat(np.arange(len(tables)), [len(part) for part in rows])
        origin = _Joined([s.origin for s in tables], table, np.concatenate(rows))
    labels = np.full(len(enrol), UNKNOWN, np.int8)
    return Trials(enrol, test, labels, enrol_ids, test_ids, origin, enrol_sided, test_sided)


def _interned(
    sides: Sequence[tuple[list[str], list[str] | None, np.ndarray]],
) -> tuple[list[np.ndarray], list[str], list[str] | None]:
    """One numbering of the ids of several tables: rows' numbers of each, ids, ids with sides.

    Ids go by their sides if all tables have them, as when they are matched.
    """
    by_side = all(sided is not None for _, sided, _ in sides)
    numbers: dict[str, int] = {}
    plain: list[str] = []
    codes = []
    for ids, sided, side in sides:
        new = []
        for name, key in zip(ids, sided if by_side and sided else ids):
            new.append(numbers.setdefault(key, len(numbers)))
            if len(plain) < len(numbers):
                plain.append(name)
        same = new == list(range(len(new)))
        codes.append(side if same else np.array(new, np.int32)[side])
    found = list(numbers)
    ids = plain if len(set(plain)) == len(found) else found
    return codes, ids, found if by_side else None


def _scored(scores: Scores, trials: Trials) -> np.ndarray:
    """Whether each trial (N,) has a score."""
    if same_order(scores, trials):
        return np.ones(len(trials), bool)
    listed = PairIndex(trials.enrol, trials.test)
    rows = rows_of(scores, trials, listed)
    found = np.zeros(len(trials), bool)
    found[rows[rows >= 0]] = True
    return found[listed.first]


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
