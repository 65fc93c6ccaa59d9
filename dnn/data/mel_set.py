"""Sets of mel features in ``.pt`` files with JSON or CSV tables, for closed-set classification.

JSON::

    mapping.json    {"speaker2id": {NAME: NUMBER}, "id2speaker": {"NUMBER": NAME}}
    metadata.json   {"n_mels": 40, "speakers": {NAME: [{"feature_path": FILE, "mel_len": T}, ...]}}
    testdata.json   {"n_mels": 40, "utterances": [{"feature_path": FILE, "mel_len": T}, ...]}

CSV: ``train_label.csv`` with ``feat_path,speaker_id`` (``train/NAME.pt``, a whole number) and
``test_id.csv`` with ``feat_path`` (``test/NAME.pt``). Other headers with a column of each kind are
read, too; files lie in the folder or in its ``train`` and ``test``, the ending ``.pt`` may be left
out. A file holds one float tensor (T, n_mels); `dnn.formats.tensors` reads it safely.

T  frames
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnn.data.sources import Source, make_labels
from dnn.formats.tensors import read_tensor, write_tensor
from ivector.base.errors import DataError
from ivector.base.files import read_lines, write_text
from ivector.base.foreign.boundary import read_json
from ivector.base.foreign.opening import inside
from ivector.base.log import progress

TRAIN_CSV, TEST_CSV, TEST_JSON = "train_label.csv", "test_id.csv", "testdata.json"
LABEL_COLUMNS = ("speaker", "speaker_id", "label", "category", "class")


class TensorFiles(Source):
    """Features in one ``.pt`` file an utterance.

    A file is read as a whole for each crop, which takes 0.3 ms; `dnn.data.sources.pack` makes an
    archive of them that gives crops 50 times as fast.

    Parameters
    ----------
    ids : sequence of str
    paths : sequence of path-like
    lengths : sequence of int, optional
        Frames, as a table promises them; without, every file is read once.
    n_features : int, optional
        As a table promises it; without, that of the first file.

    Raises
    ------
    DataError
        A file is missing (all are looked for), or another than promised.
    """

    def __init__(
        self,
        ids: Sequence[str],
        paths: Sequence[str | os.PathLike],
        lengths: Sequence[int] | None = None,
        n_features: int | None = None,
    ):
        self.ids = list(ids)
        self.paths = [os.path.abspath(path) for path in paths]
        if not self.ids:
            raise DataError("no utterances were given")
        absent = [i for i, path in enumerate(self.paths) if not os.path.isfile(path)]
        if absent:
            raise DataError(
                f"{self.paths[absent[0]]}: feature file of {self.ids[absent[0]]} is missing "
                f"({len(absent)} of {len(self.ids)} are); fetch it, or take it out of the table"
            )
        self.n_features = n_features or read_tensor(self.paths[0]).shape[1]
        if lengths is None:
            lengths = [len(self._load(path)) for path in progress(self.paths, desc="lengths")]
        self.lengths = np.asarray(lengths, np.int64)

    def _load(self, path: str) -> np.ndarray:
        features = read_tensor(path)
        if features.shape[1] != self.n_features:
            raise DataError(f"{path}: has {features.shape[1]} features, expected {self.n_features}")
        return features

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        features = self._load(self.paths[index])
        if len(features) != self.lengths[index]:
            raise DataError(
                f"{self.paths[index]}: has {len(features)} frames, the table says "
                f"{self.lengths[index]}; correct mel_len or fetch the file again"
            )
        return features[start:stop].copy()


class Training(NamedTuple):
    """A training set: its features, labels (n_utterances,) int64, and names by number."""

    source: TensorFiles
    labels: np.ndarray
    speakers: list[str]


def read_training(folder: str | os.PathLike) -> Training:
    """Open a training set, of whichever variant the folder holds.

    Raises
    ------
    DataError
        Tables that are missing, damaged, or contradict each other; a missing feature file.
    """
    folder = Path(folder)
    if (folder / "metadata.json").is_file():
        return _read_json(folder)
    if (folder / TRAIN_CSV).is_file():
        return _read_csv(folder)
    raise DataError(
        f"{folder}: holds neither metadata.json nor {TRAIN_CSV}; give the folder of them"
    )


def read_test(folder: str | os.PathLike) -> TensorFiles:
    """Open a test set; its ids are what ``output.csv`` calls ``Id``.

    Raises
    ------
    DataError
        As `read_training`.
    """
    folder = Path(folder)
    if (folder / TEST_JSON).is_file():
        path = folder / TEST_JSON
        table = _load_json(path)
        rows = _rows(path, _field(path, table, "utterances", list), "utterances")
        return _open(path, rows, _number(path, table, "n_mels"))
    if (folder / TEST_CSV).is_file():
        ids = [row[0] for row in _csv_rows(folder / TEST_CSV, 1)]
        return TensorFiles(ids, [_find(folder / TEST_CSV, "test", name) for name in ids])
    raise DataError(f"{folder}: holds neither testdata.json nor {TEST_CSV}; fetch one of them")


def check_test(folder: str | os.PathLike) -> None:
    """Read all of a test set, if the folder has one: its defects are told before a training.

    Raises
    ------
    DataError
        As `read_training`, or a file that is no such features.
    """
    if any((Path(folder) / name).is_file() for name in (TEST_JSON, TEST_CSV)):
        source = read_test(folder)
        for index in progress(range(len(source.ids)), desc="looking at the test set"):
            source.read(index)


def write_set(
    folder: str | os.PathLike,
    train: Mapping[str, Sequence[np.ndarray]],
    test: Sequence[np.ndarray],
    variant: str = "json",
) -> list[str]:
    """Write a set in the original format, for miniature data and tests.

    Parameters
    ----------
    folder : path-like
    train : mapping of str to sequence of ndarray (n_frames, n_mels)
        Features by speaker.
    test : sequence of ndarray (n_frames, n_mels)
    variant : {"json", "csv"}

    Returns
    -------
    list of str
        Ids of the test utterances, in their order.
    """
    folder = Path(folder)
    counter = iter(range(1 << 30))

    def save(features: np.ndarray, part: str) -> dict[str, Any]:
        name = f"{part if variant == 'csv' else ''}uttr-{next(counter):032x}.pt"
        write_tensor(folder / name, features)
        return {"feature_path": name, "mel_len": len(features)}

    speakers = {name: [save(f, "train/") for f in train[name]] for name in sorted(train)}
    tests = [save(features, "test/") for features in test]
    if variant == "csv":
        lines = [f"{row['feature_path']},{name}" for name in speakers for row in speakers[name]]
        write_text(folder / TRAIN_CSV, "\n".join(["feat_path,speaker_id", *lines]) + "\n")
        ids = [row["feature_path"] for row in tests]
        write_text(folder / TEST_CSV, "\n".join(["feat_path", *ids]) + "\n")
        return ids
    n_mels = next(features.shape[1] for rows in train.values() for features in rows)
    numbers = {name: number for number, name in enumerate(speakers)}
    tables = {
        "mapping": {
            "speaker2id": numbers,
            "id2speaker": {str(number): name for name, number in numbers.items()},
        },
        "metadata": {"n_mels": n_mels, "speakers": speakers},
        "testdata": {"n_mels": n_mels, "utterances": tests},
    }
    for name, table in tables.items():
        write_text(folder / f"{name}.json", json.dumps(table, ensure_ascii=False, indent=1) + "\n")
    return [row["feature_path"] for row in tests]


def _read_json(folder: Path) -> Training:
    path = folder / "metadata.json"
    table = _load_json(path)
    speakers = _read_mapping(folder / "mapping.json")
    numbers = {name: number for number, name in enumerate(speakers)}
    rows, labels = [], []
    for name, utterances in _field(path, table, "speakers", dict).items():
        if name not in numbers:
            raise DataError(f"{path}: speaker {name} is not in {folder / 'mapping.json'}")
        found = _rows(path, utterances, f"speaker {name}")
        rows += found
        labels += [numbers[name]] * len(found)
    return Training(
        _open(path, rows, _number(path, table, "n_mels")), np.array(labels, np.int64), speakers
    )


def _read_mapping(path: Path) -> list[str]:
    """Names of the speakers in the order of their numbers."""
    table = _load_json(path)
    numbers = _field(path, table, "speaker2id", dict)
    if sorted(map(repr, numbers.values())) != sorted(map(repr, range(len(numbers)))):
        raise DataError(f"{path}: speaker2id must number the speakers 0 to {len(numbers) - 1}")
    speakers = sorted(numbers, key=numbers.__getitem__)
    inverse = _field(path, table, "id2speaker", dict)
    for number, name in enumerate(speakers):
        if inverse.get(str(number)) != name:
            raise DataError(f"{path}: id2speaker contradicts speaker2id for speaker {name}")
    return speakers


def _open(table: Path, rows: list[tuple[str, int]], n_mels: int) -> TensorFiles:
    folder = table.parent
    ids = [name for name, _ in rows]
    return TensorFiles(
        ids, [inside(folder, name, table) for name in ids], [n for _, n in rows], n_mels
    )


def _rows(path: Path, utterances: Any, where: str) -> list[tuple[str, int]]:
    """(feature_path, mel_len) of a list of utterances."""
    rows = []
    for count, row in enumerate(utterances if isinstance(utterances, list) else [utterances]):
        try:
            name, length = row["feature_path"], row["mel_len"]
        except (TypeError, KeyError):
            name = length = None
        if not isinstance(name, str) or not isinstance(length, int) or not 0 <= length < 2**31:
            raise DataError(
                f"{path}: {where}, utterance {count}: expected feature_path and mel_len, "
                f"got {row!r}"
            )
        rows.append((name, length))
    if not rows:
        raise DataError(f"{path}: {where}: holds no utterances; fetch the file again")
    return rows


def _load_json(path: Path) -> dict[str, Any]:
    return read_json(path, "a description of features")


def _field(path: Path, table: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(table.get(name), kind) or isinstance(table[name], bool):
        raise DataError(f"{path}: has no {name}, or it is something else than a {kind.__name__}")
    return table[name]


def _number(path: Path, table: Mapping[str, Any], name: str) -> int:
    if _field(path, table, name, int) < 1:
        raise DataError(f"{path}: {name} must be at least 1, got {table[name]}")
    return table[name]


def _read_csv(folder: Path) -> Training:
    path = folder / TRAIN_CSV
    pairs = list(_csv_rows(path, 2))
    utt2spk: dict[str, str] = {}
    for file, speaker in pairs:
        if file in utt2spk:
            raise DataError(f"{path}: {file} stands there twice; take one of the lines out")
        utt2spk[file] = speaker
    source = TensorFiles(list(utt2spk), [_find(path, "train", name) for name in utt2spk])
    # Numbers in the order of their values, names in that of the alphabet.
    names = sorted(set(utt2spk.values()), key=_by_number)
    return Training(source, *make_labels(source.ids, utt2spk, names))


def _by_number(name: str) -> tuple[int, str]:
    return int(name) if name.isdecimal() and len(name) < 19 else -1, name


def _csv_rows(path: Path, n_columns: int) -> Iterable[tuple[str, ...]]:
    """The file's name and, of two columns, the speaker of every line behind the header."""
    lines = list(csv.reader(read_lines(path)))
    if len(lines) < 2:
        raise DataError(f"{path}: holds no utterances behind its header; fetch it again")
    header = [name.strip().lower() for name in lines[0]]
    label = next((i for i, name in enumerate(header) if name in LABEL_COLUMNS), 1)
    file = 1 if label == 0 else 0
    columns = (file, label)[:n_columns]
    for number, fields in enumerate(lines[1:], 2):
        if not fields:
            continue
        if len(fields) <= max(columns) or not all(fields[i].strip() for i in columns):
            raise DataError(f"{path}:{number}: expected {','.join(lines[0])}, got {fields!r}")
        yield tuple(fields[i].strip() for i in columns)


def _find(table: Path, part: str, name: str) -> Path:
    """Where a file of the CSV variant is, or should be."""
    folder = table.parent
    inside(folder, name, table)
    file = name if name.endswith(".pt") else f"{name}.pt"
    apart = folder / part / file
    return apart if apart.is_file() else folder / file
