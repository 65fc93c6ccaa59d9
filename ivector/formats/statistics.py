"""Baum-Welch statistics on disk: one ``.npz`` a group of utterances, in blocks read one by one.

A file holds the statistics of some blocks of utterances and one second-order sum for all of
them, so that few large files, read from end to end, hold a corpus, and the sums that do not grow
with the utterances stay a small part of it.

float32 keeps zeroth and first order as they are. float16 keeps for every utterance the
components that it uses, with

    zeroth  N_uc            float32, not rounded
    first   F_uc / N_uc     the mean offset from the UBM's mean, in units of its root mean square
                            in that dimension of the block, float16: of order 1 whatever the count

so that the error of a first-order statistic is at most N_uc (2⁻¹¹ |offset| + 2⁻²⁵ unit), and
the second-order sum as float32. Pruning drops the least used components of each utterance, no
more than a share of its frames.

Dimensions
----------
U utterances of a block, C components, D feature dimension, K kept pairs of utterance and
component.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError, named
from ivector.base.files import atomic_write, check_kind, read_arrays, read_header
from ivector.base.foreign.arrays import Arrays, open_arrays
from ivector.base.foreign.boundary import check_types, require_room
from ivector.base.foreign.schema import Field, Schema
from ivector.statistics.batch import BaumWelchStatistics
from ivector.statistics.sparse import SparseStatistics

STORAGES = ("float32", "float16")

_KIND = "Baum-Welch statistics"
_FORMAT = 2
_WHAT = "statistics of this toolkit"
# U utterances, C components, D features, k pairs that are kept; the sums are of all blocks.
_BLOCK: dict[str, Schema] = {
    "float32": {"zeroth": Field(("u", "C"), least=0), "first": Field(("u", "C", "D"))},
    "float16": {
        "count": Field(("u",), "whole", least=0),
        "component": Field(("k",), "whole", least=0),
        "zeroth": Field(("k",), least=0),
        "offset": Field(("k", "D")),
        "unit": Field(("D",), positive=True),
    },
}
_SUMS: Schema = {
    "centre": Field(("C", "D"), optional=True),
    "second": Field(None, optional=True),
}
# Largest offset in units: the unit grows with outliers, so that nothing overflows in float16.
_LARGEST = 6e4


class StatisticsWriter:
    """Write statistics block by block to one file; use as a context manager.

    Only the block being written is held in memory, and the sum of the second-order statistics,
    which are added in the order of writing. The file appears when it is complete.

    Parameters
    ----------
    path : path-like
    storage : {"float32", "float16"}
        Of first-order statistics. float16 takes half the room or, with few frames an utterance,
        less, as components without frames are left out.
    prune : float
        Share of each utterance's frames, 0 to below 1, that may be dropped with the components
        that have the fewest; float16 only.

    Attributes
    ----------
    dropped, frames : float
        Frames pruned, and all frames (sums of posteriors) seen.

    Raises
    ------
    UsageError
        Another storage, a share out of range, pruning of float32, or float16 for statistics that
        are not about the UBM's means.
    DataError
        Blocks of different shapes or centres, or no block at all.
    """

    def __init__(self, path: str | os.PathLike, storage: str = "float32", prune: float = 0.0):
        if storage not in STORAGES:
            raise UsageError(f"statistics are stored as {' or '.join(STORAGES)}, got {storage!r}")
        if not 0 <= prune < 1:
            raise UsageError(f"prune is a share of the frames, 0 to below 1, got {prune}")
        if prune and storage == "float32":
            raise UsageError("float32 statistics are stored whole; prune float16 ones")
        self.path, self.storage, self.prune = path, storage, prune
        self.dropped = self.frames = 0.0
        self._blocks = self._utterances = 0
        self._centre: np.ndarray | None = None
        self._second: np.ndarray | None = None
        self._shape: tuple[int, ...] = ()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> StatisticsWriter:
        file = self._stack.enter_context(atomic_write(self.path))
        self._archive = self._stack.enter_context(zipfile.ZipFile(file, "w", allowZip64=True))
        return self

    def write(self, statistics: BaumWelchStatistics) -> None:
        """Append a block of utterances; its second-order sum, if any, is added to the file's."""
        self._check(statistics)
        name = f"{self._blocks}."
        self.frames += statistics.n_frames
        if self.storage == "float32":
            self._array(name + "zeroth", statistics.zeroth)
            self._array(name + "first", statistics.first)
        else:
            packed, dropped = _pack(statistics, self.prune)
            self.dropped += dropped
            for key, value in packed.items():
                self._array(name + key, value)
        self._blocks += 1
        self._utterances += len(statistics)
        if statistics.second is not None:
            self._add_second(statistics)

    def _add_second(self, statistics: BaumWelchStatistics) -> None:
        second = statistics.second
        assert second is not None
        if self.prune:  # What was dropped is taken to scatter as what was kept.
            counts = statistics.zeroth.sum(0, dtype=np.float64)
            kept = np.where(_kept(statistics.zeroth, self.prune), statistics.zeroth, 0)
            share = kept.sum(0, dtype=np.float64) / np.maximum(counts, np.finfo(float).tiny)
            second = second * share[:, None, None]
        if self._second is None:
            self._second = second.copy()
        else:
            self._second += second

    def _check(self, statistics: BaumWelchStatistics) -> None:
        if self.storage == "float16" and not statistics.centred:
            raise UsageError(
                "float16 holds statistics about the UBM's means alone, as raw ones would lose "
                "their digits; apply about(means)"
            )
        if not self._blocks:
            self._shape, self._centre = statistics.first.shape[1:], statistics.centre
        same = np.array_equal(np.asarray(self._centre), np.asarray(statistics.centre))
        if statistics.first.shape[1:] != self._shape or not same:
            raise DataError(
                f"{self.path}: block {self._blocks} comes from another UBM than the first"
            )

    def _array(self, name: str, array: np.ndarray) -> None:
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> Any:
        if kind is None:
            try:
                self._finish()
            except BaseException as error:
                self._stack.__exit__(type(error), error, error.__traceback__)
                raise
        return self._stack.__exit__(kind, value, traceback)

    def _finish(self) -> None:
        if not self._blocks:
            raise DataError(f"{self.path}: no statistics to write")
        if self._centre is not None:
            self._array("centre", self._centre)
        if self._second is not None:
            self._array("second", _fold(self._second, self.storage))
        header = {
            "kind": _KIND,
            "format": _FORMAT,
            "storage": self.storage,
            "blocks": self._blocks,
            "utterances": self._utterances,
            "shape": list(self._shape),
        }
        self._array("_header", np.array(json.dumps(header, sort_keys=True)))


@dataclass(frozen=True)
class StatisticsFile:
    """Loader of a file of statistics, for `TotalVariability`: yields its blocks one by one.

    The last block carries the second-order sum of all of them.
    """

    path: str | os.PathLike

    def __call__(self) -> Iterator[BaumWelchStatistics]:
        return iterate_statistics(self.path)

    def sparse(self) -> Iterator[SparseStatistics | BaumWelchStatistics]:
        """Yield blocks of float16 as they are stored, which is less; others as `__call__`."""
        return _iterate(self.path)


def write_statistics(
    path: str | os.PathLike,
    statistics: BaumWelchStatistics,
    storage: str = "float32",
    prune: float = 0.0,
) -> None:
    """Write statistics with their centre and, where present, second-order sum, as one block.

    Parameters
    ----------
    path : path-like
    statistics : BaumWelchStatistics
    storage, prune
        As in `StatisticsWriter`.
    """
    with StatisticsWriter(path, storage, prune) as writer:
        writer.write(statistics)


def read_statistics(path: str | os.PathLike) -> BaumWelchStatistics:
    """Read a file of statistics as a whole.

    Raises
    ------
    DataError
        Missing, damaged, or another kind of file.
    """
    blocks = list(iterate_statistics(path))
    if len(blocks) == 1:
        return blocks[0]
    last = blocks[-1]
    return BaumWelchStatistics(
        np.concatenate([block.zeroth for block in blocks]),
        np.concatenate([block.first for block in blocks]),
        last.second,
        last.centre,
    )


def iterate_statistics(path: str | os.PathLike) -> Iterator[BaumWelchStatistics]:
    """Yield the blocks of a file of statistics; only one is in memory at a time.

    The last one carries the second-order sum, which is that of all blocks.

    Raises
    ------
    DataError
        Missing, damaged, or another kind of file.
    """
    for block in _iterate(path):
        with named(str(path)):
            dense = block if isinstance(block, BaumWelchStatistics) else block.dense()
        yield dense


def _iterate(path: str | os.PathLike) -> Iterator[SparseStatistics | BaumWelchStatistics]:
    """Yield the blocks of a file; those of float16 sparse."""
    with open_arrays(path, _WHAT) as archive:
        header = read_header(path, archive)
        check_kind(path, header, _KIND, _FORMAT, _WHAT)
        if header["format"] == 1:
            arrays = read_arrays(path, archive, {**_BLOCK["float32"], **_SUMS})
            yield BaumWelchStatistics(
                arrays["zeroth"], arrays["first"], arrays.get("second"), arrays.get("centre")
            )
            return
        yield from _blocks(path, archive, header)


def _blocks(
    path: str | os.PathLike, archive: Arrays, header: dict[str, Any]
) -> Iterator[SparseStatistics | BaumWelchStatistics]:
    C, D, n_blocks = _checked_sizes(path, archive, header)
    sums = read_arrays(path, archive, _SUMS)
    second = _unfold(sums["second"]) if "second" in sums else None
    for name, array, shape in (
        ("centre", sums.get("centre"), (C, D)),
        ("second-order statistics", second, (C, D, D)),
    ):
        if array is not None and array.shape != shape:
            raise DataError(
                f"{path}: its {name} are of {array.shape}, not of {shape}; make it again"
            )
    for number in range(n_blocks):
        schema = {f"{number}.{name}": f for name, f in _BLOCK[header["storage"]].items()}
        block = read_arrays(path, archive, schema)
        block = {name.partition(".")[2]: array for name, array in block.items()}
        shared = sums.get("centre"), second if number == n_blocks - 1 else None
        if header["storage"] == "float16":
            _check_packed(path, block, C, D)
            yield SparseStatistics(**block, n_components=C, centre=shared[0], second=shared[1])
            continue
        zeroth, first = block["zeroth"], block["first"]
        if first.shape[1:] != (C, D):
            raise DataError(f"{path}: block {number} is of {first.shape[1:]}, not of {(C, D)}")
        yield BaumWelchStatistics(zeroth, first, shared[1], shared[0])


def _checked_sizes(
    path: str | os.PathLike, archive: Arrays, header: dict[str, Any]
) -> tuple[int, int, int]:
    """Components, features and blocks that a header declares."""
    check_types(path, header, {"storage": str, "blocks": int, "shape": list}, _WHAT)
    sizes = [*header["shape"], header["blocks"]]
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if len(sizes) != 3 or not whole or min(sizes) < 1 or header["storage"] not in STORAGES:
        raise DataError(f"{path}: its header makes no sense; make the statistics again")
    if header["blocks"] > len(archive):
        raise DataError(f"{path}: lacks some of its {header['blocks']} blocks; make it again")
    return sizes[0], sizes[1], sizes[2]


def _check_packed(path: str | os.PathLike, packed: dict[str, np.ndarray], C: int, D: int) -> None:
    """Look at the sizes of a float16 block, before it is unpacked."""
    count, component = packed["count"], packed["component"]
    if packed["offset"].shape[1] != D or int(count.sum()) != len(component):
        raise DataError(f"{path}: a block has another size than its header says; make it again")
    if len(component) and component.max() >= C:
        raise DataError(f"{path}: a block has component {component.max()} of {C}; make it again")
    require_room(path, 4 * len(count) * C * (D + 1), f"a block of {len(count)} utterances")


def _pack(statistics: BaumWelchStatistics, prune: float) -> tuple[dict[str, np.ndarray], float]:
    """Arrays of a float16 block, and the frames that pruning took.

    count (U,), components kept of each utterance; component (K,); zeroth (K,) float32;
    offset (K, D) float16; unit (D,) float32.
    """
    kept = _kept(statistics.zeroth, prune)
    zeroth = statistics.zeroth[kept].astype(np.float32)
    offset = statistics.first[kept] / zeroth[:, None]
    unit = np.sqrt(np.mean(offset**2, axis=0, dtype=np.float64)) if len(offset) else np.ones(1)
    largest = np.abs(offset).max(axis=0, initial=0.0) / _LARGEST
    unit = np.maximum(np.maximum(unit, largest), np.finfo(np.float32).tiny).astype(np.float32)
    few = statistics.n_components <= 1 << 16
    packed = {
        "count": kept.sum(1, dtype=np.int32),
        "component": np.nonzero(kept)[1].astype(np.uint16 if few else np.uint32),
        "zeroth": zeroth,
        "offset": (offset / unit).astype(np.float16),
        "unit": np.broadcast_to(unit, offset.shape[1:]),
    }
    return packed, statistics.n_frames - float(zeroth.sum(dtype=np.float64))


def _kept(zeroth: np.ndarray, prune: float) -> np.ndarray:
    """Which components of each utterance are kept, (U, C) bool.

    The least used are dropped for as long as all that were dropped have at most the share
    `prune` of the utterance's frames; those without frames always.
    """
    # float32 cannot hold smaller counts without losing digits; 1e-30 frames are none.
    kept = zeroth > 1e-30
    if prune:
        order = np.argsort(zeroth, axis=1, kind="stable")
        ranked = np.take_along_axis(zeroth, order, axis=1).astype(np.float64)
        sums = np.cumsum(ranked, axis=1)
        within = sums <= prune * sums[:, -1:]
        dropped = np.zeros_like(kept)
        np.put_along_axis(dropped, order, within, axis=1)
        kept &= ~dropped
    return kept


def _fold(second: np.ndarray, storage: str) -> np.ndarray:
    """Second-order sums (C, D, D) as lower triangles (C, D (D + 1) / 2), if they are symmetric."""
    dtype = np.float64 if storage == "float32" else np.float32
    with np.errstate(over="ignore"):
        narrow = second.astype(dtype)
    if not np.isfinite(narrow).all():
        narrow = second
    if not np.array_equal(second, second.transpose(0, 2, 1)):
        return narrow
    rows, columns = np.tril_indices(second.shape[1])
    return narrow[:, rows, columns]


def _unfold(second: np.ndarray) -> np.ndarray:
    """The inverse of `_fold`, float64."""
    if second.ndim == 3:
        return second.astype(np.float64)
    order = int(np.sqrt(2 * second.shape[1]))
    rows, columns = np.tril_indices(order)
    full = np.empty((len(second), order, order))
    full[:, rows, columns] = second
    full[:, columns, rows] = second
    return full
