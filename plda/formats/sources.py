"""Files of vectors of any toolkit as one thing: blocks of ids and vectors, read again and again.

`FORMATS` is the table of what is read; what a file is, is told from its first bytes, then from its
name. D dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import foreign
from plda.formats.array_vectors import hdf5_blocks, npy_blocks, npz_blocks, table_blocks
from plda.formats.kaldi_vectors import Block, ark_blocks, scp_blocks
from plda.formats.pickles import refuse_pickle

_ROWS = 4096


class Format(NamedTuple):
    """A kind of file that holds vectors.

    Parameters
    ----------
    blocks : callable
        Of a path and a number of rows; yields ids and vectors (n, D), n at most that number.
    starts : bytes
        With which all such files begin; b"" if there is no such thing.
    suffixes : tuple of str
    """

    blocks: Callable[[Path, int], Iterator[Block]]
    starts: bytes = b""
    suffixes: tuple[str, ...] = ()


FORMATS = {
    "npz": Format(npz_blocks, b"PK\3\4", (".npz",)),
    "npy": Format(npy_blocks, b"\x93NUMPY", (".npy",)),
    "hdf5": Format(hdf5_blocks, b"\x89HDF", (".h5", ".hdf5")),
    "table": Format(table_blocks, suffixes=(".csv", ".tsv")),
    "scp": Format(scp_blocks, suffixes=(".scp",)),
    "ark": Format(ark_blocks),
}


class VectorFile:
    """Vectors of a file, in blocks that are read anew each time.

    Parameters
    ----------
    path : path-like
        One of `FORMATS`.

    Raises
    ------
    DataError
        Missing, or a pickle.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("x.csv").write_text("id,x1,x2\\nutt1,1,2\\nutt2,3,4\\n")
    >>> [(ids, X.tolist()) for ids, X in VectorFile("x.csv").blocks()]
    [(['utt1', 'utt2'], [[1.0, 2.0], [3.0, 4.0]])]
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        with foreign(path, "a file of vectors"), open(path, "rb") as file:
            start = file.read(1024)
        refuse_pickle(self.path, start)
        self.format = _format_of(self.path, start)

    def blocks(self, n_rows: int | None = None) -> Iterator[Block]:
        """Yield ids and vectors (n, D) in the file's order and precision.

        Parameters
        ----------
        n_rows : int, optional
            The most of a block; by default 4096.

        Raises
        ------
        DataError
            Damaged, no vectors, one that is not finite, or of another dimension than the first.
        """
        first: tuple[int, ...] = ()
        for keys, X in self.format.blocks(self.path, n_rows or _ROWS):
            if not first:
                first = X.shape[1:]
            if X.shape[1:] != first or not X.shape[1]:
                raise DataError(
                    f"{self.path}: {keys[0]} has shape {X.shape[1:]}, the first {first}; were all "
                    "extracted by the same model?"
                )
            self._refuse_not_finite(keys, X)
            yield keys, X
        if not first:
            raise DataError(f"{self.path}: holds no vectors")

    def _refuse_not_finite(self, keys: list[str], X: np.ndarray) -> None:
        # The sum is finite when all are, save for overflow: only then is every number looked at.
        if X.dtype.kind == "f" and not np.isfinite(X.sum(dtype=np.float64)):
            bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
            if len(bad):
                raise DataError(
                    f"{self.path}: the vector of {keys[bad[0]]} has something that is no finite "
                    "number; find out why it could not be extracted, or remove it"
                )


def _format_of(path: Path, start: bytes) -> Format:
    for one in FORMATS.values():
        if one.starts and start.startswith(one.starts):
            return one
    for one in FORMATS.values():
        if path.suffix in one.suffixes:
            return one
    line = start.partition(b"\n")[0]
    if b"[" not in line and b"\0" not in line and (b"," in line or b"\t" in line):
        return FORMATS["table"]
    return FORMATS["ark"]
