"""Kaldi's archives of vectors, binary and text, and lists of places in them (scp), as streams.

Of whatever size: a few megabytes are in memory at a time.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import foreign
from ivector.base.kaldi import vector_of_line

Block = tuple[list[str], np.ndarray]
WHAT = "an archive of vectors"
_CHUNK = 1 << 22
_LARGEST = 1 << 24  # of a vector's entry in an archive, in bytes: beyond it the file is damaged
# \0B, FV or DV and a space, \4 and the dimension.
_HEADER = struct.Struct("<5sbi")
_DTYPES: dict[bytes, np.dtype] = {b"\0BFV ": np.dtype("<f4"), b"\0BDV ": np.dtype("<f8")}
_PLACE = re.compile(r"(.+?):(\d+)")


def ark_blocks(path: Path, n_rows: int) -> Iterator[Block]:
    """Yield ids and vectors (n, D) of an archive, binary or text."""
    with foreign(path, WHAT), open(path, "rb") as file:
        start = file.read(1 << 16)
        file.seek(0)
        key_end = start.find(b" ")
        is_binary = start[key_end + 1 : key_end + 3] == b"\0B"
        yield from (_binary_blocks if is_binary else _text_blocks)(path, file, n_rows)


def _binary_blocks(path: Path, file: IO[bytes], n_rows: int) -> Iterator[Block]:
    last, data = "none", b""
    keys: list[str] = []
    rows: list[np.ndarray] = []
    while chunk := file.read(_CHUNK):
        data, position = data + chunk, 0
        while True:
            key_end = data.find(b" ", position)
            start = key_end + 1 + _HEADER.size
            if key_end < 0 or start > len(data):
                break
            dtype, n_dims = _entry(
                data, key_end + 1, f"{path}: cut, or not {WHAT}, after id {last}"
            )
            end = start + n_dims * dtype.itemsize
            if end > len(data):
                break
            last = data[position:key_end].decode("utf-8", "replace")
            row = np.frombuffer(data, dtype, n_dims, start)
            if rows and (len(row) != len(rows[0]) or dtype != rows[0].dtype or len(rows) >= n_rows):
                yield keys, np.stack(rows)
                keys, rows = [], []
            keys.append(last)
            rows.append(row)
            position = end
        if rows:
            yield keys, np.stack(rows)
            keys, rows = [], []
        data = data[position:]
        if len(data) > _LARGEST:
            break
    if data:
        raise DataError(f"{path}: cut, or not {WHAT}, after id {last}")


def _entry(data: bytes, start: int, complaint: str) -> tuple[np.dtype, int]:
    """Type and dimension of the binary vector whose header is at `start`."""
    mark, size, n_dims = _HEADER.unpack_from(data, start)
    dtype = _DTYPES.get(mark)
    if dtype is None or size != 4 or n_dims < 0:
        raise DataError(complaint)
    return dtype, n_dims


def _text_blocks(path: Path, file: IO[bytes], n_rows: int) -> Iterator[Block]:
    keys: list[str] = []
    rows: list[np.ndarray] = []
    for number, line in enumerate(file, 1):
        key, row = vector_of_line(path, number, line.decode("utf-8-sig").rstrip("\r\n"))
        if not key:
            continue
        if rows and (len(row) != len(rows[0]) or len(rows) >= n_rows):
            yield keys, np.stack(rows)
            keys, rows = [], []
        keys.append(key)
        rows.append(row)
    if rows:
        yield keys, np.stack(rows)


def scp_blocks(path: Path, n_rows: int) -> Iterator[Block]:
    """Yield ids and vectors (n, D) that a list ``id archive:byte`` names, in its order."""
    keys: list[str] = []
    rows: list[np.ndarray] = []
    with foreign(path, "a list of vectors"), open(path, "rb") as lines, _Archives() as archives:
        for number, line in enumerate(lines, 1):
            key, _, place = line.decode("utf-8-sig").strip().replace("\t", " ").partition(" ")
            if not key:
                continue
            found = _PLACE.fullmatch(place.strip())
            if not found:
                raise DataError(
                    f"{path}, line {number}: expected 'id archive:byte', got {line[:80]!r}; "
                    "commands are not run, nor ranges cut out: write an archive of what they give"
                )
            row = archives.vector(key, Path(found[1]), int(found[2]))
            if rows and (len(row) != len(rows[0]) or row.dtype != rows[0].dtype):
                yield keys, np.stack(rows)
                keys, rows = [], []
            keys.append(key)
            rows.append(row)
            if len(rows) >= n_rows:
                yield keys, np.stack(rows)
                keys, rows = [], []
    if rows:
        yield keys, np.stack(rows)


class _Archives:
    """Binary archives that a list names, one of them open at a time; a context manager."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Archives:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def vector(self, key: str, path: Path, start: int) -> np.ndarray:
        """The vector (D,) at a byte of an archive."""
        with foreign(path, WHAT):
            if path != self._path or self._file is None:
                self.__exit__()
                self._path, self._file = path, open(path, "rb")
            self._file.seek(start)
            head = self._file.read(_HEADER.size)
            complaint = f"{path}: has no binary vector for {key} at byte {start}, or is cut"
            if len(head) < _HEADER.size:
                raise DataError(complaint)
            dtype, n_dims = _entry(head, 0, complaint)
            n_bytes = n_dims * dtype.itemsize
            data = self._file.read(n_bytes) if n_bytes <= _LARGEST else b""
            if len(data) < n_bytes:
                raise DataError(complaint)
            return np.frombuffer(data, dtype)
