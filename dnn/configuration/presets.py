"""What tasks start from: in what each differs from the defaults, and what it leaves no choice of.

train           ``python -m dnn.train``, on stored features
deep-speaker    ``python -m dnn.deep_speaker``, one phase after the other
identification  ``python -m dnn.identify train`` and ``sweep``, among known speakers
embedding       ``python -m recipes.train_embedding``, on recordings or stored features
xvector         stages 7 and 8 of ``recipes/run.sh``, on an hour of speech or more
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from dnn.configuration.sections import NetworkConfig
from dnn.losses.table import CLASSIFIERS

WHOLE_RECORDINGS = ("cmn", "cmvn", "warping", "global_cmn", "global_cmvn", "none")
STORED = "features are stored; changes of the sound need recordings (recipes.train_embedding)"
AS_STORED = "features are taken as they are stored"
SOUND = {
    f"augmentation.{name}": STORED for name in ("sound", "telephone", "musan", "rirs", "speeds")
}


class Preset(NamedTuple):
    """Where a task starts from.

    Attributes
    ----------
    name : str
    task : str
        What it is of, in a few words.
    values : mapping of str to object
        Fields whose defaults are others.
    without : mapping of str to str
        Fields that the task does not take, and why.
    choices : mapping of str to collection of str
        Fields of which it takes some names only.
    single : collection of str
        Fields of several values that take one on the command line.

    Examples
    --------
    >>> preset = PRESETS["deep-speaker"]
    >>> preset.config()["model.name"]
    'deep-speaker-rescnn'
    >>> preset.without["features.num_mel_bins"]
    'Deep Speaker takes 64'
    """

    name: str
    task: str
    values: Mapping[str, Any] = {}
    without: Mapping[str, str] = {}
    choices: Mapping[str, Collection[str]] = {}
    single: Collection[str] = ()

    def config(self) -> NetworkConfig:
        """The configuration without any options or file."""
        return NetworkConfig().changed(self.values)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "train",
            "python -m dnn.train",
            without={"features.kind": AS_STORED, "features.num_mel_bins": AS_STORED, **SOUND},
            choices={"features.normalisation": WHOLE_RECORDINGS},
        ),
        Preset(
            "deep-speaker",
            "python -m dnn.deep_speaker",
            {
                "model.name": "deep-speaker-rescnn",
                "features.num_mel_bins": 64,
                "features.normalisation": "frame",
                "loss.name": None,
                "loss.margin": 0.1,
                "batches.frames": (160,),
                "batches.per_speaker": 4,
                "training.epochs": None,
                "training.validations": 0,
            },
            without={
                "features.kind": AS_STORED,
                "features.num_mel_bins": "Deep Speaker takes 64",
                "features.normalisation": "Deep Speaker normalises each frame for itself",
                "features.cmn_window": "Deep Speaker normalises each frame for itself",
                "loss.name": "the phase tells it",
                "loss.margin_starts": "triplets have their margin from the start",
                "loss.margin_stands": "triplets have their margin from the start",
                **SOUND,
            },
            choices={"model.name": ("deep-speaker-rescnn", "deep-speaker-gru")},
            single=("batches.frames",),
        ),
        Preset(
            "identification",
            "python -m dnn.identify train, sweep",
            {
                "model.name": None,
                "features.normalisation": None,
                "loss.name": None,
                "batches.frames": (),
            },
            without={
                "features.num_mel_bins": "log-mel features of recordings have 40",
                "features.cmn_window": "features are normalised over the crop",
                **SOUND,
            },
            choices={
                "features.normalisation": ("none", "mean", "variance"),
                "loss.name": CLASSIFIERS,
            },
            single=("batches.frames",),
        ),
        Preset(
            "embedding",
            "python -m recipes.train_embedding",
            {
                "model.name": "resnetse34l",
                "features.normalisation": "none",
                "loss.name": "angular-prototypical",
                "batches.frames": (200,),
                "batches.batch_size": 750,
                "optimiser.weight_decay": 0.0,
                "schedule.name": "step",
                "schedule.warmup": 0,
                "schedule.decay": 0.95,
                "schedule.decay_every": 10,
                "training.epochs": 500,
            },
            without={
                "features.kind": "recordings become log-mel energies",
                "features.cmn_window": "features are normalised over the crop",
            },
            choices={"features.normalisation": ("none", "mean")},
        ),
        Preset(
            "xvector",
            "recipes/run.sh, x-vectors",
            {
                "loss.name": "am-softmax",
                "loss.margin_stands": 0.5,
                "batches.frames": (100, 200),
                "batches.per_speaker": 2,
                "augmentation.spec_augment": True,
                "optimiser.weight_decay": 0.05,
                "schedule.lr": 2e-3,
                "schedule.warmup": 0.1,
                "training.epochs": None,
                "training.steps": 300,
                "training.validations": 0,
                "training.save_every": 0.125,
                "training.log_every": 0.05,
                "machine.threads": 1,
            },
            without={
                "features.kind": AS_STORED,
                "features.num_mel_bins": AS_STORED,
                "training.seed": "the recipe's seed tells it",
                **SOUND,
            },
            choices={"features.normalisation": WHOLE_RECORDINGS},
        ),
    )
}
