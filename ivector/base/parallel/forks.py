"""Shards in forks of this process, which need to import nothing and are sent no function.

For a process without threads of its own, on a system where forking is sound: the recipes' stages
on Linux. Elsewhere shards of processes go through joblib's loky.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any

from ivector.base.errors import DataError
from ivector.base.parallel.workers import MOST_LOSSES, make_shards, single_threaded

logger = logging.getLogger(__name__)
_forking = False
_work: tuple[Callable[..., Any], dict[str, Any]] | None = None


@contextlib.contextmanager
def forked_processes() -> Iterator[None]:
    """Have shards of processes run in forks of this one."""
    global _forking
    former, _forking = _forking, True
    try:
        yield
    finally:
        _forking = former


def are_forked() -> bool:
    """Whether processes are forked now."""
    return _forking


def run_forked(
    function: Callable[..., Any],
    kwargs: dict[str, Any],
    shards: Sequence[Any],
    nj: int,
    window: int,
) -> Iterator[Any]:
    """Results of shards in their order, so many of them waiting at a time."""
    global _work
    _work = function, kwargs
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(nj, mp_context=context, initializer=_begin) as pool:
        try:
            for part in make_shards(shards, window):
                running = deque(pool.submit(_do, shard) for shard in part)
                while running:
                    yield running.popleft().result()
        except BaseException:
            # Nobody waits for their shards any more. Python 3.14 has kill_workers() for it.
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()
            raise


def each(functions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results of some functions: each in a fork where processes are forked, else one by one.

    What they log comes in their order, as if they had been called here.

    Raises
    ------
    DataError
        The process of one was killed again and again.
    """
    if not are_forked():
        return [function() for function in functions]
    count, losses = len(functions), 0
    results: list[Any] = []
    while len(results) < count:
        missing = range(len(results), count)
        try:
            for result, records in run_forked(
                lambda number: _with_records(functions[number]), {}, missing, count, count
            ):
                for record in records:
                    logging.getLogger(record.name).handle(record)
                results.append(result)
                losses = 0
        except BrokenExecutor as error:
            losses += 1
            if losses >= MOST_LOSSES:
                raise DataError(
                    "a process was killed again and again, as a rule for lack of memory"
                ) from error
            logger.warning("a process was killed; what it did is begun again")
    return results


def _with_records(function: Callable[[], Any]) -> tuple[Any, list[logging.LogRecord]]:
    """A function's result, and what it has logged, as text."""
    root, records = logging.getLogger(), _Records()
    former, root.handlers = root.handlers, [records]
    try:
        return function(), records.found
    finally:
        root.handlers = former


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(plain_record(record))


def plain_record(record: logging.LogRecord) -> logging.LogRecord:
    """A log record that another process can be sent: its message as text."""
    plain = {**record.__dict__, "msg": record.getMessage(), "args": (), "exc_info": None}
    return logging.makeLogRecord(plain)


def _begin() -> None:
    """A worker leaves Ctrl-C to the process that it is of, and does not outlive that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def end_with_parent() -> None:
    """Have the system kill this process when its parent has gone, however that ended.

    Else it would go on, and hold the locks that it has inherited.
    """
    with contextlib.suppress(OSError, AttributeError):
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def _do(shard: Any) -> Any:
    assert _work is not None
    return single_threaded(_work[0], shard, _work[1])
