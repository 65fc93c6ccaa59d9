"""Where foreign bytes come in: failures become DataError, declared sizes are looked at first.

Damaged bytes make libraries raise nearly anything: a flipped bit of a zip's directory ends in
NotImplementedError, nested JSON in RecursionError, an offset of 23 digits in OverflowError. A
reader puts all that it does with a file's bytes into one ``with foreign(path, what):``.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ivector.base.budget import room
from ivector.base.errors import DataError, UserError
from ivector.base.foreign.opening import MOST_PACKED, SMALL, require_regular

# Of a text that is a description and not data. Python's objects take up to MOST_GROWTH times the
# room of the text that names them ("[],").
MOST_JSON = 1 << 28
MOST_GROWTH = 24
_AGAIN = "make or fetch it again"


@contextmanager
def foreign(path: str | os.PathLike, what: str, cure: str = _AGAIN) -> Iterator[None]:
    """Turn whatever the bytes of a file make libraries raise into one DataError.

    Parameters
    ----------
    path : path-like
        A regular file, which is looked at before the block may open it; named first.
    what : str
        What it should be, "a mixture of this toolkit".
    cure : str
        What is to be done if it is not.

    Raises
    ------
    DataError
        It is missing or no regular file, or anything was raised within the block; UserErrors that
        name the file, ``PATH:`` or ``PATH, line N:``, pass as they are.
    """
    require_regular(path)
    try:
        yield
    except ModuleNotFoundError:
        raise
    except UserError as error:
        # Not anywhere: a file may be called as a word of the message.
        if re.search(rf"(^|: ){re.escape(os.fspath(path))}[:,]", str(error)):
            raise
        raise DataError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); convert it first") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):
            raise DataError(f"{path}: not {what}, or damaged; {cure}") from error
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: takes more memory than there is; is it {what}?") from error
    except Exception as error:
        raise DataError(f"{path}: not {what}, or damaged; {cure}") from error


def require_room(path: str | os.PathLike, n_bytes: int, what: str, packed: int = 0) -> None:
    """Refuse a file whose content does not fit in memory, before it is read.

    Parameters
    ----------
    path : path-like
    n_bytes : int
        What its content will take, as it declares.
    what : str
        The content, "an array (2000, 1000)".
    packed : int
        What it takes in the file, where it is packed; 0 for no limit of the ratio.

    Raises
    ------
    DataError
        It is more than the limit of memory that was set (or, without one, than is free), or more
        than packing makes of real data.
    """
    if packed and n_bytes > max(SMALL, MOST_PACKED * packed):
        raise DataError(
            f"{path}: {what} of {n_bytes >> 20} MiB is packed into {packed} bytes; refused, as no "
            "real data are like that"
        )
    free = room()
    if n_bytes > free:
        raise DataError(
            f"{path}: {what} takes {n_bytes >> 20} MiB of memory, and {free >> 20} may be taken; "
            "is the file damaged? else take a larger machine or limit"
        )


def read_bytes(path: str | os.PathLike, what: str) -> bytes:
    """Content of a file that fits in memory.

    Raises
    ------
    DataError
        It cannot be read, or is too large.
    """
    with foreign(path, what):
        require_room(path, os.path.getsize(path), what)
        return Path(path).read_bytes()


def read_json(path: str | os.PathLike, what: str, most: int = MOST_JSON) -> dict[str, Any]:
    """The JSON object of a file, with finite numbers alone.

    Parameters
    ----------
    path : path-like
    what : str
        As of `foreign`.
    most : int
        Bytes that it may have.

    Raises
    ------
    DataError
        The file cannot be read, is too large, no JSON, has a name twice, or is something else
        than an object.
    """
    with foreign(path, what):
        size = os.path.getsize(path)
        if size > most:
            raise DataError(f"{path}: {size >> 20} MiB are too large for {what}")
        require_room(path, MOST_GROWTH * size, what)
        return parse_json(path, Path(path).read_text(encoding="utf-8-sig"), what)


def parse_json(
    path: str | os.PathLike, text: str | bytes, what: str, infinite: bool = False
) -> dict[str, Any]:
    """The JSON object of a text from the file `path`; otherwise as `read_json`.

    With `infinite`, NaN and infinity are numbers, as among the options of an estimator.
    """
    refuse = None if infinite else _refuse
    try:
        content = json.loads(text, parse_constant=refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        where = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{path}: not {what} in JSON, or damaged ({where[:120]})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: not {what}: it holds a {type(content).__name__}, no JSON object")
    return content


def check_types(
    path: str | os.PathLike,
    content: Mapping[str, Any],
    types: Mapping[str, Any],
    what: str,
) -> None:
    """Refuse an object of JSON that lacks a name, or has it of another type; truths are no numbers.

    Parameters
    ----------
    path : path-like
    content : mapping
    types : mapping of str to type or tuple of types
        With ``type(None)`` among its types, a name may lack.
    what : str
        What the object should be.

    Raises
    ------
    DataError
        Names the first.
    """
    for name, kinds in types.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        value = content.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DataError(
                f"{path}: not {what}: its {name} is {str(value)[:40]}, expected "
                f"{' or '.join(kind.__name__ for kind in kinds)}"
            )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"{next(n for n in names if names.count(n) > 1)[:40]!r} stands there twice"
        )
    return table
