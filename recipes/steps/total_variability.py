"""Stage 3: Baum-Welch statistics of the training utterances, and the total-variability model."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ivector.base.budget import MIB, require_disk, require_memory, shard_size
from ivector.base.files import write_text
from ivector.base.log import progress
from ivector.base.parallel.checkpoint import MOST_GROUPS, Checkpoint
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from ivector.formats.extractor import write_extractor
from ivector.formats.statistics import StatisticsFile, StatisticsWriter
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.full import FullGMM
from ivector.gpu.streaming import ahead
from ivector.statistics import BaumWelchStatistics, baum_welch
from ivector.total_variability.e_step import sums_bytes, training_bytes
from ivector.total_variability.model import TotalVariability
from recipes.engine.run import Job, Run, Task
from recipes.engine.stage import resume_folder
from recipes.experiment.frames import (
    Corpus,
    Located,
    content,
    frames_of,
    logger,
    voiced_counts,
)
from recipes.experiment.protocol import read_utt2spk
from recipes.steps.ubm import front_end, load_ubm

UTTERANCES_PER_SHARD = 64
UTTERANCES_PER_THREAD = 4  # that a thread prepares, before it takes others


def cached_ubm(folder: Path) -> DiagonalGMM | FullGMM:
    """The UBM, read once per process."""
    return _cached_ubm(folder, content(folder / "final.npz"))


@functools.lru_cache(maxsize=2)
def _cached_ubm(folder: Path, _: tuple[int, int, int]) -> DiagonalGMM | FullGMM:
    return load_ubm(folder)


@dataclass(frozen=True)
class Accumulator:
    """Computes the statistics of a shard of utterances, on a GPU if one is named.

    There, so many threads prepare their frames meanwhile.
    """

    corpus: Corpus
    ubm_folder: Path
    num_gselect: int
    min_post: float
    second_order: bool = False
    gpu: str | None = None
    n_threads: int = 1

    def __call__(self, utterances: Sequence[str | Located]) -> BaumWelchStatistics:
        return baum_welch(
            cached_ubm(self.ubm_folder),
            self._frames(utterances),
            num_gselect=self.num_gselect,
            min_post=self.min_post,
            second_order=self.second_order,
            device=self.gpu,
        )

    def _frames(self, utterances: Sequence[str | Located]) -> Iterator[np.ndarray]:
        """Frames of the utterances, one by one."""
        if self.gpu is None:
            return (self.corpus.frames(utt) for utt in utterances)
        parts = make_shards(utterances, UTTERANCES_PER_THREAD)
        return ahead([functools.partial(map, self.corpus.frames, p) for p in parts], self.n_threads)


@dataclass(frozen=True)
class SaveGroup:
    """Writes a group of shards' statistics to a file, unless it is there; leaves a loader of it."""

    accumulate: Accumulator
    folder: Path
    storage: str
    prune: float

    def __call__(self, job: tuple[int, Sequence[Sequence[Located]]]) -> StatisticsFile:
        index, shards = job
        path = self.folder / f"statistics.{index}.npz"
        if not path.exists():
            with StatisticsWriter(path, self.storage, self.prune) as writer:
                for utterances in shards:
                    writer.write(self.accumulate(utterances))
        return StatisticsFile(path)


def groups(utterances: Sequence[Located]) -> list[tuple[int, Sequence[Sequence[Located]]]]:
    """Numbered groups of shards, a file each: one shard of small corpora, 64 of large ones.

    A file holds the second-order sum of its group, and an E-step makes its sums for a group, both
    of a size that does not depend on the utterances.
    """
    shards = make_shards(utterances, UTTERANCES_PER_SHARD)
    return list(enumerate(make_shards(shards, shard_size(len(shards), 1, 64))))


def check_budget(
    values: SimpleNamespace,
    corpus: Corpus,
    utterances: list[str],
    n_files: int,
    shape: tuple[int, int],
    work: Path,
) -> None:
    """Refuse a training whose statistics or models do not fit, before hours of work."""
    (C, D), R = shape, values.rank
    require_memory(
        training_bytes(C, D, R) + 2 * 4 * UTTERANCES_PER_SHARD * C * D,
        values.memory,
        f"training {C} components of {D} features at rank {R}",
        "take a lower rank or a smaller UBM",
    )
    counts = voiced_counts(corpus.folder)
    if values.statistics_dtype == "float32":
        one, pairs = 4 * (1 + D), C * len(utterances)
    else:  # A frame is given to so many components at most, an utterance has them all at most.
        one = 2 * D + 6
        most = min(values.num_gselect, int(1 / max(values.min_post, 1e-6)))
        pairs = sum(min(C, most * counts[utt]) for utt in utterances)
    number = 8 if values.statistics_dtype == "float32" else 4
    size = one * pairs + n_files * C * (8 * D + number * D * (D + 1) // 2)
    sums = min(n_files, MOST_GROUPS) * sums_bytes(C, D, R)  # of an iteration's checkpoint
    require_disk(
        work,
        size + sums + 3 * 8 * C * D * (R + D),
        values.disk,
        f"statistics of {len(utterances)} utterances",
        "store them with --statistics-dtype float16",
    )


def train(task: Task, work: Path, nj: int) -> None:
    """Train one fold's extractor into `work`."""
    values, fold, ubm_folder = task.values, task.fold, task.folder("ubm")
    corpus = Corpus(task.run.features, front_end(ubm_folder))
    utterances = corpus.usable(sorted(read_utt2spk(fold / "train.utt2spk")), "training")
    accumulate = Accumulator(
        corpus, ubm_folder, values.num_gselect, values.min_post, True, task.gpu, nj
    )
    jobs = groups(corpus.located(utterances))
    check_budget(values, corpus, utterances, len(jobs), load_ubm(ubm_folder).means_.shape, work)
    storage = values.statistics_dtype, values.statistics_prune
    save = SaveGroup(accumulate, resume_folder(work), *storage)
    saved = map_shards(save, jobs, nj=nj if task.gpu is None else 1)
    frames = frames_of(corpus, (chain.from_iterable(parts) for _, parts in jobs))
    shards = list(progress(saved, len(jobs), f"{fold.name}: statistics", "file", frames))
    size = sum(Path(shard.path).stat().st_size for shard in shards)
    logger.info("%s: %.1f MiB of statistics", fold.name, size / MIB)
    model = TotalVariability(
        values.rank,
        n_iter=values.num_iters_tv,
        parametrisation=values.parametrisation,
        init=values.tv_init,
        memory=values.memory,
        n_jobs=nj,
        random_state=values.seed,
        device=task.gpu,
    ).fit(shards, ubm=load_ubm(ubm_folder), checkpoint=Checkpoint(resume_folder(work) / "em"))
    model.save(work / "final.npz")
    if values.parametrisation == "kaldi":
        write_extractor(work / "final.ie", model)
    write_text(work / "objective.json", json.dumps(np.asarray(model.objective_).tolist()) + "\n")
    logger.info("%s: objective per frame %.4f", fold.name, model.objective_[-1])


def job(task: Task) -> Job:
    """The extractor of a fold."""
    values = task.values
    options = {
        "rank": values.rank,
        "num_iters": values.num_iters_tv,
        "parametrisation": values.parametrisation,
        "init": values.tv_init,
        "num_gselect": values.num_gselect,
        "min_post": values.min_post,
        "seed": values.seed,
        **task.on_gpu(),
    }
    if values.statistics_dtype != "float32":
        options["statistics"] = [values.statistics_dtype, values.statistics_prune]
    upstream = {"features": task.features(), "ubm": task.trained("ubm", "ubm")}
    body = functools.partial(train, task)
    alone = task.gpu is not None
    return task.job("total_variability", "tv", options, upstream, body, alone)


def jobs(run: Run) -> Iterator[Job]:
    """The extractors of all folds."""
    return map(job, run.tasks("total_variability"))
