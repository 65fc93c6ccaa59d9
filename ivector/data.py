"""Kaldi data directories, trial lists and enrolment lists.

Text in UTF-8, one record a line, fields parted by blanks or tabs, sorted by code points (which is
Kaldi's ``LC_ALL=C`` order). A path in ``wav.scp`` may hold blanks; a shell pipe is never run.
Readers stop at the first defect; `ivector.data_checks.validate` names them all.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ivector.base.errors import DataError
from ivector.base.files import atomic_write, read_lines

V = TypeVar("V")

BLANKS = re.compile("[ \t]+")
EDGES = " \t\r"
GENDERS = ("m", "f")
LABELS = {"target": True, "nontarget": False}
LABEL_NAMES = {True: " target", False: " nontarget", None: ""}


SHARED = (
    "are channels of one file, which wav.scp cannot say; name it once there, and the channel as "
    "fifth column of segments"
)
CHANNELS = {"A": 0, "B": 1}  # as telephone corpora name the two sides of a call


class Segment(NamedTuple):
    """Part of a recording that is an utterance; times in seconds, `end` −1 for the whole rest.

    `channel` is counted from 0, None where ``segments`` names none.
    """

    recording: str
    start: float
    end: float
    channel: int | None = None


class Part(NamedTuple):
    """Where an utterance is: ``Part(*row)`` fills a row of `DataDir.recordings`."""

    utterance: str
    file: Any
    start: float | None = None
    end: float | None = None
    channel: int | None = None


# The fields of a `Part`, without the channel where none is named.
Row = tuple[str, Any, float | None, float | None] | tuple[str, Any, float | None, float | None, int]


class Trial(NamedTuple):
    """One comparison; `is_target` is None where the truth is not known."""

    enrol: str
    test: str
    is_target: bool | None


@dataclass
class DataDir:
    """Recordings of a corpus, their speakers, and what else is known about them.

    Parameters
    ----------
    wav_scp : dict of str to str
        Utterance to audio file; with `segments`, recording to audio file.
    utt2spk : dict of str to str
        Utterance to speaker.
    spk2utt : dict of str to list of str
        The inverse; made from `utt2spk` if left out.
    utt2dur : dict of str to float
        Seconds; may be empty.
    spk2gender : dict of str to str
        "m" or "f"; may be empty.
    segments : dict of str to Segment
        Utterance to part of a recording; empty where utterances are whole files.

    Raises
    ------
    DataError
        On construction, where the tables contradict each other.
    """

    wav_scp: dict[str, str]
    utt2spk: dict[str, str]
    spk2utt: dict[str, list[str]] = field(default_factory=dict)
    utt2dur: dict[str, float] = field(default_factory=dict)
    spk2gender: dict[str, str] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inverse: dict[str, list[str]] = {}
        for utt, spk in sorted(self.utt2spk.items()):
            inverse.setdefault(spk, []).append(utt)
        inverse = dict(sorted(inverse.items()))
        if self.spk2utt:
            given = {spk: sorted(utts) for spk, utts in self.spk2utt.items()}
            _same(given, inverse, "spk2utt contradicts utt2spk for speaker")
        self.spk2utt = inverse
        having = self.segments if self.segments else self.wav_scp
        name = "segments" if self.segments else "wav.scp"
        _same(dict.fromkeys(having), dict.fromkeys(self.utt2spk), f"utt2spk or {name} lacks")
        for utt, segment in self.segments.items():
            if segment.recording not in self.wav_scp:
                raise DataError(
                    f"utterance {utt}: its recording {segment.recording} is not in wav.scp"
                )

    @property
    def utterances(self) -> list[str]:
        """Ids of all utterances, sorted."""
        return sorted(self.utt2spk)

    def recordings(self) -> Iterator[Row]:
        """Yield (utterance, audio file, start, end), sorted; seconds, None at the file's ends.

        A fifth field is the channel, where ``segments`` names one; see `Part`. As
        `ivector.features.audio.read_audio` takes them.
        """
        for utt in self.utterances:
            if not self.segments:
                yield utt, self.wav_scp[utt], None, None
                continue
            recording, start, end, channel = self.segments[utt]
            row = (utt, self.wav_scp[recording], start, None if end < 0 else end)
            yield row if channel is None else (*row, channel)

    def subset(self, utts: Iterable[str]) -> DataDir:
        """Keep some utterances, and the speakers and recordings that they need.

        Raises
        ------
        DataError
            An id that is not here.
        """
        kept = sorted(set(utts))
        for utt in kept:
            if utt not in self.utt2spk:
                raise DataError(f"utterance {utt} is not in this data directory")
        utt2spk = {utt: self.utt2spk[utt] for utt in kept}
        segments = {utt: self.segments[utt] for utt in kept if utt in self.segments}
        files = {s.recording for s in segments.values()} if self.segments else set(kept)
        speakers = set(utt2spk.values())
        return DataDir(
            wav_scp={key: path for key, path in self.wav_scp.items() if key in files},
            utt2spk=utt2spk,
            utt2dur={utt: self.utt2dur[utt] for utt in kept if utt in self.utt2dur},
            spk2gender={s: g for s, g in self.spk2gender.items() if s in speakers},
            segments=segments,
        )


def read_data_dir(path: str | os.PathLike) -> DataDir:
    """Read a data directory; ``wav.scp`` and ``utt2spk`` must be there.

    Raises
    ------
    DataError
        A file is missing, a line is not what it should be, or the files contradict each other.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data directory")

    def read(name: str, parse: Callable[[str], V], optional: bool = True) -> dict[str, V]:
        if optional and not (folder / name).exists():
            return {}
        return read_table(folder / name, parse)

    tables = {
        "wav_scp": read("wav.scp", _audio_file, optional=False),
        "utt2spk": read("utt2spk", _word, optional=False),
        "spk2utt": read("spk2utt", BLANKS.split),
        "utt2dur": read("utt2dur", _duration),
        "spk2gender": read("spk2gender", _gender),
        "segments": read("segments", _segment),
    }
    sides = read("reco2file_and_channel", _side)
    for one, two in shared_files(tables["wav_scp"], sides):  # type: ignore[arg-type]
        raise DataError(f"{folder / 'reco2file_and_channel'}: {one} and {two} {SHARED}")
    try:
        return DataDir(**tables)  # type: ignore[arg-type]
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error


def shared_files(wav_scp: Mapping[str, str], sides: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield pairs of recordings that are one file, but another channel of it each (`sides`)."""
    first: dict[str, str] = {}
    for recording in sides:
        if (file := wav_scp.get(recording)) is not None:
            other = first.setdefault(file, recording)
            if sides[other] != sides[recording]:
                yield other, recording


def read_wav_scp(path: str | os.PathLike) -> dict[str, str]:
    """Read a ``wav.scp``, id to audio file, in its order.

    Raises
    ------
    DataError
        The file is missing or empty, or a line has no path, a shell pipe or a former id.
    """
    return read_table(path, _audio_file)


def write_data_dir(path: str | os.PathLike, data: DataDir) -> None:
    """Write a data directory, sorted; every file is whole or absent.

    Optional files that `data` has nothing for are removed, lest they contradict the others.

    Raises
    ------
    DataError
        An id or path that a line cannot hold, or a folder that cannot be written.
    """
    tables: dict[str, Mapping[str, str]] = {
        "wav.scp": {key: _audio_file(file) for key, file in data.wav_scp.items()},
        "utt2spk": {utt: _word(spk) for utt, spk in data.utt2spk.items()},
        "spk2utt": {spk: " ".join(map(_word, utts)) for spk, utts in data.spk2utt.items()},
        "utt2dur": {utt: f"{seconds:.10g}" for utt, seconds in data.utt2dur.items()},
        "spk2gender": {spk: _word(gender) for spk, gender in data.spk2gender.items()},
        "segments": {
            utt: f"{_word(s.recording)} {s.start:.10g} {s.end:.10g}"
            + ("" if s.channel is None else f" {s.channel}")
            for utt, s in data.segments.items()
        },
    }
    for name, table in tables.items():
        if table or name in ("wav.scp", "utt2spk", "spk2utt"):
            _write(Path(path) / name, (f"{_word(key)} {table[key]}" for key in sorted(table)))
        else:
            (Path(path) / name).unlink(missing_ok=True)


def read_trials(path: str | os.PathLike) -> list[Trial]:
    """Read a trial list, ``enrol-id utt target|nontarget``, or without labels.

    Raises
    ------
    DataError
        The file is missing or empty, or a line is not a trial.
    """
    trials: list[Trial] = []
    ids: dict[str, str] = {}  # an id stands in many lines and is kept once
    for number, line in _lines(path):
        enrol, *rest = BLANKS.split(line)
        if len(rest) not in (1, 2) or (rest[1:] and rest[1] not in LABELS):
            raise DataError(
                f"{path}:{number}: expected 'enrol-id utterance target|nontarget', got {line!r}"
            )
        label = LABELS[rest[1]] if rest[1:] else None
        trials.append(Trial(ids.setdefault(enrol, enrol), ids.setdefault(rest[0], rest[0]), label))
    if not trials:
        raise DataError(f"{path}: holds no trials")
    return trials


def write_trials(path: str | os.PathLike, trials: Iterable[tuple[str, str, bool | None]]) -> None:
    """Write a trial list in the order given; see `read_trials`."""
    _write(
        path,
        (f"{_word(enrol)} {_word(test)}{LABEL_NAMES[label]}" for enrol, test, label in trials),
    )


def read_enroll(path: str | os.PathLike) -> dict[str, list[str]]:
    """Read enrolments, ``enrol-id utt [utt …]``, in their order.

    Raises
    ------
    DataError
        The file is missing or empty, a line has no utterance, or an id stands there twice.
    """
    return read_table(path, BLANKS.split)


def write_enroll(path: str | os.PathLike, enroll: Mapping[str, Iterable[str]]) -> None:
    """Write enrolments, sorted; see `read_enroll`."""
    _write(path, (" ".join(map(_word, (key, *enroll[key]))) for key in sorted(enroll)))


def read_table(path: str | os.PathLike, parse: Callable[[str], V]) -> dict[str, V]:
    """Read ``key value`` lines as {key: parse(value)}, in their order.

    Raises
    ------
    DataError
        The file is missing or empty, a value is missing or `parse` refuses it, or a key stands
        there twice.
    """
    table: dict[str, V] = {}
    for number, line in _lines(path):
        key, *value = BLANKS.split(line, maxsplit=1)
        if not value:
            raise DataError(f"{path}:{number}: {key}: nothing behind the id")
        if key in table:
            raise DataError(f"{path}:{number}: {key} stands there twice; remove one of the lines")
        try:
            table[key] = parse(value[0])
        except ValueError as error:
            raise DataError(f"{path}:{number}: {key}: {error}") from error
    if not table:
        raise DataError(f"{path}: is empty")
    return table


def _lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not empty."""
    for number, line in enumerate(read_lines(path), 1):
        if text := line.strip(EDGES):
            yield number, text


def _write(path: str | os.PathLike, lines: Iterable[str]) -> None:
    with atomic_write(path, "w") as file:
        file.writelines(line + "\n" for line in lines)


def _word(text: str) -> str:
    """Check that `text` can be one field of a line."""
    if not text or text.split() != [text]:
        raise DataError(f"{text!r} cannot be an id: ids are not empty and hold no blanks")
    return text


def _audio_file(text: str) -> str:
    if text.endswith("|"):
        raise DataError(f"shell pipes are not run ({text}); convert the recordings to files")
    if not text or text != text.strip(EDGES) or "\n" in text:
        raise DataError(f"a line of wav.scp cannot hold the path {text!r}; rename the file")
    return text


def _segment(text: str) -> Segment:
    parts = BLANKS.split(text)
    if len(parts) not in (3, 4):
        raise DataError(f"expected 'utterance recording start end', got {text!r} behind the id")
    start, end = float(parts[1]), float(parts[2])
    if not (0 <= start and (end == -1 or start < end < math.inf)):
        raise DataError(f"segment from {start:g} s to {end:g} s is empty or endless; correct it")
    return Segment(parts[0], start, end, parse_channel(parts[3]) if parts[3:] else None)


def parse_channel(text: str) -> int:
    """Channel counted from 0, of a number or of the side of a telephone call, A or B."""
    if text in CHANNELS:
        return CHANNELS[text]
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        raise DataError(f"channel {text!r}, expected A, B, 0, 1, …")
    return int(text)


def _side(text: str) -> int:
    parts = BLANKS.split(text)
    if len(parts) != 2:
        raise DataError(f"expected 'recording file channel', got {text!r} behind the id")
    return parse_channel(parts[1])


def _duration(text: str) -> float:
    if not 0 < (seconds := float(text)) < math.inf:
        raise DataError(f"duration {text} is not above 0")
    return seconds


def _gender(text: str) -> str:
    if text not in GENDERS:
        raise DataError(f"gender {text!r}, expected m or f")
    return text


def _same(one: Mapping, two: Mapping, what: str) -> None:
    keys = one.keys() | two.keys()
    wrong = [k for k in keys if k not in one or k not in two or one[k] != two[k]]
    if wrong:
        raise DataError(f"{what} {min(wrong)}; recipes.validate names every defect")
