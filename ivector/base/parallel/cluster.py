"""Shards on a Dask cluster, as plain futures, for machines that may be taken away at any moment.

A worker that dies alone is the scheduler's to replace and is not noticed here. What is lost for
good with its worker or scheduler is reported as `WorkersLost`, so that
`ivector.base.parallel.shards.map_shards` sends the missing shards again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from pathlib import Path
from typing import Any

from ivector.base.errors import DataError, UsageError
from ivector.base.extras import told_extra
from ivector.base.parallel.workers import Backend, WorkersLost, one_thread
from ivector.base.portable import is_portable

with told_extra():
    import dask
    import cloudpickle  # isort: skip (it comes with dask, which is what is missed)
    from distributed import Client, Future, KilledWorker, LocalCluster
    from distributed.comm import CommClosedError
    from distributed.scheduler import NoValidWorkerError

# Its warnings of every lost worker; what matters of them is told by `map_shards`.
for _name in ("distributed", "distributed.client"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

CONNECT_S = 10.0
FIRST_WORKER_S = 60  # a cluster that grows on demand needs a while for its first machine
# Losses of a shard's workers before a scheduler gives it up: pre-emption is no fault of a shard.
ALLOWED_FAILURES = 100
LEAST_AHEAD = 32  # shards sent before the first result is in; more where there are more workers
MOST_BYTES = 1 << 40  # of a shard that is sent without a warning, as arrays are meant to be

_LOST = (
    KilledWorker, NoValidWorkerError, CommClosedError, CancelledError, asyncio.CancelledError,
    asyncio.TimeoutError, TimeoutError, OSError,
)  # fmt: skip

_clients: dict[tuple[Backend, int], Client] = {}


class ShardError(Exception):
    """What a shard's function raised in a worker, apart from what the cluster may raise."""

    def __init__(self, error: BaseException, text: str):
        super().__init__(error, text)
        self.error, self.text = error, text


def digest_of(package: Path) -> str:
    """Digest of the sources in the folder of a package."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        total.update(path.read_bytes() + b"\0")
    return total.hexdigest()


# Of all of `ivector`, as it is when this process imports this module.
PACKAGE = Path(__file__).parents[2]
SOURCES = digest_of(PACKAGE)


class Payload:
    """A function and its shared arguments, sent to a worker once and not with every shard.

    With it go the folder that relative paths start from, which sources are meant, and whether the
    results are to be the same on any processor.
    """

    def __init__(self, function: Callable, kwargs: dict[str, Any]):
        self.function, self.kwargs = function, kwargs
        self.folder, self.sources, self.portable = os.getcwd(), SOURCES, is_portable()

    def prepare(self) -> None:
        """Make this worker one like the process that sends the shards.

        Raises
        ------
        DataError
            It has other sources, takes other instructions, or does not see the same disk.
        """
        if self.sources != SOURCES:
            raise DataError(
                f"worker on {socket.gethostname()}: runs another version of the toolkit; install "
                "the same one there and start the workers anew"
            )
        if self.portable != is_portable():
            has = "without" if self.portable else "with"
            raise DataError(
                f"worker on {socket.gethostname()}: was started {has} the variables of python -m "
                "ivector portable, unlike the process that sends the work; start both alike"
            )
        if os.getcwd() != self.folder:
            try:
                os.chdir(self.folder)
            except OSError as error:
                raise DataError(
                    f"worker on {socket.gethostname()}: {self.folder}: {error.strerror}; the "
                    "workers need the disk of the data under the same path"
                ) from error


def call(payload: Payload, shard: bytes) -> Any:
    """Run one pickled shard in a worker, single-threaded."""
    try:
        payload.prepare()
        with one_thread():
            return payload.function(cloudpickle.loads(shard), **payload.kwargs)
    except Exception as error:
        raise ShardError(error, traceback.format_exc()) from None


def run_on_cluster(
    backend: Backend, nj: int, function: Callable, kwargs: dict[str, Any], shards: Sequence[Any]
) -> Iterator[Any]:
    """Yield results in shard order.

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
    sent: deque[Future] = deque()
    try:
        yield from _results(client, Payload(function, kwargs), iter(shards), sent)
    except ShardError as error:
        raise error.error from RuntimeError(error.text)
    except _LOST as error:
        raise WorkersLost(f"the Dask cluster was lost ({_text(error)})") from error
    except Exception as error:
        if client.status == "running":  # not the cluster's, as of a function it cannot unpickle
            raise
        raise WorkersLost(f"the Dask cluster was lost ({_text(error)})") from error
    finally:
        sent.clear()  # a future that nobody holds is given up


def _results(
    client: Client, payload: Payload, shards: Iterator[Any], sent: deque[Future]
) -> Iterator[Any]:
    """Send shards ahead of the results, which are yielded in order; `sent` holds what is out."""
    if not client.ncores():
        # Nothing can be scattered to a cluster without workers, and it may grow for tasks only.
        client.submit(os.getpid, pure=False).result(FIRST_WORKER_S)
    shared = client.scatter(payload, hash=False)
    ahead = 0
    while True:
        if len(sent) <= ahead // 2:
            # Asked now and then, as clusters grow and shrink.
            ahead = max(4 * sum(client.ncores().values()), LEAST_AHEAD)
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": MOST_BYTES}):
                for shard in islice(shards, ahead - len(sent)):
                    # As bytes, which are sent on as they are: neither looked into for futures
                    # nor unpickled by the scheduler.
                    pickled = cloudpickle.dumps(shard)
                    sent.append(client.submit(call, shared, pickled, pure=False))
        if not sent:
            return
        yield sent.popleft().result()


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
            raise UsageError(f"`scheduler` {backend.scheduler}: {error}") from error
    return _clients[key]


def _local(nj: int) -> Client:
    with dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES}):
        cluster = LocalCluster(
            n_workers=nj, threads_per_worker=1, memory_limit=0, dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )  # fmt: skip
        return Client(cluster, set_as_default=False)


def disconnect(*keys: tuple[Backend, int]) -> None:
    """Close the given connections, without arguments all, and the local clusters behind them."""
    for key in keys or list(_clients):
        client = _clients.pop(key, None)
        for closing in (client, client and client.cluster):
            if closing is not None:
                with contextlib.suppress(*_LOST):
                    closing.close(timeout=CONNECT_S)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
