"""The numbers of python_speech_features, from the fast kernels.

`mfcc`, `fbank` and `logfbank` replace its functions. Signatures and meanings are those of
python_speech_features 0.6: pre-emphasis over the whole signal, frames zero-padded at its end,
triangles between whole spectral lines, power divided by the transform's length, zeros replaced
by float64's epsilon, log energy from the power spectrum. Besides, ``nfft=None`` takes the next
power of two (as later versions do), and `logfbank` has `winfunc`. The results are float32.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.audio import check_samples
from ivector.features.frontend import Frontend, cosine_transform

EPSILON = float(np.finfo(float).eps)


def _ones(length: int) -> np.ndarray:
    return np.ones(length)


def mfcc(
    signal: np.ndarray,
    samplerate: float = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    numcep: int = 13,
    nfilt: int = 26,
    nfft: int | None = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
    ceplifter: float = 22,
    appendEnergy: bool = True,
    winfunc: Callable[[int], np.ndarray] = _ones,
) -> np.ndarray:
    """MFCC (n_frames, numcep) as ``python_speech_features.mfcc`` gives them."""
    frontend = psf_frontend(
        samplerate, winlen, winstep, nfilt, nfft, lowfreq, highfreq, preemph, winfunc,
        n_cepstra=numcep, lifter=ceplifter, energy=bool(appendEnergy),
    )  # fmt: skip
    return frontend(check_samples(signal, "signal"))


def fbank(
    signal: np.ndarray,
    samplerate: float = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    nfilt: int = 26,
    nfft: int | None = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
    winfunc: Callable[[int], np.ndarray] = _ones,
) -> tuple[np.ndarray, np.ndarray]:
    """Mel energies (n_frames, nfilt) and frame energies (n_frames,), without logarithm."""
    frontend = psf_frontend(
        samplerate, winlen, winstep, nfilt, nfft, lowfreq, highfreq, preemph, winfunc,
        energy=True, log=False,
    )  # fmt: skip
    features = frontend(check_samples(signal, "signal"))
    return np.maximum(features[:, 1:], np.float32(EPSILON)), np.exp(features[:, 0])


def logfbank(
    signal: np.ndarray,
    samplerate: float = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    nfilt: int = 26,
    nfft: int | None = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
    winfunc: Callable[[int], np.ndarray] = _ones,
) -> np.ndarray:
    """Log mel energies (n_frames, nfilt) as ``python_speech_features.logfbank`` gives them."""
    frontend = psf_frontend(
        samplerate, winlen, winstep, nfilt, nfft, lowfreq, highfreq, preemph, winfunc
    )
    return frontend(check_samples(signal, "signal"))


@functools.lru_cache(maxsize=16)
def psf_frontend(
    samplerate: float,
    winlen: float,
    winstep: float,
    nfilt: int,
    nfft: int | None,
    lowfreq: float,
    highfreq: float | None,
    preemph: float,
    winfunc: Callable[[int], np.ndarray],
    n_cepstra: int = 0,
    lifter: float = 0.0,
    energy: bool = False,
    log: bool = True,
) -> Frontend:
    """Frontend for these options; no cosine transform if ``n_cepstra=0``."""
    length, shift = _round_half_up(winlen * samplerate), _round_half_up(winstep * samplerate)
    if min(length, shift) < 1:
        raise UsageError(f"winlen={winlen} and winstep={winstep} s are shorter than a sample")
    if nfft is None:
        nfft = 1 << (length - 1).bit_length()
    if nfft < length:
        warnings.warn(f"nfft={nfft} cuts frames of {length} samples; take more", stacklevel=3)
    window = np.asarray(winfunc(length), float)
    if window.shape != (length,):
        raise UsageError(f"winfunc gave shape {window.shape}, expected ({length},)")
    filters = integer_triangles(nfilt, nfft, samplerate, lowfreq, highfreq or samplerate / 2)
    skip = int(energy and n_cepstra > 0)  # C0 gives way to the energy
    n_rows = n_cepstra - skip if n_cepstra else nfilt
    columns = np.arange(n_rows) + int(energy)
    return Frontend(
        window=window[:nfft],  # a longer frame is cut, as numpy.fft does
        count_length=length,
        shift=shift,
        n_fft=nfft,
        framing="pad",
        filters=filters / nfft,
        dct=_transform(n_cepstra, nfilt, lifter)[skip:],
        columns=np.append(columns, 0) if energy else columns,
        signal_preemphasis=preemph,
        log=log,
        floor=EPSILON,
        energy="spectrum" if energy else "none",
        energy_floor=EPSILON,
    )


def integer_triangles(n_bins: int, n_fft: int, rate: float, low: float, high: float) -> np.ndarray:
    """``get_filterbanks``: triangles with corners on whole spectral lines, (B, K // 2 + 1).

    A triangle may be empty; its logarithm is then that of epsilon, as in the original.
    """
    if not 0 <= low < high <= rate / 2:
        raise UsageError(
            f"frequencies must satisfy 0 ≤ low < high ≤ {rate / 2:g} Hz, got {low:g} and {high:g}"
        )
    first, last = 2595 * np.log10(1 + low / 700.0), 2595 * np.log10(1 + high / 700.0)
    hertz = 700 * (10 ** (np.linspace(first, last, n_bins + 2) / 2595.0) - 1)
    corners = np.floor((n_fft + 1) * hertz / rate).astype(int)
    weights = np.zeros((n_bins, n_fft // 2 + 1))
    for row, left, centre, right in zip(weights, corners, corners[1:], corners[2:]):
        row[left:centre] = (np.arange(left, centre) - left) / max(centre - left, 1)
        row[centre:right] = (right - np.arange(centre, right)) / max(right - centre, 1)
    return weights


def _transform(n_cepstra: int, n_bins: int, lifter: float) -> np.ndarray:
    if n_cepstra == 0:
        return np.zeros((0, n_bins))
    if not 1 <= n_cepstra <= n_bins:
        raise UsageError(f"{n_cepstra} cepstra cannot be taken of {n_bins} mel bins; take fewer")
    return cosine_transform(n_cepstra, n_bins, lifter)


def _round_half_up(number: float) -> int:
    return math.floor(number + 0.5)
