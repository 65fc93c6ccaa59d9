"""What runs shards: backends and their loss, cutting items into shards, BLAS on one thread."""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ivector.base.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

BACKENDS = ("loky", "threading", "dask")
# A shard may kill its process for lack of memory, and then does so whenever it is tried.
MOST_LOSSES = 3


class WorkersLost(Exception):
    """Workers or their scheduler were lost with shards unfinished; these may be sent again."""


@dataclass(frozen=True)
class Backend:
    """Where shards are run: one of `BACKENDS`, and the address of a Dask scheduler."""

    name: str = "loky"
    scheduler: str | None = None


def make_shards(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut `items` into consecutive shards of `size` (the last may be shorter)."""
    if size < 1:
        raise UsageError(f"shard size must be at least 1, got {size}")
    return [items[i : i + size] for i in range(0, len(items), size)]


def single_threaded(function: Callable[..., R], shard: Any, kwargs: dict[str, Any]) -> R:
    """Call `function` with every BLAS and OpenMP pool limited to one thread.

    What it raises can be sent to another process: a library's error that cannot be made again
    there would take down the pool of workers, and look like the loss of one.
    """
    with one_thread():
        try:
            return function(shard, **kwargs)
        except Exception as error:
            if not _can_be_sent(error):
                raise RuntimeError(f"{type(error).__name__}: {error}") from error
            raise


def _can_be_sent(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


_limit_lock = threading.Lock()
_limits: list[Any] = []
_holders = 0
_found: tuple[int, Any] | None = None


def _controller() -> Any:
    """Controller of the thread pools, which are looked for anew when modules were imported."""
    global _found
    from threadpoolctl import ThreadpoolController

    if _found is None or _found[0] != len(sys.modules):
        _found = len(sys.modules), ThreadpoolController()
    return _found[1]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and OpenMP on one thread, in a ``with`` or as a decorator ``@one_thread()``.

    For training outside of `map_shards`: models are the same bytes whatever the number of cores.
    The limits are of the process: where several threads hold them, the last one to leave
    resets them, so that no thread's sums are split by another's leaving.
    """
    global _holders
    with _limit_lock:
        controller = _controller()
        if any(pool["num_threads"] != 1 for pool in controller.info()):
            _limits.append(controller.limit(limits=1))
        _holders += 1
    try:
        yield
    finally:
        with _limit_lock:
            _holders -= 1
            while not _holders and _limits:
                _limits.pop().restore_original_limits()
