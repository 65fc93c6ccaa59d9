"""Where compressed streams end: the last page of Ogg, the last frame of FLAC, all frames of MP3."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from ivector.features.containers.headers import Extent
from ivector.features.containers.window import Window

_OGG_PAGE = 65307  # bytes, at most
_OGG_LAST = 4  # flag of the last page of a stream
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # bits of a byte
_TAGS = 4096  # bytes after a FLAC stream that are looked at: ID3 is 128


def ogg(file: Window) -> Extent:
    """Ogg: the file ends with a page that is whole and says that it is the last."""
    first = max(0, file.size - _OGG_PAGE)
    tail = file.at(first, _OGG_PAGE)
    place = tail.rfind(b"OggS")
    while place >= 0 and not _is_page(tail[place:]):
        place = tail.rfind(b"OggS", 0, place)
    if place < 0 or not tail[place + 5] & _OGG_LAST:
        raise file.short("its last page is missing")
    return Extent(0, file.size)


def _is_page(page: bytes) -> bool:
    """Whether the bytes are one whole page of Ogg, by their lengths and their checksum."""
    if len(page) < 27:
        return False
    n_segments = page[26]
    lengths = page[27 : 27 + n_segments]
    if len(page) != 27 + n_segments + sum(lengths):
        return False
    return int.from_bytes(page[22:26], "little") == _crc32(page[:22] + b"\0\0\0\0" + page[26:])


def _crc32(data: bytes) -> int:
    """CRC-32 with the highest bit first and from zero, by that of zlib with the lowest first."""
    value = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)


def flac(file: Window) -> Extent:
    """FLAC: its last frame says where it ends, to be held against what its header states.

    A stream whose header states no length, as written to a pipe, ends with its last frame; that
    the frame is whole shows when it is decoded.
    """
    largest, stated = file.unpack(">HxxxxxxQ", 10)
    n_channels, n_bits = (stated >> 41 & 7) + 1, (stated >> 36 & 31) + 1
    total = stated & (1 << 36) - 1
    n_bytes = largest * n_channels * (n_bits + 1) // 8 + 64 + _TAGS
    first = max(0, file.size - n_bytes)
    ends = list(_frame_ends(file.at(first, n_bytes), largest))
    if not ends:
        raise file.damaged("no frame of FLAC at its end")
    if not total:
        total = max(ends)
        file.patches.append((18, (stated | total).to_bytes(8, "big")))
    elif total not in ends:
        raise file.cut(max(ends), total, "samples")
    return Extent(0, file.size, total)


def _frame_ends(data: bytes, largest: int) -> Iterator[int]:
    """Samples up to the end of each frame of FLAC that has its header in the data."""
    for found in re.finditer(rb"\xff[\xf8\xf9]", data):
        head = data[found.start() : found.start() + 16]
        end = _frame_end(head, largest) if len(head) > 5 and not head[3] & 1 else None
        if end is not None:
            yield end


def _frame_end(head: bytes, largest: int) -> int | None:
    """Sample at which a frame of FLAC ends; None where the bytes are no header of one."""
    n_more = 7 - (~head[4] & 0xFF).bit_length() if head[4] & 0x80 else 0
    number = head[4] & (0x3F >> n_more if n_more else 0x7F)
    for byte in head[5 : 5 + n_more]:
        number = number << 6 | byte & 0x3F
    place = 5 + n_more
    code = head[2] >> 4
    extra = {6: 1, 7: 2}.get(code, 0)
    size = int.from_bytes(head[place : place + extra], "big") + 1
    place += extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if not code or place >= len(head) or _crc8(head[:place]) != head[place]:
        return None
    if not extra:
        size = 192 if code == 1 else 576 << (code - 2) if code < 6 else 256 << (code - 8)
    return (number if head[1] & 1 else number * largest) + size


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value << 1 ^ (0x107 if value & 0x80 else 0)
    return value


_PADDING = 1024  # zeros after the last frame of MP3 that decoders pass over
# Samples that an encoder adds at both ends: 576 or 1105 before, less than two frames after.
_MOST_LEFT_OUT = 3 * 1152
# kbit/s by index, of MPEG 1 layers I, II, III and MPEG 2 layers I, II and III.
_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ = (44100, 48000, 32000)


def mp3(file: Window) -> Extent:
    """MPEG audio: whole frames up to the end, as many as the first says (Xing, Info or VBRI).

    Where it says the bytes too, frames are counted only if all is to be looked at.
    """
    head = file.at(0, 4)
    size, samples = _mpeg_frame(head)
    if not size:
        raise file.damaged("no frame of MPEG audio where it begins")
    n_frames, n_bytes, n_left_out = _stated(file.at(0, size))
    if n_left_out > _MOST_LEFT_OUT:
        raise file.damaged(f"its first frame says to leave out {n_left_out} samples")
    if n_bytes is not None and n_bytes > file.size:
        raise file.cut(file.size, n_bytes)
    if n_bytes is not None and n_frames is not None and not file.thorough:
        return Extent(0, file.size)
    found = _count_frames(file)
    if n_frames is None:
        # A decoder guesses the length from the first frame, and stops there: too soon if the rest
        # is shorter. With silence after the end the guess is no less than the truth.
        silence = _silent_frame(head)
        file.suffix = silence * max(0, ((found + 4) * (size + 1) - file.size) // len(silence) + 1)
        return Extent(0, file.size, found * samples)
    if n_frames not in (found - 1, found):  # some count the frame that says so
        raise file.cut((found - 1) * samples, n_frames * samples, "samples")
    return Extent(0, file.size)


def _stated(frame: bytes) -> tuple[int | None, int | None, int]:
    """What the first frame states: frames and bytes of the stream, samples to leave out."""
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big"), int.from_bytes(frame[46:50], "big"), 0
    mono, old = frame[3] >> 6 == 3, not frame[1] & 8
    place = 4 + ((9 if mono else 17) if old else (17 if mono else 32))
    if frame[place : place + 4] not in (b"Xing", b"Info"):
        return None, None, 0
    flags, place = frame[place + 7], place + 8
    found: list[int | None] = []
    for flag, size in ((1, 4), (2, 4), (4, 100), (8, 4)):  # frames, bytes, seek table, quality
        found.append(int.from_bytes(frame[place : place + size], "big") if flags & flag else None)
        place += size if flags & flag else 0
    ends = int.from_bytes(frame[place + 21 : place + 24], "big")  # two numbers of twelve bits
    return found[0], found[1], (ends >> 12) + (ends & 0xFFF)


def _silent_frame(head: bytes) -> bytes:
    """The largest frame for a stream: no checksum, nothing but zeros."""
    largest = bytes((255, head[1] | 1, head[2] & 0x0C | 0xE0, head[3]))
    return largest.ljust(_mpeg_frame(largest)[0], b"\0")


def _count_frames(file: Window) -> int:
    """Frames of MPEG audio; up to a tag, or to the end of the file and of a frame at once."""
    place = n_frames = 0
    while place < file.size:
        head = file.at(place, 4)
        size, _ = _mpeg_frame(head)
        if not size:
            if head[:3] in (b"TAG", b"LYR", b"APE", b"ID3"):
                break
            if file.size - place <= _PADDING and not any(file.at(place, _PADDING)):
                break
            raise file.damaged(f"no frame of MPEG audio at byte {place}")
        place += size
        n_frames += 1
    if place > file.size:
        raise file.short("its last frame is not whole")
    return n_frames


def _mpeg_frame(head: bytes) -> tuple[int, int]:
    """Bytes and samples of a frame of MPEG audio; (0, 0) where the four bytes are no header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return 0, 0
    old = version != 3
    bits = 1000 * _RATES[(2, min(layer, 2)) if old else (1, layer)][index - 1]
    hz = _HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = head[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hz + padding) * 4, 384
    samples = 576 if layer == 3 and old else 1152
    return samples // 8 * bits // hz + padding, samples
