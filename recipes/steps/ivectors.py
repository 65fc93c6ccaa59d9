"""Stage 4: i-vectors of every utterance of every fold."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ivector.base.budget import require_disk, require_memory, shard_size
from ivector.base.errors import DataError
from ivector.base.files import load_model, save_model
from ivector.base.log import progress
from ivector.base.shards import map_shards
from ivector.base.workers import make_shards
from ivector.data import read_enroll, read_trials
from ivector.total_variability.model import TotalVariability
from recipes.engine.stage import require, resume_folder, stage
from recipes.steps.common import (
    Corpus,
    Kept,
    Located,
    content,
    folds,
    frames_of,
    make_parser,
    read_utt2spk,
    require_trained,
)
from recipes.steps.total_variability import UTTERANCES_PER_SHARD, Accumulator
from recipes.steps.trials import protocol_digest, trial_lists
from recipes.steps.ubm import front_end


def fold_utterances(fold: Path) -> list[str]:
    """Every utterance a fold needs: training, enrolment and test."""
    wanted = set(read_utt2spk(fold / "train.utt2spk"))
    wanted.update(utt for utts in read_enroll(fold / "enroll").values() for utt in utts)
    for trial_list in trial_lists(fold):
        wanted.update(trial.test for trial in read_trials(trial_list))
    return sorted(wanted)


@functools.lru_cache(maxsize=2)
def _extractor(path: Path, _: tuple[int, int, int]) -> TotalVariability:
    return TotalVariability.load(path)


@dataclass(frozen=True)
class Extract:
    """Extracts the i-vectors of a shard of utterances."""

    accumulate: Accumulator
    model: Path

    memory: int = 2048

    def __call__(self, utterances: Sequence[str | Located]) -> np.ndarray:
        model = _extractor(self.model, content(self.model)).set_params(memory=self.memory)
        blocks = make_shards(utterances, UTTERANCES_PER_SHARD)
        return np.concatenate([model.transform(self.accumulate(block)) for block in blocks])


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """Vectors of a stage by utterance id."""
    arrays, _ = load_model(path, "vectors")
    return dict(zip(arrays["ids"].tolist(), arrays["vectors"]))


def extract(arguments: argparse.Namespace, fold: Path, system: Path, work: Path) -> None:
    """Extract one fold's i-vectors into `work`."""
    ubm_folder, tv_folder = system / "ubm" / fold.name, system / "tv" / fold.name
    options = json.loads((tv_folder / "options.json").read_text(encoding="utf-8"))["options"]
    corpus = Corpus(arguments.exp / "features", front_end(ubm_folder))
    utterances = corpus.usable(fold_utterances(fold), "train, enrolment and test")
    accumulate = Accumulator(corpus, ubm_folder, options["num_gselect"], options["min_post"])
    require_memory(
        2 * 4 * len(utterances) * options["rank"],
        arguments.memory,
        f"i-vectors of {len(utterances)} utterances",
        "a lower rank",
    )
    require_disk(
        work,
        2 * len(utterances) * (4 * options["rank"] + 100),
        arguments.disk,
        f"i-vectors of {len(utterances)} utterances",
    )
    shards = make_shards(corpus.located(utterances), shard_size(len(utterances)))
    extract_kept = Kept(
        Extract(accumulate, tv_folder / "final.npz", arguments.memory),
        resume_folder(work) / "vectors",
    )
    parts = map_shards(extract_kept, list(enumerate(shards)), nj=arguments.nj)
    frames = frames_of(corpus, shards)
    vectors = np.concatenate(list(progress(parts, len(shards), fold.name, "shard", frames)))
    if not np.isfinite(vectors).all():
        bad = [utt for utt, row in zip(utterances, vectors) if not np.isfinite(row).all()]
        raise DataError(f"{len(bad)} i-vectors are not finite, the first of {bad[0]}")
    save_model(
        work / "ivectors.npz", "vectors", {"ids": np.array(utterances), "vectors": vectors}, {}
    )


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    system = arguments.exp / arguments.system
    features = require(arguments.exp / "features", 1)
    for fold in folds(arguments.data):
        ubm = require_trained(system / "ubm" / fold.name, 2, features, fold)
        extractor = require(system / "tv" / fold.name, 3, on=[features, ubm])
        upstream = {"features": features, "ubm": ubm, "total variability": extractor}
        upstream["protocol"] = protocol_digest(fold)
        target = system / "ivectors" / fold.name
        with stage(target, {}, upstream, force=arguments.force) as work:
            if work is not None:
                extract(arguments, fold, system, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    return make_parser("ivectors", __doc__ or "")
