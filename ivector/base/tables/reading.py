"""Kaldi's tables, read one entry after the other or by id."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

from ivector.base.errors import DataError, UserError, named
from ivector.base.files import read_lines
from ivector.base.foreign.boundary import foreign
from ivector.base.tables.holders import Holder, Source
from ivector.base.tables.locations import slices_of, split_location
from ivector.base.tables.specifiers import STREAM, Rspecifier, parse_rspecifier
from ivector.base.tables.streams import open_input

logger = logging.getLogger("tables")
_LONGEST_KEY = 1 << 16


class TableReader:
    """The entries of a table in its order; iterated once.

    Parameters
    ----------
    specifier : str
        ``ark:FILE``, ``scp:FILE`` and the like.
    holder : Holder
        What the entries hold.

    Raises
    ------
    UsageError
        Not a specifier of a table to read, or a shell pipe.
    DataError
        While it is read: a file is missing, cut, or holds something else; an id stands there
        twice.
    """

    def __init__(self, specifier: str, holder: Holder):
        self.specifier = specifier
        self.parsed, self.holder = parse_rspecifier(specifier), holder

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        entries = _archive if self.parsed.kind == "ark" else _listed
        seen: set[str] = set()
        for key, value in entries(self.parsed, self.holder):
            if key in seen:
                raise DataError(f"{self.parsed.file}: {key} stands there twice; remove one of them")
            seen.add(key)
            yield key, value


class TableLookup:
    """The entries of a table by id.

    A list (scp) is read at once, its entries when they are asked for. An archive is read as far as
    is needed; what was passed is kept, unless the table is said to be sorted and asked in order
    (``ark,s,cs:``).

    Parameters
    ----------
    specifier, holder
        As of `TableReader`.
    """

    def __init__(self, specifier: str, holder: Holder):
        self.parsed, self.holder = parse_rspecifier(specifier), holder
        self._entries = _archive(self.parsed, holder) if self.parsed.kind == "ark" else None
        self._locations: dict[str, str] | None = None
        self._kept: dict[str, Any] = {}
        self._last_read = self._last_asked = ""

    def get(self, key: str) -> Any:
        """The entry of an id, or None if there is none.

        Raises
        ------
        DataError
            As of `TableReader`; and the table, or the ids asked for, are not in the order that the
            specifier says.
        """
        if self._entries is None:
            return self._listed_entry(key)
        if self.parsed.in_order:
            if key < self._last_asked:
                raise DataError(
                    f"{self.parsed.file}: asked for {key} after {self._last_asked}, although "
                    "they were said to be asked for in order; sort the other table (LC_ALL=C), "
                    "or leave cs out of the specifier"
                )
            self._last_asked = key
        if key not in self._kept:
            self._read_until(key)
        return self._kept.get(key)

    def _listed_entry(self, key: str) -> Any:
        if self._locations is None:
            self._locations = dict(_locations(self.parsed))
        if key not in self._locations:
            return None
        with _permitted(self.parsed):
            return _load(self.holder, key, self._locations[key])
        return None

    def _read_until(self, key: str) -> None:
        """Read the archive to an id, or to where it must have stood."""
        if self.parsed.sorted and key < self._last_read:
            return
        assert self._entries is not None
        if self.parsed.sorted and self.parsed.in_order:
            self._kept.clear()
        for read, value in self._entries:
            if self.parsed.sorted and read < self._last_read:
                raise DataError(
                    f"{self.parsed.file}: is not sorted, as the specifier says: {read} after "
                    f"{self._last_read}; sort it (LC_ALL=C), or leave s out of the specifier"
                )
            if read in self._kept:
                raise DataError(f"{self.parsed.file}: {read} stands there twice; remove one")
            self._last_read = read
            self._kept[read] = value
            if read == key or (self.parsed.sorted and read > key):
                return
            if self.parsed.sorted and self.parsed.in_order:
                self._kept.clear()


def read_object(file: str, holder: Holder) -> Any:
    """The one object of a file that is no table, ``FILE`` or ``FILE:OFFSET``.

    Raises
    ------
    DataError
        It is missing, cut, or holds something else.
    """
    if file == STREAM:
        with open_input(file, holder.what) as opened, _whole(f"{file}: is no file of such"):
            return holder.read(Source(opened, file))
    return _load(holder, "", file)


def _archive(parsed: Rspecifier, holder: Holder) -> Iterator[tuple[str, Any]]:
    last = "none"
    with _permitted(parsed), open_input(parsed.file, f"an archive of {holder.what}") as file:
        source = Source(file, parsed.file)
        while True:
            complaint = f"{parsed.file}: the archive is cut, damaged or not of {holder.what} after"
            with _whole(f"{complaint} utterance {last}"):
                if not (key := _read_key(source)):
                    return
                value = holder.read(source)
            last = key
            yield key, value


def _read_key(source: Source) -> str:
    """The id that an entry begins with, and one blank behind it; '' at the end of the archive."""
    key = bytearray()
    while byte := source.byte():
        if not byte.isspace():
            key += byte
        elif key:
            if byte == b"\n":  # an entry without anything
                source.back(byte)
            break
        if len(key) > _LONGEST_KEY or byte == b"\0":
            raise ValueError("no id")
    return key.decode()


def _listed(parsed: Rspecifier, holder: Holder) -> Iterator[tuple[str, Any]]:
    for key, location in _locations(parsed):
        with _permitted(parsed):
            yield key, _load(holder, key, location)


def _locations(parsed: Rspecifier) -> Iterator[tuple[str, str]]:
    """Ids and locations of a list."""
    if parsed.file == STREAM:
        with open_input(STREAM, "a list") as file:
            lines = io.TextIOWrapper(file, encoding="utf-8").read().splitlines()
    else:
        lines = read_lines(parsed.file)
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        key, _, location = line.strip().replace("\t", " ").partition(" ")
        if not key:
            continue
        location = location.strip()
        where = f"{parsed.file}, line {number}"
        if not location:
            raise DataError(f"{where}: expected 'id file', got {line!r}")
        if "|" in (location[0], location[-1], split_location(location)[0][-1:]):
            raise DataError(f"{where}: {key}: shell pipes are not run; make files, and name those")
        if key in seen:
            raise DataError(f"{where}: {key} stands there twice; remove one of the lines")
        seen.add(key)
        yield key, location


def _load(holder: Holder, key: str, location: str) -> Any:
    """The entry at a location; ranges are taken of arrays."""
    path, offset, ranges = split_location(location)
    with named(key) if key else contextlib.nullcontext():
        if holder.load is not None and path == location:
            return holder.load(path)
        with foreign(path, holder.what), open(path, "rb") as file:
            with _whole(f"{location}: not of {holder.what}, cut or damaged"):
                file.seek(offset)
                value = holder.read(Source(file, path))
            return value[slices_of(ranges, value.shape, location)] if ranges else value


@contextlib.contextmanager
def _whole(complaint: str) -> Iterator[None]:
    """Turn what a cut or foreign entry makes readers raise into a DataError of these words."""
    try:
        yield
    except (OSError, MemoryError, UserError):
        raise
    except (ValueError, OverflowError) as error:
        raise DataError(f"{complaint}; make it again") from error


@contextlib.contextmanager
def _permitted(parsed: Rspecifier) -> Iterator[None]:
    """Leave out what cannot be read, with a warning, where the specifier permits it (p)."""
    try:
        yield
    except DataError as error:
        if not parsed.permissive:
            raise
        logger.warning("left out: %s", error)
