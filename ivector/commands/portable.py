"""Print what makes results the same on every x86-64, for a shell to set."""

from __future__ import annotations

import argparse
import shlex

from ivector.base.cli import Parser
from ivector.base.portable import variables


def make_parser() -> Parser:
    """Make the parser."""
    return Parser(
        prog="python -m ivector portable",
        description=str(__doc__),
        epilog='eval "$(python -m ivector portable)" sets the variables; what is started then '
        "gives the same bytes on every x86-64, and is slower (docs/scaling.md). run.sh has "
        "--portable true.",
    )


def main(arguments: argparse.Namespace) -> None:
    """Print a line of shell a variable."""
    for name, value in variables().items():
        print(f"export {name}={shlex.quote(value)}")
