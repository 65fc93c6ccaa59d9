"""Vectors with their utterance ids on disk, read whole and written, and counts.

An ``.npz`` holds ``ids`` (n_vectors,) and ``vectors`` (n_vectors, n_dims), without pickles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write, read_lines
from ivector.base.foreign.boundary import require_room
from ivector.base.kaldi import KaldiWriter
from plda.checks import check_vectors
from plda.formats.sources import VectorFile


def read_ids_vectors(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Read utterance ids and their vectors.

    Parameters
    ----------
    path : path-like
        One of `plda.formats.sources.FORMATS`, told by its content: Kaldi's archive or scp,
        ``.npz``, ``.npy`` with a list of ids beside it, HDF5, or a table.

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
    file = VectorFile(path)
    require_room(path, os.path.getsize(path), "its vectors")
    ids: list[str] = []
    blocks = []
    for keys, X in file.blocks():
        ids += keys
        blocks.append(X)
    refuse_twice(path, ids)
    return ids, np.concatenate(blocks)


def refuse_twice(path: str | os.PathLike, ids: Sequence[str]) -> None:
    """Refuse ids of which one comes twice.

    Raises
    ------
    DataError
        Names it and the file.
    """
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(key for key in ids if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: id {twice} occurs twice; ids must be unique")


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
    with vector_writer(path) as write:
        write(ids, vectors)


@contextmanager
def vector_writer(path: str | os.PathLike) -> Iterator[Callable[[Sequence[str], np.ndarray], None]]:
    """Yield a function that writes ids and vectors (n, D), block by block.

    Parameters
    ----------
    path : path-like
        As for `write_ids_vectors`; there once all is written. An ``.npz`` is gathered in memory.

    Examples
    --------
    >>> import numpy as np
    >>> with vector_writer("blocks.ark") as write:
    ...     write(["utt1"], np.array([[1.0, 2]]))
    ...     write(["utt2"], np.array([[3.0, 4]]))
    >>> read_ids_vectors("blocks.ark")[0]
    ['utt1', 'utt2']
    """
    path = Path(path)
    if path.suffix not in (".npz", ".ark", ".txt"):
        raise UsageError(f"{path}: vectors are written as .npz, .ark or .txt")
    with atomic_write(path) as file:
        ids: list[str] = []
        blocks: list[np.ndarray] = []

        def gather(keys: Sequence[str], X: np.ndarray) -> None:
            ids.extend(keys)
            blocks.append(X)

        def write(keys: Sequence[str], X: np.ndarray) -> None:
            dtype = "f8" if X.dtype == np.float64 else "f4"
            for key, vector in zip(keys, X):
                file.write(key.encode() + b" ")
                KaldiWriter(file, path.suffix == ".ark", dtype).vector(vector)

        yield gather if path.suffix == ".npz" else write
        if blocks:
            np.savez(file, ids=np.array(ids), vectors=np.concatenate(blocks))


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
