"""Where networks get their frames from: sources that read any part of any utterance.

A source has ``ids``, ``lengths`` (n_utterances,) int64 in frames, ``n_features``, and
``read(index, start, n_frames)``. It is picklable and opens its files lazily, so that worker
processes get it at no cost and read independently of each other. Labels are kept apart from it.

Here are those of arrays, Kaldi's archives and log-mel stores; `dnn.data.audio_source` computes
features on the fly, `dnn.data.mel_set` and `dnn.data.records` hold those of two tasks' files.

T  frames of an utterance
D  features, numbers a frame
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dnn.formats.mapped import MappedFiles
from dnn.formats.matrices import Header, locate, read_header, read_rows
from ivector.base.errors import DataError, UsageError, named

LEAST_DEVIATION = 1e-5  # of a normalised feature; a constant one becomes 0


class Source:
    """What all sources share; sub-classes fill the attributes and write `_read`.

    Attributes
    ----------
    ids : list of str
    lengths : ndarray (n_utterances,), int64
        Frames.
    n_features : int
    draws : bool
        Whether `crop` needs random numbers.
    """

    ids: list[str]
    lengths: np.ndarray
    n_features: int
    draws: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int, start: int = 0, n_frames: int | None = None) -> np.ndarray:
        """Read frames of an utterance.

        Parameters
        ----------
        index : int
            Of the utterance in `ids`.
        start : int
            First frame.
        n_frames : int, optional
            By default all that follow.

        Returns
        -------
        ndarray (n_frames, n_features), float32
            Its own memory, which may be written to.

        Raises
        ------
        DataError
            The file is missing, cut or damaged; names it and the utterance.
        UsageError
            Frames that the utterance does not have.
        """
        length = int(self.lengths[index])
        stop = length if n_frames is None else start + n_frames
        if not 0 <= start <= stop <= length:
            raise UsageError(
                f"{self.ids[index]}: frames {start} to {stop} were asked for, it has {length}"
            )
        with named(self.ids[index]):
            return self._read(index, start, stop)

    def crop(
        self, index: int, start: int, n_frames: int, rng: np.random.Generator | None
    ) -> np.ndarray:
        """`read` for training: sources of audio change the sound first, with random numbers."""
        return self.read(index, start, n_frames)

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError


class ArraySource(Source):
    """Utterances that are in memory.

    Parameters
    ----------
    ids : sequence of str
    arrays : sequence of ndarray (n_frames, n_features)
    """

    def __init__(self, ids: Sequence[str], arrays: Sequence[np.ndarray]):
        self.ids = list(ids)
        self.arrays = [np.asarray(array) for array in arrays]
        if len(self.ids) != len(self.arrays):
            raise UsageError(f"{len(self.ids)} ids, but {len(self.arrays)} arrays")
        if not self.ids:
            raise DataError("no utterances were given")
        self.n_features = self.arrays[0].shape[-1]
        for key, array in zip(self.ids, self.arrays):
            if array.ndim != 2 or array.shape[1] != self.n_features:
                raise DataError(
                    f"{key}: has shape {array.shape}, expected (n_frames, {self.n_features})"
                )
        self.lengths = np.array([len(array) for array in self.arrays], np.int64)

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        return np.array(self.arrays[index][start:stop], np.float32, order="C")


class KaldiSource(Source):
    """Features in Kaldi's archives, plain or compressed; crops are read without the rest.

    Parameters
    ----------
    scp : path-like
        ``utt FILE:OFFSET``, perhaps with a range of rows; or the folder of a ``feats.scp``.

    Raises
    ------
    DataError
        The list or an archive is missing, cut, holds something else than matrices, or matrices of
        different width.
    """

    def __init__(self, scp: str | os.PathLike):
        from ivector.formats.arks import read_scp

        self.path = Path(scp) / "feats.scp" if Path(scp).is_dir() else Path(scp)
        table = read_scp(self.path)
        if not table:
            raise DataError(f"{self.path}: names no utterances")
        self.ids = list(table)
        files, self._numbers, self._offsets, ranges = locate(table)
        self._files = MappedFiles(files)
        self._first = np.maximum(ranges[:, 0], 0)
        self.lengths, widths = self._scan(ranges[:, 1])
        other = np.flatnonzero(widths != widths[0])
        if len(other):
            raise DataError(
                f"{self.path}: {self.ids[other[0]]} has {widths[other[0]]} features, "
                f"{self.ids[0]} has {widths[0]}"
            )
        self.n_features = int(widths[0])

    def _scan(self, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames and features of every utterance, from the headers in the order of the files."""
        lengths, widths = np.empty((2, len(self.ids)), np.int64)
        for i in np.lexsort((self._offsets, self._numbers)):
            header = self._header(i)
            if last[i] >= header.n_rows:
                raise DataError(
                    f"{self.path}: {self.ids[i]}: its rows end at {last[i]}, but the matrix has "
                    f"{header.n_rows}"
                )
            rows = header.n_rows if last[i] < 0 else last[i] + 1 - self._first[i]
            lengths[i], widths[i] = rows, header.n_columns
        return lengths, widths

    def _header(self, index: int) -> Header:
        number, offset = int(self._numbers[index]), int(self._offsets[index])
        buffer = self._files[number]
        try:
            return read_header(buffer, offset)
        except ValueError as error:
            raise DataError(
                f"{self.ids[index]}: {self._files.paths[number]}:{offset}: {error}"
            ) from None

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        header, first = self._header(index), int(self._first[index])
        buffer = self._files[int(self._numbers[index])]
        return read_rows(buffer, header, first + start, first + stop)


class StoreSource(Source):
    """A log-mel store (`ivector.features.store.LogMelStore`); crops are read without the rest.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    DataError
        No complete store, or damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        from ivector.features.store import LogMelStore
        from ivector.features.store.writer import PLAIN

        store = LogMelStore.open(folder)
        self.ids = list(store)
        places = [store.place(utt) for utt in self.ids]
        names = {name: i for i, name in enumerate(sorted({place.file for place in places}))}
        self._files = MappedFiles([store.folder / name for name in names])
        self._numbers = np.array([names[place.file] for place in places], np.int64)
        self._offsets = np.array([place.offset for place in places], np.int64)
        plain = PLAIN.get(store.metadata["storage"])
        self._dtype = plain.dtype if plain else None  # None: compressed
        self.lengths = np.array([place.n_frames for place in places], np.int64)
        self.n_features = store.n_dims

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        number, offset = int(self._numbers[index]), int(self._offsets[index])
        buffer = self._files[number]
        try:
            if self._dtype is None:
                header = read_header(buffer, offset)
                if (header.n_rows, header.n_columns) != (self.lengths[index], self.n_features):
                    raise ValueError("the matrix there has another size than the index says")
                return read_rows(buffer, header, start, stop)
            offset += start * self.n_features * self._dtype.itemsize
            flat = np.frombuffer(buffer, self._dtype, (stop - start) * self.n_features, offset)
        except ValueError as error:
            path = self._files.paths[number]
            raise DataError(f"{self.ids[index]}: {path}: {error}; make the store again") from None
        return flat.astype(np.float32).reshape(stop - start, self.n_features)


class Subset(Source):
    """Some utterances of a source.

    Parameters
    ----------
    source : Source
    indices : array-like of int
    """

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray):
        self.source = source
        self.indices = np.asarray(indices, np.int64).reshape(-1)
        self.ids = [source.ids[i] for i in self.indices]
        self.lengths = source.lengths[self.indices]
        self.n_features = source.n_features
        self.draws = source.draws

    @classmethod
    def by_ids(cls, source: Source, ids: Sequence[str]) -> Subset:
        """Choose by id.

        Raises
        ------
        DataError
            An id that the source does not have.
        """
        where = {key: i for i, key in enumerate(source.ids)}
        if absent := [key for key in ids if key not in where]:
            raise DataError(
                f"utterance {absent[0]} has no features ({len(absent)} of {len(ids)} have none)"
            )
        return cls(source, [where[key] for key in ids])

    def read(self, index: int, start: int = 0, n_frames: int | None = None) -> np.ndarray:
        """As `Source.read`."""
        return self.source.read(int(self.indices[index]), start, n_frames)

    def crop(
        self, index: int, start: int, n_frames: int, rng: np.random.Generator | None
    ) -> np.ndarray:
        """As `Source.crop`."""
        return self.source.crop(int(self.indices[index]), start, n_frames, rng)


class Transformed(Source):
    """A source whose features go through a function, in training and extraction alike.

    Parameters
    ----------
    source : Source
    function : callable
        Features (n_frames, n_features) to such of as many frames; it sees what is read, so that
        `normalise_features` takes the mean over a crop. Defined at the top of a module, for
        worker processes.
    """

    def __init__(self, source: Source, function: Callable[[np.ndarray], np.ndarray]):
        self.source = source
        self.function = function
        self.ids = source.ids
        self.lengths = source.lengths
        self.draws = source.draws
        probe = np.zeros((1, source.n_features), np.float32)
        self.n_features = function(probe).shape[1]

    def read(self, index: int, start: int = 0, n_frames: int | None = None) -> np.ndarray:
        """As `Source.read`."""
        return self._apply(self.source.read(index, start, n_frames))

    def crop(
        self, index: int, start: int, n_frames: int, rng: np.random.Generator | None
    ) -> np.ndarray:
        """As `Source.crop`."""
        return self._apply(self.source.crop(index, start, n_frames, rng))

    def _apply(self, features: np.ndarray) -> np.ndarray:
        changed = self.function(features)
        if len(changed) != len(features):
            raise UsageError(
                f"the function made {len(changed)} frames of {len(features)}; it must keep them"
            )
        return changed


def normalise_mean(features: np.ndarray) -> np.ndarray:
    """Features (n_frames, n_features) less their mean over time."""
    return features - features.mean(axis=0)


def normalise_features(features: np.ndarray) -> np.ndarray:
    """Features (n_frames, n_features) of mean 0 and variance 1 over time, each for itself."""
    centred = features - features.mean(axis=0)
    return centred / np.maximum(centred.std(axis=0), LEAST_DEVIATION)


def normalise_frames(features: np.ndarray) -> np.ndarray:
    """Features (n_frames, n_features) of mean 0 and variance 1 within each frame."""
    centred = features - features.mean(axis=1, keepdims=True)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), LEAST_DEVIATION)


def open_features(path: str | os.PathLike) -> Source:
    """Open stored features: a log-mel store, a ``.scp``, or a folder with ``feats.scp``.

    Raises
    ------
    DataError
        None of them is there, or it cannot be used.
    """
    path = Path(path)
    if (path / "store.json").is_file():
        return StoreSource(path)
    if path.suffix == ".scp" or (path / "feats.scp").is_file():
        return KaldiSource(path)
    raise DataError(f"{path}: holds neither a log-mel store nor feats.scp; make features first")


def make_labels(
    ids: Sequence[str], utt2spk: Mapping[str, str], speakers: Sequence[str] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Number the speakers of utterances.

    Parameters
    ----------
    ids : sequence of str
        A source's.
    utt2spk : mapping of str to str
        Utterance to speaker, as `ivector.data.read_table` reads it; may hold more.
    speakers : sequence of str, optional
        Names in the order of their numbers; by default those that occur, sorted.

    Returns
    -------
    labels : ndarray (n_utterances,), int64
    speakers : list of str

    Raises
    ------
    DataError
        An utterance without speaker, or a speaker that is not among `speakers`.
    """
    if absent := [key for key in ids if key not in utt2spk]:
        raise DataError(
            f"utterance {absent[0]} has no speaker ({len(absent)} of {len(ids)} have none); "
            "complete utt2spk or leave them out"
        )
    names = [utt2spk[key] for key in ids]
    chosen = sorted(set(names)) if speakers is None else list(speakers)
    numbers = {name: number for number, name in enumerate(chosen)}
    for key, name in zip(ids, names):
        if name not in numbers:
            raise DataError(f"utterance {key}: speaker {name} is not among the {len(chosen)} known")
    return np.array([numbers[name] for name in names], np.int64), chosen


def pack(source: Source, prefix: str | os.PathLike) -> KaldiSource:
    """Write a source's features to one archive, ``PREFIX.ark`` and ``.scp``, and open it.

    For sources that are slow to read in part, as files of tensors and audio are.

    Raises
    ------
    DataError
        An id that a line of an scp cannot hold.
    """
    from ivector.base.log import progress
    from ivector.formats.arks import ArkWriter

    if wrong := [key for key in source.ids if key.split() != [key]]:
        raise DataError(f"{wrong[0]!r} cannot be an id in an archive: ids hold no blanks")
    with ArkWriter(prefix) as writer:
        for index, key in enumerate(progress(source.ids, desc="packing")):
            writer.write(key, source.read(index))
    return KaldiSource(writer.scp)


def in_memory(source: Source) -> ArraySource:
    """Read all of a source; worker processes that are forked share the memory."""
    return ArraySource(source.ids, [source.read(index) for index in range(len(source))])
