"""Scores that are inner products: a matrix, blocks of it, or the trials of a list.

N enrolment vectors, M test vectors, K numbers a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError

_TRIALS_PER_BLOCK = 1 << 18


class PairScorer:
    """Scores that are inner products of an enrolment's row with a test's row.

    Made by `llr_scorer`, which `PLDA.scorer` calls, and by `cosine_scorer`; preparing the rows once
    lets trial lists of any length be scored piece by piece.

    Parameters
    ----------
    left : ndarray (n_enrol, K)
    right : ndarray (n_test, K)
        Same dtype as `left`; it is the scores' dtype.

    Attributes
    ----------
    shape : tuple of int
        (n_enrol, n_test).
    dtype : dtype

    Examples
    --------
    >>> import numpy as np
    >>> scorer = PairScorer(np.array([[1.0, 2], [0, 1]]), np.array([[3.0, 0], [1, 1]]))
    >>> scorer.matrix().tolist()
    [[3.0, 3.0], [0.0, 1.0]]
    >>> scorer.trials([0, 1], [0, 1]).tolist()
    [3.0, 1.0]
    """

    def __init__(self, left: np.ndarray, right: np.ndarray):
        self.left = np.ascontiguousarray(left)
        self.right = np.ascontiguousarray(right)
        self.shape = (len(left), len(right))
        self.dtype = left.dtype

    def matrix(self, out: np.ndarray | None = None) -> np.ndarray:
        """Score every enrolment against every test.

        Parameters
        ----------
        out : ndarray (n_enrol, n_test), optional
            Filled and returned; may be a memory-mapped file.

        Returns
        -------
        ndarray (n_enrol, n_test)
        """
        if out is None:
            return self.left @ self.right.T
        _check_out(out, self.shape)
        if out.dtype == self.dtype:
            return np.matmul(self.left, self.right.T, out=out)
        for rows, block in self.blocks():
            out[rows] = block
        return out

    def blocks(self, memory: int = 1 << 28) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, scores) with ``scores`` = ``matrix()[rows]``, a few rows at a time.

        Parameters
        ----------
        memory : int
            Bytes a block may take.
        """
        n_rows = int(memory) // max(1, self.shape[1] * self.dtype.itemsize)
        if n_rows < 1:
            raise UsageError(
                f"memory={memory} bytes is less than one row of {self.shape[1]} scores; raise it"
            )
        for start in range(0, self.shape[0], n_rows):
            rows = slice(start, min(self.shape[0], start + n_rows))
            yield rows, self.left[rows] @ self.right.T

    def trials(self, i: Any, j: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Score listed trials.

        A trial costs one inner product whatever the order, but lists sorted by enrolment find
        their vectors in the cache. Besides the scores, memory does not grow with the list.

        Parameters
        ----------
        i, j : array_like of int (n_trials,)
            Rows of the enrolment and of the test vectors.
        out : ndarray (n_trials,), optional
            Filled and returned; may be a memory-mapped file.

        Returns
        -------
        ndarray (n_trials,)

        Raises
        ------
        DataError
            Indices out of range or not integers, or lists of different lengths.
        """
        from plda.scoring.kernels import row_products

        i, j = _check_indices(i, j)
        out = np.empty(len(i), self.dtype) if out is None else _check_out(out, (len(i),))
        for start in range(0, len(i), _TRIALS_PER_BLOCK):
            part = slice(start, start + _TRIALS_PER_BLOCK)
            rows = _in_range(i[part], self.shape[0], "enrolment", start)
            columns = _in_range(j[part], self.shape[1], "test", start)
            scores = np.empty(len(rows), self.dtype)
            row_products(self.left, self.right, rows, columns, scores)
            out[part] = scores
        return out


def _check_out(out: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if out.shape != shape or out.dtype.kind != "f":
        raise DataError(f"out must be a float array of shape {shape}, got {out.dtype} {out.shape}")
    return out


def _check_indices(i: Any, j: Any) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.asarray(i), np.asarray(j)
    for indices in (i, j):
        if indices.ndim != 1 or (indices.dtype.kind not in "iu" and indices.size):
            raise DataError(
                f"trial indices must be integers (n_trials,), got {indices.dtype} {indices.shape};"
                " look the ids up in their lists first"
            )
    if len(i) != len(j):
        raise DataError(f"{len(i)} enrolment indices but {len(j)} test indices; give pairs")
    return i, j


def _in_range(indices: np.ndarray, size: int, side: str, start: int) -> np.ndarray:
    indices = np.ascontiguousarray(indices, dtype=np.int64)
    if indices.min() < 0 or indices.max() >= size:
        bad = start + int(np.argmax((indices < 0) | (indices >= size)))
        raise DataError(
            f"trial {bad} names {side} row {indices[bad - start]}, but there are {size} vectors"
        )
    return indices
