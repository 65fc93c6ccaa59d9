"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np

from ivector.base.errors import DataError

FORMAT_VERSION = 1
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
    try:
        size = os.path.getsize(path)
        if size > MOST_BYTES:
            raise DataError(f"{path}: has {size / 2**30:.1f} GiB; this is not a list or a map")
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); convert it first") from error


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
        named: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
        np.savez(file, _header=np.array(header), **named)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays among options as Python's."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"option {value!r} cannot be kept in a file")


def load_model(path: str | os.PathLike, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Load what `save_model` wrote.

    Returns
    -------
    arrays : dict of str to ndarray
    options : dict

    Raises
    ------
    DataError
        Not such a file, damaged, of another kind, or of a newer format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop("_header")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{path}: not a model file of this toolkit, or damaged") from error
    if header["kind"] != kind:
        raise DataError(f"{path}: holds a {header['kind']} model, expected {kind}")
    if header["format"] > FORMAT_VERSION:
        raise DataError(
            f"{path}: format {header['format']} is newer than this version reads; upgrade"
        )
    return arrays, header["options"]
