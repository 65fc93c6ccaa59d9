"""The frame of a recipe stage: its folder, log, options, versions, time and the mark of being done.

A stage is done when ``done.json`` stands in its folder, written last and renamed into place. The
mark holds a stamp: a digest of the stage's options and of the stamps of the stages it reads. A
stage whose mark carries the stamp it would make now is left alone, so a killed run continues where
it was and a changed option re-does only what depends on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ivector.base.errors import DataError
from ivector.base.files import write_text

logger = logging.getLogger("recipe")

PACKAGES = ("ivector-plda", "numpy", "scipy", "scikit-learn", "numba", "soundfile", "kaldiio")


def read_mark(folder: Path) -> dict[str, Any] | None:
    """Read the mark of a finished stage, or None."""
    try:
        return json.loads((folder / "done.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def require(folder: Path, stage: int) -> str:
    """Stamp of a stage that must have been run.

    Raises
    ------
    DataError
        It has not finished; says which stage to run.
    """
    mark = read_mark(folder)
    if mark is None:
        raise DataError(f"{folder}: stage {stage} has not finished; run with --stage {stage}")
    return mark["stamp"]


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
    mark = read_mark(folder)
    if mark and mark["stamp"] == stamp and not force:
        logger.info("%s: done already, left as it is", folder)
        yield None
        return
    work = folder.with_name(f".{folder.name}.partial")
    _remove(work)
    work.mkdir(parents=True)
    record = {"options": dict(options), "upstream": list(upstream), "versions": versions()}
    write_text(work / "options.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
    start = time.perf_counter()
    with _log_to(work / "log"):
        yield work
        seconds = round(time.perf_counter() - start, 3)
        logger.info("%s: finished in %.1f s", folder, seconds)
    write_text(work / "done.json", json.dumps({"stamp": stamp, "seconds": seconds}) + "\n")
    _replace(folder, work)


def _replace(folder: Path, work: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    _remove(old)
    if folder.exists():
        folder.rename(old)
    work.rename(folder)
    _remove(old)


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


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
