"""Kaldi's Fourier transform of real frames whose length is no power of two, with its rounding.

``RealFft`` and ``ComplexFft`` of ``matrix/matrix-functions.cc`` take their roots of unity by
repeated multiplication in single precision. In spectral lines 80 dB below the strongest that
shows in the third digit of cepstra, and so the multiplications are repeated here. The transform
being linear, they are so once a length: what it makes of unit frames is its matrix.

Dimensions: K length of a frame, even; M = K / 2 points of the complex transform.
"""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=4)
def transform_matrix(length: int) -> np.ndarray:
    """Real and imaginary parts of what becomes of unit frames, (2, K, K // 2 + 1) float32."""
    half = length // 2
    units = np.eye(length, dtype=np.float32).reshape(length, half, 2)
    points = _transform(units @ np.array([1, 1j], np.complex64))
    k = np.arange(half + 1)
    here, there = points[:, k % half], points[:, -k % half].conj()
    roots = np.empty(half + 1, np.complex64)
    first = _powers(np.ones(1, np.complex64), _root(length), half // 2 + 1)[:, 0]
    roots[half - k[: len(first)]] = -first.conj()  # w^(M − k) = −conj(w^k)
    roots[: len(first)] = first
    even, odd = (here + there) / 2, (here - there) / np.complex64(2j)
    spectrum = even + roots * odd
    return np.stack([spectrum.real, spectrum.imag])


def _transform(points: np.ndarray) -> np.ndarray:
    """Complex transforms (n, N), by decimation in time on the smallest factor of N."""
    n, size = points.shape
    radix = next((p for p in range(2, size + 1) if size % p == 0), 1)
    if radix == 1:
        return points
    part = size // radix
    interleaved = points.reshape(n, part, radix).transpose(0, 2, 1)
    parts = _transform(interleaved.reshape(n * radix, part)).reshape(n, radix, part)
    steps = _powers(np.ones(1, np.complex64), _root(size), part)[:, 0]
    turns = _powers(steps, _root(radix), radix)  # (radix, part), w^(p' part + q)
    powers = _powers(np.ones_like(turns), turns, radix)  # of p = 0 … radix − 1
    return np.einsum("pdq,npq->ndq", powers, parts).reshape(n, size)


def _root(order: int) -> np.ndarray:
    return np.exp(np.complex64(-2j * np.pi / order))


def _powers(first: np.ndarray, factor: np.ndarray, count: int) -> np.ndarray:
    """`first`, and `count` − 1 times the former multiplied by `factor`, (count, …)."""
    steps = np.empty((count, *first.shape), np.complex64)
    steps[0], steps[1:] = first, factor
    return np.cumprod(steps, axis=0)
