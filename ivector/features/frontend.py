"""The arithmetic behind every flavour of features: framing, windows, triangles, cosine transform.

N  window length in samples; S, frame shift
K  length of the Fourier transform, K // 2 + 1 spectral lines
B  mel bins; C, numbers a frame in the output

A `Frontend` is what a flavour and its options come to. It runs on the kernels of
`ivector.features.kernels` where K is a power of two; otherwise, and in the tests, on `reference`,
the same in plain NumPy. Follows Kaldi's ``feat/feature-window.cc``, ``feat/mel-computations.cc``
and ``feat/feature-mfcc.cc``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.fft

from ivector.base.errors import UsageError
from ivector.base.lanes import LANES
from ivector.features.kaldi_fft import transform_matrix
from ivector.features.kernels import (
    EDGE_MIRROR,
    EDGE_REFLECT,
    EDGE_ZERO,
    ENERGY_NONE,
    ENERGY_RAW,
    ENERGY_SPECTRUM,
    ENERGY_WINDOWED,
    ROWS_AT_ONCE,
    Plan,
    compute_features,
    make_workspace,
)
from ivector.features.kernels_fft import transform_tables

FLOAT_EPSILON = float(np.finfo(np.float32).eps)  # 1.19e-7, Kaldi's floor under logarithms
ENERGIES = {
    "none": ENERGY_NONE,
    "raw": ENERGY_RAW,
    "windowed": ENERGY_WINDOWED,
    "spectrum": ENERGY_SPECTRUM,
}
EDGES = {
    "snip": EDGE_ZERO,
    "mirror": EDGE_MIRROR,
    "pad": EDGE_ZERO,
    "centre": EDGE_REFLECT,
}
REFERENCE_BLOCK = 1024  # frames, bounds the memory of `reference`
LONGEST_MATRIX = 2048  # samples; Kaldi's transform as a matrix grows with the square


def count_frames(n_samples: int, length: int, shift: int, framing: str) -> int:
    """Number of frames of `length` samples every `shift` samples.

    Parameters
    ----------
    framing : {"snip", "mirror", "pad", "centre"}
        Whole frames only (Kaldi's snip-edges=true); one frame a shift, the signal mirrored at
        its ends (snip-edges=false); as many as cover the signal, zeros after it
        (python_speech_features); one frame centred on every multiple of the shift, the signal
        reflected (torchaudio, librosa).
    """
    if n_samples == 0:
        return 0
    if framing == "snip":
        return 0 if n_samples < length else 1 + (n_samples - length) // shift
    if framing == "mirror":
        return (n_samples + shift // 2) // shift
    if framing == "pad":
        return 1 + max(0, -(-(n_samples - length) // shift))
    return 1 + n_samples // shift


def make_window(
    kind: str | Callable[[int], np.ndarray], length: int, blackman_coeff: float, periodic: bool
) -> np.ndarray:
    """Analysis window (length,), float64.

    Raises
    ------
    UsageError
        Unknown name, or a callable that does not give `length` numbers.
    """
    if callable(kind):
        window = np.asarray(kind(length), float)
        if window.shape != (length,):
            raise UsageError(f"window_type gave shape {window.shape}, expected ({length},)")
        return window
    angle = 2 * np.pi * np.arange(length) / (length if periodic else max(length - 1, 1))
    hann = 0.5 - 0.5 * np.cos(angle)
    windows = {
        "povey": hann**0.85,
        "hanning": hann,
        "hamming": 0.54 - 0.46 * np.cos(angle),
        "rectangular": np.ones(length),
        "blackman": blackman_coeff
        - 0.5 * np.cos(angle)
        + (0.5 - blackman_coeff) * np.cos(2 * angle),
    }
    if kind not in windows:
        raise UsageError(f"window_type must be one of {', '.join(windows)}, got {kind!r}")
    return windows[kind]


def hz_to_mel(frequency):
    """Mel of a frequency in Hz, 1127 ln(1 + f / 700)."""
    return 1127.0 * np.log1p(np.asarray(frequency, float) / 700.0)


def mel_to_hz(mel):
    """Inverse of `hz_to_mel`."""
    return 700.0 * np.expm1(np.asarray(mel, float) / 1127.0)


def mel_triangles(
    n_bins: int, n_fft: int, rate: float, low: float, high: float, linear_in: str = "mel"
) -> np.ndarray:
    """Weights of overlapping triangles at equal distances in mel, (B, K // 2 + 1).

    Parameters
    ----------
    low, high : float
        Hz.
    linear_in : {"mel", "hz"}
        Whether the sides are straight in mel (Kaldi, ``MelBanks::MelBanks``; the line at half
        the sampling rate is left out) or in Hz (torchaudio, librosa with ``htk=True``).

    Raises
    ------
    UsageError
        A bin holds no spectral line.
    """
    frequencies = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    corners = np.linspace(hz_to_mel(low), hz_to_mel(high), n_bins + 2)
    if linear_in == "mel":
        points = hz_to_mel(frequencies)
        points[n_fft // 2 :] = np.inf
    else:
        points, corners = frequencies, mel_to_hz(corners)
    left, centre, right = (corners[i : i + n_bins, None] for i in range(3))
    rising, falling = (points - left) / (centre - left), (right - points) / (right - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    empty = np.flatnonzero(~weights.any(axis=1))
    if len(empty):
        raise UsageError(
            f"num_mel_bins={n_bins} leaves bin {empty[0]} without a spectral line "
            f"(they are {rate / n_fft:.1f} Hz apart); take fewer bins or longer frames"
        )
    return weights


def cosine_transform(n_cepstra: int, n_bins: int, lifter: float) -> np.ndarray:
    """Orthonormal DCT-II with sinusoidal lifter 1 + Q/2 sin(πn / Q), (n_cepstra, n_bins)."""
    n = np.arange(n_cepstra)[:, None]
    matrix = np.cos(np.pi / n_bins * (np.arange(n_bins) + 0.5) * n) * np.sqrt(2.0 / n_bins)
    matrix[0] = np.sqrt(1.0 / n_bins)
    if lifter > 0:
        matrix *= 1 + 0.5 * lifter * np.sin(np.pi * n / lifter)
    return matrix


@dataclass(frozen=True)
class Frontend:
    """Everything that determines features; calling it on a signal gives them.

    Parameters
    ----------
    window : ndarray (N,)
    shift : int
        S, samples.
    n_fft : int
        K ≥ N.
    framing : str
        See `count_frames`; `count_length` is the frame length it counts with.
    filters : ndarray (B, K // 2 + 1)
    dct : ndarray (C or C − 1, B) or (0, B)
        The latter for no cosine transform.
    columns : ndarray (C,), int64
        Output column of each cepstrum or bin and then of the energy.
    energy : {"none", "raw", "windowed", "spectrum"}
        The log energy as one of the outputs: of the frame before pre-emphasis and window,
        after them, or the summed power spectrum divided by K.
    preemphasis, signal_preemphasis : float
        Within a frame, whose first sample is its own predecessor; or over the whole signal.
    magnitude : bool
        Filters act on the square root of the power spectrum.
    log : bool
        Logarithm log(max(bin, floor) + offset).
    kaldi_rounding : bool
        Where K is no power of two, Kaldi's inexact transform (`ivector.features.kaldi_fft`).
    """

    window: np.ndarray
    shift: int
    n_fft: int
    framing: str
    filters: np.ndarray
    columns: np.ndarray
    dct: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    count_length: int = 0
    remove_dc: bool = False
    preemphasis: float = 0.0
    signal_preemphasis: float = 0.0
    magnitude: bool = False
    log: bool = True
    floor: float = FLOAT_EPSILON
    offset: float = 0.0
    energy: str = "none"
    energy_floor: float = FLOAT_EPSILON
    kaldi_rounding: bool = False

    def n_frames(self, n_samples: int) -> int:
        """Number of frames that a signal of `n_samples` has."""
        length = self.count_length or len(self.window)
        return count_frames(n_samples, length, self.shift, self.framing)

    @property
    def first(self) -> int:
        """Sample at which the first frame starts."""
        length = len(self.window)
        if self.framing == "mirror":
            return self.shift // 2 - length // 2
        if self.framing == "centre":
            return (self.n_fft - length) // 2 - self.n_fft // 2
        return 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Features (n_frames, C), float32, of samples (n_samples,), float32."""
        if not _fast(self.n_fft):
            return self.reference(samples).astype(np.float32)
        signal = self._preemphasise(samples)
        out = np.empty((self.n_frames(len(samples)), len(self.columns)), np.float32)
        if len(out):
            # A read-only array is another type to Numba, and would be compiled for again.
            signal = np.require(signal, np.float32, ["C", "W"])
            compute_features(signal, self._plan, make_workspace(self._plan), out)
        return out

    def _preemphasise(self, samples: np.ndarray) -> np.ndarray:
        if not self.signal_preemphasis or not len(samples):
            return samples
        emphasised = np.array(samples)
        emphasised[1:] -= samples.dtype.type(self.signal_preemphasis) * samples[:-1]
        if self.framing == "centre":  # the signal is reflected, x[−1] = x[1]
            before = samples[min(1, len(samples) - 1)]
            emphasised[0] -= samples.dtype.type(self.signal_preemphasis) * before
        return emphasised

    @cached_property
    def _plan(self) -> Plan:
        length = len(self.window)
        n_hops = LANES + -(-length // self.shift) - 1
        sample = np.arange(length)
        starts, first, weights = _sparse_rows(self.filters)
        twiddles, positions = transform_tables(self.n_fft)
        n_rows = len(self.dct)
        dct = np.zeros((-(-n_rows // ROWS_AT_ONCE) * ROWS_AT_ONCE, len(first)), np.float32)
        dct[:n_rows] = self.dct.reshape(n_rows, len(first))
        return Plan(
            window=self.window.astype(np.float32),
            taps=(sample % self.shift) * n_hops + sample // self.shift,
            n_hops=n_hops,
            shift=self.shift,
            first=self.first,
            edge=EDGES[self.framing],
            remove_dc=self.remove_dc,
            preemphasis=np.float32(self.preemphasis),
            twiddles=twiddles,
            positions=positions,
            magnitude=self.magnitude,
            mel_weights=weights,
            mel_starts=starts,
            mel_first=first,
            log=self.log,
            floor=np.float32(self.floor),
            offset=np.float32(self.offset),
            dct=dct,
            energy=ENERGIES[self.energy],
            energy_floor=np.float32(self.energy_floor),
            columns=self.columns,
        )

    def reference(self, samples: np.ndarray) -> np.ndarray:
        """The same features in plain NumPy and float64, for any K."""
        signal = self._preemphasise(np.asarray(samples, float))
        n_frames = self.n_frames(len(signal))
        blocks = [
            self._reference_block(signal, np.arange(f, min(f + REFERENCE_BLOCK, n_frames)))
            for f in range(0, n_frames, REFERENCE_BLOCK)
        ]
        return np.concatenate([np.empty((0, len(self.columns))), *blocks])

    def _reference_block(self, signal: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        starts = self.first + numbers * self.shift
        frames = _take(signal, starts[:, None] + np.arange(len(self.window)), self.framing)
        if self.remove_dc:
            frames = frames - frames.mean(axis=1, keepdims=True)
        windowed = frames - self.preemphasis * np.hstack([frames[:, :1], frames[:, :-1]])
        windowed *= self.window
        power = self._power(windowed)
        mel = (np.sqrt(power) if self.magnitude else power) @ self.filters.T
        if self.log:
            mel = np.log(np.maximum(mel, self.floor) + self.offset)
        rows = mel @ self.dct.T if len(self.dct) else mel
        if self.energy != "none":
            energy = {
                "raw": lambda: (frames**2).sum(axis=1),
                "windowed": lambda: (windowed**2).sum(axis=1),
                "spectrum": lambda: power.sum(axis=1) / self.n_fft,
            }[self.energy]()
            rows = np.column_stack([rows, np.log(np.maximum(energy, self.energy_floor))])
        out = np.empty_like(rows)
        out[:, self.columns] = rows
        return out

    def _power(self, windowed: np.ndarray) -> np.ndarray:
        """Power spectra (n_frames, K // 2 + 1)."""
        length = self.n_fft
        if not self.kaldi_rounding or _fast(length) or length % 2 or length > LONGEST_MATRIX:
            return np.abs(scipy.fft.rfft(windowed, length, axis=1)) ** 2
        single = windowed.astype(np.float32)
        parts = transform_matrix(length)[:, : windowed.shape[1]]
        return sum(np.square(single @ part, dtype=np.float64) for part in parts)


def _sparse_rows(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts (B + 1,), first line (B,) and weights of the span of each filter that is not zero."""
    spans = []
    for row in filters:
        lines = np.flatnonzero(row)
        spans.append((lines[0], lines[-1] + 1) if len(lines) else (0, 0))
    starts = np.cumsum([0, *(stop - start for start, stop in spans)])
    weights = np.concatenate([row[slice(*span)] for row, span in zip(filters, spans)])
    first = np.array([start for start, _ in spans], np.int64)
    return starts.astype(np.int64), first, weights.astype(np.float32)


def _fast(n_fft: int) -> bool:
    """Whether the kernels can transform frames of this length."""
    return n_fft >= 2 and not n_fft & (n_fft - 1)


def _take(signal: np.ndarray, index: np.ndarray, framing: str) -> np.ndarray:
    """Samples at `index`, which may lie beyond the ends."""
    n = len(signal)
    if EDGES[framing] == EDGE_ZERO:
        return np.where((index >= 0) & (index < n), signal[np.clip(index, 0, n - 1)], 0.0)
    if EDGES[framing] == EDGE_MIRROR:
        index = index % (2 * n)
        return signal[np.minimum(index, 2 * n - 1 - index)]
    index = index % max(2 * n - 2, 1)
    return signal[np.minimum(index, max(2 * n - 2, 1) - index) if n > 1 else index * 0]
