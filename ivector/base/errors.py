"""Errors and warnings that are the user's to mend, told in one line and without a traceback."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum

# Modules that the reader of a warning did not write; contextlib holds our decorators.
_INNER = ("ivector", "plda", "dnn", "fusion", "sklearn", "contextlib")

# A word of its own in backticks; quoted text, where names of users stand, is passed over.
_PARAMETER = "|".join(
    (
        r"(?<!\w)'[^']*'(?!\w)",
        r'"[^"]*"',
        r"(?<![^\s(])`([A-Za-z]\w*)`(?:(=[\w.]+)|(?=[,.;:)=]*(?:\s|$)))",
    )
)
_options: Mapping[str, str] = {}
_pattern = re.compile(_PARAMETER)


def set_options(options: Mapping[str, str], words: Sequence[str] = ()) -> None:
    """Tell by which options, by parameter, the command that this process runs takes them.

    Parameters
    ----------
    options : mapping of str to str
    words : sequence of str
        Those of the command: the user's own, which messages repeat as they are.
    """
    global _options, _pattern
    _options = options
    own = {part for word in words for part in re.split("[/=]", word) if "`" in part}
    # What is called `NAME` and no more is a file only where something is said of it.
    names = [re.escape(part) + "(?=[:,] )" * part.strip("`").isidentifier() for part in own]
    _pattern = re.compile("|".join([*sorted(names, key=len, reverse=True), _PARAMETER]))


def in_options(message: str) -> str:
    """A message of the library in the words of the command that this process runs.

    What the library advises, it names as Python does, in backticks. A command has an option for
    it, or has not, which is said. Backticks in names of the user stay: in quotes, in words of the
    command, and behind a slash.
    """

    def say(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        clause = re.split("[:;] ", match.string[: match.start()])[-1]
        if name is None or "/" in clause:
            return match[0]
        return _options[name] + value if name in _options else f"{name}{value} (in Python)"

    return _pattern.sub(say, message) if _options else message


class Exit(IntEnum):
    """How a command ends; the one table of exit statuses."""

    FINE = 0, "done"
    DATA = 1, "a file, its content or the disk cannot be used; one line names it"
    USAGE = 2, "an option or a combination of options makes no sense"
    FAULT = 70, "a fault of this program; one line has a reference, and names the file with details"
    STOPPED = 75, "told to end (SIGTERM); the same command goes on from there"
    INTERRUPTED = 130, "interrupted (Ctrl-C); a recipe goes on by the same command"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member


class UserError(ValueError):
    """A mistake in input or usage; its text names the thing, what is wrong and the cure."""

    exit_code = Exit.DATA


class DataError(UserError):
    """A file, utterance or array cannot be used (exit code 1)."""


class NotNumbersError(DataError, TypeError):
    """Things that are not numbers; a TypeError as well, as NumPy would raise."""


class NotFiniteError(DataError):
    """NaN or infinity came out of a training or a network: other options may do better."""


class UsageError(UserError):
    """An option or a combination of options makes no sense (exit code 2)."""

    exit_code = Exit.USAGE


class DegenerateDataWarning(UserWarning):
    """Data that determine fewer parameters than the model has; says rank and cure."""


class ScaleWarning(UserWarning):
    """Samples in ±1, or energies of such, were brought to the scale of 16-bit integers."""


class ObjectiveWarning(UserWarning):
    """A training objective fell, which EM in exact arithmetic cannot do."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Give a warning that points at the call from outside of the toolkit and scikit-learn."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _INNER:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Let each DataError of a block begin with what it is about, such as an utterance's id."""
    try:
        yield
    except DataError as error:
        if str(error).startswith(f"{name}:"):
            raise
        raise type(error)(f"{name}: {error}") from error
