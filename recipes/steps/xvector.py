"""Stage 7: an x-vector network for every fold, trained on its training speakers.

Crops of the stored features, sliding mean removed and voiced frames kept, balanced over speakers;
a margin softmax over the training speakers. A run that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivector.base.cli import name, number, whole
from ivector.base.errors import DataError, UserError
from ivector.base.log import progress
from ivector.base.shards import map_shards
from ivector.pipeline import FrontEnd
from recipes.engine.stage import digest, require, stage
from recipes.steps.common import Corpus, folds, logger, make_parser, read_utt2spk

if TYPE_CHECKING:
    from dnn.data.batches import CropBatches
    from dnn.training.trainer import Trainer

OPTIONS = (
    "model", "loss", "margin", "scale", "frames", "batch_size", "num_steps", "learning_rate",
    "weight_decay", "utterances_per_speaker", "spec_augment", "normalisation", "cmn_window", "seed",
    "threads",
)  # fmt: skip

# Torch's generator is one for a process: where shards run in threads, networks take turns.
_turn = threading.Lock()


def front_end(options: dict) -> FrontEnd:
    """What the network sees of the stored features."""
    return FrontEnd(
        delta_order=0, normalisation=options["normalisation"], cmn_window=options["cmn_window"]
    )


@dataclass(frozen=True)
class Train:
    """Trains one fold's network into its work folder."""

    corpus: Corpus
    options: dict[str, Any]
    memory: int
    device: str

    def __call__(self, job: tuple[Path, Path]) -> float:
        """Train, and return the seconds that took."""
        from dnn.embedding.extraction import torch_threads

        fold, work = job
        start = time.perf_counter()
        with _turn, torch_threads(self.options["threads"]):
            trainer = self._trainer(fold, work)
            if not trainer.fit().finished:
                raise DataError(f"{fold.name}: stopped; the same command goes on from there")
        return time.perf_counter() - start

    def _trainer(self, fold: Path, work: Path) -> Trainer:
        import torch

        from dnn.losses.classification import MarginSchedule, build_loss
        from dnn.models import build
        from dnn.training.options import TrainingOptions
        from dnn.training.schedules import WarmupCosine
        from dnn.training.trainer import Trainer

        options = self.options
        batches, speakers = self._batches(fold)
        torch.manual_seed(options["seed"])
        model = build(options["model"], n_features=batches.source.n_features)
        margin = {} if options["loss"] == "softmax" else {"scale": options["scale"]}
        loss = build_loss(options["loss"], model.head_dim, len(speakers), **margin)
        n_steps = options["num_steps"]
        return Trainer(
            model,
            loss,
            batches,
            work,
            TrainingOptions(
                n_steps=n_steps,
                weight_decay=options["weight_decay"],
                log_every=max(1, n_steps // 20),
                save_every=max(1, n_steps // 8),
                seed=options["seed"],
            ),
            WarmupCosine(options["learning_rate"], n_steps, n_warmup=n_steps // 10),
            margin=MarginSchedule(options["margin"], n_steps // 10, n_steps // 2)
            if margin
            else None,
            speakers=speakers,
            device=self.device,
        )

    def _batches(self, fold: Path) -> tuple[CropBatches, list[str]]:
        """Crops of the fold's training utterances, and their speakers."""
        from dnn.data.augment import SpecAugment
        from dnn.data.batches import CropBatches
        from dnn.data.sources import make_labels
        from recipes.steps.corpus_source import CorpusSource

        options = self.options
        utt2spk = read_utt2spk(fold / "train.utt2spk")
        utterances = self.corpus.usable(sorted(utt2spk), "training")
        labels, speakers = make_labels(utterances, utt2spk)
        batches = CropBatches(
            CorpusSource(self.corpus, utterances, self.memory),
            labels,
            n_frames=tuple(options["frames"]),
            batch_size=min(
                options["batch_size"], len(speakers) * options["utterances_per_speaker"]
            ),
            utterances_per_speaker=options["utterances_per_speaker"],
            augment=SpecAugment() if options["spec_augment"] else None,
            seed=options["seed"],
        )
        return batches, speakers


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold; on the CPU, folds are trained side by side."""
    try:
        import torch  # noqa: F401

        from dnn.training.distributed import Ranks, pick_device
    except ImportError:
        raise UserError("x-vectors need torch: pip install 'ivector-plda[dnn]'") from None
    options = {key: getattr(arguments, key) for key in OPTIONS}
    features = require(arguments.exp / "features", 1)
    # A GPU computes in bfloat16: its networks are others.
    options["device"] = pick_device(arguments.device, Ranks()).type
    on_cpu = options["device"] == "cpu"
    train = Train(
        Corpus(arguments.exp / "features", front_end(options)),
        options, arguments.memory, arguments.device,
    )  # fmt: skip
    with contextlib.ExitStack() as stages:
        jobs = []
        for fold in folds(arguments.data):
            target = arguments.exp / arguments.system / "network" / fold.name
            upstream = {"features": features, "training list": digest(fold / "train.utt2spk")}
            frame = stage(target, options, upstream, force=arguments.force)
            work = stages.enter_context(frame)
            if work is not None:
                jobs.append((fold, work))
        # loky replaces a process that has grown, as those that train do; no shard is lost by it.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        # A GPU is one network's at a time.
        done = map_shards(train, jobs, nj=arguments.nj if on_cpu else 1)
        for (fold, _), seconds in zip(jobs, progress(done, len(jobs), "networks", "fold")):
            logger.info("%s: %s trained in %.0f s", fold.name, arguments.model, seconds)


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
    add("--threads", type=whole(1), default=1, help="of the CPU for each training; another number "
        "changes the last digits, --nj does not")  # fmt: skip
    return parser
