"""Where containers that state a length say that their samples end."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ivector.base.errors import DataError
from ivector.features.containers.window import Window

# Sizes written by programs that write to a pipe and cannot return to fill in the true one:
# 0 (ffmpeg, GStreamer), 0x7FFFF000 (sox), 0x7FFFFFFF, 0x80000000 (arecord), 0xFFFFFFFF.
_RIFF_STREAM = ((0, 0), (0x7FFFF000, 0x80000000), (0xFFFFFF00, 0xFFFFFFFF))
_MOST_CHUNKS = 1000  # before the samples; no program writes a tenth of it


@dataclass(frozen=True)
class Extent:
    """What a container promises.

    Parameters
    ----------
    begin, end : int
        First byte of the samples and the one after the last; the file may end before.
    n_samples : int, optional
        Of each channel, where it cannot be told from the bytes.
    """

    begin: int
    end: int
    n_samples: int | None = None


@dataclass(frozen=True)
class Chunks:
    """A container of chunks, each with an identifier and a size.

    Parameters
    ----------
    first : int
        Where the first chunk begins.
    form : str
        `struct` of identifier and size.
    data : bytes
        What the identifier of the chunk of samples starts with.
    skip : int
        Bytes of that chunk before the first sample.
    counted : int
        Bytes of the chunk's header that its size counts.
    align : int
        Chunks are padded to a multiple of it.
    streams : tuple of (int, int)
        From and up to which a size means that it was not known.
    """

    first: int
    form: str
    data: bytes
    skip: int = 0
    counted: int = 0
    align: int = 2
    streams: tuple[tuple[int, int], ...] = ()

    def find(self, file: Window) -> Extent:
        """Look for the chunk of samples."""
        width = struct.calcsize(self.form)
        place = self.first
        for _ in range(_MOST_CHUNKS):
            kind, size = file.unpack(self.form, place)
            content = place + width
            if kind.startswith(self.data):
                return self._samples(file, content, size)
            if kind.startswith(b"fmt "):
                _check_frame(file, self.form[0], content)
            if size < self.counted:
                raise file.damaged(f"a chunk of {size} bytes")
            place = content + -(-(size - self.counted) // self.align) * self.align
        raise file.damaged(f"no samples in the first {_MOST_CHUNKS} chunks")

    def _samples(self, file: Window, content: int, size: int) -> Extent:
        if any(low <= size <= high for low, high in self.streams):
            size = max(0, file.size - content) + self.counted
            number = self.form[0] + self.form[-1]
            try:
                file.patches.append((content - struct.calcsize(number), struct.pack(number, size)))
            except struct.error:
                raise file.damaged(f"{size} bytes, and a header for fewer") from None
        end = content + size - self.counted
        if end < content:
            raise file.damaged(f"samples of {end - content} bytes")
        return Extent(min(content + self.skip, end), end)


def _check_frame(file: Window, order: str, content: int) -> None:
    """Refuse samples of more bits than a frame has room for: libsndfile would find fewer of them.

    Of PCM, floats and what is told by its subformat; other codings count blocks.
    """
    tag, n_channels, _, _, n_bytes, bits = file.unpack(order + "HHIIHH", content)
    if tag in (1, 3, 0xFFFE) and n_channels * -(-bits // 8) > n_bytes:
        raise file.damaged(f"{n_channels} samples of {bits} bits in a frame of {n_bytes} bytes")


RIFF = Chunks(12, "<4sI", b"data", streams=_RIFF_STREAM)
RIFX = Chunks(12, ">4sI", b"data", streams=_RIFF_STREAM)
W64 = Chunks(40, "<16sq", b"data", counted=24, align=8, streams=((2**63 - 1, 2**63 - 1),))
# sox says 0x7F000000 bytes and the eight before them, ffmpeg 0.
AIFF = Chunks(12, ">4sI", b"SSND", 8, streams=((0, 0), (0x7F000000, 0x7F000008)))
SVX = Chunks(12, ">4sI", b"BODY")
CAF = Chunks(8, ">4sq", b"data", 4, align=1, streams=((-1, -1),))


def form(file: Window) -> Extent:
    """AIFF, AIFF-C, 8SVX or 16SV: four letters after the size say which."""
    (kind,) = file.unpack("4s", 8)
    if kind not in (b"8SVX", b"16SV"):
        return _after_offset(file, AIFF.find(file))
    # Two channels come one after the other here; libsndfile takes them for interleaved.
    head = file.at(12, 4096)
    channels, header = head.find(b"CHAN"), head.find(b"VHDR")
    if channels >= 0 and head[channels + 8 : channels + 12] == b"\0\0\0\6":
        raise file.damaged("8SVX with two channels is not supported; convert it to WAV")
    if header >= 0 and head[header + 23 : header + 24] != b"\0":
        raise file.damaged("8SVX that is compressed is not supported; convert it to WAV")
    return SVX.find(file)


def _after_offset(file: Window, found: Extent) -> Extent:
    """The samples of AIFF begin where its chunk says."""
    if found.begin == found.end:
        return found
    (offset,) = file.unpack(">I", found.begin - 8)
    return Extent(min(found.begin + offset, found.end), found.end)


def rf64(file: Window) -> Extent:
    """WAV of more than 4 GiB: the size is in a chunk of its own, the first."""
    kind, _, _, size = file.unpack("<4sIQQ", 12)
    if kind != b"ds64":
        raise file.damaged("RF64 without its sizes")
    found = Chunks(12, "<4sI", b"data").find(file)
    if found.end - found.begin != 0xFFFFFFFF:
        return found
    return Extent(found.begin, found.begin + size)


def au(file: Window) -> Extent:
    """Sun's .au and .snd: 0xFFFFFFFF bytes where it was not known."""
    order = ">" if file.at(0, 1) == b"." else "<"
    begin, size = file.unpack(order + "II", 4)
    return Extent(begin, file.size if size == 0xFFFFFFFF else begin + size)


def sphere(file: Window) -> Extent:
    """NIST SPHERE: samples of each channel, bytes of each, channels; after 1024 bytes of text."""
    text = file.at(0, 1024)
    if b"embedded-" in text:
        raise DataError(
            f"{file.name}: SPHERE compressed by shorten or the like is not supported; "
            "convert it with sph2pipe -f wav"
        )
    values = []
    for key in (b"sample_count", b"sample_n_bytes", b"channel_count"):
        found = re.search(rb"^" + key + rb" -(?:i|s\d+) (\d{1,18})\s*$", text, re.MULTILINE)
        if not found:
            raise file.damaged(f"SPHERE without {key.decode()}")
        values.append(int(found[1]))
    n_samples, width, n_channels = values
    return Extent(1024, 1024 + n_samples * width * n_channels)


def avr(file: Window) -> Extent:
    """Audio Visual Research: mono or stereo, bits, samples of each channel."""
    stereo, bits = file.unpack(">hH", 12)
    (n_samples,) = file.unpack(">I", 26)
    end = 128 + n_samples * (2 if stereo else 1) * (bits // 8)
    if file.size > end + 1:  # nothing else may follow, and sox reads all that does
        raise file.damaged(f"more than the {n_samples} samples that its header states")
    return Extent(128, end)


def voc(file: Window) -> Extent:
    """Creative Voice with one block of sound; libsndfile takes the headers of more for samples."""
    (place,) = file.unpack("<H", 20)
    for _ in range(_MOST_CHUNKS):
        (word,) = file.unpack("<I", place)
        kind, end = word & 0xFF, place + 4 + (word >> 8)
        if kind in (1, 9):
            # The terminator is one byte; the block that sox writes is 8 bytes longer than it says,
            # and sox reads as much as it says.
            if file.size > end + 9:
                raise file.damaged("VOC with several blocks is not supported; convert it to WAV")
            return Extent(place + (6 if kind == 1 else 16), end)
        if kind not in range(4, 9):
            raise file.damaged(f"VOC with a block of type {kind} before the sound")
        place = end
    raise file.damaged(f"no sound in the first {_MOST_CHUNKS} blocks")
