"""Recordings in tar shards, read where they lie, without unpacking.

Members are ``IDX/SPEAKER/VIDEO/UTT.wav``, each with a ``.json`` beside it (``sample_id,
speaker_id, youtube_id, utterance_id, num_frames, sampling_rate, class_idx``); at most 5,000 files
a shard. Ids are ``SPEAKER/VIDEO/UTT``, as the tiny-voxceleb challenge has them.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dnn.formats.mapped import MappedFiles
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_path
from ivector.base.foreign.boundary import foreign, parse_json

MOST_FILES = 5000
_MOST_JSON = 1 << 20
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
        """Speaker, as the description has it, or else the name of the member."""
        return str(self.description.get("speaker_id", self.utterance.split("/")[0]))


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
        raise DataError(f"{paths}: holds no tar shards")
    found: dict[str, Described] = {}
    for shard in shards:
        for recording in _read_shard(shard):
            if recording.utterance in found:
                other = found[recording.utterance].member.shard
                raise DataError(f"{shard}: {recording.utterance} is in {other} too; remove one")
            found[recording.utterance] = recording
    return [found[utt] for utt in sorted(found)]


def _read_shard(shard: Path) -> list[Described]:
    audio: dict[str, Member] = {}
    descriptions: dict[str, dict[str, Any]] = {}
    name = "its first member"
    try:
        with foreign(shard, "a tar archive"), tarfile.open(shard, "r:") as archive:
            for info in archive:
                name, path = info.name, PurePosixPath(info.name)
                if not info.isfile() or path.suffix not in (".wav", ".json"):
                    continue
                if info.size < 0:
                    raise DataError(f"{shard}: {name} has {info.size} bytes; fetch it again")
                stem = str(path.with_suffix(""))
                if path.suffix == ".wav":
                    audio[stem] = Member(str(shard), info.offset_data, info.size, info.name)
                else:
                    descriptions[stem] = _description(archive, info, shard)
    except DataError as error:
        if not isinstance(error.__cause__, tarfile.TarError):
            raise
        raise DataError(
            f"{shard}: cut or damaged after {name}, or no tar archive; fetch it again"
        ) from error
    last = max(audio.values(), key=lambda member: member.offset, default=None)
    if last is None:
        raise DataError(f"{shard}: holds no recordings (.wav)")
    if last.offset + last.size > shard.stat().st_size:
        raise DataError(f"{shard}: cut within {last.name}; fetch it again")
    return [_describe(shard, stem, audio[stem], descriptions.get(stem, {})) for stem in audio]


def _description(archive: tarfile.TarFile, info: tarfile.TarInfo, shard: Path) -> dict[str, Any]:
    if info.size > _MOST_JSON:
        raise DataError(f"{shard}: {info.name} has {info.size} bytes; fetch the shard again")
    file = archive.extractfile(info)
    return parse_json(f"{shard}: {info.name}", file.read() if file else b"", "a description")


def _describe(shard: Path, stem: str, member: Member, table: dict[str, Any]) -> Described:
    parts = PurePosixPath(stem).parts
    parts = parts[1:] if len(parts) > 1 and parts[0].isdigit() else parts
    recording = Described("/".join(parts), member, table)
    if len(parts) == 3 and recording.speaker != parts[0]:
        raise DataError(
            f"{shard}: {member.name}: its .json says that the speaker is {recording.speaker}"
        )
    return recording


def write_shards(
    folder: str | os.PathLike,
    recordings: Mapping[str, str | os.PathLike],
    *,
    per_shard: int = MOST_FILES,
    classes: Mapping[str, int] | None = None,
) -> list[Path]:
    """Write recordings as shards ``shard-000000.tar`` …, in the order given.

    Parameters
    ----------
    folder : path-like
    recordings : mapping of str to path-like
        Id ``SPEAKER/VIDEO/UTT`` to WAV file.
    per_shard : int
        Most files in one, descriptions included.
    classes : mapping of str to int, optional
        Speaker to class; by default in the order of their names.

    Returns
    -------
    list of Path
    """
    if not 2 <= per_shard:
        raise UsageError(f"per_shard={per_shard}: a recording and its description are 2 files")
    if wrong := [utt for utt in recordings if utt.count("/") != 2]:
        raise DataError(f"{wrong[0]}: ids in shards are SPEAKER/VIDEO/UTT")
    names = sorted({utt.split("/")[0] for utt in recordings})
    numbers = classes or {name: number for number, name in enumerate(names)}
    utts, size = list(recordings), per_shard // 2
    paths = []
    for shard, begin in enumerate(range(0, len(utts), size)):
        path = Path(folder) / f"shard-{shard:06d}.tar"
        with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
            for idx, utt in enumerate(utts[begin : begin + size], begin):
                _add(archive, idx, utt, Path(recordings[utt]), numbers[utt.split("/")[0]])
        paths.append(path)
    return paths


def _add(archive: tarfile.TarFile, idx: int, utt: str, path: Path, class_idx: int) -> None:
    from ivector.features.audio import audio_info

    speaker, video, name = utt.split("/")
    sound = audio_info(path)
    values = (utt, speaker, video, name, sound.n_samples, sound.rate, class_idx)
    text = json.dumps(dict(zip(DESCRIPTION, values)), ensure_ascii=False).encode()
    for ending, data in ((".wav", path.read_bytes()), (".json", text)):
        info = tarfile.TarInfo(f"{idx}/{utt}{ending}")  # no owner or time: same data, same bytes
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
