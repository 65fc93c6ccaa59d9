"""Shards in forks of this process, which need to import nothing and are sent no function.

For a process without threads of its own, on a system where forking is sound: the recipes' stages
on Linux. Elsewhere shards of processes go through joblib's loky.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from ivector.base.workers import make_shards, single_threaded

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
    with ProcessPoolExecutor(nj, mp_context=multiprocessing.get_context("fork")) as pool:
        try:
            for part in make_shards(shards, window):
                running = deque(pool.submit(_do, shard) for shard in part)
                while running:
                    yield running.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _do(shard: Any) -> Any:
    assert _work is not None
    return single_threaded(_work[0], shard, _work[1])
