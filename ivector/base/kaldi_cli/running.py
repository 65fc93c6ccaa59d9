"""Runs a command of Kaldi's name: help, options, tables and files opened, and the function."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from ivector.base.cli import Parser
from ivector.base.errors import UsageError, set_options
from ivector.base.kaldi_cli.declared import FILE_IN, READ, VALUE, WRITE, KaldiCommand, Program, Slot
from ivector.base.kaldi_cli.parsing import STANDARD, parse

_WIDTH = 100


def program_parser(program: Program, sentence: str) -> Parser:
    """Parser of a package's program: the command's name, and its own words."""
    parser = Parser(
        prog=f"python -m {program.package}",
        description=sentence,
        usage=f"python -m {program.package} [-h] COMMAND [--OPTION=VALUE ...] FILE ...",
        epilog=listing(program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", metavar="COMMAND", nargs="?", help="one of those below; --help tells more"
    )
    parser.add_argument("words", metavar="...", nargs=argparse.REMAINDER, help="as Kaldi's has")
    return parser


def listing(program: Program) -> str:
    """Commands of a package, a line each."""
    width = max(map(len, program.commands))
    return "\n".join(f"  {name:{width}}  {one.line}" for name, one in program.commands.items())


def run_program(program: Program, name: str | None, words: Sequence[str]) -> None:
    """Run the command that is named, or list them all.

    Raises
    ------
    UsageError
        There is no such command.
    """
    if name is None:
        print(listing(program))
        return
    if name not in program.commands:
        near = difflib.get_close_matches(name, program.commands, 1)
        guess = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"there is no command {name!r}{guess}; --help lists all")
    run_command(program, program.commands[name], words)


def run_command(program: Program, command: KaldiCommand, words: Sequence[str]) -> None:
    """Parse the words of a command, and do it."""
    set_options(_by_parameter(command), words)
    options, files = parse(command, words)
    if options.help:
        print(help_text(program, command))
        return
    if options.verbose:
        logging.getLogger().setLevel(logging.DEBUG)
    with contextlib.ExitStack() as stack:
        for option in command.options:
            attribute = option.name.replace("-", "_")
            if option.table and (text := getattr(options, attribute)):
                kind = WRITE if option.writes else READ
                holder, _, by_id = option.table.partition("@")
                slot = Slot(f"{option.name}-{kind}", holder, bool(by_id), True, False)
                setattr(options, attribute, stack.enter_context(_opened(program, slot, text)))
        opened: dict[str, Any] = {}
        for slot, file in files:
            table = stack.enter_context(_opened(program, slot, file))
            if slot.many:
                opened.setdefault(slot.keyword, []).append(table)
            else:
                opened[slot.keyword] = table
        command.function(options, **opened)


def _by_parameter(command: KaldiCommand) -> dict[str, str]:
    """What to type for each parameter of the library."""
    own = {option.name.replace("-", "_"): f"--{option.name}" for option in command.options}
    return {**own, "verbose": "--verbose", **command.parameters}


@contextlib.contextmanager
def _opened(program: Program, slot: Slot, file: str) -> Iterator[Any]:
    """A table or the path of a file, for as long as the command runs."""
    from ivector.base.tables.reading import TableLookup, TableReader
    from ivector.base.tables.streams import input_path, output_path
    from ivector.base.tables.writing import TableWriter

    if slot.kind == READ:
        reader = TableLookup if slot.by_id else TableReader
        yield reader(file, _holder(program, slot.holder))
    elif slot.kind == WRITE:
        with TableWriter(file, _holder(program, slot.holder)) as writer:
            yield writer
    elif slot.kind == VALUE:
        yield file
    else:
        with input_path(file) if slot.kind == FILE_IN else output_path(file) as path:
            yield path


def _holder(program: Program, name: str) -> Any:
    from ivector.base.tables.holders import HOLDERS

    return program.holders[name]() if name in program.holders else HOLDERS[name]


def help_text(program: Program, command: KaldiCommand) -> str:
    """What ``--help`` prints."""
    usages = [f"python -m {program.package} {usage}" for usage in command.usages]
    lines = [f"usage: {usages[0]}", *(f"       {usage}" for usage in usages[1:]), ""]
    lines += [f"{command.line[0].upper()}{command.line[1:]}.", "", "Options:"]
    for option in (*command.options, *STANDARD):
        default = (
            str(option.default).lower() if isinstance(option.default, bool) else option.default
        )
        more = f" ({' or '.join(option.choices)})" if option.choices else ""
        lines += _entry(f"--{option.name}={default}", option.help + more)
    if command.lacks:
        lines += ["", "Options of Kaldi's that are not here:"]
        lines += [line for lack in command.lacks for line in _entry(f"--{lack.name}", lack.why)]
    return "\n".join(lines)


def _entry(name: str, text: str) -> list[str]:
    indent = " " * 32
    first = f"  {name}  "
    head = [] if len(first) <= len(indent) else [first.rstrip()]
    body = textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return [*head, *body] if head else [f"{first:32}{body[0].strip()}", *body[1:]]
