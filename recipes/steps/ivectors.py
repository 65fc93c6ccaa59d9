"""Stage 4: i-vectors of every utterance of every fold, and of ``--cohort`` and ``--adapt``."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ivector.base.budget import require_disk, require_memory, shard_size
from ivector.base.errors import DataError
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from ivector.total_variability.model import TotalVariability
from recipes.engine.marks import read_options
from recipes.engine.run import Job, Run, Task
from recipes.engine.stage import require, resume_folder
from recipes.experiment.cohort import to_extract
from recipes.experiment.frames import Kept, Located, content, frames_of
from recipes.experiment.vectors import write_vectors
from recipes.steps.total_variability import UTTERANCES_PER_SHARD, Accumulator
from recipes.steps.ubm import front_end


@functools.lru_cache(maxsize=2)
def _extractor(path: Path, _: tuple[int, int, int]) -> TotalVariability:
    return TotalVariability.load(path)


@dataclass(frozen=True)
class Extract:
    """Extracts the i-vectors of a shard of utterances."""

    accumulate: Accumulator
    model: Path

    memory: int = 2048
    gpu: str | None = None

    def __call__(self, utterances: Sequence[str | Located]) -> np.ndarray:
        model = _extractor(self.model, content(self.model))
        model.set_params(memory=self.memory, device=self.gpu)
        blocks = make_shards(utterances, UTTERANCES_PER_SHARD)
        return np.concatenate([model.transform(self.accumulate(block)) for block in blocks])


def extract(task: Task, kind: str, work: Path, nj: int) -> None:
    """Extract one fold's i-vectors, or by its models those of other recordings, into `work`."""
    values, fold = task.values, task.fold
    ubm, tv = task.folder("ubm"), task.folder("tv")
    options = read_options(tv)
    corpus, utterances = to_extract(task, front_end(ubm), kind)
    accumulate = Accumulator(
        corpus, ubm, options["num_gselect"], options["min_post"], gpu=task.gpu, n_threads=nj
    )
    what = f"i-vectors of {len(utterances)} utterances"
    rank = options["rank"]
    require_memory(2 * 4 * len(utterances) * rank, values.memory, what, "a lower rank")
    require_disk(work, 2 * len(utterances) * (4 * rank + 100), values.disk, what)
    shards = make_shards(corpus.located(utterances), shard_size(len(utterances)))
    extract_kept = Kept(
        Extract(accumulate, tv / "final.npz", values.memory, task.gpu),
        resume_folder(work) / "vectors",
    )
    numbered = list(enumerate(shards))
    parts = map_shards(extract_kept, numbered, nj=nj if task.gpu is None else 1)
    frames = frames_of(corpus, shards)
    vectors = np.concatenate(list(progress(parts, len(shards), fold.name, "shard", frames)))
    if not np.isfinite(vectors).all():
        bad = [utt for utt, row in zip(utterances, vectors) if not np.isfinite(row).all()]
        raise DataError(f"{len(bad)} i-vectors are not finite, the first of {bad[0]}")
    write_vectors(work / "ivectors.npz", utterances, vectors)


def jobs(run: Run) -> Iterator[Job]:
    """The i-vectors of all folds."""
    for task in run.tasks("ivectors"):
        features, ubm = task.features(), task.trained("ubm", "ubm")
        extractor = require(task.folder("tv"), 3, on=[features, ubm])
        models = {"ubm": ubm, "total variability": extractor}
        alone = task.gpu is not None
        for kind, upstream in task.vectors_of(models).items():
            body = functools.partial(extract, task, kind)
            yield task.job("ivectors", kind, task.on_gpu(), upstream, body, alone)
