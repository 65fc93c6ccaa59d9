"""Recordings in tar shards, read where they lie, without unpacking.

Members are ``IDX/SPEAKER/VIDEO/UTT.wav``, or ``IDX/eval/wav/HEX.wav`` of speakers that are not
told, each with a ``.json`` beside it (``sample_id, speaker_id, youtube_id, utterance_id,
num_frames, sampling_rate, class_idx``); at most 5,000 files a shard, the last of which is
``shard-NNNNNN.partial.tar`` where it is smaller. Ids are ``SPEAKER/VIDEO/UTT`` and ``HEX``, as the
trial lists of the tiny-voxceleb challenge have them.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Container, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dnn.formats.mapped import MappedFiles
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_path
from ivector.base.foreign.boundary import foreign, parse_json
from ivector.base.foreign.opening import safe_members

MOST_FILES = 5000
_MOST_JSON = 1 << 20
# Stands in the place of speaker and video where they are not told.
OPAQUE = ("eval", "wav")
BLOCK = 512  # of a tar archive, which ends with two blocks of zeros
# Owner, rights and time of members, as the challenge's writer sets them.
OWNER, GROUP, MODE, TIME = "student", "mlip", 0o444, 1672527600
DESCRIPTION = ("sample_id", "speaker_id", "youtube_id", "utterance_id", "num_frames",
               "sampling_rate", "class_idx")  # fmt: skip


class Member(NamedTuple):
    """Where a recording lies in a shard."""

    shard: str
    offset: int
    size: int
    name: str


class Described(NamedTuple):
    """A recording of a shard, its id, and what its ``.json`` says."""

    utterance: str
    member: Member
    description: dict[str, Any]

    @property
    def speaker(self) -> str:
        """Speaker, as the member is named; an opaque recording is a speaker of its own."""
        return self.utterance.split("/")[0]


class OpenMember(io.BytesIO):
    """A recording of a shard as a file, named for error messages."""

    def __init__(self, member: Member, files: MappedFiles | None = None):
        files = files or MappedFiles([member.shard])
        data = files[files.paths.index(os.path.abspath(member.shard))]
        if member.offset + member.size > len(data):
            raise DataError(f"{member.shard}: {member.name}: the shard is cut; fetch it again")
        super().__init__(data[member.offset : member.offset + member.size])
        self.name = f"{member.shard}: {member.name}"


def read_shards(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Described]:
    """List the recordings of shards, sorted by id; only headers and descriptions are read.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Shards, or a folder of ``.tar`` files.

    Raises
    ------
    DataError
        No shards, one that is cut or no tar archive, a description that is no JSON object or
        speaks of another speaker than the member's name, or two recordings of one id.
    """
    if isinstance(paths, (str, os.PathLike)):
        shards = sorted(Path(paths).glob("*.tar")) if Path(paths).is_dir() else [Path(paths)]
    else:
        shards = [Path(path) for path in paths]
    if not shards:
        raise DataError(f"{paths}: holds no tar shards; fetch them")
    found: dict[str, Described] = {}
    for shard in shards:
        for recording in _read_shard(shard):
            if recording.utterance in found:
                other = found[recording.utterance].member.shard
                raise DataError(f"{shard}: {recording.utterance} is in {other} too; remove one")
            found[recording.utterance] = recording
    return [found[utt] for utt in sorted(found)]


def member_id(name: str) -> str:
    """Id of a member of a shard.

    Raises
    ------
    ValueError
        A name of another form, or one that no file should have: the text says which.
    """
    path = PurePosixPath(name)
    parts = path.with_suffix("").parts
    if path.is_absolute() or ".." in parts or "\\" in name or not name.isprintable():
        raise ValueError("points outside the shard or holds control characters; do not trust it")
    if len(parts) > 1 and parts[0].isdigit():
        parts = parts[1:]
    if parts[:2] == OPAQUE:
        parts = parts[2:]
    if len(parts) not in (1, 3) or name.split() != [name]:
        raise ValueError("is none of IDX/SPEAKER/VIDEO/UTT and IDX/eval/wav/HEX; rename it")
    return "/".join(parts)


def _read_shard(shard: Path) -> list[Described]:
    audio: dict[str, Member] = {}
    descriptions: dict[str, dict[str, Any]] = {}
    name = "its first member"
    with foreign(shard, "a tar archive"):
        try:
            with tarfile.open(shard, "r:") as archive:
                for info, path in safe_members(archive):
                    name = info.name
                    if path.suffix == ".wav":
                        utt = _new_id(shard, info, audio)
                        audio[utt] = Member(str(shard), info.offset_data, info.size, name)
                    elif path.suffix == ".json":
                        utt = _new_id(shard, info, descriptions)
                        descriptions[utt] = _description(archive, info, shard)
                end = archive.offset
        except tarfile.TarError as error:
            raise DataError(
                f"{shard}: cut or damaged after {name}, or no tar archive; fetch it again"
            ) from error
        _check_end(shard, end, name)
    if not audio:
        raise DataError(f"{shard}: holds no recordings (.wav); fetch it again")
    return [_describe(member, utt, descriptions.get(utt, {})) for utt, member in audio.items()]


def _new_id(shard: Path, info: tarfile.TarInfo, found: Container[str]) -> str:
    """Id of a member; two whose paths differ in what is left out of it are one twice."""
    if info.size < 0:
        raise DataError(f"{shard}: {info.name} has {info.size} bytes; fetch it again")
    try:
        utt = member_id(info.name)
    except ValueError as error:
        raise DataError(f"{shard}: {info.name!r} {error}") from None
    if utt in found:
        raise DataError(f"{shard}: {info.name} stands there twice; fetch the shard again")
    return utt


def _check_end(shard: Path, end: int, name: str) -> None:
    """Refuse a shard without its blocks of zeros behind the last member, or with more than them."""
    with open(shard, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < end + BLOCK:
            raise DataError(f"{shard}: cut within or after {name}; fetch it again")
        file.seek(end)
        while data := file.read(1 << 20):
            if data.count(0) != len(data):
                raise DataError(f"{shard}: damaged after {name}; fetch it again")


def _description(archive: tarfile.TarFile, info: tarfile.TarInfo, shard: Path) -> dict[str, Any]:
    if info.size > _MOST_JSON:
        raise DataError(f"{shard}: {info.name} has {info.size} bytes; fetch the shard again")
    file = archive.extractfile(info)
    return parse_json(f"{shard}: {info.name}", file.read() if file else b"", "a description")


def _describe(member: Member, utt: str, table: dict[str, Any]) -> Described:
    recording = Described(utt, member, table)
    told = table.get("speaker_id")
    if "/" in utt and told is not None and str(told) != recording.speaker:
        raise DataError(f"{member.shard}: {member.name}: its .json says that the speaker is {told}")
    return recording


def write_shards(
    folder: str | os.PathLike,
    recordings: Mapping[str, str | os.PathLike],
    *,
    per_shard: int = MOST_FILES,
    classes: Mapping[str, int] | None = None,
) -> list[Path]:
    """Write recordings as shards ``shard-000000.tar`` …, in the order given.

    The bytes are those of the challenge's own writer.

    Parameters
    ----------
    folder : path-like
    recordings : mapping of str to path-like
        Id ``SPEAKER/VIDEO/UTT``, or ``HEX``, to WAV file.
    per_shard : int
        Most files in one, descriptions included.
    classes : mapping of str to int, optional
        Speaker to class, others have none; by default in the order of their names.

    Returns
    -------
    list of Path
    """
    if not 2 <= per_shard:
        raise UsageError(f"per_shard={per_shard}: a recording and its description are 2 files")
    if wrong := [utt for utt in recordings if utt.count("/") not in (0, 2)]:
        raise DataError(f"{wrong[0]}: ids in shards are SPEAKER/VIDEO/UTT, or opaque ones")
    names = sorted({utt.split("/")[0] for utt in recordings if "/" in utt})
    numbers = {n: i for i, n in enumerate(names)} if classes is None else classes
    utts = list(recordings)
    size = min(per_shard // 2, len(utts))
    paths = []
    for shard, begin in enumerate(range(0, len(utts), max(size, 1))):
        mine = utts[begin : begin + size]
        path = Path(folder) / f"shard-{shard:06d}{'.partial' * (len(mine) < size)}.tar"
        with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
            for idx, utt in enumerate(mine):
                key = f"{idx:0{len(str(size))}d}"
                _add(archive, key, utt, Path(recordings[utt]), numbers.get(utt.split("/")[0]))
        paths.append(path)
    return paths


def _add(archive: tarfile.TarFile, key: str, utt: str, path: Path, class_idx: int | None) -> None:
    from ivector.features.audio import audio_info

    sample = utt if "/" in utt else "/".join((*OPAQUE, utt))
    sound = audio_info(path)
    values = (sample, *sample.split("/"), sound.n_samples, sound.rate, class_idx)
    text = json.dumps(dict(zip(DESCRIPTION, values))).encode()
    for ending, data in ((".wav", path.read_bytes()), (".json", text)):
        info = tarfile.TarInfo(f"{key}/{sample}{ending}")
        info.size, info.mode, info.mtime = len(data), MODE, TIME
        info.uname, info.gname = OWNER, GROUP
        archive.addfile(info, io.BytesIO(data))
