"""Miniature sets in the formats of the identification tasks: ``python -m dnn.miniature``.

So that a recipe can be checked from end to end, offline, before it is pointed at the real set:

records   ``voxceleb-abridged-1.bin`` to ``-6.bin`` (`dnn.data.records`: 614,404 bytes a
          record), ``voxceleb-abridged-classes.txt``, and
          ``samples/NAME_OF_SPEAKER/VIDEO_UTT.wav`` with ``.bin``, without label, beside them
mels      ``mapping.json``, ``metadata.json``, ``testdata.json`` and ``uttr-*.pt``, or with
          ``--variant csv`` ``train_label.csv``, ``test_id.csv``, ``train/*.pt`` and ``test/*.pt``
          (`dnn.data.mel_set`), and ``answers.csv``, which the original has not, to judge
          predictions of the test set by

The voices are generated: pulses at a speaker's pitch through resonators at a speaker's formants,
with another channel and other noise in each utterance. The same options give the same bytes.
Results on them are no results on speech.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnn.commands import COMMANDS
from dnn.data.records import N_FRAMES, write_classes, write_records
from dnn.extra import told_extra
from ivector.base.cli import SEED, Parser, run, whole
from ivector.base.errors import UsageError
from ivector.base.files import atomic_write, write_text

logger = logging.getLogger("miniature")

RATE = 16000
RECORD_SECONDS = 3.015
FILES, SAMPLES = 6, 4
LEVEL = 3000.0  # root mean square, of 16 bits
MARK = "miniature.json"
# Formants of five vowels in Hz, of a tract of scale 1; after G. E. Peterson, H. L. Barney, 1952.
VOWELS = np.array([
    (730, 1090, 2440, 3500), (530, 1840, 2480, 3500), (270, 2290, 3010, 3700),
    (570, 840, 2410, 3400), (300, 870, 2240, 3300),
])  # fmt: skip
BANDWIDTHS = (70, 90, 130, 180)


class Voice(NamedTuple):
    """A generated speaker: pitch in Hz, formants relative to the table (4,), source's slope."""

    pitch: float
    formants: np.ndarray
    slope: float


class Sizes(NamedTuple):
    """How much is made: speakers, utterances of each to train on, and further ones to test."""

    speakers: int = 8
    train: int = 10
    test: int = 3
    seed: int = 0


def draw_voice(rng: np.random.Generator) -> Voice:
    """A speaker at random."""
    scale = rng.uniform(0.84, 1.22)
    return Voice(
        float(np.exp(rng.uniform(np.log(85), np.log(250)))),
        scale * rng.uniform(0.94, 1.06, len(BANDWIDTHS)),
        float(rng.uniform(0.8, 0.97)),
    )


def speak(voice: Voice, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Random vowels of a speaker, over a random channel.

    Returns
    -------
    ndarray (n_samples,), float32
        At 16 kHz, of 16 bits' range.
    """
    from scipy.signal import lfilter

    time = np.arange(n_samples) / RATE
    melody = 1 + 0.12 * np.sin(2 * np.pi * (rng.uniform(0.3, 1.2) * time + rng.random()))
    phase = np.cumsum(voice.pitch * rng.uniform(0.93, 1.07) * melody / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source = lfilter([1.0], [1.0, -voice.slope], pulses + 0.02 * rng.standard_normal(n_samples))
    samples = np.empty(n_samples)
    begin = 0
    while begin < n_samples:
        end = min(begin + int(rng.uniform(0.12, 0.3) * RATE), n_samples)
        vowel = VOWELS[rng.integers(len(VOWELS))] * voice.formants * rng.uniform(0.97, 1.03)
        part = source[begin:end]
        for formant, bandwidth in zip(vowel, BANDWIDTHS):
            part = lfilter(*_resonator(formant, bandwidth), part)
        samples[begin:end] = part * rng.uniform(0.4, 1.0)
        begin = end
    samples = lfilter([1.0, rng.uniform(-0.3, 0.3)], [1.0], samples)
    samples *= LEVEL / np.sqrt(np.mean(samples**2))
    noise = rng.standard_normal(n_samples) * LEVEL * 10 ** (-rng.uniform(20, 30) / 20)
    return np.clip(np.round(samples + noise), -32768, 32767).astype(np.float32)


def _resonator(frequency: float, bandwidth: float) -> tuple[list[float], list[float]]:
    """Numerator and denominator of a second-order resonance of gain 1 at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth / RATE)
    denominator = [1.0, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2]
    return [sum(denominator)], denominator


def make_records(out: Path, sizes: Sizes) -> None:
    """Write files of binary records, the classes file, and samples."""
    names = [f"Generated_{_letters(s)}" for s in range(sizes.speakers)]
    write_classes(out / "voxceleb-abridged-classes.txt", names)
    per_speaker = sizes.train + sizes.test
    chosen = [(s, u) for u in range(per_speaker) for s in range(sizes.speakers)]
    # Files mix the speakers, and a speaker's later utterances stand behind the earlier ones.
    for number, part in enumerate(np.array_split(np.array(chosen), FILES), 1):
        path = out / f"voxceleb-abridged-{number}.bin"
        write_records(path, ((int(s), _spectrogram(_record(sizes, s, u))) for s, u in part))
    for number in range(SAMPLES):
        s, u = number % sizes.speakers, per_speaker + number
        samples = _record(sizes, s, u)
        video = base64.urlsafe_b64encode(hashlib.md5(f"{s} {u}".encode()).digest())[:11].decode()
        stem = out / "samples" / names[s] / f"{video}_{u + 1:07d}"
        _write_wav(stem.with_suffix(".wav"), samples)
        write_records(stem.with_suffix(".bin"), [(None, _spectrogram(samples))])


def make_mels(out: Path, sizes: Sizes, variant: str = "json") -> None:
    """Write a set of tensors with its tables, and the answers of its test."""
    from dnn.data.mel_set import write_set

    names = [str(s) if variant == "csv" else f"id{17 * s + 5:05d}" for s in range(sizes.speakers)]
    train = {name: [_mels(sizes, s, u) for u in range(sizes.train)] for s, name in enumerate(names)}
    tests = [(s, sizes.train + u) for s in range(sizes.speakers) for u in range(sizes.test)]
    order = np.random.default_rng([sizes.seed, 2]).permutation(len(tests))
    tests = [tests[i] for i in order]
    ids = write_set(out, train, [_mels(sizes, s, u) for s, u in tests], variant)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerows([("Id", "Category"), *((key, names[s]) for key, (s, _) in zip(ids, tests))])
    write_text(out / "answers.csv", rows.getvalue())


def make(kind: str, out: Path, sizes: Sizes) -> bool:
    """Make a set unless it stands there complete, of the same options.

    Parameters
    ----------
    kind : {"records", "mels", "mels-csv"}
    out : Path
    sizes : Sizes

    Returns
    -------
    bool
        Whether anything was made.

    Raises
    ------
    UsageError
        A folder that holds something else.
    """
    record = json.dumps({"kind": kind, **sizes._asdict()}) + "\n"
    mark, started = out / MARK, out / f".{MARK}"
    if mark.is_file() and mark.read_text(encoding="utf-8") == record:
        return False
    if out.exists() and any(out.iterdir()) and not started.exists():
        raise UsageError(f"{out}: holds something else than this miniature set; name another")
    write_text(started, record)  # by which the folder of an interrupted run is known
    if kind == "records":
        make_records(out, sizes)
    else:
        make_mels(out, sizes, "csv" if kind == "mels-csv" else "json")
    write_text(mark, record)
    started.unlink()
    return True


def _generator(sizes: Sizes, speaker: int, *utterance: int) -> np.random.Generator:
    return np.random.default_rng([sizes.seed, 1, int(speaker), *map(int, utterance)])


def _record(sizes: Sizes, speaker: int, utterance: int) -> np.ndarray:
    """Samples of a record."""
    voice = draw_voice(_generator(sizes, speaker))
    return speak(voice, round(RECORD_SECONDS * RATE), _generator(sizes, speaker, utterance))


def _spectrogram(samples: np.ndarray) -> np.ndarray:
    """Normalised spectrogram of a record, (512, 300) float32."""
    from dnn.data.sources import normalise_features
    from dnn.data.spectrogram import Spectrogram

    frames = normalise_features(Spectrogram(RATE).transform(samples))
    assert len(frames) == N_FRAMES
    return frames.T.astype(np.float32)


def _mels(sizes: Sizes, speaker: int, utterance: int) -> np.ndarray:
    """Log-mel features of an utterance of 1.6 to 3 s, (n_frames, 40) float32."""
    from ivector.features.extractors import LogMel

    rng = _generator(sizes, speaker, utterance)
    extractor = LogMel(
        num_mel_bins=40, low_freq=0, window_type="hamming", preemphasis_coefficient=0,
        flavour="torchaudio",
    )  # fmt: skip
    n_samples = int(rng.uniform(1.6, 3.0) * RATE)
    return extractor.transform(speak(draw_voice(_generator(sizes, speaker)), n_samples, rng))


def _write_wav(path: Path, samples: np.ndarray) -> None:
    import soundfile

    packed = io.BytesIO()
    soundfile.write(packed, samples.astype(np.int16), RATE, subtype="PCM_16", format="WAV")
    with atomic_write(path) as file:
        file.write(packed.getvalue())


def _letters(number: int) -> str:
    """A, B, …, Z, BA, … for names."""
    head, last = divmod(number, 26)
    return (_letters(head) if head else "") + chr(ord("A") + last)


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m dnn.miniature",
        description=COMMANDS["miniature"].sentence,
    )
    add = parser.add_argument
    add("kind", choices=("records", "mels"), help="binary spectrograms, or .pt files with tables")
    add("out", type=Path, metavar="DIR", help="folder to make")
    add("--variant", choices=("json", "csv"), default="json", help="tables of mels")
    add("--speakers", type=whole(2), default=Sizes().speakers, metavar="N")
    add("--train", type=whole(1), default=Sizes().train, metavar="N",
        help="utterances of each speaker to train on")  # fmt: skip
    add("--test", type=whole(1), default=Sizes().test, metavar="N",
        help="further ones to test; of records, the last of each speaker")  # fmt: skip
    add("--seed", type=SEED, default=0, help="another seed gives other speakers")
    return parser


@told_extra()
def main(arguments: argparse.Namespace) -> None:
    """Make one."""
    kind = "mels-csv" if (arguments.kind, arguments.variant) == ("mels", "csv") else arguments.kind
    sizes = Sizes(arguments.speakers, arguments.train, arguments.test, arguments.seed)
    made = make(kind, arguments.out, sizes)
    logger.info("%s: %s", arguments.out, "made" if made else "complete, left untouched")


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
