"""The report of a sweep in Markdown: task, networks, tables, curves, confusions, hardware."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dnn.configuration.sections import NetworkConfig
from dnn.data.labelled import FrontEnd, LabelledSet
from dnn.identification.differences import extremes
from dnn.identification.figures import interval, markdown_table, percent
from ivector.base.foreign.names import markdown_text

# What is varied: title in the report, and field of the configuration.
COLUMNS = {
    "Batch size": "batches.batch_size",
    "Learning rate": "schedule.lr",
    "Width": "model.width",
    "Network": "model.name",
}
FEATURES = {
    "spectrogram": "magnitude spectrograms of {} bins",
    "log-spectrogram": "logarithms of one plus the magnitude in {} bins",
    "log-mel": "{} log-mel energies a frame",
}
NORMALISED = {
    "none": "as they are stored",
    "mean": "less their mean over the crop",
    "variance": "each normalised to mean 0 and variance 1 over the crop",
}


class Trial(NamedTuple):
    """A training and its test; `record` is what ``result.json`` holds."""

    folder: Path
    config: NetworkConfig
    record: Mapping[str, Any]

    @property
    def diverged(self) -> bool:
        """Whether the training failed, so that there is no test of it."""
        return "diverged" in self.record


def report(
    folder: Path,
    sets: tuple[LabelledSet, LabelledSet],
    base: NetworkConfig,
    front_end: FrontEnd,
    tables: Mapping[str, Sequence[Trial]],
) -> str:
    """The whole text.

    Parameters
    ----------
    folder : Path
        Where it will stand; pictures are named relative to it.
    sets : (LabelledSet, LabelledSet)
        To train on, and to test.
    base : NetworkConfig
        What is not varied.
    front_end : FrontEnd
    tables : mapping of str to sequence of Trial
        Trials of each factor, by its title.
    """
    trials = {trial.folder: trial for group in tables.values() for trial in group}
    done = [trial for trial in trials.values() if not trial.diverged]
    best = max(done, key=lambda trial: trial.record["test"]["top1"], default=None)
    parts = ["# Closed-set speaker identification", _task(*sets, front_end)]
    if best is not None:
        parts += [_best(folder, best, len(trials))]
    parts += [_failures(list(trials.values()))]
    for title, group in tables.items():
        parts += [f"## {title}", _table(title, group), _spread(group), _picture(folder, title)]
    if best is not None:
        parts += ["## Confusions of the best trial", _confusions(folder, best)]
    parts += ["## Training", _recipe(base)]
    if best is not None:
        parts += ["## Hardware", _machine(best)]
    return "\n\n".join(part for part in parts if part) + "\n"


def value_of(trial: Trial, title: str) -> str:
    """What a trial is called in the table and the curves of a factor."""
    value = trial.config[COLUMNS[title]]
    return f"{value:g}" if isinstance(value, float) else str(value)


def curve_file(title: str) -> str:
    """Picture of the curves of a factor."""
    return f"curves-{title.lower().replace(' ', '-')}.png"


def _task(data: LabelledSet, test: LabelledSet, front_end: FrontEnd) -> str:
    features = FEATURES[front_end.features].format(data.source.n_features)
    return (
        f"{len(data.speakers)} speakers; {len(data.labels)} utterances to train on, "
        f"{len(test.labels)} to test. Input: {features}, {NORMALISED[front_end.normalisation]}. "
        f"Guessing is right in {100 / len(data.speakers):.2g} %."
    )


def _best(folder: Path, best: Trial, n_trials: int) -> str:
    test = best.record["test"]
    low, high = test["top1_interval"]
    return (
        f"The best of {n_trials} trials, {_link(folder, best)}, is right in "
        f"**{percent(test['top1'])} %** of the tests ({percent(low)} to {percent(high)}), and "
        f"has the speaker among its first five in {percent(test['top5'])} %. It was chosen by "
        "these very tests, so that on others it will do a little worse."
    )


def _failures(trials: Sequence[Trial]) -> str:
    """How many diverged, and where the first one did."""
    failed = [trial for trial in trials if trial.diverged]
    if not failed:
        return ""
    return (
        f"{len(failed)} of {len(trials)} trainings diverged; the first, "
        f"{markdown_text(failed[0].folder.name)}, "
        f"at {failed[0].record['diverged']}."
    )


def _table(title: str, group: Sequence[Trial]) -> str:
    rows = []
    for trial in group:
        name = value_of(trial, title)
        if trial.diverged:
            rows.append([name, "diverged", *["–"] * 6])
            continue
        test, training = trial.record["test"], trial.record["training"]
        rows.append([
            name,
            percent(test["top1"]),
            interval(test["top1_interval"]),
            percent(test["top5"]),
            f"{training['parameters'] / 1e6:.3g}",
            str(trial.record["steps"]),
            f"{training['instances_per_s']:.1f}",
            f"{test['instances_per_s']:.1f}",
        ])  # fmt: skip
    header = [title, "top-1 (%)", "95 % interval", "top-5 (%)", "parameters (10⁶)", "updates",
              "training (instances/s)", "inference (instances/s)"]  # fmt: skip
    return markdown_table(header, rows)


def _spread(group: Sequence[Trial]) -> str:
    """Whether the differences in a table are more than chance, said plainly."""
    tests = [trial.record["test"] for trial in group if not trial.diverged]
    if len(tests) < 2:
        return ""
    difference = extremes(tests).difference
    verdict = "more than chance" if difference.beyond_chance else "which may be chance"
    return f"From the best row to the worst, paired by speaker: {difference}, {verdict}."


def _picture(folder: Path, title: str) -> str:
    if not (folder / curve_file(title)).exists():  # all trials diverged at once
        return ""
    return f"![Training curves by {title.lower()}]({curve_file(title)})"


def _confusions(folder: Path, best: Trial) -> str:
    pairs = best.record["test"]["worst_pairs"][:10]
    picture = os.path.relpath(best.folder / "confusion.png", folder).replace(os.sep, "/")
    text = f"![Confusion matrix]({picture})"
    if not pairs:
        return f"{text}\n\nNo test was taken for another speaker."
    rows = [[pair["speaker"], pair["taken_for"], str(pair["utterances"])] for pair in pairs]
    return f"{text}\n\n{markdown_table(['speaker', 'taken for', 'tests'], rows)}"


def _recipe(base: NetworkConfig) -> str:
    training, optimiser, schedule, loss = base.training, base.optimiser, base.schedule, base.loss
    length = f"{training.steps} updates" if training.steps else f"{training.epochs:g} epochs"
    margin = f" (margin {loss.margin:g})" if loss.name != "softmax" else ""
    network = "".join(f", {name} {value}" for name, value in base.model.options.items())
    if base.model.pooling:
        network += f", {base.model.pooling} pooling"
    masked = ", partly hidden (SpecAugment)" if base.augmentation.spec_augment else ""
    falls = "half a cosine" if schedule.name == "cosine" else f"the schedule {schedule.name}"
    return (
        f"Unless a table says otherwise: {base.model.name}, width {base.model.width:g}{network}; "
        f"{str(loss.name).removesuffix('-softmax')} loss{margin}; crops of "
        f"{' to '.join(map(str, base.batches.frames))} frames{masked}; batches of "
        f"{base.batches.batch_size}; {optimiser.name} with learning rate {schedule.lr:g} and "
        f"weight decay {optimiser.weight_decay:g}, warm-up, then {falls}; {length}; seed "
        f"{training.seed}. Trials "
        "of other batch sizes see as many crops, in fewer or more updates. The weights of the end "
        "are tested. Training speed includes reading and checkpoints, not the validations; "
        "inference speed includes reading. Intervals are Wilson's, for independent tests; those "
        "of one speaker are not quite, so that the intervals are rather too narrow."
    )


def _machine(best: Trial) -> str:
    told = best.record["training"]
    names = {
        "processor": "Processor", "cores": "Cores", "threads": "Threads used", "gpu": "GPU",
        "memory_gib": "Memory (GiB)", "device": "Device", "torch": "PyTorch", "system": "System",
    }  # fmt: skip
    return markdown_table(["", ""], [[n, str(told[k])] for k, n in names.items() if k in told])


def _link(folder: Path, trial: Trial) -> str:
    return f"`{os.path.relpath(trial.folder, folder)}`"
