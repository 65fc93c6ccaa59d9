"""``python -m dnn`` lists the package's commands, with a command's name it runs that one."""

import sys

from dnn.commands import COMMANDS
from ivector.base.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("dnn", COMMANDS))
