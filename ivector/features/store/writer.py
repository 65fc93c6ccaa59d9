"""Makes log-mel stores, shard by shard; `ivector.features.store.reader` says what they hold."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.budget import shard_size
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write, write_text
from ivector.base.foreign.boundary import read_json
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from ivector.data import Part, Row

logger = logging.getLogger("store")

FORMAT = 1
UTTERANCES_PER_SHARD = 128  # of small corpora; large ones have some thousand a file


class Plain(NamedTuple):
    """Storage of frames row by row: type of a number, ending of the files."""

    dtype: np.dtype
    ending: str


PLAIN = {"float16": Plain(np.dtype("<f2"), ".f16"), "float32": Plain(np.dtype("<f4"), ".f32")}
STORAGES = ("kaldi", *PLAIN)
ENDINGS = {"kaldi": ".ark", **{name: plain.ending for name, plain in PLAIN.items()}}
PCM_BYTES = 2  # a sample of 16-bit audio
PACKAGES = ("ivector-plda", "numpy", "numba", "soundfile", "kaldiio")

Recording = Row


def write_store(
    folder: Path,
    recordings: Sequence[Recording],
    options: dict[str, Any],
    storage: str,
    nj: int,
    strict: bool,
) -> None:
    """Write a store, or what a killed run left to do; see `LogMelStore.create`."""
    run_writer(ShardWriter(folder.absolute(), options, storage, strict), folder, recordings, nj)


def run_writer(writer: ShardWriter, folder: Path, recordings: Sequence[Recording], nj: int) -> None:
    """Write all shards of a store and what describes them."""
    check_ids(recordings)
    # Workers may have been started in another folder, which relative paths would be sought in.
    recordings = [_absolute(row) for row in recordings]
    n_dims = writer.n_dims()
    # A store that is being made again is none until it is complete.
    (folder / "store.json").unlink(missing_ok=True)
    size = shard_size(len(recordings), UTTERANCES_PER_SHARD)
    shards = list(enumerate(make_shards(recordings, size)))
    done = map_shards(writer, shards, nj=nj)
    _finish(writer, list(progress(done, len(shards), "log-mel", "shard")), n_dims, folder)


@dataclass(frozen=True)
class ShardWriter:
    """Computes and writes one shard, unless its mark says that it stands there already."""

    folder: Path
    options: dict[str, Any]
    storage: str
    strict: bool

    def n_dims(self) -> int:
        """Return the dimensions of a frame."""
        return self.extractor().n_features

    def extractor(self) -> Any:
        """Return the feature extractor, its options checked."""
        from ivector.features.audio import FULL_SCALE
        from ivector.features.extractors import LogMel

        try:
            # The scale of `read_audio`: what is as good as silent is not to be taken for ±1.
            return LogMel(**{**self.options, "full_scale": FULL_SCALE}).fit()
        except TypeError as error:
            raise UsageError(f"log-mel options: {error}") from error

    def __call__(self, job: tuple[int, Sequence[Recording]]) -> dict[str, Any]:
        """Return the mark: rows (utt, file, offset, frames), skipped (utt, why), samples."""
        number, recordings = job
        name = f"logmel.{number}"
        mark = self.folder / f"{name}.json"
        file = self.folder / f"{name}{ENDINGS[self.storage]}"
        stamp = self._stamp(recordings)
        former = _read_mark(mark)
        if former and former["stamp"] == stamp and _size(file) == former["bytes"]:
            return former
        mark.unlink(missing_ok=True)
        done: dict[str, Any] = {"stamp": stamp, "skipped": [], "samples": 0}
        frames = self._frames(recordings, done)
        if self.storage == "kaldi":
            places = self._write_ark(file, frames)
        else:
            places = _write_plain(file, frames, PLAIN[self.storage].dtype)
        done["rows"] = [(utt, file.name, *place) for utt, *place in places]
        done["bytes"] = _size(file)
        write_text(mark, json.dumps(done) + "\n")
        return done

    def _stamp(self, recordings: Sequence[Recording]) -> str:
        """Digest of all that determines the shard, the recordings by size and time of change."""
        described = []
        for row in recordings:
            status = os.stat(row[1]) if os.path.exists(row[1]) else None
            described.append((*row, status and (status.st_size, status.st_mtime_ns)))
        text = json.dumps(
            [
                FORMAT,
                _versions()["ivector-plda"],
                self.options,
                self.storage,
                self.strict,
                described,
            ]
        )
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def _frames(
        self, recordings: Sequence[Recording], done: dict[str, Any]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (utterance, features) and keep count in `done`."""
        from ivector.features.audio import read_audio, refuse_zeros

        extractor = self.extractor()
        rate = int(extractor.sample_frequency)
        for row in recordings:
            utt, path, start, end, channel = Part(*row)
            try:
                samples, _ = read_audio(path, rate, channel, start, end)
                refuse_zeros(samples, path)
                features = extractor.transform(samples)
                if not len(features):
                    raise DataError(f"{path}: shorter than one frame; leave it out")
            except DataError as error:
                if self.strict:
                    raise DataError(f"{utt}: {error}") from error
                done["skipped"].append((utt, str(error)))
                continue
            done["samples"] += len(samples)
            yield utt, features

    @staticmethod
    def _write_ark(
        file: Path, frames: Iterator[tuple[str, np.ndarray]]
    ) -> Iterator[tuple[str, int, int]]:
        """Yield (utterance, offset, frames)."""
        from ivector.formats.arks import ArkWriter, read_scp

        lengths: dict[str, int] = {}
        with ArkWriter(file.with_suffix(""), compress=True) as writer:
            for utt, features in frames:
                writer.write(utt, features)
                lengths[utt] = len(features)
        for utt, location in read_scp(writer.scp).items():
            yield utt, int(location.rpartition(":")[2]), lengths[utt]
        writer.scp.unlink()


def _write_plain(
    file: Path, frames: Iterator[tuple[str, np.ndarray]], dtype: np.dtype
) -> Iterator[tuple[str, int, int]]:
    """Yield (utterance, offset, frames)."""
    places = []
    with atomic_write(file) as stream:
        for utt, features in frames:
            if np.abs(features).max() > np.finfo(dtype).max:
                raise UsageError(f"{utt}: numbers too large for {dtype.name}; take logarithms")
            places.append((utt, stream.tell(), len(features)))
            stream.write(features.astype(dtype).tobytes())
    yield from places


def _finish(writer: ShardWriter, parts: list[dict[str, Any]], n_dims: int, listed_in: Path) -> None:
    """Write the index and the description; remove shards of an earlier, larger corpus."""
    folder = writer.folder
    rows = [row for part in parts for row in part["rows"]]
    skipped = [row for part in parts for row in part["skipped"]]
    if skipped:
        utt, why = skipped[0]
        logger.warning("%d recordings skipped, for example %s: %s", len(skipped), utt, why)
    if not rows:
        utt, why = skipped[0]
        raise DataError(f"{folder}: no recording could be used, for example {utt}: {why}")
    for old in folder.glob("logmel.*"):
        if int(old.name.split(".")[1]) >= len(parts) or (
            old.suffix in ENDINGS.values() and old.name not in {row[1] for row in rows}
        ):
            old.unlink()
    write_text(folder / "index", "".join(f"{u} {f} {o} {n}\n" for u, f, o, n in rows))
    write_text(folder / "skipped", "".join(f"{utt} {why}\n" for utt, why in skipped))
    if writer.storage == "kaldi":
        scp = "".join(f"{utt} {listed_in / file}:{offset}\n" for utt, file, offset, _ in rows)
        write_text(folder / "feats.scp", scp)
    else:
        (folder / "feats.scp").unlink(missing_ok=True)
    n_bytes = sum(part["bytes"] for part in parts)
    pcm_bytes = PCM_BYTES * sum(part["samples"] for part in parts)
    description = {
        "format": FORMAT,
        "storage": writer.storage,
        "options": writer.options,
        "n_dims": n_dims,
        "utterances": len(rows),
        "skipped": len(skipped),
        "frames": sum(row[3] for row in rows),
        "bytes": n_bytes,
        "pcm_bytes": pcm_bytes,
        "versions": _versions(),
        "revision": _revision(),
    }
    write_text(folder / "store.json", json.dumps(description, indent=1, sort_keys=True) + "\n")
    logger.info(
        "%s: %d utterances, %.1f MB, %.1f %% of 16-bit audio",
        listed_in, len(rows), n_bytes / 1e6, 100 * n_bytes / pcm_bytes,
    )  # fmt: skip


def _absolute(row: Recording) -> Recording:
    utt, path, *rest = row
    return (utt, os.path.abspath(path), *rest)  # type: ignore[return-value]


def check_ids(ordered: Sequence[Recording]) -> None:
    """Refuse recordings without ids of their own, or none at all."""
    for (utt, *_), (other, *_) in zip(ordered, [*ordered[1:], ("", "", None, None)]):
        if not utt or utt.split() != [utt]:
            raise DataError(f"{utt!r} cannot be an id: ids are not empty and hold no blanks")
        if utt == other:
            raise DataError(f"two recordings have the id {utt}; rename one of them")
    if not ordered:
        raise DataError("no recordings to make a log-mel store of")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _read_mark(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path, "a mark")
    except DataError:
        return None


def _versions() -> dict[str, str]:
    """Versions of Python and of what computes the features."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = packages.version(package)
        except packages.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _revision() -> str | None:
    """Git commit that the toolkit runs from, if it runs from a checkout."""
    git = Path(__file__).resolve().parents[3] / ".git"
    try:
        head = (git / "HEAD").read_text("ascii").strip()
        return (git / head[5:]).read_text("ascii").strip() if head.startswith("ref: ") else head
    except OSError:
        return None
