"""The door ``python -m plda.copy`` to the command in `plda.commands.copy`."""

import sys

from ivector.base.cli import run
from plda.commands.copy import main, make_parser

if __name__ == "__main__":
    sys.exit(run(make_parser(), main))
