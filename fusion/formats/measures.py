"""Measures and conditions beside the scores: durations, genders, SNRs, from tables with a header.

A table is text, delimited by commas, semicolons, tabs or blanks, may be gzipped, and has one of

- ``enrol test COLUMN...``: a value for each trial;
- ``id COLUMN...``: a value for each recording, which becomes ``enrol_COLUMN`` and ``test_COLUMN``
  of the trials that it is in;
- two columns without a header in a file named ``utt2COLUMN`` (Kaldi's ``utt2dur``), likewise.

The same names of columns are known as in score files. A column whose cells are numbers is
float64, any other holds categories.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.formats.headers import (
    ENROL,
    LABEL,
    RECORDING,
    TEST,
    find,
    of_role,
    plain,
    sniff,
    split_line,
    the_only,
)
from fusion.formats.layouts import read_header
from fusion.formats.parsing import is_hdf5
from fusion.formats.records import whole_lines
from fusion.formats.tables import Trials
from ivector.base.errors import DataError, UsageError

_MOSTLY = 0.9  # from this share of numbers on, a cell that is none is a mistake


@dataclass(frozen=True)
class Columns:
    """A table as read.

    Parameters
    ----------
    names : list of str
        Columns, without those of ids and labels.
    values : dict of str to ndarray (n_rows,)
        Float64 of finite numbers, or object of str for categories.
    keys : list of tuple of str
        ``(enrol, test)`` of each row, or ``(id,)``.
    lines : ndarray (n_rows,)
        Line of each row, from 1.
    path : str
    """

    names: list[str]
    values: dict[str, np.ndarray]
    keys: list[tuple[str, ...]]
    lines: np.ndarray
    path: str

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def per_trial(self) -> bool:
        """Whether a row is of a trial and not of a recording."""
        return len(self.keys[0]) == 2


def read_columns(path: str | os.PathLike) -> Columns:
    r"""Read a table of values by trial or by recording.

    Raises
    ------
    DataError
        The file is missing, empty, not UTF-8 text, has no header with the ids, a line has another
        number of cells, a cell is empty, a number is not finite, or a row's ids come twice.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_columns
    >>> _ = Path("columns.csv").write_text("id,gender,duration\nutt1,f,3.5\nutt2,m,12\n")
    >>> columns = read_columns("columns.csv")
    >>> columns.names, columns.values["duration"].tolist()
    (['gender', 'duration'], [3.5, 12.0])
    """
    lines = _lines(path)
    number, line = next(((n, text) for n, text in lines if text.strip()), (0, ""))
    if not line:
        raise DataError(f"{path}: is empty; expected a header 'enrol test COLUMN' or 'id COLUMN'")
    delimiter = sniff(line)
    header = split_line(path, number, line, delimiter)
    rows: list[list[str]] = []
    numbers: list[int] = []
    named = _kaldi_name(path, header)
    if named:
        rows, numbers, header = [header], [number], ["id", named]
    ids = _id_columns(path, number, header)
    for number, line in lines:
        if not line.strip():
            continue
        cells = split_line(path, number, line, delimiter)
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {number}: expected {len(header)} cells as in the header, found "
                f"{len(cells)} in {line.strip()[:60]!r}"
            )
        if "" in cells:
            column = header[cells.index("")]
            raise DataError(f"{path}, line {number}: {column!r} is empty; write a value or a word")
        rows.append(cells)
        numbers.append(number)
    if not rows:
        raise DataError(f"{path}: has a header and no rows")
    return _assemble(path, header, ids, rows, np.array(numbers))


def key_columns(paths: Sequence[str | os.PathLike], wanted: Sequence[str]) -> dict[str, np.ndarray]:
    r"""Further columns of trial lists with a header, such as NIST's keys, for all their trials.

    Parameters
    ----------
    paths : sequence of path-like
        Of the trial lists, in the order in which they are read.
    wanted : sequence of str
        Names, compared without case and punctuation.

    Returns
    -------
    dict of str to ndarray (n_trials,) object
        Words of those columns that every list has.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion.formats.measures import key_columns
    >>> _ = Path("key").write_text("modelid segmentid targettype gender\nm1 u1 target female\n")
    >>> {name: words.tolist() for name, words in key_columns(["key"], ["gender", "age"]).items()}
    {'gender': ['female']}
    """
    parts = [_key_columns(path, wanted) for path in paths]
    common = [name for name in wanted if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in common}


def _key_columns(path: str | os.PathLike, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    if is_hdf5(path):
        return {}
    layout, positions = None, {}
    cells: dict[str, list[str]] = {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        if layout is None:
            layout = read_header(line)
            if layout is None:
                return {}
            names = [plain(name) for name in layout.names]
            positions = {name: names.index(plain(name)) for name in wanted if plain(name) in names}
            cells = {name: [] for name in positions}
            continue
        row = split_line(path, number, line, layout.delimiter)
        for name, position in positions.items():
            if position >= len(row) or not row[position]:
                raise DataError(
                    f"{path}, line {number}: {name!r} is empty; write a value or a word"
                )
            cells[name].append(sys.intern(row[position]))
    return {name: np.array(words, object) for name, words in cells.items()}


def _lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Number and text of each line."""
    for number, _, data in whole_lines(path):
        for n, line in enumerate(data.decode("utf-8").split("\n")):
            yield number + n, line.rstrip("\r")


def _kaldi_name(path: str | os.PathLike, first: list[str]) -> str:
    """Name of the column of a file like utt2dur, which has no header; "" for others."""
    name = Path(path).name.removesuffix(".gz")
    if not name.startswith(("utt2", "reco2")) or len(first) != 2 or plain(first[0]) in RECORDING:
        return ""
    return name.partition("2")[2].partition(".")[0]


def _id_columns(path: str | os.PathLike, number: int, header: list[str]) -> tuple[int, ...]:
    """Positions of the ids, checked; refuses a header without them."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line {number}: two columns are named {twice[0]!r}; rename one")
    where = f"{path}, line {number}"
    enrol, test = (
        the_only(where, header, of_role(header, role), what, "rename one, or take it out")
        for role, what in ((ENROL, "enrolment id"), (TEST, "test id"))
    )
    ids: tuple[int, ...]
    if enrol >= 0 and test >= 0:
        ids = (enrol, test)
    elif (recording := find(header, RECORDING)) >= 0:
        ids = (recording,)
    else:
        raise DataError(
            f"{path}, line {number}: the header has neither 'enrol' and 'test' nor 'id'; found "
            f"{', '.join(header)[:80]!r}"
        )
    if "" in header:
        raise DataError(f"{path}, line {number}: column {header.index('') + 1} has no name")
    if len(header) == len(ids):
        raise DataError(f"{path}, line {number}: has ids and no other column")
    return ids


def _assemble(
    path: str | os.PathLike,
    header: list[str],
    ids: tuple[int, ...],
    rows: list[list[str]],
    lines: np.ndarray,
) -> Columns:
    cells = list(zip(*rows))
    keys = list(zip(*(cells[i] for i in ids)))
    seen: set[tuple[str, ...]] = set()
    for key, line in zip(keys, lines):
        if key in seen:
            raise DataError(f"{path}, line {line}: {' '.join(key)!r} has a row above")
        seen.add(key)
    names = [
        name
        for i, name in enumerate(header)
        if i not in ids and not (len(ids) == 2 and plain(name) in LABEL)
    ]
    values = {name: _typed(path, name, cells[header.index(name)], lines) for name in names}
    return Columns(names, values, keys, lines, os.fspath(path))


def _typed(
    path: str | os.PathLike, name: str, cells: Sequence[str], lines: np.ndarray
) -> np.ndarray:
    """A column as float64, or as objects if its cells are words."""
    numbers = np.array([_number(cell) for cell in cells])
    wrong = np.isnan(numbers)
    if wrong.mean() > 1 - _MOSTLY:
        return np.array(cells, object)
    wrong |= np.isinf(numbers)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}, line {lines[row]}: {name!r} is a column of numbers, but here it is "
            f"{cells[row][:40]!r}; give a finite number"
        )
    return numbers


def _number(text: str) -> float:
    """Value of a cell, NaN if it is no number."""
    try:
        return np.nan if "_" in text else float(text)
    except ValueError:
        return np.nan


def trial_columns(tables: Columns | Sequence[Columns], trials: Trials) -> dict[str, np.ndarray]:
    r"""Values (n_trials,) of every column for the trials of a list, in its order.

    A column ``snr`` of a table by recording gives ``enrol_snr`` and ``test_snr``. Where none of
    the ids of one side is in such a table, as with models of several recordings, that side is
    left out.

    Raises
    ------
    DataError
        A trial, or a recording of a side that the table knows, has no row.
    UsageError
        Two tables have a column of the same name.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion import read_columns, read_trials, trial_columns
    >>> _ = Path("columns.csv").write_text("id,duration\nutt1,3.5\nutt2,12\n")
    >>> _ = Path("trials").write_text("utt1 utt2 target\n")
    >>> columns = trial_columns(read_columns("columns.csv"), read_trials("trials"))
    >>> {name: values.tolist() for name, values in columns.items()}
    {'enrol_duration': [3.5], 'test_duration': [12.0]}
    """
    found: dict[str, np.ndarray] = {}
    for table in [tables] if isinstance(tables, Columns) else tables:
        new = _by_trial(table, trials) if table.per_trial else _by_recording(table, trials)
        for name, values in new.items():
            if name in found:
                raise UsageError(f"{table.path}: another table has a column {name!r}; rename one")
            found[name] = values
    return found


def _by_trial(table: Columns, trials: Trials) -> dict[str, np.ndarray]:
    places = {key: row for row, key in enumerate(table.keys)}
    pairs = (
        (trials.enrol_ids[e], trials.test_ids[t])
        for e, t in zip(trials.enrol.tolist(), trials.test.tolist())
    )
    rows = np.fromiter((places.get(pair, -1) for pair in pairs), np.int64, len(trials))
    lacking = np.flatnonzero(rows < 0)
    _refuse(
        table, len(lacking), f"{len(trials)} trials of {trials.origin.name}",
        lambda: f"'{trials.enrol_ids[trials.enrol[lacking[0]]]} "
        f"{trials.test_ids[trials.test[lacking[0]]]}' ({trials.origin.where(int(lacking[0]))})",
    )  # fmt: skip
    return {name: table.values[name][rows] for name in table.names}


def _by_recording(table: Columns, trials: Trials) -> dict[str, np.ndarray]:
    places = {key[0]: row for row, key in enumerate(table.keys)}
    found: dict[str, np.ndarray] = {}
    for side, ids, codes in (
        ("enrol", trials.enrol_ids, trials.enrol),
        ("test", trials.test_ids, trials.test),
    ):
        rows = np.array([places.get(name, -1) for name in ids], np.int64)
        lacking = np.flatnonzero(rows < 0)
        if len(lacking) == len(ids):
            continue
        _refuse(
            table, len(lacking), f"{len(ids)} {side} ids of {trials.origin.name}",
            lambda ids=ids, lacking=lacking: repr(ids[lacking[0]]),  # type: ignore[misc]
        )  # fmt: skip
        for name in table.names:
            found[f"{side}_{name}"] = table.values[name][rows[codes]]
    if not found:
        raise DataError(
            f"{table.path}: has no id of {trials.origin.name}, such as {trials.test_ids[0]!r}; do "
            "they belong together?"
        )
    return found


def _refuse(table: Columns, n_lacking: int, of: str, example: Callable[[], str]) -> None:
    if n_lacking:
        raise DataError(
            f"{table.path}: {n_lacking} of {of} have no row, first {example()}; add them"
        )
