"""The frame of a recipe stage: its folder, log, options, versions, time and the mark of being done.

A stage is done when ``done.json`` stands in its folder, written last and renamed into place. The
mark holds a stamp of all that the results depend on (see `recipes.engine.marks`). A stage whose
mark carries the stamp it would make now is left alone, so a changed option re-does only what
depends on it; what changed is said.

The mark also lists the stage's files with their sizes and, but for very large ones, checksums.
What was cut, replaced or deleted since is noticed by the stages that read it, and made again by
the stage itself.

A stage works in ``.NAME.partial/KEY``, where the key stands for the stamp, the sources and the
versions of the packages. A run that was killed leaves it, and one of the same key goes on there:
shards, checkpoints and other steps on the way that the body finds in its folder ``.resume`` are
whole, as every file is renamed into place, and were made the same way. One of another key clears
it. A worker that outlives its run can therefore not write among the files of another.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ivector.base.errors import DataError
from ivector.base.files import remove_tree, write_text
from ivector.base.foreign.boundary import read_json
from recipes.engine.marks import (
    RESUME,
    Upstream,
    cpu,
    digest,
    find_reasons,
    make_mark,
    make_stamp,
    manifest,
    named,
    read_mark,
    remove_temporary,
    require,
    run_key,
    versions,
)

__all__ = [
    "digest",
    "in_place",
    "read_mark",
    "require",
    "resume_folder",
    "stage",
    "versions",
    "why",
]

logger = logging.getLogger("recipe")


def resume_folder(work: Path) -> Path:
    """Folder in a stage's working folder for what only a continued run needs."""
    return work / RESUME


def why(
    folder: Path,
    options: Mapping[str, Any],
    upstream: Upstream = (),
    force: bool = False,
    code: str = "",
    keep: bool = False,
) -> list[str]:
    """Say why a stage has to be run; nothing where it is done. Arguments as of `stage`."""
    where = _former(folder) if _killed_between_renames(folder) else folder
    return find_reasons(where, options, upstream, code, keep) or (["asked for"] if force else [])


@contextlib.contextmanager
def stage(
    folder: Path,
    options: Mapping[str, Any],
    upstream: Upstream = (),
    force: bool = False,
    code: str = "",
    keep: bool = False,
) -> Iterator[Path | None]:
    """Run a stage's body unless it is done already.

    The body works in a folder beside `folder`, which takes its place only when complete: a failed
    or killed run leaves the former results untouched, and its own for the next one to go on from.

    Parameters
    ----------
    folder : Path
    options : mapping of str
        All that change the results.
    upstream : mapping of str to str, or sequence of str
        Stamps of what the stage reads, by name.
    force : bool
        Run even if done; an unfinished run of the same key is continued all the same.
    code : str
        Digest of the code that the results are computed with.
    keep : bool
        A finished stage is left as it is though its code has changed.

    Yields
    ------
    Path or None
        The folder to work in; None when there is nothing to do.
    """
    if _killed_between_renames(folder):
        _former(folder).rename(folder)
    reasons = why(folder, options, upstream, force, code, keep)
    partial = folder.with_name(f".{folder.name}.partial")
    if not reasons:
        logger.info("%s: done already, left as it is", folder)
        settle(folder)
        yield None
        return
    logger.info("%s: runs: %s", folder, "; ".join(reasons))
    stamp = make_stamp(options, upstream, code)
    with _own(partial):
        work = _enter(partial, run_key(stamp))
        _write_options(work, options, upstream)
        cautions: list[str] = []
        try:
            with _log_to(work / "log", cautions):
                start = time.perf_counter()
                yield work
                seconds = round(time.perf_counter() - start, 3)
                logger.info("%s: finished in %.1f s on %s", folder, seconds, cpu())
        except BaseException:
            if {path.name for path in work.iterdir()} <= {"options.json", "log"}:
                remove_tree(work)  # nothing to go on from
            raise
        remove_temporary(work)  # of workers that were killed while others made the same shard
        done = make_mark(options, upstream, code, seconds, cautions, manifest(work))
        write_text(work / "done.json", json.dumps(done) + "\n")
        _replace(folder, work)
        remove_tree(resume_folder(folder))


@contextlib.contextmanager
def in_place(
    folder: Path,
    options: Mapping[str, Any],
    upstream: Callable[[], Mapping[str, str]],
    code: str = "",
) -> Iterator[Path]:
    """Run the body of a stage in its folder itself, as what it makes names its own place.

    Its mark goes first and comes back last. What is large lies in sub-folders that are not listed.

    Parameters
    ----------
    folder, options, code
        As of `stage`.
    upstream : callable
        Stamps of what the body read, by name, once it has.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    cautions: list[str] = []
    try:
        (folder / "done.json").unlink(missing_ok=True)
        start = time.perf_counter()
        with _log_to(folder / "log", cautions):
            yield folder
        seconds = round(time.perf_counter() - start, 3)
        read = named(upstream())
        _write_options(folder, options, read)
        parts = [folder / "wav", *sorted(folder.glob("fold*"))]
        listed = {f"{part.name}/{k}": v for part in parts for k, v in manifest(part).items()}
        done = make_mark(options, read, code, seconds, cautions, listed)
        write_text(folder / "done.json", json.dumps(done) + "\n")
    except BaseException:
        if is_new and {path.name for path in folder.iterdir()} <= {"log"}:
            remove_tree(folder)  # nothing to go on from
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _write_options(folder: Path, options: Mapping[str, Any], upstream: Upstream) -> None:
    """Write what a stage is run with, and on what."""
    record = {
        "options": dict(options), "upstream": named(upstream), "versions": versions(), "cpu": cpu(),
    }  # fmt: skip
    write_text(folder / "options.json", json.dumps(record, indent=1, sort_keys=True) + "\n")


@contextlib.contextmanager
def _own(partial: Path) -> Iterator[None]:
    """Hold a folder of unfinished work against other runs; a killed one holds no lock.

    Raises
    ------
    DataError
        Another run holds it.
    """
    held, lock = False, None
    while not held:  # another run may end and remove the folder between any two lines
        with contextlib.suppress(FileNotFoundError):
            partial.mkdir(parents=True, exist_ok=True)
            lock = _lock(partial)
            held = lock is None or os.fstat(lock).st_ino == partial.stat().st_ino
        if lock is not None and not held:
            os.close(lock)
            lock = None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            partial.rmdir()  # if it is empty
        if lock is not None:
            os.close(lock)


def _enter(partial: Path, key: str) -> Path:
    """Folder of a run's work, with what a former one of the same key left, and nothing else."""
    work = partial / key
    for other in partial.iterdir():
        if other != work:
            _say_not_continued(other)
            remove_tree(other) if other.is_dir() else other.unlink()
    if work.exists():
        remove_temporary(work)
        (work / "done.json").unlink(missing_ok=True)
        logger.info("%s: goes on from an unfinished run", work.parent.parent / partial.name)
    work.mkdir(exist_ok=True)
    return work


def _say_not_continued(other: Path) -> None:
    """Say so where only the processor keeps an unfinished run from being continued."""
    with contextlib.suppress(DataError):
        where = read_json(other / "options.json", "the options of a stage").get("cpu")
        if where not in (None, cpu()):
            logger.warning(
                "%s: was begun on another processor, whose last digits differ, and is done anew; "
                "with --portable true it would go on", other.parent.parent / other.parent.name,
            )  # fmt: skip


def settle(folder: Path) -> None:
    """Put right what a run that was killed at its very end left of a finished stage.

    The former results are put back where it was between its two renames; what it, or a worker after
    it, has left behind is removed.
    """
    if _killed_between_renames(folder):
        _former(folder).rename(folder)
    remove_tree(resume_folder(folder))
    partial = folder.with_name(f".{folder.name}.partial")
    if partial.exists():
        with contextlib.suppress(DataError), _own(partial):
            _enter(partial, "none").rmdir()


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
    remove_tree(old)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    remove_tree(old)


def _killed_between_renames(folder: Path) -> bool:
    return _former(folder).exists() and not folder.exists()


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


class _QuietFileHandler(logging.FileHandler):
    """A log that a full disk cuts short; what fills the disk is told by the stage itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _Cautions(logging.Handler):
    """Notes the text of every warning, once."""

    def __init__(self, found: list[str]):
        super().__init__(logging.WARNING)
        self.found = found

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.found:
            self.found.append(text)


@contextlib.contextmanager
def _log_to(path: Path, cautions: list[str]) -> Iterator[None]:
    """Send log lines to a file, and the texts of warnings to a list as well.

    What Python warns of once a place is told again, so that every stage's list is whole.
    """
    file = _QuietFileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    handlers = (file, _Cautions(cautions))
    for handler in handlers:
        root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
