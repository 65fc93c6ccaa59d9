"""Files by name, and the standard streams as ``-``, as Kaldi's extended file names have them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ivector.base.errors import DataError
from ivector.base.files import atomic_write
from ivector.base.foreign.boundary import foreign
from ivector.base.foreign.opening import readable
from ivector.base.tables.specifiers import STREAM, refuse_pipe


@contextlib.contextmanager
def open_input(file: str, what: str) -> Iterator[IO[bytes]]:
    """Open a file, a pipe that a shell made, or standard input, to be read from top to bottom.

    Parameters
    ----------
    file : str
    what : str
        What it should hold, "an archive".
    """
    if file == STREAM:
        yield sys.stdin.buffer
        return
    path = readable(file)
    with foreign(path, what), open(path, "rb") as opened:
        yield opened


@contextlib.contextmanager
def open_output(file: str) -> Iterator[IO[bytes]]:
    """Open a file that is whole or absent, or standard output.

    What is there and no regular file, as /dev/null, is written to as it is.
    """
    if file == STREAM:
        assert sys.__stdout__ is not None
        sys.stdout.flush()
        yield sys.__stdout__.buffer  # type: ignore[misc]
        sys.__stdout__.buffer.flush()
    elif _is_special(file):
        with open(file, "wb") as opened:
            yield opened
    else:
        with atomic_write(file) as opened:
            yield opened


@contextlib.contextmanager
def input_path(file: str) -> Iterator[str]:
    """A path that a reader may open: the file's own, or of a copy of standard input.

    Raises
    ------
    UsageError
        A shell pipe.
    """
    if refuse_pipe(file) != STREAM:
        yield os.fspath(readable(file))
        return
    with tempfile.TemporaryDirectory(prefix="ivector-plda-") as folder:
        copy = Path(folder, "standard-input")
        with copy.open("wb") as opened:
            shutil.copyfileobj(sys.stdin.buffer, opened)
        yield os.fspath(copy)


@contextlib.contextmanager
def output_path(file: str) -> Iterator[str]:
    """A path that a writer may write; for standard output it is copied there at the end.

    Raises
    ------
    UsageError
        A shell pipe.
    """
    if refuse_pipe(file) != STREAM and not _is_special(file):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="ivector-plda-") as folder:
        copy = Path(folder, "standard-output")
        yield os.fspath(copy)
        with copy.open("rb") as opened, open_output(file) as out:
            shutil.copyfileobj(opened, out)


def _is_special(file: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(file).st_mode) and not os.path.isdir(file)
    except OSError:
        return False
    except ValueError as error:
        raise DataError(f"{file!r}: cannot be a file's name: {error}") from error
