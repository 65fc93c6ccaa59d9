"""Log-likelihood ratios of the two-covariance model, a block of trials as one matrix product.

N enrolment vectors, M test vectors, D dimensions, both in the space where the within-class
covariance is the identity and the between-class covariance diag(ψ) (`PLDA.transform`).

With e the mean of n enrolment vectors and t the test vector, Kaldi's
``Plda::LogLikelihoodRatio`` (after Ioffe, "Probabilistic linear discriminant analysis",
ECCV 2006) compares N(t; g e, v) with N(t; 0, 1 + ψ), where g = nψ/(nψ + 1) and
v = 1 + ψ/(nψ + 1). Multiplied out,

    llr = Σ_d ½ log((1 + ψ)/v) − ½ (g²/v) e²      … depends on the enrolment alone
        + Σ_d (g/v) e t                           … an inner product
        + Σ_d ½ (1/(1 + ψ) − 1/v) t²              … a test's number for each distinct n

so every score is the inner product of one row made from the enrolment with one made from the
test, and all trials are one matrix product. Scores are natural logarithms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError
from plda.checks import check_counts, check_vectors

_TRIALS_PER_BLOCK = 1 << 18


class PairScorer:
    """Scores that are inner products of an enrolment's row with a test's row.

    Made by `PLDA.scorer` and `plda.models.cosine.cosine_scorer`; preparing the rows once lets trial
    lists of any length be scored piece by piece.

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
        from plda.models.kernels_scoring import row_products

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


def llr_scorer(psi: np.ndarray, enrol: Any, test: Any, n_enrol: Any = 1) -> PairScorer:
    """Prepare log-likelihood ratios of transformed vectors.

    Parameters
    ----------
    psi : ndarray (D,)
        Between-class variances.
    enrol : array_like (N, D)
        Means of `n_enrol` vectors each, transformed.
    test : array_like (M, D)
        Transformed.
    n_enrol : number or array_like (N,)
        Utterances behind each enrolment vector.

    Returns
    -------
    PairScorer
        Of float32 if both sides are float32, else float64.

    Notes
    -----
    U distinct counts add min(U, D) columns to the product: the t² terms either enter as one
    number per count, picked by an indicator in the enrolment's row, or as t² itself.
    """
    psi = np.asarray(psi, dtype=np.float64)
    enrol = check_vectors(enrol, "enrol", len(psi))
    test = check_vectors(test, "test", len(psi))
    dtype = np.result_type(enrol, test)
    counts, group = np.unique(check_counts(n_enrol, len(enrol)), return_inverse=True)
    gain, variance = _posterior(psi, counts[:, None])
    on_test = (1 / (1 + psi) - 1 / variance) / 2
    constant = np.log((1 + psi) / variance).sum(axis=1) / 2

    n_dims, n_counts = len(psi), len(counts)
    extra = min(n_counts, n_dims)
    left = np.empty((len(enrol), n_dims + 1 + extra), dtype)
    right = np.empty((len(test), n_dims + 1 + extra), dtype)
    left[:, :n_dims] = (gain / variance)[group] * enrol
    left[:, n_dims] = constant[group] - ((gain**2 / variance)[group] * _square(enrol)).sum(1) / 2
    right[:, :n_dims] = test
    right[:, n_dims] = 1
    if n_counts <= n_dims:
        left[:, n_dims + 1 :] = np.eye(n_counts)[group]
        right[:, n_dims + 1 :] = _square(test) @ on_test.T
    else:
        left[:, n_dims + 1 :] = on_test[group]
        right[:, n_dims + 1 :] = _square(test)
    return PairScorer(left, right)


def _posterior(psi: np.ndarray, n: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gain g on the enrolment mean and predictive variance v, given counts broadcast with ψ."""
    return n * psi / (n * psi + 1), 1 + psi / (n * psi + 1)


def _square(X: np.ndarray) -> np.ndarray:
    return np.square(X, dtype=np.float64)


def log_likelihood_ratio(
    psi: np.ndarray, enrol: np.ndarray, test: np.ndarray, n_enrol: Any = 1
) -> np.ndarray:
    """Kaldi's ``Plda::LogLikelihoodRatio`` as written there, in float64, pair by pair.

    The readable form of what `llr_scorer` prepares; use that for many trials.

    Parameters
    ----------
    psi : ndarray (D,)
    enrol, test : ndarray (..., D)
        Transformed; broadcast against each other.
    n_enrol : number or ndarray (...)

    Returns
    -------
    ndarray (...)
    """
    n = np.asarray(n_enrol, dtype=np.float64)[..., None]
    gain, variance = _posterior(psi, n)
    log2pi = np.log(2 * np.pi)
    given_class = np.log(variance) + log2pi + (test - gain * enrol) ** 2 / variance
    without_class = np.log(1 + psi) + log2pi + np.square(test) / (1 + psi)
    return (without_class - given_class).sum(axis=-1) / 2
