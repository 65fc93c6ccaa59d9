"""The numbers of a training run as lines of JSON, and to TensorBoard where it is installed.

One line a record, ``{"step": 100, "loss": 1.25, ...}``. A run that is resumed takes away what was
written after its checkpoint, so that the file reads as if it had never stopped.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ivector.base.errors import DataError
from ivector.base.files import write_text

logger = logging.getLogger("training")


class ScalarLog:
    """Appends records to a file.

    Parameters
    ----------
    path : path-like
        ``scalars.jsonl``.
    n_records : int
        How many to keep, as `n_records` was at the last checkpoint; what a killed run wrote after
        it is removed.
    tensorboard : bool
        Write event files beside it too, if tensorboard is installed.
    """

    def __init__(self, path: str | os.PathLike, n_records: int = 0, tensorboard: bool = False):
        self.path = Path(path)
        kept = read_scalars(self.path)[:n_records] if self.path.exists() and n_records else []
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))
        self.n_records = len(kept)
        step = kept[-1]["step"] if kept else 0
        self._events = _event_writer(self.path.parent, step) if tensorboard else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append a record; one line is written at once."""
        with open(self.path, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self.n_records += 1
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()


class NoLog:
    """In the place of a `ScalarLog` where another process writes it."""

    n_records = 0

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_scalars(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Records of a file; a last line that was cut by a kill is left out.

    Raises
    ------
    DataError
        The file cannot be read, or a line before the last is no record.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    records = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            record = json.loads(line)
            record["step"] = int(record["step"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not a record of a training") from error
        records.append(record)
    return records


def _event_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning("tensorboard is not installed; the numbers go to scalars.jsonl alone")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
