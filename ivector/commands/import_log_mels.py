"""Log-mel energies of another program as a store: ``python -m ivector import-log-mels TREE OUT``.

TREE holds ``SPEAKER/VIDEO/UTT.npy``, as the VoxSRC 2020 pipeline publishes its features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ivector.base.cli import Parser, add_parallel_options, run
from ivector.commands import COMMANDS
from ivector.features.store.importer import import_tree, read_utterance_list
from ivector.features.store.writer import STORAGES


def make_parser() -> Parser:
    """Make the parser."""
    parser = Parser(
        prog="python -m ivector.commands.import_log_mels",
        description=COMMANDS["import-log-mels"].sentence,
    )
    parser.add_argument(
        "tree",
        type=Path,
        help="folder of SPEAKER/VIDEO/UTT.npy, (1, n_mels, n_frames) or without 1",
    )
    parser.add_argument("out", type=Path, help="folder of the store")
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="only the utterances that it names, by paths SPEAKER/VIDEO/UTT.wav or, first in a "
        "line, ids SPEAKER-VIDEO-UTT",
    )
    parser.add_argument(
        "--storage",
        choices=("file", *STORAGES),
        default="file",
        help="file: the files' own type, bit for bit; kaldi: 1 byte a number, less exact",
    )
    add_parallel_options(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Make a store."""
    wanted = read_utterance_list(arguments.list) if arguments.list else None
    storage = None if arguments.storage == "file" else arguments.storage
    store = import_tree(arguments.tree, arguments.out, wanted, storage, arguments.nj)
    print(
        f"{arguments.out}: {len(store)} utterances, {store.metadata['frames']} frames of "
        f"{store.n_dims}, {store.metadata['bytes']} bytes as {store.metadata['storage']}"
    )


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
