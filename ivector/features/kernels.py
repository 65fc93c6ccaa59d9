"""From samples to log-mel energies or cepstra, a block of `LANES` frames at a time.

L  lanes, frames of a block (see `ivector.base.lanes`)
N  window length in samples; S, frame shift
M  half the length of the Fourier transform
B  mel bins; C, numbers a frame in the output

Neighbouring frames share most of their samples. The signal is therefore cut into hops of S
samples and these are laid side by side, hop r of the block in column r: sample i of all L
frames is then the contiguous run of L numbers at ``taps[i]``, and each sample is moved once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ivector.base.jit import njit
from ivector.base.lanes import LANES, exponent, load, mantissa, maximum, splat, sqrt, store
from ivector.features.kernels_fft import power_spectrum

EDGE_ZERO, EDGE_MIRROR, EDGE_REFLECT = 0, 1, 2
ENERGY_NONE, ENERGY_RAW, ENERGY_WINDOWED, ENERGY_SPECTRUM = 0, 1, 2, 3

ROWS_AT_ONCE = 4
ZERO = np.float32(0.0)
ONE = np.float32(1.0)
LOG_2 = np.float32(np.log(2.0))


class Plan(NamedTuple):
    """All that a flavour and its options come to, as the kernels need it."""

    window: np.ndarray  # (N,)
    taps: np.ndarray  # (N,) int64, where sample i of the frames stands among the hops
    n_hops: int  # hops of a block, L + ceil(N / S) − 1
    shift: int  # S
    first: int  # sample at which frame 0 starts, negative where the edges are filled
    edge: int  # EDGE_…, what stands outside the signal
    remove_dc: bool
    preemphasis: np.float32
    twiddles: np.ndarray  # (2, 2 M)
    positions: np.ndarray  # (M,) int64
    magnitude: bool  # square root of the power spectrum
    mel_weights: np.ndarray  # non-zero weights, bin after bin
    mel_starts: np.ndarray  # (B + 1,) int64, where each bin's weights start
    mel_first: np.ndarray  # (B,) int64, first spectral line of each bin
    log: bool  # logarithm of the bins
    floor: np.float32  # log(max(bin, floor) + offset)
    offset: np.float32
    dct: np.ndarray  # (C or C − 1, B) with the lifter, rows of zeros up to a multiple of
    #                  ROWS_AT_ONCE; (0, B) without a cosine transform
    energy: int  # ENERGY_…, what the log energy is taken of
    energy_floor: np.float32
    columns: np.ndarray  # (C,) int64, output column of each row: cepstra or bins, then energy


class Workspace(NamedTuple):
    """Scratch memory of one block, aligned to cache lines."""

    hops: np.ndarray  # (S · n_hops,)
    re: np.ndarray  # (M · L,)
    im: np.ndarray  # (M · L,)
    power: np.ndarray  # ((M + 1) · L,)
    mel: np.ndarray  # ((B + 1) · L,), the energy last
    rows: np.ndarray  # (C · L,), and room for the rows of zeros


def make_workspace(plan: Plan) -> Workspace:
    """Allocate the scratch memory that `compute_features` needs for `plan`."""
    half, n_bins = len(plan.positions), len(plan.mel_first)
    counts = [half, half, half + 1, n_bins + 1, len(plan.columns) + ROWS_AT_ONCE]
    sizes = [plan.shift * plan.n_hops, *(LANES * count for count in counts)]
    line = 16  # float32 numbers in a cache line
    memory = np.empty(sum(-(-size // line) * line for size in sizes) + line, np.float32)
    start = -memory.ctypes.data % 64 // 4
    arrays = []
    for size in sizes:
        arrays.append(memory[start : start + size])
        start += -(-size // line) * line
    return Workspace(*arrays)


@njit(cache=True)
def _outside(index, n_samples, edge):
    """Index of the sample that stands for one beyond the ends; −1 for none (a zero)."""
    if edge == EDGE_ZERO or n_samples == 0:
        return -1
    last = n_samples - 1
    if edge == EDGE_REFLECT and last == 0:
        return 0
    while index < 0 or index > last:
        if edge == EDGE_MIRROR:  # … 1 0 | 0 1 … last | last …
            index = -index - 1 if index < 0 else 2 * last + 1 - index
        else:  # … 2 1 | 0 1 … last | last−1 …
            index = -index if index < 0 else 2 * last - index
    return index


@njit(cache=True)
def _lay_hops(signal, start, shift, edge, n_hops, hops):
    """Put the hops from sample `start` on side by side, sample i of hop r at [i · n_hops + r]."""
    n_samples = len(signal)
    for r in range(n_hops):
        base = start + r * shift
        if base >= 0 and base + shift <= n_samples:
            for i in range(shift):
                hops[i * n_hops + r] = signal[base + i]
        else:
            for i in range(shift):
                index = base + i
                if index < 0 or index >= n_samples:
                    index = _outside(index, n_samples, edge)
                hops[i * n_hops + r] = signal[index] if index >= 0 else ZERO


@njit(cache=True)
def _mean(hops, taps):
    """Mean of each frame (sums of 16-bit samples are exact)."""
    even = odd = splat(ZERO)
    for i in range(0, len(taps) - 1, 2):
        even += load(hops, taps[i])
        odd += load(hops, taps[i + 1])
    if len(taps) % 2:
        even += load(hops, taps[-1])
    return (even + odd) * splat(np.float32(1.0 / len(taps)))


@njit(cache=True)
def _window_frames(hops, taps, window, remove_dc, preemphasis, re, im):
    """Remove DC, pre-emphasise, window; split into even and odd samples. Returns the raw energy.

    As in Kaldi's ``ProcessWindow``: the energy is that before pre-emphasis, and the first
    sample is its own predecessor.
    """
    mean = _mean(hops, taps) if remove_dc else splat(ZERO)
    factor = splat(preemphasis)
    energy_even = energy_odd = splat(ZERO)
    odd = load(hops, taps[0]) - mean  # the predecessor of sample 0
    pairs = len(taps) // 2
    for n in range(pairs):
        even = load(hops, taps[2 * n]) - mean
        store(re, n * LANES, (even - factor * odd) * splat(window[2 * n]))
        odd = load(hops, taps[2 * n + 1]) - mean
        store(im, n * LANES, (odd - factor * even) * splat(window[2 * n + 1]))
        energy_even += even * even
        energy_odd += odd * odd
    if len(taps) % 2:
        even = load(hops, taps[-1]) - mean
        store(re, pairs * LANES, (even - factor * odd) * splat(window[-1]))
        store(im, pairs * LANES, splat(ZERO))
        energy_even += even * even
        pairs += 1
    re[pairs * LANES :] = ZERO
    im[pairs * LANES :] = ZERO
    return energy_even + energy_odd


@njit(cache=True)
def _sum_of_squares(re, im):
    total_re = total_im = splat(ZERO)
    for i in range(0, len(re), LANES):
        a, b = load(re, i), load(im, i)
        total_re += a * a
        total_im += b * b
    return total_re + total_im


@njit(cache=True)
def _sum(values):
    total = splat(ZERO)
    for i in range(0, len(values), LANES):
        total += load(values, i)
    return total


@njit(cache=True)
def _square_roots(values):
    for i in range(0, len(values), LANES):
        store(values, i, sqrt(load(values, i)))


@njit(cache=True)
def _mel_energies(power, mel_first, mel_starts, mel_weights, mel):
    """Weighted sums of spectral lines; those of a bin are contiguous."""
    for b in range(len(mel_first)):
        line = mel_first[b] * LANES
        total = splat(ZERO)
        for w in range(mel_starts[b], mel_starts[b + 1]):
            total += load(power, line) * splat(mel_weights[w])
            line += LANES
        store(mel, b * LANES, total)


@njit(cache=True)
def _log(value):
    """Natural logarithm, relative error about 2e-7: e ln 2 + 2 artanh((m − 1) / (m + 1))."""
    m, one = mantissa(value), splat(ONE)
    s = (m - one) / (m + one)  # |s| ≤ 0.172
    square = s * s
    series = splat(np.float32(2 / 9)) * square + splat(np.float32(2 / 7))
    series = series * square + splat(np.float32(2 / 5))
    series = series * square + splat(np.float32(2 / 3))
    return exponent(value) * splat(LOG_2) + (series * square * s + (s + s))


@njit(cache=True)
def log_in_place(values, start, stop, floor, offset):
    """``values[start:stop] = log(max(values, floor) + offset)``; whole vectors of lanes."""
    for i in range(start, stop, LANES):
        store(values, i, _log(maximum(load(values, i), splat(floor)) + splat(offset)))


@njit(cache=True)
def _cosine_transform(mel, dct, rows):
    """Cepstra with lifter."""
    n_cepstra, n_bins = dct.shape
    for c in range(0, n_cepstra, ROWS_AT_ONCE):  # one sum at a time would wait for itself
        c0 = c1 = c2 = c3 = splat(ZERO)
        for b in range(n_bins):
            bins = load(mel, b * LANES)
            c0 += bins * splat(dct[c, b])
            c1 += bins * splat(dct[c + 1, b])
            c2 += bins * splat(dct[c + 2, b])
            c3 += bins * splat(dct[c + 3, b])
        store(rows, c * LANES, c0)
        store(rows, (c + 1) * LANES, c1)
        store(rows, (c + 2) * LANES, c2)
        store(rows, (c + 3) * LANES, c3)


@njit(cache=True)
def _write_frames(rows, columns, first, out):
    """Rows (C, L) of a block to its frames, from `first` on, in the order of the output."""
    for lane in range(min(LANES, len(out) - first)):
        for c in range(len(columns)):
            out[first + lane, columns[c]] = rows[c * LANES + lane]


@njit(cache=True, nogil=True)
def compute_features(signal, plan, work, out):
    """Features of all frames.

    Parameters
    ----------
    signal : ndarray (n_samples,), float32
    plan : Plan
    work : Workspace
    out : ndarray (n_frames, C), float32
        Written; its length says how many frames there are.
    """
    # Unpacked once: at every use of a tuple Numba counts references to all arrays in it, which in
    # the loop would take a fifth of the time.
    hops, re, im, power, mel, rows = work
    (
        window, taps, n_hops, shift, first, edge, remove_dc, preemphasis, twiddles, positions,
        magnitude, mel_weights, mel_starts, mel_first, log, floor, offset, dct, energy_of,
        energy_floor, columns,
    ) = plan  # fmt: skip
    half, energy_row = len(positions), len(mel_first) * LANES
    for f in range(0, len(out), LANES):
        start = first + f * shift
        _lay_hops(signal, start, shift, edge, n_hops, hops)
        energy = _window_frames(hops, taps, window, remove_dc, preemphasis, re, im)
        if energy_of == ENERGY_WINDOWED:
            energy = _sum_of_squares(re, im)
        power_spectrum(re, im, half, twiddles, positions, power)
        if energy_of == ENERGY_SPECTRUM:
            energy = _sum(power) * splat(np.float32(1.0 / (2 * half)))
        if magnitude:
            _square_roots(power)
        _mel_energies(power, mel_first, mel_starts, mel_weights, mel)
        store(mel, energy_row, energy)
        if log:
            log_in_place(mel, 0, energy_row, floor, offset)
        log_in_place(mel, energy_row, energy_row + LANES, energy_floor, ZERO)
        if len(dct):
            _cosine_transform(mel, dct, rows)
            if energy_of != ENERGY_NONE:
                store(rows, (len(columns) - 1) * LANES, load(mel, energy_row))
            _write_frames(rows, columns, f, out)
        else:
            _write_frames(mel, columns, f, out)
