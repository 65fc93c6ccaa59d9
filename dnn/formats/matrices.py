"""Binary Kaldi matrices in archives, of which some frames are read without the others.

`ivector.formats.arks` reads whole matrices; a crop of 3 s from an utterance of 20 s needs a
seventh of it. Plain matrices (``FM``, ``DM``) and those compressed row by row (``CM2``, ``CM3``)
give up their rows alone; in ``CM`` the columns stand one after the other, and the wanted part of
each is unpacked. Follows Kaldi's ``matrix/kaldi-matrix.cc`` and ``matrix/compressed-matrix.cc``.

T  frames, rows of a matrix
D  dimensions of a frame, columns
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from mmap import mmap
from typing import NamedTuple

import numpy as np

from ivector.base.errors import DataError

_PLAIN: dict[bytes, np.dtype] = {b"FM ": np.dtype("<f4"), b"DM ": np.dtype("<f8")}
# Numbers of a matrix that is compressed row by row, and the code of its largest value.
_ROWS: dict[bytes, tuple[np.dtype, float]] = {
    b"CM2": (np.dtype("<u2"), 65535.0),
    b"CM3": (np.dtype("<u1"), 255.0),
}
_KNOT = np.dtype("<u2")
_LOCATION = re.compile(r"(?P<file>.+):(?P<offset>\d{1,18})(?:\[(?P<range>[^\]]*)\])?")
_ROW_RANGE = re.compile(r"(\d{1,18}):(\d{1,18})")


class Header(NamedTuple):
    """What stands before a matrix: its kind, size, where the numbers are, and their range."""

    kind: bytes
    n_rows: int
    n_columns: int
    data: int
    low: float = 0.0
    span: float = 0.0

    @property
    def end(self) -> int:
        """Position behind the matrix."""
        size = self.n_rows * self.n_columns
        if self.kind in _PLAIN:
            return self.data + size * _PLAIN[self.kind].itemsize
        if self.kind in _ROWS:
            return self.data + size * _ROWS[self.kind][0].itemsize
        return self.data + size


class Place(NamedTuple):
    """Where an scp says that a matrix is: file, position, and first and last row or None."""

    file: str
    offset: int
    rows: tuple[int, int] | None


def parse_location(key: str, location: str) -> Place:
    """Take an scp's location apart, ``FILE:OFFSET`` or ``FILE:OFFSET[FIRST:LAST]``.

    The rows of a range count from 0 and include the last, as Kaldi has it. A file without offset
    holds one matrix.

    Raises
    ------
    DataError
        A range of columns, or one that makes no sense.
    """
    found = _LOCATION.fullmatch(location)
    if found is None:
        return Place(location, 0, None)
    rows = None
    if found["range"] is not None:
        limits = _ROW_RANGE.fullmatch(found["range"])
        if limits is None:
            raise DataError(f"{key}: {location}: only a range of rows, [FIRST:LAST], can be read")
        rows = (int(limits[1]), int(limits[2]))
        if rows[1] < rows[0]:
            raise DataError(f"{key}: {location}: the range of rows is empty")
    return Place(found["file"], int(found["offset"]), rows)


def read_header(buffer: mmap, offset: int) -> Header:
    """Read what stands before the matrix at `offset`.

    Raises
    ------
    ValueError
        There is no binary matrix, or the file ends before it does; the text says which.
    """
    if offset >= len(buffer):
        raise ValueError("the archive ends before it")
    start = buffer[offset : offset + 6]
    if start[:2] != b"\0B":
        raise ValueError("no binary Kaldi matrix there; convert text with copy-feats")
    kind = start[2:5]
    try:
        header = _sizes(buffer, offset, kind)
    except struct.error:
        raise ValueError("the archive is cut within its header; make it again") from None
    if header.n_rows < 0 or header.n_columns < 0:
        raise ValueError("the header of the matrix is damaged; make the archive again")
    if header.end > len(buffer):
        missing = header.end - len(buffer)
        raise ValueError(f"the archive is cut, {missing} bytes are missing; make it again")
    return header


def _sizes(buffer: mmap, offset: int, kind: bytes) -> Header:
    if kind in _PLAIN:
        four, n_rows, also_four, n_columns = struct.unpack_from("<bibi", buffer, offset + 5)
        if (four, also_four) != (4, 4):
            raise ValueError("the header of the matrix is damaged; make the archive again")
        return Header(kind, n_rows, n_columns, offset + 15)
    if kind in _ROWS or kind == b"CM ":
        begin = offset + 5 + (kind in _ROWS)
        low, span, n_rows, n_columns = struct.unpack_from("<ffii", buffer, begin)
        knots = 0 if kind in _ROWS else 4 * _KNOT.itemsize * n_columns
        return Header(kind, n_rows, n_columns, begin + 16 + knots, low, span)
    raise ValueError(f"an object of kind {kind.strip().decode('latin-1')!r} is no matrix")


def read_rows(buffer: mmap, header: Header, start: int, stop: int) -> np.ndarray:
    """Read rows `start` up to `stop` of a matrix.

    Returns
    -------
    ndarray (stop - start, n_columns), float32
    """
    n_rows, n_columns = stop - start, header.n_columns
    if header.kind == b"CM ":
        return _read_columns(buffer, header, start, n_rows)
    dtype, largest = _ROWS.get(header.kind) or (_PLAIN[header.kind], 0.0)
    offset = header.data + start * n_columns * dtype.itemsize
    flat = np.frombuffer(buffer, dtype, n_rows * n_columns, offset)
    rows = flat.astype(np.float32).reshape(n_rows, n_columns)
    if largest:
        rows *= np.float32(header.span / largest)
        rows += np.float32(header.low)
    return rows


def _read_columns(buffer: mmap, header: Header, start: int, n_rows: int) -> np.ndarray:
    from dnn.formats.kernels_matrices import unpack_columns

    shape = (header.n_columns, header.n_rows)
    before = header.data - 4 * _KNOT.itemsize * header.n_columns
    codes = np.frombuffer(buffer, np.uint8, header.n_columns * header.n_rows, header.data)
    knots = np.frombuffer(buffer, _KNOT, 4 * header.n_columns, before).astype(np.float32)
    knots = np.float32(header.low) + knots * np.float32(header.span) / np.float32(65535.0)
    out = np.empty((n_rows, header.n_columns), np.float32)
    unpack_columns(codes.reshape(shape), knots.reshape(-1, 4), start, out)
    return out


def locate(
    table: Mapping[str, str],
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Sort the locations of an scp table into files.

    Returns
    -------
    files : list of str
    numbers : ndarray (n,), int64
        Which of the files each utterance is in.
    offsets : ndarray (n,), int64
    ranges : ndarray (n, 2), int64
        First and last row; −1 for all.
    """
    places = [parse_location(key, location) for key, location in table.items()]
    files = {os.fspath(name): i for i, name in enumerate(dict.fromkeys(p.file for p in places))}
    numbers = np.array([files[place.file] for place in places], np.int64)
    offsets = np.array([place.offset for place in places], np.int64)
    ranges = np.array([place.rows or (-1, -1) for place in places], np.int64).reshape(-1, 2)
    return list(files), numbers, offsets, ranges
