"""Training of identification networks: what the tasks choose themselves, and their speed."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import FIELDS, NetworkConfig
from dnn.data.labelled import FrontEnd, LabelledSet
from dnn.losses.table import CLASSIFIERS
from ivector.base.errors import DataError, UsageError
from ivector.base.files import write_text
from ivector.base.foreign.boundary import foreign, read_json

if TYPE_CHECKING:
    from dnn.training.trainer import Trainer

logger = logging.getLogger("identification")

SPEED = "speed.json"
KEPT = ("last", "best")
USUAL = PRESETS["identification"].config()
# What ``config.json`` and sweeps call the fields that they always tell; others are told by their
# keys where they are changed, so that a field that is new makes no sweep another one.
TOLD = {
    "model": "model.name",
    "width": "model.width",
    "network": "model.options",
    "loss": "loss.name",
    "margin": "loss.margin",
    "n_frames": "batches.frames",
    "batch_size": "batches.batch_size",
    "epochs": "training.epochs",
    "n_steps": "training.steps",
    "rate": "schedule.lr",
    "n_warmup": "schedule.warmup",
    "optimiser": "optimiser.name",
    "weight_decay": "optimiser.weight_decay",
    "mask": "augmentation.spec_augment",
    "precision": "training.precision",
    "keep": "",
    "device": "machine.device",
    "n_workers": "machine.workers",
    "n_validations": "training.validations",
    "save_every": "training.save_every",
    "seed": "training.seed",
}


class Trained(NamedTuple):
    """A training that ended: folder of the network, steps done, False if SIGTERM stopped it."""

    network: Path
    step: int
    finished: bool


def complete(config: NetworkConfig, front_end: FrontEnd) -> NetworkConfig:
    """A configuration in which what is left to the data is chosen by their features.

    VGG-M for spectrograms and the Conformer for log-mel features, the loss that the tasks train
    each by, and crops of the tasks' length.
    """
    name = config.model.name or ("conformer" if front_end.features == "log-mel" else "vgg-m")
    return config.changed({
        "model.name": name,
        "features.kind": front_end.features,
        "features.normalisation": front_end.normalisation,
        "loss.name": config.loss.name or default_loss(name),
        "batches.frames": config.batches.frames or (front_end.crop_frames,),
    })  # fmt: skip


def told(config: NetworkConfig, keep: str = "last") -> dict[str, Any]:
    """What ``config.json`` and sweeps tell of a configuration, in plain values."""
    options: dict[str, Any] = {name: config[key] if key else keep for name, key in TOLD.items()}
    options["loss"] = str(config.loss.name).removesuffix("-softmax")
    frames, warmup, save_every = config.batches.frames, options["n_warmup"], options["save_every"]
    options["n_frames"] = frames[0] if len(frames) == 1 else list(frames)
    options["n_warmup"] = None if warmup == USUAL.schedule.warmup else _whole(warmup)
    options["save_every"] = _whole(save_every)
    return options | {
        key: config[key]
        for key, declared in FIELDS.items()
        if not declared.same_weights
        and key not in TOLD.values()
        and not key.startswith("features.")  # which are told apart
        and config[key] != USUAL[key]
    }


def _whole(steps: float) -> float:
    """Steps as a whole number, shares as they are."""
    return int(steps) if steps == int(steps) else steps


def default_loss(model: str) -> str:
    """The loss that the tasks train a network by."""
    return "am-softmax" if model == "conformer" else "softmax"


def train_identifier(
    data: LabelledSet,
    folder: str | os.PathLike,
    config: NetworkConfig,
    front_end: FrontEnd,
    validation: LabelledSet | None = None,
    keep: str = "last",
) -> Trained:
    """Train a network, or go on training the one in the folder.

    Parameters
    ----------
    data : LabelledSet
    folder : path-like
        As of `dnn.training.trainer.Trainer`, and ``speed.json``.
    config : NetworkConfig
        What it leaves to the data is chosen by `complete`.
    front_end : FrontEnd
        Of the data; kept with the network.
    validation : LabelledSet, optional
        Measured on the way, for the curves, and for an end by patience.
    keep : {"last", "best"}
        Which weights are exported: those of the end, or of the best validation, whose accuracy is
        then too good to be quoted.

    Raises
    ------
    DataError
        Fewer than two speakers, or what the trainer raises.
    UsageError
        A configuration that makes no network, or ``keep="best"`` without a validation.
    """
    config = complete(config, front_end)
    _check(config, data, validation, keep)
    trainer, watch = _trainer(data, Path(folder), config, front_end, validation, keep)
    n_before = _steps_done(trainer)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    outcome = trainer.fit()
    seconds = time.perf_counter() - begin - (watch.seconds if watch else 0.0)
    cpu_seconds = time.process_time() - cpu_begin - (watch.cpu_seconds if watch else 0.0)
    n_crops = (outcome.step - n_before) * config.batches.batch_size
    if n_crops:
        _write_speed(trainer, n_crops, seconds, cpu_seconds, validation)
    if outcome.finished and keep == "last":
        _export_last(trainer)
    return Trained(trainer.folder / "network", outcome.step, outcome.finished)


def _check(
    config: NetworkConfig, data: LabelledSet, validation: LabelledSet | None, keep: str
) -> None:
    if config.loss.name not in CLASSIFIERS:
        raise UsageError(
            f"identification is trained by {', '.join(CLASSIFIERS)}, not {config.loss.name!r}"
        )
    if keep not in KEPT:
        raise UsageError(f"the weights kept are the last or the best, not {keep!r}")
    if len(data.speakers) < 2:
        raise DataError("there is one speaker; a network learns to part at least two")
    if keep == "best" and validation is None:
        raise UsageError("the best weights are told by a validation; give one, or keep the last")


def _trainer(
    data: LabelledSet,
    folder: Path,
    config: NetworkConfig,
    front_end: FrontEnd,
    validation: LabelledSet | None,
    keep: str,
) -> tuple[Trainer, Any]:
    """A trainer with fresh weights, and its validation, which keeps its time."""
    from dnn.embedding.trials import UNTOUCHED
    from dnn.identification.identifier import IdentificationValidation
    from dnn.training.builder import build_trainer

    watch = IdentificationValidation(*validation[:2]) if validation else None
    extra = {
        "front_end": UNTOUCHED,
        "identification": {**front_end._asdict(), "crop_frames": config.batches.frames[-1]},
        "options": told(config, keep),
    }
    return build_trainer(config, data, folder, validation=watch, extra=extra), watch


def read_speed(folder: str | os.PathLike) -> dict[str, Any]:
    """What ``speed.json`` of a training says: instances and seconds, and the machine.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    path = Path(folder) / SPEED
    with foreign(path, "the speed of a training", "train again in another folder"):
        speed = read_json(path, "the speed of a training")
        float(speed["instances_per_s"])
    return speed


def _steps_done(trainer: Trainer) -> int:
    """Steps of the checkpoint that the training goes on from."""
    from dnn.training.checkpoint import LAST, load_checkpoint

    path = trainer.folder / LAST
    return int(load_checkpoint(path).get("step", 0)) if path.exists() else 0


def _write_speed(
    trainer: Trainer,
    n_crops: int,
    seconds: float,
    cpu_seconds: float,
    validation: LabelledSet | None,
) -> None:
    """Speed of this call's steps; of a loaded machine the processor time tells more."""
    from dnn.identification.identifier import describe_machine
    from dnn.training.builder import count_parameters

    speed = {
        "last_step": trainer.step,
        "epochs": round(trainer.step / len(trainer.batches), 3),
        "instances": n_crops,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "instances_per_s": round(n_crops / max(seconds, 1e-9), 3),
        "parameters": count_parameters(trainer.model),
        "validated": len(validation.labels) if validation else None,  # utterances
        **describe_machine(trainer.device),
    }
    write_text(trainer.folder / SPEED, json.dumps(speed, indent=1) + "\n")
    logger.info("training: %.1f instances/s", speed["instances_per_s"])


def _export_last(trainer: Trainer) -> None:
    """Export the weights of the end, whatever the validation says of them."""
    from dnn.embedding.export import save_network

    modules: Any = {"model": trainer.model, "loss": trainer.loss}
    if trainer.average is not None:
        modules = trainer.average.module
    folder, extra = trainer.folder / "network", {**trainer.extra, "step": trainer.step}
    save_network(folder, modules["model"], modules["loss"], trainer.speakers, extra)
