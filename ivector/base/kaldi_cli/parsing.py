"""Kaldi's options: ``--name=value``, booleans also as ``--name``, all of them before the files."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from ivector.base.cli import MOST
from ivector.base.errors import UsageError
from ivector.base.kaldi_cli.declared import KaldiCommand, Option, Slot
from ivector.base.tables.specifiers import is_specifier

STANDARD = (
    Option("config", "", "file of options, one --name=value a line; those of the command go first"),
    Option("verbose", 0, "1 or more: more log lines"),
    Option("help", False, "print this"),
)
_TRUE, _FALSE = ("true", "t", "1", ""), ("false", "f", "0")


def parse(
    command: KaldiCommand, words: Sequence[str]
) -> tuple[SimpleNamespace, list[tuple[Slot, str]]]:
    """Options and files of a command's words.

    Returns
    -------
    options : namespace
        Every option by its name with _ for -, and those of `STANDARD`.
    files : list of (Slot, str)
        The files and tables, empty if ``--help`` was given.

    Raises
    ------
    UsageError
        An option that there is not, a value of another type, or other than as many files.
    """
    count = next((n for n, word in enumerate(words) if not _is_option(word)), len(words))
    given, files = list(words[:count]), list(words[count:])
    if files[:1] == ["--"]:
        files = files[1:]
    elif late := [word for word in files if word.startswith("--")]:
        raise UsageError(f"{late[0]}: options stand before the files, as in Kaldi")
    options = SimpleNamespace(
        **{_attribute(option.name): option.default for option in (*command.options, *STANDARD)}
    )
    for word in given:  # as in Kaldi, configurations first, so that the command line prevails
        name, value = _split(word)
        if name == "config":
            for line in _config_lines(value or ""):
                _set(command, options, line, f"{value}: ")
    for word in given:
        _set(command, options, word, "")
    return options, [] if options.help else _placed(command, files)


def _is_option(word: str) -> bool:
    return word.startswith("--") and word != "--"


def _attribute(name: str) -> str:
    return name.replace("-", "_")


def _split(word: str) -> tuple[str, str | None]:
    """Name in Kaldi's spelling, and value if there is one."""
    name, equals, value = word[2:].partition("=")
    return name.replace("_", "-").lower(), value if equals else None


def _config_lines(file: str) -> list[str]:
    from ivector.base.files import read_lines

    lines = []
    for number, line in enumerate(read_lines(file), 1):
        if line := line.partition("#")[0].strip():
            if not _is_option(line):
                raise UsageError(f"{file}, line {number}: expected --option=value, got {line!r}")
            lines.append(line)
    return lines


def _set(command: KaldiCommand, options: SimpleNamespace, word: str, where: str) -> None:
    name, value = _split(word)
    known = {_split(f"--{option.name}")[0]: option for option in (*command.options, *STANDARD)}
    lacks = {lack.name: lack for lack in command.lacks}
    if name in known:
        setattr(options, _attribute(known[name].name), _value(known[name], value, where))
    elif name in lacks:
        if value != lacks[name].default:
            default = f"; leave it at {lacks[name].default}" if lacks[name].default else ""
            raise UsageError(f"{where}--{name}, which Kaldi has, is not here: {lacks[name].why}"
                             f"{default}")  # fmt: skip
    else:
        near = difflib.get_close_matches(name, [*known, *lacks], 1)
        guess = f" (did you mean --{near[0]}?)" if near else ""
        raise UsageError(f"{where}{command.name} has no option --{name}{guess}; --help lists all")


def _value(option: Option, text: str | None, where: str) -> Any:
    told = f"{where}--{option.name}"
    if isinstance(option.default, bool):
        word = (text or "").lower()
        if word not in _TRUE + _FALSE:
            raise UsageError(f"{told} is true or false, not {text!r}")
        return word in _TRUE
    if text is None:
        raise UsageError(f"{told} takes a value: --{option.name}=VALUE")
    if option.choices and text not in option.choices:
        raise UsageError(f"{told} is {' or '.join(option.choices)}, not {text!r}")
    if isinstance(option.default, str):
        return text
    kind, what = (int, "a whole number") if isinstance(option.default, int) else (float, "a number")
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and abs(value) <= (MOST if kind is int else math.inf)):
        raise UsageError(f"{told} takes {what}, not {text[:40]!r}")
    return value


def _placed(command: KaldiCommand, files: list[str]) -> list[tuple[Slot, str]]:
    """Files in the places of the form that they fit: by their number, and what are tables."""
    fitting = [found for form in command.forms if (found := _fill(form, files)) is not None]
    for found in fitting:
        if all(is_specifier(file) == bool(slot.holder) for slot, file in found):
            return found
    if not fitting:
        wanted = " or: ".join(command.usages)
        raise UsageError(f"{len(files)} files and tables were given; usage: {wanted}")
    slot, file = next(
        (slot, file) for slot, file in fitting[0] if is_specifier(file) != bool(slot.holder)
    )
    ending = "such as ark:FILE or scp:FILE" if slot.holder else "not a table"
    what = "a table" if slot.holder else "a file"
    raise UsageError(f"{file!r}: <{slot.name}> is {what}, {ending}")


def _fill(form: Sequence[Slot], files: list[str]) -> list[tuple[Slot, str]] | None:
    if len(files) > len(form):
        extra = len(files) - len(form)
        form = [slot for one in form for slot in [one] * (1 + extra * one.many)]
    least = sum(not slot.optional for slot in form)
    return list(zip(form, files)) if least <= len(files) <= len(form) else None
