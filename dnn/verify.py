"""Score a trial list by cosine: ``python -m dnn.verify NETWORK --features PATH --trials FILE``.

NETWORK is a folder of an exported network, or of its training; features are processed as in its
training. Instead of it, ``--vectors`` takes embeddings that `dnn.extract` wrote.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from dnn.commands import COMMANDS
from dnn.extra import told_extra
from ivector.base.cli import Parser, run, whole
from ivector.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger("verification")

LAYOUTS = ("last", "first")


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(prog="python -m dnn.verify", description=COMMANDS["verify"].sentence)
    add = parser.add_argument
    add("network", type=Path, nargs="?", metavar="NETWORK",
        help="folder of an exported network, or of its training")  # fmt: skip
    add("--features", type=Path, metavar="PATH",
        help="feats.scp, a folder that holds it, or a log-mel store; with NETWORK")  # fmt: skip
    add("--vad", type=Path, metavar="SCP", help="vad.scp, if the network was trained with one")
    add("--vectors", type=Path, metavar="FILE",
        help="embeddings instead of a network: the .npz, .ark or .scp of dnn.extract")  # fmt: skip
    add("--trials", type=Path, required=True, metavar="FILE",
        help="'enrol test target|nontarget', 'enrol test', or '1|0|-1 enrol test'")  # fmt: skip
    add("--enroll", type=Path, metavar="FILE", help="'id utterance...', where ids are none")
    add("--out", type=Path, required=True, metavar="FILE", help="score file to write")
    add("--score", choices=LAYOUTS, default="last",
        help="where it stands in a line: behind the ids (Kaldi), or before them, as the "
        "tiny-voxceleb challenge takes a submission")  # fmt: skip
    add("--crops", type=whole(0), default=0, metavar="K",
        help="average the scores of all pairs of K crops of each utterance, which takes K times "
        "as long and helps networks trained on short crops; 0 embeds utterances whole")  # fmt: skip
    add("--crop-frames", type=whole(1), default=400, metavar="N", help="frames of a crop")
    add("--max-frames", type=whole(1), default=40_000, metavar="N",
        help="frames of a batch; fewer take less memory")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--threads", type=whole(0), default=0, metavar="N", help="on the CPU; 0: all cores")
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> None:
    """Read, score, write."""
    _check(arguments)
    from dnn.embedding.trials import read_trial_list, read_vectors, score_vectors, write_scores
    from ivector.data import read_enroll

    trials = read_trial_list(arguments.trials)
    enroll = read_enroll(arguments.enroll) if arguments.enroll else None
    if arguments.vectors:
        scores = score_vectors(*read_vectors(arguments.vectors), trials, enroll)
    else:
        scores = _embed_and_score(arguments, trials, enroll)
    write_scores(arguments.out, trials, scores, score_first=arguments.score == "first")
    logger.info("%d scores in %s", len(scores), arguments.out)


def _embed_and_score(
    arguments: argparse.Namespace,
    trials: list,
    enroll: dict[str, list[str]] | None,
) -> np.ndarray:
    from dnn.embedding.export import load_network, network_folder, read_config
    from dnn.embedding.trials import open_as_trained, score_trials
    from dnn.training.distributed import Ranks, pick_device

    folder = network_folder(arguments.network)
    return score_trials(
        load_network(folder),
        open_as_trained(read_config(folder), arguments.features, arguments.vad),
        trials,
        enroll,
        n_crops=arguments.crops,
        crop_frames=arguments.crop_frames,
        max_frames=arguments.max_frames,
        device=pick_device(arguments.device, Ranks()),
        n_threads=arguments.threads,
        show=True,
    )


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.network is None) == (arguments.vectors is None):
        raise UsageError("give a NETWORK with --features, or --vectors")
    if arguments.network and not arguments.features:
        raise UsageError("--features: a network needs the features of the trials' utterances")
    if arguments.vectors:
        for name in ("features", "vad", "crops"):
            if getattr(arguments, name):
                raise UsageError(f"--{name}: goes with a network, not with --vectors")
        if arguments.vectors.suffix not in (".npz", ".ark", ".scp"):
            raise UsageError(f"--vectors: takes .npz, .ark or .scp, not {arguments.vectors}")


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
