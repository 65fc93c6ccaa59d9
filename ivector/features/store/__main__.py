"""The door ``python -m ivector.features.store`` to the command in `ivector.commands`."""

import sys

from ivector.base.cli import run
from ivector.commands.log_mel_store import main, make_parser

if __name__ == "__main__":
    sys.exit(run(make_parser(), main))
