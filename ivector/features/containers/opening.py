"""The containers that are read, and recordings opened with their length checked."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ivector.base.errors import DataError
from ivector.features.containers import headers, streams
from ivector.features.containers.headers import Extent
from ivector.features.containers.window import Window

if TYPE_CHECKING:
    from soundfile import SoundFile

LOWEST_RATE, HIGHEST_RATE = 1000, 384_000  # Hz; beyond, a header is damaged
MOST_CHANNELS = 256
MOST_TAGS = 10  # one after another before the container


class Container(NamedTuple):
    """How a container is told, what libsndfile calls it, and what says how long it should be."""

    magic: tuple[bytes, ...]
    names: tuple[str, ...]
    extent: Callable[[Window], Extent]


CONTAINERS = (
    Container((b"RIFF",), ("WAV", "WAVEX"), headers.RIFF.find),
    Container((b"RIFX",), ("WAV", "WAVEX"), headers.RIFX.find),
    Container((b"RF64",), ("RF64",), headers.rf64),
    Container((b"riff",), ("W64",), headers.W64.find),
    Container((b"FORM",), ("AIFF", "SVX"), headers.form),
    Container((b".snd", b"dns."), ("AU",), headers.au),
    Container((b"NIST",), ("NIST",), headers.sphere),
    Container((b"caff",), ("CAF",), headers.CAF.find),
    Container((b"2BIT",), ("AVR",), headers.avr),
    Container((b"Crea",), ("VOC",), headers.voc),
    Container((b"fLaC",), ("FLAC",), streams.flac),
    Container((b"OggS",), ("OGG",), streams.ogg),
    # All of its first eleven bits are set.
    Container(tuple(bytes((255, byte)) for byte in range(224, 256)), ("MP3",), streams.mp3),
)
# libsndfile knows HTK's files by their length alone, so that one cut short is none to it.
KNOWN_BY_LENGTH = "HTK"
SUPPORTED = ", ".join([*(name for one in CONTAINERS for name in one.names), KNOWN_BY_LENGTH])
# Bytes of a sample of one channel, of subtypes that are not compressed in blocks.
WIDTHS = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
    "ULAW": 1, "ALAW": 1,
}  # fmt: skip
# Bytes and samples of the smallest unit of those that are, where libsndfile counts too many.
UNITS = {"GSM610": (65, 320), "G721_32": (1, 2), "G723_24": (3, 8), "G723_40": (5, 8)}
UNITS_OF_AIFF = {"GSM610": (33, 160)}
# Codings that libsndfile reads with errors, or whose length it guesses; by container, and in all.
REFUSED_IN = {"MP3": (), "W64": ("IMA", "MS_", "MPEG")}
REFUSED = ("ALAC", "DWVW", "NMS")


class Opened(NamedTuple):
    """A recording that is open, and its samples in each channel."""

    sound: SoundFile
    n_samples: int


@contextmanager
def open_recording(path: str | os.PathLike | BinaryIO, thorough: bool = True) -> Iterator[Opened]:
    """Open a recording that holds as much as it promises.

    Parameters
    ----------
    path : path-like or binary file
        A regular file, or one that can seek.
    thorough : bool
        Count the frames of an MP3 even where its first one says how long it is.

    Raises
    ------
    DataError
        It cannot be read, in this or in what is done inside the context: not a regular file, not
        audio, in a container that is not supported, cut short, or with a senseless header.
    """
    import soundfile

    name = recording_name(path)
    try:
        with ExitStack() as stack:
            if isinstance(path, (str, os.PathLike)):
                raw = stack.enter_context(_open_file(path, name))
            else:
                raw = path
            file = Window(raw, name, thorough)
            container, extent = _look_at(file)
            sound = stack.enter_context(_open_sound(raw, file, extent))
            yield Opened(sound, _count(file, sound, container, extent))
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise DataError(f"{name}: not audio that can be read, or damaged: {reason}") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{name}: too long for the memory there is; cut it") from error


def recording_name(path: str | os.PathLike | BinaryIO) -> str:
    """What errors call a recording."""
    if isinstance(path, (str, os.PathLike)):
        return os.fspath(path)
    return str(getattr(path, "name", "audio stream"))


def _open_file(path: str | os.PathLike, name: str) -> BinaryIO:
    # Looked at first: to open a pipe is to wait for who writes to it.
    try:
        status = os.stat(path)
    except ValueError as error:  # a null character
        raise DataError(f"{name!r}: cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{name}: cannot be read: not a regular file; leave it out")
    return open(path, "rb", buffering=0)


def _look_at(file: Window) -> tuple[Container | None, Extent | None]:
    if not file.size:
        raise DataError(f"{file.name}: is empty (0 bytes); fetch it again or leave it out")
    for _ in range(MOST_TAGS):
        if file.at(0, 3) != b"ID3":
            break
        size = file.unpack("4B", 6)
        file.skip(10 + sum((byte & 127) << shift for byte, shift in zip(size, (21, 14, 7, 0))))
    start = file.at(0, 4)
    container = next((one for one in CONTAINERS if start.startswith(one.magic)), None)
    return container, container and container.extent(file)


def _open_sound(raw: BinaryIO, file: Window, extent: Extent | None) -> SoundFile:
    from soundfile import LibsndfileError, SoundFile

    raw.seek(0)
    source: Any = raw
    if file.is_changed():
        source = file
    elif isinstance(raw, io.FileIO):
        source = raw.fileno()  # read by libsndfile itself, from where it stands
    try:
        return SoundFile(source, closefd=False)
    except LibsndfileError:
        if extent is not None and extent.end > file.size:
            raise file.cut(file.size, extent.end) from None
        raise


def _count(
    file: Window, sound: SoundFile, container: Container | None, extent: Extent | None
) -> int:
    """Samples of each channel, as the container says; all must be there."""
    kind, coding = sound.format, sound.subtype
    if coding.startswith((*REFUSED, *REFUSED_IN.get(kind, ("MPEG",)))):
        kind = f"{coding} in {kind}"
    if kind != KNOWN_BY_LENGTH and (container is None or kind not in container.names):
        raise DataError(
            f"{file.name}: {kind} is not supported, only {SUPPORTED}; convert it to WAV or FLAC"
        )
    if not LOWEST_RATE <= sound.samplerate <= HIGHEST_RATE or sound.channels > MOST_CHANNELS:
        raise DataError(
            f"{file.name}: {sound.channels} channels at {sound.samplerate} Hz, expected up to "
            f"{MOST_CHANNELS} at {LOWEST_RATE} to {HIGHEST_RATE} Hz; mend its header"
        )
    if extent is None:
        return sound.frames
    unit = (UNITS_OF_AIFF if kind == "AIFF" else UNITS).get(coding)
    n_bytes, n_each = unit or (WIDTHS.get(coding, 0) * sound.channels, 1)
    if extent.end > file.size:
        found, promised = file.size - extent.begin, extent.end - extent.begin
        if not n_bytes:
            raise file.cut(max(0, found), promised)
        raise file.cut(max(0, found) // n_bytes * n_each, promised // n_bytes * n_each, "samples")
    n_samples = sound.frames
    if extent.n_samples is not None:
        n_samples = extent.n_samples
    elif n_bytes:
        n_samples = (extent.end - extent.begin) // n_bytes * n_each
        if unit:  # some say how much of the last block is padding
            n_samples = min(n_samples, sound.frames)
        elif sound.frames > n_samples + 1:  # W64 states it twice; SVX is padded by one
            raise file.damaged(f"its header states {n_samples} samples, and {sound.frames}")
    if sound.frames < n_samples:
        raise DataError(
            f"{file.name}: {sound.frames} samples can be read where {n_samples} are promised; "
            "convert it to WAV or FLAC"
        )
    return n_samples
