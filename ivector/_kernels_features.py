"""From samples to log-mel energies or cepstra, a block of `LANES` frames at a time.

L  lanes, frames of a block (see `_kernels_lanes`)
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
from numba import njit

from ivector._kernels_fft import power_spectrum
from ivector._kernels_lanes import LANES, exponent, load, mantissa, maximum, splat, sqrt, store

EDGE_ZERO, EDGE_MIRROR, EDGE_REFLECT = 0, 1, 2
ENERGY_NONE, ENERGY_RAW, ENERGY_WINDOWED, ENERGY_SPECTRUM = 0, 1, 2, 3

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
    dct: np.ndarray  # (C or C − 1, B) with the lifter; (0, B) without a cosine transform
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
    rows: np.ndarray  # (C · L,)


def make_workspace(plan: Plan) -> Workspace:
    """Allocate the scratch memory that `compute_features` needs for `plan`."""
    half, n_bins = len(plan.positions), len(plan.mel_first)
    counts = [half, half, half + 1, n_bins + 1, len(plan.columns)]
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
def _lay_hops(signal, start, plan, hops):
    """Put the hops from sample `start` on side by side, sample i of hop r at [i · n_hops + r]."""
    n_samples, n_hops, shift = len(signal), plan.n_hops, plan.shift
    for r in range(n_hops):
        base = start + r * shift
        if base >= 0 and base + shift <= n_samples:
            for i in range(shift):
                hops[i * n_hops + r] = signal[base + i]
        else:
            for i in range(shift):
                index = base + i
                if index < 0 or index >= n_samples:
                    index = _outside(index, n_samples, plan.edge)
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
def _window_frames(plan, work):
    """Remove DC, pre-emphasise, window; split into even and odd samples. Returns the raw energy.

    As in Kaldi's ``ProcessWindow``: the energy is that before pre-emphasis, and the first
    sample is its own predecessor.
    """
    hops, taps, window = work.hops, plan.taps, plan.window
    mean = _mean(hops, taps) if plan.remove_dc else splat(ZERO)
    factor = splat(plan.preemphasis)
    energy_even = energy_odd = splat(ZERO)
    odd = load(hops, taps[0]) - mean  # the predecessor of sample 0
    pairs = len(taps) // 2
    for n in range(pairs):
        even = load(hops, taps[2 * n]) - mean
        store(work.re, n * LANES, (even - factor * odd) * splat(window[2 * n]))
        odd = load(hops, taps[2 * n + 1]) - mean
        store(work.im, n * LANES, (odd - factor * even) * splat(window[2 * n + 1]))
        energy_even += even * even
        energy_odd += odd * odd
    if len(taps) % 2:
        even = load(hops, taps[-1]) - mean
        store(work.re, pairs * LANES, (even - factor * odd) * splat(window[-1]))
        store(work.im, pairs * LANES, splat(ZERO))
        energy_even += even * even
        pairs += 1
    work.re[pairs * LANES :] = ZERO
    work.im[pairs * LANES :] = ZERO
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
def _mel_energies(plan, work):
    """Weighted sums of spectral lines; the triangles' lines are contiguous."""
    for b in range(len(plan.mel_first)):
        line = plan.mel_first[b] * LANES
        total = splat(ZERO)
        for w in range(plan.mel_starts[b], plan.mel_starts[b + 1]):
            total += load(work.power, line) * splat(plan.mel_weights[w])
            line += LANES
        store(work.mel, b * LANES, total)


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
def _rows(plan, work):
    """Cosine transform with lifter (or the bins as they are), then the energy."""
    n_cepstra, n_bins = plan.dct.shape
    n_rows = n_cepstra
    for c in range(n_cepstra):
        total = splat(ZERO)
        for b in range(n_bins):
            total += load(work.mel, b * LANES) * splat(plan.dct[c, b])
        store(work.rows, c * LANES, total)
    if n_cepstra == 0:
        n_rows = n_bins
        work.rows[: n_bins * LANES] = work.mel[: n_bins * LANES]
    if plan.energy != ENERGY_NONE:
        store(work.rows, n_rows * LANES, load(work.mel, n_bins * LANES))


@njit(cache=True)
def _features_of_block(plan, work):
    """Rows of features (C, L) from the hops of a block."""
    raw_energy = _window_frames(plan, work)
    energy = raw_energy
    if plan.energy == ENERGY_WINDOWED:
        energy = _sum_of_squares(work.re, work.im)
    half = len(plan.positions)
    power_spectrum(work.re, work.im, half, plan.twiddles, plan.positions, work.power)
    if plan.energy == ENERGY_SPECTRUM:
        energy = _sum(work.power) * splat(np.float32(1.0 / (2 * half)))
    if plan.magnitude:
        for i in range(0, len(work.power), LANES):
            store(work.power, i, sqrt(load(work.power, i)))
    _mel_energies(plan, work)
    n = len(plan.mel_first) * LANES
    store(work.mel, n, maximum(energy, splat(plan.energy_floor)))
    if plan.log:
        log_in_place(work.mel, 0, n, plan.floor, plan.offset)
    if plan.energy != ENERGY_NONE:
        log_in_place(work.mel, n, n + LANES, plan.energy_floor, ZERO)
    _rows(plan, work)


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
    n_frames, n_columns = out.shape
    for f in range(0, n_frames, LANES):
        _lay_hops(signal, plan.first + f * plan.shift, plan, work.hops)
        _features_of_block(plan, work)
        for lane in range(min(LANES, n_frames - f)):
            for c in range(n_columns):
                out[f + lane, plan.columns[c]] = work.rows[c * LANES + lane]
