"""Numba kernel of trial-list scoring; validated arrays in, scores out."""

from __future__ import annotations

from ivector.base.jit import njit


@njit(cache=True, fastmath=True, nogil=True)
def row_products(left, right, i, j, out):
    """Inner products of listed rows: out[t] = left[i[t]] · right[j[t]].

    Parameters
    ----------
    left, right : ndarray (n_left, K), (n_right, K), C-contiguous, one dtype
    i, j : ndarray (n_trials,) of int64, within range
    out : ndarray (n_trials,)
    """
    # fastmath lets the sum run in vector lanes; order of rows is the caller's.
    for t in range(i.shape[0]):
        a = left[i[t]]
        b = right[j[t]]
        total = a[0] * b[0]
        for k in range(1, a.shape[0]):
            total += a[k] * b[k]
        out[t] = total
