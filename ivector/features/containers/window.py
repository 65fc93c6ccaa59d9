"""Bytes of an open file, from where a recording begins in it."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO

from ivector.base.errors import DataError

_BLOCK = 4096  # bytes read at once: all of most headers


class Window:
    """An open file from a position on, as `soundfile` reads it, and a look at any of its bytes.

    Parameters
    ----------
    raw : binary file
        That can seek; recordings begin where it stands.
    name : str
        For errors.
    thorough : bool
        Whether to look at all of it where a part tells the length.

    Attributes
    ----------
    start : int
        Where the file stood; the window moves on after tags.
    patches : list of (int, bytes)
        What is read in place of the file's bytes from an offset on.
    suffix : bytes
        What is read after the file's bytes.
    """

    def __init__(self, raw: BinaryIO, name: str, thorough: bool = True):
        self.raw, self.name, self.thorough = raw, name, thorough
        self.begin = self.start = raw.tell()
        self.size = raw.seek(0, os.SEEK_END) - self.begin
        self.patches: list[tuple[int, bytes]] = []
        self.suffix = b""
        self._place = 0
        self._block, self._block_at = b"", 0

    def at(self, offset: int, n_bytes: int) -> bytes:
        """Bytes from `offset` on, fewer where the file ends."""
        if offset >= self.size:  # and may be more than any file can have
            return b""
        start = offset - self._block_at
        if start < 0 or start + n_bytes > len(self._block):
            self.raw.seek(self.begin + offset)
            self._block = self.raw.read(max(_BLOCK, n_bytes))
            self._block_at, start = offset, 0
        return self._block[start : start + n_bytes]

    def unpack(self, form: str, offset: int) -> tuple[Any, ...]:
        """Values of a `struct` at an offset.

        Raises
        ------
        DataError
            The file ends before.
        """
        data = self.at(offset, struct.calcsize(form))
        if len(data) < struct.calcsize(form):
            raise self.damaged("it ends inside its header")
        return struct.unpack(form, data)

    def damaged(self, reason: str) -> DataError:
        """The error for a file whose bytes are no recording."""
        return DataError(f"{self.name}: not audio that can be read, or damaged: {reason}")

    def cut(self, found: int, promised: int, unit: str = "bytes") -> DataError:
        """The error for a file that holds less than it promises."""
        return self.short(f"{found} of {promised} {unit}")

    def short(self, reason: str) -> DataError:
        """The error for a file that lacks its end."""
        return DataError(f"{self.name}: cut short: {reason}; fetch it again")

    def skip(self, n_bytes: int) -> None:
        """Begin so much later."""
        self.begin, self.size = self.begin + n_bytes, max(0, self.size - n_bytes)
        self._block = b""

    def is_changed(self) -> bool:
        """Whether what is read is anything but the file from its first byte on."""
        return bool(self.start or self.patches or self.suffix)

    # What soundfile calls: a file of its own, that begins where the recording does.

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        end = self.size + len(self.suffix)
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: end}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def read(self, n_bytes: int) -> bytes:
        """Bytes from the place on, with patches."""
        self.raw.seek(self.begin + self._place)
        data = self.raw.read(n_bytes)
        for offset, new in self.patches:
            for i, byte in enumerate(new, offset - self._place):
                if 0 <= i < len(data):
                    data = data[:i] + bytes((byte,)) + data[i + 1 :]
        first = max(0, self._place - self.size)
        data += self.suffix[first : first + n_bytes - len(data)]
        self._place += len(data)
        return data
