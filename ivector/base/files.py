"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np

from ivector.base.errors import DataError
from ivector.base.foreign.arrays import Arrays, open_arrays
from ivector.base.foreign.boundary import (
    MOST_GROWTH,
    check_types,
    foreign,
    parse_json,
    require_room,
)
from ivector.base.foreign.schema import Field, Schema, check_shapes, check_values

FORMAT_VERSION = 1
HEADER, _WHAT = "_header", "a model file of this toolkit"
# Vectors by id, as every package keeps them.
VECTORS: Schema = {"ids": Field(("n",), "text"), "vectors": Field(("n", "D"))}
_LINE_BYTES = 64  # of a str beside its characters
MOST_BYTES = 1 << 30  # of a text that is read at once: lists and maps of 10⁷ utterances


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    For libraries that insist on opening the file themselves. Whatever goes wrong, the temporary
    file is removed and a former `path` is left as it was.

    Raises
    ------
    DataError
        The folder cannot be written, the disk is full, or `path` names a folder.
    """
    path = Path(path)
    if not path.name:
        raise DataError(f"{path}: cannot be written: it is a folder")
    # Of this writer alone: threads, and machines on a shared disk, may write the same file at once.
    writer = f"{os.getpid()}-{uuid4().hex[:8]}"
    temporary = path.with_name(f".{path.stem}.tmp{writer}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename not in (
            None,
            str(temporary),
            str(path.parent),
        ):
            raise
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name only when it is complete.

    Parameters
    ----------
    path : path-like
        Where the file will stand; missing folders are made.
    mode : {"wb", "w"}
        Text is UTF-8 with Unix line ends; of paths in another encoding, it holds the bytes.
    """
    text: dict[str, Any] = {}
    if "b" not in mode:
        text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
    with atomic_path(path) as temporary:
        with open(temporary, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a small UTF-8 text file atomically."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: str | os.PathLike, content: Any, indent: int = 2) -> None:
    """Write a record atomically, numbers as `plain` has them."""
    text = json.dumps(plain(content), indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def plain(value: Any) -> Any:
    """What JSON holds: NumPy's numbers as Python's, infinite ones as strings, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value


def remove_tree(folder: str | os.PathLike) -> None:
    """Remove a folder, if it is there, also while something is still being written into it.

    A worker that was given up, or outlived the run that started it, may finish a file meanwhile.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    for pause in (0.0, 0.05, 0.2, 1.0, 1.0):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
    shutil.rmtree(folder)


def read_lines(path: str | os.PathLike) -> list[str]:
    """Lines of a UTF-8 text file without their ends (LF or CRLF).

    Raises
    ------
    DataError
        The file is missing, unreadable, of over 1 GiB or not UTF-8.
    """
    with foreign(path, "a list or a map"):
        size = os.path.getsize(path)
        if size > MOST_BYTES:
            raise DataError(f"{path}: has {size / 2**30:.1f} GiB; this is not a list or a map")
        require_room(path, 3 * size, "its text")
        content = Path(path).read_bytes()
        require_room(path, 3 * size + _LINE_BYTES * content.count(b"\n"), "its text")
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        # Not splitlines(), for which a form feed or U+2028 within a name ends a line, too.
        return text.removesuffix("\n").split("\n") if text else []


def save_model(
    path: str | os.PathLike, kind: str, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]
) -> None:
    """Save a model as ``.npz`` without pickles, with its kind, format version and options.

    The same arrays and options give the same bytes.
    """
    header = json.dumps(
        {"kind": kind, "format": FORMAT_VERSION, "options": dict(options)},
        sort_keys=True,
        default=_plain,
    )
    with atomic_write(path, "wb") as file:
        named: dict[str, Any] = {HEADER: np.array(header)}
        named.update({name: np.asarray(value) for name, value in arrays.items()})
        np.savez(file, **named)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays among options as Python's."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"option {value!r} cannot be kept in a file")


def load_model(
    path: str | os.PathLike,
    kind: str,
    schema: Schema | Callable[[dict[str, Any]], Schema] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Load what `save_model` wrote.

    Parameters
    ----------
    path : path-like
    kind : str
    schema : Schema, or function of the options that returns one, optional
        What the arrays have to be; others are not read. Without it all are read, of whatever
        shape.

    Returns
    -------
    arrays : dict of str to ndarray
    options : dict

    Raises
    ------
    DataError
        Not such a file, damaged, of another kind, of a newer format, too large for the memory, or
        no such model.
    """
    with open_arrays(path, _WHAT) as archive:
        options = _options(path, kind, read_header(path, archive))
        chosen = schema(options) if callable(schema) else schema
        if chosen is None:
            chosen = {name: Field(None, "plain") for name in archive if name != HEADER}
        arrays = read_arrays(path, archive, chosen)
    return arrays, options


def read_header(path: str | os.PathLike, archive: Arrays) -> dict[str, Any]:
    """The JSON header of a file of arrays."""
    if HEADER not in archive:
        raise DataError(f"{path}: not a model file of this toolkit, or damaged: it has no header")
    schema = {HEADER: Field((), "text")}
    check_shapes(path, {HEADER: archive.declared(HEADER)}, schema)
    require_room(path, MOST_GROWTH * archive.declared(HEADER).n_bytes, "its header")
    return parse_json(path, str(archive[HEADER]), _WHAT, True)


def read_arrays(path: str | os.PathLike, archive: Arrays, schema: Schema) -> dict[str, np.ndarray]:
    """The arrays that a schema names, after their sizes and before their values were looked at."""
    # In the order of the file, so that what is saved again has the same bytes.
    declared = {name: archive.declared(name) for name in archive if name in schema}
    check_shapes(path, declared, schema)
    require_room(path, sum(one.n_bytes for one in declared.values()), "its arrays together")
    arrays = {name: archive[name] for name in declared}
    check_values(path, arrays, schema)
    return arrays


def _options(path: str | os.PathLike, kind: str, header: dict[str, Any]) -> dict[str, Any]:
    check_kind(path, header, kind, FORMAT_VERSION, _WHAT)
    check_types(path, header, {"options": dict}, _WHAT)
    return header["options"]


def check_kind(
    path: str | os.PathLike, header: dict[str, Any], kind: str, newest: int, what: str
) -> None:
    """Refuse a file that its header says to be of another kind, or of a newer format."""
    check_types(path, header, {"kind": str, "format": int}, what)
    if header["kind"] != kind:
        raise DataError(f"{path}: holds a {header['kind'][:60]} model, expected {kind}")
    check_format(path, header["format"], newest)


def check_format(path: str | os.PathLike, version: int, newest: int) -> None:
    """Refuse a file of a newer format than the newest that is read here."""
    if not 1 <= version <= newest:
        raise DataError(f"{path}: format {version} is newer than this version reads; upgrade")
