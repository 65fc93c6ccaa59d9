"""What entries of Kaldi's tables hold, each with how it is read and written.

A `Holder` reads one entry where a `Source` stands, binary or text as the entry itself says, and
writes one. Text has the seven digits that Kaldi prints.

Dimension legend: T frames, D dimensions, N numbers or Gaussians of a frame.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import numpy as np

from ivector.base.errors import DataError

_CHUNK = 1 << 24  # bytes that are read at once: a declared size is not believed
_MOST_ITEMS = 1 << 20  # of a run: Gaussians of a frame
_BINARY = b"\0B"
_ITEM: dict[bytes, np.dtype] = {b"F": np.dtype("<f4"), b"D": np.dtype("<f8")}
_INT = np.dtype([("size", "i1"), ("value", "<i4")])
_PAIR = np.dtype([("int", "i1"), ("index", "<i4"), ("float", "i1"), ("post", "<f4")])


class Damaged(ValueError):
    """Bytes that are no entry of the kind that is read."""


class Source:
    """Bytes of a table in the order in which they come, one byte looked at ahead.

    Parameters
    ----------
    file : binary file
    name : str
        What errors call it.
    """

    def __init__(self, file: IO[bytes], name: str):
        self._file, self.name = file, name
        self._ahead = b""

    def take(self, size: int) -> bytes:
        """The next `size` bytes; `Damaged` if there are fewer."""
        if size < 0:
            raise Damaged("a negative size")
        parts = [self._ahead[:size]]
        self._ahead = self._ahead[size:]
        missing = size - len(parts[0])
        while missing:
            part = self._file.read(min(missing, _CHUNK))
            if not part:
                raise Damaged("cut")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def line(self) -> bytes:
        """The next line with its end; nothing at the end of the file."""
        ahead, self._ahead = self._ahead, b""
        return ahead if ahead.endswith(b"\n") else ahead + self._file.readline()

    def byte(self) -> bytes:
        """The next byte; nothing at the end of the file."""
        ahead, self._ahead = self._ahead, b""
        return ahead or self._file.read(1)

    def back(self, byte: bytes) -> None:
        """Put back the byte that was read last."""
        self._ahead = byte

    def is_binary(self) -> bool:
        """Read the mark of a binary entry, if there is one."""
        first = self.byte()
        if first == b"\0":
            if self.byte() != b"B":
                raise Damaged("neither binary nor text of Kaldi")
            return True
        self.back(first)
        return False

    def int32(self) -> int:
        """A binary whole number."""
        size, value = struct.unpack("<bi", self.take(5))
        if size != 4:
            raise Damaged("no whole number of 4 bytes")
        return value

    def records(self, count: int, size: int) -> tuple[list[int], bytes]:
        """`count` runs of items of `size` bytes: the number that stands before each, and all items.

        Directly from the file, as there are as many runs as frames.
        """
        read, whole = self._file.read, int.from_bytes
        numbers, parts = [], []
        for _ in range(count):
            head = read(5)
            number = whole(head[1:], "little")
            part = read(number * size) if number <= _MOST_ITEMS else b""
            if len(head) != 5 or head[0] != 4 or len(part) != number * size:
                raise Damaged("cut, or no runs")
            numbers.append(number)
            parts.append(part)
        return numbers, b"".join(parts)

    def bracketed(self) -> list[list[bytes]]:
        """Rows of words between [ and ], and nothing else in their lines."""
        parts = [self.line()]
        while parts[-1] and b"]" not in parts[-1]:
            parts.append(self.line())
        before, _, rest = b"".join(parts).partition(b"[")
        inside, close, after = rest.partition(b"]")
        if before.strip() or after.strip() or not close:
            raise Damaged("no numbers in brackets")
        return [words for row in inside.split(b"\n") if (words := row.split())]


class Holder(NamedTuple):
    """A kind of entry: what it is, how one is read, and how one is written (as text or not).

    `load` reads one that is a whole file of a list, where that is not the same.
    """

    what: str
    read: Callable[[Source], Any]
    write: Callable[[IO[bytes], Any, bool], None]
    load: Callable[[str], Any] | None = None


class Posteriors(NamedTuple):
    """Posteriors of the frames of an utterance: indices and posts (T, N), 0 where there is none."""

    indices: np.ndarray
    posts: np.ndarray


# ---- vectors and matrices --------------------------------------------------------------------


def read_matrix(source: Source) -> np.ndarray:
    """A matrix (T, D) of float32 or float64, compressed or not."""
    if not source.is_binary():
        rows = source.bracketed()
        if len({len(row) for row in rows}) > 1:
            raise Damaged("rows of different lengths")
        return _numbers(rows).reshape(len(rows), -1) if rows else np.empty((0, 0), np.float32)
    kind = source.take(3)
    if kind.startswith(b"CM"):
        return _read_compressed(source, kind)
    if kind[:1] not in _ITEM or kind[1:] != b"M ":
        raise Damaged("no matrix")
    n_rows, n_columns = source.int32(), source.int32()
    if min(n_rows, n_columns) < 0:
        raise Damaged("a negative size")
    return _array(source, n_rows * n_columns, _ITEM[kind[:1]]).reshape(n_rows, n_columns)


def read_vector(source: Source) -> np.ndarray:
    """A vector (N,) of float32 or float64."""
    if not source.is_binary():
        rows = source.bracketed()
        if len(rows) > 1:
            raise Damaged("a matrix and no vector")
        return _numbers(rows).reshape(-1)
    kind = source.take(3)
    if kind[:1] not in _ITEM or kind[1:] != b"V ":
        raise Damaged("no vector")
    return _array(source, source.int32(), _ITEM[kind[:1]])


def _array(source: Source, size: int, dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(bytearray(source.take(size * dtype.itemsize)), dtype)


def _numbers(rows: list[list[bytes]]) -> np.ndarray:
    words = [word for row in rows for word in row]
    with np.errstate(over="ignore"):
        return np.array(words, "S").astype(np.float64).astype(np.float32)


def _read_compressed(source: Source, kind: bytes) -> np.ndarray:
    """A matrix of Kaldi's ``CompressedMatrix``, unpacked by kaldiio."""
    from kaldiio.matio import read_kaldi

    head = kind if kind == b"CM " else kind + source.take(1)
    sizes = source.take(16)
    _, _, n_rows, n_columns = struct.unpack("<ffii", sizes)
    if min(n_rows, n_columns) < 0 or head not in (b"CM ", b"CM2 ", b"CM3 "):
        raise Damaged("no compressed matrix")
    size = n_rows * n_columns * (2 if head == b"CM2 " else 1) + 8 * n_columns * (head == b"CM ")
    entry = _BINARY + head + sizes + source.take(size)
    return np.asarray(read_kaldi(io.BytesIO(entry)), np.float32).reshape(n_rows, n_columns)


def write_matrix(file: IO[bytes], matrix: np.ndarray, text: bool) -> None:
    """Write a matrix (T, D), binary in float32."""
    if not text:
        sizes = struct.pack("<bibi", 4, matrix.shape[0], 4, matrix.shape[1])
        file.write(_BINARY + b"FM " + sizes)
        file.write(np.ascontiguousarray(matrix, "<f4").tobytes())
    elif not matrix.size:
        file.write(b" [ ]\n")
    else:
        form = "\n  " + "%.7g " * matrix.shape[1]
        rows = (form % tuple(row) for row in np.asarray(matrix, np.float32).tolist())
        file.write(f" [{''.join(rows)}]\n".encode())


def write_vector(file: IO[bytes], vector: np.ndarray, text: bool) -> None:
    """Write a vector (N,), binary in float32."""
    if not text:
        file.write(_BINARY + b"FV " + struct.pack("<bi", 4, len(vector)))
        file.write(np.ascontiguousarray(vector, "<f4").tobytes())
        return
    numbers = np.asarray(vector, np.float32).tolist()
    file.write(f" [ {('%.7g ' * len(numbers)) % tuple(numbers)}]\n".encode())


# ---- Gaussians of frames ---------------------------------------------------------------------


def read_posteriors(source: Source) -> Posteriors:
    """Posteriors of an utterance: pairs of Gaussian and posterior for each frame."""
    if not source.is_binary():
        frames = [part.split() for part in source.line().replace(b"]", b"").split(b"[")]
        if frames[0]:
            raise Damaged("no posteriors in brackets")
        counts = np.array([len(frame) // 2 for frame in frames[1:]], np.int64)
        if any(len(frame) % 2 for frame in frames):
            raise Damaged("a Gaussian without its posterior")
        words = np.array([word for frame in frames for word in frame] or [b"0", b"0"], "S")
        return _padded(counts, words[::2].astype(np.int32), words[1::2].astype(np.float32))
    sizes, content = source.records(source.int32(), _PAIR.itemsize)
    pairs = np.frombuffer(content, _PAIR)
    if not ((pairs["int"] == 4).all() and (pairs["float"] == 4).all()):
        raise Damaged("no posteriors")
    return _padded(np.array(sizes, np.int64), pairs["index"], pairs["post"])


def _padded(counts: np.ndarray, indices: np.ndarray, posts: np.ndarray) -> Posteriors:
    """Pairs of all frames, one after the other, as rows (T, N)."""
    there = np.arange(max(counts.max(initial=0), 1)) < counts[:, None]
    table = Posteriors(np.zeros(there.shape, np.int32), np.zeros(there.shape, np.float32))
    n_pairs = int(counts.sum())
    table.indices[there], table.posts[there] = indices[:n_pairs], posts[:n_pairs]
    return table


def write_posteriors(file: IO[bytes], posteriors: Posteriors, text: bool) -> None:
    """Write posteriors; those that are 0 are left out."""
    there = posteriors.posts != 0
    counts = there.sum(1)
    indices, posts = posteriors.indices[there], posteriors.posts[there]
    starts = np.concatenate([[0], np.cumsum(counts)])
    frames = list(zip(starts[:-1].tolist(), starts[1:].tolist()))
    if text:
        pairs = [f"{c} {p:.7g} " for c, p in zip(indices.tolist(), posts.tolist())]
        file.write("".join(f"[ {''.join(pairs[i:j])}] " for i, j in frames).encode() + b"\n")
        return
    packed = np.empty(len(indices), _PAIR)
    packed["int"] = packed["float"] = 4
    packed["index"], packed["post"] = indices, posts
    content = packed.tobytes()
    size = _PAIR.itemsize
    file.write(_BINARY + struct.pack("<bi", 4, len(counts)))
    file.write(
        b"".join(struct.pack("<bi", 4, j - i) + content[size * i : size * j] for i, j in frames)
    )


def read_selected(source: Source) -> np.ndarray:
    """Gaussians selected for each frame, (T, N) int32; the same number for all."""
    if not source.is_binary():
        frames = [part.split() for part in source.line().rstrip(b"\r\n ;").split(b";")]
        if len({len(frame) for frame in frames}) > 1:
            raise _uneven(source)
        return np.array(frames, "S").astype(np.int32).reshape(len(frames), -1)
    n_frames = source.int32()
    if not n_frames:
        return np.empty((0, 0), np.int32)
    n_selected = source.int32()
    rest = source.take(_INT.itemsize * (n_frames * (n_selected + 1) - 1))
    table = np.frombuffer(struct.pack("<bi", 4, n_selected) + rest, _INT)
    table = table.reshape(n_frames, n_selected + 1)
    if not (table["size"] == 4).all():
        raise Damaged("no selected Gaussians")
    if (table["value"][:, 0] != n_selected).any():
        raise _uneven(source)
    return np.ascontiguousarray(table["value"][:, 1:])


def _uneven(source: Source) -> DataError:
    return DataError(
        f"{source.name}: frames with different numbers of selected Gaussians; select them again "
        "with gmm-gselect --n=N"
    )


def write_selected(file: IO[bytes], selected: np.ndarray, text: bool) -> None:
    """Write Gaussians selected for each frame (T, N)."""
    if text:
        form = "%d " * selected.shape[1] + "; "
        file.write("".join(form % tuple(row) for row in selected.tolist()).encode() + b"\n")
        return
    table = np.full((len(selected), selected.shape[1] + 1), 4, _INT)
    table["value"][:, 0], table["value"][:, 1:] = selected.shape[1], selected
    file.write(_BINARY + struct.pack("<bi", 4, len(selected)) + table.tobytes())


# ---- numbers and words -----------------------------------------------------------------------


def read_int(source: Source) -> int:
    """One whole number."""
    return source.int32() if source.is_binary() else int(source.line())


def write_int(file: IO[bytes], value: int, text: bool) -> None:
    """Write one whole number."""
    file.write(f"{value} \n".encode() if text else _BINARY + struct.pack("<bi", 4, value))


def read_real(source: Source) -> float:
    """One real number."""
    if not source.is_binary():
        return float(source.line())
    size = source.take(1)
    if size not in (b"\4", b"\10"):
        raise Damaged("no real number")
    form = "<f" if size == b"\4" else "<d"
    return float(struct.unpack(form, source.take(size[0]))[0])


def write_real(file: IO[bytes], value: float, text: bool) -> None:
    """Write one real number, binary in float64."""
    file.write(f"{value:.7g} \n".encode() if text else _BINARY + struct.pack("<bd", 8, value))


def read_words(source: Source) -> list[str]:
    """The words of a line."""
    return source.line().decode().split()


def write_words(file: IO[bytes], words: list[str], text: bool) -> None:
    """Write words, which have no binary form."""
    file.write(" ".join([*words, "\n"]).encode())


HOLDERS = {
    "matrix": Holder("matrices", read_matrix, write_matrix),
    "vector": Holder("vectors", read_vector, write_vector),
    "posteriors": Holder("posteriors", read_posteriors, write_posteriors),
    "selected": Holder("selected Gaussians", read_selected, write_selected),
    "int": Holder("whole numbers", read_int, write_int),
    "real": Holder("real numbers", read_real, write_real),
    "words": Holder("words", read_words, write_words),
}
