"""The shard map: a map over fixed shards, its results given back in order.

Shards depend on the items alone and never on the number of workers, and sums are taken in shard
order, so that results are the same bytes for any ``--nj`` and any ``--backend``.

Worker processes and machines may be lost at any moment. Shards whose results had not come back
are then run again, so a shard's function must be harmless when run twice, also at the same time:
what it writes, it writes atomically and as a function of the shard alone.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from ivector.base.errors import DataError, UsageError
from ivector.base.extras import told_extra
from ivector.base.parallel.forks import are_forked, run_forked
from ivector.base.parallel.workers import (
    BACKENDS,
    MOST_LOSSES,
    Backend,
    R,
    T,
    WorkersLost,
    make_shards,
    one_thread,
    single_threaded,
)

logger = logging.getLogger(__name__)

# A cluster whose machines are taken away may come back; beyond these, without one shard finished
# in between, someone has to look.
MOST_CLUSTER_LOSSES, PATIENCE_S = 10, 600.0
BACK_OFF_S = (1.0, 30.0)  # the first, and the longest wait before shards are sent again
# Shards sent at once, in multiples of the workers: results that wait for an earlier one stay few.
WINDOW = 16


_chosen = Backend()


def use_backend(name: str = "loky", scheduler: str | None = None) -> Backend:
    """Choose where this process runs its shards from now on.

    Parameters
    ----------
    name : {"loky", "threading", "dask"}
        Processes of this machine, threads of this process, or a Dask cluster.
    scheduler : str, optional
        Of a cluster: ``tcp://host:port``, or the JSON file that its scheduler writes. Without
        it ``dask`` starts as many processes on this machine as a map asks for.

    Returns
    -------
    Backend
        The former choice.

    Raises
    ------
    UsageError
        No such backend, or a scheduler without ``dask``.
    MissingExtraError
        Dask is not installed.
    """
    global _chosen
    if name not in BACKENDS:
        raise UsageError(f"`backend` is one of {', '.join(BACKENDS)}; got {name!r}")
    if scheduler and name != "dask":
        raise UsageError(f"`scheduler` is of `backend` dask, not of {name}")
    if name == "dask":
        with told_extra():
            import distributed  # noqa: F401
    former, _chosen = _chosen, Backend(name, scheduler or None)
    return former


def map_shards(
    function: Callable[..., R], shards: Sequence[T], nj: int = 1, **kwargs: Any
) -> Iterator[R]:
    """Yield ``function(shard, **kwargs)`` for every shard, in shard order.

    Parameters
    ----------
    function : callable
        Picklable unless it runs in this process; runs with BLAS and OpenMP on one thread in
        every case, as the order of a threaded sum would depend on the number of threads.
    nj : int
        Number of processes or threads; 1 runs in this one. A Dask cluster of a given scheduler
        takes all its workers instead.

    Raises
    ------
    UsageError
        `nj` below 1.
    DataError
        Processes were killed again and again, or a cluster stayed away, without any shard
        finished in between.
    """
    if nj < 1:
        raise UsageError(f"`nj` must be at least 1, got {nj}")
    if nj == 1 and _chosen.name != "dask":
        for shard in shards:
            yield single_threaded(function, shard, kwargs)
        return
    start = _starter(_chosen, nj, function, kwargs)
    done, losses = 0, _Losses(_chosen)
    while done < len(shards):
        try:
            for result in start(shards[done:]):
                yield result
                del result  # not held while the next one comes
                done += 1
                losses.forget()
        except WorkersLost as error:
            losses.wait(error, len(shards) - done)


class _Losses:
    """Counts losses since a shard came back, and waits longer after each."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.forget()

    def forget(self) -> None:
        self.count, self.since = 0, time.monotonic()

    def wait(self, error: WorkersLost, missing: int) -> None:
        """Wait before the next trial; raises DataError if that has no prospect."""
        if not self.count:
            self.since = time.monotonic()
        self.count += 1
        if self.backend.name != "dask":
            if self.count >= MOST_LOSSES:
                raise DataError(
                    "a worker process was killed, as a rule for lack of memory; take fewer jobs "
                    f"(`nj`); {missing} shards are left and the first was tried {self.count} times"
                ) from error.__cause__
        elif self.count > MOST_CLUSTER_LOSSES and time.monotonic() - self.since > PATIENCE_S:
            raise DataError(
                f"{error}; no shard was finished in {self.count} trials and "
                f"{PATIENCE_S / 60:.0f} minutes: look at the address, the scheduler and its "
                "workers' memory; the same command continues"
            ) from error
        pause = min(BACK_OFF_S[0] * 2 ** (self.count - 1), BACK_OFF_S[1])
        left = ""
        if self.backend.name == "dask":
            left = f" for up to {max(0.0, self.since + PATIENCE_S - time.monotonic()):.0f} s"
        logger.warning("%s; %d shards are sent again%s", error, missing, left)
        time.sleep(pause if self.backend.name == "dask" else 0)


Starter = Callable[[Sequence[Any]], Iterator[Any]]


def _starter(backend: Backend, nj: int, function: Callable, kwargs: dict[str, Any]) -> Starter:
    """Make what runs shards once, raising WorkersLost where they have to be sent again."""
    if backend.name == "dask":
        from ivector.base.parallel.cluster import run_on_cluster

        return lambda shards: run_on_cluster(backend, nj, function, kwargs, shards)
    return lambda shards: _run_here(backend.name, nj, function, kwargs, shards)


def _run_here(
    name: str, nj: int, function: Callable, kwargs: dict[str, Any], shards: Sequence[Any]
) -> Iterator[Any]:
    """Run shards in processes or threads of this machine."""
    if name == "loky" and are_forked():
        try:
            yield from run_forked(function, kwargs, shards, nj, WINDOW * nj)
        except BrokenExecutor as error:
            raise WorkersLost("a worker process was killed") from error
        return
    from joblib import Parallel, delayed

    # Threads share the limits of BLAS; all are set before the first begins and reset afterwards.
    shared = one_thread() if name == "threading" else contextlib.nullcontext()
    try:
        with shared:
            for window in make_shards(shards, WINDOW * nj):
                workers = Parallel(
                    n_jobs=nj, backend=name, return_as="generator", pre_dispatch="2*n_jobs"
                )
                yield from workers(
                    delayed(single_threaded)(function, shard, kwargs) for shard in window
                )
    except BrokenExecutor as error:
        raise WorkersLost("a worker process was killed") from error
