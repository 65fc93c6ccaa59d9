"""From a configuration to a trainer: network, loss, batches, optimiser, schedule, in one place.

Every command that trains builds here. Random numbers are drawn in one order, those of the network
and then those of the loss, after ``training.seed``; so a configuration, the data and the number of
threads tell the weights.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dnn.configuration.sections import Augmentation, NetworkConfig, check_together
from dnn.data.augment import SpecAugment
from dnn.data.batches import CropBatches
from dnn.data.hard import HardBatches
from dnn.data.labelled import LabelledSet
from dnn.data.sources import Source
from dnn.extra import told_extra
from dnn.losses.classification import AmSoftmax, MarginSchedule, SpeakerLoss
from dnn.losses.table import LOSSES, build_loss
from dnn.models import build
from dnn.models.base import SpeakerNetwork
from dnn.models.widths import widened
from dnn.registry import defaults
from dnn.training.distributed import Ranks
from dnn.training.options import TrainingOptions
from dnn.training.schedules import Schedule, build_schedule
from dnn.training.trainer import Trainer
from dnn.training.validation import Validation
from ivector.base.errors import UsageError

with told_extra():
    import torch

logger = logging.getLogger("training")

MOST_BETWEEN_RECORDS = 50  # steps


def build_trainer(
    config: NetworkConfig,
    data: LabelledSet,
    folder: str | os.PathLike,
    *,
    prepare: Callable[[SpeakerNetwork], None] | None = None,
    validation: Validation | None = None,
    extra: Mapping[str, Any] | None = None,
    ranks: Ranks | None = None,
) -> Trainer:
    """A trainer whose network has fresh weights; its `fit` trains, or resumes.

    Parameters
    ----------
    config : NetworkConfig
    data : LabelledSet
        What to train on: features as the network sees them, labels, and the speakers' names.
    folder : path-like
        Of the training.
    prepare : callable, optional
        Called with the network before the loss is made, to give it weights of a former training.
    validation, extra, ranks
        As of `dnn.training.trainer.Trainer`.

    Raises
    ------
    UsageError
        A configuration that makes no network or training.
    DataError
        Data that do not suffice for it.
    """
    check_together(config)
    torch.manual_seed(config.training.seed)
    model = build_model(config, data.source.n_features)
    if prepare is not None:
        prepare(model)
    loss = build_loss_of(config, model, len(data.speakers))
    batches = build_batches(config, data, folder)
    options = training_options(config, len(batches))
    logger.info(
        "%s of %d parameters; %d utterances of %d speakers; %d steps of %d, %d an epoch",
        config.model.name, count_parameters(model), len(data.source), len(data.speakers),
        options.n_steps, batches.batch_size, len(batches),
    )  # fmt: skip
    return Trainer(
        model,
        loss,
        batches,
        folder,
        options,
        schedule_of(config, options.n_steps, len(batches)),
        margin=margin_schedule(config, loss, options.n_steps),
        validation=validation,
        speakers=data.speakers,
        extra=extra,
        device=config.machine.device,
        refresh=batches.refresh if isinstance(batches, HardBatches) else None,
        ranks=ranks,
    )


def build_model(config: NetworkConfig, n_features: int) -> SpeakerNetwork:
    """A network with fresh weights, of torch's generator.

    Raises
    ------
    UsageError
        Options that it does not have, or crops that are too short for it.
    """
    name = _named("model", config.model.name)
    options = {**widened(name, config.model.width), **config.model.options}
    if config.model.pooling is not None:
        options["pooling"] = config.model.pooling
    model = build(name, **{**options, "n_features": n_features})
    if min(config.batches.frames, default=0) < model.min_frames:
        raise UsageError(
            f"`frames`: {name} needs crops of at least {model.min_frames} frames, not "
            f"{min(config.batches.frames, default=0)}"
        )
    if config.training.precision == "bfloat16":  # the layout that its convolutions are fastest in
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def build_loss_of(config: NetworkConfig, model: SpeakerNetwork, n_speakers: int) -> SpeakerLoss:
    """The loss on a network's `head`; margin and scale go to those losses that have them."""
    name = _named("loss", config.loss.name)
    taken = defaults(LOSSES[name]).keys() & {"margin", "scale"}
    options = {option: getattr(config.loss, option) for option in taken}
    return build_loss(name, model.head_dim, n_speakers, **{**options, **config.loss.options})


def build_batches(
    config: NetworkConfig, data: LabelledSet, folder: str | os.PathLike
) -> CropBatches:
    """Crops of the data, of one length or of lengths between two."""
    frames = config.batches.frames
    options: dict[str, Any] = {
        "n_frames": frames[0] if frames[0] == frames[-1] else (frames[0], frames[-1]),
        "batch_size": config.batches.batch_size,
        "utterances_per_speaker": config.batches.per_speaker or None,
        "augment": _masks(config.augmentation),
        "seed": config.training.seed,
    }
    if not config.batches.hard_every:
        return CropBatches(data.source, data.labels, **options)
    every = config.batches.hard_every
    return HardBatches(
        data.source, data.labels, every=every, folder=folder, embed=_embed, **options
    )


def _embed(model: SpeakerNetwork, source: Source) -> np.ndarray:
    from dnn.embedding.extraction import extract

    return extract(model, source, device=next(model.parameters()).device)


def training_options(config: NetworkConfig, steps_an_epoch: int) -> TrainingOptions:
    """The trainer's numbers; shares of the training become steps.

    Raises
    ------
    UsageError
        Neither steps nor epochs are given.
    """
    training, machine = config.training, config.machine
    if training.steps is None and training.epochs is None:
        raise UsageError("`steps`: give them, or `epochs`")
    n_steps = training.steps or max(1, round((training.epochs or 0) * steps_an_epoch))
    log_every = min(MOST_BETWEEN_RECORDS, n_steps // 50)
    if training.log_every is not None:
        log_every = steps_of(training.log_every, n_steps)
    validate_every = training.validate_every
    if not validate_every and training.validations:
        validate_every = max(1, n_steps // training.validations)
    return TrainingOptions(
        n_steps=n_steps,
        optimiser=config.optimiser.name,
        weight_decay=config.optimiser.weight_decay,
        momentum=config.optimiser.momentum,
        clip_norm=config.optimiser.clip_norm,
        average_decay=config.optimiser.average,
        accumulate=training.accumulate,
        precision=training.precision,
        compile=machine.compile,
        n_workers=machine.workers,
        log_every=max(1, log_every),
        save_every=max(1, steps_of(training.save_every, n_steps)),
        validate_every=validate_every,
        patience=training.patience,
        tensorboard=machine.tensorboard,
        seed=training.seed,
    )


def schedule_of(config: NetworkConfig, n_steps: int, steps_an_epoch: int) -> Schedule:
    """The learning rate of every step."""
    schedule = config.schedule
    n_warmup = steps_of(schedule.warmup, n_steps)
    options: dict[str, Any] = {"peak": schedule.lr, "n_warmup": n_warmup}
    if schedule.name == "cosine":
        if n_warmup >= n_steps:
            logger.warning("warmup: %d steps leave none of %d; %d are taken", n_warmup, n_steps,
                           n_steps - 1)  # fmt: skip
        options |= {"n_steps": n_steps, "final": schedule.final_lr}
        options["n_warmup"] = min(n_warmup, n_steps - 1)
    elif schedule.name == "step":
        by_epochs = round(schedule.decay_every * steps_an_epoch)
        every = by_epochs if schedule.decay_every else (n_steps - n_warmup) // 3
        options |= {"every": max(1, every), "factor": schedule.decay}
    return build_schedule(schedule.name, **options)


def margin_schedule(
    config: NetworkConfig, loss: SpeakerLoss, n_steps: int
) -> MarginSchedule | None:
    """The rise of a margin softmax's margin; None for other losses."""
    if not isinstance(loss, AmSoftmax):
        return None
    starts, stands = (
        round(edge * n_steps) if edge < 1 else int(edge)
        for edge in (config.loss.margin_starts, config.loss.margin_stands)
    )
    return MarginSchedule(config.loss.margin, starts, stands)


def steps_of(number: float, n_steps: int) -> int:
    """Steps of a field that takes them, or a share of the training."""
    return int(number * n_steps) if number < 1 else int(number)


def use_threads(config: NetworkConfig) -> None:
    """Let torch compute on as many threads of the CPU as the configuration says."""
    if config.machine.threads:
        torch.set_num_threads(config.machine.threads)


def count_parameters(model: SpeakerNetwork) -> int:
    """Numbers that are learnt, without the classes' weights."""
    return sum(p.numel() for p in model.parameters())


def _masks(augmentation: Augmentation) -> SpecAugment | None:
    if not augmentation.spec_augment:
        return None
    return SpecAugment(
        augmentation.feature_masks,
        augmentation.feature_mask_width,
        augmentation.time_masks,
        augmentation.time_mask_width,
        augmentation.time_mask_share,
    )


def _named(what: str, name: str | None) -> str:
    if name is None:
        raise UsageError(f"`{what}`: is left to the task, which has not chosen one; give it")
    return name
