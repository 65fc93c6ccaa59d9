"""Numba kernels of the Gaussian mixtures; the classes validate, these compute.

n frames of a block, C components, D feature dimensions, N selected components a frame. An
*extended* frame is [z, z², 1] (2 D + 1), where z = (x − centre) / scale is the standardised frame.

Loops are written so that LLVM vectorises them: no branches, no calls, maxima by halving (a running
maximum is a chain of dependent steps, which the vectoriser leaves alone).
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ivector.base.jit import njit

F4 = np.float32
I4 = np.int32
# Inputs were found finite, so that NaN need not be respected; sums may be re-ordered.
FAST = {"reassoc", "contract", "arcp", "nsz", "nnan"}
# exp(−80) is 2e-35. Anything smaller becomes zero: no float32 sum could see it, and the denormal
# numbers it would turn into slow the matrix products down.
LOWEST = F4(-80.0)
LARGEST = F4(3.4e38)


def _bitcast(typing_context, bits):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


# Reinterprets an int32 as a float32.
_float_of_bits: Any = intrinsic(_bitcast)


@njit(inline="always", fastmath=FAST)
def _exp(x):
    """exp(x) for x ≤ 0 in float32: 2^k exp(r), exp(r) by Cephes' polynomial of degree 7."""
    x = max(x, F4(-87.0))
    k = I4(x * F4(1.44269504) - F4(0.5))  # Truncation towards zero rounds, as x ≤ 0.
    r = x - F4(k) * F4(0.693359375)  # ln 2 in two parts, the first exact.
    r = r + F4(k) * F4(2.12194440e-4)
    p = F4(1.9875691500e-4)
    p = p * r + F4(1.3981999507e-3)
    p = p * r + F4(8.3334519073e-3)
    p = p * r + F4(4.1665795894e-2)
    p = p * r + F4(1.6666665459e-1)
    p = p * r + F4(5.0000001201e-1)
    p = p * r * r + r + F4(1.0)
    return p * _float_of_bits((k + I4(127)) << I4(23))


@njit(cache=True, fastmath={"reassoc", "contract"}, nogil=True)
def extend(frames, centre, inverse_scale, limit, out):
    """Write the extended frames [z, z², 1] to `out` (n, 2 D + 1) float32.

    Parameters
    ----------
    frames : float32 or float64 (n, D)
    centre, inverse_scale : float64 (D,)
    limit : float
        Of |z|².

    Returns
    -------
    int
        First frame that is not below `limit` (NaN is not), or −1.
    """
    n, dim = frames.shape
    unusable = -1
    for t in range(n):
        energy = F4(0.0)
        for d in range(dim):
            z = F4((frames[t, d] - centre[d]) * inverse_scale[d])
            out[t, d] = z
            out[t, dim + d] = z * z
            energy += z * z
        out[t, 2 * dim] = F4(1.0)
        if unusable < 0 and not energy < limit:
            unusable = t
    return unusable


@njit(inline="always", fastmath=FAST)
def _fold(row, buffer, width):
    """Fold a row to at most `width` maxima of disjoint groups; return their number."""
    half = (len(row) + 1) // 2
    for j in range(len(row) - half):
        buffer[j] = max(row[j], row[j + half])
    if len(row) % 2:
        buffer[half - 1] = row[half - 1]
    while half > width:
        size = half
        half = (size + 1) // 2
        for j in range(size - half):
            buffer[j] = max(buffer[j], buffer[j + half])
    return half


@njit(cache=True, fastmath=FAST, nogil=True)
def exp_rows(logs, log_sums, inverse_sums):
    """Replace each row of `logs` (n, K) by exp(row − max row); give log Σ exp and 1 / Σ exp.

    The row divided by its sum is the posterior. The division is left to the caller, who may
    divide something shorter instead: statistics scale the extended frames.

    Parameters
    ----------
    logs : float32 (n, K)
        Changed in place.
    log_sums, inverse_sums : float32 (n,)
        Outputs.
    """
    n, size = logs.shape
    buffer = np.empty((size + 1) // 2, np.float32)
    for t in range(n):
        row = logs[t]
        _fold(row, buffer, 1)
        top = buffer[0]
        total = F4(0.0)
        for c in range(size):
            x = row[c] - top
            e = _exp(x)
            e = e if x > LOWEST else F4(0.0)
            row[c] = e
            total += e
        log_sums[t] = top + math.log(total)
        inverse_sums[t] = F4(1.0) / total


@njit(inline="always", fastmath=FAST)
def _rank(values, size, rank):
    """Write to ``rank[:size]`` the place of each of ``values[:size]``, 0 for the largest.

    Counts what comes before: sorting with comparisons only, no branches. Equal: first comes first.
    """
    for j in range(size):
        rank[j] = I4(0)
    for k in range(size):
        other = values[k]
        for j in range(size):
            before = (other > values[j]) | ((other == values[j]) & (k < j))
            rank[j] += I4(1) if before else I4(0)


@njit(cache=True, fastmath=FAST, nogil=True)
def top_n(logs, best):
    """Write the indices of the N largest of each row of `logs`, largest first.

    A bound that at least N numbers reach comes from maxima of more than N disjoint groups: the
    N-th largest of them. The few numbers at or above it are collected without a branch and
    sorted. Equal numbers: lower index first.

    Parameters
    ----------
    logs : float32 (n, C)
        Above −3.4e38.
    best : int32 (n, N)
        Output, N ≤ C.
    """
    n, size = logs.shape
    count = best.shape[1]
    buffer = np.empty((size + 1) // 2, np.float32)
    rank = np.empty(size, np.int32)
    chosen = np.empty(size + 1, np.int32)
    value = np.empty(size, np.float32)
    order = np.empty(size, np.int32)
    for t in range(n):
        row = logs[t]
        bound = -LARGEST
        if size >= 3 * count:  # Halving stops between 1.5 N and 3 N groups.
            groups = _fold(row, buffer, 3 * count)
            _rank(buffer, groups, rank)
            bound = LARGEST
            for j in range(groups):
                bound = min(bound, buffer[j] if rank[j] < count else LARGEST)
        found = 0
        for c in range(size):
            chosen[found] = c
            found += row[c] >= bound
        for j in range(found):
            value[j] = row[chosen[j]]
        _rank(value, found, rank)
        for j in range(found):
            order[rank[j]] = chosen[j]
        for j in range(count):
            best[t, j] = order[j]


@njit(cache=True, nogil=True)
def prune(posts, floor):
    """Set posteriors below `floor` to zero and rescale each row to sum to one, in place.

    If all are below, the largest (the first of equals) becomes one, as in Kaldi's
    ``fgmm-global-gselect-to-post``.
    """
    for t in range(posts.shape[0]):
        row = posts[t]
        best = 0
        total = F4(0.0)
        for k in range(len(row)):
            if row[k] > row[best]:
                best = k
            if row[k] >= floor:
                total += row[k]
        if total == F4(0.0):
            row[:] = F4(0.0)
            row[best] = F4(1.0)
            continue
        for k in range(len(row)):
            row[k] = row[k] / total if row[k] >= floor else F4(0.0)
