"""Stage 2: the universal background model of every fold, diagonal first, then full."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ivector.base.budget import require_disk, require_memory
from ivector.base.checkpoint import Checkpoint
from ivector.base.cli import whole
from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.formats.gmm import load_gmm, save_gmm, write_diag_gmm, write_full_gmm
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.full import FullGMM
from ivector.pipeline import NORMALISATIONS, FrontEnd
from recipes.engine.stage import digest, require, resume_folder, stage
from recipes.steps.common import (
    Corpus,
    folds,
    frame_shards,
    logger,
    make_parser,
    read_utt2spk,
)


def front_end(folder: Path) -> FrontEnd:
    """Front-end that a fold's UBM was trained with; later stages read features through it."""
    try:
        return FrontEnd(**json.loads((folder / "front_end.json").read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{folder}: stage 2 has not finished; run with --stage 2") from error


def load_ubm(folder: Path) -> DiagonalGMM | FullGMM:
    """The fold's UBM, full where there is one."""
    return load_gmm(folder / "final.npz")


def check_budget(arguments: argparse.Namespace, dims: int, work: Path) -> None:
    """Refuse a UBM whose sums do not fit in memory or whose files do not on the disk."""
    n = arguments.num_components * dims * (dims if arguments.covariance == "full" else 1)
    what = f"a {arguments.covariance} UBM of {arguments.num_components} components"
    # Parameters, what is derived of them, a shard's sums and the total; an eighth is for frames.
    require_memory(8 * 5 * n * 8 / 7, arguments.memory, what, "fewer components")
    require_disk(work, 3 * 8 * n, arguments.disk, what, "fewer components")


def train(arguments: argparse.Namespace, fold: Path, options: dict, work: Path) -> None:
    """Train one fold's UBM into `work`."""
    corpus = Corpus(arguments.exp / "features", FrontEnd(**options["front_end"]))
    utterances = corpus.usable(sorted(read_utt2spk(fold / "train.utt2spk")), "training")
    dims = corpus.frames(utterances[0]).shape[1]
    check_budget(arguments, dims, work)
    shards = frame_shards(corpus, utterances, arguments.memory)
    logger.info("%s: UBM on %d utterances in %d shards", fold.name, len(utterances), len(shards))
    diagonal = DiagonalGMM(
        arguments.num_components,
        n_iter=arguments.num_iters_diag,
        n_jobs=arguments.nj,
        random_state=arguments.seed,
    ).fit(shards, checkpoint=Checkpoint(resume_folder(work) / "diagonal"))
    write_diag_gmm(work / "final.dubm", diagonal)
    final: DiagonalGMM | FullGMM = diagonal
    if arguments.covariance == "full":
        final = FullGMM(
            init=diagonal,
            num_gselect=arguments.num_gselect,
            n_iter=arguments.num_iters_full,
            n_jobs=arguments.nj,
        ).fit(shards, checkpoint=Checkpoint(resume_folder(work) / "full"))
        write_full_gmm(work / "final.ubm", final)
    save_gmm(work / "final.npz", final)
    objective = {"diagonal": diagonal.log_likelihood_, "final": final.log_likelihood_}
    write_text(work / "objective.json", json.dumps(objective, indent=1) + "\n")
    write_text(work / "front_end.json", json.dumps(options["front_end"], indent=1) + "\n")


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    features = require(arguments.exp / "features", 1)
    options = {
        "num_components": arguments.num_components,
        "covariance": arguments.covariance,
        "num_iters": [arguments.num_iters_diag, arguments.num_iters_full],
        "num_gselect": arguments.num_gselect,
        "seed": arguments.seed,
        "front_end": {
            "delta_order": arguments.delta_order,
            "delta_window": arguments.delta_window,
            "normalisation": arguments.normalisation,
            "cmn_window": arguments.cmn_window,
        },
    }
    for fold in folds(arguments.data):
        target = arguments.exp / arguments.system / "ubm" / fold.name
        upstream = {"features": features, "training list": digest(fold / "train.utt2spk")}
        with stage(target, options, upstream, force=arguments.force) as work:
            if work is not None:
                train(arguments, fold, options, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("ubm", __doc__ or "")
    parser.add_argument("--num-components", type=whole(1), default=64, help="Gaussians")
    parser.add_argument("--covariance", choices=("full", "diagonal"), default="full")
    parser.add_argument(
        "--num-iters-diag", type=whole(0), default=20, help="EM of the diagonal model"
    )
    parser.add_argument("--num-iters-full", type=whole(0), default=4, help="EM of the full model")
    parser.add_argument("--num-gselect", type=whole(1), default=20, help="Gaussians of a frame")
    parser.add_argument("--delta-order", type=whole(0), default=2)
    parser.add_argument("--delta-window", type=whole(1), default=3)
    parser.add_argument("--normalisation", choices=NORMALISATIONS, default="cmn")
    parser.add_argument("--cmn-window", type=whole(1), default=300, help="frames")
    return parser
