"""An identification experiment as its folder holds it: networks that were tested, and a sweep.

A folder has trained and tested networks (``*/test/results.json``) and perhaps a ``sweep`` of one.
Their records are looked at before anything is computed from them, so that one that is incomplete
is told by its file.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.errors import DataError
from ivector.base.files import read_lines, write_text
from ivector.base.foreign.boundary import check_types, foreign, read_json

NAMES = {
    "vgg-m": "VGG-M",
    "xvector": "x-vector (time delays)",
    "conformer": "Conformer",
    "ecapa": "ECAPA-TDNN",
    "resnetse34l": "ResNetSE34L",
}
FACTORS = {"Batch size": "batch_size", "Learning rate": "rate", "Width": "width"}
CONFUSION = "confusion.csv"
NUMBER = (int, float)
# What is read of each record, and of which type it is.
TEST = {
    "utterances": int, "top1": NUMBER, "top1_interval": list, "top5": NUMBER, "top5_interval": list,
    "instances_per_s": NUMBER, "by_speaker": dict, "worst_pairs": list,
}  # fmt: skip
PAIR = {"speaker": str, "taken_for": str, "utterances": int}
TRAINING = {"parameters": int, "instances_per_s": NUMBER}
SPEED = {
    **TRAINING, "epochs": NUMBER, "last_step": int, "processor": str, "cores": int, "threads": int,
    "torch": str, "system": str, "validated": (int, type(None)),
}  # fmt: skip
OPTIONS = {"model": str, "batch_size": int, "rate": NUMBER}
NETWORK = {**OPTIONS, "n_frames": (int, list), "optimiser": str}
TRIAL = {**OPTIONS, "width": NUMBER}
CURE = "train and test it again"
WHOLE = f"a complete record ({CURE})"


class Network(NamedTuple):
    """A trained and tested network: its measures, speed, options, and curves by epochs.

    `curves` are (epoch, share) by "training" and "held out", (epoch, loss) by "loss";
    `training_crops` counts the crops that each point of "training" is the mean of; `confusion` is
    (C, C).
    """

    name: str
    test: Mapping[str, Any]
    speed: Mapping[str, Any]
    options: Mapping[str, Any]
    curves: Mapping[str, np.ndarray]
    training_crops: np.ndarray
    confusion: np.ndarray
    step: int


class Point(NamedTuple):
    """A training of a sweep: the value of what was varied, and its record."""

    value: float
    record: Mapping[str, Any]

    @property
    def diverged(self) -> bool:
        """Whether there is no test of it."""
        return "diverged" in self.record


class Experiment(NamedTuple):
    """Networks, best first, and the trainings of a sweep by what was varied."""

    networks: list[Network]
    factors: dict[str, list[Point]]

    @property
    def speakers(self) -> list[str]:
        """Names of those who were tested."""
        return list(self.networks[0].test["by_speaker"])


def read_experiment(folder: Path) -> Experiment:
    """Read networks and sweep.

    Raises
    ------
    DataError
        No tested network, a damaged file, or networks that were tested on different sets.
    """
    networks = [_network(path.parents[1]) for path in sorted(folder.glob("*/test/results.json"))
                if (path.parents[1] / "speed.json").is_file()]  # fmt: skip
    if not networks:
        raise DataError(f"{folder}: holds no network with test/results.json; train and test one")
    first = networks[0]
    for other in networks[1:]:
        if _tested(other.test) != _tested(first.test):
            raise DataError(
                f"{folder}: its networks were tested on different sets; test them on one"
            )
    networks.sort(key=lambda network: -network.test["top1"])
    return Experiment(networks, _factors(folder / "sweep"))


def _tested(test: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Speakers of a test, and how many tests each has."""
    return [(speaker, n) for speaker, (_, n) in test["by_speaker"].items()]


def _network(folder: Path) -> Network:
    told = _read(folder / "network" / "config.json")
    test = check_test(folder / "test" / "results.json", _read(folder / "test" / "results.json"))
    speed = check_record(folder / "speed.json", _read(folder / "speed.json"), SPEED)
    options = check_part(folder / "network" / "config.json", told, "options", NETWORK)
    last_step = speed["last_step"]
    with foreign(folder / "scalars.jsonl", "the curves of a training", CURE):
        curves, crops = _curves(
            folder / "scalars.jsonl", speed["epochs"] / last_step, options["batch_size"]
        )
    with foreign(folder / "test" / CONFUSION, "the confusions of a test", CURE):
        confusion = _read_confusion(folder / "test" / CONFUSION, list(test["by_speaker"]))
    name = NAMES.get(options["model"], options["model"])
    return Network(name, test, speed, options, curves, crops, confusion, last_step)


def check_test(path: str | os.PathLike, test: dict[str, Any]) -> dict[str, Any]:
    """The record of a test, `dnn.identification.identifier.measures`, if it is complete.

    Raises
    ------
    DataError
        It is not; names the file.
    """
    check_record(path, test, TEST)
    with foreign(path, "the record of a test", CURE):
        bounds = np.array([test["top1_interval"], test["top5_interval"]], float)
        right, tests = np.array(list(test["by_speaker"].values()), np.int64).T
        if bounds.shape != (2, 2) or test["instances_per_s"] <= 0 or not (right <= tests).all():
            raise ValueError
        for pair in test["worst_pairs"]:
            check_types(path, pair, PAIR, WHOLE)
    return test


def check_part(
    path: str | os.PathLike, record: dict[str, Any], name: str, types: Mapping[str, Any]
) -> dict[str, Any]:
    """An object within a record, complete as `check_record` has it."""
    check_record(path, record, {name: dict})
    return check_record(path, record[name], types)


def check_record(
    path: str | os.PathLike, record: dict[str, Any], types: Mapping[str, Any]
) -> dict[str, Any]:
    """A record that holds what is read of it by name, its counts and rates above 0.

    Raises
    ------
    DataError
        It does not; names the file.
    """
    check_types(path, record, types, WHOLE)
    for name in ("last_step", "parameters", "instances_per_s", "batch_size"):
        if name in types and record[name] <= 0:
            raise DataError(f"{path}: its {name} is {record[name]}, expected more than 0; {CURE}")
    return record


def _curves(
    path: Path, epochs_a_step: float, batch_size: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Curves by epochs, and the crops of each point of "training"."""
    from dnn.training.scalars import read_scalars

    keys = {"training": "training_accuracy", "held out": "validation_accuracy", "loss": "loss"}
    records = read_scalars(path)
    points = {
        name: np.array([(r["step"], r[key]) for r in records if key in r], float).reshape(-1, 2)
        for name, key in keys.items()
    }
    crops = batch_size * np.diff(points["training"][:, 0], prepend=0)
    return {name: pairs * [epochs_a_step, 1] for name, pairs in points.items()}, crops


def _factors(sweep: Path) -> dict[str, list[Point]]:
    """Trials of one network by what was varied, the base, whose values are the usual, in each."""
    records = [_trial(path) for path in sorted(sweep.glob("*/result.json"))]
    if not records:
        return {}
    options = [record["identity"]["options"] for record in records]
    keys = ("model", *FACTORS.values())
    base = {key: Counter(o[key] for o in options).most_common(1)[0][0] for key in keys}
    found = {}
    for title, key in FACTORS.items():
        points = [
            Point(float(o[key]), record)
            for o, record in zip(options, records)
            if all(o[other] == base[other] for other in keys if other != key)
        ]
        if len(points) > 1:
            found[title] = sorted(points, key=lambda point: point.value)
    return found


def _trial(path: Path) -> dict[str, Any]:
    """The record of a training of a sweep, which is complete."""
    record = check_record(path, _read(path), {"identity": dict})
    check_part(path, record["identity"], "options", TRIAL)
    if "diverged" not in record:
        check_part(path, record, "training", TRAINING)
        check_record(path, record, {"test": dict})
        check_test(path, record["test"])
    return record


def write_confusion(path: Path, confusion: np.ndarray, speakers: Sequence[str]) -> None:
    """Write ``speaker,answer,utterances`` of the cells that are not empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("speaker", "answer", "utterances"))
    cells = np.argwhere(confusion).tolist()
    writer.writerows((speakers[i], speakers[j], int(confusion[i, j])) for i, j in cells)
    write_text(path, text.getvalue())


def _read_confusion(path: Path, speakers: Sequence[str]) -> np.ndarray:
    lines = list(csv.reader(read_lines(path)))[1:]
    names = list(dict.fromkeys([*speakers, *(line[1] for line in lines)]))
    numbers = {name: number for number, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), int)
    for speaker, answer, utterances in lines:
        matrix[numbers[speaker], numbers[answer]] = int(utterances)
    return matrix


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, "a record of an experiment")
