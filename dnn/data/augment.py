"""Augmentation: noise, reverberation, babble, telephone band and codec, speed, masks.

Each is a callable ``(array, rng) -> array``, changes no argument, and depends on its arguments
alone. `SpecAugment` takes features (n_frames, n_features); all others take samples (n_samples,),
float32 in the scale of 16-bit integers. Noise and impulse responses come from `dnn.data.noises`: a
user's MUSAN and RIRS_NOISES folders, training speakers, or simulation.

The policy of `standard_augmentation` is that of Kaldi's VoxCeleb recipe (D. Snyder et al.,
"X-vectors", ICASSP 2018, section 3.3); `SpecAugment` follows D. S. Park et al., Interspeech 2019,
without time warping.

N  samples
T  frames
D  features
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from ivector.base.errors import UsageError
from ivector.features.audio import FULL_SCALE

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
# Samples of noise (or of an impulse response, whose length it chooses itself) of a number wanted.
Sounds = Callable[[int, np.random.Generator], np.ndarray]

# Kaldi's steps/data/augment_data_dir.py as called by egs/voxceleb/v2/run.sh, in dB.
SNR_NOISE, SNR_MUSIC, SNR_BABBLE = (0.0, 15.0), (5.0, 15.0), (13.0, 20.0)
TELEPHONE_HZ = (300.0, 3400.0)
TELEPHONE_RATE = 8000
MU = 255.0


def power(samples: np.ndarray) -> float:
    """Mean square of samples (n_samples,)."""
    return float(np.dot(samples, samples)) / max(len(samples), 1)


@dataclass(frozen=True)
class AddNoise:
    """Add noise at a signal-to-noise ratio, which is of the mean squares over all samples.

    Silence, or a stretch of noise that is silent, is left as it is.

    Parameters
    ----------
    sounds : callable
        ``(n_samples, rng)`` to noise (n_samples,), as those of `dnn.data.noises`.
    snr_db : (float, float)
        Least and largest ratio in dB, drawn uniformly.
    """

    sounds: Sounds
    snr_db: tuple[float, float] = SNR_NOISE

    def __post_init__(self) -> None:
        _check_range("snr_db", self.snr_db, -100, 100)

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Samples (N,) with noise, (N,)."""
        snr = rng.uniform(*self.snr_db)
        noise = self.sounds(len(samples), rng)
        wanted, there = power(samples) * 10 ** (-snr / 10), power(noise)
        if not (wanted > 0 and there > 0):
            return samples.copy()
        return samples + np.float32((wanted / there) ** 0.5) * noise


@dataclass(frozen=True)
class Reverberate:
    """Convolve with a room impulse response; length, level and position stay as they are.

    Parameters
    ----------
    rirs : callable
        ``(n_samples, rng)`` to an impulse response (n_taps,) of whatever length.
    """

    rirs: Sounds

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Samples (N,) in a room, (N,)."""
        from scipy.fft import irfft, next_fast_len, rfft

        response = self.rirs(len(samples), rng)
        if not len(samples) or not np.any(response):
            return samples.copy()
        direct = int(np.argmax(np.abs(response)))
        size = next_fast_len(len(samples) + len(response) - 1, real=True)
        spectrum = rfft(samples, size) * rfft(response.astype(np.float32), size)
        # Counted from the direct sound, so that what was aligned with the samples stays so.
        wet = irfft(spectrum, size)[direct : direct + len(samples)]
        return _at_power(wet, power(samples))


@dataclass(frozen=True)
class BandLimit:
    """Pass a band only, as a telephone does (Butterworth, 4th order at each side).

    Parameters
    ----------
    rate : int
        Of the samples, in Hz.
    band : (float, float)
        Corner frequencies in Hz.
    """

    rate: int
    band: tuple[float, float] = TELEPHONE_HZ
    _filter: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from scipy.signal import butter

        low, high = self.band
        if not 0 < low < high < self.rate / 2:
            raise UsageError(
                f"the band {low:g}–{high:g} Hz must lie between 0 and {self.rate / 2:g} Hz, half "
                "of the sampling rate"
            )
        sections = butter(4, self.band, "bandpass", fs=self.rate, output="sos")
        object.__setattr__(self, "_filter", sections)

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Samples (N,) of the band, (N,)."""
        from scipy.signal import sosfilt

        return sosfilt(self._filter, samples).astype(np.float32)


@dataclass(frozen=True)
class TelephoneCodec:
    """Send samples through an 8 kHz telephone line with mu-law coding (ITU-T G.711, 8 bits).

    The continuous law is used, which G.711 approximates by straight pieces; what is louder than
    full scale is clipped, as there.

    Parameters
    ----------
    rate : int
        Of the samples, in Hz; they come back at it.
    """

    rate: int

    def __post_init__(self) -> None:
        if self.rate < TELEPHONE_RATE:
            raise UsageError(f"rate={self.rate}: a telephone line has {TELEPHONE_RATE} Hz")

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Samples (N,) from the other end of the line, (N,)."""
        from ivector.features.audio import resample_audio

        narrow = resample_audio(samples, self.rate, TELEPHONE_RATE)
        coded = mu_law(BandLimit(TELEPHONE_RATE)(narrow, rng))
        return _fit(resample_audio(coded, TELEPHONE_RATE, self.rate), len(samples))


def mu_law(samples: np.ndarray, bits: int = 8) -> np.ndarray:
    """Samples (n_samples,) after mu-law coding in `bits` and decoding (ITU-T G.711, µ = 255)."""
    levels = 2 ** (bits - 1) - 1
    scaled = np.clip(samples / np.float32(FULL_SCALE), -1, 1)
    code = np.rint(np.log1p(MU * np.abs(scaled)) / np.log1p(MU) * levels)
    decoded = np.expm1(code / levels * np.log1p(MU)) / MU
    return (np.copysign(decoded, scaled) * FULL_SCALE).astype(np.float32)


@dataclass(frozen=True)
class SpeedPerturbation:
    """Play faster or slower, pitch and tempo together (T. Ko et al., Interspeech 2015).

    The number of samples changes by the factor; `dnn.data.audio_source.AudioSource` reads as many
    more as that takes. Its option ``speeds`` makes new speakers of the factors instead, as Kaldi
    does.

    Parameters
    ----------
    speeds : sequence of float
        Factors, one of which is drawn.
    """

    speeds: Sequence[float] = (0.9, 1.0, 1.1)

    def __post_init__(self) -> None:
        if not self.speeds or not 0.5 <= min(self.speeds) <= max(self.speeds) <= 2:
            raise UsageError(f"speeds={self.speeds}: one or more factors from 0.5 to 2 are needed")

    @property
    def stretch(self) -> float:
        """How many times as many samples are needed for a crop of a given length."""
        return max(self.speeds)

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Samples (N,) at another speed, (ceil(N / speed),)."""
        from ivector.features.audio import resample_audio

        speed = self.speeds[int(rng.integers(len(self.speeds)))]
        ratio = Fraction(speed).limit_denominator(100)
        return resample_audio(samples, ratio.numerator, ratio.denominator).copy()


@dataclass(frozen=True)
class SpecAugment:
    """Mask bands of features and stretches of time with the mean of the crop.

    Parameters
    ----------
    n_feature_masks, n_time_masks : int
    max_features : int
        Widest band, at most all but one of the features; the width is uniform from 0.
    max_frames : int
        Longest stretch.
    max_share : float
        Longest stretch as a share of the frames, for short crops (the paper's p).
    """

    n_feature_masks: int = 2
    max_features: int = 8
    n_time_masks: int = 2
    max_frames: int = 20
    max_share: float = 0.2

    def __post_init__(self) -> None:
        least = min(self.n_feature_masks, self.max_features, self.n_time_masks, self.max_frames)
        if least < 0 or not 0 <= self.max_share <= 1:
            raise UsageError("SpecAugment: counts and widths are at least 0, max_share at most 1")

    def __call__(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Features (T, D) with masks, (T, D)."""
        n_frames, n_features = features.shape
        fill = features.mean(axis=0)
        masked = features.copy()
        for _ in range(self.n_time_masks):
            widest = min(self.max_frames, int(self.max_share * n_frames))
            start, stop = _stretch(n_frames, widest, rng)
            masked[start:stop] = fill
        for _ in range(self.n_feature_masks):
            start, stop = _stretch(n_features, min(self.max_features, n_features - 1), rng)
            masked[:, start:stop] = fill[start:stop]
        return masked


def _stretch(size: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    """A stretch of 0 … `widest` within `size`, both ends drawn uniformly."""
    width = int(rng.integers(widest + 1))
    start = int(rng.integers(size - width + 1))
    return start, start + width


@dataclass(frozen=True)
class Chain:
    """Several augmentations, one after the other."""

    steps: Sequence[Augment]

    @property
    def stretch(self) -> float:
        """How many times as many samples are needed for a crop of a given length."""
        return float(np.prod([getattr(step, "stretch", 1.0) for step in self.steps]))

    def __call__(self, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply all."""
        for step in self.steps:
            array = step(array, rng)
        return array


@dataclass(frozen=True)
class Choose:
    """One of several augmentations, or none.

    Parameters
    ----------
    choices : sequence of callable
    probability : float
        That of any; otherwise the array is returned as it is.
    """

    choices: Sequence[Augment]
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not self.choices or not 0 <= self.probability <= 1:
            raise UsageError("Choose: at least one choice, and a probability from 0 to 1")

    @property
    def stretch(self) -> float:
        """How many times as many samples are needed for a crop of a given length."""
        return max(1.0, *(getattr(choice, "stretch", 1.0) for choice in self.choices))

    def __call__(self, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply one."""
        if rng.random() >= self.probability:
            return array
        return self.choices[int(rng.integers(len(self.choices)))](array, rng)


def standard_augmentation(
    rate: int,
    musan: str | os.PathLike | None = None,
    rirs: str | os.PathLike | None = None,
    babble: Sounds | None = None,
    *,
    probability: float = 0.8,
    telephone: bool = False,
) -> Choose:
    """Noise, music, babble or reverberation, as Kaldi's VoxCeleb recipe has them.

    Parameters
    ----------
    rate : int
        Of the samples, in Hz.
    musan : path-like, optional
        Folder in the layout of MUSAN; without it noise is simulated, and there is no music.
    rirs : path-like, optional
        Folder of RIRS_NOISES, or of any impulse responses; without it they are simulated.
    babble : callable, optional
        `dnn.data.noises.Babble` of training speakers; without it MUSAN's speech, if there.
    probability : float
        Share of crops that are changed. The default gives each kind, and none, a fifth.
    telephone : bool
        A telephone line as a further choice.
    """
    from dnn.data.noises import ColouredNoise, SimulatedRooms, SoundFolder, find_musan, find_rirs

    kinds = find_musan(musan) if musan is not None else {}
    noise: Any = ColouredNoise(rate=rate)
    if "noise" in kinds:
        noise = SoundFolder(kinds["noise"], rate)
    choices: list[Augment] = [AddNoise(noise, SNR_NOISE)]
    if "music" in kinds:
        choices.append(AddNoise(SoundFolder(kinds["music"], rate), SNR_MUSIC))
    if babble is None and "speech" in kinds:
        babble = SoundFolder(kinds["speech"], rate, (3, 7))
    if babble is not None:
        choices.append(AddNoise(babble, SNR_BABBLE))
    rooms: Any = SimulatedRooms(rate)
    if rirs is not None:
        rooms = SoundFolder(find_rirs(rirs), rate, whole=True)
    choices.append(Reverberate(rooms))
    if telephone:
        choices.append(TelephoneCodec(rate))
    return Choose(choices, probability)


def _at_power(samples: np.ndarray, wanted: float) -> np.ndarray:
    """Scale samples to a mean square."""
    there = power(samples)
    factor = (wanted / there) ** 0.5 if there > 0 else 0.0
    return (samples * np.float32(factor)).astype(np.float32)


def _fit(samples: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut samples to a length, or repeat the last."""
    if len(samples) >= n_samples:
        return np.ascontiguousarray(samples[:n_samples])
    return np.pad(samples, (0, n_samples - len(samples)), "edge")


def _check_range(name: str, values: tuple[float, float], low: float, high: float) -> None:
    if len(values) != 2 or not low <= values[0] <= values[1] <= high:
        raise UsageError(f"{name}={values}: least and largest from {low:g} to {high:g} are needed")
