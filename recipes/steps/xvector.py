"""Stage 7: an x-vector network for every fold, trained on its training speakers.

Crops of the stored features, sliding mean removed and voiced frames kept, balanced over speakers;
a margin softmax over the training speakers. A run that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ivector.base.cli import name, number, whole
from ivector.base.errors import DataError, UserError
from ivector.pipeline import FrontEnd
from recipes.stage import digest, require, stage
from recipes.steps.common import Corpus, folds, logger, make_parser, read_utt2spk

OPTIONS = (
    "model", "loss", "margin", "scale", "frames", "batch_size", "num_steps", "learning_rate",
    "weight_decay", "utterances_per_speaker", "spec_augment", "normalisation", "cmn_window", "seed",
)  # fmt: skip


def front_end(options: dict) -> FrontEnd:
    """What the network sees of the stored features."""
    return FrontEnd(
        delta_order=0, normalisation=options["normalisation"], cmn_window=options["cmn_window"]
    )


def train(arguments: argparse.Namespace, fold: Path, options: dict, work: Path) -> None:
    """Train one fold's network into `work`."""
    from dnn.augment import SpecAugment
    from dnn.batches import CropBatches
    from dnn.losses import MarginSchedule, build_loss
    from dnn.models import build
    from dnn.schedules import WarmupCosine
    from dnn.sources import ArraySource, make_labels
    from dnn.training import Trainer
    from dnn.training_options import TrainingOptions

    corpus = Corpus(arguments.exp / "features", front_end(options))
    utt2spk = read_utt2spk(fold / "train.utt2spk")
    utterances = corpus.usable(sorted(utt2spk), "training")
    source = ArraySource(utterances, [corpus.frames(utt) for utt in utterances])
    labels, speakers = make_labels(utterances, utt2spk)
    batches = CropBatches(
        source,
        labels,
        n_frames=tuple(options["frames"]),
        batch_size=min(options["batch_size"], len(speakers) * options["utterances_per_speaker"]),
        utterances_per_speaker=options["utterances_per_speaker"],
        augment=SpecAugment() if options["spec_augment"] else None,
        seed=arguments.seed,
    )
    seed_networks(arguments.seed)
    model = build(options["model"], n_features=source.n_features)
    margin = {} if options["loss"] == "softmax" else {"scale": options["scale"]}
    loss = build_loss(options["loss"], model.head_dim, len(speakers), **margin)
    n_steps = options["num_steps"]
    trainer = Trainer(
        model,
        loss,
        batches,
        work,
        TrainingOptions(
            n_steps=n_steps,
            weight_decay=options["weight_decay"],
            log_every=max(1, n_steps // 20),
            save_every=max(1, n_steps // 4),
            seed=arguments.seed,
        ),
        WarmupCosine(options["learning_rate"], n_steps, n_warmup=n_steps // 10),
        margin=MarginSchedule(options["margin"], n_steps // 10, n_steps // 2) if margin else None,
        speakers=speakers,
        device=arguments.device,
    )
    logger.info("%s: %s on %d utterances of %d speakers", fold.name, options["model"],
                len(utterances), len(speakers))  # fmt: skip
    if not trainer.fit().finished:
        raise DataError(f"{fold.name}: training was stopped; the same command runs it again")


def seed_networks(seed: int) -> None:
    """Seed the weights that a network begins with."""
    import torch

    torch.manual_seed(seed)


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    try:
        import torch
    except ImportError:
        raise UserError("x-vectors need torch: pip install 'ivector-plda[dnn]'") from None
    torch.set_num_threads(arguments.nj)
    options = {key: getattr(arguments, key) for key in OPTIONS}
    features = require(arguments.exp / "features", 1)
    for fold in folds(arguments.data):
        target = arguments.exp / arguments.system / "network" / fold.name
        upstream = [features, digest(fold / "train.utt2spk")]
        with stage(target, options, upstream, force=arguments.force) as work:
            if work is not None:
                train(arguments, fold, options, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("xvector", __doc__ or "")
    add = parser.add_argument
    add("--model", type=name, default="xvector-small", help="of dnn.models")
    add("--loss", choices=("softmax", "am-softmax", "aam-softmax"), default="am-softmax")
    add("--margin", type=number(0, 1), default=0.2, help="at the end; it grows from 0")
    add("--scale", type=number(1), default=30.0, help="of cosines")
    add("--frames", type=whole(15), nargs=2, default=[100, 200], help="of a crop, at 100 a second")
    add("--batch-size", type=whole(2), default=64)
    add("--utterances-per-speaker", type=whole(1), default=2, help="in a batch")
    add("--num-steps", type=whole(1), default=1000)
    add("--learning-rate", type=number(0), default=2e-3)
    add("--weight-decay", type=number(0), default=0.05)
    add("--spec-augment", type=whole(0, 1), default=1, help="1 masks bands and stretches")
    add("--normalisation", default="cmn", help="as in run.sh")
    add("--cmn-window", type=whole(1), default=300)
    add("--device", default="auto", help="auto takes a GPU if there is one")
    return parser
