"""Options as data: what each takes, its default, why one would change it; how they are read.

An `Option` is declared once. From a table of them come the parser of the command line and of
configuration files, the one-line refusals, and the help. Nothing heavy is imported: choices that a
library declares are looked up only when they are needed.
"""

from __future__ import annotations

import difflib
import importlib
import math
import re
import shlex
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any

from ivector.base.errors import UsageError

Parse = Callable[[str], Any]


@dataclass(frozen=True)
class Kind:
    """What an option takes.

    Parameters
    ----------
    parse : callable
        Text to value; raises ValueError if it is not allowed.
    allowed : callable
        Says what is, behind "takes".
    flag : bool
        May be given without a value, which is then true.
    trust : callable, optional
        As `parse`, of a text that is known to be allowed; looks nothing up.
    """

    parse: Parse
    allowed: Callable[[], str]
    flag: bool = False
    trust: Parse | None = None


def whole(least: int, most: int | None = None, *, also: Iterable[int] = ()) -> Kind:
    """Whole numbers from `least` to `most`, and those of `also`."""
    others = tuple(also)

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,19}", text):
            raise ValueError
        value = int(text)
        if value not in others and (value < least or (most is not None and value > most)):
            raise ValueError
        return value

    extra = "".join(f"{value} or " for value in others)
    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Kind(parse, lambda: f"{extra}whole numbers {span}")


def number(least: float, most: float = math.inf, *, open_ends: bool = False) -> Kind:
    """Finite numbers from `least` to `most`, without these two where the ends are open."""

    def parse(text: str) -> float:
        value = float(text)
        inside = least < value < most if open_ends else least <= value <= most
        if not math.isfinite(value) or not inside or "_" in text:
            raise ValueError
        return value

    if math.isinf(most):
        span = f"above {least:g}" if open_ends else f"of at least {least:g}"
    else:
        span = f"between {least:g} and {most:g}" if open_ends else f"from {least:g} to {most:g}"
    return Kind(parse, lambda: f"numbers {span}")


def choice(*values: str, of: str = "") -> Kind:
    """One of some words: `values`, and the keys of what `of` names as ``module:attribute``."""
    words = _words(values, of)

    def parse(text: str) -> str:
        if text not in values and text not in _known(words, (text,)):
            raise ValueError
        return text

    return Kind(parse, lambda: "one of " + ", ".join(words()), trust=str)


def several(*values: str, of: str = "", least: int = 0) -> Kind:
    """Some of the words that `choice` would take, with blanks between, none twice."""
    words = _words(values, of)

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(text.split())
        if len(found) < least or len(set(found)) < len(found):
            raise ValueError
        if not set(found) <= set(_known(words, found)):
            raise ValueError
        return found

    allowed = f"{least} or more of" if least else "any of"
    return Kind(
        parse,
        lambda: f"{allowed} {', '.join(words())}, none twice",
        trust=lambda text: tuple(text.split()),
    )


def optional(kind: Kind, otherwise: str) -> Kind:
    """`kind`, or nothing: None, whose meaning is told in words."""
    return Kind(
        lambda text: kind.parse(text) if text else None,
        lambda: f"{kind.allowed()}, or nothing: {otherwise}",
    )


def pair(kind: Kind) -> Kind:
    """Two values in order, with a blank between, the second not smaller."""

    def parse(text: str) -> tuple[Any, Any]:
        low, high = (kind.parse(word) for word in text.split())
        if high < low:
            raise ValueError
        return low, high

    return Kind(parse, lambda: f"two {kind.allowed()}, least and largest")


def text_kind(pattern: str = "", allowed: str = "text") -> Kind:
    """Text that matches `pattern` as a whole; any if there is none."""

    def parse(text: str) -> str:
        if "\0" in text or "\n" in text or (pattern and not re.fullmatch(pattern, text)):
            raise ValueError
        return text

    return Kind(parse, lambda: allowed)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


FLAG = Kind(_boolean, lambda: "true or false", flag=True)
FOLDER = text_kind(allowed="the path of a folder")
FILE = text_kind(allowed="the path of a file that can be read")


def _known(words: Callable[[], tuple[str, ...]], given: Sequence[str]) -> Sequence[str]:
    """The words to choose from; what is given where their library is not installed yet."""
    try:
        return words()
    except ImportError:  # before the packages are installed; the stages look again
        return given


def _words(values: Sequence[str], of: str) -> Callable[[], tuple[str, ...]]:
    def words() -> tuple[str, ...]:
        if not of:
            return tuple(values)
        module, _, attribute = of.partition(":")
        return (*values, *getattr(importlib.import_module(module), attribute))

    return words


@dataclass(frozen=True)
class Option:
    """One option.

    Parameters
    ----------
    name : str
        With underscores, as in configuration files.
    default : str
        As one would type it.
    kind : Kind
    why : str
        What it is, and why one would change it.
    group : str
        Heading of the help.
    must_exist : bool
        The value is a path that is looked at before anything is run.
    """

    name: str
    default: str
    kind: Kind
    why: str
    group: str = ""
    must_exist: bool = False

    @property
    def flag(self) -> str:
        """The option as one types it."""
        return "--" + self.name.replace("_", "-")

    def read(self, text: str, where: str = "") -> Any:
        """Value of a text.

        Raises
        ------
        UsageError
            In one line: the option, the value and what is allowed.
        """
        try:
            return self.kind.parse(text)
        except ValueError:
            what = where or self.flag
            raise UsageError(f"{what} takes {self.kind.allowed()}; got {text!r}") from None

    def trust(self, text: str) -> Any:
        """Value of a text of the toolkit's own, which is allowed; tests have looked."""
        return (self.kind.trust or self.kind.parse)(text)


@dataclass(frozen=True)
class Given:
    """A value as it was given, where, the folder of its paths; `trusted` if the toolkit gave it."""

    text: str
    where: str
    base: Path
    trusted: bool = False


@dataclass
class Table:
    """Options by name, in order.

    Parameters
    ----------
    groups : mapping of str to sequence of Option
        By heading.
    home : Path
        Where relative paths of defaults begin.
    """

    groups: InitVar[Mapping[str, Sequence[Option]]]
    home: Path
    options: dict[str, Option] = field(init=False)

    def __post_init__(self, groups: Mapping[str, Sequence[Option]]) -> None:
        self.options = {
            one.name: replace(one, group=group)
            for group, members in groups.items()
            for one in members
        }

    def find(self, name: str, where: str) -> Option:
        """The option of a name; a wrong one is answered with the nearest right one."""
        if name in self.options:
            return self.options[name]
        near = difflib.get_close_matches(name, self.options, n=1, cutoff=0.5)
        meant = ""
        if near:
            right = near[0].replace("_", "-") if where.startswith("--") else near[0]
            meant = f"; did you mean {'--' if where.startswith('--') else ''}{right}?"
        raise UsageError(f"unknown option {where}{meant or '; --help lists the options'}")

    def read_arguments(
        self, words: Sequence[str], base: Path
    ) -> tuple[dict[str, Given], list[Path]]:
        """Options of a command line, ``--name value`` or ``--name=value``, and its ``--config``s.

        Parameters
        ----------
        words : sequence of str
        base : Path
            Folder that relative paths begin in.

        Raises
        ------
        UsageError
        """
        given: dict[str, Given] = {}
        configs: list[Path] = []
        left = list(words)
        while left:
            word = left.pop(0)
            if word == "-v":
                word = "--verbose"
            if not word.startswith("--") or word == "--":
                raise UsageError(f"unexpected argument {word!r}; options are --NAME VALUE")
            name, equals, value = word[2:].partition("=")
            if name == "config":
                option = None
            elif "_" in name:
                raise UsageError(f"unknown option --{name}; write dashes, not underscores")
            else:
                option = self.find(name.replace("-", "_"), f"--{name}")
            if not equals:
                value = self._next(option, f"--{name}", left)
            if option is None:
                configs.append(base / value)
            else:
                given[option.name] = Given(value, option.flag, base)
        return given, configs

    @staticmethod
    def _next(option: Option | None, name: str, left: list[str]) -> str:
        """Value of an option, which stands in the next word."""
        if option is not None and option.kind.flag and (not left or left[0][:2] in ("--", "-v")):
            return "true"
        if not left:
            raise UsageError(f"{name} needs a value")
        if left[0].startswith("--"):
            raise UsageError(f"{name} needs a value; if it is {left[0]!r}, write {name}={left[0]}")
        return left.pop(0)

    def read_config(self, path: Path, base: Path, trusted: bool = False) -> dict[str, Given]:
        """Options of a file of assignments, ``name=value``, which is read and never run."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError, ValueError):
            raise UsageError(f"--config {path}: no such file, or not readable") from None
        given = {}
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            match = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", text)
            place = f"{path}, line {number}"
            if not match:
                raise UsageError(f"{place}: expected name=value (the file is read, not run)")
            option = self.find(match[1], f"'{match[1]}' ({place})")
            value = _unquoted(match[2], place)
            given[option.name] = Given(value, f"{place}: {match[1]}", base, trusted)
        return given

    def values(self, given: Mapping[str, Given]) -> dict[str, Any]:
        """Values of all options: those given, else their defaults."""
        values = {}
        for name, option in self.options.items():
            one = given.get(name)
            text = option.default if one is None else one.text
            value = option.trust(text) if not one or one.trusted else option.read(text, one.where)
            if option.kind in (FOLDER, FILE):
                value = _path(option, text, one, self.home)
            values[name] = value
        return values

    def help(self) -> Iterator[str]:
        """Lines that list all options, in their groups."""
        group = None
        for option in self.options.values():
            if option.group != group:
                group = option.group
                yield f"\n{group}"
            head = f"  {option.flag} {shlex.quote(option.default) if option.default else ''}"
            takes = option.kind.allowed()
            body = textwrap.wrap(f"{option.why} [{takes}]", 72, break_on_hyphens=False)
            if len(head) < 32:
                yield f"{head:<32}{body.pop(0)}"
            else:
                yield head
            yield from (" " * 32 + line for line in body)


def _path(option: Option, text: str, given: Given | None, home: Path) -> Path | None:
    """Path of a value: relative to where it was given, a default to the toolkit."""
    if not text and not option.default:
        return None
    path = (given.base if given else home) / text
    if not option.must_exist:
        return path
    there = Path.is_dir if option.kind is FOLDER else Path.is_file
    for candidate in (path, home / text):
        if text and there(candidate):
            return candidate
    where = given.where if given else option.flag
    raise UsageError(f"{where} takes {option.kind.allowed()}; got {text!r}, and there is none")


def _unquoted(text: str, place: str) -> str:
    """Value of an assignment: plain, or 'quoted', or "quoted"; a comment may follow."""
    end = r"\s*(?:#.*)?"
    for pattern in (
        rf"'([^']*)'{end}",
        rf'"([^"`$\\]*)"{end}',
        rf"([^\s'\"`$\\;&|<>(){{}}#*?!~\[\]]*){end}",
    ):
        if match := re.fullmatch(pattern, text):
            return match[1]
    raise UsageError(
        f"{place}: only a plain or quoted value may follow '=' (the file is read, not run)"
    )
