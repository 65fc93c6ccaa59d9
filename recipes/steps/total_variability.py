"""Stage 3: Baum-Welch statistics of the training utterances, and the total-variability model."""

from __future__ import annotations

import argparse
import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ivector.base.checkpoint import Checkpoint
from ivector.base.cli import number, whole
from ivector.base.files import write_text
from ivector.base.log import progress
from ivector.base.shards import make_shards, map_shards
from ivector.formats.extractor import write_extractor
from ivector.formats.statistics import read_statistics, write_statistics
from ivector.full_gmm import FullGMM
from ivector.gmm import DiagonalGMM
from ivector.statistics import BaumWelchStatistics, baum_welch
from ivector.total_variability import TotalVariability
from recipes.stage import require, resume_folder, stage
from recipes.steps.common import Corpus, content, folds, logger, make_parser, read_utt2spk
from recipes.steps.ubm import front_end, load_ubm

UTTERANCES_PER_SHARD = 64


def cached_ubm(folder: Path) -> DiagonalGMM | FullGMM:
    """The UBM, read once per process."""
    return _cached_ubm(folder, content(folder / "final.npz"))


@functools.lru_cache(maxsize=2)
def _cached_ubm(folder: Path, _: tuple[int, int, int]) -> DiagonalGMM | FullGMM:
    return load_ubm(folder)


@dataclass(frozen=True)
class Accumulator:
    """Computes the statistics of a shard of utterances."""

    corpus: Corpus
    ubm_folder: Path
    num_gselect: int
    min_post: float
    second_order: bool = False

    def __call__(self, utterances: list[str]) -> BaumWelchStatistics:
        return baum_welch(
            cached_ubm(self.ubm_folder),
            (self.corpus.frames(utt) for utt in utterances),
            num_gselect=self.num_gselect,
            min_post=self.min_post,
            second_order=self.second_order,
        )


@dataclass(frozen=True)
class SaveShard:
    """Writes a shard's statistics to a file, unless it is there, and leaves a loader of it."""

    accumulate: Accumulator
    folder: Path

    def __call__(self, job: tuple[int, list[str]]) -> StatisticsShard:
        index, utterances = job
        path = self.folder / f"statistics.{index}.npz"
        if not path.exists():
            write_statistics(path, self.accumulate(utterances))
        return StatisticsShard(path)


@dataclass(frozen=True)
class StatisticsShard:
    """Loads the statistics that `SaveShard` wrote."""

    path: Path

    def __call__(self) -> BaumWelchStatistics:
        return read_statistics(self.path)


def train(arguments: argparse.Namespace, fold: Path, ubm_folder: Path, work: Path) -> None:
    """Train one fold's extractor into `work`."""
    corpus = Corpus(arguments.exp / "features", front_end(ubm_folder))
    utterances = corpus.usable(sorted(read_utt2spk(fold / "train.utt2spk")), "training")
    accumulate = Accumulator(
        corpus, ubm_folder, arguments.num_gselect, arguments.min_post, second_order=True
    )
    jobs = list(enumerate(make_shards(utterances, UTTERANCES_PER_SHARD)))
    saved = map_shards(SaveShard(accumulate, resume_folder(work)), jobs, nj=arguments.nj)
    shards = list(progress(saved, len(jobs), f"{fold.name}: statistics", "shard"))
    model = TotalVariability(
        arguments.rank,
        n_iter=arguments.num_iters,
        parametrisation=arguments.parametrisation,
        init=arguments.init,
        n_jobs=arguments.nj,
        random_state=arguments.seed,
    ).fit(shards, ubm=load_ubm(ubm_folder), checkpoint=Checkpoint(resume_folder(work) / "em"))
    model.save(work / "final.npz")
    if arguments.parametrisation == "kaldi":
        write_extractor(work / "final.ie", model)
    write_text(work / "objective.json", json.dumps(np.asarray(model.objective_).tolist()) + "\n")
    logger.info("%s: objective per frame %.4f", fold.name, model.objective_[-1])


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    options = {
        "rank": arguments.rank,
        "num_iters": arguments.num_iters,
        "parametrisation": arguments.parametrisation,
        "init": arguments.init,
        "num_gselect": arguments.num_gselect,
        "min_post": arguments.min_post,
        "seed": arguments.seed,
    }
    system = arguments.exp / arguments.system
    features = require(arguments.exp / "features", 1)
    for fold in folds(arguments.data):
        ubm_folder = system / "ubm" / fold.name
        upstream = {"features": features, "ubm": require(ubm_folder, 2, on=[features])}
        target = system / "tv" / fold.name
        with stage(target, options, upstream, force=arguments.force) as work:
            if work is not None:
                train(arguments, fold, ubm_folder, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("total_variability", __doc__ or "")
    parser.add_argument("--rank", type=whole(1), default=100, help="dimension of the i-vectors")
    parser.add_argument("--num-iters", type=whole(1), default=5, help="EM iterations")
    parser.add_argument("--parametrisation", choices=("kaldi", "classical"), default="kaldi")
    parser.add_argument("--init", choices=("pca", "random"), default="random", help="start of EM")
    parser.add_argument("--num-gselect", type=whole(1), default=20, help="Gaussians of a frame")
    parser.add_argument(
        "--min-post", type=number(0, 0.5), default=0.025, help="posteriors below are pruned"
    )
    return parser
