"""Files mapped into memory when first read, at most a fixed number of them at a time.

A map costs no memory of its own, is shared between processes by the operating system, and has no
position that processes could disturb each other by.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import foreign

# Each map holds a file descriptor, of which a process has 1024 as a rule.
MOST_OPEN = 256


class MappedFiles:
    """Read-only maps of files, by number; picklable, each process opens its own.

    Parameters
    ----------
    paths : sequence of path-like
        Made absolute, as worker processes may run in another folder.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]):
        self.paths = [os.path.abspath(path) for path in paths]
        self._maps: dict[int, mmap.mmap] = {}

    def __getitem__(self, number: int) -> mmap.mmap:
        """Return the bytes of a file.

        Raises
        ------
        DataError
            It is missing, empty or cannot be read.
        """
        found = self._maps.get(number)
        if found is None:
            found = _map(self.paths[number])
            while len(self._maps) >= MOST_OPEN:
                self._maps.pop(next(iter(self._maps)))
            self._maps[number] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "_maps": {}}


def _map(path: str) -> mmap.mmap:
    with foreign(path, "a file that can be mapped"), open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise DataError(f"{path}: is empty (0 bytes); make or fetch it again")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
