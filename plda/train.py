"""The door ``python -m plda.train`` to the command in `plda.commands.train`."""

import sys

from ivector.base.cli import run
from plda.commands.train import main, make_parser

if __name__ == "__main__":
    sys.exit(run(make_parser(), main))
