"""Log-mel energies that another program stored, as a store: trees ``SPEAKER/VIDEO/UTT.npy``.

The VoxSRC 2020 pipeline publishes them so, an array (1, D, T) or (D, T) of float16 or float32 an
utterance, perhaps with a record of its run in ``metadata.txt``. Ids are ``SPEAKER-VIDEO-UTT``, as
those of VoxCeleb. Stored in the files' own type the numbers stay what they are, bit for bit.

T  frames of an utterance
D  dimensions of a frame
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ivector.base.errors import DataError
from ivector.base.files import read_lines
from ivector.base.foreign.boundary import foreign
from ivector.base.log import progress
from ivector.features.store.reader import LogMelStore
from ivector.features.store.writer import PLAIN, Recording, ShardWriter, run_writer

RECORD = "metadata.txt"
TYPES = {np.dtype(name): name for name in PLAIN}
FRAME_SAMPLES = 160  # of 16 kHz, at 100 frames a second


def import_tree(
    tree: str | os.PathLike,
    folder: str | os.PathLike,
    utterances: Collection[str] | None = None,
    storage: str | None = None,
    nj: int = 1,
) -> LogMelStore:
    """Write a store of a tree's features, or what an earlier, killed run left to do.

    Parameters
    ----------
    tree : path-like
        Holds ``SPEAKER/VIDEO/UTT.npy``.
    folder : path-like
        Of the store.
    utterances : collection of str, optional
        Ids ``SPEAKER-VIDEO-UTT``; by default all.
    storage : {"kaldi", "float16", "float32"}, optional
        By default the files' own type.
    nj : int
        Processes; the files do not depend on it.

    Returns
    -------
    LogMelStore

    Raises
    ------
    DataError
        No such files, an utterance without one, or a file that is cut, holds something else than
        such an array, a number that is not finite, or another type or size than the first.
    """
    tree, folder = Path(tree), Path(folder)
    found = find_utterances(tree)
    chosen = sorted(found if utterances is None else utterances)
    require_utterances(chosen, found, tree)
    n_dims, own = check_headers([found[utt] for utt in chosen])
    record = tree / RECORD
    options = {
        "imported": tree.name,
        "num_mel_bins": n_dims,
        "dtype": own,
        "record": read_lines(record) if record.is_file() else [],
    }
    rows = [(utt, str(found[utt]), None, None) for utt in chosen]
    writer = TreeWriter(folder.absolute(), options, storage or own, True)
    run_writer(writer, folder, rows, nj)
    return LogMelStore.open(folder)


@dataclass(frozen=True)
class TreeWriter(ShardWriter):
    """Writes a shard of features that are there already."""

    def n_dims(self) -> int:
        """Return the dimensions of a frame."""
        return self.options["num_mel_bins"]

    def _frames(
        self, recordings: Sequence[Recording], done: dict[str, Any]
    ) -> Iterator[tuple[str, np.ndarray]]:
        for utt, path, *_ in recordings:
            features = read_features(path)
            done["samples"] += FRAME_SAMPLES * len(features)
            yield utt, features.astype(np.float32)  # exactly, from either type


def utterance_of(path: str) -> str:
    """Id of a path ``SPEAKER/VIDEO/UTT``, with any ending, within a tree.

    Raises
    ------
    ValueError
        A path out of the tree, or of another form; the text says which.
    """
    name = PurePosixPath(path)
    if name.is_absolute() or ".." in name.parts or "\\" in path or not path.isprintable():
        raise ValueError("leads out of the tree or holds control characters; mend the list")
    if len(name.parts) != 3 or path.split() != [path]:
        raise ValueError("is not of the form SPEAKER/VIDEO/UTT; mend the list or the tree")
    return "-".join(name.with_suffix("").parts)


def find_utterances(tree: Path) -> dict[str, Path]:
    """Files of a tree by id.

    Raises
    ------
    DataError
        There are none, or one that lies elsewhere than at ``SPEAKER/VIDEO/UTT.npy``.
    """
    found: dict[str, Path] = {}
    for path in sorted(tree.rglob("*.npy")):
        try:
            utt = utterance_of(path.relative_to(tree).as_posix())
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        if utt in found:
            raise DataError(f"{path} and {found[utt]} have the id {utt}; rename one of them")
        found[utt] = path
    if not found:
        raise DataError(f"{tree}: holds no SPEAKER/VIDEO/UTT.npy; give the folder of the speakers")
    return found


def require_utterances(
    wanted: Collection[str], found: Collection[str], tree: Path, named_by: str = "the list"
) -> None:
    """Refuse utterances that a tree lacks."""
    if absent := [utt for utt in wanted if utt not in found]:
        raise DataError(
            f"{tree}: lacks {absent[0]}, which {named_by} names ({len(absent)} of {len(wanted)}); "
            "fetch what is missing, or take it out of the list"
        )
    if not wanted:
        raise DataError(f"{tree}: {named_by} names no utterance of it")


def check_headers(paths: Sequence[Path]) -> tuple[int, str]:
    """Dimensions and type that all files have in common.

    Raises
    ------
    DataError
        A file that holds something else.
    """
    first: tuple[int, str] | None = None
    for path in progress(paths, len(paths), "looking at headers", "files"):
        array = _open(path)
        mine = array.shape[-2], TYPES[array.dtype]
        first = first or mine
        if mine != first:
            raise DataError(
                f"{path}: has {mine[0]} x {mine[1]} a frame, {paths[0]} has {first[0]} x "
                f"{first[1]}; import them apart"
            )
    assert first is not None  # some utterance is always wanted
    return first


def read_features(path: str | os.PathLike) -> np.ndarray:
    """Read a file of a tree.

    Returns
    -------
    ndarray (n_frames, n_dims), of the file's type

    Raises
    ------
    DataError
        It is missing, cut, holds something else, or a number that is not finite.
    """
    array = _open(path)
    features = np.ascontiguousarray(array.reshape(array.shape[-2:]).T)
    if not np.isfinite(features).all():
        raise DataError(f"{path}: holds a number that is not finite; compute it again")
    return features


def _open(path: str | os.PathLike) -> np.ndarray:
    """Map a file into memory; pickles and objects are refused unread."""
    with foreign(path, "a .npy file of numbers"):
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except (OSError, MemoryError):
            raise
        except Exception:
            raise DataError(
                f"{path}: no .npy file of numbers, cut, or a pickle, which is never opened; fetch "
                "it again"
            ) from None
    shape = array.shape[1:] if array.ndim == 3 and array.shape[0] == 1 else array.shape
    if len(shape) != 2 or 0 in shape or array.dtype not in TYPES:
        raise DataError(
            f"{path}: holds {array.dtype} of shape {array.shape}, expected float16 or float32 of "
            "(1, n_mels, n_frames) or (n_mels, n_frames); compute or fetch it again"
        )
    return array


def read_utterance_list(path: str | os.PathLike) -> list[str]:
    """Ids that a list names, each once.

    Parameters
    ----------
    path : path-like
        Lines with paths ``SPEAKER/VIDEO/UTT.wav`` (the pipeline's lists, trial lists), or that
        begin with an id (utt2spk).

    Raises
    ------
    DataError
        The file cannot be read, or a path leads out of the tree.
    """
    ids: dict[str, None] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        paths = [field for field in fields if "/" in field]
        try:
            ids.update(dict.fromkeys([*map(utterance_of, paths)] if paths else fields[:1]))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: a path {error}") from None
    return list(ids)
