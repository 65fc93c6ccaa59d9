"""Speakers of utterances (utt2spk), kept in 16 bytes each: tens of millions fit in memory.

An id is kept as its hash of 64 bits; of 10⁷ ids, two have the same one with probability 3 · 10⁻⁶,
which is refused as an id that occurs twice.
"""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import foreign


class SpeakerLabels:
    """Which speaker an utterance is of.

    Parameters
    ----------
    path : path-like
        ``utterance speaker`` a line.

    Attributes
    ----------
    speakers : list of str
        In order of their first utterance.
    index : ndarray (n_utterances,) of int32
        Speaker of each utterance, in an order that is another in every process: that of `rows`.
    place : ndarray (n_utterances,) of int32
        Where each of them is in the file, which is the same in every process.

    Raises
    ------
    DataError
        Missing, a line of another kind, or an utterance twice.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        numbers: dict[str, int] = {}
        hashes, index = array("q"), array("i")
        for utterance, speaker in self._lines():
            hashes.append(hash(utterance))
            index.append(numbers.setdefault(speaker, len(numbers)))
        if not index:
            raise DataError(f"{path}: holds no speakers; expected 'utterance speaker' a line")
        self.speakers = list(numbers)
        order = np.argsort(np.frombuffer(hashes, np.int64), kind="stable")
        self._hashes = np.frombuffer(hashes, np.int64)[order]
        self.index = np.frombuffer(index, np.int32)[order]
        self.place = order.astype(np.int32)
        twice = self._hashes[1:][self._hashes[1:] == self._hashes[:-1]]
        if len(twice):
            name = next(one for one, _ in self._lines() if hash(one) == twice[0])
            raise DataError(f"{path}: utterance {name} occurs twice")

    def __len__(self) -> int:
        return len(self.index)

    def _lines(self) -> Iterator[tuple[str, str]]:
        with foreign(self.path, "a list of utterances and speakers"):
            with open(self.path, encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    fields = line.split()
                    if len(fields) == 2:
                        yield fields[0], fields[1]
                    elif fields:
                        raise DataError(
                            f"{self.path}, line {number}: expected 'utterance speaker', got "
                            f"{line.strip()[:80]!r}"
                        )

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Places of utterances in `index` (n,), -1 for those without a speaker."""
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        rows = np.searchsorted(self._hashes, hashes)
        rows[rows == len(self._hashes)] = 0
        rows[self._hashes[rows] != hashes] = -1
        return rows

    def utterance(self, row: int) -> str:
        """Name of the utterance at a place of `index`; the list is read again for it."""
        return next(itertools.islice(self._lines(), int(self.place[row]), None))[0]
