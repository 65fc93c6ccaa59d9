"""The door ``python -m plda.score`` to the command in `plda.commands.score`."""

import sys

from ivector.base.cli import run
from plda.commands.score import main, make_parser

if __name__ == "__main__":
    sys.exit(run(make_parser(), main))
