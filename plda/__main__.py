"""``python -m plda`` lists the package's commands, with a command's name it runs that one."""

import sys

from ivector.base.commands import run_command
from plda.commands import COMMANDS

if __name__ == "__main__":
    sys.exit(run_command("plda", COMMANDS))
