"""Entries of Kaldi's lists (scp): an archive, a byte of it, and ranges of rows and columns."""

from __future__ import annotations

import re

from ivector.base.errors import DataError

# ARK, ARK:OFFSET or ARK:OFFSET[ROWS,COLUMNS], both ends of a range counted in.
_LOCATION = re.compile(r"(.*?)(?::(\d{1,18}))?(?:\[((?:\d{0,18}[:,])*\d{0,18})\])?", re.DOTALL)


def split_location(location: str) -> tuple[str, int, str]:
    """Archive, byte and ranges of an entry of an scp.

    Examples
    --------
    >>> split_location("mfcc.ark:24[0:99,3]")
    ('mfcc.ark', 24, '0:99,3')
    """
    match = _LOCATION.fullmatch(location)
    assert match is not None  # any text matches
    path, offset, ranges = match.groups()
    return path, int(offset or 0), ranges or ""


def slices_of(ranges: str, shape: tuple[int, ...], where: str) -> tuple[slice, ...]:
    """Kaldi's ranges ``FIRST:LAST,FIRST:LAST``, ends counted in, of an array of a shape.

    Raises
    ------
    DataError
        More ranges than dimensions, or one that is empty or leaves the array.
    """
    parts = ranges.split(",") if ranges else []
    if len(parts) > len(shape):
        raise DataError(f"{where}: has {len(parts)} ranges for an array of {len(shape)} dimensions")
    slices = []
    for part, size in zip(parts, shape):
        if part in ("", ":"):
            slices.append(slice(None))
            continue
        ends = part.split(":")
        if len(ends) > 2 or "" in ends:
            raise DataError(f"{where}: the range {part} is not FIRST:LAST; correct it")
        first, last = int(ends[0]), int(ends[-1])
        if not first <= last < size:
            raise DataError(
                f"{where}: the range {part} is empty or leaves the {size} rows or columns from 0 "
                f"to {size - 1} that are there; correct it"
            )
        slices.append(slice(first, last + 1))
    return tuple(slices)
