"""The door ``python -m plda.adapt`` to the command in `plda.commands.adapt`."""

import sys

from ivector.base.cli import run
from plda.commands.adapt import main, make_parser

if __name__ == "__main__":
    sys.exit(run(make_parser(), main))
