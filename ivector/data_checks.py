"""Checks of a data directory: those of Kaldi's ``utils/validate_data_dir.sh``, naming all lines.

Every check goes on after what it finds, and each defect reads ``FILE:LINE: what``.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ivector.base.errors import DataError
from ivector.base.foreign.boundary import read_bytes
from ivector.data import BLANKS, GENDERS, LABELS, SHARED, parse_channel, shared_files

ANY = 1 << 30


class Record(NamedTuple):
    """A line's number and its fields but the key."""

    line: int
    values: list[str]


Table = dict[str, Record]


class Layout(NamedTuple):
    """Least and most fields of a line; whether blanks after the first part anything."""

    least: int
    most: int
    free: bool = False


LAYOUTS = {
    "utt2spk": Layout(2, 2),
    "spk2utt": Layout(2, ANY),
    "wav.scp": Layout(2, 2, free=True),
    "segments": Layout(4, 5),
    "reco2file_and_channel": Layout(3, 3),
    "utt2dur": Layout(2, 2),
    "utt2num_frames": Layout(2, 2),
    "spk2gender": Layout(2, 2),
    "feats.scp": Layout(2, 2, free=True),
    "vad.scp": Layout(2, 2, free=True),
    "cmvn.scp": Layout(2, 2, free=True),
    "enroll": Layout(2, ANY),
    "enroll.txt": Layout(2, ANY),
}
BY_UTTERANCE = ("utt2dur", "utt2num_frames", "feats.scp", "vad.scp")
BY_SPEAKER = ("spk2gender", "cmvn.scp")
NEEDED = ("wav.scp", "utt2spk", "spk2utt")


def validate(path: str | os.PathLike, check_audio: bool = False) -> list[str]:
    """Name every defect of a data directory, with file and line.

    Parameters
    ----------
    path : path-like
        Folder with ``wav.scp``, ``utt2spk``, ``spk2utt`` and whatever else of Kaldi's tables;
        ``enroll`` and ``trials`` are checked too where they stand beside them.
    check_audio : bool
        Also decode every recording, which takes as long as reading them all.

    Returns
    -------
    defects : list of str
        ``FILE:LINE: what``, or ``FILE: what`` for defects of a file as a whole; empty if there
        are none.
    """
    folder = Path(path)
    if not folder.is_dir():
        return [f"{folder}: no such folder"]
    defects: list[str] = []
    tables: dict[str, Table] = {}
    for name, layout in LAYOUTS.items():
        if (folder / name).is_file():
            tables[name] = {}
            defects += _read_table(folder / name, layout, tables[name])
        elif name in NEEDED:
            defects.append(f"{folder / name}: missing")
    if "utt2spk" in tables:
        defects += _check_speakers(folder, tables)
    defects += _check_recordings(folder, tables)
    defects += _check_values(folder, tables)
    defects += _check_channels(folder, tables)
    defects += _check_enroll_and_trials(folder, tables)
    if check_audio and "wav.scp" in tables:
        defects += _check_files(folder / "wav.scp", tables["wav.scp"])
    return defects


def _raw_lines(path: Path) -> Iterator[tuple[int, str | None, str]]:
    """Yield (line number, text or None where it cannot be read, defect or '')."""
    try:
        content = read_bytes(path, "a table")
    except DataError as error:
        yield 0, None, str(error)
        return
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
        yield 1, None, f"{path}:1: byte-order mark before the first id; save as UTF-8 without it"
    if not content:
        yield 0, None, f"{path}: is empty"
        return
    lines = content.split(b"\n")
    if lines[-1]:
        yield len(lines), None, f"{path}:{len(lines)}: no newline at the end of the file"
    else:
        lines.pop()
    for number, raw in enumerate(lines, 1):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            yield number, None, f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line)"
            continue
        yield number, text, _edge_defect(f"{path}:{number}", text)


def _edge_defect(where: str, text: str) -> str:
    if text.endswith("\r"):
        return f"{where}: ends with a carriage return; Kaldi's tools want Unix line ends"
    if text != text.rstrip():
        return f"{where}: blanks at the end of the line"
    if text != text.lstrip():
        return f"{where}: blanks before the id"
    return ""


def _read_table(path: Path, layout: Layout, table: Table) -> Iterator[str]:
    """Fill `table`; yield defects of single lines, of the order, and duplicates."""
    former = ""
    for number, text, defect in _raw_lines(path):
        where = f"{path}:{number}"
        if defect:
            yield defect
        if text is None:
            continue
        fields = BLANKS.split(text.strip(" \t\r"), maxsplit=1 if layout.free else 0)
        if fields == [""]:
            yield f"{where}: empty line"
            continue
        if not layout.free and len(text.split()) != len(fields):
            yield f"{where}: holds a blank that is neither a space nor a tab"
        key, *values = fields
        if not layout.least <= len(fields) <= layout.most:
            wanted = f"{layout.least} fields" if layout.most < ANY else f"{layout.least} or more"
            yield f"{where}: {key}: expected {wanted}, got {len(fields)}"
            continue
        if key in table:
            yield f"{where}: {key} stands there already, in line {table[key].line}"
            continue
        if key < former:
            yield f"{where}: not sorted: {key} after {former}; sort with LC_ALL=C"
        former = key
        table[key] = Record(number, values)


def _check_speakers(folder: Path, tables: Mapping[str, Table]) -> Iterator[str]:
    utt2spk = tables["utt2spk"]
    speakers = [(record.values[0], utt) for utt, record in utt2spk.items()]
    for one, two in itertools.pairwise(speakers):
        if one[1] < two[1] and one[0] > two[0]:
            yield (
                f"{folder / 'utt2spk'}:{utt2spk[two[1]].line}: sorted by utterance but not by "
                f"speaker ({two[0]} after {one[0]}), which Kaldi's scripts need; make speaker ids "
                "prefixes of utterance ids"
            )
            break
    if "spk2utt" not in tables:
        return
    path = folder / "spk2utt"
    placed: dict[str, str] = {}
    for spk, (line, utts) in tables["spk2utt"].items():
        for utt in utts:
            if utt not in utt2spk:
                yield f"{path}:{line}: {utt} is not in utt2spk"
            elif (other := utt2spk[utt].values[0]) != spk:
                yield f"{path}:{line}: {utt} is of {spk} here, of {other} in utt2spk"
            elif utt in placed:
                yield f"{path}:{line}: {utt} stands there twice"
            placed[utt] = spk
    for utt, (line, (spk,)) in utt2spk.items():
        if utt not in placed:
            yield f"{path}: lacks {utt} of {spk} (utt2spk:{line})"


def _check_recordings(folder: Path, tables: Mapping[str, Table]) -> Iterator[str]:
    """Every utterance has what it needs in the tables that are there, and nothing is left over."""
    utt2spk, wav = tables.get("utt2spk"), tables.get("wav.scp")
    segments = tables.get("segments")
    names = ["segments" if segments is not None else "wav.scp", *BY_UTTERANCE]
    if utt2spk is not None:
        for name in names:
            if name in tables:
                yield from _compare(folder / name, tables[name], utt2spk, "utt2spk")
        speakers = dict.fromkeys(record.values[0] for record in utt2spk.values())
        for name in BY_SPEAKER:
            if name in tables:
                yield from _compare(folder / name, tables[name], speakers, "utt2spk")
    if segments is not None and wav is not None:
        used = set()
        for utt, (line, (recording, *_)) in segments.items():
            used.add(recording)
            if recording not in wav:
                yield f"{folder / 'segments'}:{line}: {utt}: {recording} is not in wav.scp"
        for recording, (line, _) in wav.items():
            if recording not in used:
                yield f"{folder / 'wav.scp'}:{line}: {recording} is not in segments"


def _compare(path: Path, table: Table, wanted: Collection[str], name: str) -> Iterator[str]:
    for key, (line, _) in table.items():
        if key not in wanted:
            yield f"{path}:{line}: {key} is not in {name}"
    for key in wanted:
        if key not in table:
            yield f"{path}: lacks {key}, which is in {name}"


def _check_values(folder: Path, tables: Mapping[str, Table]) -> Iterator[str]:
    """Check fields that are not ids."""
    checks: dict[str, Callable[[list[str]], str]] = {
        "wav.scp": _pipe_defect,
        "feats.scp": _pipe_defect,
        "vad.scp": _pipe_defect,
        "cmvn.scp": _pipe_defect,
        "segments": _segment_defect,
        "reco2file_and_channel": lambda v: _channel_defect(v[1]),
        "utt2dur": lambda v: (
            "" if 0 < _number(v[0]) < math.inf else f"duration {v[0]} is not above 0"
        ),
        "utt2num_frames": lambda v: "" if v[0].isdecimal() else f"{v[0]} is not a count",
        "spk2gender": lambda v: "" if v[0] in GENDERS else f"gender {v[0]}, expected m or f",
    }
    for name, check in checks.items():
        for key, (line, values) in tables.get(name, {}).items():
            if defect := check(values):
                yield f"{folder / name}:{line}: {key}: {defect}"


def _pipe_defect(values: list[str]) -> str:
    return "shell pipes are not run; make files" if values[0].endswith("|") else ""


def _number(text: str) -> float:
    """Return the number, or NaN, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _segment_defect(values: list[str]) -> str:
    start, end = _number(values[1]), _number(values[2])
    if not (start >= 0 and (end == -1 or start < end < math.inf)):
        return f"from {values[1]} to {values[2]} s is not a segment"
    return _channel_defect(values[3]) if values[3:] else ""


def _channel_defect(text: str) -> str:
    try:
        parse_channel(text)
    except DataError as error:
        return str(error)
    return ""


def _check_channels(folder: Path, tables: Mapping[str, Table]) -> Iterator[str]:
    """Recordings have the channels that are named, and are not told apart by these alone."""
    wav = {key: record.values[0] for key, record in tables.get("wav.scp", {}).items()}
    sides = {
        key: parse_channel(values[1])
        for key, (_, values) in tables.get("reco2file_and_channel", {}).items()
        if not _channel_defect(values[1])
    }
    for one, two in shared_files(wav, sides):
        yield f"{folder / 'reco2file_and_channel'}: {one} and {two} {SHARED}"
    numbers = functools.cache(_n_channels)
    for utt, (line, values) in tables.get("segments", {}).items():
        if len(values) < 4 or _channel_defect(values[3]) or values[0] not in wav:
            continue
        found = numbers(wav[values[0]])
        if found is not None and parse_channel(values[3]) >= found:
            yield (
                f"{folder / 'segments'}:{line}: {utt}: channel {values[3]}, but "
                f"{wav[values[0]]} has {found} channel(s)"
            )


def _n_channels(file: str) -> int | None:
    """Channels of a recording, from its header; None where it cannot be read."""
    import soundfile

    try:
        return soundfile.info(file).channels if os.path.isfile(file) else None
    except (soundfile.LibsndfileError, OSError):
        return None  # told where every recording is decoded


def _check_enroll_and_trials(folder: Path, tables: Mapping[str, Table]) -> Iterator[str]:
    """Check enrolments and trials; a trial may also enrol a single utterance, or a speaker."""
    utt2spk = {utt: record.values[0] for utt, record in tables.get("utt2spk", {}).items()}
    speaker_of = {spk: spk for spk in utt2spk.values()} | utt2spk
    for name in ("enroll", "enroll.txt"):
        for enrol, (line, utts) in tables.get(name, {}).items():
            where = f"{folder / name}:{line}: {enrol}"
            for utt in utts:
                if utt not in utt2spk:
                    yield f"{where}: {utt} is not in utt2spk"
            speakers = sorted({utt2spk[utt] for utt in utts if utt in utt2spk})
            if len(speakers) > 1:
                yield f"{where} has utterances of several speakers ({', '.join(speakers)})"
            speaker_of[enrol] = speakers[0] if len(speakers) == 1 else ""
    for path in sorted({*folder.glob("trials"), *folder.glob("trials-*")}):
        yield from _check_trials(path, speaker_of, utt2spk)


def _check_trials(
    path: Path, speaker_of: Mapping[str, str], utt2spk: Mapping[str, str]
) -> Iterator[str]:
    seen: dict[tuple[str, str], int] = {}
    for number, text, defect in _raw_lines(path):
        where = f"{path}:{number}"
        if defect:
            yield defect
        if text is None:
            continue
        fields = BLANKS.split(text.strip(" \t\r"))
        if len(fields) not in (2, 3):
            yield f"{where}: expected 'enrol-id utterance target|nontarget', got {text!r}"
            continue
        enrol, test = pair = (fields[0], fields[1])
        if pair in seen:
            yield f"{where}: {enrol} {test} stands there already, in line {seen[pair]}"
        seen.setdefault(pair, number)
        if enrol not in speaker_of:
            yield f"{where}: {enrol} is neither enrolled nor in utt2spk"
        if test not in utt2spk:
            yield f"{where}: {test} is not in utt2spk"
        if len(fields) == 2:
            continue
        if fields[2] not in LABELS:
            yield f"{where}: the label is {fields[2]!r}, expected target or nontarget"
            continue
        one, two = speaker_of.get(enrol, ""), utt2spk.get(test, "")
        if one and two and LABELS[fields[2]] != (one == two):
            yield f"{where}: {fields[2]}, but the speakers are {one} and {two}"


def _check_files(path: Path, table: Table) -> Iterator[str]:
    """Decode every recording."""
    from ivector.features.audio import read_audio

    for key, (line, (file,)) in table.items():
        if file.endswith("|"):
            continue
        try:
            read_audio(file, channel="mean")
        except DataError as error:
            yield f"{path}:{line}: {key}: {error}"
