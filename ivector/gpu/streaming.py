"""Blocks that threads read some steps before they are asked for, so that a GPU does not wait."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

DEPTH = 2  # items that a thread holds ready, beside the one that it makes
_PATIENCE_S = 0.1
_END = object()


def ahead(makers: Sequence[Callable[[], Iterable[T]]], n_threads: int = 1) -> Iterator[T]:
    """Yield the items of several iterables one after the other, each made ahead by a thread.

    Parameters
    ----------
    makers : sequence of callable
        Each makes an iterable, in the thread that goes through it.
    n_threads : int
        Iterables that are gone through at once; the order of the items does not depend on it.
    """
    stop = threading.Event()
    waiting = iter(makers)
    running: deque[queue.Queue] = deque()

    def start() -> None:
        for maker in waiting:
            running.append(queue.Queue(DEPTH))
            work = (maker, running[-1], stop)
            threading.Thread(target=_run, args=work, daemon=True).start()
            return

    for _ in range(n_threads):
        start()
    try:
        while running:
            item, error = running[0].get()
            if error is not None:
                raise error
            if item is _END:
                running.popleft()
                start()
                continue
            yield item
    finally:
        stop.set()


def _run(maker: Callable[[], Iterable[Any]], items: queue.Queue, stop: threading.Event) -> None:
    try:
        for item in maker():
            if not _put(items, (item, None), stop):
                return
        _put(items, (_END, None), stop)
    except BaseException as error:  # raised where the items are asked for
        _put(items, (None, error), stop)


def _put(items: queue.Queue, item: Any, stop: threading.Event) -> bool:
    """Whether the item was taken; not if nobody asks any more."""
    while not stop.is_set():
        try:
            items.put(item, timeout=_PATIENCE_S)
            return True
        except queue.Full:
            continue
    return False
