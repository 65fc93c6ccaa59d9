"""Kaldi's commands over i-vectors and PLDA: ``python -m plda.kaldi NAME``."""

from __future__ import annotations

import argparse

from ivector.base.cli import Parser, run
from ivector.base.kaldi_cli import running
from plda.commands import COMMANDS
from plda.kaldi.table import PROGRAM


def make_parser() -> Parser:
    """Make the parser."""
    return running.program_parser(PROGRAM, COMMANDS["kaldi"].sentence)


def main(arguments: argparse.Namespace) -> None:
    """Run the command that is named."""
    running.run_program(PROGRAM, arguments.command, arguments.words)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
