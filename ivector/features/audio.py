"""Recordings to samples: read whole or refused, one channel, one rate, Kaldi's scale.

Samples are float32 in the scale of 16-bit integers, [−32768, 32767], whatever the file holds,
as Kaldi's features expect.
"""

from __future__ import annotations

import os
from math import gcd
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from ivector.base.budget import MIB, memory_limit
from ivector.base.errors import DataError, UsageError, named
from ivector.features.containers.opening import (
    HIGHEST_RATE,
    LOWEST_RATE,
    open_recording,
    recording_name,
)
from ivector.features.frames import check_real

if TYPE_CHECKING:
    from soundfile import SoundFile

FULL_SCALE = 32768.0
# A segment may end this much after the recording, which is then its end: tables are rounded, and
# made from other decoders. The value is that of Kaldi's ``extract-segments --max-overshoot``.
MAX_OVERSHOOT_S = 0.5
LARGEST = 1e9  # far above any 16-bit sample, and its squares still sum in float32
CLIPPED_SHARE = 1e-3
SHORTEST_S = 0.05
# What the filter of a change of rate may cost: it has twenty times as many taps as the larger of
# the two rates without their common factor. Any two rates up to 50 kHz can be converted.
MOST_STEPS = 50_000
_BLOCK = 2**22  # samples that are decoded at once: a header is not believed about the length
_MP3_SLACK = 2 * 1152  # samples: a decoder may leave out the first frames, which refer to others


class AudioInfo(NamedTuple):
    """What the header of a recording says, held against the file.

    Parameters
    ----------
    n_samples : int
        In each channel.
    rate : int
        Hz.
    n_channels : int
    """

    n_samples: int
    rate: int
    n_channels: int


def audio_info(path: str | os.PathLike | BinaryIO) -> AudioInfo:
    """Length, rate and channels of a recording, which is not decoded.

    Parameters
    ----------
    path : path-like or binary file
        As `read_audio` takes it.

    Raises
    ------
    DataError
        Not a regular file, not audio, in a container that is not supported, cut short, or with a
        senseless header.
    """
    with open_recording(path, thorough=False) as (sound, n_samples):
        return AudioInfo(n_samples, sound.samplerate, sound.channels)


def read_audio(
    path: str | os.PathLike | BinaryIO,
    sample_rate: int | None = None,
    channel: int | str | None = None,
    start: float | None = None,
    end: float | None = None,
    resample: bool = True,
) -> tuple[np.ndarray, int]:
    """Read a recording, or a segment of it, as one channel.

    Parameters
    ----------
    path : path-like or binary file
        WAV, FLAC, Ogg (Vorbis, Opus), MP3, SPHERE (not shortened), AIFF, AU, W64, RF64, CAF, VOC
        of one block, AVR, 8SVX and HTK. All state their length, or their streams their end, and
        one that holds less is refused; so are containers that do not. WAV, AIFF, AU, CAF, W64 and
        FLAC written to a pipe state none and are read to the end of the file.
    sample_rate : int, optional
        Rate wanted, in Hz; by default that of the file.
    channel : int or "mean", optional
        Channel counted from 0, or the average of all; needed where there are several.
    start, end : float, optional
        Segment in seconds. The end may lie up to 0.5 s after that of the recording, as in
        Kaldi's ``extract-segments``.
    resample : bool
        Convert a file of another rate to `sample_rate` (polyphase filter, free of aliases);
        otherwise such a file is an error.

    Returns
    -------
    samples : ndarray (n_samples,), float32
        In the scale of 16-bit integers.
    rate : int
        In Hz.

    Raises
    ------
    DataError
        The file is missing, no regular file, not audio, cut short, without samples, has NaN or
        infinite samples, several channels and none chosen, another rate than asked for, a rate
        outside 1–384 kHz or one that cannot be converted at a reasonable cost, no such segment,
        or needs more memory than `ivector.base.budget.memory_limit`.
    UsageError
        An argument that fits no file.

    Examples
    --------
    >>> import numpy as np
    >>> import soundfile
    >>> from ivector import read_audio
    >>> tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    >>> soundfile.write("tone.wav", tone, 16000)
    >>> samples, rate = read_audio("tone.wav", sample_rate=8000)
    >>> len(samples), rate
    (8000, 8000)
    >>> round(float(np.abs(samples).max()), -3)
    16000.0
    """
    _check_arguments(sample_rate, channel, start, end)
    name = recording_name(path)
    whole = start is None and end is None
    with open_recording(path, whole) as (sound, n_samples):
        rate = sound.samplerate
        if sample_rate not in (None, rate) and not resample:
            raise DataError(
                f"{name}: sampled at {rate} Hz, expected {sample_rate} Hz; "
                "resample it or allow resampling"
            )
        first, count = _segment(name, n_samples, rate, start, end)
        _check_cost(name, count, rate, sample_rate)
        _check_channel(name, sound.channels, channel)
        if first:
            sound.seek(first)
        mono = _decode(sound, count, channel)
        slack = _MP3_SLACK if sound.format == "MP3" else 0
    if len(mono) < count - slack:
        raise DataError(f"{name}: cut short: {len(mono)} of {count} samples; fetch it again")
    mono = check_samples(mono, name)
    if not len(mono):
        raise DataError(f"{name}: holds no samples; leave it out")
    if sample_rate not in (None, rate):
        return resample_audio(mono, rate, int(sample_rate)), int(sample_rate)  # type: ignore[arg-type]
    return mono, rate


def _decode(sound: SoundFile, count: int, channel: int | str | None) -> np.ndarray:
    """The next samples (up to count,) of one channel, in the scale of 16-bit integers."""
    parts = []
    while count > 0:
        block = sound.read(min(count, _BLOCK // sound.channels), dtype="float32", always_2d=True)
        if not len(block):
            break
        mono = block.mean(axis=1) if channel == "mean" else block[:, int(channel or 0)]
        with np.errstate(over="ignore", invalid="ignore"):  # told with the other defects
            parts.append(mono * np.float32(FULL_SCALE))
        count -= len(block)
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])


def resample_audio(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Convert samples (n_samples,) from `rate` to `new_rate` Hz, with a polyphase filter.

    Raises
    ------
    DataError
        The rates have so little in common that the filter would be too long.
    """
    if rate == new_rate:
        return np.asarray(samples, np.float32)
    from scipy.signal import resample_poly

    up, down = _steps(rate, new_rate)
    converted = resample_poly(np.asarray(samples, np.float32), up, down)
    return np.ascontiguousarray(converted, np.float32)


def _steps(rate: int, new_rate: int) -> tuple[int, int]:
    """The two rates, the new one first, without their common factor."""
    divisor = gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    if max(up, down) > MOST_STEPS:
        raise DataError(f"a change from {rate} to {new_rate} Hz is beyond reason; check the rates")
    return up, down


def check_samples(samples: np.ndarray, name: str = "recording") -> np.ndarray:
    """Samples as a contiguous float32 array (n_samples,), or an error that names `name`.

    Raises
    ------
    DataError
        Not one-dimensional, not real numbers, NaN, infinite, or beyond any 16-bit scale.
    """
    samples = check_real(samples, f"{name}: samples")
    if samples.ndim != 1:
        raise DataError(
            f"{name}: samples have shape {samples.shape}, expected one channel (n_samples,)"
        )
    samples = np.ascontiguousarray(samples, np.float32)
    # NaN fails any comparison; minimum and maximum make no temporary array.
    if len(samples) and not (samples.min() > -LARGEST and samples.max() < LARGEST):
        bad = np.flatnonzero(~(np.abs(samples) < LARGEST))
        raise DataError(
            f"{name}: {len(bad)} samples are NaN, infinite or out of all scale, "
            f"the first at {bad[0]}; mend or leave it out"
        )
    return samples


def refuse_zeros(samples: np.ndarray, name: str) -> None:
    """Raise DataError where every sample is zero, as of a dead microphone or an empty channel."""
    if not np.any(samples):
        raise DataError(f"{name}: every sample is zero; record it again or leave it out")


def audio_defects(samples: np.ndarray, rate: float) -> list[str]:
    """Say what is doubtful about a recording that can be read.

    Parameters
    ----------
    samples : ndarray (n_samples,)
        In the scale of 16-bit integers.
    rate : float
        In Hz.

    Returns
    -------
    list of str
        Among "shorter than 50 ms", "all samples are zero", "constant", "clipped: …" (at least
        0.1 % of the samples at full scale), "scaled to ±1"; empty for a sound recording.
    """
    samples = np.asarray(samples)
    defects = []
    if len(samples) < SHORTEST_S * rate:
        defects.append(f"shorter than {1000 * SHORTEST_S:.0f} ms")
    if not len(samples):
        return defects
    low, high = float(samples.min()), float(samples.max())
    if low == high:
        defects.append("all samples are zero" if low == 0 else "constant")
    elif max(-low, high) <= 1:
        defects.append("scaled to ±1 instead of ±32768, or as good as silent")
    clipped = float(np.mean((samples >= FULL_SCALE - 1) | (samples <= -FULL_SCALE)))
    if clipped >= CLIPPED_SHARE:
        defects.append(f"clipped: {100 * clipped:.1f} % of samples at full scale")
    return defects


def _check_arguments(
    sample_rate: int | None, channel: int | str | None, start: float | None, end: float | None
) -> None:
    if sample_rate is not None and (
        sample_rate % 1 or not LOWEST_RATE <= sample_rate <= HIGHEST_RATE
    ):
        raise UsageError(
            f"sample_rate must be a whole number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}, got "
            f"{sample_rate!r}"
        )
    whole = isinstance(channel, (int, np.integer)) and not isinstance(channel, bool)
    if not (channel in (None, "mean") or (whole and int(channel) >= 0)):  # type: ignore[arg-type]
        raise UsageError(f"channel must be 0, 1, … or 'mean', got {channel!r}")
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise UsageError(f"segment from {start} to {end} s is empty or starts before the recording")


def _segment(
    name: str, n_samples: int, rate: int, start: float | None, end: float | None
) -> tuple[int, int]:
    """First sample and number of samples."""
    first = round((start or 0.0) * rate)
    if end is None and start is None:
        return 0, n_samples
    duration = n_samples / rate
    if first >= n_samples or (end is not None and end > duration + MAX_OVERSHOOT_S):
        until = "its end" if end is None else f"{end} s"
        raise DataError(
            f"{name}: segment from {start or 0} s to {until} is outside the recording "
            f"of {duration:.3f} s; correct the segment"
        )
    last = n_samples if end is None else min(round(end * rate), n_samples)
    return first, last - first


def _check_channel(name: str, n_channels: int, channel: int | str | None) -> None:
    if channel is None and n_channels > 1:
        raise DataError(
            f"{name}: has {n_channels} channels; choose one, such as 0, or mean with `channel`, "
            "name it in the fifth column of segments, or convert it to one channel"
        )
    if channel not in (None, "mean") and int(channel) >= n_channels:  # type: ignore[arg-type]
        raise DataError(f"{name}: has {n_channels} channel(s), there is no channel {channel}")


def _check_cost(name: str, count: int, rate: int, sample_rate: int | None) -> None:
    """Refuse what the header promises if it could not be held, before any of it is decoded."""
    n_numbers = 2 * count  # the blocks, and all in one
    if sample_rate not in (None, rate):
        with named(name):
            up, down = _steps(rate, int(sample_rate))  # type: ignore[arg-type]
        n_numbers += 2 * count * up // down
    needed, limit = 4 * n_numbers // MIB, memory_limit()
    if limit and needed > limit:
        raise DataError(
            f"{name}: {count / rate / 3600:.1f} h need {needed} MiB of memory, the limit is "
            f"{limit}; cut it into parts, or give `memory` {needed} or more"
        )
