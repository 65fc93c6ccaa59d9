"""Recordings of every supported container, whole, cut and with damaged headers, for any fuzzer.

``cases(rng)`` yields them without end; `Case.fault` says what is wrong with what was made of one.
With `by_others`, the samples that sox and ffmpeg find are asked for, where they are installed.
"""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

RATE, N_SAMPLES = 16000, 9600  # whole blocks of GSM: libsndfile takes padding for one more
LOOKED_AT = 200  # first bytes, where headers are
ENDINGS = {
    "WAV": "wav", "WAVEX": "wav", "RF64": "wav", "W64": "w64", "AIFF": "aiff", "AU": "au",
    "NIST": "sph", "CAF": "caf", "VOC": "voc", "AVR": "avr", "SVX": "8svx", "HTK": "htk",
    "FLAC": "flac", "OGG": "ogg", "MP3": "mp3",
}  # fmt: skip
REFUSED = ("ALAC", "DWVW", "NMS")  # codings; in W64 these too:
REFUSED_IN_W64 = ("IMA", "MS_")
DELAY = 3 * 1152  # samples that some decoders of MP3 leave out and others do not
NUMBERS = (0, 1, -1, 2, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1,
           2**63 - 1, 0x7FFFF000, 0x7F000008)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A recording, and what is right.

    Parameters
    ----------
    data : bytes
    suffix : str
        Of the file's name, without the dot.
    what : str
        What was done to which file.
    samples : ndarray (n_samples, n_channels), optional
        What the file holds, in the scale of ±1; None where nobody knows.
    whole : bool
        It must be read; otherwise it may be refused.
    """

    data: bytes
    suffix: str
    what: str
    samples: np.ndarray | None = None
    whole: bool = False

    def fault(self, found: np.ndarray | None, others: set[int] | None = None) -> str:
        """What is wrong with samples (n_samples,) of channel 0, None if refused; '' if nothing.

        `others` are the numbers of samples that other programs find, if any of them takes it.
        """
        if found is None:
            return f"{self.what}: refused" if self.whole else ""
        if self.samples is not None:
            right = (self.samples[:, 0] * np.float32(32768)).astype(np.float32)
            if len(found) != len(right):
                return f"{self.what}: {len(found)} samples, {len(right)} are right"
            # Decoders of MP3 round by where their buffers lie in memory.
            if not np.allclose(found, right, atol=0.01 if self.suffix == "mp3" else 0):
                return f"{self.what}: other samples"
        elif others and len(found) + (DELAY if self.suffix == "mp3" else 0) < min(others):
            return f"{self.what}: {len(found)} samples, others find {sorted(others)}"
        return ""


@cache
def wholes() -> tuple[Case, ...]:
    """A whole recording of each container and coding, of one channel and of two."""
    rng = np.random.default_rng(0)
    time = np.arange(N_SAMPLES) / RATE
    sound = 0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) + rng.normal(0, 0.02, N_SAMPLES)
    found = []
    for kind, suffix in ENDINGS.items():
        subtypes = soundfile.available_subtypes(kind)
        refused = (*REFUSED, *REFUSED_IN_W64) if kind == "W64" else REFUSED
        for subtype in (one for one in subtypes if not one.startswith(refused)):
            for n_channels in (1, 2):
                data = _write(np.outer(sound, [1.0, -0.5][:n_channels]), kind, subtype)
                # libsndfile interleaves the channels of 8SVX, which are not.
                if data and not (kind == "SVX" and n_channels > 1):
                    samples = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
                    what = f"{kind} {subtype} {n_channels}"
                    found.append(Case(data, suffix, what, samples, whole=True))
    return tuple(found) + tuple(streamed(found))


def _write(sound: np.ndarray, kind: str, subtype: str) -> bytes:
    """A file; nothing where libsndfile cannot write it, or cannot read what it wrote."""
    file = io.BytesIO()
    try:
        soundfile.write(file, sound, RATE, format=kind, subtype=subtype)
        soundfile.read(io.BytesIO(file.getvalue()))
    except soundfile.LibsndfileError:
        return b""
    return file.getvalue()


def streamed(found: list[Case]) -> Iterator[Case]:
    """What programs write to a pipe, whose sizes say that they are not known; other layouts."""
    by_name = {case.what: case for case in found}
    for name in ("WAV PCM_16 1", "WAV PCM_24 2", "WAV ULAW 1", "WAVEX FLOAT 1"):
        case = by_name[name]
        place = case.data.index(b"data") + 4
        for size in (0, 0x7FFFF000, 2**31 - 1, 2**31, 2**32 - 1):
            data = patched(patched(case.data, 4, "<I", size), place, "<I", size)
            # What follows the samples cannot be told from them.
            data = data[: place + 4 + len(case.samples) * _width(case)]
            yield Case(data, "wav", f"{name} stream {size:#x}", case.samples, True)
        before = b"LIST\x0e\0\0\0INFOISFT\2\0\0\0a\0" + b"note\3\0\0\0abc\0"
        data = case.data[:12] + before + case.data[12:] + b"junk\3\0\0\0abc"
        data = patched(data, 4, "<I", len(data) - 8)
        yield Case(data, "wav", f"{name} chunks", case.samples, True)
    case = by_name["AU PCM_16 1"]
    yield Case(patched(case.data, 8, ">I", 2**32 - 1), "au", "AU stream", case.samples, True)
    case = by_name["FLAC PCM_16 1"]
    unknown = int.from_bytes(case.data[18:26], "big") >> 36 << 36
    data = case.data[:18] + unknown.to_bytes(8, "big") + case.data[26:]
    yield Case(data, "flac", "FLAC stream", case.samples, True)


def _width(case: Case) -> int:
    """Bytes of a sample of all channels."""
    with soundfile.SoundFile(io.BytesIO(case.data)) as file:
        width = {"PCM_16": 2, "PCM_24": 3, "ULAW": 1, "FLOAT": 4}[file.subtype]
        return width * file.channels


def patched(data: bytes, place: int, form: str, value: int) -> bytes:
    """Bytes with a number in the place of others."""
    new = struct.pack(form, value)
    return data[:place] + new + data[place + len(new) :]


# --- what is done to a file ---------------------------------------------------------------------


def cut(case: Case, n_bytes: int) -> Case:
    """The first bytes of a whole file. Of a stream they are whole themselves."""
    stream = "stream" in case.what
    return Case(
        case.data[:n_bytes],
        case.suffix,
        f"{case.what}, {n_bytes} of {len(case.data)} bytes",
        None if stream else case.samples,
    )


def _flip(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(min(LOOKED_AT, len(data)))
    data[place] ^= rng.choice((1 << rng.randrange(8), rng.randrange(1, 256)))


def _number(data: bytearray, rng: random.Random) -> None:
    size = rng.choice((2, 4, 8))
    place = rng.randrange(0, min(LOOKED_AT, len(data) - size), rng.choice((1, 2)))
    value = rng.choice(NUMBERS) % 2 ** (8 * size)
    data[place : place + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _tail(data: bytearray, rng: random.Random) -> None:
    place = len(data) - 1 - rng.randrange(min(LOOKED_AT, len(data)))
    data[place] ^= rng.randrange(1, 256)


def _body(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data))
    size = rng.randrange(1, 50)
    data[place : place + size] = rng.randbytes(rng.choice((0, min(size, len(data) - place))))


DAMAGES = (_flip, _flip, _number, _number, _tail, _body)


def damaged(case: Case, rng: random.Random) -> Case:
    """A file with one to four damages; what it holds then, other programs may know."""
    data, done = bytearray(case.data), []
    for _ in range(rng.choice((1, 1, 2, 4))):
        damage = rng.choice(DAMAGES)
        damage(data, rng)
        done.append(damage.__name__[1:])
    return Case(bytes(data), case.suffix, f"{case.what}, {' '.join(done)}")


def longer(case: Case, rng: random.Random) -> Case:
    """A whole file and something after it that is no part of it."""
    samples = None if "stream" in case.what else case.samples
    data = case.data + rng.randbytes(rng.randrange(1, 400))
    return Case(data, case.suffix, f"{case.what}, more after it", samples)


def cases(rng: random.Random) -> Iterator[Case]:
    """Cases without end: some whole, some cut, most damaged."""
    while True:
        case = rng.choice(wholes())
        how = rng.random()
        if how < 0.02:
            yield case
        elif how < 0.05:
            yield longer(case, rng)
        elif how < 0.4:
            yield cut(case, int(len(case.data) * rng.uniform(0.05, 0.999)))
        else:
            yield damaged(case, rng)


# --- what other programs find -------------------------------------------------------------------


def by_others(path: Path, suffix: str, n_channels: int, rate: int) -> set[int]:
    """Samples of a channel that sox and ffmpeg find in a file, of each that takes it."""
    commands = (
        ["sox", "-V1", "-t", suffix, path, "-t", "raw", "-e", "signed", "-b", "16", "-"],
        ["ffmpeg", "-v", "error", "-i", path, "-ar", str(rate), "-f", "s16le", "-"],
    )
    found = set()
    for command in commands:
        if shutil.which(command[0]):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
            )
            if not done.returncode and done.stdout:
                found.add(len(done.stdout) // 2 // n_channels)
    return found
