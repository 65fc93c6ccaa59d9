"""Training of identification networks: what the tasks have in common, over `dnn.training`."""

from __future__ import annotations

import inspect
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnn.data.labelled import FrontEnd, LabelledSet
from ivector.base.errors import DataError, UsageError
from ivector.base.files import write_text

if TYPE_CHECKING:
    from dnn.data.batches import CropBatches
    from dnn.models.base import SpeakerNetwork
    from dnn.training.trainer import Trainer

logger = logging.getLogger("identification")

SPEED = "speed.json"
LOSSES = {"softmax": "softmax", "am": "am-softmax", "aam": "aam-softmax"}
MARGIN_STARTS, MARGIN_STANDS = 0.1, 0.4  # shares of the training between which a margin rises


@dataclass(frozen=True)
class IdentifierOptions:
    """How an identification network is made and trained.

    Parameters
    ----------
    model : str
        One of `dnn.models.MODELS`.
    width : float
        Factor on the network's channels; see `widened`.
    network : dict
        Further options of the network.
    loss : {"softmax", "am", "aam"}
    margin : float
        Of am and aam; it rises from 0 in the first 40 % of the training.
    n_frames : int
        Of a training crop.
    batch_size : int
    epochs : float
        Passes over the utterances; `n_steps`, if given, stands instead of them.
    n_steps : int, optional
    rate : float
        Largest learning rate.
    n_warmup : int, optional
        Steps of rising rate; by default 5 % of the training. A half cosine follows.
    optimiser : {"adamw", "sgd"}
    weight_decay : float
    mask : bool
        SpecAugment on the crops.
    precision : {"auto", "float32", "bfloat16"}
        Of the products; "auto" is bfloat16 on a GPU. On a processor that computes in bfloat16 it
        trains VGG-M twice as fast, on others more slowly.
    keep : {"last", "best"}
        Which weights are exported: those of the end, or of the best validation, whose accuracy is
        then too good to be quoted.
    device : str
    n_workers : int
        Processes that read batches ahead; they change no result.
    n_validations : int
        Of the training, evenly spread; the last one at its end.
    save_every : int
        Steps between checkpoints.
    seed : int
    """

    model: str
    width: float = 1.0
    network: dict[str, Any] = field(default_factory=dict)
    loss: str = "softmax"
    margin: float = 0.2
    n_frames: int = 300
    batch_size: int = 64
    epochs: float = 30.0
    n_steps: int | None = None
    rate: float = 1e-3
    n_warmup: int | None = None
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    mask: bool = False
    precision: str = "auto"
    keep: str = "last"
    device: str = "auto"
    n_workers: int = 0
    n_validations: int = 10
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UsageError(f"identification is trained by {', '.join(LOSSES)}, not {self.loss!r}")
        if self.keep not in ("last", "best"):
            raise UsageError(f"the weights kept are the last or the best, not {self.keep!r}")
        if self.epochs <= 0:
            raise UsageError(f"a training has more than 0 epochs, not {self.epochs}")


class Trained(NamedTuple):
    """A training that ended: folder of the network, steps done, False if SIGTERM stopped it."""

    network: Path
    step: int
    finished: bool


def train_identifier(
    data: LabelledSet,
    folder: str | os.PathLike,
    options: IdentifierOptions,
    front_end: FrontEnd,
    validation: LabelledSet | None = None,
) -> Trained:
    """Train a network, or go on training the one in the folder.

    Parameters
    ----------
    data : LabelledSet
    folder : path-like
        As of `dnn.training.trainer.Trainer`, and ``speed.json``.
    options : IdentifierOptions
    front_end : FrontEnd
        Of the data; kept with the network.
    validation : LabelledSet, optional
        Measured on the way, for the curves.

    Raises
    ------
    DataError
        Fewer than two speakers, or what the trainer raises.
    UsageError
        Options that make no network, or ``keep="best"`` without a validation.
    """
    if len(data.speakers) < 2:
        raise DataError("there is one speaker; a network learns to part at least two")
    if options.keep == "best" and validation is None:
        raise UsageError("the best weights are told by a validation; give one, or keep the last")
    trainer, watch = _trainer(data, Path(folder), options, front_end, validation)
    n_before = _steps_done(trainer)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    outcome = trainer.fit()
    seconds = time.perf_counter() - begin - (watch.seconds if watch else 0.0)
    cpu_seconds = time.process_time() - cpu_begin - (watch.cpu_seconds if watch else 0.0)
    n_crops = (outcome.step - n_before) * options.batch_size
    if n_crops:
        _write_speed(trainer, n_crops, seconds, cpu_seconds)
    if outcome.finished and options.keep == "last":
        _export_last(trainer)
    return Trained(trainer.folder / "network", outcome.step, outcome.finished)


def _trainer(
    data: LabelledSet,
    folder: Path,
    options: IdentifierOptions,
    front_end: FrontEnd,
    validation: LabelledSet | None,
) -> tuple[Trainer, Any]:
    """A trainer with fresh weights, and its validation, which keeps its time."""
    import torch

    from dnn.data.batches import CropBatches
    from dnn.embedding.trials import UNTOUCHED
    from dnn.identification.identifier import IdentificationValidation
    from dnn.losses.classification import MarginSchedule, build_loss
    from dnn.training.schedules import WarmupCosine
    from dnn.training.trainer import Trainer

    torch.manual_seed(options.seed)
    model = build_network(options, data.source.n_features)
    if options.precision == "bfloat16":  # the layout that its convolutions are fastest in
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = CropBatches(
        data.source, data.labels, n_frames=options.n_frames, batch_size=options.batch_size,
        augment=_masks() if options.mask else None, seed=options.seed,
    )  # fmt: skip
    n_steps = options.n_steps or max(1, round(options.epochs * len(batches)))
    n_warmup = min(n_steps // 20 if options.n_warmup is None else options.n_warmup, n_steps - 1)
    has_margin = options.loss != "softmax"
    loss = build_loss(
        LOSSES[options.loss], model.head_dim, len(data.speakers),
        **({"margin": options.margin} if has_margin else {}),
    )  # fmt: skip
    rise = (round(MARGIN_STARTS * n_steps), round(MARGIN_STANDS * n_steps))
    watch = IdentificationValidation(*validation[:2]) if validation else None
    logger.info(
        "%s of %d parameters; %d utterances of %d speakers; %d steps of %d",
        options.model, count_parameters(model), len(data.source), len(data.speakers), n_steps,
        options.batch_size,
    )  # fmt: skip
    trainer = Trainer(
        model,
        loss,
        batches,
        folder,
        _training_options(options, n_steps, batches),
        WarmupCosine(options.rate, n_steps, n_warmup),
        margin=MarginSchedule(options.margin, *rise) if has_margin else None,
        validation=watch,
        speakers=data.speakers,
        extra={
            "front_end": UNTOUCHED,
            "identification": {**front_end._asdict(), "crop_frames": options.n_frames},
            "options": asdict(options),
        },
        device=options.device,
    )
    return trainer, watch


def build_network(options: IdentifierOptions, n_features: int) -> SpeakerNetwork:
    """A network with fresh weights, as wide as the options say.

    Raises
    ------
    UsageError
        Options that it does not have, or crops that are too short for it.
    """
    from dnn.models import build

    given = {"n_features": n_features, **widened(options.model, options.width), **options.network}
    model = build(options.model, **given)
    if options.n_frames < model.min_frames:
        raise UsageError(
            f"{options.model} needs crops of at least {model.min_frames} frames, not "
            f"{options.n_frames}"
        )
    return model


def widened(name: str, width: float) -> dict[str, Any]:
    """Options of a network that make it `width` times as wide as its default.

    VGG-M has the option itself; a Conformer's model dimension, and the channels of the others, are
    multiplied and rounded to a multiple of 8.

    Raises
    ------
    UsageError
        The network has no width to change, or the factor is not above 0.
    """
    from dnn.models import MODELS

    if not width > 0:
        raise UsageError(f"a width is a factor above 0, not {width}")
    if width == 1.0 or name not in MODELS:  # which `build` refuses
        return {}
    entry = MODELS[name]
    cls = getattr(import_module(entry.module), entry.attribute)
    options = {p.name: p.default for p in inspect.signature(cls).parameters.values()}
    options.update(entry.options)
    for option in ("width", "dim", "channels"):
        value = options.get(option)
        if option == "width" and value is not None:
            return {option: width * value}
        if isinstance(value, tuple):
            return {option: tuple(_eighths(width * v) for v in value)}
        if value is not None:
            return {option: _eighths(width * value)}
    raise UsageError(f"{name} has no width to change; use its own options")


def default_loss(model: str) -> str:
    """The loss that the tasks train a network by."""
    return "am" if model == "conformer" else "softmax"


def count_parameters(model: SpeakerNetwork) -> int:
    """Numbers that are learnt, without the classes' weights."""
    return sum(p.numel() for p in model.parameters())


def read_speed(folder: str | os.PathLike) -> dict[str, Any]:
    """What ``speed.json`` of a training says: instances and seconds, and the machine.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    path = Path(folder) / SPEED
    try:
        speed = json.loads(path.read_text(encoding="utf-8"))
        float(speed["instances_per_s"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: missing or damaged; train again in another folder") from error
    return speed


def _eighths(value: float) -> int:
    return 8 * max(1, round(value / 8))


def _masks() -> Any:
    from dnn.data.augment import SpecAugment

    return SpecAugment()


def _training_options(options: IdentifierOptions, n_steps: int, batches: CropBatches) -> Any:
    from dnn.training.options import TrainingOptions

    return TrainingOptions(
        n_steps=n_steps,
        optimiser=options.optimiser,
        weight_decay=options.weight_decay,
        precision=options.precision,
        n_workers=options.n_workers,
        log_every=max(1, min(50, n_steps // 50)),
        save_every=options.save_every,
        validate_every=max(1, n_steps // max(1, options.n_validations)),
        seed=options.seed,
    )


def _steps_done(trainer: Trainer) -> int:
    """Steps of the checkpoint that the training goes on from."""
    from dnn.training.checkpoint import LAST, load_checkpoint

    path = trainer.folder / LAST
    return int(load_checkpoint(path).get("step", 0)) if path.exists() else 0


def _write_speed(trainer: Trainer, n_crops: int, seconds: float, cpu_seconds: float) -> None:
    """Speed of this call's steps; of a loaded machine the processor time tells more."""
    from dnn.identification.identifier import describe_machine

    speed = {
        "instances": n_crops,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "instances_per_s": round(n_crops / max(seconds, 1e-9), 3),
        "parameters": count_parameters(trainer.model),
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
