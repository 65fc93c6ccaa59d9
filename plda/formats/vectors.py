"""Vectors with their utterance ids on disk: Kaldi archives (text and binary) and ``.npz``.

An ``.npz`` holds ``ids`` (n_vectors,) and ``vectors`` (n_vectors, n_dims), without pickles.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.base.files import VECTORS, atomic_write, read_arrays, read_lines
from ivector.base.foreign.arrays import open_arrays
from ivector.base.foreign.boundary import read_bytes
from ivector.base.kaldi import KaldiReader, KaldiWriter, read_vectors
from plda.checks import check_vectors

_ITEM_SIZES = {b"FV ": 4, b"DV ": 8}


def read_ids_vectors(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Read utterance ids and their vectors.

    Parameters
    ----------
    path : path-like
        ``.npz``, or a Kaldi archive of vectors, text or binary (told by its content).

    Returns
    -------
    ids : list of str
    vectors : ndarray (n_vectors, n_dims)
        In the file's precision; text gives float64.

    Raises
    ------
    DataError
        Missing, damaged, empty, an id twice, or vectors of different lengths.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("ivectors.txt").write_text("utt1  [ 1 2 ]\\nutt2  [ 3 4 ]\\n")
    >>> ids, vectors = read_ids_vectors("ivectors.txt")
    >>> ids, vectors.tolist()
    (['utt1', 'utt2'], [[1.0, 2.0], [3.0, 4.0]])
    """
    path = Path(path)
    pairs = _npz_pairs(path) if path.suffix == ".npz" else _ark_pairs(path)
    vectors: dict[str, np.ndarray] = {}
    for key, vector in pairs:
        if key in vectors:
            raise DataError(f"{path}: id {key} occurs twice; ids must be unique")
        if vector.dtype.kind not in "iuf" or not np.isfinite(vector).all():
            raise DataError(
                f"{path}: the vector of {key} has something that is no finite number; find out "
                "why it could not be extracted, or remove it"
            )
        if vectors and vector.shape != (first := next(iter(vectors.values()))).shape:
            raise DataError(f"{path}: {key} has shape {vector.shape}, the first {first.shape}")
        vectors[key] = vector
    if not vectors:
        raise DataError(f"{path}: holds no vectors")
    return list(vectors), np.stack(list(vectors.values()))


def write_ids_vectors(path: str | os.PathLike, ids: Sequence[str], vectors: Any) -> None:
    """Write utterance ids and their vectors.

    Parameters
    ----------
    path : path-like
        Ending in ``.npz``, ``.ark`` (Kaldi, binary) or ``.txt`` (Kaldi, text).
    ids : sequence of str (n_vectors,)
        Unique, without white space.
    vectors : array_like (n_vectors, n_dims)
        Written in their own precision.

    Examples
    --------
    >>> write_ids_vectors("ivectors.ark", ["utt1", "utt2"], [[1.0, 2], [3, 4]])
    >>> read_ids_vectors("ivectors.ark")[0]
    ['utt1', 'utt2']
    """
    path = Path(path)
    vectors = check_vectors(vectors, "vectors")
    if len(ids) != len(vectors) or len(set(ids)) != len(ids):
        raise DataError(f"{path}: {len(ids)} ids for {len(vectors)} vectors, which must be unique")
    bad = [key for key in ids if key.split() != [key]]
    if bad:
        raise DataError(f"{path}: id {bad[0]!r} is empty or holds white space")
    if path.suffix not in (".npz", ".ark", ".txt"):
        raise UsageError(f"{path}: vectors are written as .npz, .ark or .txt")
    with atomic_write(path) as file:
        if path.suffix == ".npz":
            np.savez(file, ids=np.array(ids), vectors=vectors)
            return
        dtype = "f8" if vectors.dtype == np.float64 else "f4"
        for key, vector in zip(ids, vectors):
            file.write(key.encode() + b" ")
            KaldiWriter(file, path.suffix == ".ark", dtype).vector(vector)


def read_counts(path: str | os.PathLike) -> dict[str, int]:
    """Read Kaldi's ``num_utts`` (``speaker count`` a line) as {speaker: count}.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("num_utts").write_text("ann 3\\nbob 1\\n")
    >>> read_counts("num_utts")
    {'ann': 3, 'bob': 1}
    """
    counts: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or not fields[1].isdecimal() or not 1 <= int(fields[1][:19]) < 10**18:
            raise DataError(f"{path}, line {number}: expected 'speaker count', got {line!r}")
        if fields[0] in counts:
            raise DataError(f"{path}, line {number}: speaker {fields[0]} occurs twice")
        counts[fields[0]] = int(fields[1])
    return counts


def _npz_pairs(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with open_arrays(path, "a file of ids and vectors") as archive:
        arrays = read_arrays(path, archive, VECTORS)
    yield from zip(arrays["ids"].tolist(), arrays["vectors"])


def _ark_pairs(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    data = read_bytes(path, "an archive of vectors")
    key_end = data.find(b" ")
    if data[key_end + 1 : key_end + 3] != b"\0B":
        yield from read_vectors(path).items()
        return
    position, last = 0, "none"
    while position < len(data):
        key_end = data.find(b" ", position)
        start = key_end + 1
        # \0B, FV or DV and a space, \4 and the dimension, the numbers.
        item_size = _ITEM_SIZES.get(data[start + 2 : start + 5])
        if key_end < 0 or item_size is None or len(data) < start + 10:
            raise DataError(f"{path}: cut, or not an archive of vectors, after id {last}")
        (n_dims,) = struct.unpack_from("<i", data, start + 6)
        end = start + 10 + max(0, n_dims) * item_size
        last = data[position:key_end].decode("utf-8", "replace")
        yield last, KaldiReader(data[start:end], f"{path}, {last}").vector()
        position = end
