"""Logging and progress: tqdm on a terminal, plain log lines with an ETA otherwise."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from ivector.base.budget import memory_share

T = TypeVar("T")

LOG_EVERY_S = 10.0


def setup_logging(verbose: int = 0) -> None:
    """Send log lines to standard error (``verbose`` ≥ 1 shows debugging lines)."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for noisy in ("numba", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextlib.contextmanager
def logged_warnings() -> Iterator[None]:
    """Send warnings to the log within a block, each in one line."""

    def show(message, category, filename, lineno, file=None, line=None):
        logging.getLogger("warning").warning("%s (%s)", message, category.__name__)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def progress(
    items: Iterable[T], total: int | None = None, desc: str = "", unit: str = "utt"
) -> Iterator[T]:
    """Iterate over `items`; show how far it is, how long it will take, and the memory taken."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=desc, unit=unit, file=sys.stderr) as bar:
            last = 0.0
            for item in items:
                yield item
                if time.monotonic() - last > 1:
                    last = time.monotonic()
                    bar.set_postfix_str(memory_share(), refresh=False)
                bar.update()
        return
    yield from _log_progress(items, total, desc, unit)


def _log_progress(items: Iterable[T], total: int | None, desc: str, unit: str) -> Iterator[T]:
    logger = logging.getLogger("progress")
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last < LOG_EVERY_S:
            continue
        last, rate = now, count / (now - start)
        if total:
            logger.info(
                "%s %d/%d %s, %.1f %s/s, ETA %.0f s, %s",
                desc, count, total, unit, rate, unit, (total - count) / rate, memory_share(),
            )  # fmt: skip
        else:
            logger.info("%s %d %s, %.1f %s/s, %s", desc, count, unit, rate, unit, memory_share())
