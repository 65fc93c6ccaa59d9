"""Embeddings of utterances: ``python -m dnn.extract NETWORK --features feats.scp --out x.npz``.

NETWORK is a folder that `dnn.train` exported (or that of the training), features are processed as
in its training. Utterances of like length are taken together, which changes no embedding.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dnn.commands import COMMANDS
from dnn.extra import told_extra
from ivector.base.cli import Parser, run, whole
from ivector.base.errors import DataError, UsageError

logger = logging.getLogger("extraction")


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(prog="python -m dnn.extract", description=COMMANDS["extract"].sentence)
    add = parser.add_argument
    add("network", type=Path, metavar="NETWORK",
        help="folder of an exported network, or of its training")  # fmt: skip
    add("--features", type=Path, required=True, metavar="PATH",
        help="feats.scp of static features, its folder, or a log-mel store")  # fmt: skip
    add("--vad", type=Path, metavar="SCP", help="vad.scp, if the network was trained with one")
    add("--out", type=Path, required=True, metavar="FILE",
        help="vectors.npz (ids and vectors), or vectors.ark with its .scp")  # fmt: skip
    add("--chunk", type=whole(0), default=0, metavar="N",
        help="average the embeddings of chunks of at most N frames; bounds the memory that hours "
        "of speech take, and is not the embedding of the whole; 0 for none")  # fmt: skip
    add("--max-frames", type=whole(1), default=40_000, metavar="N",
        help="frames of a batch; fewer take less memory")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--threads", type=whole(0), default=0, metavar="N", help="on the CPU; 0: all cores")
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> None:
    """Read, extract, write."""
    if arguments.out.suffix not in (".npz", ".ark", ".scp"):
        raise UsageError(f"--out: give a name that ends in .npz, .ark or .scp, not {arguments.out}")
    from dnn.data.voiced import FRONT_END, open_front_end
    from dnn.embedding.export import CONFIG, load_network, network_folder, read_config
    from dnn.embedding.extraction import extract, write_vectors
    from dnn.training.distributed import Ranks, pick_device

    folder = network_folder(arguments.network)
    config = read_config(folder)
    if bool(config.get("vad")) != (arguments.vad is not None) and "vad" in config:
        had = "with" if config["vad"] else "without"
        logger.warning("%s was trained %s VAD decisions; extract %s them", folder, had, had)
    options = config.get("front_end", FRONT_END)
    if not isinstance(options, dict):
        raise DataError(f"{folder / CONFIG}: front_end: holds no options; export it again")
    model = load_network(folder)
    try:
        source = open_front_end(arguments.features, arguments.vad, options)
    except TypeError as error:
        raise DataError(f"{folder / CONFIG}: front_end: {error}") from error
    vectors = extract(
        model,
        source,
        chunk=arguments.chunk,
        max_frames=arguments.max_frames,
        device=pick_device(arguments.device, Ranks()),
        n_threads=arguments.threads,
        show=True,
    )
    write_vectors(arguments.out, source.ids, vectors)
    logger.info("%d vectors of %d dimensions in %s", *vectors.shape, arguments.out)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
