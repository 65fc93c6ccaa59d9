"""Train the networks of tiny-voxceleb and VoxSRC 2020: ``python -m recipes.train_embedding``.

Beyond ``python -m dnn.train`` it reads recordings as well as stored features, so that noise,
reverberation, babble and speed can change the sound; it masks features (SpecAugment); and its
learning rate falls by a factor every so many epochs, as those systems' does. It is one component
of a pipeline: what it reads and writes are files, the same command runs on a laptop and in a
cluster's container, and a machine that is taken away (SIGTERM) leaves a checkpoint and the exit
code 75, on which the command is given again.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnn.models import MODELS
from dnn.train import LOSSES
from ivector.base.cli import SEED, Parser, number, run, whole
from ivector.base.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from dnn.data.batches import CropBatches
    from dnn.data.sources import Source
    from dnn.losses.classification import SpeakerLoss
    from dnn.training.trainer import Trainer
    from dnn.training.validation import TrialValidation

logger = logging.getLogger("training")

STOPPED = 75
NORMALISATIONS = ("none", "utterance")
# Of the training between which a margin rises.
MARGIN_STARTS, MARGIN_STANDS = 0.1, 0.4


def read_recordings(arguments: argparse.Namespace) -> tuple[Source, np.ndarray, list[str]]:
    """Training recordings as features of changed sound, their labels, and the speakers' names.

    A speaker at another speed counts as another speaker.

    Raises
    ------
    DataError
        The data directory cannot be read, or lacks utterances.
    """
    from dnn.data.audio_source import AudioSource
    from dnn.data.augment import standard_augmentation
    from dnn.data.noises import Babble
    from dnn.data.sources import make_labels
    from ivector.data import read_data_dir, read_table
    from ivector.features.extractors import LogMel
    from ivector.features.store import PRESETS

    utt2spk = read_table(arguments.utt2spk, str)
    recordings = list(read_data_dir(arguments.data).subset(utt2spk).recordings())
    extractor = LogMel(**{**PRESETS["voxsrc"], "num_mel_bins": arguments.num_mel_bins})
    augment = None
    if arguments.augment > 0:
        rate = int(extractor.sample_frequency)
        augment = standard_augmentation(
            rate,
            arguments.musan,
            arguments.rirs,
            Babble(recordings, rate) if arguments.musan is None else None,
            probability=arguments.augment,
        )
    source = AudioSource(recordings, extractor, speeds=arguments.speeds, augment=augment)
    labels, speakers = make_labels([row[0] for row in recordings], utt2spk)
    others = [
        f"sp{speed:g}-{name}" for speed in arguments.speeds if speed != 1 for name in speakers
    ]
    return source, source.expand_labels(labels), [*speakers, *others]


def read_features(arguments: argparse.Namespace) -> tuple[Source, np.ndarray, list[str]]:
    """Stored training features, their labels, and the speakers' names.

    Raises
    ------
    DataError
        They cannot be read, or none is of a training utterance.
    """
    from dnn.data.sources import Subset, make_labels, open_features
    from ivector.data import read_table

    utt2spk = read_table(arguments.utt2spk, str)
    full = open_features(arguments.features)
    chosen = [utt for utt in full.ids if utt in utt2spk]
    if not chosen:
        raise DataError(f"{arguments.features}: holds none of the utterances to train on")
    if len(chosen) < len(utt2spk):
        logger.warning("%d utterances have no features", len(utt2spk) - len(chosen))
    source = Subset.by_ids(full, chosen)
    return source, *make_labels(chosen, utt2spk)


def make_batches(arguments: argparse.Namespace) -> tuple[CropBatches, list[str]]:
    """Batches of crops, and the speakers' names."""
    from dnn.data.augment import SpecAugment
    from dnn.data.batches import CropBatches
    from dnn.data.sources import Transformed, normalise_mean

    read = read_features if arguments.features else read_recordings
    source, labels, speakers = read(arguments)
    if arguments.normalise == "utterance":
        source = Transformed(source, normalise_mean)
    frames = arguments.frames
    batches = CropBatches(
        source,
        labels,
        n_frames=frames[0] if len(frames) == 1 else (frames[0], frames[1]),
        batch_size=arguments.batch_size,
        utterances_per_speaker=arguments.per_speaker,
        augment=SpecAugment() if arguments.spec_augment else None,
        seed=arguments.seed,
    )
    return batches, speakers


def make_trainer(arguments: argparse.Namespace) -> Trainer:
    """Everything that the arguments name, ready to train."""
    import torch

    from dnn.losses.classification import MarginSchedule
    from dnn.models import build
    from dnn.registry import read_options
    from dnn.training.distributed import Ranks
    from dnn.training.options import TrainingOptions
    from dnn.training.schedules import build_schedule
    from dnn.training.trainer import Trainer

    batches, speakers = make_batches(arguments)
    torch.manual_seed(arguments.seed)
    options = {**read_options(arguments.model_option), "n_features": batches.source.n_features}
    model = build(arguments.model, **options)
    n_steps = arguments.steps or max(1, round(arguments.epochs * len(batches)))
    every = max(1, round(arguments.decay_every * len(batches)))
    margin = None
    if arguments.loss in ("am-softmax", "aam-softmax"):
        edges = (round(MARGIN_STARTS * n_steps), round(MARGIN_STANDS * n_steps))
        margin = MarginSchedule(arguments.margin, *edges)
    logger.info(
        "%s; %d utterances of %d speakers; %d steps of %d, %d an epoch",
        arguments.model, len(batches.source), len(speakers), n_steps, batches.batch_size,
        len(batches),
    )  # fmt: skip
    return Trainer(
        model,
        _loss(arguments, model.head_dim, len(speakers)),
        batches,
        arguments.out,
        TrainingOptions(
            n_steps=n_steps,
            weight_decay=arguments.weight_decay,
            log_every=max(1, min(50, n_steps // 50)),
            save_every=arguments.save_every,
            validate_every=arguments.validate_every or max(1, n_steps // 10),
            n_workers=arguments.workers,
            compile=arguments.compile,
            seed=arguments.seed,
        ),
        build_schedule(
            "step",
            peak=arguments.lr,
            every=every,
            factor=arguments.decay,
            n_warmup=arguments.warmup,
        ),
        margin=margin,
        validation=_validation(arguments),
        speakers=speakers,
        extra={"front_end": front_end(arguments.normalise)},
        device=arguments.device,
        ranks=Ranks(),
    )


def front_end(normalise: str) -> dict[str, Any]:
    """What `dnn.extract` and `dnn.verify` shall do to the stored features of an utterance."""
    from dnn.embedding.trials import UNTOUCHED

    return UNTOUCHED if normalise == "none" else {**UNTOUCHED, "normalisation": "global_cmn"}


def _loss(arguments: argparse.Namespace, n_dims: int, n_speakers: int) -> SpeakerLoss:
    from dnn.losses.classification import build_loss

    takes_margin = arguments.loss in ("am-softmax", "aam-softmax", "triplet")
    options = {"margin": arguments.margin} if takes_margin else {}
    return build_loss(arguments.loss, n_dims, n_speakers, **options)


def _validation(arguments: argparse.Namespace) -> TrialValidation | None:
    if not arguments.trials:
        return None
    from dnn.embedding.trials import open_as_trained
    from dnn.training.validation import TrialValidation
    from ivector.data import read_enroll, read_trials

    config = {"front_end": front_end(arguments.normalise)}
    source = open_as_trained(config, arguments.trial_features or arguments.features)
    enroll = read_enroll(arguments.enroll) if arguments.enroll else None
    return TrialValidation.from_lists(source, read_trials(arguments.trials), enroll)


def build_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m recipes.train_embedding",
        description="Train an embedding network on recordings or stored features; resumes.",
        epilog="Exit codes: 0 trained; 1 bad data; 2 wrong usage; 75 stopped by SIGTERM and saved, "
        "run the same command again.",
    )
    add = parser.add_argument
    add("--features", type=Path, metavar="PATH", help="log-mel store, feats.scp, or its folder")
    add("--data", type=Path, metavar="DIR", help="instead, a data directory of recordings")
    add("--utt2spk", type=Path, required=True, metavar="FILE", help="utterances to train on")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the training")
    add("--model", choices=sorted(MODELS), default="resnetse34l", help="network")
    add("--model-option", action="append", default=[], metavar="NAME=VALUE", help="in JSON")
    add("--normalise", choices=NORMALISATIONS, default="none",
        help="subtract the mean of the crop, if the network does not itself")  # fmt: skip
    add(
        "--loss",
        choices=sorted(LOSSES.values()),
        default="angular-prototypical",
        help="training loss",
    )
    add("--margin", type=number(0, 2), default=0.2, metavar="M", help="of the margin losses")
    _add_training_options(parser)
    _add_augmentation(parser)
    add("--trials", type=Path, metavar="FILE", help="validate by the EER on these")
    add("--enroll", type=Path, metavar="FILE", help="utterances of their enrolment ids")
    add("--trial-features", type=Path, metavar="PATH", help="of the trials (default: --features)")
    add("--validate-every", type=whole(0), default=0, metavar="N", help="steps; 0: ten times")
    return parser


def _add_training_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--frames", type=whole(1), nargs="+", default=[200], metavar="N", help="of the crops")
    add("--batch-size", type=whole(1), default=750, metavar="B", help="crops of an update")
    add("--per-speaker", type=whole(2), metavar="K", help="utterances of each speaker in a batch")
    add("--epochs", type=number(0.001), default=500, metavar="E", help="passes over the utterances")
    add("--steps", type=whole(1), metavar="N", help="updates, instead of --epochs")
    add("--lr", type=number(1e-9), default=1e-3, metavar="RATE", help="learning rate at first")
    add("--decay", type=number(1e-9, 1), default=0.95, help="factor of the rate's fall")
    add("--decay-every", type=number(0.001), default=10, metavar="E", help="epochs between falls")
    add("--warmup", type=whole(0), default=0, metavar="N", help="steps of rising rate")
    add("--weight-decay", type=number(0), default=0.0, metavar="W", help="0 is Adam")
    add("--save-every", type=whole(1), default=500, metavar="N", help="steps between checkpoints")
    add("--compile", action="store_true", help="torch.compile; minutes at first")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--threads", type=whole(0), default=0, metavar="N", help="on the CPU; 0: all cores")
    add("--workers", type=whole(0), default=0, metavar="N", help="processes that read ahead")
    add("--seed", type=SEED, default=0, help="of weights, batches and dropout")


def _add_augmentation(parser: Parser) -> None:
    add = parser.add_argument
    add("--num-mel-bins", type=whole(8), default=40, help="of recordings' features")
    add("--augment", type=number(0, 1), default=0.0, metavar="SHARE",
        help="of the crops whose sound gets noise, babble or a room; with --data")  # fmt: skip
    add("--musan", type=Path, metavar="DIR", help="noises to add; otherwise simulated")
    add("--rirs", type=Path, metavar="DIR", help="impulse responses; otherwise simulated")
    add("--speeds", type=number(0.5, 2), nargs="+", default=[1.0], metavar="S",
        help="such as 0.9 1.0 1.1: each makes speakers of its own; with --data")  # fmt: skip
    add("--spec-augment", action="store_true", help="mask bands and stretches of the features")


def main(arguments: argparse.Namespace) -> int:
    """Train, or go on training."""
    if (arguments.features is None) == (arguments.data is None):
        raise UsageError("give --features or --data")
    if len(arguments.frames) > 2 or arguments.frames[0] > arguments.frames[-1]:
        raise UsageError("--frames: takes one length, or the least and the largest")
    if arguments.features and (arguments.augment or arguments.speeds != [1.0]):
        raise UsageError("--augment, --speeds: change the sound; give --data, not --features")
    if 1.0 not in arguments.speeds or len(set(arguments.speeds)) < len(arguments.speeds):
        raise UsageError("--speeds: different factors, 1 among them")
    if arguments.trials and not (arguments.trial_features or arguments.features):
        raise UsageError("--trials: need --trial-features, stored ones")
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return 0 if make_trainer(arguments).fit().finished else STOPPED


def cli() -> int:
    """Entry point."""
    return run(build_parser(), main)


if __name__ == "__main__":
    # Through the import system, so that worker processes find the classes by name.
    from recipes.train_embedding import cli as entry

    raise SystemExit(entry())
