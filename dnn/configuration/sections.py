"""The configuration of a network and its training: every field, declared once.

`NetworkConfig` is what `dnn.training.builder` builds from. A field is named by section and name,
as ``batches.frames``; what it takes and why one would change it stands beside it. The defaults
here are those of ``python -m dnn.train``; `dnn.configuration.presets` tells in what other tasks
differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dnn.configuration.fields import (
    MANY,
    Declared,
    choice,
    declared_fields,
    number,
    steps_or_share,
    switch,
    table,
    text,
    whole,
)
from dnn.data.augment import SpecAugment
from dnn.data.labelled import FEATURES
from dnn.data.prefetch import READ_AHEAD
from dnn.extra import told_extra
from dnn.losses.table import CLASSIFIERS, LOSSES
from dnn.models import MODELS
from dnn.training.options import OPTIMISERS, PRECISIONS, TrainingOptions
from dnn.training.schedules import SCHEDULES
from ivector.base.errors import UsageError

# Over a window or all of a recording (`ivector.pipeline.FrontEnd`), or of what is read together:
# the mean of the crop, mean and variance, each frame for itself.
NORMALISATIONS = (
    "none", "cmn", "cmvn", "warping", "global_cmn", "global_cmvn", "mean", "variance", "frame",
)  # fmt: skip
BY_TASK = "by the data"


@told_extra()
def poolings() -> Collection[str]:
    """Names of the poolings; imports torch."""
    from dnn.models.pooling import POOLINGS

    return POOLINGS


@dataclass(frozen=True)
class Model:
    """The network."""

    name: str | None = choice(
        "xvector-small", "larger ones want more speakers and more time",
        sorted(MODELS), options=("--model",), none=BY_TASK,
    )  # fmt: skip
    pooling: str | None = choice(
        None, "how frames become one vector; attention learns which frames matter, at some cost",
        poolings, none="the network's own",
    )  # fmt: skip
    width: float = number(
        1.0, "factor on its channels; the work goes with its square", 0.01, 100, metavar="FACTOR"
    )
    options: dict[str, Any] = field(
        default_factory=dict,
        metadata=table(
            "further option of the network, its value in JSON, such as embedding_dim=64",
            options=("--model-option",),
        ),
    )


@dataclass(frozen=True)
class Features:
    """What the network sees of the recordings."""

    kind: str | None = choice(
        None, "of recordings; spectrograms for VGG-M, ten times as many numbers as log-mel",
        FEATURES, options=("--features",), none=BY_TASK,
    )  # fmt: skip
    num_mel_bins: int = whole(
        40, "log-mel energies of recordings; more resolve more and take more time", 8
    )
    normalisation: str | None = choice(
        "cmn", "what is taken off: channels differ in the mean, little speech wants no more",
        NORMALISATIONS, options=("--normalisation", "--normalise"),
        synonyms={"utterance": "mean"}, none=BY_TASK,
    )  # fmt: skip
    cmn_window: int = whole(
        300, "sliding window in frames; short ones take off some of the voice, too", 1
    )


@dataclass(frozen=True)
class Loss:
    """What training makes small."""

    name: str | None = choice(
        "aam-softmax", "am and aam are margin softmaxes; the three that compare utterances, "
        "triplet, angular-prototypical and ge2e, need --per-speaker",
        LOSSES, options=("--loss",), synonyms={"am": "am-softmax", "aam": "aam-softmax"},
        none="by the network",
    )  # fmt: skip
    margin: float = number(
        0.2, "margin of am, aam and triplet; more parts speakers better, and too much learns "
        "nothing", 0, 2, metavar="M",
    )  # fmt: skip
    scale: float = number(
        30.0,
        "of the cosines of am and aam; large ones make surer, and forgive less",
        0.01,
        metavar="S",
    )
    margin_starts: float = steps_or_share(
        0.1, "until when am and aam have no margin, to learn at all"
    )
    margin_stands: float = steps_or_share(
        0.4, "from when am and aam have all of it, to which it rises"
    )
    options: dict[str, Any] = field(
        default_factory=dict,
        metadata=table(
            "further option of the loss, its value in JSON, such as label_smoothing=0.1",
            options=("--loss-option",),
        ),
    )


@dataclass(frozen=True)
class Batches:
    """The crops of an update."""

    frames: tuple[int, ...] = whole(
        (200, 400),
        "length of the crops, or least and largest; shorter ones train faster",
        1, several=2, none="300 of spectrograms, 128 of log-mel",
    )  # fmt: skip
    batch_size: int = whole(
        64, "crops of an update; larger ones keep a GPU busy and want a higher --lr", 1, metavar="B"
    )
    per_speaker: int = whole(
        0, "batches of K utterances of each of B / K speakers, seen equally often; 0 for no such "
        "balance", 0, options=("--per-speaker", "--utterances-per-speaker"), metavar="K",
    )  # fmt: skip
    hard_every: int = whole(
        0, "embed the speakers anew every N steps, and put together in a batch those that the "
        "network takes for each other, for hard negatives; 0 deals them at random", 0, metavar="N",
    )  # fmt: skip


@dataclass(frozen=True)
class Augmentation:
    """What is changed of the crops, so that speakers are learnt and not recordings."""

    spec_augment: bool = switch(
        False, "hide bands and stretches of the features (SpecAugment); wants longer training",
        options=("--spec-augment", "--mask"),
    )  # fmt: skip
    feature_masks: int = whole(
        SpecAugment.n_feature_masks, "bands hidden by it; more are harder to learn from", 0
    )
    feature_mask_width: int = whole(SpecAugment.max_features, "features of the widest of them", 0)
    time_masks: int = whole(
        SpecAugment.n_time_masks, "stretches hidden by it; more are harder to learn from", 0
    )
    time_mask_width: int = whole(SpecAugment.max_frames, "frames of the longest of them", 0)
    time_mask_share: float = number(
        SpecAugment.max_share, "the longest as a share of the crop, for short ones", 0, 1
    )
    sound: float = number(
        0.0, "share of the crops whose sound gets noise, babble or a room; takes most of the time "
        "of reading", 0, 1, options=("--augment",), metavar="SHARE",
    )  # fmt: skip
    telephone: bool = switch(
        False, "a telephone line as a further change, for speech that may come by one"
    )
    musan: str | None = text(
        None,
        "folder of noises to add; real ones teach more than simulated ones",
        metavar="DIR",
        none="simulated",
    )
    rirs: str | None = text(
        None, "folder of impulse responses of rooms; likewise", metavar="DIR", none="simulated"
    )
    speeds: tuple[float, ...] = number(
        (1.0,),
        "such as 0.9 1.0 1.1: each makes speakers of its own, and an epoch longer",
        0.5, 2, several=MANY, metavar="S",
    )  # fmt: skip


@dataclass(frozen=True)
class Optimiser:
    """How gradients change the weights."""

    name: str = choice(
        TrainingOptions.optimiser,
        "adamw is the safer one; sgd wants a higher --lr",
        OPTIMISERS,
        options=("--optimiser",),
    )
    weight_decay: float = number(
        TrainingOptions.weight_decay, "of the matrices, against learning by heart; 0 is Adam", 0,
        metavar="W",
    )  # fmt: skip
    momentum: float = number(
        TrainingOptions.momentum, "of sgd; how long gradients are remembered", 0, 0.999999
    )
    clip_norm: float = number(
        TrainingOptions.clip_norm, "longest gradient, for trainings that leap; 0 leaves all", 0
    )
    average: float = number(
        TrainingOptions.average_decay, "export a moving average of the weights, which errs less "
        "at a high rate; such as 0.999; 0 for none", 0, 0.999999, metavar="SHARE",
    )  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the training."""

    name: str = choice(
        "cosine", "of the rate after the warm-up: half a cosine, falls by a factor, none",
        SCHEDULES, options=("--schedule",),
    )  # fmt: skip
    lr: float = number(
        1e-3, "largest learning rate; too high a one diverges, too low a one takes long", 1e-9,
        options=("--lr", "--learning-rate"), metavar="RATE",
    )  # fmt: skip
    final_lr: float = number(0.0, "rate at the end of a cosine", 0, metavar="RATE")
    warmup: float = steps_or_share(
        0.05, "steps of rising rate; some networks never learn without them"
    )
    decay: float = number(0.1, "factor of the rate's falls, of the step schedule", 1e-9, 1)
    decay_every: float = number(
        0.0, "epochs between these falls; 0: thirds of what follows the warm-up", 0, metavar="E"
    )


@dataclass(frozen=True)
class Training:
    """How long it is trained, how exactly, and what is looked at on the way."""

    epochs: float | None = number(
        30, "passes over the utterances, a crop of each", 0.001, metavar="E", none="not given"
    )
    steps: int | None = whole(
        None,
        "updates, instead of --epochs", 1, options=("--steps", "--num-steps"), none="not given",
    )  # fmt: skip
    accumulate: int = whole(
        TrainingOptions.accumulate, "cut batches into N parts, for less memory and more time", 1
    )
    precision: str = choice(
        TrainingOptions.precision, "of products; auto: bfloat16 on a GPU. On processors that have "
        "it (avx512_bf16, amx_bf16) bfloat16 makes VGG-M twice as fast, else slower", PRECISIONS,
    )  # fmt: skip
    seed: int = whole(
        TrainingOptions.seed, "of weights, batches and dropout; others tell how much is chance",
        0, 2**32 - 1,
    )  # fmt: skip
    validations: int = whole(
        10, "measurements on the way, which take their time; 0: one at the end", 0,
        same_weights=True,
    )  # fmt: skip
    validate_every: int = whole(
        0, "steps between these, instead of --validations; 0 leaves it to them", 0,
        same_weights=True,
    )  # fmt: skip
    patience: int = whole(
        TrainingOptions.patience, "end the training when so many validations in a row were no "
        "better than the best before; 0 never does", 0, metavar="N",
    )  # fmt: skip
    save_every: float = steps_or_share(
        TrainingOptions.save_every, "steps between checkpoints, which a killed run loses at most",
        same_weights=True,
    )  # fmt: skip
    log_every: float | None = steps_or_share(
        None, "steps between records of the loss, for the curves", same_weights=True,
        none="a fiftieth of the training, at most 50 steps",
    )  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What it runs on."""

    device: str = text(
        "auto", "auto (a GPU if there is one), cpu, cuda, cuda:1", same_weights=True, metavar="NAME"
    )
    threads: int = whole(
        0, "of the CPU, 0: all cores; another number changes the last digits", 0, same_weights=True
    )
    workers: int = whole(
        TrainingOptions.n_workers, "processes that read batches ahead; they change no result", 0,
        same_weights=True,
    )  # fmt: skip
    compile: bool = switch(
        TrainingOptions.compile, "torch.compile the network: minutes at first, then faster on a "
        "GPU", same_weights=True,
    )  # fmt: skip
    tensorboard: bool = switch(
        TrainingOptions.tensorboard,
        "also write TensorBoard's files, if it is installed",
        same_weights=True,
    )


@dataclass(frozen=True)
class NetworkConfig:
    """A network and its training; by default those of ``python -m dnn.train``.

    Fields are also had by their key, ``config["batches.frames"]``, and changed by it, `changed`.

    Examples
    --------
    >>> config = NetworkConfig().changed({"model.name": "ecapa", "batches.batch_size": 128})
    >>> config["model.name"], config.batches.batch_size, config.schedule.lr
    ('ecapa', 128, 0.001)
    """

    model: Model = field(default_factory=Model)
    features: Features = field(default_factory=Features)
    loss: Loss = field(default_factory=Loss)
    batches: Batches = field(default_factory=Batches)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    training: Training = field(default_factory=Training)
    machine: Machine = field(default_factory=Machine)

    def __getitem__(self, key: str) -> Any:
        """The value of a field."""
        section, _, name = key.partition(".")
        return getattr(getattr(self, section), name)

    def items(self) -> dict[str, Any]:
        """All values by key, in the order of the declarations."""
        return {key: self[key] for key in FIELDS}

    def nested(self) -> dict[str, dict[str, Any]]:
        """All values by section and name, in JSON's types but for tuples."""
        return dataclasses.asdict(self)

    def changed(self, values: Mapping[str, Any]) -> NetworkConfig:
        """With other values of some fields, each checked.

        Epochs that are given stand instead of steps that were there before.

        Raises
        ------
        UsageError
            An unknown key, or something that is no value of its field.
        """
        given = dict(values)
        if given.get("training.epochs") is not None:
            given.setdefault("training.steps", None)
        sections: dict[str, dict[str, Any]] = {}
        for key, value in given.items():
            if key not in FIELDS:
                raise UsageError(f"{key}: no field of a network's configuration")
            section, _, name = key.partition(".")
            try:
                sections.setdefault(section, {})[name] = FIELDS[key].check(value)
            except ValueError as error:
                raise UsageError(f"{key}: {error}") from None
        parts = {s: dataclasses.replace(getattr(self, s), **v) for s, v in sections.items()}
        return dataclasses.replace(self, **parts)


SECTIONS: dict[str, type] = {
    f.name: f.default_factory  # type: ignore[misc]
    for f in dataclasses.fields(NetworkConfig)
}
FIELDS: dict[str, Declared] = {
    f"{section}.{name}": declared
    for section, cls in SECTIONS.items()
    for name, declared in declared_fields(cls).items()
}


def check_together(config: NetworkConfig) -> None:
    """Refuse values that make no sense together.

    Raises
    ------
    UsageError
        Names the options.
    """
    frames, batches, loss = config.batches.frames, config.batches, config.loss.name
    if frames and frames[0] > frames[-1]:
        raise UsageError("`frames`: takes one length, or the least and the largest")
    if loss is not None and loss not in CLASSIFIERS:
        if batches.per_speaker < 2:
            raise UsageError(f"the loss {loss} compares utterances: give `per_speaker` 2 or more")
        if config.training.accumulate > 1:
            raise UsageError(f"`accumulate`: {loss} compares the utterances of a batch, uncut")
    if batches.hard_every and batches.per_speaker < 1:
        raise UsageError("`hard_every`: puts speakers together: give `per_speaker`")
    if 0 < batches.hard_every <= READ_AHEAD * config.machine.workers:
        raise UsageError(
            f"`hard_every`: {config.machine.workers} workers read batches ahead; give "
            f"{READ_AHEAD * config.machine.workers + 1} or more"
        )
    if batches.per_speaker and batches.batch_size % batches.per_speaker:
        raise UsageError("`batch_size`: must be a multiple of `per_speaker`")
    speeds = config.augmentation.speeds
    if 1.0 not in speeds or len(set(speeds)) < len(speeds):
        raise UsageError("`speeds`: different factors, 1 among them")
