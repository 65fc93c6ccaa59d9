"""Sounds to augment with: recordings of noise and rooms, training speakers, or simulation.

Each is a callable ``(n_samples, rng) -> samples``; those of rooms choose their length themselves.
All are picklable, and read their files only when asked for a sound.

N  samples
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.base.foreign.opening import files_below
from ivector.data import Part, Row

AUDIO = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .au .sph .w64".split())
MUSAN_KINDS = ("noise", "music", "speech")
LEAST_HZ = 20.0  # below which coloured noise rises no further
SPEED_OF_SOUND = 343.0  # m/s


class SoundFolder:
    """Stretches of random recordings of a folder.

    Parameters
    ----------
    files : path-like or sequence of path-like
        Folder, searched to its depth, or recordings; of several channels the first is taken.
    rate : int
        Hz; recordings are resampled to it.
    n_together : (int, int)
        Least and largest number of recordings that are added, each at the same power: (1, 1), or
        (3, 7) to make babble of single voices.
    whole : bool
        Give whole recordings, as of impulse responses, instead of stretches.

    Raises
    ------
    DataError
        There are no recordings, or one is not audio.
    """

    def __init__(
        self,
        files: str | os.PathLike | Sequence[str | os.PathLike],
        rate: int,
        n_together: tuple[int, int] = (1, 1),
        whole: bool = False,
    ):
        if isinstance(files, (str, os.PathLike)):
            self.files = find_sounds(files)
        else:
            self.files = [os.path.abspath(path) for path in files]
        if not self.files:
            raise DataError("no recordings of noise were given")
        self.rate, self.n_together, self.whole = rate, n_together, whole
        if not 1 <= n_together[0] <= n_together[1]:
            raise UsageError(f"n_together={n_together}: at least 1, the least number first")

    def __call__(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Sound (n_samples,), or of its own length if whole; float32."""
        if self.whole:
            return self._read(rng, None)
        low, high = self.n_together
        return mix(
            (self._read(rng, n_samples) for _ in range(int(rng.integers(low, high + 1)))), n_samples
        )

    def _read(self, rng: np.random.Generator, n_samples: int | None) -> np.ndarray:
        from ivector.features.audio import audio_info, read_audio

        path = self.files[int(rng.integers(len(self.files)))]
        if n_samples is None:
            return read_audio(path, self.rate, channel=0)[0]
        sound = audio_info(path)
        spare = sound.n_samples / sound.rate - n_samples / self.rate
        where = rng.random()
        if spare <= 0:
            return wrap(read_audio(path, self.rate, channel=0)[0], n_samples, where)
        start = where * spare
        samples, _ = read_audio(path, self.rate, 0, start, start + (n_samples + 1) / self.rate)
        return wrap(samples, n_samples, 0.0)


class Babble:
    """Several training speakers talking at once.

    Parameters
    ----------
    recordings : sequence of (utterance, file, start, end[, channel])
        As `dnn.data.audio_source.AudioSource` has them; of training speakers only.
    rate : int
        Hz.
    n_speakers : (int, int)
        Least and largest number of recordings that are added, each at the same power.
    channel : int or "mean"
        Of those whose rows name none.
    """

    def __init__(
        self,
        recordings: Sequence[Row],
        rate: int,
        n_speakers: tuple[int, int] = (3, 7),
        channel: int | str = 0,
    ):
        self.recordings = [Part(*row) for row in recordings]
        self.rate, self.n_speakers, self.channel = rate, n_speakers, channel
        if not self.recordings:
            raise DataError("babble needs recordings of training speakers, none were given")
        if not 1 <= n_speakers[0] <= n_speakers[1]:
            raise UsageError(f"n_speakers={n_speakers}: at least 1, the least number first")

    def __call__(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Babble (n_samples,), float32."""
        low, high = self.n_speakers
        return mix(
            (self._read(rng, n_samples) for _ in range(int(rng.integers(low, high + 1)))), n_samples
        )

    def _read(self, rng: np.random.Generator, n_samples: int) -> np.ndarray:
        from dnn.formats.shards import Member, OpenMember
        from ivector.features.audio import read_audio

        utt, file, start, end, channel = self.recordings[int(rng.integers(len(self.recordings)))]
        opened = OpenMember(file) if isinstance(file, Member) else file
        try:
            samples, _ = read_audio(
                opened, self.rate, self.channel if channel is None else channel, start, end
            )
        except DataError as error:
            raise DataError(f"babble of {utt}: {error}") from error
        return wrap(samples, n_samples, rng.random())


@dataclass(frozen=True)
class ColouredNoise:
    """Gaussian noise whose power falls by a slope drawn for each sound, white to brown.

    Parameters
    ----------
    exponent : (float, float)
        Power goes with 1 / frequency to an exponent from the least to the largest: 0 is white
        noise, 1 pink, 2 brown.
    rate : int
        Hz; sets where the rise towards low frequencies ends.
    """

    exponent: tuple[float, float] = (0.0, 2.0)
    rate: int = 16000

    def __call__(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Noise (n_samples,), float32, of mean square about 1."""
        from scipy.fft import irfft, next_fast_len

        exponent = rng.uniform(*self.exponent)
        size = next_fast_len(max(n_samples, 2), real=True)
        # Exponentials of float32 are five times as fast as powers.
        hertz = np.arange(size // 2 + 1, dtype=np.float32) * np.float32(self.rate / size)
        shape = np.exp(np.float32(-exponent / 2) * np.log(np.maximum(hertz, LEAST_HZ)))
        shape *= np.float32((size / np.mean(np.square(shape))) ** 0.5)
        parts = rng.standard_normal((2, len(shape)), np.float32)
        parts[:, 0] = 0.0  # no constant part
        parts[1, -1] = 0.0
        spectrum = np.empty(len(shape), np.complex64)
        spectrum.real, spectrum.imag = parts * shape
        return irfft(spectrum, size)[:n_samples] * np.float32(2**-0.5)


@dataclass(frozen=True)
class SimulatedRooms:
    """Impulse responses of direct sound and exponentially decaying noise.

    J.-D. Polack's model, as in E. A. P. Habets, "Room impulse response generator", 2010: after
    the direct sound, Gaussian noise whose power falls by 60 dB in the reverberation time.

    Parameters
    ----------
    rate : int
        Hz.
    rt60 : (float, float)
        Reverberation time in seconds, drawn uniformly.
    direct_db : (float, float)
        Energy of the direct sound to that of all else, in dB, drawn uniformly; far speakers have
        low ones.
    """

    rate: int
    rt60: tuple[float, float] = (0.2, 0.8)
    direct_db: tuple[float, float] = (-3.0, 12.0)

    def __post_init__(self) -> None:
        if not 0 < self.rt60[0] <= self.rt60[1] <= 10:
            raise UsageError(f"rt60={self.rt60}: seconds, above 0 and at most 10, least first")

    def __call__(self, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Impulse response (n_taps,) of the reverberation time, float32; direct sound first."""
        seconds = rng.uniform(*self.rt60)
        ratio = rng.uniform(*self.direct_db)
        distance = rng.uniform(1.0, 5.0)  # m, that the first reflection goes further
        n_taps = max(2, round(seconds * self.rate))
        first = min(n_taps - 1, max(1, round(distance / SPEED_OF_SOUND * self.rate)))
        rate = np.float32(-3 * np.log(10) / (seconds * self.rate))  # 60 dB in amplitude
        decay = np.exp(rate * np.arange(n_taps - first, dtype=np.float32))
        response = np.zeros(n_taps, np.float32)
        response[first:] = rng.standard_normal(n_taps - first, np.float32) * decay
        response[first:] *= np.float32(
            (10 ** (-ratio / 10) / max(float(np.square(response).sum()), 1e-20)) ** 0.5
        )
        response[0] = 1.0
        return response


def mix(sounds: Any, n_samples: int) -> np.ndarray:
    """Sum of sounds (n_samples,), each scaled to a mean square of 1; silent ones are left out."""
    total = np.zeros(n_samples, np.float32)
    for sound in sounds:
        power = float(np.dot(sound, sound)) / max(n_samples, 1)
        if power > 0:
            total += sound * np.float32(power**-0.5)
    return total


def wrap(samples: np.ndarray, n_samples: int, where: float) -> np.ndarray:
    """`n_samples` of a sound from some point in it, 0 … 1, repeated as often as that takes."""
    if len(samples) >= n_samples:
        start = int(where * (len(samples) - n_samples + 1))
        return samples[start : start + n_samples]
    start = int(where * len(samples))
    return np.resize(np.concatenate([samples[start:], samples[:start]]), n_samples)


def find_sounds(folder: str | os.PathLike) -> list[str]:
    """List the recordings below a folder, sorted.

    Raises
    ------
    DataError
        No such folder, or nothing in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of noise or impulse responses")
    found = sorted(
        os.path.abspath(path) for path in files_below(root) if path.suffix.lower() in AUDIO
    )
    if not found:
        raise DataError(f"{root}: holds no recordings (wav, flac, ogg, mp3, ...)")
    return found


def find_musan(folder: str | os.PathLike) -> dict[str, list[str]]:
    """Find noise, music and speech of a folder in the layout of MUSAN.

    ``{noise,music,speech}/…``, or those in a folder ``musan``; a folder without any of them is
    taken to hold noise.

    Returns
    -------
    dict of str to list of str
        Recordings of the kinds that are there.
    """
    root = Path(folder)
    if (root / "musan").is_dir():
        root = root / "musan"
    kinds = {kind: root / kind for kind in MUSAN_KINDS if (root / kind).is_dir()}
    return {kind: find_sounds(path) for kind, path in (kinds or {"noise": root}).items()}


def find_rirs(folder: str | os.PathLike) -> list[str]:
    """Find impulse responses: ``[RIRS_NOISES/]simulated_rirs``, or a folder of recordings.

    Of ``simulated_rirs`` the small and medium rooms are taken, if there, as Kaldi's recipes do.
    """
    root = Path(folder)
    if (root / "RIRS_NOISES").is_dir():
        root = root / "RIRS_NOISES"
    if (root / "simulated_rirs").is_dir():
        root = root / "simulated_rirs"
    rooms = [root / room for room in ("smallroom", "mediumroom") if (root / room).is_dir()]
    return [path for room in rooms or [root] for path in find_sounds(room)]
