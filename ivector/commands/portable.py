"""Print what makes results the same on every x86-64, for a shell to set."""

from __future__ import annotations

import argparse
import shlex
import sys

from ivector.base.cli import Parser, run
from ivector.base.portable import variables
from ivector.commands import COMMANDS


def make_parser() -> Parser:
    """Make the parser."""
    return Parser(
        prog="python -m ivector.commands.portable",
        description=COMMANDS["portable"].sentence,
        epilog='eval "$(python -m ivector portable)" sets the variables; what is started then '
        "gives the same bytes on every x86-64, and is slower (docs/scaling.md); run.sh "
        "has an option for it.",
    )


def main(arguments: argparse.Namespace) -> None:
    """Print a line of shell a variable."""
    for name, value in variables().items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), main))
