"""Convert a back-end: ``python -m plda.copy SOURCE OUT``."""

from __future__ import annotations

import argparse

from ivector.base.cli import Parser
from plda.commands import COMMANDS

_LAYOUTS = ("kaldi", "vbx", "pyannote")


def make_parser() -> Parser:
    """Describe the command line."""
    parser = Parser(
        prog="python -m plda.copy",
        description=COMMANDS["copy"].sentence,
        parameters={"layout": "--to"},
    )
    parser.add_argument(
        "source", help="a back-end of this toolkit (.npz), Kaldi's plda, or a folder with "
        "mean.vec, transform.mat and plda (Kaldi), transform.h5 and plda (VBx), or "
        "xvec_transform.npz and plda.npz (pyannote, DiariZen)",
    )  # fmt: skip
    parser.add_argument("out", help="written: a file ending in .npz, or with --to a folder")
    parser.add_argument(
        "--to", choices=_LAYOUTS, help="whose files; without it this toolkit's. VBx and pyannote "
        "take the chain vbx of plda.train, Kaldi the chain kaldi",
    )  # fmt: skip
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, write."""
    from plda.formats.exchange import read_backend, write_backend

    write_backend(read_backend(arguments.source), arguments.out, arguments.to)
