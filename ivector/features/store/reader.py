"""Log-mel store: the log-mel energies of a whole corpus, computed once, read by utterance.

At 40 dimensions and 100 frames a second, Kaldi's compressed matrices (one byte a number, the
default) take 4 kB a second, 12.5 % of 16-bit audio at 16 kHz, and a little for headers. float16,
two bytes a number, takes 25 %; it is more exact, and parts of an utterance are read without the
rest. float32 keeps features of another program that are so stored.

A store is a folder::

    store.json         written last: options, versions, counts, sizes
    index              "utt file offset n_frames", sorted
    feats.scp          the same for Kaldi (compressed storage only; paths as OUT was given)
    logmel.<n>.ark     Kaldi archives, or frames row by row, little-endian: logmel.<n>.f16 of
                       float16, logmel.<n>.f32 of float32
    logmel.<n>.json    written after each of them, so that a killed run continues
    skipped            "utt why" for recordings that cannot be used

Files are found relative to the folder, so that it may be moved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.errors import DataError, UsageError, named
from ivector.base.files import read_lines
from ivector.base.foreign.boundary import check_types, foreign, read_json
from ivector.base.foreign.opening import inside
from ivector.features.store.writer import FORMAT, PLAIN, STORAGES, Recording, write_store

# The options of `LogMel` that give the numbers of another program.
_TORCHAUDIO = {"num_mel_bins": 40, "low_freq": 0.0, "preemphasis_coefficient": 0.0}
PRESETS: dict[str, dict[str, Any]] = {
    "voxsrc2020": {**_TORCHAUDIO, "window_type": "hanning", "flavour": "torchaudio-int16"},
    "clovaai": {**_TORCHAUDIO, "window_type": "hamming", "flavour": "torchaudio"},
    "clovaai-int16": {**_TORCHAUDIO, "window_type": "hamming", "flavour": "torchaudio-int16"},
    "kaldi": {"num_mel_bins": 40, "snip_edges": False},
}
PRESETS["voxsrc"] = PRESETS["clovaai"]  # its former name
DEFAULT_PRESET = "clovaai"
PRESET_HELP = (
    "whose numbers: voxsrc2020, of the VoxSRC 2020 pipeline (torchaudio, Hann window, 16-bit "
    "scale); clovaai, of voxceleb_trainer today (Hamming, samples in +-1; formerly voxsrc), or "
    "clovaai-int16 (16-bit scale); kaldi, of compute-fbank-feats"
)


class Place(NamedTuple):
    """Where an utterance's frames lie."""

    file: str
    offset: int
    n_frames: int


class LogMelStore(Mapping[str, np.ndarray]):
    """Log-mel features of a corpus by utterance id, read from disk when asked for.

    Made by `create` or `open`. Picklable; workers read the files independently.

    Attributes
    ----------
    folder : Path
    metadata : dict
        What ``store.json`` holds: ``options`` of `LogMel`, ``storage``, ``n_dims``, ``versions``,
        ``revision``, and counts of utterances, frames and bytes.

    Examples
    --------
    >>> import numpy as np
    >>> import soundfile
    >>> from ivector import LogMelStore
    >>> soundfile.write("a.wav", 0.1 * np.sin(np.arange(16000)), 16000)
    >>> store = LogMelStore.create("logmel", [("utt-a", "a.wav", None, None)])
    >>> list(store), store["utt-a"].shape
    (['utt-a'], (101, 40))
    >>> LogMelStore.open("logmel").read("utt-a", start=20, stop=50).shape
    (30, 40)
    """

    def __init__(self, folder: Path, metadata: dict[str, Any], index: dict[str, Place]):
        self.folder = folder
        self.metadata = metadata
        self._index = index

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike,
        recordings: Iterable[Recording],
        options: Mapping[str, Any] | None = None,
        storage: str = "kaldi",
        nj: int = 1,
        strict: bool = False,
    ) -> LogMelStore:
        """Compute and write a store, or what an earlier, killed run left to do.

        Parameters
        ----------
        folder : path-like
        recordings : iterable of (utterance, audio file, start, end[, channel])
            As `ivector.data.DataDir.recordings` gives them; start and end in seconds or None.
        options : mapping, optional
            Of `ivector.features.extractors.LogMel`; by default those of voxceleb_trainer, 40
            dimensions at 16 kHz. Recordings are resampled to ``sample_frequency``.
        storage : {"kaldi", "float16", "float32"}
            One byte a number, two or four.
        nj : int
            Processes; the files do not depend on it.
        strict : bool
            Stop at a recording that cannot be used, instead of leaving it out.

        Raises
        ------
        DataError
            No recording can be used, two have one id, or the folder cannot be written.
        UsageError
            Options that make no sense.
        """
        if storage not in STORAGES:
            raise UsageError(f"storage must be one of {', '.join(STORAGES)}, got {storage!r}")
        ordered = sorted(recordings, key=lambda recording: recording[0])
        chosen = dict(PRESETS[DEFAULT_PRESET] if options is None else options)
        write_store(Path(folder), ordered, chosen, storage, nj, strict)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> LogMelStore:
        """Open a complete store.

        Raises
        ------
        DataError
            There is none, it is incomplete, damaged, or of a newer format.
        """
        folder = Path(folder)
        path = folder / "store.json"
        if not path.is_file():
            raise DataError(
                f"{folder}: no complete log-mel store; make it (python -m ivector.features.store)"
            )
        what = "the description of a log-mel store"
        metadata = read_json(path, what)
        check_types(path, metadata, {"format": int, "n_dims": int, "storage": str}, what)
        version = metadata["format"]
        if not 1 <= version <= FORMAT:
            raise DataError(f"{path}: format {version} is newer than this version reads; upgrade")
        if metadata["n_dims"] < 1 or metadata["storage"] not in STORAGES:
            raise DataError(f"{path}: makes no sense; make the store again")
        return cls(folder, metadata, _read_index(folder / "index"))

    def __getitem__(self, utterance: str) -> np.ndarray:
        """Return the features of an utterance, (n_frames, n_dims) float32.

        Raises
        ------
        KeyError
            No such utterance.
        DataError
            Its file is missing, cut or damaged.
        """
        return self.read(utterance)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, utterance: object) -> bool:
        return utterance in self._index

    @property
    def n_dims(self) -> int:
        """Dimensions of a frame."""
        return self.metadata["n_dims"]

    def place(self, utterance: str) -> Place:
        """Return where the frames of an utterance lie, for readers of parts of it."""
        return self._index[utterance]

    def n_frames(self, utterance: str) -> int:
        """Return the number of frames of an utterance, without reading them."""
        return self._index[utterance].n_frames

    def read(self, utterance: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read frames `start` up to `stop` of an utterance, as a slice.

        From float16 storage only these are read; compressed matrices are read as a whole.

        Returns
        -------
        ndarray (n_frames, n_dims), float32
        """
        place = self._index[utterance]
        start, stop, _ = slice(start, stop).indices(place.n_frames)
        if self.metadata["storage"] in PLAIN:
            return self._read_plain(utterance, place, start, max(stop - start, 0))
        from ivector.formats.arks import load_array

        array = load_array(utterance, f"{self.folder / place.file}:{place.offset}")
        if array.shape != (place.n_frames, self.n_dims):
            raise DataError(
                f"{utterance}: {place.file} holds a matrix of {array.shape} there, expected "
                f"{(place.n_frames, self.n_dims)}; make the store again"
            )
        return np.ascontiguousarray(array[start:stop], np.float32)

    def _read_plain(self, utterance: str, place: Place, start: int, count: int) -> np.ndarray:
        path, n_dims = self.folder / place.file, self.n_dims
        dtype = PLAIN[self.metadata["storage"]].dtype
        offset = place.offset + start * n_dims * dtype.itemsize
        cure = "make the store again"
        with named(utterance), foreign(path, "a file of a log-mel store", cure):
            if offset + count * n_dims * dtype.itemsize > path.stat().st_size:
                raise DataError(f"{path} is cut short; {cure}")
            flat = np.fromfile(path, dtype, count * n_dims, offset=offset)
        return flat.astype(np.float32).reshape(count, n_dims)


def _read_index(path: Path) -> dict[str, Place]:
    index = {}
    for number, line in enumerate(read_lines(path), 1):
        try:
            utt, file, offset, n_frames = line.split(" ")
            inside(path.parent, file, path)
            index[utt] = Place(file, int(offset), int(n_frames))
            if not utt or min(index[utt].offset, index[utt].n_frames) < 0:
                raise ValueError
        except DataError:
            raise
        except ValueError:
            raise DataError(f"{path}:{number}: not an index line; make the store again") from None
    return index
