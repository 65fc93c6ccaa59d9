"""Kaldi's tables, written: the archive and its list are whole or absent together."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from ivector.base.errors import DataError
from ivector.base.tables.holders import Holder
from ivector.base.tables.specifiers import parse_wspecifier
from ivector.base.tables.streams import open_output


class TableWriter:
    """Write entries of a table; use as a context manager.

    Parameters
    ----------
    specifier : str
        ``ark:FILE``, ``ark,t:-``, ``ark,scp:FILE,FILE`` and the like.
    holder : Holder
        What the entries hold.

    Attributes
    ----------
    compression : int
        Kaldi's ``CompressionMethod`` for matrices, 0 for none; set before the first entry.

    Raises
    ------
    UsageError
        Not a specifier of a table to write, or a shell pipe.
    """

    def __init__(self, specifier: str, holder: Holder):
        self.parsed, self.holder = parse_wspecifier(specifier), holder
        self.compression = 0
        self._stack = contextlib.ExitStack()
        self._position = 0

    def __enter__(self) -> TableWriter:
        with contextlib.ExitStack() as stack:
            # The list first: it is put in its place last, behind the archive.
            script = self.parsed.script
            self._script = stack.enter_context(open_output(script)) if script else None
            self._file = stack.enter_context(open_output(self.parsed.archive))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._stack.__exit__(*error)

    def write(self, key: str, value: Any) -> None:
        """Append an entry.

        Raises
        ------
        DataError
            An id that is empty or holds blanks.
        """
        if key.split() != [key]:
            raise DataError(f"{key!r} cannot be an id: ids are not empty and hold no blanks")
        entry = io.BytesIO()
        if self.compression and not self.parsed.text:
            import kaldiio

            matrix = np.asarray(value, np.float32)
            kaldiio.save_mat(entry, matrix, compression_method=self.compression)
        else:
            self.holder.write(entry, value, self.parsed.text)
        head = key.encode() + b" "
        if self._script is not None:
            location = f"{key} {self.parsed.archive}:{self._position + len(head)}\n"
            self._script.write(location.encode("utf-8", "surrogateescape"))
        self._file.write(head)
        self._position += len(head) + self._file.write(entry.getbuffer())
        if self.parsed.flush:
            self._file.flush()
