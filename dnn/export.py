"""A trained network as an ONNX file: ``python -m dnn.export NETWORK --out network.onnx``.

NETWORK is a folder that `dnn.train` exported (or that of the training). The file takes features
that are processed as in its training.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dnn.commands import COMMANDS
from dnn.extra import told_extra
from ivector.base.cli import Parser, run
from ivector.base.errors import UsageError

logger = logging.getLogger("export")


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(prog="python -m dnn.export", description=COMMANDS["export"].sentence)
    parser.add_argument("network", type=Path, metavar="NETWORK",
                        help="folder of an exported network, or of its training")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="NAME.onnx")
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> None:
    """Read, convert, write."""
    if arguments.out.suffix != ".onnx":
        raise UsageError(f"--out: give a name that ends in .onnx, not {arguments.out}")
    from dnn.embedding.export import load_network, network_folder
    from dnn.embedding.onnx import export_onnx

    model = load_network(network_folder(arguments.network))
    export_onnx(arguments.out, model)
    logger.info(
        "%s: takes (batch, frames, %d), gives (batch, %d)",
        arguments.out, model.n_features, model.embedding_dim,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
