"""A package's table of commands: ``python -m PACKAGE`` lists them, with a name it runs one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ivector.base.cli import guarded, run
from ivector.base.errors import Exit


class Command(NamedTuple):
    """A module with ``make_parser()`` and ``main(arguments)``, and in one line what it does."""

    module: str
    line: str

    @property
    def sentence(self) -> str:
        """The line as the command's help opens with it."""
        return f"{self.line[0].upper()}{self.line[1:]}."


def run_command(
    package: str, commands: Mapping[str, Command], argv: Sequence[str] | None = None
) -> int:
    """Run the command that the first word names, or list them all if there is none.

    Only the module of that command is imported.

    Parameters
    ----------
    package : str
        Whose commands they are: ``python -m PACKAGE``.
    commands : mapping
        The table.
    argv : sequence of str, optional
        The command's name and its own words; those of this process by default.

    Returns
    -------
    int
        Exit status: 2 for a command that there is not, else as of `ivector.base.cli.run`.
    """
    name, *words = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        return guarded(f"python -m {package}", lambda: _list(package, commands))
    if name not in commands:
        from difflib import get_close_matches

        near = "".join(f" (did you mean {one}?)" for one in get_close_matches(name, commands, 1))
        print(
            f"python -m {package}: error: there is no command {name!r}{near}; without a command "
            "all are listed",
            file=sys.stderr,
        )
        return Exit.USAGE
    module = importlib.import_module(commands[name].module)
    kept, sys.argv = sys.argv, [sys.argv[0], *words]  # as by the command's own door
    try:
        return run(module.make_parser(), module.main, words)
    finally:
        sys.argv = kept


def _list(package: str, commands: Mapping[str, Command]) -> None:
    width = max(map(len, commands))
    lines = [f"  {known:{width}}  {command.line}" for known, command in commands.items()]
    usage = f"usage: python -m {package} COMMAND ...   (COMMAND --help tells its options)\n"
    # Flushed here, where it is handled that nobody reads on.
    print(usage, *lines, sep="\n", flush=True)
