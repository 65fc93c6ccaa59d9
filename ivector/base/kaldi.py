"""Kaldi's basic types on disk, text and binary: tokens, numbers, vectors, (packed) matrices.

Follows ``base/io-funcs.h``, ``matrix/kaldi-vector.cc`` and ``matrix/packed-matrix.cc``. A binary
object starts with the two bytes ``\\0B``; text is told from binary by them, as in Kaldi.
Feature and vector archives (ark/scp) are read through kaldiio instead; this module serves the
model files (``final.dubm``, ``final.ubm``, ``final.ie``, ``plda``), whose layout kaldiio
does not know.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterable
from typing import IO

import numpy as np

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import read_bytes

_BINARY = b"\0B"
_DTYPES: dict[bytes, np.dtype] = {b"F": np.dtype("<f4"), b"D": np.dtype("<f8")}


class KaldiReader:
    """Reads Kaldi's basic types one after the other from a whole file in memory.

    Parameters
    ----------
    source : path-like or bytes
        The file, or its content.
    name : str, optional
        What error messages call it; defaults to the path.

    Raises
    ------
    DataError
        From every method: the file is missing, cut short or not what was asked for.
    """

    def __init__(self, source: str | os.PathLike | bytes, name: str | None = None):
        if isinstance(source, bytes):
            data, self.name = source, name or "<bytes>"
        else:
            self.name = name or os.fspath(source)
            data = read_bytes(source, "a Kaldi model file")
        self.binary = data.startswith(_BINARY)
        self._data = data
        self._pos = 2 if self.binary else 0

    def fail(self, what: str) -> DataError:
        """Make the error that says `what` is wrong, and where."""
        return DataError(f"{self.name}: {what} (at byte {self._pos}); is it a Kaldi model file?")

    def at_end(self) -> bool:
        """Whether nothing but white space is left."""
        return (
            not self._data[self._pos :].strip()
            if not self.binary
            else (self._pos >= len(self._data))
        )

    def token(self) -> str:
        """Read one token, such as ``<DiagGMM>``."""
        data, start = self._data, self._pos
        while start < len(data) and data[start : start + 1].isspace():
            start += 1
        end = start
        while end < len(data) and not data[end : end + 1].isspace():
            end += 1
        if start == end:
            raise self.fail("ends where a token was expected")
        self._pos = end + 1 if self.binary else end
        return data[start:end].decode("ascii", "replace")

    def peek(self) -> str:
        """Look at the next token without reading it."""
        pos = self._pos
        try:
            return self.token()
        finally:
            self._pos = pos

    def expect(self, *tokens: str) -> str:
        """Read one token that must be among `tokens`, and return it."""
        found = self.token()
        if found not in tokens:
            raise self.fail(f"expected {' or '.join(tokens)}, found {found[:40]!r}")
        return found

    def _take(self, size: int) -> bytes:
        chunk = self._data[self._pos : self._pos + size]
        if size < 0 or len(chunk) != size:
            raise self.fail("is cut short")
        self._pos += size
        return chunk

    def int32(self) -> int:
        """Read an integer."""
        if self.binary:
            if self._take(1) != b"\4":
                raise self.fail("expected a 4-byte integer")
            return int(struct.unpack("<i", self._take(4))[0])
        number = self._number()
        if not number.is_integer():
            raise self.fail(f"expected an integer, found {number}")
        return int(number)

    def count(self, least: int = 0) -> int:
        """Read a number of things that follow, each of which takes a byte at least."""
        number = self.int32()
        if not least <= number <= len(self._data):
            raise self.fail(f"promises {number} of what it does not hold")
        return number

    def end(self) -> None:
        """Refuse what follows a model."""
        if not self.at_end():
            raise self.fail("goes on behind the model")

    def uint16(self) -> int:
        """Read a whole number without sign, such as flags."""
        if not self.binary:
            return self.int32()
        if self._take(1) != b"\xfe":  # −2 bytes
            raise self.fail("expected a 2-byte number")
        return int(struct.unpack("<H", self._take(2))[0])

    def real(self) -> float:
        """Read a float or double."""
        if self.binary:
            size = self._take(1)
            if size == b"\4":
                return float(struct.unpack("<f", self._take(4))[0])
            if size == b"\10":
                return float(struct.unpack("<d", self._take(8))[0])
            raise self.fail("expected a 4- or 8-byte real number")
        return self._number()

    def boolean(self) -> bool:
        """Read ``T`` or ``F``."""
        if self.binary:
            return self._take(1) == b"T"
        return self.expect("T", "F") == "T"

    def _number(self) -> float:
        token = self.token()
        try:
            return float(token)
        except ValueError:
            raise self.fail(f"expected a number, found {token[:40]!r}") from None

    def vector(self) -> np.ndarray:
        """Read a vector (n,), in the precision it was written with (text: float64)."""
        if self.binary:
            dtype = self._dtype(b"V")
            return self._array(self.count(), dtype)
        rows = self._text_rows()
        return np.array([x for row in rows for x in row])

    def matrix(self) -> np.ndarray:
        """Read a matrix (n_rows, n_columns)."""
        if self.binary:
            dtype = self._dtype(b"M")
            n_rows, n_cols = self.count(), self.count()
            return self._array(n_rows * n_cols, dtype).reshape(n_rows, n_cols)
        rows = self._text_rows()
        if len({len(row) for row in rows}) > 1:
            raise self.fail("a matrix has rows of different lengths")
        return np.array(rows).reshape(len(rows), -1) if rows else np.empty((0, 0))

    def packed(self) -> np.ndarray:
        """Read a packed symmetric matrix as its lower triangle row by row, (n (n + 1) / 2,)."""
        if self.binary:
            dtype = self._dtype(b"P")
            n = self.count()
            return self._array(n * (n + 1) // 2, dtype)
        rows = self._text_rows()
        if [len(row) for row in rows] != list(range(1, len(rows) + 1)):
            raise self.fail("a packed matrix is not lower-triangular")
        return np.array([x for row in rows for x in row])

    def _dtype(self, kind: bytes) -> np.dtype:
        mark = self._take(3)
        if mark[:1] not in _DTYPES or mark[1:] != kind + b" ":
            raise self.fail(f"expected an object of kind {kind.decode()}, found {mark!r}")
        return _DTYPES[mark[:1]]

    def _array(self, size: int, dtype: np.dtype) -> np.ndarray:
        return np.frombuffer(self._take(size * dtype.itemsize), dtype).copy()

    def _text_rows(self) -> list[list[float]]:
        data = self._data
        start = data.find(b"[", self._pos)
        if start < 0 or data[self._pos : start].strip():
            raise self.fail("expected '['")
        end = data.find(b"]", start)
        if end < 0:
            raise self.fail("is cut short: no closing ']'")
        try:
            rows = [[float(x) for x in line.split()] for line in data[start + 1 : end].split(b"\n")]
        except ValueError:
            raise self.fail("holds something that is not a number") from None
        self._pos = end + 1
        return [row for row in rows if row]


class KaldiWriter:
    """Writes Kaldi's basic types to an open binary file.

    Parameters
    ----------
    file : binary file
    binary : bool
        Kaldi's binary form; otherwise text with Kaldi's 7 significant digits where they read
        back exactly, else 9 (float) or 17 (double).
    dtype : {"f4", "f8"}
        Kaldi's ``BaseFloat`` is "f4"; extractors and PLDA are double, "f8".
    """

    def __init__(self, file: IO[bytes], binary: bool = True, dtype: str = "f4"):
        self._file = file
        self.binary = binary
        self._dtype = np.dtype("<" + dtype)
        self._mark = b"F" if dtype == "f4" else b"D"
        if binary:
            file.write(_BINARY)

    def token(self, text: str) -> None:
        """Write one token."""
        self._file.write(text.encode("ascii") + b" ")

    def newline(self) -> None:
        """End a line (text only)."""
        if not self.binary:
            self._file.write(b"\n")

    def int32(self, value: int) -> None:
        """Write an integer."""
        self._file.write(b"\4" + struct.pack("<i", value) if self.binary else b"%d " % value)

    def real(self, value: float) -> None:
        """Write a number in this writer's precision."""
        if self.binary:
            size = struct.pack("b", self._dtype.itemsize)
            self._file.write(size + self._dtype.type(value).tobytes())
        else:
            self._file.write(self._format([value]) + b" ")

    def uint16(self, value: int) -> None:
        """Write a whole number without sign."""
        if self.binary:
            self._file.write(b"\xfe" + struct.pack("<H", value))
        else:
            self.int32(value)

    def boolean(self, value: bool) -> None:
        """Write ``T`` or ``F``."""
        self._file.write((b"T" if value else b"F") + (b"" if self.binary else b" "))

    def vector(self, values: np.ndarray) -> None:
        """Write a vector (n,)."""
        values = np.asarray(values, self._dtype)
        if self.binary:
            self._file.write(self._mark + b"V ")
            self.int32(len(values))
            self._file.write(values.tobytes())
        else:
            self._file.write(b" [ " + self._format(values) + b" ]\n")

    def matrix(self, values: np.ndarray) -> None:
        """Write a matrix (n_rows, n_columns)."""
        values = np.ascontiguousarray(values, self._dtype)
        if self.binary:
            self._file.write(self._mark + b"M ")
            self.int32(values.shape[0])
            self.int32(values.shape[1])
            self._file.write(values.tobytes())
        else:
            self._text_matrix(values)

    def packed(self, values: np.ndarray) -> None:
        """Write a packed symmetric matrix given as its lower triangle row by row."""
        values = np.ascontiguousarray(values, self._dtype)
        n = packed_size_to_dim(len(values))
        if self.binary:
            self._file.write(self._mark + b"P ")
            self.int32(n)
            self._file.write(values.tobytes())
        else:
            rows = [self._format(values[i * (i + 1) // 2 :][: i + 1]) for i in range(n)]
            self._file.write(b"[\n" + b" \n".join(rows) + b" ]\n")

    def _format(self, values: Iterable[float]) -> bytes:
        return " ".join(map(self._number, values)).encode()

    def _number(self, value: float) -> str:
        # Text made by Kaldi has 7 digits, ours of floats 9; what was read is written as it stood.
        for digits in (7, 9, 17):
            text = f"{float(value):.{digits}g}"
            if self._dtype.type(text) == value:
                break
        return text

    def _text_matrix(self, rows: Iterable[np.ndarray]) -> None:
        self._file.write(b" [")
        for row in rows:
            self._file.write(b"\n  " + self._format(row) + b" ")
        self._file.write(b"]\n")


def packed_size_to_dim(size: int) -> int:
    """Dimension n of a packed symmetric matrix of n (n + 1) / 2 numbers."""
    n = int((np.sqrt(8 * size + 1) - 1) / 2 + 0.5)
    if n * (n + 1) // 2 != size:
        raise DataError(f"{size} numbers are not a packed symmetric matrix")
    return n


def pack(full: np.ndarray) -> np.ndarray:
    """Lower triangles, row by row, of symmetric matrices (..., n, n) → (..., n (n + 1) / 2)."""
    rows, cols = np.tril_indices(full.shape[-1])
    return full[..., rows, cols]


def unpack(packed: np.ndarray) -> np.ndarray:
    """Symmetric matrices from their packed lower triangles; inverse of `pack`."""
    n = packed_size_to_dim(packed.shape[-1])
    rows, cols = np.tril_indices(n)
    full = np.empty((*packed.shape[:-1], n, n), packed.dtype)
    full[..., rows, cols] = packed
    full[..., cols, rows] = packed
    return full


def read_vectors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a Kaldi text archive of vectors (``utt  [ 1 2 3 ]``), one a line."""
    from ivector.base.files import read_lines

    vectors: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_lines(path), 1):
        key, vector = vector_of_line(path, number, line)
        if not key:
            continue
        if key in vectors:
            raise DataError(f"{path}, line {number}: id {key} occurs twice; ids must be unique")
        vectors[key] = vector
    return vectors


def vector_of_line(path: str | os.PathLike, number: int, line: str) -> tuple[str, np.ndarray]:
    """Id and vector (n,) of a line of a text archive; an empty id for an empty line."""
    key, _, rest = line.replace("\t", " ").strip(" ").partition(" ")
    rest = rest.strip()
    if not key:
        return "", np.empty(0)
    try:
        if not (rest.startswith("[") and rest.endswith("]")):
            raise ValueError
        return key, np.array(rest[1:-1].split(), float)
    except ValueError:
        raise DataError(
            f"{path}, line {number}: expected 'id [ number ... ]'; cut, or another kind of file"
        ) from None


def to_bytes(write: Callable[[KaldiWriter], None], binary: bool = True, dtype: str = "f4") -> bytes:
    """Bytes that ``write(KaldiWriter)`` produces; for tests and for writing whole files."""
    buffer = io.BytesIO()
    write(KaldiWriter(buffer, binary, dtype))
    return buffer.getvalue()
