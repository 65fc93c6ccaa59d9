"""What a command of Kaldi's name declares; parser, help and documents are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

READ, WRITE = "rspecifier", "wspecifier"  # endings of the names of tables, as Kaldi has them
# and of files of their own: read, and written
FILE_IN, FILE_OUT = "rxfilename", "wxfilename"
VALUE = "value"  # a number or word that stands there itself


class Option(NamedTuple):
    """An option as Kaldi spells it; its type is that of its default.

    `table` is what a table that the option names holds, "words" or, looked up, "words@id".
    """

    name: str
    default: bool | int | float | str
    help: str
    table: str = ""
    writes: bool = False
    choices: tuple[str, ...] = ()


class Lack(NamedTuple):
    """An option of Kaldi's that there is not, but for the value of which nothing is to be done."""

    name: str
    default: str
    why: str


class Slot(NamedTuple):
    """A place for a table or a file behind the options.

    name: as Kaldi's usage has it; holder: what a table holds, "" for a file; by_id: its entries
    are looked up, and not read one after the other.
    """

    name: str
    holder: str
    by_id: bool
    optional: bool
    many: bool

    @property
    def kind(self) -> str:
        """One of `READ`, `WRITE`, `FILE_IN`, `FILE_OUT`."""
        return self.name.rpartition("-")[2]

    @property
    def keyword(self) -> str:
        """What the function calls it; what is written ends in _out."""
        written = "_out" if self.kind in (WRITE, FILE_OUT) else ""
        return self.name.rpartition("-")[0].replace("-", "_") + written

    def __str__(self) -> str:
        text = f"<{self.name}>" + (" ..." if self.many else "")
        return f"[{text}]" if self.optional else text


def parse_form(form: str) -> tuple[Slot, ...]:
    """Places of one form of a command, ``NAME:HOLDER`` or ``NAME``, [optional], repeated...

    ``NAME:HOLDER@id`` is a table whose entries are looked up.

    Examples
    --------
    >>> [str(slot) for slot in parse_form("feats-rspecifier:matrix [num-utts-wspecifier:int]")]
    ['<feats-rspecifier>', '[<num-utts-wspecifier>]']
    """
    slots = []
    for word in form.split():
        name, _, holder = word.strip("[].").partition(":")
        holder, _, by_id = holder.partition("@")
        slots.append(Slot(name, holder, bool(by_id), word.startswith("["), word.endswith("...")))
    return tuple(slots)


@dataclass(frozen=True)
class KaldiCommand:
    """A command; made by `kaldi_command`.

    Parameters
    ----------
    name : str
        Kaldi's.
    line : str
        What it does.
    forms : tuple of tuple of Slot
        What may stand behind the options.
    function : callable
        Takes the options as attributes of its first argument, and the tables and files by keyword.
    options : tuple of Option
    lacks : tuple of Lack
    parameters : mapping of str to str
        By which options the library's parameters are given, where the names differ.
    """

    name: str
    line: str
    forms: tuple[tuple[Slot, ...], ...]
    function: Callable[..., None]
    options: tuple[Option, ...] = ()
    lacks: tuple[Lack, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def usages(self) -> list[str]:
        """Each form as a line of usage, without the program."""
        return [f"{self.name} [options] {' '.join(map(str, form))}" for form in self.forms]


def kaldi_command(
    name: str,
    line: str,
    forms: str | Sequence[str],
    *given: Option | Lack,
    parameters: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], KaldiCommand]:
    """Make a `KaldiCommand` of the function below."""
    forms = [forms] if isinstance(forms, str) else forms

    def make(function: Callable[..., None]) -> KaldiCommand:
        return KaldiCommand(
            name,
            line,
            tuple(map(parse_form, forms)),
            function,
            tuple(one for one in given if isinstance(one, Option)),
            tuple(one for one in given if isinstance(one, Lack)),
            dict(parameters or {}),
        )

    return make


class Program(NamedTuple):
    """Commands of a package: ``python -m PACKAGE NAME``.

    holders: what its tables may hold beside what every table may, by name the function that makes
    a `Holder`.
    """

    package: str
    commands: Mapping[str, KaldiCommand]
    holders: Mapping[str, Callable[[], Any]] = {}


BINARY = Option("binary", True, "write the file binary, else as text")
