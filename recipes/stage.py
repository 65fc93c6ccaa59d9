"""The frame of a recipe stage: its folder, log, options, versions, time and the mark of being done.

A stage is done when ``done.json`` stands in its folder, written last and renamed into place. The
mark holds a stamp: a digest of the stage's options and of the stamps of the stages it reads. A
stage whose mark carries the stamp it would make now is left alone, so a killed run continues where
it was and a changed option re-does only what depends on it.

The mark also lists the stage's files with their sizes and, but for very large ones, checksums.
What was cut, replaced or deleted since is noticed by the stages that read it, and made again by
the stage itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ivector.base.errors import DataError
from ivector.base.files import write_text

logger = logging.getLogger("recipe")

PACKAGES = ("ivector-plda", "numpy", "scipy", "scikit-learn", "numba", "soundfile", "kaldiio")


CHECKSUM_LIMIT = 64 * 2**20  # bytes; of larger files the size alone is compared


def read_mark(folder: Path) -> dict[str, Any] | None:
    """Read the mark of a finished stage, or None."""
    try:
        mark = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) and isinstance(mark.get("stamp"), str) else None


def require(folder: Path, stage: int, on: Sequence[str] = ()) -> str:
    """Stamp of a stage that must have been run.

    Parameters
    ----------
    folder : Path
    stage : int
        Its number in ``run.sh``, for the cure.
    on : sequence of str
        Stamps of the stages that it must have been made from.

    Raises
    ------
    DataError
        It has not finished, was made from something else, or its files are not as it left them;
        says which stage to run.
    """
    mark = read_mark(folder)
    if mark is None:
        raise DataError(f"{folder}: stage {stage} has not finished; run with --stage {stage}")
    if defect := _defect(folder, mark):
        raise DataError(f"{folder / defect}; run with --stage {stage} to make it again")
    if not set(on) <= set(mark.get("upstream", on)):
        raise DataError(
            f"{folder}: stages before it were run anew since; run with --stage {stage} to follow"
        )
    return mark["stamp"]


def _defect(folder: Path, mark: Mapping[str, Any]) -> str:
    """Say which file of a finished stage is not as it was left, and how; '' if none."""
    for name, (size, checksum) in mark.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            return f"{name}: is gone since the stage finished"
        found = path.stat().st_size
        if found != size:
            return f"{name}: has {found} bytes, {size} when the stage finished"
        if checksum != _checksum(path):
            return f"{name}: was changed since the stage finished"
    return ""


def _manifest(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and checksum of every file that a stage leaves, but for its log."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "log")
    return {p.relative_to(folder).as_posix(): (p.stat().st_size, _checksum(p)) for p in paths}


def _checksum(path: Path) -> int:
    """CRC-32 of a file; 0 for one that would take long to read."""
    if path.stat().st_size > CHECKSUM_LIMIT:
        return 0
    return zlib.crc32(path.read_bytes())


def digest(*paths: Path) -> str:
    """Digest of the contents of small files that a stage depends on."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


@contextlib.contextmanager
def stage(
    folder: Path, options: Mapping[str, Any], upstream: Sequence[str] = (), force: bool = False
) -> Iterator[Path | None]:
    """Run a stage's body unless it is done already.

    The body works in a folder beside `folder`, which takes its place only when complete: a failed
    or killed run leaves the former results untouched.

    Yields
    ------
    Path or None
        The folder to work in; None when there is nothing to do.
    """
    stamp = _stamp(options, upstream)
    _recover(folder)
    mark = read_mark(folder)
    if mark and mark["stamp"] == stamp and not force:
        defect = _defect(folder, mark)
        if not defect:
            logger.info("%s: done already, left as it is", folder)
            yield None
            return
        logger.warning("%s; the stage is run again", folder / defect)
    work = folder.with_name(f".{folder.name}.partial")
    _refuse_busy(work)
    _remove(work)
    work.mkdir(parents=True)
    lock = _lock(work)
    try:
        record = {"options": dict(options), "upstream": list(upstream), "versions": versions()}
        write_text(work / "options.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
        start = time.perf_counter()
        with _log_to(work / "log"):
            yield work
            seconds = round(time.perf_counter() - start, 3)
            logger.info("%s: finished in %.1f s", folder, seconds)
        done = {"stamp": stamp, "upstream": list(upstream), "seconds": seconds}
        done["files"] = _manifest(work)
        write_text(work / "done.json", json.dumps(done) + "\n")
        _replace(folder, work)
    finally:
        _remove(work)
        if lock is not None:
            os.close(lock)


def _refuse_busy(work: Path) -> None:
    """Raise DataError if another process is working in a folder; a killed one holds no lock."""
    if not work.exists():
        return
    lock = _lock(work)
    if lock is not None:
        os.close(lock)


def _lock(work: Path) -> int | None:
    """Lock a folder for as long as this process lives; None where a system has no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DataError(
            f"{work}: another run is at work there; wait for it, or give another --exp"
        ) from None
    except OSError:  # some network disks do not lock folders
        os.close(handle)
        return None
    return handle


def _replace(folder: Path, work: Path) -> None:
    old = _former(folder)
    _remove(old)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    _remove(old)


def _recover(folder: Path) -> None:
    """Put the former results back where a run was killed between the two renames."""
    if _former(folder).exists() and not folder.exists():
        _former(folder).rename(folder)


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _stamp(options: Mapping[str, Any], upstream: Sequence[str]) -> str:
    text = json.dumps([dict(options), list(upstream)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _QuietFileHandler(logging.FileHandler):
    """A log that a full disk cuts short; what fills the disk is told by the stage itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    handler = _QuietFileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
