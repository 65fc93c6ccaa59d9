"""Recordings that a user names: a data directory, a ``wav.scp``, a folder, a list, one file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ivector.base.errors import DataError
from ivector.base.files import read_lines
from ivector.base.foreign.opening import files_below
from ivector.data import Row, read_data_dir, read_wav_scp

logger = logging.getLogger("prepare")

AUDIO = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .sph .nist .w64 .caf .rf64".split()
)
# Recognised, so that they can be named; libsndfile has no decoder for them.
CLOSED = frozenset(".m4a .aac .mp4 .wma .amr .3gp .webm .mka".split())
CONVERT = "convert them first, for example: ffmpeg -i IN.m4a -ac 1 -ar 16000 OUT.wav"


def read_recordings(path: str | os.PathLike, strict: bool = False) -> list[Row]:
    """Recordings by what a user has of them.

    Parameters
    ----------
    path : path-like
        A data directory (``wav.scp``, and ``utt2spk`` and ``segments`` if there); a folder of
        recordings at any depth; a file ``*.scp``, ``id file`` a line; a recording; or a text file
        that lists recordings, one a line. Ids of the latter three are of the files' names, those
        of a folder with the folders below it, parts joined by dashes.
    strict : bool
        Stop at recordings of formats that cannot be read.

    Returns
    -------
    list of Row
        As of `ivector.data.DataDir.recordings`.

    Raises
    ------
    DataError
        Nothing to read, or two recordings that would have one id.
    """
    path = Path(path)
    if path.is_dir() and (path / "wav.scp").exists():
        if (path / "utt2spk").exists() or (path / "segments").exists():
            return list(read_data_dir(path).recordings())
        path /= "wav.scp"
    if path.suffix == ".scp":
        return [(key, file, None, None) for key, file in read_wav_scp(path).items()]
    if path.is_dir():
        below = [(file.relative_to(path), file) for file in find_audio(path, strict)]
    elif path.suffix.lower() in AUDIO | CLOSED:
        below = [(Path(path.name), path)]
    else:
        lines = filter(None, map(str.strip, read_lines(path)))
        below = [(Path(Path(line).name), Path(line)) for line in lines]
    if not below:
        raise DataError(f"{path}: lists no recordings")
    rows: list[Row] = [
        ("-".join(map(safe_id, name.with_suffix("").parts)), str(file), None, None)
        for name, file in below
    ]
    seen: dict[str, str] = {}
    for key, file, *_ in rows:
        if key in seen:
            raise DataError(
                f"{path}: {seen[key]} and {file} would both have the id {key}; rename one, or "
                "give a wav.scp, 'id file' a line"
            )
        seen[key] = file
    return rows


def find_files(root: Path, extensions: Collection[str]) -> Iterator[Path]:
    """Yield files below `root` in sorted order; hidden ones are skipped, links followed once."""
    for path in files_below(root):
        if path.suffix.lower() in extensions:
            yield path


def find_audio(root: Path, strict: bool = False) -> list[Path]:
    """List recordings below `root`; those of formats that cannot be read are reported.

    Raises
    ------
    DataError
        There are none, or (`strict`) some cannot be read.
    """
    found = list(find_files(root, AUDIO | CLOSED))
    closed = [path for path in found if path.suffix.lower() in CLOSED]
    if closed:
        text = f"{root}: {len(closed)} recordings ({closed[0].name}, ...) are in a format that "
        text += f"cannot be read here; {CONVERT}"
        if strict or len(closed) == len(found):
            raise DataError(text)
        logger.warning(text)
    found = [path for path in found if path.suffix.lower() in AUDIO]
    if not found:
        raise DataError(f"{root}: holds no recordings (wav, flac, ogg, mp3, ...); fetch them")
    return found


def safe_id(text: str) -> str:
    """Make a Kaldi id of a file or folder name: white space becomes an underscore."""
    return re.sub(r"\s", "_", text)
