"""Stage 8: x-vectors of every utterance of every fold; what follows is as for i-vectors."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnn.extra import told_extra
from ivector.base.files import save_model
from ivector.base.log import progress
from ivector.base.shards import map_shards
from ivector.base.workers import make_shards
from recipes.engine.stage import require, stage
from recipes.steps.common import Corpus, folds, make_parser, require_trained
from recipes.steps.ivectors import fold_utterances
from recipes.steps.trials import protocol_digest
from recipes.steps.xvector import front_end

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


def extract_fold(arguments: argparse.Namespace, fold: Path, network: Path, work: Path) -> None:
    """Extract one fold's x-vectors into `work`."""
    options = json.loads((network / "options.json").read_text(encoding="utf-8"))["options"]
    corpus = Corpus(arguments.exp / "features", front_end(options))
    utterances = corpus.usable(fold_utterances(fold), "train, enrolment and test")
    shards = make_shards(utterances, UTTERANCES_PER_SHARD)
    extractor = Extract(corpus, network / "network", arguments.device)
    parts = map_shards(extractor, shards, nj=arguments.nj if arguments.device == "cpu" else 1)
    vectors = np.concatenate(list(progress(parts, len(shards), f"{fold.name}: x-vectors", "shard")))
    arrays = {"ids": np.array(utterances), "vectors": vectors.astype(np.float64)}
    save_model(work / "ivectors.npz", "vectors", arrays, {})


@told_extra()
def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    system = arguments.exp / arguments.system
    features = require(arguments.exp / "features", 1)
    for fold in folds(arguments.data):
        network = system / "network" / fold.name
        upstream = {
            "features": features,
            "network": require_trained(network, 7, features, fold),
            "protocol": protocol_digest(fold),
        }
        target = system / "ivectors" / fold.name
        with stage(target, {}, upstream, force=arguments.force) as work:
            if work is not None:
                extract_fold(arguments, fold, network, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("xvectors", __doc__ or "")
    parser.add_argument("--device", default="cpu", help="cuda takes a GPU")
    return parser
