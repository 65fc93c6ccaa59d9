"""Members of an ``.npz``, each read when asked for and after its declared size was looked at.

NumPy allocates what a header declares and unpacks what a zip holds. Here the header of an array,
the length of its member and the size of the file have to agree before anything is allocated, and
what nobody asks for is not read.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import foreign, require_room
from ivector.base.foreign.opening import MOST_PACKED, SMALL

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_ENCRYPTED = 1


class Declared(NamedTuple):
    """What the header of an array says, what stands before its numbers, and their order."""

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    by_columns: bool = False

    @property
    def n_bytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


class Arrays(Mapping[str, np.ndarray]):
    """Arrays of an open ``.npz`` by name; made by `open_arrays`."""

    def __init__(self, path: str | os.PathLike, archive: zipfile.ZipFile, what: str):
        self._path, self._archive, self._what = path, archive, what
        size = os.path.getsize(path)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in self._members:
                raise self._fail(f"it holds {name[:60]!r} twice")
            if member.compress_size > size:
                raise self._fail(f"{name[:60]!r} claims to be longer than the file")
            self._members[name] = member

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> np.ndarray:
        """Read an array; raises DataError where it is damaged, KeyError where there is none."""
        declared, member = self.declared(name), self._members[name]
        what = f"{name[:60]!r}, an array {declared.shape}"
        require_room(self._path, declared.n_bytes, what, member.compress_size)
        with self._archive.open(member) as file:
            array = npy.read_array(file, allow_pickle=False)
            if file.read(1):  # which checks its sum, too
                raise self._fail(f"{name[:60]!r} goes on behind its array")
        return array

    def declared(self, name: str) -> Declared:
        """What the header of an array says; it has to agree with the length of its member."""
        member = self._members[name]
        if member.flag_bits & _ENCRYPTED:
            raise self._fail(f"{name[:60]!r} is encrypted")
        with self._archive.open(member) as file:
            declared = _read_header(file)
            dtype = declared.dtype
        if dtype.hasobject or dtype.kind == "V" or not dtype.itemsize:
            raise self._fail(f"{name[:60]!r} holds {dtype} and no numbers or texts")
        if declared.start + declared.n_bytes != member.file_size:
            raise self._fail(f"{name[:60]!r} is not as long as its header says")
        return declared

    def _fail(self, why: str) -> DataError:
        return DataError(f"{self._path}: not {self._what}, or damaged: {why}; make it again")

    def rows(self, name: str, n_rows: int) -> Iterator[np.ndarray]:
        """Yield an array in order, `n_rows` of its first axis at a time and no more in memory.

        Raises
        ------
        DataError
            As for reading all of it.
        """
        declared, member = self.declared(name), self._members[name]
        if declared.by_columns and len(declared.shape) > 1:
            array = self[name]
            yield from (array[start : start + n_rows] for start in range(0, len(array), n_rows))
            return
        if declared.n_bytes > max(SMALL, MOST_PACKED * member.compress_size):
            raise self._fail(f"{name[:60]!r} unpacks to far more than real data do")
        with self._archive.open(member) as file:
            file.read(declared.start)
            yield from _rows(file, declared, n_rows)
            if file.read(1):  # which checks its sum, too
                raise self._fail(f"{name[:60]!r} goes on behind its array")


def _rows(file: IO[bytes], declared: Declared, n_rows: int) -> Iterator[np.ndarray]:
    """Rows of the array whose numbers follow in an open file."""
    row = declared.shape[1:]
    n_bytes = math.prod(row) * declared.dtype.itemsize
    for start in range(0, declared.shape[0], n_rows):
        n = min(n_rows, declared.shape[0] - start)
        yield np.frombuffer(file.read(n * n_bytes), declared.dtype).reshape(n, *row)


def npy_rows(path: str | os.PathLike, what: str, n_rows: int) -> Iterator[np.ndarray]:
    """Yield the array of an ``.npy`` in order, `n_rows` of its first axis at a time.

    Raises
    ------
    DataError
        It is no such file, cut, has no rows, or holds objects, which would be unpickled.
    """
    with foreign(path, what), open(path, "rb") as file:
        declared = _read_header(file)
        size = os.path.getsize(path)
        if declared.dtype.hasobject or declared.start + declared.n_bytes != size:
            raise DataError(f"{path}: not {what}, or damaged: it is not as long as its header says")
        if declared.by_columns and len(declared.shape) > 1:
            require_room(path, declared.n_bytes, f"an array {declared.shape}")
            file.seek(0)
            array = npy.read_array(file, allow_pickle=False)
            yield from (array[start : start + n_rows] for start in range(0, len(array), n_rows))
            return
        yield from _rows(file, declared, n_rows)


def _read_header(file: IO[bytes]) -> Declared:
    shape, by_columns, dtype = _HEADERS[npy.read_magic(file)](file)  # type: ignore[arg-type]
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError("a negative size")
    return Declared(shape, dtype, file.tell(), by_columns)


@contextmanager
def open_arrays(path: str | os.PathLike, what: str) -> Iterator[Arrays]:
    """Open an ``.npz``.

    Parameters
    ----------
    path : path-like
    what : str
        What it should be, "a model file of this toolkit".

    Yields
    ------
    Arrays
        Nothing is read from it until a member is asked for, within the block.

    Raises
    ------
    DataError
        It is no such file, damaged, or too large; also of what goes wrong within the block.
    """
    with foreign(path, what), zipfile.ZipFile(path) as archive:
        yield Arrays(path, archive, what)
