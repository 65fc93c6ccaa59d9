"""Logging and progress: tqdm on a terminal, plain log lines with an ETA otherwise."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from ivector.base.budget import memory_share
from ivector.base.errors import in_options
from ivector.base.foreign.names import shown

T = TypeVar("T")

LOG_EVERY_S = 10.0
TELL_EVERY_S = 0.5

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# Of what is done, so many of how many, and the rate in words.
Listener = Callable[[str, int, "int | None", str], None]
_listener: Listener | None = None


def listen(listener: Listener | None) -> None:
    """Have `progress` told to a function instead of shown; None shows it again."""
    global _listener
    _listener = listener


class LineFormatter(logging.Formatter):
    """Formats a record as one line, whatever the names in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, without the traceback."""
        return shown(super().formatMessage(record))


def setup_logging(verbose: int = 0) -> None:
    """Send log lines to standard error (``verbose`` ≥ 1 shows debugging lines)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(LINE, "%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    for noisy in ("numba", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextlib.contextmanager
def logged_warnings() -> Iterator[None]:
    """Send warnings to the log within a block, each in one line."""

    def show(message, category, filename, lineno, file=None, line=None):
        logger = logging.getLogger("warning")
        logger.warning("%s (%s)", in_options(str(message)), category.__name__)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def progress(
    items: Iterable[T],
    total: int | None = None,
    desc: str = "",
    unit: str = "utt",
    frames: Callable[[T], int] | None = None,
    shift: float = 0.0,
) -> Iterator[T]:
    """Iterate over `items`; show how far it is, how long it will take, and the memory taken.

    Parameters
    ----------
    items : iterable
    total : int, optional
        Their number.
    desc, unit : str
        What is done, and what one item is called.
    frames : callable, optional
        Number of frames of an item: their rate is shown, too.
    shift : float
        Seconds a frame stands for: the rate is also shown as a multiple of real time.
    """
    speed = _Speed(frames, shift)
    if total is None and isinstance(items, Sized):
        total = len(items)
    if _listener is not None:
        yield from _told(items, total, desc, speed, _listener)
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=desc, unit=unit, file=sys.stderr) as bar:
            last = 0.0
            for item in items:
                yield item
                speed.add(item)
                if time.monotonic() - last > 1:
                    last = time.monotonic()
                    bar.set_postfix_str(speed.text() + memory_share(), refresh=False)
                bar.update()
        return
    yield from _log_progress(items, total, desc, unit, speed)


class _Speed:
    """Frames a second since it was made, as text."""

    def __init__(self, frames: Callable[[Any], int] | None, shift: float):
        self.frames, self.shift = frames, shift
        self.count, self.start = 0, time.monotonic()

    def add(self, item: Any) -> None:
        if self.frames is not None:
            self.count += self.frames(item)

    def text(self) -> str:
        if self.frames is None:
            return ""
        rate = self.count / max(time.monotonic() - self.start, 1e-3)
        real = f" ({rate * self.shift:.0f} x real time)" if self.shift else ""
        return f"{rate:.0f} frames/s{real}, "


def _told(
    items: Iterable[T], total: int | None, desc: str, speed: _Speed, listener: Listener
) -> Iterator[T]:
    last = 0.0
    for count, item in enumerate(items, 1):
        yield item
        speed.add(item)
        now = time.monotonic()
        if now - last >= TELL_EVERY_S or count == total:
            last = now
            listener(desc, count, total, speed.text().removesuffix(", "))


def _log_progress(
    items: Iterable[T], total: int | None, desc: str, unit: str, speed: _Speed
) -> Iterator[T]:
    logger = logging.getLogger("progress")
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        speed.add(item)
        now = time.monotonic()
        if now - last < LOG_EVERY_S:
            continue
        last, rate = now, count / (now - start)
        if total:
            logger.info(
                "%s %d/%d %s, %.1f %s/s, %sETA %.0f s, %s",
                desc, count, total, unit, rate, unit, speed.text(), (total - count) / rate,
                memory_share(),
            )  # fmt: skip
        else:
            logger.info(
                "%s %d %s, %.1f %s/s, %s%s",
                desc, count, unit, rate, unit, speed.text(), memory_share(),
            )  # fmt: skip
