"""Which training a checkpoint is of: what a run that goes on from it must have in common with it.

Another network, loss, set of speakers or data is another training. Learning rate, length and the
like may be changed on purpose; they are told, and kept with the exported network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dnn.data.prefetch import Batches
from dnn.losses.classification import MarginSchedule, SpeakerLoss
from dnn.models.base import SpeakerNetwork
from dnn.training.options import TrainingOptions
from dnn.training.schedules import Schedule

# Options that a run may change without a word.
FREE = ("n_workers", "tensorboard", "optimiser", "log_every", "save_every", "patience")


def identity_of(
    model: SpeakerNetwork,
    loss: SpeakerLoss,
    batches: Batches,
    options: TrainingOptions,
    speakers: Sequence[str],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """What must be the same; the arguments are the trainer's."""
    return {
        "model": model.config(),
        "loss": loss.config(),
        "optimiser": options.optimiser,
        "average": bool(options.average_decay),
        "speakers": _digest(speakers),
        "data": _data(batches),
        "extra": {key: value for key, value in extra.items() if key != "options"},
    }


def choices_of(
    options: TrainingOptions,
    schedule: Schedule,
    margin: MarginSchedule | None,
    batches: Batches,
) -> dict[str, Any]:
    """What a resumed run should not change, unless its user means to."""
    return {
        **{k: v for k, v in asdict(options).items() if k not in FREE},
        "schedule": schedule.config(),
        "margin": None if margin is None else dict(vars(margin)),
        "batch_size": batches.batch_size,
    }


def _data(batches: Batches) -> dict[str, Any]:
    """What is trained on, as far as the batches tell."""
    source, augment = (getattr(batches, name, None) for name in ("source", "augment"))
    labels = np.asarray(getattr(batches, "labels", ()), np.int64).tolist()
    ids, lengths = ([], []) if source is None else (source.ids, source.lengths.tolist())
    return {
        "utterances": _digest(map(str, [*ids, *lengths, *labels])),
        "n_frames": np.atleast_1d(getattr(batches, "n_frames", 0)).tolist(),
        "augmentation": None if augment is None else type(augment).__name__,
    }


def differences(here: Any, there: Any, name: str = "") -> list[str]:
    """What differs between two configurations, one text for each option.

    Parameters
    ----------
    here, there
        JSON's types: this run's, and the checkpoint's.
    name : str
        What to call the whole.

    Returns
    -------
    list of str
        As ``"model.options.channels is 512 here and 1024 in the checkpoint"``.
    """
    return [
        f"{option} is {one!r} here and {two!r} in the checkpoint"
        for option, one, two in _unequal(here, there, name)
    ]


def _unequal(here: Any, there: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in sorted({*here, *there}):
            part = f"{name}.{key}" if name else str(key)
            yield from _unequal(here.get(key), there.get(key), part)
    elif here != there:
        yield name, here, there


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
