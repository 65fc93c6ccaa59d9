"""Stage 8: x-vectors of every utterance of every fold; what follows is as for i-vectors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ivector.base.files import save_model
from recipes.stage import require, stage
from recipes.steps.common import Corpus, folds, make_parser
from recipes.steps.ivectors import fold_utterances
from recipes.steps.scoring import protocol_digest
from recipes.steps.xvector import front_end


def extract_fold(arguments: argparse.Namespace, fold: Path, network: Path, work: Path) -> None:
    """Extract one fold's x-vectors into `work`."""
    from dnn.export import load_network
    from dnn.extraction import extract
    from dnn.sources import ArraySource

    options = json.loads((network / "options.json").read_text(encoding="utf-8"))["options"]
    corpus = Corpus(arguments.exp / "features", front_end(options))
    utterances = corpus.usable(fold_utterances(fold), "train, enrolment and test")
    source = ArraySource(utterances, [corpus.frames(utt) for utt in utterances])
    model = load_network(network / "network")
    vectors = extract(model, source, n_threads=arguments.nj, device=arguments.device)
    arrays = {"ids": np.array(utterances), "vectors": vectors.astype(np.float64)}
    save_model(work / "ivectors.npz", "vectors", arrays, {})


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    system = arguments.exp / arguments.system
    features = require(arguments.exp / "features", 1)
    for fold in folds(arguments.data):
        network = system / "network" / fold.name
        upstream = [features, require(network, 7, on=[features]), protocol_digest(fold)]
        target = system / "ivectors" / fold.name
        with stage(target, {}, upstream, force=arguments.force) as work:
            if work is not None:
                extract_fold(arguments, fold, network, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("xvectors", __doc__ or "")
    parser.add_argument("--device", default="cpu", help="cuda takes a GPU")
    return parser
