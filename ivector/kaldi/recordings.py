"""Recordings as entries of tables: the files of a ``wav.scp``, and archives of wav."""

from __future__ import annotations

import io
import struct
import wave
from typing import IO, BinaryIO, NamedTuple

import numpy as np

from ivector.base.errors import DataError
from ivector.base.tables.holders import Damaged, Holder, Source
from ivector.features.audio import AudioInfo, audio_info, read_audio

_LARGEST, _SMALLEST = 32767, -32768


class Recording:
    """A recording, of which what is asked for is read.

    Parameters
    ----------
    source : str or bytes
        An audio file, or the content of one.
    name : str
        What errors call it.
    """

    def __init__(self, source: str | bytes, name: str):
        self._source, self._name = source, name
        self.info: AudioInfo = audio_info(self._open())

    def _open(self) -> str | BinaryIO:
        if isinstance(self._source, str):
            return self._source
        file = io.BytesIO(self._source)
        file.name = self._name  # type: ignore[attr-defined]
        return file

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.info.n_samples / self.info.rate

    def samples(
        self,
        channel: int | None = None,
        first: int = 0,
        last: int | None = None,
        rate: int | None = None,
    ) -> np.ndarray:
        """Samples (n,) from `first` to before `last` of one channel, as of 16-bit integers."""
        rates = self.info.rate
        start = first / rates if first else None
        end = None if last is None else last / rates
        return read_audio(self._open(), rate, channel, start, end)[0]


class Sound(NamedTuple):
    """Samples (n,) to write as a recording of one channel, and their rate in Hz."""

    samples: np.ndarray
    rate: int


def holder() -> Holder:
    """Recordings as entries."""
    return Holder("recordings", _read, _write, lambda path: Recording(path, path))


def _read(source: Source) -> Recording:
    """A wav inside an archive, which says its length; streams of unknown length are refused."""
    head = source.take(8)
    if head[:4] != b"RIFF":
        raise Damaged("no wav")
    (size,) = struct.unpack("<I", head[4:])
    if size in (0, 0x7FFFFFFF, 0xFFFFFFFF):
        raise DataError(f"{source.name}: a wav that does not say its length; write it to a file")
    return Recording(head + source.take(size), source.name)


def _write(file: IO[bytes], sound: Sound, text: bool) -> None:
    if text:
        raise DataError("recordings are not written as text; leave t out of the specifier")
    rounded = np.clip(np.rint(sound.samples), _SMALLEST, _LARGEST).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(sound.rate)
        written.writeframes(rounded.tobytes())
    file.write(content.getvalue())
