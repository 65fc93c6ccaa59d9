"""Batches computed ahead by other processes, in the order of their steps.

``batches.get(step)`` is a function of the step alone, so that worker w of W simply computes the
steps w, w + W, w + 2W, … and the main process reads the workers in turn: the order, and every
batch, are the same whatever W. Features come through memory that both processes share; a worker
writes into one of its slots, and gets the slot back when the batch has been copied out.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, Protocol

import numpy as np

from ivector.base.errors import DataError, UsageError

SLOTS = 2  # batches that a worker may be ahead
READ_AHEAD = SLOTS + 2  # steps that are read before their time, at most, for each worker
PATIENCE_S = 10.0


class Batches(Protocol):
    """What a trainer takes its batches from, such as `dnn.data.batches.CropBatches`."""

    batch_size: int

    def __len__(self) -> int:
        """Steps of an epoch."""
        ...

    def get(self, step: int, rows: slice = ...) -> tuple[np.ndarray, np.ndarray]:
        """Some rows of a step: features (B, n_frames, n_features) float32, labels (B,) int64."""
        ...

    def utterances(self, step: int) -> np.ndarray:
        """Indices (B,) of the utterances in a batch."""
        ...


class Batch(NamedTuple):
    """Features (B, n_frames, n_features) float32 and labels (B,) int64 of a step."""

    step: int
    features: np.ndarray
    labels: np.ndarray


class Prefetch:
    """Iterate over the batches of steps `start` … `stop` − 1; use as a context manager.

    Parameters
    ----------
    batches : Batches
        Picklable if there are workers.
    start, stop : int
    n_workers : int
        Processes; 0 computes every batch when it is asked for, in this one.
    rows : slice
        Of every batch, for one of several machines; the others are not read.

    Raises
    ------
    UserError
        From the iterator: what ``batches.get`` raised in a worker.
    DataError
        From the iterator: a worker was killed.

    Notes
    -----
    With workers, a batch's features are overwritten once the next batch is asked for.
    """

    def __init__(
        self,
        batches: Batches,
        start: int,
        stop: int,
        n_workers: int = 0,
        rows: slice = slice(None),
    ):
        if n_workers < 0:
            raise UsageError(f"the number of loader processes is at least 0, not {n_workers}")
        self.batches, self.start, self.stop, self.rows = batches, start, stop, rows
        self.n_workers = min(n_workers, max(stop - start, 0))
        self._workers: list[_Worker] = []
        self._at_exit: Finalize | None = None

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._at_exit is not None:
            self._at_exit.cancel()
        _end(self._workers)
        self._workers = []

    def __iter__(self) -> Iterator[Batch]:
        if self.n_workers == 0:
            for step in range(self.start, self.stop):
                yield Batch(step, *self.batches.get(step, self.rows))
            return
        # The first batch, made here, tells how large the slots must be.
        first = Batch(self.start, *self.batches.get(self.start, self.rows))
        self._open(_slot_size(self.batches, first))
        yield first
        for step in range(self.start + 1, self.stop):
            worker = self._workers[(step - self.start - 1) % self.n_workers]
            yield Batch(step, *worker.receive())
            worker.release()

    def _open(self, slot_size: int) -> None:
        context = multiprocessing.get_context()
        # At the interpreter's exit the workers must go before they are waited for.
        self._at_exit = Finalize(None, _end, (self._workers,), exitpriority=10)
        for w in range(self.n_workers):
            steps = range(self.start + 1 + w, self.stop, self.n_workers)
            task = (self.batches, self.rows, steps)
            self._workers.append(_Worker(context, task, slot_size, self._workers))


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        worker.process.join(PATIENCE_S)
        worker.process.kill()  # where it is still reading from a disk that does not answer
        worker.process.join()


class _Worker:
    """A process, the pipe to it, and the memory shared with it."""

    def __init__(self, context: Any, task: tuple, slot_size: int, others: list[_Worker]):
        self.pipe, theirs = context.Pipe()
        self._slots = [context.RawArray("b", slot_size) for _ in range(SLOTS)]
        # A forked process also has our ends of the pipes; it closes them, or none would ever end.
        ours = [self.pipe, *(other.pipe for other in others)]
        self.process = context.Process(
            target=_work, args=(*task, theirs, self._slots, ours), name="loader"
        )
        self.process.start()
        theirs.close()

    def receive(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch of this worker."""
        try:
            content, labels = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            raise DataError(
                f"a loader process ended unexpectedly (exit code {self.process.exitcode}), as a "
                "rule for lack of memory; take fewer of them, or smaller batches"
            ) from error
        if isinstance(content, Exception):
            raise content
        if isinstance(content, np.ndarray):
            return content, labels
        slot, shape, dtype = content
        flat = np.frombuffer(self._slots[slot], dtype, int(np.prod(shape)))
        return flat.reshape(shape), labels

    def release(self) -> None:
        """Give the oldest slot back."""
        try:
            self.pipe.send(None)
        except OSError:
            pass  # it has no more steps, and is gone; if it was killed, `receive` tells


def _work(
    batches: Batches,
    rows: slice,
    steps: range,
    pipe: Connection,
    slots: list[Any],
    not_ours: list[Connection],
) -> None:
    """Main function of a worker."""
    for connection in not_ours:
        connection.close()
    # A signal to the whole group is for the main process, which saves and then hangs up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for number, step in enumerate(steps):
            if number >= SLOTS:
                pipe.recv()
            slot = number % SLOTS
            pipe.send(_message(batches, rows, step, slot, slots[slot]))
        while True:
            pipe.recv()  # until it is closed, which keeps the last slots alive
    except (EOFError, OSError):
        return


def _message(batches: Batches, rows: slice, step: int, slot: int, memory: Any) -> tuple[Any, Any]:
    try:
        features, labels = batches.get(step, rows)
    except Exception as error:
        return error, None
    if features.nbytes > len(memory):
        return np.ascontiguousarray(features), labels
    np.frombuffer(memory, features.dtype, features.size)[:] = features.reshape(-1)
    return (slot, features.shape, features.dtype.str), labels


def _slot_size(batches: Batches, first: Batch) -> int:
    """Bytes of the largest batch; one that is larger still goes through the pipe."""
    frames: Any = getattr(batches, "n_frames", first.features.shape[1])
    rows, n_frames, n_features = first.features.shape
    longest = max(int(np.max(frames)), n_frames)
    return first.features.itemsize * rows * longest * n_features
