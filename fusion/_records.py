"""Text files of records, read in blocks: columns split by blanks, ids interned, lines remembered.

A block of 8 MiB is split at once instead of line by line, and ids become integers as they are
read, so that 10⁷ lines take seconds and, beside the integers, only as much memory as the
distinct ids.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from ivector.base.errors import DataError

BLOCK_BYTES = 1 << 23
MAX_LINE_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
# What bytes.split() takes for blank.
_BLANK = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c"))


@dataclass(frozen=True)
class Block:
    """Consecutive records of a file.

    Parameters
    ----------
    tokens : list of bytes, (n_records * n_columns,)
    n_columns : int
    lines : ndarray (n_records,)
        Line number of each record, from 1.
    """

    tokens: list[bytes]
    n_columns: int
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, index: int) -> list[bytes]:
        """Tokens of one column."""
        return self.tokens[index :: self.n_columns]


class Interner:
    """Numbers ids in the order in which they are first met."""

    def __init__(self) -> None:
        self._codes: defaultdict[bytes, int] = defaultdict(itertools.count().__next__)

    def codes(self, tokens: Sequence[bytes]) -> np.ndarray:
        """Codes (n,) int32 of some ids."""
        return np.fromiter(map(self._codes.__getitem__, tokens), np.int32, len(tokens))

    def ids(self) -> list[str]:
        """All ids, by code."""
        return [token.decode("utf-8") for token in self._codes]


class Origin:
    """Remembers from which file and line each row came; files are added in row order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._paths: list[str] = []
        self._lines: list[list[np.ndarray]] = []

    def start_file(self, path: str | os.PathLike, row: int) -> None:
        """Rows from `row` on come from `path`."""
        self._starts.append(row)
        self._paths.append(os.fspath(path))
        self._lines.append([])

    def add(self, lines: np.ndarray) -> None:
        """Line numbers of the next rows."""
        self._lines[-1].append(lines)

    @property
    def name(self) -> str:
        """The file, or the files."""
        return " + ".join(self._paths)

    def where(self, row: int) -> str:
        """``FILE, line N`` of one row."""
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        offset = row - self._starts[part]
        for lines in self._lines[part]:
            if offset < len(lines):
                return f"{self._paths[part]}, line {lines[offset]}"
            offset -= len(lines)
        raise IndexError(row)


def read_blocks(
    path: str | os.PathLike, n_columns: Sequence[int], expected: str
) -> Iterator[Block]:
    """Read a text file, gzipped or not, as blocks of records.

    LF and CRLF ends, tabs, repeated blanks, empty lines and a byte-order mark are tolerated.

    Parameters
    ----------
    path : path-like
    n_columns : sequence of int
        Allowed numbers of columns; the first record decides which of them the file has.
    expected : str
        What a record should look like, for error messages.

    Raises
    ------
    DataError
        The file is missing, empty, not UTF-8 text, damaged, or a line has another number of
        columns.
    """
    width = 0
    number = 1
    for data in whole_lines(path):
        counts, n_lines = _tokens_per_line(data)
        if not width and counts.any():
            width = int(counts[np.flatnonzero(counts)[0]])
            width = width if width in n_columns else n_columns[0]
        bad = np.flatnonzero((counts != 0) & (counts != width))
        if len(bad):
            text = data.split(b"\n")[bad[0]].decode("utf-8").strip()
            raise DataError(
                f"{path}, line {number + bad[0]}: expected {width} columns '{expected}', "
                f"found {counts[bad[0]]} in {text[:60]!r}"
            )
        lines = np.flatnonzero(counts).astype(np.int32) + np.int32(number)
        number += n_lines
        if len(lines):
            yield Block(data.split(), width, lines)
    if not width:
        raise DataError(f"{path}: is empty; expected lines '{expected}'")


def whole_lines(path: str | os.PathLike) -> Iterator[bytes]:
    """Yield a file's content cut at ends of lines, checked to be UTF-8 text."""
    number = 1
    try:
        with _open(path) as file:
            rest = file.read(len(_BOM)).removeprefix(_BOM)
            while chunk := file.read(BLOCK_BYTES):
                data = rest + chunk
                cut = data.rfind(b"\n") + 1
                rest = data[cut:]
                if len(rest) > MAX_LINE_BYTES:
                    raise DataError(f"{path}: has a line of over 1 MiB; it is not a text of trials")
                if cut:
                    yield _checked(data[:cut], path, number)
                    number += data.count(b"\n", 0, cut)
            if rest:
                yield _checked(rest, path, number)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacking gzip, which is known by its first bytes."""
    with open(path, "rb") as raw:
        head = raw.peek(2)
        if head.startswith(_GZIP_MAGIC):
            with gzip.open(raw) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield raw


def _checked(data: bytes, path: str | os.PathLike, number: int) -> bytes:
    """Refuse what is not UTF-8 text, naming its line."""
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = number + data.count(b"\n", 0, error.start)
            raise DataError(f"{path}, line {line}: not UTF-8 text; convert it first") from None
    zero = data.find(b"\0")
    if zero >= 0:
        line = number + data.count(b"\n", 0, zero)
        raise DataError(f"{path}, line {line}: has a zero byte; it is not a text file in UTF-8")
    return data


def _tokens_per_line(data: bytes) -> tuple[np.ndarray, int]:
    """Count the tokens of every line; and the ends of lines."""
    codes = np.frombuffer(data, np.uint8)
    blank = _BLANK[codes]
    starts = ~blank
    starts[1:] &= blank[:-1]
    ends = np.flatnonzero(codes == ord("\n"))
    first = np.concatenate([[0], ends + 1])
    if first[-1] == len(codes):
        first = first[:-1]
    return np.add.reduceat(starts, first, dtype=np.int32), len(ends)
