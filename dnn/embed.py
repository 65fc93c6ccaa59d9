"""Embeddings by a speaker network in an ONNX file: ``python -m dnn.embed --onnx FILE RECORDINGS``.

``--front-end`` says what the network takes, by the toolkit that it comes from; its numbers are
right for no other. Each recording is embedded whole.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dnn.commands import COMMANDS
from dnn.embedders.front_ends import FRONT_ENDS, RATE
from ivector.base.cli import Parser, add_parallel_options, run, whole
from ivector.base.errors import UsageError
from ivector.base.files import write_text
from ivector.features.containers.opening import HIGHEST_RATE, LOWEST_RATE

logger = logging.getLogger("embeddings")


def make_parser() -> Parser:
    """Arguments of the command."""
    told = "; ".join(f"{name}: {one.about}" for name, one in FRONT_ENDS.items())
    parser = Parser(prog="python -m dnn.embed", description=COMMANDS["embed"].sentence)
    add = parser.add_argument
    add("recordings", type=Path, metavar="RECORDINGS",
        help="a data directory, a folder of recordings, a wav.scp, or a list of files")  # fmt: skip
    add("--onnx", type=Path, required=True, metavar="FILE", help="the network")
    add("--front-end", choices=tuple(FRONT_ENDS), required=True,
        help=f"what the network takes of a recording. {told}")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FILE",
        help="vectors.npz (ids and vectors), or vectors.ark with its .scp")  # fmt: skip
    add("--rate", type=whole(LOWEST_RATE, HIGHEST_RATE), default=RATE, metavar="HZ",
        help="sampling rate that the network was trained on; recordings are converted")  # fmt: skip
    add("--channel", type=_channel, metavar="N", help="0, 1, ... or mean, of recordings with "
        "several; they are skipped without it")  # fmt: skip
    add("--strict", action="store_true",
        help="stop at the first bad recording instead of skipping and counting it")  # fmt: skip
    add_parallel_options(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, embed, write."""
    if arguments.out.suffix not in (".npz", ".ark", ".scp"):
        raise UsageError(f"--out: give a name that ends in .npz, .ark or .scp, not {arguments.out}")
    from dnn.embedders.extraction import EmbedShard, embed_recordings
    from dnn.embedding.extraction import write_vectors
    from ivector.recordings import read_recordings

    embed = EmbedShard(
        arguments.onnx.absolute(), arguments.front_end, arguments.rate, arguments.channel,
        arguments.strict,
    )  # fmt: skip
    recordings = read_recordings(arguments.recordings, arguments.strict)
    ids, vectors, skipped = embed_recordings(embed, recordings, arguments.nj)
    write_vectors(arguments.out, ids, vectors)
    logger.info("%d vectors of %d dimensions in %s", *vectors.shape, arguments.out)
    if skipped:
        path = arguments.out.with_suffix(".skipped")
        write_text(path, "".join(f"{key} {why}\n" for key, why in skipped.items()))
        logger.info("why others are skipped is in %s", path)


def _channel(text: str) -> int | str:
    return text if text == "mean" else whole(0)(text)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
