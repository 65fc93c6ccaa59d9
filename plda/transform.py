"""The door ``python -m plda.transform`` to the command in `plda.commands.transform`."""

import sys

from ivector.base.cli import run
from plda.commands.transform import main, make_parser

if __name__ == "__main__":
    sys.exit(run(make_parser(), main))
