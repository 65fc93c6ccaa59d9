"""Shards on a Dask cluster through joblib, for machines that may be taken away at any moment.

joblib's Dask backend trusts that every task comes back, and waits without end for one that was
lost for good with its worker or scheduler. `LossyBackend` reports it as `WorkersLost` instead, so
that `ivector.base.shards.map_shards` sends the shard again. A worker that dies alone is the
scheduler's to replace and is not noticed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, KilledWorker, LocalCluster
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError
from joblib import Parallel, delayed
from joblib._dask import DaskDistributedBackend, _TracebackCapturingWrapper

import ivector
from ivector.base.errors import DataError, UsageError
from ivector.base.workers import Backend, WorkersLost, in_windows, one_thread

# Its warnings of every lost worker; what matters of them is told by `map_shards`.
for _name in ("distributed", "distributed.client"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

CONNECT_S = 10.0
FIRST_WORKER_S = 60  # a cluster that grows on demand needs a while for its first machine
WATCH_S = 1.0
# Losses of a shard's workers before a scheduler gives it up: pre-emption is no fault of a shard.
ALLOWED_FAILURES = 100
LEAST_WINDOW = 16  # shards sent at once; more where there are more workers

_LOST = (
    KilledWorker, NoValidWorkerError, CommClosedError, CancelledError, asyncio.CancelledError,
    asyncio.TimeoutError, TimeoutError, OSError,
)  # fmt: skip

_CANCELLED = (CancelledError, asyncio.CancelledError)

_clients: dict[tuple[Backend, int], Client] = {}
_local_clusters: dict[str, LocalCluster] = {}


class ShardError(Exception):
    """What a shard's function raised in a worker, apart from what the cluster may raise."""

    def __init__(self, error: BaseException, text: str):
        super().__init__(error, text)
        self.error, self.text = error, text


def _sources() -> str:
    """Digest of this package's sources as they are when this process imports it."""
    total = hashlib.sha256()
    for path in sorted(Path(ivector.__file__).parent.rglob("*.py")):
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()


SOURCES = _sources()


class Payload:
    """A function and its shared arguments, sent to a worker once and not with every shard.

    With it go the folder that relative paths start from, and which sources are meant.
    """

    def __init__(self, function: Callable, kwargs: dict[str, Any]):
        self.function, self.kwargs = function, kwargs
        self.folder, self.sources = os.getcwd(), SOURCES

    def prepare(self) -> None:
        """Make this worker one like the process that sends the shards.

        Raises
        ------
        DataError
            It has other sources, or does not see the same disk.
        """
        if self.sources != SOURCES:
            raise DataError(
                f"worker on {socket.gethostname()}: runs another version of the toolkit; install "
                "the same one there and start the workers anew"
            )
        if os.getcwd() != self.folder:
            try:
                os.chdir(self.folder)
            except OSError as error:
                raise DataError(
                    f"worker on {socket.gethostname()}: {self.folder}: {error.strerror}; the "
                    "workers need the disk of the data under the same path"
                ) from error


def call(payload: Payload, shard: Any) -> Any:
    """Run one shard in a worker, single-threaded."""
    try:
        payload.prepare()
        with one_thread():
            return payload.function(shard, **payload.kwargs)
    except Exception as error:
        raise ShardError(error, traceback.format_exc()) from None


def run_on_cluster(
    backend: Backend, nj: int, function: Callable, kwargs: dict[str, Any], shards: Sequence[Any]
) -> Iterator[Any]:
    """Yield results in shard order; two windows of them are held here at most.

    Raises
    ------
    WorkersLost
        The scheduler cannot be reached, or what it ran is lost.
    """
    try:
        client = connect(backend, nj)
    except _LOST as error:
        where = backend.scheduler or "this machine"
        raise WorkersLost(f"no Dask scheduler answers at {where} ({_text(error)})") from error
    try:
        payload = client.scatter(Payload(function, kwargs), hash=False)

        def start(window: Sequence[Any]) -> Iterable[Any]:
            return _start(client, payload, window)

        def size() -> int:  # asked before every window, as clusters grow and shrink
            return max(2 * sum(client.ncores().values()), LEAST_WINDOW)

        yield from in_windows(start, shards, size)
    except ShardError as error:
        raise error.error from RuntimeError(error.text)
    except _LOST as error:
        raise WorkersLost(f"the Dask cluster was lost ({_text(error)})") from error


def _start(client: Client, payload: Any, window: Sequence[Any]) -> _Watched:
    """Send shards at once; return an iterable of their results."""
    backend = LossyBackend(client=client, wait_for_workers_timeout=FIRST_WORKER_S)
    workers = Parallel(
        n_jobs=-1, backend=backend, return_as="generator", pre_dispatch="all", batch_size=1
    )
    return _Watched(workers(delayed(call)(payload, shard) for shard in window), backend)


class _Watched:
    """Results of a window, while a thread looks whether the connection stands."""

    def __init__(self, results: Iterator[Any], backend: LossyBackend):
        self._results, self._backend = results, backend
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._results
        finally:
            self._ended.set()

    def close(self) -> None:
        """Give up what has not come back."""
        self._ended.set()
        with contextlib.suppress(*_LOST):
            self._results.close()  # type: ignore[attr-defined]

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_S):
            if self._backend.client.status in ("closing", "closed"):
                self._backend.report_all_lost()
                return


class _Lost:
    """Stands for the result of a task that will not come back."""

    def __init__(self, why: str):
        self.why = why


class LossyBackend(DaskDistributedBackend):
    """joblib's Dask backend, but a task that is lost raises `WorkersLost`."""

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Count the cluster's threads; at least 2, as joblib would run one job in this process."""
        return max(2, super().effective_n_jobs(n_jobs))

    def submit(self, func: Any, callback: Callable | None = None) -> Future:
        """Send one task; as joblib's, but a task that cannot be sent is reported, too."""
        waiting: Future = Future()
        waiting.get = waiting.result  # type: ignore[attr-defined]

        async def send() -> None:
            try:
                batch, tasks = await self._to_func_args(func)
                future = self.client.submit(
                    _TracebackCapturingWrapper(batch), tasks=tasks, key=f"shard-{uuid4().hex}"
                )
            except Exception as error:  # told in the thread that waits for the result
                self._report(waiting, callback, _Lost(_text(error)))
                return
            self._callbacks[future] = callback
            self._results[future] = waiting
            self.waiting_futures.add(future)

        self.client.loop.add_callback(send)
        return waiting

    apply_async = submit  # its name in joblib before 1.5

    async def _collect(self) -> None:
        while self._continue:
            async for future, result in self.waiting_futures:
                if future in self._callbacks:  # else it was reported lost already
                    waiting, callback = self._results.pop(future), self._callbacks.pop(future)
                    self._report(waiting, callback, _outcome(future.status, result))
            await asyncio.sleep(0.01)

    def report_all_lost(self) -> None:
        """Report every task that is out."""
        for future in list(self._callbacks):
            with contextlib.suppress(KeyError):
                waiting, callback = self._results.pop(future), self._callbacks.pop(future)
                self._report(waiting, callback, _Lost("connection closed"))

    @staticmethod
    def _report(waiting: Future, callback: Callable | None, outcome: Any) -> None:
        waiting.set_result(outcome)
        if callback is not None:
            callback(outcome)

    def retrieve_result_callback(self, out: Any) -> Any:
        """Result of a task, or what it raised."""
        if isinstance(out, _Lost):
            raise WorkersLost(f"the Dask cluster lost a shard ({out.why})")
        if isinstance(out, _Raised):
            raise out.error
        return super().retrieve_result_callback(out)


def _outcome(status: str, result: Any) -> Any:
    """What joblib is given for a task that ended with a status."""
    if status == "finished" and not isinstance(result, _CANCELLED):
        return result
    if status == "error" and isinstance(result, tuple):  # type, error, traceback
        if isinstance(result[1], _LOST):
            return _Lost(_text(result[1]))
        return _Raised(result[1])
    return _Lost(status)


class _Raised:
    """An error of the cluster's that is not a loss, as of a function it could not unpickle."""

    def __init__(self, error: BaseException):
        self.error = error


def connect(backend: Backend, nj: int) -> Client:
    """Connect to the scheduler, or to a cluster of `nj` processes on this machine; kept open."""
    key = backend, 0 if backend.scheduler else nj
    client = _clients.get(key)
    if client is not None and client.status == "running":
        return client
    disconnect(key)
    if backend.scheduler is None:
        _clients[key] = _local(nj)
    elif backend.scheduler.endswith(".json"):
        if not Path(backend.scheduler).exists():
            raise FileNotFoundError(f"{backend.scheduler} is not there")
        _clients[key] = Client(
            scheduler_file=backend.scheduler, timeout=CONNECT_S, set_as_default=False
        )
    else:
        try:
            _clients[key] = Client(backend.scheduler, timeout=CONNECT_S, set_as_default=False)
        except ValueError as error:
            raise UsageError(f"--scheduler {backend.scheduler}: {error}") from error
    return _clients[key]


def _local(nj: int) -> Client:
    with dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES}):
        cluster = LocalCluster(
            n_workers=nj, threads_per_worker=1, memory_limit=0, dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )  # fmt: skip
        client = Client(cluster, set_as_default=False)
    _local_clusters[client.id] = cluster
    return client


def disconnect(*keys: tuple[Backend, int]) -> None:
    """Close the given connections, without arguments all, and the local clusters behind them."""
    for key in keys or list(_clients):
        client = _clients.pop(key, None)
        if client is None:
            continue
        with contextlib.suppress(*_LOST):
            client.close(timeout=CONNECT_S)
        cluster = _local_clusters.pop(client.id, None)
        if cluster is not None:
            with contextlib.suppress(*_LOST):
                cluster.close(timeout=CONNECT_S)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
