"""Train a speaker network on stored features: ``python -m dnn.train``.

Features are Kaldi's (``feats.scp``, static; ``vad.scp``) or a log-mel store; a sliding mean over
3 s is taken off and the voiced frames are kept. The folder that --out names holds the checkpoints,
the exported network (``network/``), ``scalars.jsonl`` and ``curves.png``.

The same command resumes a training that was stopped. SIGTERM saves and exits with code 75 (the
system's EX_TEMPFAIL: run me again); a killed run loses the steps since its last checkpoint. For
several GPUs or machines: ``torchrun --nproc-per-node=8 -m dnn.train ...``, with --out on a disk
that all of them share; --max-restarts goes on after a machine was lost.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnn.models import MODELS
from ivector.base.cli import SEED, Parser, number, run, whole
from ivector.base.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from dnn.data.batches import CropBatches
    from dnn.data.sources import Source
    from dnn.losses.classification import MarginSchedule, SpeakerLoss
    from dnn.models.base import SpeakerNetwork
    from dnn.training.distributed import Ranks
    from dnn.training.options import TrainingOptions
    from dnn.training.validation import Validation

logger = logging.getLogger("training")

STOPPED = 75
LOSSES = {
    "softmax": "softmax",
    "am": "am-softmax",
    "aam": "aam-softmax",
    "triplet": "triplet",
    "angular-prototypical": "angular-prototypical",
    "ge2e": "ge2e",
}
MARGIN_STARTS, MARGIN_STANDS = 0.1, 0.4  # shares of the training between which a margin rises


class TrainingData(NamedTuple):
    """What to train on, and what is kept from it to validate."""

    source: Source
    labels: np.ndarray
    speakers: list[str]
    held_out: Source | None
    held_out_labels: np.ndarray


def build_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m dnn.train",
        description="Train a speaker network on stored features; resumes where it was stopped.",
        epilog="Exit codes: 0 trained; 1 bad data; 2 wrong usage; 75 stopped by SIGTERM and saved, "
        "run the same command again.",
    )
    add = parser.add_argument
    add("--features", type=Path, required=True, metavar="PATH",
        help="feats.scp of static features, its folder, or a log-mel store")  # fmt: skip
    add("--vad", type=Path, metavar="SCP", help="vad.scp; without it all frames are kept")
    add("--utt2spk", type=Path, required=True, metavar="FILE",
        help="speakers of the utterances to train on; others are left alone")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the training")
    add("--model", choices=sorted(MODELS), default="xvector-small", help="network")
    add("--model-option", action="append", default=[], metavar="NAME=VALUE",
        help="option of the network, its value in JSON, such as embedding_dim=64")  # fmt: skip
    add("--loss", choices=list(LOSSES), default="aam",
        help="am and aam are margin softmaxes; the last three need --per-speaker")  # fmt: skip
    add("--margin", type=number(0, 2), default=0.2, metavar="M",
        help="margin of am, aam and triplet; for the former it rises from 0 in the first 40 %% of "
        "the training; more parts speakers better, and too much learns nothing")  # fmt: skip
    _add_training_options(parser)
    _add_validation_options(parser)
    return parser


def _add_training_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--frames", type=whole(1), nargs="+", default=[200, 400], metavar="N",
        help="length of the crops, or least and largest; shorter ones train faster")  # fmt: skip
    add("--batch-size", type=whole(1), default=64, metavar="B",
        help="crops of an update; larger ones keep a GPU busy and want a higher --lr")  # fmt: skip
    add("--per-speaker", type=whole(2), metavar="K",
        help="batches of K utterances of each of B / K speakers")  # fmt: skip
    add("--epochs", type=number(0.001), default=30, metavar="E",
        help="passes over the utterances, a crop of each")  # fmt: skip
    add("--steps", type=whole(1), metavar="N", help="updates, instead of --epochs")
    add("--optimiser", choices=("adamw", "sgd"), default="adamw", help="sgd wants a higher --lr")
    add("--lr", type=number(1e-9), default=1e-3, metavar="RATE", help="largest learning rate")
    add("--schedule", choices=("cosine", "step", "constant"), default="cosine",
        help="of the rate after the warm-up; step divides it by 10 at each third")  # fmt: skip
    add("--warmup", type=whole(0), metavar="N", help="steps of rising rate (default: 5 %%)")
    add("--weight-decay", type=number(0), default=0.01, metavar="W", help="of the matrices")
    add("--average", type=number(0, 0.999999), default=0.0, metavar="SHARE",
        help="export a moving average of the weights, such as 0.999; 0 for none")  # fmt: skip
    add("--accumulate", type=whole(1), default=1, metavar="N",
        help="cut batches into N parts, which takes less memory and more time")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--threads", type=whole(0), default=0, metavar="N", help="on the CPU; 0: all cores")
    add("--workers", type=whole(0), default=0, metavar="N",
        help="processes that read batches ahead; they change no result")  # fmt: skip
    add("--compile", action="store_true",
        help="torch.compile the network: minutes at first, then faster on a GPU")  # fmt: skip
    add("--save-every", type=whole(1), default=500, metavar="N",
        help="steps between checkpoints, which a killed run loses at most")  # fmt: skip
    add("--tensorboard", action="store_true", help="also write TensorBoard's files")
    add("--seed", type=SEED, default=0, help="of weights, batches and dropout")


def _add_validation_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--held-out", type=whole(0), default=0, metavar="N",
        help="keep each speaker's last N utterances to measure accuracy on")  # fmt: skip
    add("--trials", type=Path, metavar="FILE",
        help="measure the EER of cosine scores on 'enrol test target|nontarget'; decides which "
        "weights are the best")  # fmt: skip
    add("--enroll", type=Path, metavar="FILE", help="utterances of the trials' enrolment ids")
    add("--trial-features", type=Path, metavar="PATH", help="of the trials, if not in --features")
    add("--trial-vad", type=Path, metavar="SCP", help="their vad.scp")
    add("--validate-every", type=whole(0), default=0, metavar="N",
        help="steps between validations; 0: each tenth of the training")  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    """Train, or go on training."""
    _check(arguments)
    import torch

    from dnn.models import build
    from dnn.registry import read_options
    from dnn.training.distributed import joined

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with joined() as ranks:
        data = read_training_data(
            arguments.features, arguments.vad, arguments.utt2spk, arguments.held_out
        )
        torch.manual_seed(arguments.seed)
        options = {**read_options(arguments.model_option), "n_features": data.source.n_features}
        model = build(arguments.model, **options)
        finished = _train(arguments, data, model, ranks)
    return 0 if finished else STOPPED


def _train(
    arguments: argparse.Namespace, data: TrainingData, model: SpeakerNetwork, ranks: Ranks
) -> bool:
    """Train a network with fresh weights, or those of its last checkpoint."""
    from dnn.data.batches import CropBatches
    from dnn.data.voiced import FRONT_END
    from dnn.training.trainer import Trainer

    low, high = arguments.frames[0], arguments.frames[-1]
    if low < model.min_frames:
        raise UsageError(
            f"--frames: {arguments.model} needs crops of at least {model.min_frames} frames"
        )
    batches = CropBatches(
        data.source,
        data.labels,
        n_frames=low if low == high else (low, high),
        batch_size=arguments.batch_size,
        utterances_per_speaker=arguments.per_speaker,
        seed=arguments.seed,
    )
    options = _options(arguments, batches)
    n_parameters = sum(p.numel() for p in model.parameters())
    logger.info(
        "%s of %d parameters; %d utterances of %d speakers; %d steps of %d",
        arguments.model, n_parameters, len(data.source), len(data.speakers),
        options.n_steps, arguments.batch_size,
    )  # fmt: skip
    trainer = Trainer(
        model,
        _loss(arguments, model, len(data.speakers)),
        batches,
        arguments.out,
        options,
        _schedule(arguments, options.n_steps),
        margin=_margin(arguments, options.n_steps),
        validation=_validation(arguments, data),
        speakers=data.speakers,
        extra={"front_end": FRONT_END, "vad": arguments.vad is not None},
        device=arguments.device,
        ranks=ranks,
    )
    outcome = trainer.fit()
    if outcome.finished:
        logger.info("the network is in %s", arguments.out / "network")
    return outcome.finished


def read_training_data(
    features: Path, vad: Path | None, utt2spk: Path, n_held_out: int = 0
) -> TrainingData:
    """Features and labels of the utterances that `utt2spk` names.

    Raises
    ------
    DataError
        A file cannot be read, none of the utterances has features, or a speaker has too few
        utterances to hold some out.
    """
    import numpy as np

    from dnn.data.sources import Subset, make_labels
    from dnn.data.voiced import in_memory, open_front_end
    from ivector.data import read_table

    table = read_table(utt2spk, str)
    full = open_front_end(features, vad)
    places = np.array([i for i, key in enumerate(full.ids) if key in table], np.int64)
    if len(places) < len(table):
        logger.warning(
            "%d of %d utterances of %s have no features and are left out",
            len(table) - len(places), len(table), utt2spk,
        )  # fmt: skip
    if not len(places):
        raise DataError(f"{utt2spk}: none of its utterances has features in {features}")
    labels, speakers = make_labels([full.ids[i] for i in places], table)
    if len(speakers) < 2:
        raise DataError(f"{utt2spk}: names one speaker; a network learns to part at least two")
    kept = np.ones(len(places), bool)
    if n_held_out:
        kept = _first_ones([full.ids[i] for i in places], labels, n_held_out, speakers)
    held_out = Subset(full, places[~kept]) if n_held_out else None
    source = in_memory(Subset(full, places[kept]))
    return TrainingData(source, labels[kept], speakers, held_out, labels[~kept])


def _first_ones(
    ids: list[str], labels: np.ndarray, n_held_out: int, speakers: list[str]
) -> np.ndarray:
    """Mask of all but the last utterances, by id, of every speaker."""
    import numpy as np

    kept = np.ones(len(ids), bool)
    order = np.array(sorted(range(len(ids)), key=lambda i: ids[i]))
    for label, speaker in enumerate(speakers):
        mine = order[labels[order] == label]
        if len(mine) <= n_held_out:
            raise DataError(
                f"speaker {speaker} has {len(mine)} utterances, of which --held-out {n_held_out} "
                "leaves none to train on; hold out fewer"
            )
        kept[mine[-n_held_out:]] = False
    return kept


def _loss(arguments: argparse.Namespace, model: SpeakerNetwork, n_speakers: int) -> SpeakerLoss:
    from dnn.losses.classification import build_loss

    takes_margin = arguments.loss in ("am", "aam", "triplet")
    options = {"margin": arguments.margin} if takes_margin else {}
    return build_loss(LOSSES[arguments.loss], model.head_dim, n_speakers, **options)


def _margin(arguments: argparse.Namespace, n_steps: int) -> MarginSchedule | None:
    from dnn.losses.classification import MarginSchedule

    if arguments.loss not in ("am", "aam"):
        return None
    start, end = round(MARGIN_STARTS * n_steps), round(MARGIN_STANDS * n_steps)
    return MarginSchedule(arguments.margin, start, end)


def _schedule(arguments: argparse.Namespace, n_steps: int) -> Any:
    from dnn.training.schedules import build_schedule

    warmup = n_steps // 20 if arguments.warmup is None else arguments.warmup
    options: dict[str, Any] = {"peak": arguments.lr, "n_warmup": warmup}
    if arguments.schedule == "cosine":
        options["n_steps"] = n_steps
    elif arguments.schedule == "step":
        options["every"] = max(1, (n_steps - warmup) // 3)
    return build_schedule(arguments.schedule, **options)


def _options(arguments: argparse.Namespace, batches: CropBatches) -> TrainingOptions:
    from dnn.training.options import TrainingOptions

    n_steps = arguments.steps or max(1, round(arguments.epochs * len(batches)))
    return TrainingOptions(
        n_steps=n_steps,
        optimiser=arguments.optimiser,
        weight_decay=arguments.weight_decay,
        average_decay=arguments.average,
        accumulate=arguments.accumulate,
        compile=arguments.compile,
        n_workers=arguments.workers,
        log_every=max(1, min(50, n_steps // 50)),
        save_every=arguments.save_every,
        validate_every=arguments.validate_every or max(1, n_steps // 10),
        tensorboard=arguments.tensorboard,
        seed=arguments.seed,
    )


def _validation(arguments: argparse.Namespace, data: TrainingData) -> Validation | None:
    from dnn.training.validation import AccuracyValidation, TrialValidation, Validations

    parts: list[Validation] = []
    if arguments.trials:
        from dnn.data.voiced import open_front_end
        from ivector.data import read_enroll, read_trials

        features = arguments.trial_features or arguments.features
        vad = arguments.trial_vad if arguments.trial_features else arguments.vad
        source = open_front_end(features, vad)
        enroll = read_enroll(arguments.enroll) if arguments.enroll else None
        parts.append(TrialValidation.from_lists(source, read_trials(arguments.trials), enroll))
    if data.held_out is not None:
        parts.append(AccuracyValidation(data.held_out, data.held_out_labels))
    return Validations(*parts) if parts else None


def _check(arguments: argparse.Namespace) -> None:
    if len(arguments.frames) > 2 or arguments.frames[0] > arguments.frames[-1]:
        raise UsageError("--frames: takes one length, or the least and the largest")
    metric = arguments.loss in ("triplet", "angular-prototypical", "ge2e")
    if metric and not arguments.per_speaker:
        raise UsageError(
            f"--loss {arguments.loss} compares utterances: give --per-speaker 2 or more"
        )
    if metric and arguments.held_out:
        raise UsageError(f"--held-out: {arguments.loss} has no classes; validate with --trials")
    if arguments.per_speaker and arguments.batch_size % arguments.per_speaker:
        raise UsageError("--batch-size: must be a multiple of --per-speaker")
    for name in ("enroll", "trial_features"):
        if getattr(arguments, name) and not arguments.trials:
            raise UsageError(f"--{name.replace('_', '-')}: is of use with --trials only")
    if arguments.trial_vad and not arguments.trial_features:
        raise UsageError("--trial-vad: belongs to --trial-features, which is not given")


if __name__ == "__main__":
    raise SystemExit(run(build_parser(), main))
