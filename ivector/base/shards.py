"""The shard map: a map over fixed shards, its results given back in order.

Shards depend on the items alone and never on the number of workers, and sums are taken in shard
order, so that results are the same bytes for any ``--nj``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, TypeVar

from ivector.base.errors import DataError, UsageError

T = TypeVar("T")
R = TypeVar("R")


def make_shards(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut `items` into consecutive shards of `size` (the last may be shorter)."""
    if size < 1:
        raise UsageError(f"shard size must be at least 1, got {size}")
    return [items[i : i + size] for i in range(0, len(items), size)]


def map_shards(
    function: Callable[..., R], shards: Sequence[T], nj: int = 1, **kwargs: Any
) -> Iterator[R]:
    """Yield ``function(shard, **kwargs)`` for every shard, in shard order.

    Parameters
    ----------
    function : callable
        Picklable when ``nj > 1``; runs with BLAS and OpenMP on one thread in every case, as
        the order of a threaded sum would depend on the number of threads.
    nj : int
        Number of processes; 1 runs in this one.

    Raises
    ------
    UsageError
        `nj` below 1.
    DataError
        A process was killed.
    """
    if nj < 1:
        raise UsageError(f"--nj must be at least 1, got {nj}")
    if nj == 1:
        for shard in shards:
            yield single_threaded(function, shard, kwargs)
        return
    from joblib import Parallel, delayed

    workers = Parallel(n_jobs=nj, return_as="generator", pre_dispatch="2*n_jobs")
    try:
        yield from workers(delayed(single_threaded)(function, shard, kwargs) for shard in shards)
    except BrokenExecutor as error:
        raise DataError(
            "a worker process was killed, as a rule for lack of memory; take fewer jobs (--nj)"
        ) from error


def single_threaded(function: Callable[..., R], shard: Any, kwargs: dict[str, Any]) -> R:
    """Call `function` with every BLAS and OpenMP pool limited to one thread."""
    with one_thread():
        return function(shard, **kwargs)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP on one thread, in a ``with`` or as a decorator ``@one_thread()``.

    For training outside of `map_shards`: models are the same bytes whatever the number of cores.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
