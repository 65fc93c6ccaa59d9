"""A file to start from: ``python -m dnn.configuration TASK [--out FILE]``.

Prints, or writes, what a task has where nothing else is said: every field with its default and the
reason to change it. What is left out of the file afterwards keeps the default.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dnn.commands import COMMANDS
from dnn.configuration.files import toml_text, write_config
from dnn.configuration.presets import PRESETS
from dnn.extra import told_extra
from ivector.base.cli import Parser, run
from ivector.base.errors import UsageError


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m dnn.configuration",
        description=COMMANDS["configuration"].sentence,
    )
    add = parser.add_argument
    add("task", nargs="?", choices=tuple(PRESETS), metavar="TASK",
        help="; ".join(f"{name}: {preset.task}" for name, preset in PRESETS.items()))  # fmt: skip
    add("--out", type=Path, metavar="FILE", help=".toml or .json; otherwise TOML is printed")
    add("--page", type=Path, metavar="FILE", help="instead, bring the tables of a page up to date")
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> None:
    """Print or write."""
    if (arguments.task is None) == (arguments.page is None):
        raise UsageError(f"give a TASK ({', '.join(PRESETS)}), or --page")
    if arguments.page is not None:
        from dnn.configuration.document import update

        update(arguments.page)
        return
    preset = PRESETS[arguments.task]
    if arguments.out is None:
        print(toml_text(preset.config(), preset.without))
    else:
        write_config(arguments.out, preset.config(), preset.without)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
