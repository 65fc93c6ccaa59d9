"""Limits of memory and disk: what is used, what would be, and the refusal before work begins."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ivector.base.errors import DataError, UsageError

MIB = 2**20
CGROUP = Path("/sys/fs/cgroup")
# Small corpora are cut into so many shards at least, large ones into shards of the largest size.
SHARDS = 64

_limit_mb = 0


def shard_size(n_items: int, least: int = 64, most: int = 1024) -> int:
    """Items of a shard of a corpus: few large files for large ones, work for all for small ones.

    It depends on the corpus alone, never on the number of workers.

    Parameters
    ----------
    n_items : int
        Of the corpus.
    least, most : int
        Of a shard; between them the corpus is cut into some `SHARDS`.
    """
    return max(least, min(most, -(-n_items // SHARDS)))


def require_disk(folder: Path, n_bytes: float, limit_mb: int, what: str, cure: str = "") -> None:
    """Refuse to begin writing what does not fit.

    Parameters
    ----------
    folder : Path
        Where it would be written; it need not be there yet.
    n_bytes : float
        An estimate from counts, rather too high.
    limit_mb : int
        MiB that may be written; 0 for no limit but the room that is free.
    what : str
        Of what and how much of it: "statistics of 1000 utterances".
    cure : str
        What would make it smaller.

    Raises
    ------
    UsageError
        More than the limit.
    DataError
        More than is free.
    """
    needed = -(-int(n_bytes) // MIB)
    also = f"; {cure}" if cure else ""
    if limit_mb and needed > limit_mb:
        raise UsageError(
            f"{what} would take up to {needed} MiB of disk, the limit is {limit_mb}: give "
            f"`disk` {needed} (0: no limit){also}"
        )
    # What an unfinished run has left there is not written again.
    there = _size(folder) // MIB
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free // MIB
    if needed - there > free:
        raise DataError(
            f"{folder}: {what} would take up to {needed} MiB of disk and {free} are free: make "
            f"room or write to another disk{also}"
        )


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, some of which may go away while they are counted."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def require_memory(n_bytes: float, limit_mb: int, what: str, cure: str) -> None:
    """Refuse work that cannot be done within a limit of memory, before it begins.

    Parameters
    ----------
    n_bytes : float
        What a process needs at least.
    limit_mb : int
        MiB that it may take.
    what, cure : str
        As of `require_disk`.

    Raises
    ------
    UsageError
        It needs more.
    """
    needed = -(-int(n_bytes) // MIB)
    if needed > limit_mb:
        raise UsageError(
            f"{what} needs {needed} MiB of memory in a process, the limit is {limit_mb}: give "
            f"`memory` {needed} or more, or {cure}"
        )


def set_memory_limit(limit_mb: int) -> None:
    """Set the limit that progress lines compare with; 0 for none."""
    global _limit_mb
    _limit_mb = limit_mb


def memory_limit() -> int:
    """The limit that was set, in MiB; 0 for none."""
    return _limit_mb


def room() -> int:
    """Bytes that may be taken: the limit that was set, else what the machine has free."""
    # What is free is asked once in a tenth of a second: archives ask for room at every vector.
    return _limit_mb * MIB or _free(int(10 * time.monotonic()))


@lru_cache(maxsize=1)
def _free(_tenth: int) -> int:
    return int(max(available_memory(), 0.0) * MIB)


def available_memory() -> float:
    """MiB that are free, or would be if the system dropped its caches; within a cgroup's limit."""
    found = [sys.maxsize / MIB]
    with suppress(AttributeError, OSError, ValueError):  # Windows
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB)
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(s.split()[1]) / 1024 for s in lines if s.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # "max", for none, is no number
        limit, used = (
            int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        stat = dict(map(str.split, (CGROUP / "memory.stat").read_text().splitlines()))
        found.append((limit - used + int(stat.get("inactive_file", 0))) / MIB)
    return min(found)


def memory_share() -> str:
    """Say how much memory the largest process has taken at most, and which share of the limit."""
    peak = peak_memory()
    if not peak:
        return ""
    if not _limit_mb:
        return f"memory {peak:.0f} MiB"
    return f"memory {peak:.0f} of {_limit_mb} MiB ({100 * peak / _limit_mb:.0f} %)"


def peak_memory() -> float:
    """Peak resident memory, in MiB, of that process of this one and its workers with the most.

    Of workers where the system lists them (Linux); else of this process alone, and 0 where even
    that is not known.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return max(_high_water(pid) for pid in [os.getpid(), *_descendants(os.getpid())])
    with suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
    return 0.0


def _high_water(pid: int) -> float:
    # A worker may end while it is looked at.
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in (task / "children").read_text().split():
                    yield int(child)
                    yield from _descendants(int(child))
