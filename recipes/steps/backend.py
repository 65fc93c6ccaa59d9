"""Stage 5: the back-end of every fold: centring, LDA, length normalisation, PLDA."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from ivector.base.budget import require_memory
from ivector.base.cli import name, number, whole
from ivector.base.errors import DataError, UsageError
from ivector.base.files import write_text
from plda import LDA, PLDA, Center, LengthNorm
from plda.formats.models import save_model, write_plda, write_transform
from recipes.engine.stage import stage
from recipes.steps.common import folds, logger, make_parser, read_utt2spk, require_vectors
from recipes.steps.ivectors import read_vectors


def transforms(lda_dim: int, total_covariance_factor: float) -> Pipeline:
    """What every vector goes through before PLDA or the cosine."""
    steps = [Center()]
    if lda_dim:
        steps.append(LDA(lda_dim, total_covariance_factor=total_covariance_factor))
    return make_pipeline(*steps, LengthNorm())


def train(arguments: argparse.Namespace, fold: Path, vectors: Path, work: Path) -> None:
    """Train one fold's back-end into `work`."""
    table = read_vectors(vectors)
    utt2spk = read_utt2spk(fold / "train.utt2spk")
    utterances = [utt for utt in sorted(utt2spk) if utt in table]
    if len(utterances) < len(utt2spk):
        if not utterances:
            raise DataError(f"{vectors}: no training utterance has a vector; look at its features")
        logger.warning(
            "%s: %d of %d training utterances have no vector and are left out",
            fold.name, len(utt2spk) - len(utterances), len(utt2spk),
        )  # fmt: skip
    require_memory(
        3 * 8 * len(utterances) * len(table[utterances[0]]),  # float64, and twice on the way
        arguments.memory,
        f"the back-end of {len(utterances)} vectors",
        "train it on fewer utterances of each speaker",
    )
    X = np.stack([table[utt] for utt in utterances])
    y = np.array([utt2spk[utt] for utt in utterances])
    if arguments.lda_dim > X.shape[1]:
        raise UsageError(
            f"--lda-dim {arguments.lda_dim}: the vectors have only {X.shape[1]} dimensions"
        )
    pipeline = transforms(arguments.lda_dim, arguments.total_covariance_factor)
    normalised = pipeline.fit_transform(X, y)
    save_model(pipeline, work / "transforms.npz")
    if arguments.lda_dim:
        write_transform(pipeline[1], work / "transform.mat")
    if arguments.scoring == "plda":
        model = PLDA(n_iter=arguments.num_iters).fit(normalised, y)
        objective = model.objective_
        if arguments.plda_smoothing:
            model = model.smooth(arguments.plda_smoothing)
        save_model(model, work / "plda.npz")
        write_plda(model, work / "plda")
        write_text(work / "objective.json", json.dumps([float(x) for x in objective]) + "\n")
        logger.info("%s: PLDA objective %.4f per vector", fold.name, objective[-1])


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    options = {
        "scoring": arguments.scoring,
        "lda_dim": arguments.lda_dim,
        "total_covariance_factor": arguments.total_covariance_factor,
        "plda_smoothing": arguments.plda_smoothing,
        "num_iters": arguments.num_iters,
    }
    system = arguments.exp / arguments.system
    for fold in folds(arguments.data):
        vectors = arguments.exp / (arguments.trunk or system.name) / "ivectors" / fold.name
        target = system / "backend" / fold.name
        upstream = {"vectors": require_vectors(vectors)}
        with stage(target, options, upstream, force=arguments.force) as work:
            if work is not None:
                train(arguments, fold, vectors / "ivectors.npz", work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("backend", __doc__ or "")
    parser.add_argument("--trunk", type=name, help="system whose i-vectors to take, default own")
    parser.add_argument("--scoring", choices=("plda", "cosine"), default="plda")
    parser.add_argument(
        "--lda-dim", type=whole(0), default=0, help="dimensions LDA keeps; 0: no LDA"
    )
    parser.add_argument(
        "--total-covariance-factor", type=number(0, 1), default=0.0, help="Kaldi's, of LDA"
    )
    parser.add_argument("--plda-smoothing", type=number(0, 1), default=0.0, help="0 to 1")
    parser.add_argument("--num-iters", type=whole(1), default=10, help="EM iterations of PLDA")
    return parser
