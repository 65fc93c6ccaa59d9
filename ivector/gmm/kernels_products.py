"""Numba kernels: the two products of a diagonal mixture, for processors with 512-bit vectors.

n frames of a block, C components (a multiple of `PANEL`), K numbers of an extended frame (a
multiple of `COLUMNS`), as in `ivector.gmm.kernels`.

General BLAS libraries serve many processors with 256-bit kernels that are fast on the next one;
where the processor has 32 registers of 512 bits, these fixed shapes take half the time. The
caller decides (`wide_vectors`), and uses BLAS elsewhere, where sixteen accumulators do not fit.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import binding

from ivector.base.jit import njit
from ivector.base.lanes import LANES, load, splat, store
from ivector.gmm.kernels_pairs import spread

F4 = np.float32
PANEL = 4 * LANES  # Components of a panel of parameters.
COLUMNS = 2 * LANES  # Columns of a tile of moments.
ROWS = 8  # Components of a tile of moments.


def wide_vectors() -> bool:
    """Whether Numba compiles for 512-bit vectors: what the processor has, or NUMBA_CPU_* says."""
    config: Any = numba.config
    if config.CPU_NAME or config.CPU_FEATURES:
        return "+avx512f" in (config.CPU_FEATURES or "")
    try:
        return bool(binding.get_host_cpu_features().get("avx512f", False))
    except RuntimeError:  # LLVM does not know the features of this platform.
        return False


def panels(parameters: np.ndarray) -> np.ndarray:
    """Arrange parameters (C, K) as (C / PANEL, K, PANEL), the order in which they are read."""
    n_components, width = parameters.shape
    blocks = parameters.reshape(n_components // PANEL, PANEL, width)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1))


@njit(cache=True, nogil=True)
def scores(extended, parameters, out):
    """Write extended frames times parameters to `out`, four frames by a panel at a time.

    Parameters
    ----------
    extended : float32 (n, K)
    parameters : float32 (C / PANEL, K, PANEL)
        From `panels`.
    out : float32 (n, C)
    """
    n, width = extended.shape
    size = out.shape[1]
    x, w, y = extended.ravel(), parameters.ravel(), out.ravel()
    for panel in range(parameters.shape[0]):
        for t in range(0, n, 4):
            # Beyond the last frame: the last again.
            t1, t2, t3 = min(t + 1, n - 1), min(t + 2, n - 1), min(t + 3, n - 1)
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = splat(F4(0.0))
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = splat(F4(0.0))
            for k in range(width):
                at = (panel * width + k) * PANEL
                w0, w1 = load(w, at), load(w, at + LANES)
                w2, w3 = load(w, at + 2 * LANES), load(w, at + 3 * LANES)
                v = spread(x, t * width + k)
                a0, a1, a2, a3 = a0 + v * w0, a1 + v * w1, a2 + v * w2, a3 + v * w3
                v = spread(x, t1 * width + k)
                b0, b1, b2, b3 = b0 + v * w0, b1 + v * w1, b2 + v * w2, b3 + v * w3
                v = spread(x, t2 * width + k)
                c0, c1, c2, c3 = c0 + v * w0, c1 + v * w1, c2 + v * w2, c3 + v * w3
                v = spread(x, t3 * width + k)
                d0, d1, d2, d3 = d0 + v * w0, d1 + v * w1, d2 + v * w2, d3 + v * w3
            _store4(y, t * size + panel * PANEL, a0, a1, a2, a3)
            _store4(y, t1 * size + panel * PANEL, b0, b1, b2, b3)
            _store4(y, t2 * size + panel * PANEL, c0, c1, c2, c3)
            _store4(y, t3 * size + panel * PANEL, d0, d1, d2, d3)


@njit(inline="always")
def _store4(y, at, v0, v1, v2, v3):
    store(y, at, v0)
    store(y, at + LANES, v1)
    store(y, at + 2 * LANES, v2)
    store(y, at + 3 * LANES, v3)


@njit(inline="always")
def _add2(y, at, v0, v1):
    store(y, at, load(y, at) + v0)
    store(y, at + LANES, load(y, at + LANES) + v1)


@njit(cache=True, nogil=True)
def moments(posts, extended, out):
    """Add the transposed posteriors times the extended frames to `out`.

    Parameters
    ----------
    posts : float32 (n, C)
    extended : float32 (n, K)
    out : float32 (C, K)
    """
    n, width = extended.shape
    size = posts.shape[1]
    g, x, y = posts.ravel(), extended.ravel(), out.ravel()
    for k in range(0, width, COLUMNS):
        for c in range(0, size, ROWS):
            a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = splat(F4(0.0))
            e0 = e1 = f0 = f1 = g0 = g1 = h0 = h1 = splat(F4(0.0))
            for t in range(n):
                x0, x1 = load(x, t * width + k), load(x, t * width + k + LANES)
                at = t * size + c
                v = spread(g, at)
                a0, a1 = a0 + v * x0, a1 + v * x1
                v = spread(g, at + 1)
                b0, b1 = b0 + v * x0, b1 + v * x1
                v = spread(g, at + 2)
                c0, c1 = c0 + v * x0, c1 + v * x1
                v = spread(g, at + 3)
                d0, d1 = d0 + v * x0, d1 + v * x1
                v = spread(g, at + 4)
                e0, e1 = e0 + v * x0, e1 + v * x1
                v = spread(g, at + 5)
                f0, f1 = f0 + v * x0, f1 + v * x1
                v = spread(g, at + 6)
                g0, g1 = g0 + v * x0, g1 + v * x1
                v = spread(g, at + 7)
                h0, h1 = h0 + v * x0, h1 + v * x1
            _add2(y, c * width + k, a0, a1)
            _add2(y, (c + 1) * width + k, b0, b1)
            _add2(y, (c + 2) * width + k, c0, c1)
            _add2(y, (c + 3) * width + k, d0, d1)
            _add2(y, (c + 4) * width + k, e0, e1)
            _add2(y, (c + 5) * width + k, f0, f1)
            _add2(y, (c + 6) * width + k, g0, g1)
            _add2(y, (c + 7) * width + k, h0, h1)
