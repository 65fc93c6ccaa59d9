"""What a run shows: a line as a stage begins and ends, progress between, warnings as they come.

Log lines go to the stages' logs, and to the terminal with ``-v`` alone.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ivector.base.foreign.names import shown
from ivector.base.log import LINE, LineFormatter
from recipes.systems import STAGES

TOLD = 25  # level of log lines that are shown without ``-v`` and are no warnings
PAST = (
    "RECIPE_PAST"  # seconds that the stages before took which had something to do, and their share
)
TOLD_EVERY_S = 60.0  # without a terminal


@dataclass
class Console:
    """Shows one stage.

    Parameters
    ----------
    stage : int
        Its number.
    last : int
        The number of the last stage of the run.
    planned : sequence of int
        Stages that the run has steps for, this one among them.
    verbose : bool
        Show log lines, too.
    """

    stage: int
    last: int
    planned: Sequence[int]
    verbose: bool = False
    warned: set[str] = field(default_factory=set)
    total: int = 0
    done: int = 0
    _inner: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    _step: tuple[str, float] = ("", 0.0)
    _stage_begun: float = 0.0
    _begun: float = 0.0
    _told: float = 0.0

    @property
    def title(self) -> str:
        """Number and name of the stage."""
        return f"stage {self.stage:>2}/{self.last}  {STAGES[self.stage].name}"

    def open(self, log: Path) -> None:
        """Send log lines to a file, warnings to the terminal, and with ``-v`` all of them."""
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        for noisy in ("numba", "matplotlib", "PIL", "distributed"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        log.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log, encoding="utf-8")
        file.setFormatter(LineFormatter(LINE))
        root.addHandler(file)
        root.addHandler(_Shown(self))
        logging.captureWarnings(False)
        warnings.showwarning = _logged

    def begin(self, n_jobs: int, at_once: int) -> None:
        """Say that the stage, or a further group of its steps, begins with so many jobs."""
        self.total, self.done, self._inner = n_jobs, 0, {}
        self._begun = self._told = time.monotonic()
        first = not self._stage_begun
        self._stage_begun = self._stage_begun or self._begun
        if sys.stderr.isatty():
            self._draw()
        elif first:
            beside = f", {at_once} side by side" if at_once > 1 else ""
            self.line(f"{self.title}: {n_jobs} to make{beside}")

    def tell(self, job: int, text: str, count: int, total: int | None) -> None:
        """Take note of how far a job is within its present step."""
        self._inner[job] = (count, total or 0, text)
        now = time.monotonic()
        if text != self._step[0]:
            self._step = text, now
        if sys.stderr.isatty():
            self._draw()
        elif now - self._told > TOLD_EVERY_S:
            self._told = now
            self.line(f"{self.title}: {self._state()}")

    def finished(self, job: int) -> None:
        """Take note that a job is finished."""
        self.done += 1
        self._inner.pop(job, None)
        if sys.stderr.isatty():
            self._draw()

    def end(self, made: int, left: int) -> None:
        """Say that the stage has ended: what it took, what was left as it is, and what remains."""
        self._wipe()
        took = f"{duration(time.monotonic() - self._stage_begun)}, " if made else ""
        kept = f", {left} done already" if left and made else ""
        what = f"{took}{made} made{kept}" if made else "done already"
        rest = self._remaining() if made else ""
        self.line(f"{self.title}: {what}" + (f"; the rest in about {rest}" if rest else ""))

    def caution(self, text: str) -> None:
        """Show a warning, each once."""
        if text not in self.warned:
            self.warned.add(text)
            self.line(f"warning: {text}")

    def say(self, text: str) -> None:
        """Write a result to standard output, with the progress out of its way."""
        self._wipe()
        print(shown(text, "\n\t", 0), flush=True)

    def line(self, text: str) -> None:
        """Write a line above the progress."""
        self._wipe()
        print(shown(text), file=sys.stderr, flush=True)

    def _state(self) -> str:
        inner = [f"{text} {count}/{total}" if total else text
                 for count, total, text in self._inner.values()]  # fmt: skip
        parts = [f"{self.done}/{self.total}", self._eta(), *inner[:2]]
        return "  ".join(part for part in parts if part)

    def _share(self) -> float:
        """How much of the stage is done, 0 to 1; a lone job's present step counts for it."""
        if self.total == 1 and self._inner:
            count, total, _ = next(iter(self._inner.values()))
            return count / total if total else 0.0
        return self.done / max(self.total, 1)

    def _eta(self) -> str:
        share = self._share()
        if not 0 < share < 1:
            return ""
        since = self._step[1] if self.total == 1 else self._begun  # of a lone job, its step's
        return f"ETA {duration((time.monotonic() - since) * (1 - share) / share)}"

    def _draw(self) -> None:
        width = 20
        full = round(width * self._share())
        bar = "#" * full + "." * (width - full)
        text = f"{self.title}  [{bar}]  {self._state()}"
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        print(f"\r\033[K{shown(text)[: columns - 1]}", end="", file=sys.stderr, flush=True)

    def _wipe(self) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)

    def _remaining(self) -> str:
        """How long the stages behind this one will take, judged by those that did something."""
        seconds, share = (float(word) for word in (os.environ.get(PAST) or "0 0").split())
        seconds += time.monotonic() - self._begun
        share += STAGES[self.stage].share
        rest = sum(STAGES[number].share for number in self.planned if number > self.stage)
        return duration(seconds * rest / share) if rest else ""


class _Shown(logging.Handler):
    """Shows warnings on the console, and every line where that was asked for."""

    def __init__(self, console: Console):
        super().__init__()
        self.console = console
        self.setFormatter(LineFormatter(LINE, "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        if self.console.verbose:
            self.console.line(self.format(record))
        elif record.levelno >= logging.WARNING:
            self.console.caution(record.getMessage())
        elif record.levelno == TOLD:
            self.console.line(record.getMessage())


def _logged(message: object, category: type, *_: object, **__: object) -> None:
    """Send a Python warning to the log, in one line."""
    logging.getLogger(category.__name__).warning("%s", " ".join(str(message).split()))


def duration(seconds: float) -> str:
    """Seconds in words, coarse for long times."""
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"
