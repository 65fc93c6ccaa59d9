"""Kaldi archives (ark/scp) of matrices and vectors, through kaldiio.

A writer makes an ark and its scp together, both under temporary names until closed, so that a
killed job leaves no archive that looks whole. The scp holds paths as they were given.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import kaldiio
import numpy as np
from kaldiio.matio import read_kaldi

from ivector.base.errors import DataError, UserError, named
from ivector.base.files import atomic_path, read_lines
from ivector.base.foreign.boundary import foreign, require_room
from ivector.base.foreign.opening import SMALL
from ivector.base.tables.locations import slices_of, split_location
from ivector.data import BLANKS, EDGES

# How an entry of Kaldi's begins. kaldiio reads others too, pickles and sound among them.
_BINARY, _TEXT = b"\0B", frozenset(b" \t\r\n[]0123456789+-.einfaEINFA")

# Bytes of a number, by kind; and of what stands before the numbers.
_ITEMS = {b"FM ": 4, b"DM ": 8, b"FV ": 4, b"DV ": 8}
_LONGEST_HEAD, _LONGEST_KEY = 32, 1 << 16
_TEXT_GROWTH = 40  # of short numbers, as Python's objects

# Kaldi's CompressionMethod.
_COMPRESSION: dict[bool | str, int | None] = {False: None, True: 2, "two-byte": 3}


class ArkWriter:
    """Write matrices or vectors to ``PREFIX.ark`` and ``PREFIX.scp``; use as a context manager.

    Parameters
    ----------
    prefix : path-like
        Path without its ending.
    compress : bool or "two-byte"
        Kaldi's compressed matrices: one byte a number (``CompressedMatrix`` kSpeechFeature), or
        two (kTwoByteAuto), which are exact to half a 65535th of a matrix's range.
    listed_in : path-like, optional
        Folder the scp says the ark is in, where it will be moved after writing.
    list_to : path-like, optional
        Folder that gets the scp instead of the ark's.
    """

    def __init__(
        self,
        prefix: str | os.PathLike,
        compress: bool | str = False,
        listed_in: str | os.PathLike | None = None,
        list_to: str | os.PathLike | None = None,
    ):
        self.ark = Path(f"{os.fspath(prefix)}.ark")
        self.scp = self.ark.with_name(f"{Path(prefix).name}.scp")
        if list_to is not None:
            self.scp = Path(list_to) / self.scp.name
        self._listed = self.ark if listed_in is None else Path(listed_in) / self.ark.name
        self._compression = _COMPRESSION[compress]
        self._stack = contextlib.ExitStack()
        self._lines: list[str] = []

    def __enter__(self) -> ArkWriter:
        temporary = self._stack.enter_context(atomic_path(self.ark))
        self._file = self._stack.enter_context(open(temporary, "wb"))
        return self

    def write(self, key: str, array: np.ndarray) -> None:
        """Append one matrix (n_frames, n_dims) or vector under the utterance id `key`."""
        self._file.write(key.encode() + b" ")
        self._lines.append(f"{key} {self._listed}:{self._file.tell()}\n")
        kaldiio.save_mat(
            self._file, np.ascontiguousarray(array), compression_method=self._compression
        )

    def __exit__(self, kind, value, traceback):
        if kind is None:
            self._file.flush()
            os.fsync(self._file.fileno())
        closed = self._stack.__exit__(kind, value, traceback)
        if kind is None:
            with atomic_path(self.scp) as temporary:
                temporary.write_text("".join(self._lines), encoding="utf-8")
        return closed


def read_ark(path: str | os.PathLike) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (utterance id, array) of an archive in its order.

    Raises
    ------
    DataError
        The archive is missing, cut in the middle, or something else; names the last good id.
    """
    last = "none"
    with foreign(path, "an archive"), open(path, "rb") as file:
        while True:
            with _whole(f"{path}: the archive is cut or damaged after utterance {last}"):
                if not (key := _read_key(file)):
                    return
                array = _read_entry(file, f"{path}: {key}")
            last = key
            yield key, array


def read_scp(path: str | os.PathLike) -> dict[str, str]:
    """Read an scp as {utterance id: location in an ark}, in its order.

    Raises
    ------
    DataError
        A line without a location, a duplicate id, or a shell pipe (never run here).
    """
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        key, _, location = BLANKS.sub(" ", line.strip(EDGES), count=1).partition(" ")
        if not key:
            continue
        if not location:
            raise DataError(f"{path}, line {number}: expected 'id location', got {line!r}")
        if "|" in (location[0], location[-1], split_location(location)[0][-1:]):
            raise DataError(f"{path}, line {number}: {key}: shell pipes are not run; make files")
        if key in table:
            raise DataError(f"{path}, line {number}: duplicate id {key}")
        table[key] = location
    return table


def load_array(key: str, location: str) -> np.ndarray:
    """Load one array of an scp table.

    Raises
    ------
    DataError
        Names the utterance and the archive.
    """
    path, offset, ranges = split_location(location)
    with named(key), foreign(path, "an archive"), open(path, "rb") as file:
        with _whole(f"{location}: the archive is cut or damaged"):
            file.seek(offset)
            array = _read_entry(file, location)
        return array[slices_of(ranges, array.shape, location)]


@contextlib.contextmanager
def _whole(complaint: str) -> Iterator[None]:
    """Turn what a cut or foreign entry makes libraries raise into a DataError of these words."""
    try:
        yield
    except (OSError, MemoryError, UserError):
        raise
    except Exception as error:
        raise DataError(f"{complaint}; make it again") from error


def _read_key(file: BinaryIO) -> str:
    """Read an id and the blank behind it; '' at the end of the archive."""
    key = bytearray()
    while byte := file.read(1):
        if not byte.isspace():
            key += byte
        elif key:
            break
        if len(key) > _LONGEST_KEY:
            raise ValueError("no id")
    return key.decode()


def _read_entry(file: BinaryIO, where: str) -> np.ndarray:
    """Read one matrix or vector where the file stands; nothing else, and no pickle."""
    begin = file.read(5)
    file.seek(-len(begin), os.SEEK_CUR)
    if begin.startswith(_BINARY):
        if len(begin) < 5:  # kaldiio would go back by 5, and read earlier entries again, for ever
            raise ValueError("cut")
        _require_size(file)
        return np.asarray(read_kaldi(file))
    if not _TEXT.issuperset(begin):
        raise ValueError("no matrix or vector")
    return _read_text(file, where)


def _require_size(file: BinaryIO) -> None:
    """Refuse a binary entry that declares more than the file holds, before kaldiio makes room."""
    begin = file.tell()
    head = file.read(_LONGEST_HEAD)
    file.seek(begin)
    kind = head[2:5]
    if kind[:1] == b"\4":
        n_numbers, wanted = _size(struct.unpack_from("<i", head, 3)), 5
    elif kind in _ITEMS and kind[1:2] == b"V":
        n_numbers, wanted = _size(struct.unpack_from("<i", head, 6)), _ITEMS[kind]
    elif kind in _ITEMS:
        n_numbers, wanted = _size(struct.unpack_from("<ixi", head, 6)), _ITEMS[kind]
    else:
        at = 13 + (kind[2:] != b" ")
        n_numbers, wanted = _size(struct.unpack_from("<ii", head, at)), 2 if kind == b"CM2" else 1
    if n_numbers * wanted > os.fstat(file.fileno()).st_size - begin:
        raise ValueError("cut")
    require_room(file.name, 8 * n_numbers, "a matrix")


def _size(sizes: tuple[int, ...]) -> int:
    if min(sizes) < 0:
        raise ValueError("a negative size")
    return math.prod(sizes)


def _read_text(file: BinaryIO, where: str) -> np.ndarray:
    """Read numbers in brackets, or one line of them: int32 where all are whole, or float32."""
    text = _text(file)
    if text.startswith(b"[") != text.endswith(b"]") or not text:
        raise ValueError("no closing bracket")
    rows = [row.split() for row in text.strip(b"[]").split(b"\n")]
    values = np.array([[float(x) for x in row] for row in rows if row])
    if not np.isfinite(values).all():
        raise DataError(
            f"{where}: holds NaN or infinity; find out how that came about, or leave it out"
        )
    whole = values.size and all(x.lstrip(b"+-").isdigit() for row in rows for x in row)
    small = np.abs(values).max(initial=0) <= np.iinfo(np.int32).max
    values = values.astype(np.int32 if whole and small else np.float32)
    return values if len(rows) > 1 else values.reshape(-1)


def _text(file: BinaryIO) -> bytes:
    """The lines of one entry of text, so long as its numbers have room."""
    line = b"\n"
    while line and not line.strip():
        line = file.readline(SMALL)
    lines, n_bytes = [line], len(line)
    while line and b"[" in lines[0] and b"]" not in line:
        line = file.readline(SMALL)
        lines.append(line)
        n_bytes += len(line)
        if n_bytes > SMALL:
            require_room(file.name, _TEXT_GROWTH * n_bytes, "an entry of text")
    return b"".join(lines).strip()


def load_scp(
    table: dict[str, str], keys: Iterable[str] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (utterance id, array) lazily for `keys` (default: all, in the table's order)."""
    for key in table if keys is None else keys:
        if key not in table:
            raise DataError(f"utterance {key} has no entry in the scp")
        yield key, load_array(key, table[key])


def read_matrix(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Read an archive (.ark) or list (.scp) of equally long vectors as (ids, matrix).

    Returns
    -------
    ids : list of str
    vectors : ndarray (n_vectors, n_dims)
    """
    path = Path(path)
    pairs = load_scp(read_scp(path)) if path.suffix == ".scp" else read_ark(path)
    ids: list[str] = []
    rows: list[np.ndarray] = []
    for key, row in pairs:
        if rows and row.shape != rows[0].shape:
            raise DataError(f"{path}: {key} has shape {row.shape}, the first has {rows[0].shape}")
        ids.append(key)
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: holds no vectors")
    return ids, np.stack(rows)
