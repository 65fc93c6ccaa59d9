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

from dnn.configuration.options import add_options, configure
from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import FIELDS, NetworkConfig
from dnn.extra import told_extra
from ivector.base.errors import DataError
from ivector.base.log import progress
from ivector.base.shards import map_shards
from ivector.pipeline import FrontEnd
from recipes.engine.stage import digest, require, stage
from recipes.steps.common import Corpus, folds, logger, make_parser, read_utt2spk

if TYPE_CHECKING:
    from dnn.data.labelled import LabelledSet
    from dnn.training.trainer import Trainer

PRESET = PRESETS["xvector"]
# What the stage's mark calls the fields that it always tells; it tells others where they are
# changed, so that a field that is new does not make old networks anew.
TOLD = {
    "model": "model.name",
    "loss": "loss.name",
    "margin": "loss.margin",
    "scale": "loss.scale",
    "frames": "batches.frames",
    "batch_size": "batches.batch_size",
    "num_steps": "training.steps",
    "learning_rate": "schedule.lr",
    "weight_decay": "optimiser.weight_decay",
    "utterances_per_speaker": "batches.per_speaker",
    "spec_augment": "augmentation.spec_augment",
    "normalisation": "features.normalisation",
    "cmn_window": "features.cmn_window",
    "seed": "training.seed",
    "threads": "machine.threads",
}
MARGIN_EDGES = ("loss.margin_starts", "loss.margin_stands")

# Torch's generator is one for a process: where shards run in threads, networks take turns.
_turn = threading.Lock()


def front_end(options: dict) -> FrontEnd:
    """What the network sees of the stored features, by what the stage's mark tells."""
    return FrontEnd(
        delta_order=0, normalisation=options["normalisation"], cmn_window=options["cmn_window"]
    )


def told(config: NetworkConfig) -> dict[str, Any]:
    """What the stage's mark tells of a configuration: all that changes the network."""
    options = {name: config[key] for name, key in TOLD.items()}
    options["spec_augment"] = int(options["spec_augment"])
    usual = PRESET.config()
    return options | {
        key: config[key]
        for key, declared in FIELDS.items()
        if not declared.same_weights and key not in TOLD.values() and config[key] != usual[key]
    }


@dataclass(frozen=True)
class Train:
    """Trains one fold's network into its work folder."""

    corpus: Corpus
    config: NetworkConfig
    memory: int

    def __call__(self, job: tuple[Path, Path]) -> float:
        """Train, and return the seconds that took."""
        from dnn.embedding.extraction import torch_threads

        fold, work = job
        start = time.perf_counter()
        with _turn, torch_threads(self.config.machine.threads):
            trainer = self._trainer(fold, work)
            if not trainer.fit().finished:
                raise DataError(f"{fold.name}: stopped; the same command goes on from there")
        return time.perf_counter() - start

    def _trainer(self, fold: Path, work: Path) -> Trainer:
        from dnn.training.builder import build_trainer, steps_of

        data, config = self._data(fold), self.config
        n_steps, per_speaker = config.training.steps, config.batches.per_speaker
        if per_speaker:  # all speakers, where there are fewer than a batch has room for
            most = len(data.speakers) * per_speaker
            size = min(config.batches.batch_size, most)
            config = config.changed({"batches.batch_size": size})
        if n_steps is not None:  # the step before the margin's edges, not the nearest
            config = config.changed({key: steps_of(config[key], n_steps) for key in MARGIN_EDGES})
        return build_trainer(config, data, work)

    def _data(self, fold: Path) -> LabelledSet:
        """The fold's training utterances, and their speakers."""
        from dnn.data.labelled import LabelledSet
        from dnn.data.sources import make_labels
        from recipes.steps.corpus_source import CorpusSource

        utt2spk = read_utt2spk(fold / "train.utt2spk")
        utterances = self.corpus.usable(sorted(utt2spk), "training")
        source = CorpusSource(self.corpus, utterances, self.memory)
        return LabelledSet(source, *make_labels(utterances, utt2spk))


@told_extra()
def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold; on the CPU, folds are trained side by side."""
    from dnn.training.distributed import Ranks, pick_device

    config = configure(arguments, PRESET, {"training.seed": arguments.seed})
    options = told(config)
    features = require(arguments.exp / "features", 1)
    # A GPU computes in bfloat16: its networks are others.
    options["device"] = pick_device(config.machine.device, Ranks()).type
    on_cpu = options["device"] == "cpu"
    train = Train(Corpus(arguments.exp / "features", front_end(options)), config, arguments.memory)
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
            logger.info("%s: %s trained in %.0f s", fold.name, config.model.name, seconds)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("xvector", __doc__ or "")
    add_options(parser, PRESET)
    return parser
