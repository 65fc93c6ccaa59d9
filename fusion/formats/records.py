"""Text files of records: read in blocks, ids made numbers, lines remembered, in little memory.

A block of 2 MiB is split at once instead of line by line, and ids become integers as they are
read, so that beside the integers a file needs only as much memory as its distinct ids.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

import numpy as np

from ivector.base.errors import DataError, UserError
from ivector.base.foreign.opening import readable, unpacked

BLOCK_BYTES = 1 << 21  # what is made of a block stays in cache
MAX_LINE_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_FIRST_IDS = 1 << 10


class Report(Protocol):
    """What to do about a defect of a line: raise, or remember it and go on."""

    def __call__(
        self, path: str | os.PathLike, line: int, message: str, code: str = "line"
    ) -> None: ...


def refuse(path: str | os.PathLike, line: int, message: str, code: str = "line") -> None:
    """Raise DataError for a defect of a line, which is what all readers but the linter do."""
    raise DataError(f"{path}, line {line}: {message}")


def slices(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """Parts of a text of bytes."""
    data = text.tobytes()
    return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist())]


class Interner:
    """Numbers ids in the order in which they are first met.

    A dictionary does it until `codes_of` is first given places in a large text; then the hash
    table of the kernel takes over, with the same numbers.
    """

    def __init__(self) -> None:
        self._codes: defaultdict[bytes, int] | None = defaultdict(itertools.count().__next__)
        self._n = 0
        self._allocate(_FIRST_IDS, 16 * _FIRST_IDS)

    def __len__(self) -> int:
        return self._n if self._codes is None else len(self._codes)

    def codes(self, tokens: Sequence[bytes]) -> np.ndarray:
        """Codes (n,) int32 of some ids."""
        if self._codes is not None:
            return np.fromiter(map(self._codes.__getitem__, tokens), np.int32, len(tokens))
        sizes = np.array([len(token) for token in tokens], np.int64)
        ends = np.cumsum(sizes)
        starts = ends - sizes
        return self.codes_of(np.frombuffer(b"".join(tokens), np.uint8), starts, ends)

    def codes_of(self, text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Codes (n,) int32 of the ids that stand at some places (n,) of a text of bytes."""
        from fusion.formats.kernels import number_ids

        if self._codes is not None:
            known, self._codes = list(self._codes), None
            self.codes(known)
        codes = np.empty(len(starts), np.int32)
        row = 0
        while row < len(starts):
            row, self._n = number_ids(
                text, starts, ends, row, self._table, self._hashes, self._arena, self._offsets,
                self._n, codes,
            )  # fmt: skip
            if row < len(starts):
                self._grow(int(ends[row] - starts[row]))
        return codes

    def ids(self, first: int = 0) -> list[str]:
        """All ids, by code; or those from a code on."""
        if self._codes is not None:
            return [token.decode("utf-8") for token in itertools.islice(self._codes, first, None)]
        offsets = self._offsets[first : self._n + 1]
        parts = slices(self._arena[: offsets[-1]], offsets[:-1], offsets[1:])
        return [part.decode("utf-8") for part in parts]

    def _allocate(self, capacity: int, n_bytes: int) -> None:
        self._table = np.full(4 * capacity, -1, np.int32)
        self._hashes = np.empty(capacity, np.uint64)
        self._arena = np.empty(n_bytes, np.uint8)
        self._offsets = np.zeros(capacity + 1, np.int64)

    def _grow(self, room: int) -> None:
        """Make tables twice as large, and at least for an id of `room` bytes; ids keep codes."""
        from fusion.formats.kernels import number_ids

        arena, offsets, n = self._arena, self._offsets, self._n
        full = n == len(self._hashes)
        self._allocate(
            len(self._hashes) * (2 if full else 1), len(arena) if full else 2 * len(arena) + room
        )
        number_ids(
            arena, offsets[:n], offsets[1 : n + 1], 0, self._table, self._hashes, self._arena,
            self._offsets, 0, np.empty(n, np.int32),
        )  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Consecutive records of a file: cells as tokens, or as places in a text.

    Parameters
    ----------
    first : int
        Number of the line at which the block begins.
    lines : ndarray (n_records,)
        Line of each record, from the first.
    tokens : dict of int to list of bytes, optional
        Cells of the wanted columns.
    text : ndarray (n_bytes,) uint8, optional
    places : dict of int to tuple of two ndarray (n_records,), optional
        Where the cells of a column start and end in `text`.
    """

    first: int
    lines: np.ndarray
    tokens: dict[int, list[bytes]] | None = None
    text: np.ndarray | None = None
    places: dict[int, tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self.lines)

    def line(self, row: int) -> int:
        """Line number of a record."""
        return self.first + int(self.lines[row])

    def codes(self, column: int, interner: Interner) -> np.ndarray:
        """Numbers (n_records,) int32 of a column's ids."""
        if self.tokens is not None:
            return interner.codes(self.tokens[column])
        assert self.text is not None and self.places is not None
        return interner.codes_of(self.text, *self.places[column])

    def cells(self, column: int, rows: np.ndarray) -> list[bytes]:
        """Some cells of a column."""
        if self.tokens is not None:
            return [self.tokens[column][row] for row in rows]
        assert self.text is not None and self.places is not None
        starts, ends = self.places[column]
        return slices(self.text, starts[rows], ends[rows])


class Growing:
    """An array that grows at its end without ever being in memory twice."""

    def __init__(self, dtype: np.dtype):
        self._array = np.empty(1 << 10, dtype)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def extend(self, values: np.ndarray) -> None:
        """Add values at the end."""
        end = self._n + len(values)
        if end > len(self._array):
            # A larger piece is re-mapped by the system, not copied.
            self._array.resize(max(end, len(self._array) * 3 // 2), refcheck=False)
        self._array[self._n : end] = values
        self._n = end

    def done(self) -> np.ndarray:
        """The array (n,)."""
        self._array.resize(self._n, refcheck=False)
        return self._array


class Origin:
    """Remembers from which file and line each row came; files are added in row order.

    Rows of consecutive lines are kept as their first line, so that they take no memory.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._paths: list[str] = []
        self._blocks: list[list[tuple[int, int, np.ndarray | None]]] = []

    def start_file(self, path: str | os.PathLike, row: int) -> None:
        """Rows from `row` on come from `path`."""
        self._starts.append(row)
        self._paths.append(os.fspath(path))
        self._blocks.append([])

    def add(self, first: int, lines: np.ndarray) -> None:
        """Line numbers of the next rows, less that of the first line of their block."""
        together = len(lines) and lines[-1] - lines[0] == len(lines) - 1
        if together:
            self._blocks[-1].append((first + int(lines[0]), len(lines), None))
        else:
            self._blocks[-1].append((first, len(lines), lines.astype(np.int32)))

    @property
    def name(self) -> str:
        """The file, or the files."""
        return " + ".join(self._paths)

    @property
    def paths(self) -> list[str]:
        """The files."""
        return list(self._paths)

    def place(self, row: int) -> tuple[str, int]:
        """File and line of one row; line 0 stands for a file without lines."""
        if not self._paths:
            return f"row {row + 1}", 0
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        offset = row - self._starts[part]
        for first, n, lines in self._blocks[part]:
            if offset < n:
                return self._paths[part], first + (offset if lines is None else int(lines[offset]))
            offset -= n
        return self._paths[part], 0

    def where(self, row: int) -> str:
        """``FILE, line N`` of one row."""
        path, line = self.place(row)
        return f"{path}, line {line}" if line else path


def whole_lines(
    path: str | os.PathLike, report: Report = refuse
) -> Iterator[tuple[int, int, bytes]]:
    """Yield a file's content cut at ends of lines, unpacked and checked to be UTF-8 text.

    Each part comes after the number of its first line and the number of its ends of lines.

    Raises
    ------
    DataError
        The file is missing, damaged, or has a line of over 1 MiB.
    """
    number = 1
    try:
        with _open(path) as file:
            rest = file.read(len(_BOM)).removeprefix(_BOM)
            for chunk in _chunks(file, path):
                data = rest + chunk
                cut = data.rfind(b"\n") + 1
                rest = data[cut:]
                if cut:
                    data = data[:cut]
                    # bytes.count() takes several times as long.
                    n_lines = int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))
                    yield number, n_lines, _checked(data, path, number, report)
                    number += n_lines
                if len(rest) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{path}, line {number}: is longer than 1 MiB; this is not a text of "
                        "trials or scores"
                    )
            if rest:
                yield number, 0, _checked(rest, path, number, report)
    except UserError:
        raise
    except Exception as error:  # a damaged gzip raises nearly anything
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacking gzip, which is known by its first bytes."""
    with open(readable(path), "rb") as raw:
        head = raw.peek(2)
        if head.startswith(_GZIP_MAGIC):
            with gzip.open(raw) as file:
                yield file  # type: ignore[misc]
        else:
            yield raw


def _chunks(file: IO[bytes], path: str | os.PathLike) -> Iterator[bytes]:
    if isinstance(file, gzip.GzipFile):
        return unpacked(file, os.path.getsize(readable(path)), path, BLOCK_BYTES)
    return iter(lambda: file.read(BLOCK_BYTES), b"")


def _checked(data: bytes, path: str | os.PathLike, number: int, report: Report) -> bytes:
    """Report what is not UTF-8 text, by its line; if that does not raise, it becomes "?"."""
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            data = b"\n".join(
                _mended(line, path, number + n, report) for n, line in enumerate(data.split(b"\n"))
            )
    zero = data.find(b"\0")
    if zero >= 0:
        line = number + data.count(b"\n", 0, zero)
        report(path, line, "has a zero byte; it is not a text file in UTF-8", "encoding")
        data = data.replace(b"\0", b"?")
    return data


def _mended(line: bytes, path: str | os.PathLike, number: int, report: Report) -> bytes:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        report(path, number, "not UTF-8 text; convert it first", "encoding")
        return line.decode("utf-8", "replace").replace("\ufffd", "?").encode("utf-8")
    return line
