"""What an identification experiment has to report, read from its folder and said in words.

An experiment is a folder of trained and tested networks (``*/test/results.json``) with perhaps a
``sweep`` of one of them. Everything that is said is computed from their numbers;
`dnn.identification.assignment_pages` sets it as PDF, Markdown and HTML.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.errors import DataError
from ivector.base.files import read_lines, write_text

NAMES = {
    "vgg-m": "VGG-M",
    "xvector": "x-vector (time delays)",
    "conformer": "Conformer",
    "ecapa": "ECAPA-TDNN",
    "resnetse34l": "ResNetSE34L",
}
FACTORS = {"Batch size": "batch_size", "Learning rate": "rate", "Width": "width"}
CONFUSION = "confusion.csv"
PASS_MARK, PASS_SPEAKERS = 0.25, 50  # of the assignment, on its 50 speakers


class Network(NamedTuple):
    """A trained and tested network: its measures, speed, options, and curves by epochs.

    `curves` are (epoch, share) by "training" and "held out"; `confusion` is (C, C).
    """

    name: str
    test: Mapping[str, Any]
    speed: Mapping[str, Any]
    options: Mapping[str, Any]
    curves: Mapping[str, np.ndarray]
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
    tests = {
        json.dumps([n for _, n in network.test["by_speaker"].values()]) for network in networks
    }
    if len(tests) > 1:
        raise DataError(f"{folder}: its networks were tested on different sets; test them on one")
    networks.sort(key=lambda network: -network.test["top1"])
    return Experiment(networks, _factors(folder / "sweep"))


def _network(folder: Path) -> Network:
    told = _read(folder / "network" / "config.json")
    test, speed = _read(folder / "test" / "results.json"), _read(folder / "speed.json")
    try:
        options = told["options"]
        return Network(
            NAMES.get(options["model"], options["model"]), test, speed, options,
            _curves(folder / "scalars.jsonl", float(speed["epochs"]) / int(speed["last_step"])),
            _read_confusion(folder / "test" / CONFUSION, list(test["by_speaker"])),
            int(speed["last_step"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{folder}: its records are incomplete; train and test it again") from error


def _curves(path: Path, epochs_a_step: float) -> dict[str, np.ndarray]:
    from dnn.training.scalars import read_scalars

    keys = {"training": "training_accuracy", "held out": "validation_accuracy", "loss": "loss"}
    records = read_scalars(path)
    points = {
        name: [(r["step"] * epochs_a_step, r[key]) for r in records if key in r]
        for name, key in keys.items()
    }
    return {name: np.array(pairs).reshape(-1, 2) for name, pairs in points.items()}


def _factors(sweep: Path) -> dict[str, list[Point]]:
    """Trials of one network by what was varied, the base, whose values are the usual, in each."""
    records = [_read(path) for path in sorted(sweep.glob("*/result.json"))]
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
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: missing or damaged; train and test again") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: damaged; train and test again")
    return record


# Tables

NETWORK_HEADER = ("network", "top-1 (%)", "95\u00a0% interval", "top-5 (%)", "parameters (10⁶)",
                  "epochs", "training (instances/s)", "inference (instances/s)")  # fmt: skip
FACTOR_HEADER = ("varied", "value", "top-1 (%)", "95\u00a0% interval", "parameters (10⁶)",
                 "training (instances/s)", "inference (instances/s)")  # fmt: skip


def network_rows(experiment: Experiment) -> list[list[str]]:
    """Cells under `NETWORK_HEADER`."""
    return [
        [
            network.name, percent(network.test["top1"]), interval(network.test),
            percent(network.test["top5"]), f"{network.speed['parameters'] / 1e6:.3g}",
            f"{network.speed['epochs']:.3g}", f"{network.speed['instances_per_s']:.1f}",
            f"{network.test['instances_per_s']:.1f}",
        ]
        for network in experiment.networks
    ]  # fmt: skip


def factor_rows(experiment: Experiment) -> list[list[str]]:
    """Cells under `FACTOR_HEADER`."""
    rows = []
    for title, points in experiment.factors.items():
        for value, record in points:
            if "diverged" in record:
                rows.append([title, f"{value:g}", "diverged", "–", "–", "–", "–"])
                continue
            test, training = record["test"], record["training"]
            rows.append([
                title, f"{value:g}", percent(test["top1"]), interval(test),
                f"{training['parameters'] / 1e6:.3g}", f"{training['instances_per_s']:.1f}",
                f"{test['instances_per_s']:.1f}",
            ])  # fmt: skip
    return rows


def machine_line(experiment: Experiment) -> str:
    """Hardware of the trainings."""
    told = experiment.networks[0].speed
    parts = [str(told["processor"]), f"{told['cores']} cores, {told['threads']} used"]
    parts += [f"GPU {told['gpu']}"] if "gpu" in told else []
    parts += [f"{told['memory_gib']} GiB of memory"] if "memory_gib" in told else []
    return "; ".join([*parts, f"PyTorch {told['torch']}, {told['system']}"]) + "."


def percent(share: float) -> str:
    """A share of 1 in percent, with one decimal."""
    return f"{100 * share:.1f}"


def interval(test: Mapping[str, Any]) -> str:
    """Wilson's 95 % interval of the accuracy, in percent."""
    low, high = test["top1_interval"]
    return f"{percent(low)} – {percent(high)}"


# Words


def task(experiment: Experiment) -> str:
    """What was asked for, and how it was trained."""
    first = experiment.networks[0]
    n_speakers = len(experiment.speakers)
    return (
        f"Which of {n_speakers} speakers is it? {first.test['utterances']} utterances that no "
        "network saw are the test; guessing is right in "
        f"{100 / n_speakers:.2g} %. Networks were trained on crops of {first.options['n_frames']} "
        f"frames, in batches of {first.options['batch_size']}, with "
        f"{first.options['optimiser']} and a largest learning rate of {first.options['rate']:g}. "
        "Intervals are Wilson's at 95 %. Speeds include reading the records."
    )


def analysis(experiment: Experiment) -> list[str]:
    """Sentences on accuracy, learning, speed, what was varied, and confusions."""
    return [
        *_accuracy(experiment), *map(_learning, experiment.networks), *_speed(experiment),
        *(_effect(title, points) for title, points in experiment.factors.items()),
        *map(_confused, experiment.networks),
    ]  # fmt: skip


def _accuracy(experiment: Experiment) -> list[str]:
    best, *others = experiment.networks
    n_speakers = len(experiment.speakers)
    text = (
        f"{best.name} answers {percent(best.test['top1'])} % of the tests right, "
        f"{best.test['top1'] * n_speakers:.3g} times as many as guessing"
    )
    low, high = best.test["top1_interval"]
    if n_speakers == PASS_SPEAKERS:
        verdict = (
            "above" if low > PASS_MARK else "below" if high < PASS_MARK else "on both sides of"
        )
        text += f"; its interval lies {verdict} the pass mark of {100 * PASS_MARK:.0f} %"
    sentences = [text + "."]
    for other in others:
        points = 100 * (best.test["top1"] - other.test["top1"])
        chance = overlap([best.test, other.test])
        sentences.append(
            f"{other.name} answers {points:.1f} points fewer right; "
            + ("their intervals overlap, so that the test does not tell them apart." if chance
               else "their intervals are apart, so that this is no chance.")
        )  # fmt: skip
    return sentences


def _learning(network: Network) -> str:
    held, training = network.curves["held out"], network.curves["training"]
    text = f"{network.name} was trained for {network.speed['epochs']:.3g} epochs"
    if not len(held) or not len(training):
        return text + "."
    best = int(held[:, 1].argmax())
    text += (
        f"; its held-out accuracy was highest, {percent(held[best, 1])} %, after "
        f"{held[best, 0]:.3g}"
    )
    near = training[np.abs(training[:, 0] - held[best, 0]).argmin(), 1]
    gap = 100 * (near - held[best, 1])
    if gap > 10:
        return text + (
            f", when {percent(near)} % of the training crops were right: the gap of {gap:.0f} "
            "points is what it learnt by heart; more utterances, or masks, would narrow it."
        )
    return text + (
        f", when {percent(near)} % of the training crops were right: it does not learn by heart, "
        "and a larger network or longer training may still gain."
    )


def _speed(experiment: Experiment) -> list[str]:
    first, *others = experiment.networks
    sentences = []
    for other in others:
        trained = other.speed["instances_per_s"] / first.speed["instances_per_s"]
        tested = other.test["instances_per_s"] / first.test["instances_per_s"]
        sizes = other.speed["parameters"] / first.speed["parameters"]
        sentences.append(
            f"{other.name} has {sizes:.3g} times the parameters of {first.name}, trains "
            f"{trained:.2g} times and answers {tested:.2g} times as fast."
        )
    return sentences


def _effect(title: str, points: Sequence[Point]) -> str:
    done = [point for point in points if not point.diverged]
    failed = [f"{point.value:g}" for point in points if point.diverged]
    text = f"{title}: "
    if failed:
        text += f"{' and '.join(failed)} diverged. "
    if len(done) < 2:
        return text + "too few trainings to compare."
    shares = [point.record["test"]["top1"] for point in done]
    best, worst = int(np.argmax(shares)), int(np.argmin(shares))
    chance = overlap([done[best].record["test"], done[worst].record["test"]])
    rates = [point.record["training"]["instances_per_s"] for point in done]
    speed = (
        f"; from {done[0].value:g} to {done[-1].value:g} training goes from {rates[0]:.3g} to "
        f"{rates[-1]:.3g} instances/s."
    )
    if shares[best] == shares[worst]:
        return text + f"{percent(shares[best])} % right whatever it is{speed}"
    return text + (
        f"best at {done[best].value:g} ({percent(shares[best])} %), worst at {done[worst].value:g} "
        f"({percent(shares[worst])} %), "
        + ("no more than chance by their intervals" if chance else "more than chance")
        + speed
    )


def sweep_line(experiment: Experiment) -> str:
    """How long the trainings were in which options were varied, if they tell it in epochs."""
    points = [point for points in experiment.factors.values() for point in points]
    options = [point.record["identity"]["options"] for point in points]
    if not options or options[0].get("n_steps") or not options[0].get("epochs"):
        return ""
    return f"Each training lasted {options[0]['epochs']:g} epochs."


def _confused(network: Network) -> str:
    matrix = network.confusion
    n_wrong = int(matrix.sum() - np.trace(matrix))
    if not n_wrong:
        return f"{network.name} mistakes nobody."
    worst = network.test["worst_pairs"][0]
    weak = [name for name, (right, n) in network.test["by_speaker"].items() if 2 * right < n]
    return (
        f"{network.name} makes {n_wrong} mistakes, {worst['utterances']} of them by taking "
        f"{worst['speaker']} for {worst['taken_for']}; {len(weak)} of "
        f"{len(network.test['by_speaker'])} speakers are known in less than half of their tests."
    )


def overlap(tests: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the intervals of all tests share a value."""
    lows, highs = zip(*(test["top1_interval"] for test in tests))
    return max(lows) <= min(highs)
