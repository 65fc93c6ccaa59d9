"""Power spectra of a block of real frames, one frame a lane (see `ivector.base.lanes`).

N  samples of a frame after zero padding, a power of two
M  N / 2 points of the complex transform that carries the real one
L  lanes, frames of the block

A real frame x is transformed as the M complex numbers z[n] = x[2n] + i x[2n+1], in place, by
decimation in frequency, radix 4 with one radix-2 pass where M is not a power of four. That
leaves Z in digit-reversed order; since every number is a vector of L frames, reading it in the
right order costs nothing, and no reordering pass is made. Arrays are flat: element n of the
frames stands at [n · L, (n + 1) · L).
"""

from __future__ import annotations

import numpy as np

from ivector.base.jit import njit
from ivector.base.lanes import LANES, load, splat, store

QUARTER = np.float32(0.25)


def transform_tables(n_fft: int) -> tuple[np.ndarray, np.ndarray]:
    """Twiddle factors and digit-reversed positions for `power_spectrum`.

    Returns
    -------
    twiddles : ndarray (2, n_fft), float32
        Real and imaginary parts of exp(−2πi k / n_fft).
    positions : ndarray (n_fft // 2,), int64
        Where in the flat arrays Z[k] stands after the transform.
    """
    angles = 2 * np.pi * np.arange(n_fft) / n_fft
    twiddles = np.stack([np.cos(angles), -np.sin(angles)]).astype(np.float32)
    return twiddles, _positions(n_fft // 2) * LANES


def _positions(size: int) -> np.ndarray:
    """Position of Z[k]: its lowest digit, base 4 (or 2 in the last pass), chooses the part."""
    if size == 1:
        return np.zeros(1, np.int64)
    radix = 4 if size % 4 == 0 else 2
    part = _positions(size // radix)
    k = np.arange(size)
    return (k % radix) * (size // radix) + part[k // radix]


@njit(cache=True)
def _store_rotated(re, im, index, a, b, cosine, sine):
    """Write (a + ib)(cosine + i·sine)."""
    store(re, index, a * cosine - b * sine)
    store(im, index, a * sine + b * cosine)


@njit(cache=True)
def _radix4_pass(re, im, size, part, twiddles):
    """One decimation-in-frequency pass over transforms of length 4 · `part`."""
    step = twiddles.shape[1] // (4 * part)  # exp(−2πi j / (4 part)) is twiddles[:, j · step]
    quarter = part * LANES
    for j in range(part):
        c1, s1 = splat(twiddles[0, j * step]), splat(twiddles[1, j * step])
        c2, s2 = splat(twiddles[0, 2 * j * step]), splat(twiddles[1, 2 * j * step])
        c3, s3 = splat(twiddles[0, 3 * j * step]), splat(twiddles[1, 3 * j * step])
        for i0 in range(j * LANES, size * LANES, 4 * quarter):
            i1, i2, i3 = i0 + quarter, i0 + 2 * quarter, i0 + 3 * quarter
            r0, r1, r2, r3 = load(re, i0), load(re, i1), load(re, i2), load(re, i3)
            m0, m1, m2, m3 = load(im, i0), load(im, i1), load(im, i2), load(im, i3)
            ar, ai, br, bi = r0 + r2, m0 + m2, r0 - r2, m0 - m2
            cr, ci, dr, di = r1 + r3, m1 + m3, m1 - m3, r3 - r1  # d = −i (z1 − z3)
            store(re, i0, ar + cr)
            store(im, i0, ai + ci)
            if j == 0:
                store(re, i1, br + dr)
                store(im, i1, bi + di)
                store(re, i2, ar - cr)
                store(im, i2, ai - ci)
                store(re, i3, br - dr)
                store(im, i3, bi - di)
            else:
                _store_rotated(re, im, i1, br + dr, bi + di, c1, s1)
                _store_rotated(re, im, i2, ar - cr, ai - ci, c2, s2)
                _store_rotated(re, im, i3, br - dr, bi - di, c3, s3)


@njit(cache=True)
def _radix2_pass(re, im, size):
    """The last pass, over transforms of length 2."""
    for i in range(0, size * LANES, 2 * LANES):
        r0, r1 = load(re, i), load(re, i + LANES)
        m0, m1 = load(im, i), load(im, i + LANES)
        store(re, i, r0 + r1)
        store(im, i, m0 + m1)
        store(re, i + LANES, r0 - r1)
        store(im, i + LANES, m0 - m1)


@njit(cache=True)
def complex_transform(re, im, size, twiddles):
    """Transform `size` complex points in place, leaving them in digit-reversed order."""
    length = size
    while length >= 4:
        length //= 4
        _radix4_pass(re, im, size, length, twiddles)
    if length == 2:
        _radix2_pass(re, im, size)


@njit(cache=True)
def power_spectrum(re, im, size, twiddles, positions, power):
    """|X[k]|², k = 0 … size, of the real frames whose even samples are in `re`, odd in `im`.

    With E and O the transforms of the even and odd samples, X[k] = E + w^k O and
    X[M−k] = conj(E − w^k O), w = exp(−2πi / N).

    Parameters
    ----------
    re, im : ndarray (size · L,)
        Overwritten.
    size : int
        M.
    twiddles, positions : ndarray
        From `transform_tables`.
    power : ndarray ((size + 1) · L,)
        Written.
    """
    complex_transform(re, im, size, twiddles)
    zr, zi = load(re, 0), load(im, 0)
    store(power, 0, (zr + zi) * (zr + zi))
    store(power, size * LANES, (zr - zi) * (zr - zi))
    quarter = splat(QUARTER)
    for k in range(1, size // 2 + 1):
        here, there = positions[k], positions[size - k]
        ar, ai, br, bi = load(re, here), load(im, here), load(re, there), load(im, there)
        er, ei = ar + br, ai - bi  # 2 E[k]
        our, oui = ai + bi, br - ar  # 2 O[k]
        c, s = splat(twiddles[0, k]), splat(twiddles[1, k])
        wr, wi = our * c - oui * s, our * s + oui * c
        xr, xi, yr, yi = er + wr, ei + wi, er - wr, ei - wi
        store(power, k * LANES, (xr * xr + xi * xi) * quarter)
        store(power, (size - k) * LANES, (yr * yr + yi * yi) * quarter)
