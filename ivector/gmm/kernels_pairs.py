"""Numba kernels of the full-covariance mixture, over (frame, component) pairs.

n frames of a block, C components, D feature dimensions, N selected components a frame,
P = n N pairs; W = D + 1 rounded up to whole vectors. A *padded* frame is [z, 1, 0 …] (W,), a
padded mean [μ, 0 …], so that their difference is [z − μ, 1, 0 …].

The pairs are grouped by component. Both kernels are small matrix products written out with vector
registers (`ivector.base.lanes`): the component's matrix stays in the first-level cache while its
frames pass, nothing is gathered to memory, and only the lower triangle (in steps of a vector) is
computed, which the products of BLAS do not offer at these sizes without twice the time.
"""

import math

import numpy as np

from ivector.base.jit import njit
from ivector.base.lanes import LANES, load, splat, spread, store

F4 = np.float32
FAST = {"reassoc", "contract", "nsz"}
CHUNK = 32  # Frames whose weighted differences wait in the first-level cache.


@njit(cache=True, nogil=True)
def group_pairs(selected, n_components):
    """Sort (frame, slot) pairs by component: counting sort, frames of a component in order.

    Parameters
    ----------
    selected : int32 (n, N)
    n_components : int

    Returns
    -------
    order : int32 (P,)
        Pairs as frame · N + slot; those of component c are ``order[offsets[c]:offsets[c + 1]]``.
    offsets : int64 (C + 1,)
    """
    flat = selected.ravel()
    offsets = np.zeros(n_components + 1, np.int64)
    for p in range(flat.size):
        offsets[flat[p] + 1] += 1
    for c in range(n_components):
        offsets[c + 1] += offsets[c]
    position = offsets[:-1].copy()
    order = np.empty(flat.size, np.int32)
    for p in range(flat.size):
        c = flat[p]
        order[position[c]] = p
        position[c] += 1
    return order, offsets


@njit(cache=True, fastmath=FAST, nogil=True)
def pair_logs(frames, order, offsets, means, factors, constants, count, logs):
    """Write constant_c − ½ |L_c⁻¹ (z − μ_c)|² of each pair to `logs`, four pairs at a time.

    Parameters
    ----------
    frames : float32 (n, W)
        Padded.
    order, offsets :
        From `group_pairs`.
    means : float32 (C, W)
        Padded.
    factors : float32 (C, W, W)
        Transposes of L⁻¹, upper triangular, padded with zeros.
    constants : float32 (C,)
    count : int
        N, slots a frame.
    logs : float32 (P,)
        Output, in frame order.
    """
    n_components, width = means.shape
    z, mu, matrix = frames.ravel(), means.ravel(), factors.ravel()
    d = np.empty(4 * width, np.float32)
    square = np.empty(4 * LANES, np.float32)
    for c in range(n_components):
        last = offsets[c + 1] - 1
        for start in range(offsets[c], last + 1, 4):
            for r in range(4):  # Beyond the last pair: the last again.
                t = order[min(start + r, last)] // count
                for i in range(0, width, LANES):
                    store(d, r * width + i, load(z, t * width + i) - load(mu, c * width + i))
            e0 = e1 = e2 = e3 = splat(F4(0.0))
            for i in range(0, width, LANES):
                y0 = y1 = y2 = y3 = splat(F4(0.0))
                u0 = u1 = u2 = u3 = splat(F4(0.0))
                at = c * width * width + i
                for j in range(0, i + LANES, 2):
                    a = load(matrix, at + j * width)
                    b = load(matrix, at + (j + 1) * width)
                    y0 = y0 + spread(d, j) * a
                    y1 = y1 + spread(d, width + j) * a
                    y2 = y2 + spread(d, 2 * width + j) * a
                    y3 = y3 + spread(d, 3 * width + j) * a
                    u0 = u0 + spread(d, j + 1) * b
                    u1 = u1 + spread(d, width + j + 1) * b
                    u2 = u2 + spread(d, 2 * width + j + 1) * b
                    u3 = u3 + spread(d, 3 * width + j + 1) * b
                y0, y1, y2, y3 = y0 + u0, y1 + u1, y2 + u2, y3 + u3
                e0, e1, e2, e3 = e0 + y0 * y0, e1 + y1 * y1, e2 + y2 * y2, e3 + y3 * y3
            store(square, 0, e0)
            store(square, LANES, e1)
            store(square, 2 * LANES, e2)
            store(square, 3 * LANES, e3)
            for r in range(min(4, last + 1 - start)):
                energy = F4(0.0)
                for i in range(LANES):
                    energy += square[r * LANES + i]
                logs[order[start + r]] = constants[c] - F4(0.5) * energy


@njit(cache=True, fastmath=FAST, nogil=True)
def add_grams(frames, order, offsets, means, posts, count, grams):
    """Add Σ γ v vᵀ with v = [z − μ_c, 1, 0 …] over the pairs of each component to `grams`.

    That is second, first and zeroth order in one. Of each row only the vectors up to the
    diagonal are written.

    Parameters
    ----------
    frames : float32 (n, W)
        Padded.
    order, offsets :
        From `group_pairs`.
    means : float32 (C, W)
        Padded.
    posts : float32 (P,)
        γ, in frame order.
    count : int
        N, slots a frame.
    grams : float32 (C, W, W)
        Changed in place.
    """
    n_components, width = means.shape
    z, mu, total = frames.ravel(), means.ravel(), grams.ravel()
    v = np.empty(CHUNK * width, np.float32)
    for c in range(n_components):
        for start in range(offsets[c], offsets[c + 1], CHUNK):
            size = min(CHUNK, offsets[c + 1] - start)
            for p in range(size):
                pair = order[start + p]
                root, t = splat(F4(math.sqrt(posts[pair]))), pair // count
                for i in range(0, width, LANES):
                    difference = load(z, t * width + i) - load(mu, c * width + i)
                    store(v, p * width + i, root * difference)
            for row in range(0, width, 8):
                for i in range(0, row + 8, LANES):
                    at = (c * width + row) * width + i
                    g0, g1 = load(total, at), load(total, at + width)
                    g2, g3 = load(total, at + 2 * width), load(total, at + 3 * width)
                    g4, g5 = load(total, at + 4 * width), load(total, at + 5 * width)
                    g6, g7 = load(total, at + 6 * width), load(total, at + 7 * width)
                    for p in range(size):
                        x = load(v, p * width + i)
                        k = p * width + row
                        g0 = g0 + spread(v, k) * x
                        g1 = g1 + spread(v, k + 1) * x
                        g2 = g2 + spread(v, k + 2) * x
                        g3 = g3 + spread(v, k + 3) * x
                        g4 = g4 + spread(v, k + 4) * x
                        g5 = g5 + spread(v, k + 5) * x
                        g6 = g6 + spread(v, k + 6) * x
                        g7 = g7 + spread(v, k + 7) * x
                    store(total, at, g0)
                    store(total, at + width, g1)
                    store(total, at + 2 * width, g2)
                    store(total, at + 3 * width, g3)
                    store(total, at + 4 * width, g4)
                    store(total, at + 5 * width, g5)
                    store(total, at + 6 * width, g6)
                    store(total, at + 7 * width, g7)
