"""Downloads that resume, are checked and appear under their name only when whole; safe unpacking.

A part is kept as ``NAME.part`` and continued with an HTTP range request after an interruption.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import lzma
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from ivector.base.errors import DataError
from ivector.base.foreign.opening import safe_members

logger = logging.getLogger("download")

BLOCK = 1 << 20
ATTEMPTS = 5
TIMEOUT_S = 60
LOG_EVERY_S = 10.0
# Answers after which asking again helps.
PASSING = {408, 425, 429, 500, 502, 503, 504}


def download(url: str, path: str | os.PathLike, md5: str, wait_s: float = 2.0) -> Path:
    """Fetch `url` to `path` unless it is there already.

    Parameters
    ----------
    url : str
    path : path-like
    md5 : str
        Checksum that the publisher states, in hexadecimal.
    wait_s : float
        Pause before the second attempt; doubles with each further one.

    Returns
    -------
    path : Path

    Raises
    ------
    DataError
        No connection, no such file, or a checksum that stays wrong.
    """
    path = Path(path)
    if path.exists() and checksum(path) == md5:
        return path
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for fresh in (False, True):
        if fresh:
            # What was there before may have been of another file: once more, from the start.
            logger.warning("%s: wrong checksum, fetching it again", path.name)
            part.unlink(missing_ok=True)
        _fetch_with_retries(url, part, wait_s)
        if checksum(part) == md5:
            os.replace(part, path)
            return path
    part.unlink(missing_ok=True)
    raise DataError(
        f"{url}: what arrives has another checksum than {md5}; fetch it by hand to {path}"
    )


def checksum(path: Path) -> str:
    """MD5 of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _fetch_with_retries(url: str, part: Path, wait_s: float) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _fetch(url, part)
        except urllib.error.HTTPError as error:
            problem = f"the server answers {error.code} {error.reason}"
            if error.code not in PASSING:
                break
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise DataError(f"{part}: cannot be written: {error.strerror}") from error
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        if attempt < ATTEMPTS:
            logger.warning("%s: %s; attempt %d of %d", url, problem, attempt + 1, ATTEMPTS)
            time.sleep(wait_s * 2 ** (attempt - 1))
    raise DataError(f"{url}: {problem}; try again later (it will continue) or fetch it by hand")


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what is missing of `url`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "ivector-plda"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after what we have: it is whole, or foreign
            return
        raise
    with answer:
        if answer.status != 206:  # the server sends all of it
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with open(part, "ab" if have else "wb") as file:
            for n_bytes in _copy(answer, file.write):
                _report(part.stem, have + n_bytes, total)
            size = file.tell()
    if total and size < total:
        raise http.client.IncompleteRead(b"", total - size)


def _copy(answer: http.client.HTTPResponse, write: Callable[[bytes], int]) -> Iterator[int]:
    """Copy the answer; yield the bytes so far every few seconds."""
    done, last = 0, time.monotonic()
    while block := answer.read(BLOCK):
        write(block)
        done += len(block)
        if time.monotonic() - last > LOG_EVERY_S:
            last = time.monotonic()
            yield done


def _report(name: str, done: int, total: int) -> None:
    share = f" of {total / 1e6:.0f} MB ({100 * done / total:.0f} %)" if total else " MB"
    logger.info("%s: %.0f%s", name, done / 1e6, share)


def extract(
    archive: str | os.PathLike,
    folder: Path,
    rename: Callable[[PurePosixPath], PurePosixPath | None] = lambda path: path,
) -> list[Path]:
    """Unpack the regular files of a tar archive below `folder`.

    Parameters
    ----------
    archive : path-like
        Compressed or not.
    folder : Path
    rename : callable
        Gives a member's path below `folder`, or None to leave it out.

    Returns
    -------
    paths : list of Path

    Raises
    ------
    DataError
        Damaged, or with members that `safe_members` refuses.
    """
    written = []
    try:
        with tarfile.open(archive) as file:
            for member, name in safe_members(file):
                target = rename(name)
                if target is None:
                    continue
                path = folder / target
                written.append(path)
                if path.exists() and path.stat().st_size == member.size:
                    continue
                _unpack(file, member, path)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{archive}: cannot be unpacked: {error}") from error
    return written


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    source = archive.extractfile(member)
    assert source is not None  # of regular files it never is
    try:
        with source, open(temporary, "wb") as sink:
            shutil.copyfileobj(source, sink, BLOCK)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
