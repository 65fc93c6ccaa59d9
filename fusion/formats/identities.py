"""Who a trial is of: ids of recordings, with the side of a recording where files name it.

The two sides of a telephone call are two people, so that NIST's trials are of (model, segment,
side). A segment of which files name both sides becomes two ids, ``segment:side``; one of which they
name one side keeps its name, as other lists have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion.formats.records import Block, Growing, Interner
from ivector.base.errors import DataError


class Late:
    """A column that only some of several files have; `filler` stands for the rows of the others."""

    def __init__(self, dtype: np.dtype, filler: int):
        self._dtype, self._filler = dtype, filler
        self._values: Growing | None = None

    def extend(self, row: int, values: np.ndarray) -> None:
        """Add values, the first of which is of a row."""
        self._fill(row)
        assert self._values is not None
        self._values.extend(values)

    def done(self, n_rows: int) -> np.ndarray | None:
        """The column (n_rows,), None if no file has it."""
        if self._values is None:
            return None
        self._fill(n_rows)
        return self._values.done()

    def _fill(self, row: int) -> None:
        if self._values is None:
            self._values = Growing(self._dtype)
        self._values.extend(np.full(row - len(self._values), self._filler, self._dtype))


class Ids:
    """Ids of one side of the trials, numbered in the order in which they are first met."""

    def __init__(self) -> None:
        self._names, self._codes = Interner(), Growing(np.dtype("i4"))
        self._side_names, self._sides = Interner(), Late(np.dtype("i4"), 0)
        self._side_names.codes([b""])  # of rows whose file names no side

    def extend(self, block: Block, column: int, side_column: int) -> None:
        """Add the ids of a block, and their sides if there is a column of them."""
        if side_column >= 0:
            self._sides.extend(len(self._codes), block.codes(side_column, self._side_names))
        self._codes.extend(block.codes(column, self._names))

    def extend_codes(self, names: Sequence[str], codes: np.ndarray) -> None:
        """Add positions (n,) in some names."""
        self._codes.extend(self._names.codes([name.encode("utf-8") for name in names])[codes])

    def done(self, files: str) -> tuple[np.ndarray, list[str], list[str] | None]:
        """Numbers (n,) int32, the ids, and the ids with their sides (None without sides).

        Raises
        ------
        DataError
            An id is that of a recording, and of another with its side.
        """
        codes, names = self._codes.done(), self._names.ids()
        sides = self._sides.done(len(codes))
        if sides is None:
            return codes, names, None
        words = self._side_names.ids()
        pairs = codes.astype(np.int64) * len(words) + sides
        occurs = np.zeros(len(names) * len(words), bool)
        occurs[pairs] = True
        found = np.flatnonzero(occurs)
        sided = [_sided(names[pair // len(words)], words[pair % len(words)]) for pair in found]
        if len(found) == len(names):
            return codes, names, sided
        if len(set(sided)) < len(sided):
            twice = next(name for name in sided if sided.count(name) > 1)
            raise DataError(f"{files}: {twice!r} is an id, and another with its side; rename one")
        numbers = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
        return numbers[pairs], sided, sided


def _sided(name: str, side: str) -> str:
    return f"{name}:{side}" if side else name
