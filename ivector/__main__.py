"""``python -m ivector`` lists the package's commands, with a command's name it runs that one."""

import sys

from ivector.base.commands import run_command
from ivector.commands import COMMANDS

if __name__ == "__main__":
    sys.exit(run_command("ivector", COMMANDS))
