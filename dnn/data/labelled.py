"""Utterances with their speakers for closed-set identification, whichever way they are stored.

Recognised by what a path holds:

=============  ================================================================================
records        ``.bin`` files, or a folder of them or of one folder of them for each speaker,
               with a classes file (`dnn.data.records`)
mels           a folder with ``metadata.json`` or ``train_label.csv`` (`dnn.data.mel_set`)
recordings     a data directory with ``wav.scp`` and ``utt2spk``, of which spectrograms or log-mel
               features are computed as they are asked for
=============  ================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnn.data.records import NO_LABEL, BinaryRecords, find_records, read_classes
from dnn.data.sources import (
    KaldiSource,
    Source,
    Subset,
    Transformed,
    normalise_features,
    normalise_mean,
)
from ivector.base.errors import DataError, UsageError

CLASSES = ("voxceleb-abridged-classes.txt", "classes.txt")
N_MELS = 40
COMPARED = 16  # utterances of an archive of packed features
FEATURES = ("spectrogram", "log-spectrogram", "log-mel")
NORMALISATIONS: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    "none": None,
    "mean": normalise_mean,
    "variance": normalise_features,
}


class FrontEnd(NamedTuple):
    """What a network's features are, kept with it.

    `features` is "spectrogram", "log-spectrogram" or "log-mel"; `normalisation`, of each feature
    over the frames that are read together, "none", "mean" or "variance" (mean and variance).
    """

    features: str
    normalisation: str

    @property
    def crop_frames(self) -> int:
        """Length of a training crop in the tasks: 3 s of spectrogram, 128 log-mel frames."""
        return 128 if self.features == "log-mel" else 300


class LabelledSet(NamedTuple):
    """Utterances, labels (n_utterances,) int64, and the speakers' names by label."""

    source: Source
    labels: np.ndarray
    speakers: list[str]

    def subset(self, indices: np.ndarray) -> LabelledSet:
        """Some of the utterances, of the same speakers."""
        return LabelledSet(Subset(self.source, indices), self.labels[indices], self.speakers)


def guess_front_end(
    paths: Sequence[str | os.PathLike],
    features: str | None = None,
    normalisation: str | None = None,
) -> FrontEnd:
    """The front end of a set, as the tasks have it where nothing else is wanted.

    Parameters
    ----------
    paths : sequence of path-like
    features : {"spectrogram", "log-spectrogram", "log-mel"}, optional
        Of recordings; stored features are what they are.
    normalisation : {"none", "mean", "variance"}, optional
        By default "variance" of spectrograms, "none" of stored log-mel features, and "mean" of
        those of recordings.

    Raises
    ------
    DataError
        The paths hold no set.
    UsageError
        Features that the set does not have.
    """
    kind = _kind(paths)
    stored = {"records": "spectrogram", "mels": "log-mel"}.get(kind)
    if stored and features not in (None, stored):
        raise UsageError(f"{paths[0]}: holds {stored} features, not {features}")
    features = stored or features or "log-mel"
    default = {"records": "variance", "mels": "none"}.get(
        kind, "mean" if features == "log-mel" else "variance"
    )
    front_end = FrontEnd(features, normalisation or default)
    _check(front_end)
    return front_end


def open_labelled(
    paths: Sequence[str | os.PathLike],
    front_end: FrontEnd,
    *,
    classes: str | os.PathLike | None = None,
    speakers: Sequence[str] | None = None,
    pack: str | os.PathLike | None = None,
) -> LabelledSet:
    """Open utterances whose speakers are known.

    Parameters
    ----------
    paths : sequence of path-like
        Files of records, or one folder.
    front_end : FrontEnd
    classes : path-like, optional
        Classes file of records; by default one of `CLASSES` beside them or above their samples,
        if it is there.
    speakers : sequence of str, optional
        Those that a network knows, in the order of its classes.
    pack : path-like, optional
        Write the features to an archive ``PACK.ark`` first, if it is not there yet, from which
        crops are read much faster than from tensors or recordings.

    Raises
    ------
    DataError
        Files that are missing, cut or damaged, a label beyond the classes, or a speaker that the
        network does not know.
    """
    kind = _kind(paths)
    if classes is not None and kind != "records":
        raise UsageError(f"{classes}: a classes file belongs to .bin records; {paths[0]} has names")
    source, labels, names = _OPENERS[kind](paths, front_end, classes, speakers)
    if pack is not None:
        source = _packed(source, Path(pack))
    return LabelledSet(_normalised(source, front_end), labels, names)


def open_unlabelled(paths: Sequence[str | os.PathLike], front_end: FrontEnd) -> Source:
    """Open utterances to identify; of a mel set those of its test, whose speakers are secret.

    Raises
    ------
    DataError
        As `open_labelled`.
    """
    kind = _kind(paths, test=True)
    if kind == "records":
        _refuse_other(front_end, "spectrogram", paths)
        return _normalised(BinaryRecords(_files(paths)), front_end)
    if kind == "mels":
        from dnn.data.mel_set import read_test

        _refuse_other(front_end, "log-mel", paths)
        return _normalised(read_test(paths[0]), front_end)
    return _normalised(_open_recordings(paths, front_end, None, None)[0], front_end)


def hold_out(data: LabelledSet, n_each: int) -> tuple[LabelledSet, LabelledSet]:
    """Split off every speaker's last utterances, in the order of the source.

    Raises
    ------
    DataError
        A speaker has too few.
    """
    counts = np.bincount(data.labels, minlength=len(data.speakers))
    few = np.flatnonzero((counts > 0) & (counts <= n_each))
    if len(few):
        raise DataError(
            f"speaker {data.speakers[few[0]]} has {counts[few[0]]} utterances, of which holding "
            f"out {n_each} leaves none to train on; hold out fewer"
        )
    # Position of each utterance among its speaker's.
    order = np.argsort(data.labels, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < counts[data.labels] - n_each
    return data.subset(np.flatnonzero(kept)), data.subset(np.flatnonzero(~kept))


Opened = tuple[Source, np.ndarray, list[str]]


def _open_records(
    paths: Sequence[str | os.PathLike],
    front_end: FrontEnd,
    classes: str | os.PathLike | None,
    speakers: Sequence[str] | None,
) -> Opened:
    _refuse_other(front_end, "spectrogram", paths)
    files = find_records(_files(paths))
    path = Path(classes) if classes is not None else _find_classes(files[0])
    names = None if path is None else read_classes(path)
    if speakers is not None:
        if names is not None and list(speakers) != names:
            raise DataError(
                f"{path}: names other classes than the network's {len(speakers)}; give the file "
                "that it was trained with"
            )
        names = list(speakers)
    source = BinaryRecords(files, None if names is None else len(names))
    if names is None:
        names = [str(number) for number in range(int(source.labels.max()) + 1)]
    return source, _record_labels(source, names), names


def _find_classes(file: Path) -> Path | None:
    """The classes file beside records, or above samples/SPEAKER/FILE."""
    folders = list(file.absolute().parents)[:3]
    places = [folder / name for folder in folders for name in CLASSES]
    return next((place for place in places if place.is_file()), None)


def _record_labels(source: BinaryRecords, names: Sequence[str]) -> np.ndarray:
    """Labels of records, of such without one by the speaker that their folder is called after."""
    numbers = {name: number for number, name in enumerate(names)}
    labels = source.labels.copy()
    for i, file in enumerate(source.files):
        told = numbers.get(file.parent.name)
        if labels[i] < 0 and told is None:
            raise DataError(
                f"{file}: its records have no labels, and its folder is called after none of the "
                f"{len(names)} speakers; identify them with python -m dnn.identify predict"
            )
        if told is not None and labels[i] not in (NO_LABEL, told):
            raise DataError(
                f"{file}: has the label {labels[i]}, {names[labels[i]]}, in a folder of "
                f"{names[told]}; correct one of them"
            )
        labels[i] = labels[i] if told is None else told
    return labels


def _open_mels(
    paths: Sequence[str | os.PathLike],
    front_end: FrontEnd,
    classes: str | os.PathLike | None,
    speakers: Sequence[str] | None,
) -> Opened:
    from dnn.data.mel_set import read_training

    _refuse_other(front_end, "log-mel", paths)
    source, labels, names = read_training(paths[0])
    if speakers is None:
        return source, labels, names
    numbers = {name: number for number, name in enumerate(speakers)}
    if strange := [name for name in names if name not in numbers]:
        raise DataError(
            f"{paths[0]}: speaker {strange[0]} is none of the network's {len(numbers)} "
            f"({len(strange)} such speakers)"
        )
    return source, np.array([numbers[name] for name in names], np.int64)[labels], list(speakers)


def _open_recordings(
    paths: Sequence[str | os.PathLike],
    front_end: FrontEnd,
    classes: str | os.PathLike | None,
    speakers: Sequence[str] | None,
) -> Opened:
    from dnn.data.audio_source import AudioSource
    from dnn.data.sources import make_labels
    from dnn.data.spectrogram import Spectrogram
    from ivector.data import read_data_dir
    from ivector.features.extractors import LogMel

    data = read_data_dir(paths[0])
    extractor: Any = Spectrogram(log=front_end.features == "log-spectrogram")
    if front_end.features == "log-mel":
        extractor = LogMel(
            num_mel_bins=N_MELS, low_freq=0, window_type="hamming", preemphasis_coefficient=0,
            flavour="torchaudio",
        )  # fmt: skip
    source = AudioSource(data.recordings(), extractor)
    return source, *make_labels(source.ids, data.utt2spk, speakers)


_OPENERS = {"records": _open_records, "mels": _open_mels, "recordings": _open_recordings}


def _kind(paths: Sequence[str | os.PathLike], test: bool = False) -> str:
    """Which of the formats the paths hold."""
    first = Path(paths[0])
    tables = ("testdata.json", "test_id.csv") if test else ("metadata.json", "train_label.csv")
    tabled = any((first / name).is_file() for name in (*tables, "wav.scp"))
    nested = not tabled and any(first.glob("*/*.bin"))
    if not first.is_dir() or any(first.glob("*.bin")) or nested:
        if not first.exists():
            raise DataError(f"{first}: not there")
        if len(paths) > 1 and first.is_dir():
            raise UsageError(f"{first}: give one folder, or files of records")
        return "records"
    if len(paths) > 1:
        raise UsageError(f"{paths[1]}: give one folder, or files of records")
    if any((first / name).is_file() for name in tables):
        return "mels"
    if (first / "wav.scp").is_file():
        return "recordings"
    raise DataError(
        f"{first}: holds neither .bin records, nor {' or '.join(tables)}, nor wav.scp and utt2spk; "
        "give the folder of one of them"
    )


def _files(paths: Sequence[str | os.PathLike]) -> str | os.PathLike | Sequence[str | os.PathLike]:
    """A folder as itself, files as a list."""
    return paths[0] if Path(paths[0]).is_dir() else paths


def _check(front_end: FrontEnd) -> None:
    if front_end.features not in FEATURES:
        raise UsageError(f"features are {', '.join(FEATURES)}, not {front_end.features!r}")
    if front_end.normalisation not in NORMALISATIONS:
        raise UsageError(
            f"features are normalised by {', '.join(NORMALISATIONS)}, not "
            f"{front_end.normalisation!r}"
        )


def _refuse_other(front_end: FrontEnd, stored: str, paths: Sequence[str | os.PathLike]) -> None:
    if front_end.features != stored:
        raise DataError(
            f"{paths[0]}: holds {stored} features, the network takes {front_end.features}; give "
            "data of the kind that it was trained on"
        )


def _normalised(source: Source, front_end: FrontEnd) -> Source:
    _check(front_end)
    function = NORMALISATIONS[front_end.normalisation]
    return source if function is None else Transformed(source, function)


def _packed(source: Source, prefix: Path) -> Source:
    """The source as an archive, made once; some utterances tell whether it is of these features."""
    from dnn.data.sources import pack

    scp = prefix.with_name(f"{prefix.name}.scp")
    if scp.is_file():
        former = KaldiSource(scp)
        same = former.ids == source.ids and np.array_equal(former.lengths, source.lengths)
        if same and former.n_features == source.n_features:
            some = np.unique(np.linspace(0, len(source) - 1, COMPARED).astype(int))
            if all(np.array_equal(former.read(i), source.read(i)) for i in some):
                return former
    return pack(source, prefix)
