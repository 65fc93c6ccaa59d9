"""Stage 8: x-vectors of every utterance of every fold; what follows is as for i-vectors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnn.extra import told_extra
from dnn.models import MODELS
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from recipes.engine.marks import read_options
from recipes.engine.run import Job, Run, Task
from recipes.experiment.cohort import to_extract
from recipes.experiment.frames import Corpus
from recipes.experiment.vectors import write_vectors
from recipes.steps.networks.xvector import configuration, front_end

UTTERANCES_PER_SHARD = 256


@dataclass(frozen=True)
class Extract:
    """Extracts the x-vectors of a shard of utterances."""

    corpus: Corpus
    network: Path
    device: str

    def __call__(self, utterances: list[str]) -> np.ndarray:
        """(n_utterances, n_dims) float32."""
        from dnn.data.sources import ArraySource
        from dnn.embedding.export import load_network
        from dnn.embedding.extraction import extract

        source = ArraySource(utterances, [self.corpus.frames(utt) for utt in utterances])
        return extract(load_network(self.network), source, n_threads=1, device=self.device)


def extract_fold(task: Task, kind: str, work: Path, nj: int) -> None:
    """Extract one fold's x-vectors, or by its network those of other recordings, into `work`."""
    # A GPU is taken for extraction where it is named only.
    network, device = task.folder("network"), task.gpu or "cpu"
    options = read_options(network)
    corpus, utterances = to_extract(task, front_end(options), kind)
    shards = make_shards(utterances, UTTERANCES_PER_SHARD)
    extractor = Extract(corpus, network / "network", device)
    parts = map_shards(extractor, shards, nj=nj if device == "cpu" else 1)
    name = f"{task.fold.name}: x-vectors"
    vectors = np.concatenate(list(progress(parts, len(shards), name, "shard")))
    write_vectors(work / "ivectors.npz", utterances, vectors.astype(np.float64))


def jobs(run: Run) -> Iterator[Job]:
    """The x-vectors of all folds."""
    tasks = list(run.tasks("networks.xvectors"))
    if tasks:
        with told_extra():
            import torch  # noqa: F401  # not in each of the forks
    for task in tasks:
        on_gpu = task.gpu is not None
        by_name = [MODELS[str(configuration(task.values).model.name)].module]
        network = {"network": task.trained("network", "networks.xvector")}
        for kind, upstream in task.vectors_of(network).items():
            body = functools.partial(extract_fold, task, kind)
            yield task.job("networks.xvectors", kind, {}, upstream, body, on_gpu, by_name)
