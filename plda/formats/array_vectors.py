"""Vectors in .npz, .npy with a list of ids, HDF5 and tables of text, as streams.

An .npz or HDF5 file has either one array of ids and one of vectors, under one of the names in
`IDS` and `VECTORS`, or an array (D,) or (1, D) for every id, under that id.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ivector.base.errors import DataError
from ivector.base.files import read_lines
from ivector.base.foreign.arrays import npy_rows, open_arrays
from ivector.base.foreign.boundary import foreign, require_room
from ivector.base.foreign.hdf5 import h5py_module, open_hdf5
from plda.formats.kaldi_vectors import Block

IDS = ("ids", "utts", "utt_ids", "names", "keys", "segset")
VECTORS = ("vectors", "embeddings", "embs", "xvectors", "ivectors", "X", "stat1")
WHAT = "a file of ids and vectors"
_IDS_OF_NPY = (".ids", ".txt")


def npz_blocks(path: Path, n_rows: int) -> Iterator[Block]:
    """Yield ids and vectors (n, D) of an ``.npz``."""
    with open_arrays(path, WHAT) as archive:
        names = _two_of(path, archive)
        if names is None:
            vectors = ((key, _one(path, key, archive[key])) for key in archive)
            yield from _stacked(vectors, n_rows)
            return
        ids, data = (archive.declared(name) for name in names)
        _check_declared(path, names, (ids, data))
        for keys, block in zip(archive.rows(names[0], n_rows), archive.rows(names[1], n_rows)):
            yield keys.tolist(), block


def _two_of(path: Path, held: Mapping[str, Any]) -> tuple[str, str] | None:
    """Names under which a file has ids and vectors; None if it has neither."""
    ids, data = (next((n for n in known if n in held), None) for known in (IDS, VECTORS))
    if (ids is None) != (data is None):
        raise DataError(
            f"{path}: has {ids or data!r} but no array of {'vectors' if ids else 'ids'}; name it "
            f"{VECTORS[0] if ids else IDS[0]!r}"
        )
    return None if ids is None or data is None else (ids, data)


def _check_declared(path: Path, names: tuple[str, str], found: tuple[Any, Any]) -> None:
    ids, data = found
    if len(ids.shape) != 1 or len(data.shape) != 2 or ids.shape[0] != data.shape[0]:
        raise DataError(
            f"{path}: {names[0]!r} and {names[1]!r} have the shapes {ids.shape} and {data.shape}, "
            "expected (n,) and (n, D)"
        )
    if ids.dtype.kind not in "USO" or data.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: {names[0]!r} and {names[1]!r} have the types {ids.dtype} and {data.dtype}, "
            "expected text and numbers"
        )


def _one(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """The array of one id as a vector (D,)."""
    if array.size == 0 or array.dtype.kind not in "iuf" or math.prod(array.shape[:-1]) != 1:
        raise DataError(
            f"{path}: {key!r} is {array.dtype} {array.shape}, expected a vector of that id, or "
            f"{IDS[0]!r} and {VECTORS[0]!r}"
        )
    return array.reshape(-1)


def _stacked(pairs: Iterable[tuple[str, np.ndarray]], n_rows: int) -> Iterator[Block]:
    """Single vectors as blocks, within which all have one length."""
    alike = itertools.groupby(pairs, key=lambda pair: (pair[1].shape, pair[1].dtype))
    for _, group in alike:
        while part := list(itertools.islice(group, n_rows)):
            yield [key for key, _ in part], np.stack([row for _, row in part])


def npy_blocks(path: Path, n_rows: int, ids: Path | None = None) -> Iterator[Block]:
    """Yield ids and vectors (n, D) of an ``.npy``; its ids are in a text file, one a line."""
    if ids is None:
        beside = [path.with_suffix(suffix) for suffix in _IDS_OF_NPY]
        ids = next((one for one in beside if one.exists()), None)
        if ids is None:
            raise DataError(
                f"{path}: has no ids; write them into {beside[0]}, one a line, in the order of the "
                "vectors"
            )
    keys = [line.split()[0] for line in read_lines(ids) if line.strip()]
    start = 0
    for block in npy_rows(path, "an array of vectors", n_rows):
        if block.ndim != 2:
            raise DataError(f"{path}: is not a matrix (n, D)")
        yield keys[start : start + len(block)], block
        start += len(block)
    if start != len(keys):
        raise DataError(f"{ids}: has {len(keys)} ids, and {path} has {start} vectors")


def hdf5_blocks(path: Path, n_rows: int) -> Iterator[Block]:
    """Yield ids and vectors (n, D) of an HDF5 file; ids of nested groups are joined by ``/``."""
    h5py = h5py_module()
    with open_hdf5(path) as file:
        names = _two_of(path, file)
        if names is None:
            found: list[str] = []
            file.visititems(
                lambda name, one: found.append(name) if isinstance(one, h5py.Dataset) else None
            )
            for key in found:
                require_room(path, file[key].size * file[key].dtype.itemsize, f"{key!r}")
            vectors = ((key, _one(path, key, np.asarray(file[key]))) for key in found)
            yield from _stacked(vectors, n_rows)
            return
        ids, data = (file[name] for name in names)
        _check_declared(path, names, (ids, data))
        for start in range(0, len(data), n_rows):
            rows = slice(start, start + n_rows)
            yield [_text(key) for key in ids[rows]], data[rows]


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


def table_blocks(path: Path, n_rows: int) -> Iterator[Block]:
    """Yield ids and vectors (n, D) of a table: an id and its numbers a line, ``,`` or tab between.

    A first line whose second field is no number holds the names of the columns.
    """
    with foreign(path, "a table of vectors"), open(path, newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        rows = csv.reader(file, delimiter="\t" if "\t" in first else ",")
        yield from _stacked(_of_table(path, rows), n_rows)


def _of_table(path: Path, rows: Any) -> Iterator[tuple[str, np.ndarray]]:
    n_read = 0
    for fields in rows:
        if not fields:
            continue
        n_read += 1
        try:
            vector = np.array([float(field) for field in fields[1:]])
        except ValueError as error:
            if n_read == 1:
                continue
            raise DataError(
                f"{path}, line {rows.line_num}: expected an id and numbers ({error})"
            ) from None
        if not len(vector):
            raise DataError(
                f"{path}, line {rows.line_num}: expected an id and numbers, with commas or tabs "
                f"between them, got {fields[0][:60]!r}"
            )
        yield fields[0], vector
