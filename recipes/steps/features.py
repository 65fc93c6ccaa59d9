"""Stage 1: static features and voice activity of every recording, in sharded archives."""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import inspect
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivector.base.budget import MIB, require_disk, shard_size
from ivector.base.cli import whole
from ivector.base.errors import DataError, UsageError, UserError
from ivector.base.files import read_lines, write_text
from ivector.base.log import progress
from ivector.base.shards import map_shards
from ivector.base.workers import make_shards
from ivector.data import read_data_dir
from ivector.features.audio import audio_defects, read_audio, refuse_zeros
from ivector.features.extractors import MFCC
from ivector.features.vad import EnergyVAD, voiced_or_loudest
from ivector.formats.arks import ArkWriter
from recipes.engine.stage import resume_folder, stage
from recipes.steps.common import logger, make_parser

UTTERANCES_PER_SHARD = 64  # of small corpora
ARCHIVE_BYTES = 256 * MIB  # of large ones


class Storage(NamedTuple):
    """How features are written: `ArkWriter`'s option, and bytes a number."""

    compress: bool | str
    n_bytes: int


STORAGES = {
    "float32": Storage(False, 4),
    "two-byte": Storage("two-byte", 2),
    "compressed": Storage(True, 1),
}

# Utterance, audio file, start and end in seconds (None at the file's ends).
Part = tuple[str, str, float | None, float | None]
# Utterance, remark, frames, voiced frames; no frames when it was skipped.
Row = tuple[str, str, int, int]


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
        Of recordings with several.
    """

    mfcc: dict[str, Any]
    vad: dict[str, Any]
    work: Path
    home: Path
    strict: bool
    channel: int | str | None = None
    compress: bool | str = False

    def __call__(self, job: tuple[int, list[Part]]) -> list[Row]:
        """Return the rows of a shard; its archives are there then."""
        index, recordings = job
        rows_path = resume_folder(self.work) / f"rows.{index}.json"
        if not rows_path.exists():
            rows = self._extract(index, recordings)
            # Written last: what stands in it has its archives.
            write_text(rows_path, json.dumps(rows))
            return rows
        return [tuple(row) for row in json.loads(rows_path.read_text(encoding="utf-8"))]

    def _extract(self, index: int, recordings: list[Part]) -> list[Row]:
        mfcc, vad = MFCC(**self.mfcc), EnergyVAD(**self.vad)
        rows: list[Row] = []
        listed: dict[str, Any] = {"listed_in": self.home, "list_to": resume_folder(self.work)}
        with (
            ArkWriter(self.work / f"feats.{index}", self.compress, **listed) as feats,
            ArkWriter(self.work / f"vad.{index}", **listed) as vads,
        ):
            for utt, path, start, end in recordings:
                try:
                    features, voiced, remark = self._one(path, start, end, mfcc, vad)
                except DataError as error:
                    if self.strict:
                        raise DataError(f"{utt}: {error}") from error
                    rows.append((utt, str(error), 0, 0))
                    continue
                feats.write(utt, features)
                vads.write(utt, voiced.astype(np.float32))
                rows.append((utt, remark, len(features), int(voiced.sum())))
        return rows

    def _one(
        self, path: str, start: float | None, end: float | None, mfcc: MFCC, vad: EnergyVAD
    ) -> tuple[np.ndarray, np.ndarray, str]:
        rate = int(self.mfcc.get("sample_frequency", 16000))
        samples, _ = read_audio(path, rate, self.channel, start, end)
        remarks = audio_defects(samples, rate)
        refuse_zeros(samples, path)
        features = mfcc.transform(samples)
        if not len(features):
            raise DataError(f"{path}: shorter than one frame; leave it out")
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


def main(arguments: argparse.Namespace) -> None:
    """Run the stage."""
    mfcc = read_options(arguments.mfcc_config)
    vad = read_options(arguments.vad_config)
    _check_options(arguments, mfcc, vad)
    recordings: list[Part] = list(read_data_dir(arguments.data / "wav").recordings())
    home = arguments.exp / "features"
    options = {"mfcc": mfcc, "vad": vad, "strict": arguments.strict, "channel": arguments.channel}
    compress = STORAGES[arguments.feature_storage].compress
    if compress:
        options["storage"] = arguments.feature_storage
    upstream = {"recordings": state(recordings)}
    with stage(home, options, upstream, force=arguments.force) as work:
        if work is None:
            return
        extractor = Extractor(mfcc, vad, work, home, arguments.strict, arguments.channel, compress)
        size = check_budget(arguments, recordings, mfcc, work)
        shards = list(enumerate(make_shards(recordings, size)))
        done = map_shards(extractor, shards, nj=arguments.nj)
        shown = progress(
            done, len(shards), "features", "shard", lambda part: sum(row[2] for row in part),
            mfcc.get("frame_shift", 10) / 1000,
        )  # fmt: skip
        rows = [row for part in shown for row in part]
        _finish(work, home, rows, len(shards))


def check_budget(
    arguments: argparse.Namespace, recordings: list[Part], mfcc: dict[str, Any], work: Path
) -> int:
    """Refuse features that do not fit on the disk; return the recordings of a shard.

    Large corpora have few large archives, of some `ARCHIVE_BYTES`, small ones as many as keep
    workers busy. How long recordings are is told from some of them.
    """
    n_dims = mfcc.get("num_ceps", 13)
    frames = mean_seconds(recordings) * 1000 / mfcc.get("frame_shift", 10)
    number = STORAGES[arguments.feature_storage].n_bytes
    one = frames * (n_dims * number + 4) + 9 * n_dims + 100  # with the decisions, and headers
    what = f"features of {len(recordings)} recordings"
    cure = "store them with --feature-storage two-byte" if number > 2 else ""
    require_disk(work, 1.1 * one * len(recordings), arguments.disk, what, cure)
    most = max(UTTERANCES_PER_SHARD, min(1024, int(ARCHIVE_BYTES / one)))
    return shard_size(len(recordings), UTTERANCES_PER_SHARD, most)


def mean_seconds(recordings: list[Part], n_looked_at: int = 50) -> float:
    """Average length of recordings, from the headers of some spread over all of them."""
    import soundfile

    found = []
    for _, path, start, end in recordings[:: -(-len(recordings) // n_looked_at)]:
        if start is not None and end is not None:
            found.append(end - start)
            continue
        with contextlib.suppress(soundfile.LibsndfileError, OSError):
            found.append(soundfile.info(path).duration - (start or 0))
    return float(np.mean(found)) if found else 0.0


def state(recordings: Iterable[Part]) -> str:
    """Digest of which recordings there are, with sizes and times: it tells when one changed."""
    total = hashlib.sha256()
    for part in recordings:
        try:
            status = os.stat(part[1])
            found = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            found = "missing"  # told when it is read
        total.update(f"{part} {found}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:16]


def _check_options(arguments: argparse.Namespace, mfcc: dict, vad: dict) -> None:
    """Refuse options that make no sense before any recording is read, naming the file."""
    probe: Any = np.zeros(16000, np.float32)
    for kind, options, path in (
        (MFCC, mfcc, arguments.mfcc_config),
        (EnergyVAD, vad, arguments.vad_config),
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
        raise UsageError(
            f"{arguments.mfcc_config}: --sample-frequency={rate} is not a whole number"
        )


def _finish(work: Path, home: Path, rows: list[Row], n_shards: int) -> None:
    for name in ("feats", "vad"):
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


def _channel(text: str) -> int | str:
    if text == "mean":
        return text
    try:
        return whole(0)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"takes 0, 1, ... or mean, not {text!r}") from None


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("features", __doc__ or "")
    parser.add_argument("--mfcc-config", type=Path, required=True, help="Kaldi-style MFCC options")
    parser.add_argument("--vad-config", type=Path, required=True, help="Kaldi-style VAD options")
    parser.add_argument(
        "--channel", type=_channel, help="channel to take: 0, 1, ... or mean; without it "
        "recordings with several are skipped"
    )  # fmt: skip
    parser.add_argument(
        "--feature-storage",
        choices=tuple(STORAGES),
        default="float32",
        help="Kaldi's compressed matrices of two bytes a number (two-byte) or one (compressed): "
        "half the disk or a quarter, but one byte costs accuracy",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first bad recording")
    return parser
