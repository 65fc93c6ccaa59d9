"""Stage 1: static features and voice activity of every recording, in sharded archives."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ivector.base.budget import MIB, require_disk, shard_size
from ivector.base.errors import DataError, UsageError, UserError
from ivector.base.files import read_lines, write_text
from ivector.base.foreign.boundary import foreign
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from ivector.data import Part, Row, read_data_dir
from ivector.features.audio import (
    FULL_SCALE,
    audio_defects,
    audio_info,
    read_audio,
    refuse_zeros,
)
from ivector.features.extractors import MFCC
from ivector.features.vad import EnergyVAD, voiced_or_loudest
from ivector.formats.arks import ArkWriter
from ivector.measures import measure
from recipes.engine.marks import is_planned
from recipes.engine.run import Body, Job, Run
from recipes.engine.stage import resume_folder
from recipes.experiment.cohort import read_others, refuse_few, refuse_tested
from recipes.experiment.frames import logger, voiced_counts
from recipes.experiment.protocol import folds, tried_utterances
from recipes.experiment.storage import STORAGES

UTTERANCES_PER_SHARD = 64  # of small corpora
ARCHIVE_BYTES = 256 * MIB  # of large ones


# Utterance, remark, frames, voiced frames; no frames when it was skipped.
Done = tuple[str, str, int, int]


@dataclass(frozen=True)
class Extractor:
    """Computes features and VAD of a shard of recordings and writes its archives.

    Parameters
    ----------
    mfcc, vad : dict
        Options of `MFCC` and `EnergyVAD`.
    work, home : Path
        Folder to write to, and where it will stand when the stage is done.
    strict : bool
        Stop at the first unusable recording.
    channel : int or "mean", optional
        Of recordings with several, where ``segments`` names none.
    """

    mfcc: dict[str, Any]
    vad: dict[str, Any]
    work: Path
    home: Path
    strict: bool
    channel: int | str | None = None
    compress: bool | str = False

    def __call__(self, job: tuple[int, list[Row]]) -> list[Done]:
        """Return the rows of a shard; its archives are there then."""
        index, recordings = job
        rows_path = resume_folder(self.work) / f"rows.{index}.json"
        if not rows_path.exists():
            rows = self._extract(index, recordings)
            # Written last: what stands in it has its archives.
            write_text(rows_path, json.dumps(rows))
            return rows
        with foreign(rows_path, "rows of a shard", "remove it"):
            return [tuple(row) for row in json.loads(rows_path.read_text(encoding="utf-8"))]

    def _extract(self, index: int, recordings: list[Row]) -> list[Done]:
        # The scale of `read_audio`: what is as good as silent is not to be taken for ±1.
        scale = {"full_scale": FULL_SCALE}
        mfcc, vad = MFCC(**{**self.mfcc, **scale}), EnergyVAD(**{**self.vad, **scale})
        rows: list[Done] = []
        listed: dict[str, Any] = {"listed_in": self.home, "list_to": resume_folder(self.work)}
        with (
            ArkWriter(self.work / f"feats.{index}", self.compress, **listed) as feats,
            ArkWriter(self.work / f"vad.{index}", **listed) as vads,
            ArkWriter(self.work / f"measures.{index}", **listed) as measures,
        ):
            for row in recordings:
                utt = row[0]
                try:
                    features, voiced, remark = self._one(Part(*row), mfcc, vad)
                except DataError as error:
                    if self.strict:
                        raise DataError(f"{utt}: {error}") from error
                    rows.append((utt, str(error), 0, 0))
                    continue
                feats.write(utt, features)
                vads.write(utt, voiced.astype(np.float32))
                measures.write(utt, measure(features, voiced))
                rows.append((utt, remark, len(features), int(voiced.sum())))
        return rows

    def _one(self, part: Part, mfcc: MFCC, vad: EnergyVAD) -> tuple[np.ndarray, np.ndarray, str]:
        rate = int(self.mfcc.get("sample_frequency", 16000))
        channel = self.channel if part.channel is None else part.channel
        samples, _ = read_audio(part.file, rate, channel, part.start, part.end)
        remarks = audio_defects(samples, rate)
        refuse_zeros(samples, part.file)
        features = mfcc.transform(samples)
        if not len(features):
            raise DataError(f"{part.file}: shorter than one frame; leave it out")
        voiced, fallback = voiced_or_loudest(features, vad)
        if fallback:
            remarks = [*remarks, "no voiced frame: the loudest frames are used"]
        return features, voiced, "; ".join(remarks)


def read_options(path: Path) -> dict[str, Any]:
    """Read options from a file in Kaldi's form, one ``--name=value  # comment`` a line.

    Raises
    ------
    UsageError
        A line of another form.
    """
    options: dict[str, Any] = {}
    for number, line in enumerate(read_lines(path), 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        name, equals, value = text.partition("=")
        if not (name.startswith("--") and equals):
            raise UsageError(f"{path}, line {number}: expected --name=value, got {text!r}")
        options[name[2:].strip().replace("-", "_")] = _parse(value.strip())
    return options


def _parse(value: str) -> Any:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def extract(
    run: Run, home: Path, mfcc: dict, vad: dict, recordings: list[Row], work: Path, nj: int
) -> None:
    """Compute the features of recordings into `work`, which becomes `home`."""
    values = run.settings.common
    compress = STORAGES[values.feature_storage].compress
    extractor = Extractor(mfcc, vad, work, home, values.strict, values.channel, compress)
    size = check_budget(values, recordings, mfcc, work)
    shards = list(enumerate(make_shards(recordings, size)))
    done = map_shards(extractor, shards, nj=nj)
    shown = progress(
        done, len(shards), "features", "shard", lambda part: sum(row[2] for row in part),
        mfcc.get("frame_shift", 10) / 1000,
    )  # fmt: skip
    rows = [row for part in shown for row in part]
    _finish(work, home, rows, len(shards))


def extract_others(
    run: Run, name: str, mfcc: dict, vad: dict, recordings: list[Row], work: Path, nj: int
) -> None:
    """Compute the features of recordings beside the corpus's, which must not be on trial."""
    folder = getattr(run.settings.common, name)
    tried = set().union(*(tried_utterances(fold) for fold in folds(run.data)))
    corpus = [row for row in read_data_dir(run.data / "wav").recordings() if row[0] in tried]
    refuse_tested(recordings, corpus, folder, name)
    extract(run, run.exp / name, mfcc, vad, recordings, work, nj)
    if name == "adapt":
        refuse_few(len(voiced_counts(work)), folder)


def jobs(run: Run) -> Iterator[Job]:
    """The features of all recordings, and of those of ``--cohort`` and ``--adapt``."""
    if is_planned(run.data):
        yield Job(run.features, {}, {"recordings": "planned: stage 0"}, lambda *_: None)
        return
    values = run.settings.common
    mfcc, vad = read_options(values.mfcc_config), read_options(values.vad_config)
    _check_options(values, mfcc, vad)
    options = {"mfcc": mfcc, "vad": vad, "strict": values.strict, "channel": values.channel}
    if STORAGES[values.feature_storage].compress:
        options["storage"] = values.feature_storage

    def job(home: Path, recordings: list[Row], body: Body) -> Job:
        upstream, code = {"recordings": state(recordings)}, run.code("features")
        return Job(home, options, upstream, body, code, run.forced, alone=True)

    recordings = list(read_data_dir(run.data / "wav").recordings())
    yield job(
        run.features,
        recordings,
        functools.partial(extract, run, run.features, mfcc, vad, recordings),
    )
    for name in run.settings.others:
        others = read_others(getattr(values, name), name, values.strict)
        body = functools.partial(extract_others, run, name, mfcc, vad, others)
        yield job(run.exp / name, others, body)


def check_budget(
    values: SimpleNamespace, recordings: list[Row], mfcc: dict[str, Any], work: Path
) -> int:
    """Refuse features that do not fit on the disk; return the recordings of a shard.

    Large corpora have few large archives, of some `ARCHIVE_BYTES`, small ones as many as keep
    workers busy. How long recordings are is told from some of them.
    """
    n_dims = mfcc.get("num_ceps", 13)
    frames = mean_seconds(recordings) * 1000 / mfcc.get("frame_shift", 10)
    number = STORAGES[values.feature_storage].n_bytes
    one = frames * (n_dims * number + 4) + 9 * n_dims + 100  # with the decisions, and headers
    what = f"features of {len(recordings)} recordings"
    cure = "store them with --feature-storage two-byte" if number > 2 else ""
    require_disk(work, 1.1 * one * len(recordings), values.disk, what, cure)
    most = max(UTTERANCES_PER_SHARD, min(1024, int(ARCHIVE_BYTES / one)))
    return shard_size(len(recordings), UTTERANCES_PER_SHARD, most)


def mean_seconds(recordings: list[Row], n_looked_at: int = 50) -> float:
    """Average length of recordings, from the headers of some spread over all of them."""
    found = []
    for _, path, start, end, *_ in recordings[:: -(-len(recordings) // n_looked_at)]:
        if start is not None and end is not None:
            found.append(end - start)
            continue
        with contextlib.suppress(DataError):  # told when it is read
            sound = audio_info(path)
            found.append(sound.n_samples / sound.rate - (start or 0))
    return float(np.mean(found)) if found else 0.0


def state(recordings: Iterable[Row]) -> str:
    """Digest of which recordings there are, with sizes and times: it tells when one changed."""
    total = hashlib.sha256()
    for row in recordings:
        try:
            status = os.stat(row[1])
            found = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            found = "missing"  # told when it is read
        total.update(f"{row} {found}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:16]


def _check_options(values: SimpleNamespace, mfcc: dict, vad: dict) -> None:
    """Refuse options that make no sense before any recording is read, naming the file."""
    probe: Any = np.zeros(16000, np.float32)
    for kind, options, path in (
        (MFCC, mfcc, values.mfcc_config),
        (EnergyVAD, vad, values.vad_config),
    ):
        known = inspect.signature(kind).parameters
        if unknown := [name for name in options if name not in known]:
            dashed = unknown[0].replace("_", "-")
            raise UsageError(f"{path}: {kind.__name__} has no option --{dashed}")
        try:
            probe = kind(**options).transform(probe)
        except UserError as error:
            raise UsageError(f"{path}: {error}") from error
    rate = mfcc.get("sample_frequency", 16000)
    if rate != int(rate):
        raise UsageError(f"{values.mfcc_config}: --sample-frequency={rate} is not a whole number")


def _finish(work: Path, home: Path, rows: list[Done], n_shards: int) -> None:
    for name in ("feats", "vad", "measures"):
        parts = [resume_folder(work) / f"{name}.{i}.scp" for i in range(n_shards)]
        write_text(work / f"{name}.scp", "".join(part.read_text("utf-8") for part in parts))
    good = [row for row in rows if row[2]]
    skipped = [row for row in rows if not row[2]]
    write_text(work / "utt2num_voiced", "".join(f"{utt} {voiced}\n" for utt, _, _, voiced in good))
    write_text(work / "skipped", "".join(f"{utt} {why}\n" for utt, why, _, _ in skipped))
    remarks = [row for row in good if row[1]]
    write_text(work / "remarks", "".join(f"{utt} {why}\n" for utt, why, _, _ in remarks))
    frames, voiced = sum(row[2] for row in good), sum(row[3] for row in good)
    logger.info(
        "%d recordings, %d frames, %.0f %% voiced", len(good), frames, 100 * voiced / max(frames, 1)
    )
    if remarks:
        logger.warning("%d recordings have defects, see %s", len(remarks), home / "remarks")
    if skipped:
        utt, why = skipped[0][:2]
        logger.warning("%d recordings skipped, for example %s: %s", len(skipped), utt, why)
    if not good:
        why = f", for example {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise DataError(f"no recording could be used{why}")
