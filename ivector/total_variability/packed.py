"""Symmetric matrices in rectangular full packed form (RFP), one a row.

RFP (Gustavson et al. 2010, LAPACK's ``pftrf`` family) keeps n (n + 1) / 2 numbers like packed
storage but is factored by level-3 BLAS. A row of a matrix product can therefore be factored,
solved with and inverted where it lies, without ever being unpacked.

Dimensions: n order of the matrices, P = n (n + 1) / 2. All use TRANSR = 'N', UPLO = 'L'.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import lapack


@lru_cache(maxsize=8)
def positions(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) with row ≥ column of the matrix element at each RFP position, (P,) each."""
    numbered = np.arange(float(n * n)).reshape(n, n)
    flat, _ = lapack.dtrttf(np.asfortranarray(numbered), uplo="L")
    rows, cols = np.divmod(flat.astype(np.int64), n)
    return rows, cols


@lru_cache(maxsize=8)
def diagonal(n: int) -> np.ndarray:
    """RFP positions of the diagonal elements 0 … n − 1, (n,)."""
    rows, cols = positions(n)
    on_diagonal = np.flatnonzero(rows == cols)
    return on_diagonal[np.argsort(rows[on_diagonal])]


def size(n: int) -> int:
    """Numbers P in one matrix of order n."""
    return n * (n + 1) // 2


def to_full(row: np.ndarray, n: int) -> np.ndarray:
    """Symmetric matrix (n, n) from its RFP (P,)."""
    unpack = lapack.dtfttr if row.dtype == np.float64 else lapack.stfttr
    lower, _ = unpack(n, row, uplo="L")
    full = lower + lower.T
    full[np.diag_indices(n)] *= 0.5
    return full


def gram(factor: np.ndarray) -> np.ndarray:
    """A'A of a float64 matrix (k, n), in RFP (P,)."""
    k, n = factor.shape
    if n == 1:
        return np.array([float(factor[:, 0] @ factor[:, 0])])
    # A C-ordered (k, n) array is a Fortran-ordered (n, k) one: no transposition, no copy.
    zero = np.zeros(size(n))
    return lapack.dsfrk(n, k, 1.0, factor.T, 0.0, zero, trans="N", uplo="L", overwrite_c=1)


def factor(row: np.ndarray, n: int) -> int:
    """Replace a float32 matrix by its Cholesky factor; returns LAPACK's info (0: done)."""
    _, info = lapack.spftrf(n, row, uplo="L", overwrite_a=1)
    return int(info)


def solve(row: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """x of A x = rhs (n,) for the Cholesky factor of A, all float32."""
    x, _ = lapack.spftrs(len(rhs), row, rhs[:, None], uplo="L")
    return x[:, 0]


def invert(row: np.ndarray, n: int) -> None:
    """Replace a float32 Cholesky factor by the inverse of the matrix it factors."""
    lapack.spftri(n, row, uplo="L", overwrite_a=1)


def add_outer(row: np.ndarray, vector: np.ndarray) -> None:
    """Add v v' (n,) to a float32 matrix in place."""
    n = len(vector)
    if n == 1:
        row[0] += vector[0] * vector[0]
        return
    lapack.ssfrk(n, 1, 1.0, vector[:, None], 1.0, row, uplo="L", overwrite_c=1)
