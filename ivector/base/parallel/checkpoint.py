"""Checkpoints of a training: its state after each iteration, and the sums of the one under way.

Iterations over much data take hours. Their sums are made in groups of shards, each of which writes
what it has summed to the checkpoint's folder, where the next run finds it. The groups depend on
the number of shards alone and are added in their order, with a checkpoint and without one, so that
an interrupted training ends with the same bytes as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ivector.base.errors import DataError
from ivector.base.files import load_model, read_lines, remove_tree, save_model, write_text
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards

T = TypeVar("T")

# Sums of a large model take gigabytes: few groups keep what is sent, or kept on disk, small, and
# so many that a cluster has work for as many machines.
MOST_GROUPS = 64
# What took less than that is sooner done again than written: on small data, a checkpoint at each
# iteration would cost as much as the iteration.
WORTH_S = 0.5
_STATE, _SUM = "training state", "partial sum"


class Checkpoint:
    """Folder that keeps how far a training has come; give it to an estimator's ``fit``.

    Parameters
    ----------
    folder : path-like
        Made when needed; on a disk that the workers of a cluster see, too. One training, one
        folder.

    Notes
    -----
    It is left in place at the end of a training, whose `fit` it then answers at once, so that
    nothing is lost where a process is killed before it has written the model; `clear` removes it.

    Examples
    --------
    >>> from ivector import DiagonalGMM
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> checkpoint = Checkpoint("ubm.checkpoint")
    >>> ubm = DiagonalGMM(2, random_state=0).fit(X, checkpoint=checkpoint)
    >>> checkpoint.clear()  # once the model is saved
    """

    def __init__(self, folder: Any):
        self.folder = Path(folder)
        self._saved = time.monotonic()

    def begin(self, identity: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict] | None:
        """Latest state of the training, None at its start.

        Parameters
        ----------
        identity : mapping
            What has to be the same for it to be continued, as JSON.

        Raises
        ------
        DataError
            The folder is of another training.
        """
        path = self.folder / "training.json"
        mine = json.dumps(identity, sort_keys=True)
        if not path.exists():
            self.clear()
            write_text(path, mine + "\n")
            return None
        former = "".join(read_lines(path))
        if former != mine:
            raise DataError(
                f"{self.folder}: is the checkpoint of another training "
                f"({_difference(former, mine)}); remove it, or give another folder"
            )
        number = max(self._iterations(), default=None)
        if number is None:
            return None
        return load_model(self._state(number), _STATE)

    def save(
        self, iteration: int, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> None:
        """Keep the state after an iteration (0: the start) and drop what it makes superfluous.

        Little work since the last one kept is not worth writing, see `WORTH_S`.
        """
        if time.monotonic() - self._saved < WORTH_S:
            return
        values = {**values, "iteration": iteration}
        save_model(self._state(iteration), _STATE, arrays, values)
        for former in self._iterations():
            if former < iteration:
                self._state(former).unlink(missing_ok=True)
        for sums in self.folder.glob("sums.*"):
            remove_tree(sums)
        self._saved = time.monotonic()

    def sums(self, iteration: int) -> Path:
        """Folder for the partial sums of an iteration."""
        return self.folder / f"sums.{iteration}"

    def clear(self) -> None:
        """Remove the folder."""
        remove_tree(self.folder)

    def _state(self, iteration: int) -> Path:
        return self.folder / f"iteration.{iteration}.npz"

    def _iterations(self) -> list[int]:
        found = (re.fullmatch(r"iteration\.(\d+)\.npz", p.name) for p in self.folder.iterdir())
        return [int(match[1]) for match in found if match]


def identifying(options: Mapping[str, Any]) -> dict[str, Any]:
    """Estimator's options that a continued training must share, as JSON can hold them."""
    idle = {"n_jobs", "verbose", "memory", "warm_start"}
    plain = (int, float, str, bool, type(None))
    return {
        name: value if isinstance(value, plain) else type(value).__name__
        for name, value in options.items()
        # Without a device, trainings have the identity that they had before there was the option.
        if name not in idle and not (name == "device" and value is None)
    }


def _difference(former: str, mine: str) -> str:
    try:
        was, now = json.loads(former), json.loads(mine)
        name = next(key for key in sorted({**was, **now}) if was.get(key) != now.get(key))
        return f"{name} {was.get(name)!r}, now {now.get(name)!r}"
    except (ValueError, AttributeError, StopIteration, RecursionError):
        return "damaged"


def sum_shards(
    function: Callable[..., T],
    shards: Sequence[Any],
    kind: type[T],
    nj: int = 1,
    sums: Path | None = None,
    desc: str = "",
    **kwargs: Any,
) -> T:
    """Sum ``function(shard, **kwargs)`` over shards, in groups and in their order.

    Parameters
    ----------
    function : callable
        Returns a new `kind`.
    shards : sequence
        At least one.
    kind : type
        Dataclass of arrays, numbers and None, with ``+=``.
    nj : int
        As of `map_shards`.
    sums : Path, optional
        Folder for the sums of the groups; those found there are taken as they are. What took long
        goes by disk then, and one at a time is in memory here.
    desc : str
        Shown as progress, if given.

    Returns
    -------
    kind
        The sum, its arrays in C order.
    """
    groups = make_shards(shards, -(-len(shards) // MOST_GROUPS))
    add = _AddGroup(function, kwargs, sums)
    parts: Iterator[Any] = map_shards(add, list(enumerate(groups)), nj=nj)
    if desc:
        parts = progress(parts, len(groups), desc, unit="group" if len(groups[0]) > 1 else "shard")
    total: Any = None
    for part in parts:
        if isinstance(part, Path):
            arrays, numbers = load_model(part, _SUM)
            part = kind(**arrays, **numbers)
        if total is None:
            total = part
        else:
            total += part
    return dataclasses.replace(
        total, **{name: np.ascontiguousarray(array) for name, array in _arrays(total).items()}
    )


@dataclass(frozen=True)
class _AddGroup:
    """Sums a group of shards; where that took long to a file of the folder, if there is one."""

    function: Callable[..., Any]
    kwargs: dict[str, Any]
    folder: Path | None

    def __call__(self, job: tuple[int, Sequence[Any]]) -> Any:
        index, shards = job
        path = None if self.folder is None else self.folder / f"{index}.npz"
        if path is not None and path.exists():
            return path
        began = time.monotonic()
        total = self.function(shards[0], **self.kwargs)
        for shard in shards[1:]:
            total += self.function(shard, **self.kwargs)
        if path is None or time.monotonic() - began < WORTH_S:
            return total
        arrays = _arrays(total)
        names = [field.name for field in dataclasses.fields(total)]
        save_model(path, _SUM, arrays, {n: getattr(total, n) for n in names if n not in arrays})
        return path


def _arrays(sums: Any) -> dict[str, np.ndarray]:
    """Fields of a dataclass that are arrays."""
    fields = {field.name: getattr(sums, field.name) for field in dataclasses.fields(sums)}
    return {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
