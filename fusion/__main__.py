"""``python -m fusion`` lists the package's commands, with a command's name it runs that one."""

import sys

from fusion.commands import COMMANDS
from ivector.base.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("fusion", COMMANDS))
