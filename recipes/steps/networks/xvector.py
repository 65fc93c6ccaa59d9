"""Stage 7: an x-vector network for every fold, trained on its training speakers.

Crops of the stored features, sliding mean removed and voiced frames kept, balanced over speakers;
a margin softmax over the training speakers. A run that was killed goes on from its last checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dnn.configuration.files import read_config
from dnn.configuration.presets import PRESETS
from dnn.configuration.sections import FIELDS, NetworkConfig
from dnn.extra import told_extra
from dnn.models import MODELS
from ivector.base.errors import DataError
from ivector.pipeline import FrontEnd
from recipes.engine.marks import digest
from recipes.engine.run import Job, Run, Task
from recipes.experiment.frames import Corpus
from recipes.experiment.protocol import read_utt2spk

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
# Options of run.sh that go over those of the file.
OVER = {
    "xvector_model": "model.name",
    "xvector_steps": "training.steps",
    "xvector_frames": "batches.frames",
    "xvector_threads": "machine.threads",
}


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


def configuration(values: SimpleNamespace) -> NetworkConfig:
    """The network's configuration: the preset, over it the file, over it the options of run.sh.

    Raises
    ------
    DataError, UsageError
        The file cannot be read, or something in it is no value of its field.
    """
    config = PRESET.config()
    if values.xvector_config is not None:
        config = config.changed(read_config(values.xvector_config, PRESET))
    given = {key: getattr(values, name) for name, key in OVER.items()}
    given = {key: value for key, value in given.items() if value is not None}
    return config.changed({**given, "machine.device": values.device, "training.seed": values.seed})


@dataclass(frozen=True)
class Train:
    """Trains one fold's network into its work folder."""

    corpus: Corpus
    config: NetworkConfig
    memory: int

    def __call__(self, fold: Path, work: Path, nj: int) -> None:
        """Train, or go on from the last checkpoint."""
        from dnn.embedding.extraction import torch_threads

        with torch_threads(self.config.machine.threads):
            if not self._trainer(fold, work).fit().finished:
                raise DataError(f"{fold.name}: stopped; the same command goes on from there")

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
        from recipes.experiment.corpus_source import CorpusSource

        utt2spk = read_utt2spk(fold / "train.utt2spk")
        utterances = self.corpus.usable(sorted(utt2spk), "training")
        source = CorpusSource(self.corpus, utterances, self.memory)
        return LabelledSet(source, *make_labels(utterances, utt2spk))


def jobs(run: Run) -> Iterator[Job]:
    """The networks of all folds; on the CPU side by side, a GPU is one network's at a time."""
    tasks = list(run.tasks("networks.xvector"))
    if not tasks:
        return
    with told_extra():
        import torch  # noqa: F401  # not in each of the forks

        from dnn.training.distributed import Ranks, pick_device

        for task in tasks:
            config = configuration(task.values)
            options = told(config)
            # A GPU computes in bfloat16: its networks are others.
            options["device"] = pick_device(config.machine.device, Ranks()).type
            yield job(task, config, options)


def job(task: Task, config: NetworkConfig, options: dict[str, Any]) -> Job:
    """The network of a fold."""
    train = Train(Corpus(task.run.features, front_end(options)), config, task.values.memory)
    training = digest(task.fold / "train.utt2spk")
    upstream = {"features": task.features(), "training list": training}
    body = functools.partial(train, task.fold)
    on_gpu = options["device"] != "cpu"
    by_name = [MODELS[str(config.model.name)].module]
    return task.job("networks.xvector", "network", options, upstream, body, on_gpu, by_name)
