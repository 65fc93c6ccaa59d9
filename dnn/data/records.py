"""Binary records of spectrograms with labels, ``voxceleb-abridged-N.bin``.

A record is one float32 label (a whole number stored as a float), then the spectrogram, bins ×
frames row by row, 512 × 300 float32: 614,404 bytes, little-endian, without separators. The
samples, ``samples/NAME_OF_SPEAKER/VIDEO_UTT.bin``, may be without label, 614,400 bytes; a file's
size tells which. A classes file has ``NUMBER NAME`` a line. Files are mapped into memory: nothing
is read but what is asked for.

T  frames of a record, 300
F  bins, 512
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dnn.data.sources import Source
from dnn.formats.mapped import MappedFiles
from ivector.base.errors import DataError
from ivector.base.files import atomic_write, read_lines, write_text

N_BINS, N_FRAMES = 512, 300
NO_LABEL = -1
FLOAT = np.dtype("<f4")


class BinaryRecords(Source):
    """Spectrograms and labels of one or several files of records.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Files, in the order of their records; or a folder, of which all ``.bin`` are taken in the
        order of the numbers in their names, else those of its sub-folders.
    n_classes : int, optional
        Labels are below it.
    n_bins, n_frames : int
        Size of a spectrogram.

    Attributes
    ----------
    labels : ndarray (n_records,), int64
        `NO_LABEL` of records that have none.
    files : list of Path
        Of each record.
    ids : list of str
        ``FILE:RECORD``, records counted from 0; of a folder of samples ``SPEAKER/FILE:RECORD``.

    Raises
    ------
    DataError
        A file is missing, ends within a record, or has a label that is no class; names file and
        record.
    """

    def __init__(
        self,
        paths: str | os.PathLike | Sequence[str | os.PathLike],
        n_classes: int | None = None,
        n_bins: int = N_BINS,
        n_frames: int = N_FRAMES,
    ):
        self.paths = find_records(paths)
        self.n_features = n_bins
        spectrogram = ("spectrogram", FLOAT, (n_bins, n_frames))
        self._layouts = [np.dtype([("label", FLOAT), spectrogram]), np.dtype([spectrogram])]
        self._files = MappedFiles(self.paths)
        self._layout, counts = zip(*(self._count(path) for path in self.paths))
        self._numbers = np.repeat(np.arange(len(counts)), counts)
        self._rows = np.concatenate([np.arange(count) for count in counts])
        self.files = [self.paths[number] for number in self._numbers]
        several = len({path.parent for path in self.paths}) > 1
        names = [f"{p.parent.name}/{p.name}" if several else p.name for p in self.paths]
        self.ids = [f"{names[n]}:{row}" for n, row in zip(self._numbers, self._rows)]
        self.lengths = np.full(len(self.ids), n_frames, np.int64)
        self.labels = self._read_labels(n_classes)

    def _count(self, path: Path) -> tuple[np.dtype, int]:
        """Layout of a file's records, and their number, all whole."""
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        for layout in self._layouts:
            if size and size % layout.itemsize == 0:
                return layout, size // layout.itemsize
        sizes = [layout.itemsize for layout in self._layouts]
        count, rest = divmod(size, sizes[0])
        raise DataError(
            f"{path}: record {count} is cut: {rest} of {sizes[0]} bytes are there ({sizes[1]} "
            "without label); fetch the file again, or cut it off there"
        )

    def _view(self, number: int) -> np.ndarray:
        return np.frombuffer(self._files[number], self._layout[number])

    def _read_labels(self, n_classes: int | None) -> np.ndarray:
        views = [self._view(number) for number in range(len(self.paths))]
        labelled = [v for v in views if "label" in (v.dtype.names or ())]
        has = np.array([layout is self._layouts[0] for layout in self._layout])[self._numbers]
        floats = np.full(len(has), NO_LABEL, FLOAT)
        if labelled:
            floats[has] = np.concatenate([v["label"] for v in labelled])
        limit = np.inf if n_classes is None else n_classes
        # NaN fails any comparison.
        right = (floats >= 0) & (floats < limit) & (floats == np.rint(floats))
        wrong = np.flatnonzero(has & ~right)
        if len(wrong):
            first = wrong[0]
            path = self.paths[self._numbers[first]]
            expected = "a whole number from 0" + (
                "" if n_classes is None else f" to {n_classes - 1}"
            )
            raise DataError(
                f"{path}: record {self._rows[first]} has the label {floats[first]:g}, expected "
                f"{expected} ({len(wrong)} such records); is it another classes file's?"
            )
        return floats.astype(np.int64)

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        spectrogram = self.spectrogram(index)
        return np.ascontiguousarray(spectrogram[:, start:stop].T, np.float32)

    def spectrogram(self, index: int) -> np.ndarray:
        """Return a record's spectrogram as it stands in the file, (n_bins, n_frames), read-only."""
        view = self._view(int(self._numbers[index]))
        return view["spectrogram"][int(self._rows[index])]


def find_records(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Path]:
    """List files of records: those given, or those of a folder by the numbers in their names."""
    if not isinstance(paths, (str, os.PathLike)):
        found = [Path(path) for path in paths]
    elif Path(paths).is_dir():
        found = sorted(Path(paths).glob("*.bin"), key=_by_number)
        found = found or sorted(Path(paths).glob("*/*.bin"))
    else:
        found = [Path(paths)]
    if not found:
        raise DataError(f"{paths}: holds no .bin files of records")
    return found


def _by_number(path: Path) -> tuple[str, int, str]:
    """Order 2 before 10."""
    head = path.stem.rstrip("0123456789")
    return head, int(path.stem[len(head) :] or -1), path.name


def write_records(path: str | os.PathLike, records: Iterable[tuple[int | None, np.ndarray]]) -> int:
    """Write a file of records, whole or not at all.

    Parameters
    ----------
    path : path-like
    records : iterable of (int or None, ndarray (n_bins, n_frames))
        Label and spectrogram, all of one size; None writes no label.

    Returns
    -------
    int
        Number of records.

    Raises
    ------
    DataError
        A spectrogram of another size than the first, or a label that is negative or too large to
        be whole as a float32.
    """
    count, shape = 0, None
    with atomic_write(path) as file:
        for label, spectrogram in records:
            spectrogram = np.asarray(spectrogram)
            if spectrogram.ndim != 2 or spectrogram.shape != (shape or spectrogram.shape):
                raise DataError(
                    f"{path}: record {count} has shape {spectrogram.shape}, expected "
                    f"{shape or '(n_bins, n_frames)'}"
                )
            shape = spectrogram.shape
            if label is not None:
                if not 0 <= label < 1 << 24:
                    raise DataError(f"{path}: record {count}: {label} cannot be a label")
                file.write(np.array(label, FLOAT).tobytes())
            file.write(np.ascontiguousarray(spectrogram, FLOAT).tobytes())
            count += 1
    return count


def read_classes(path: str | os.PathLike) -> list[str]:
    """Read a classes file, ``NUMBER NAME`` a line, as names in the order of their numbers.

    Raises
    ------
    DataError
        The file is missing or empty, a line is something else, or the numbers are not 0, 1, ….
    """
    names: dict[int, str] = {}
    for number, line in _numbered(path):
        key, _, name = line.partition(" ")
        if not key.isdecimal() or len(key) > 18 or not name.strip():
            raise DataError(f"{path}:{number}: expected 'NUMBER NAME', got {line!r}")
        if int(key) in names:
            raise DataError(f"{path}:{number}: class {key} stands there twice")
        names[int(key)] = name.strip()
    if not names or sorted(names) != list(range(len(names))):
        absent = next(i for i in range(len(names) + 1) if i not in names)
        raise DataError(
            f"{path}: class {absent} is missing; classes are numbered from 0 without gaps"
        )
    return [names[i] for i in range(len(names))]


def write_classes(path: str | os.PathLike, names: Sequence[str]) -> None:
    """Write a classes file; see `read_classes`."""
    write_text(path, "".join(f"{number} {name}\n" for number, name in enumerate(names)))


def _numbered(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_lines(path), 1):
        if text := " ".join(line.split()):
            yield number, text
