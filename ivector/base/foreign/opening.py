"""Files that others name: regular ones alone, or streams where those may be; trees; tar archives.

A device never ends, a pipe waits for whoever writes to it, and a link may lead anywhere. Readers
take regular files, wherever they are; what is read from top to bottom may also be a pipe, as a
shell's ``<(zcat x.gz)`` is one.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
import select
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ivector.base.errors import DataError

logger = logging.getLogger("files")

MOST_STREAM = 1 << 34  # bytes; 10⁸ trials have some 3 GB
WRITER_S = 5.0  # for which a pipe may have no writer
SILENT_S = 600.0  # for which its writer may write nothing
BLOCK = 1 << 20
# What packing makes of real data; beyond it, and beyond SMALL bytes, a file is to fill memory.
MOST_PACKED = 200
SMALL = 1 << 26
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def require_regular(path: str | os.PathLike) -> None:
    """Refuse what is no regular file, before it is opened: that alone may wait for ever.

    Raises
    ------
    DataError
        A folder, pipe, socket or device, missing, or a name that no file can have.
    """
    mode = _mode(path)
    if not stat.S_ISREG(mode):
        kind = next((text for is_kind, text in _KINDS if is_kind(mode)), "something else")
        raise DataError(f"{path}: cannot be read: it is {kind}; give a regular file")


def _mode(path: str | os.PathLike) -> int:
    try:
        return os.stat(path).st_mode
    except ValueError:
        raise DataError(f"{os.fspath(path)!r}: cannot be read: no name has a zero byte") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def readable(path: str | os.PathLike) -> str | os.PathLike:
    """`path` if it is a regular file; of a pipe, a copy that can be read any number of times.

    Raises
    ------
    DataError
        Neither; or nobody writes to the pipe, or more than 16 GiB.
    """
    if not stat.S_ISFIFO(_mode(path)):
        require_regular(path)
        return path
    status = os.stat(path)
    return _copy_of(os.fspath(path), status.st_dev, status.st_ino).name


@functools.cache
def _copy_of(path: str, _device: int, _inode: int) -> IO[bytes]:
    """A temporary copy of a pipe, which can be read only once; there while the process runs."""
    copy = tempfile.NamedTemporaryFile(prefix="ivector-plda-")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        n_bytes = 0
        for block in _blocks(handle, path):
            n_bytes += len(block)
            if n_bytes > MOST_STREAM:
                raise DataError(f"{path}: gives more than {MOST_STREAM >> 30} GiB; use a file")
            copy.write(block)
    finally:
        os.close(handle)
    copy.flush()
    return copy


def _blocks(handle: int, path: str) -> Iterator[bytes]:
    """What is written to a pipe, until its writer closes it."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    begun, any_data = time.monotonic(), False
    while True:
        try:
            block = os.read(handle, BLOCK)
        except BlockingIOError:  # there is a writer, who is at work
            if not poll.poll(1000 * SILENT_S):
                raise DataError(f"{path}: gave nothing for {SILENT_S:.0f} s; use a file") from None
            continue
        if block:
            any_data = True
            yield block
        elif any_data or any(event & select.POLLHUP for _, event in poll.poll(0)):
            return
        elif time.monotonic() - begun > WRITER_S:
            raise DataError(f"{path}: is a pipe that nobody writes to; use a file")
        else:
            time.sleep(0.05)


def unpacked(
    file: IO[bytes], n_packed: int, path: str | os.PathLike, block: int
) -> Iterator[bytes]:
    """Blocks of a packed file, so long as they are not more than packing makes of real data.

    Raises
    ------
    DataError
        It unpacks to far more than it has.
    """
    total = 0
    while data := file.read(block):
        total += len(data)
        if total > max(SMALL, MOST_PACKED * n_packed):
            raise DataError(
                f"{path}: unpacks to over {MOST_PACKED} times its {n_packed} bytes, as no real "
                "data do"
            )
        yield data


def inside(folder: Path, name: str, table: str | os.PathLike) -> Path:
    """Path of a file of a tree that a table in it names.

    Raises
    ------
    DataError
        The name leads out of the folder; names `table`.
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
        raise DataError(f"{table}: names {name!r}, which is not a file inside {folder}; correct it")
    return folder / name


def files_below(root: Path) -> list[Path]:
    """What is below a folder and no folder, sorted; without hidden ones.

    Links to folders are followed, each folder is looked into once, and what was followed or left
    out is said.
    """
    found: list[Path] = []
    followed: list[str] = []
    left: list[str] = []
    seen: set[tuple[int, int]] = set()
    folders, linked = [Path(root)], list[Path]()
    while folders or linked:
        # Links last, so that a folder is known by its own name.
        folder = folders.pop() if folders else linked.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            left.append(f"{folder} is left out, as what it leads to is here already")
            continue
        if folder.is_symlink() and folder != Path(root):
            followed.append(f"{folder} leads to {os.path.realpath(folder)}")
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_folder(entry):
                    found.append(Path(entry.path))
                elif entry.is_symlink():
                    linked.append(Path(entry.path))
                else:
                    folders.append(Path(entry.path))
        linked.sort(key=_order, reverse=True)
    for told, say in ((followed, logger.info), (left, logger.warning)):
        if told:
            say("%d links to folders: %s", len(told), "; ".join(sorted(told)[:3]))
    return sorted(found, key=_order)


def _order(path: Path) -> tuple[bytes, ...]:
    return tuple(map(os.fsencode, path.parts))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself
            return False
        raise


def safe_members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield the regular files of a tar archive with their path.

    Raises
    ------
    DataError
        A member would land outside the folder, is a link, a device or sparse, or comes twice.
    """
    seen: set[PurePosixPath] = set()
    for member in archive:
        parts = PurePosixPath(member.name).parts
        name = f"{archive.name!s}: member {member.name!r}"
        outside = not parts or parts[0] == "/" or ".." in parts
        if outside or re.search(r"[\\\0]|^[A-Za-z]:", member.name):
            if member.isdir() and not parts:  # "."
                continue
            raise DataError(f"{name} points outside the folder; the archive is not to be trusted")
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise DataError(
                f"{name} is a link or a device, or sparse; the archive is not to be trusted"
            )
        path = PurePosixPath(*parts)
        if path in seen:
            raise DataError(f"{name} comes twice; the archive is not to be trusted")
        seen.add(path)
        yield member, path
