"""Kaldi's specifiers of tables, as ``util/kaldi-table.h`` describes them.

A table that is read is ``ark[,OPTIONS]:FILE`` or ``scp[,OPTIONS]:FILE``, one that is written
``ark[,OPTIONS]:FILE``, ``scp:FILE`` or ``ark,scp[,OPTIONS]:FILE,FILE``; ``-`` is a standard
stream. Shell pipes (``COMMAND |``) are never run.
"""

from __future__ import annotations

from typing import NamedTuple

from ivector.base.errors import UsageError

STREAM = "-"  # the name of standard input and output
_KINDS = {"ark", "scp"}
# Of reading: o (once), s (sorted), cs (called in order), p (permissive), bg (in the background),
# and their opposites; b and t are taken for Kaldi's sake, as text and binary are told by content.
_READ = {"o", "no", "s", "ns", "cs", "ncs", "p", "np", "bg", "b", "t"}
# Of writing: binary or text, flushed after each entry or not, permissive.
_WRITE = {"b", "t", "f", "nf", "p"}


class Rspecifier(NamedTuple):
    """A table to read.

    kind: "ark" or "scp"; sorted: by id, which is checked; in_order: ids are asked for in that
    order, so that entries that were passed are forgotten; permissive: entries that cannot be read
    are left out.
    """

    kind: str
    file: str
    sorted: bool = False
    in_order: bool = False
    permissive: bool = False


class Wspecifier(NamedTuple):
    """A table to write: the archive, and the list that goes with it."""

    archive: str
    script: str | None = None
    text: bool = False
    flush: bool = False


def is_specifier(text: str) -> bool:
    """Whether a word is a specifier of a table and no plain file."""
    kinds = set(text.partition(":")[0].split(","))
    return ":" in text and bool(kinds & _KINDS) and kinds <= _READ | _WRITE | _KINDS


def parse_rspecifier(text: str) -> Rspecifier:
    """Parse the specifier of a table to read.

    Raises
    ------
    UsageError
        Not one, or a shell pipe.

    Examples
    --------
    >>> parse_rspecifier("ark,s,cs:post.ark")
    Rspecifier(kind='ark', file='post.ark', sorted=True, in_order=True, permissive=False)
    """
    kinds, options, file = _parts(text)
    if len(kinds) != 1 or not file:
        raise UsageError(f"{text!r}: expected a table to read, such as ark:FILE, scp:FILE or ark:-")
    if unknown := sorted(options - _READ):
        raise UsageError(f"{text!r}: {unknown[0]} is no option of a table to read: {_told(_READ)}")
    return Rspecifier(kinds[0], refuse_pipe(file), "s" in options, "cs" in options, "p" in options)


def parse_wspecifier(text: str) -> Wspecifier:
    """Parse the specifier of a table to write.

    Raises
    ------
    UsageError
        Not one, or a shell pipe.

    Examples
    --------
    >>> parse_wspecifier("ark,scp,t:vad.ark,vad.scp")
    Wspecifier(archive='vad.ark', script='vad.scp', text=True, flush=False)
    """
    kinds, options, files = _parts(text)
    if kinds == ["scp"]:
        raise UsageError(
            f"{text!r}: each entry into a file of its own, as an scp names them, is not written "
            "here; write ark,scp:FILE,FILE"
        )
    if kinds not in (["ark"], ["ark", "scp"]) or not files:
        raise UsageError(
            f"{text!r}: expected a table to write, such as ark:FILE, ark,t:- or ark,scp:FILE,FILE"
        )
    if unknown := sorted(options - _WRITE):
        raise UsageError(
            f"{text!r}: {unknown[0]} is no option of a table to write: {_told(_WRITE)}"
        )
    archive, _, script = files.partition(",")
    if kinds == ["ark"]:
        archive, script = files, ""
    elif not (archive and script) or archive == STREAM:
        raise UsageError(f"{text!r}: expected ark,scp:FILE,FILE, the archive being a file")
    return Wspecifier(
        refuse_pipe(archive), refuse_pipe(script) or None, "t" in options, "f" in options
    )


def refuse_pipe(file: str) -> str:
    """Return the name of a file, if it is no shell pipe.

    Raises
    ------
    UsageError
        It is one.
    """
    if file.endswith("|"):
        raise UsageError(
            f"{file!r}: shell pipes are not run; write the output of the command to a file and "
            "name that, in bash <(COMMAND), or pass it by standard input: COMMAND | … -"
        )
    if file.startswith("|"):
        raise UsageError(
            f"{file!r}: shell pipes are not run; write a file for the command to read, or pass "
            "on standard output: … - | COMMAND"
        )
    return file


def _parts(text: str) -> tuple[list[str], set[str], str]:
    """Kinds in their order, options, and what stands behind the colon; '' if nothing does."""
    head, _, files = text.partition(":")
    words = head.split(",")
    kinds = [word for word in words if word in _KINDS]
    return kinds, {*words} - _KINDS, files.strip()


def _told(options: set[str]) -> str:
    return ", ".join(sorted(options))
