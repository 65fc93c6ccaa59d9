"""Recordings to samples: any format libsndfile reads, one channel, one rate, Kaldi's scale.

Samples are float32 in the scale of 16-bit integers, [−32768, 32767], whatever the file holds,
as Kaldi's features expect.
"""

from __future__ import annotations

import os
import struct
from math import gcd
from typing import BinaryIO

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.features.frames import check_real

FULL_SCALE = 32768.0
# A segment may end this much after the recording, which is then its end: tables are rounded, and
# made from other decoders. The value is that of Kaldi's ``extract-segments --max-overshoot``.
MAX_OVERSHOOT_S = 0.5
LARGEST = 1e9  # far above any 16-bit sample, and its squares still sum in float32
CLIPPED_SHARE = 1e-3
SHORTEST_S = 0.05
_UNKNOWN_SIZE = 0x7FFFF000  # RIFF sizes from here on are written by programs that stream
_OGG_PAGE = 65307  # bytes, at most
_OGG_LAST = 4  # flag of the last page of a stream
_MP3_SLACK = 0.05  # share by which the length an MP3 promises may be an estimate


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
        WAV (any subtype), FLAC, OGG, MP3 and whatever else libsndfile reads.
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
        The file is missing, not audio, cut short, without samples, has NaN or infinite samples,
        several channels and none chosen, another rate than asked for, or no such segment.
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
    import soundfile

    name = _name(path)
    try:
        _check_complete(path, name)
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            if sample_rate not in (None, rate) and not resample:
                raise DataError(
                    f"{name}: sampled at {rate} Hz, expected {sample_rate} Hz; "
                    "resample it or allow resampling"
                )
            first, count = _segment(name, file.frames, rate, start, end)
            if first:
                file.seek(first)
            samples = file.read(count, dtype="float32", always_2d=True)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise DataError(f"{name}: not audio that can be read, or damaged: {reason}") from error
    if len(samples) < count * (1 - (_MP3_SLACK if file.format == "MP3" else 0.0)):
        raise DataError(f"{name}: cut short: {len(samples)} of {count} samples; fetch it again")
    mono = check_samples(_choose_channel(name, samples, channel) * np.float32(FULL_SCALE), name)
    if not len(mono):
        raise DataError(f"{name}: holds no samples; leave it out")
    if sample_rate not in (None, rate):
        return resample_audio(mono, rate, int(sample_rate)), int(sample_rate)  # type: ignore[arg-type]
    return mono, rate


def resample_audio(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Convert samples (n_samples,) from `rate` to `new_rate` Hz, with a polyphase filter."""
    if rate == new_rate:
        return np.asarray(samples, np.float32)
    from scipy.signal import resample_poly

    divisor = gcd(rate, new_rate)
    converted = resample_poly(np.asarray(samples, np.float32), new_rate // divisor, rate // divisor)
    return np.ascontiguousarray(converted, np.float32)


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


def _name(path: str | os.PathLike | BinaryIO) -> str:
    if isinstance(path, (str, os.PathLike)):
        return os.fspath(path)
    return str(getattr(path, "name", "audio stream"))


def _check_arguments(
    sample_rate: int | None, channel: int | str | None, start: float | None, end: float | None
) -> None:
    if sample_rate is not None and (sample_rate != int(sample_rate) or sample_rate < 1):
        raise UsageError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}")
    whole = isinstance(channel, (int, np.integer)) and not isinstance(channel, bool)
    if not (channel in (None, "mean") or (whole and int(channel) >= 0)):  # type: ignore[arg-type]
        raise UsageError(f"channel must be 0, 1, … or 'mean', got {channel!r}")
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise UsageError(f"segment from {start} to {end} s is empty or starts before the recording")


def _check_complete(path: str | os.PathLike | BinaryIO, name: str) -> None:
    """Refuse a WAV or OGG that lacks its end, which libsndfile reads without a word."""
    if isinstance(path, (str, os.PathLike)):
        with open(path, "rb") as file:
            header, size, tail = _look_at(file)
    else:
        header, size, tail = _look_at(path)
    if size == 0:
        raise DataError(f"{name}: is empty (0 bytes); fetch it again or leave it out")
    if header[:4] == b"RIFF" and len(header) == 8:
        promised = struct.unpack("<I", header[4:])[0] + 8
        if size + 1 < promised < _UNKNOWN_SIZE:  # some writers leave the last padding byte out
            raise DataError(f"{name}: cut short: {size} of {promised} bytes; fetch it again")
    elif header[:4] == b"OggS":
        page = tail[tail.rfind(b"OggS") :]
        if len(page) < 6 or not page[5] & _OGG_LAST:
            raise DataError(f"{name}: cut short: its last page is missing; fetch it again")


def _look_at(file: BinaryIO) -> tuple[bytes, int, bytes]:
    """First 8 bytes, size and last bytes of what is left of an open file, which stays there."""
    position = file.tell()
    header = file.read(8)
    size = file.seek(0, os.SEEK_END) - position
    file.seek(position + max(0, size - _OGG_PAGE) if header[:4] == b"OggS" else position + size)
    tail = file.read()
    file.seek(position)
    return header, size, tail


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


def _choose_channel(name: str, samples: np.ndarray, channel: int | str | None) -> np.ndarray:
    n_channels = samples.shape[1]
    if channel is None and n_channels > 1:
        raise DataError(
            f"{name}: has {n_channels} channels; choose one, such as 0, or mean with "
            "`channel`, or convert it to one channel"
        )
    if channel == "mean":
        return samples.mean(axis=1)
    number = int(channel or 0)
    if number >= n_channels:
        raise DataError(f"{name}: has {n_channels} channel(s), there is no channel {number}")
    return samples[:, number]
