"""tiny-voxceleb challenge: 100 speakers to train, trial lists dev, val and (without truth) eval.

The folder holds ``{train,val,dev}/wav/SPEAKER/VIDEO/UTT.wav`` and ``eval/wav/HEX.wav`` (with or
without ``wav/``) or, in place of the recordings, tar shards ``{train,val,dev,eval}/*.tar``
(`dnn.formats.shards`), there or in ``shards/``; and ``tiny_meta.csv``
(``id,gender,nationality,set,idx``), ``val_trials.txt``, ``dev_trials.txt``,
``eval_trials_no_gt.txt`` (lines ``gt id id``). Ids stay the challenge's:
``id10775/DYjmBHx5TlI/00007``. ``trials`` is dev; ``trials-val`` tests speakers of the training set,
as the challenge has it, and ``trials-eval`` has no labels.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dnn.formats.shards import member_id, read_shards
from ivector.base.errors import DataError
from ivector.base.files import read_lines
from recipes.corpora.common import Corpus, Fold, Recording, find_audio, need_folder
from recipes.corpora.download import extract
from recipes.corpora.layout import finish
from recipes.corpora.voxceleb import read_list, single_enrolments

SPLITS = ("train", "val", "dev", "eval")
FURTHER = {"val": "val_trials.txt", "eval": "eval_trials_no_gt.txt"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser`."""
    parser.add_argument(
        "--lists-dir",
        metavar="DIR",
        help="folder of the trial lists and tiny_meta.csv, where it is not --corpus-dir (as with "
        "shards)",
    )


def prepare(
    corpus_dir: str | os.PathLike | None,
    out_dir: str | os.PathLike,
    *,
    lists_dir: str | os.PathLike | None = None,
    strict: bool = False,
) -> dict[str, int]:
    """Write the layout of the challenge's data; shards are unpacked to ``out_dir/audio``.

    Parameters
    ----------
    corpus_dir, out_dir : path-like
    lists_dir : path-like, optional
        Folder of the lists; default `corpus_dir`.
    strict : bool
        Stop at recordings that cannot be used, or are missing.

    Returns
    -------
    counts : dict of str to int
    """
    root = need_folder(corpus_dir, "train/ and dev/ with recordings or tar shards")
    lists = need_folder(lists_dir or root, "dev_trials.txt")
    if not (lists / "dev_trials.txt").is_file():
        raise DataError(
            f"{lists}: lacks dev_trials.txt; fetch it, or give its folder as --lists-dir"
        )
    if not (root / "train").is_dir() and (root / "shards").is_dir():
        root = root / "shards"
    by_split = {split: list(_recordings(root, split, Path(out_dir), strict)) for split in SPLITS}
    present = {name: file for name, file in FURTHER.items() if (lists / file).is_file()}
    for split in ("train", "dev", *present):
        if not by_split[split]:
            raise DataError(
                f"{root / split}: holds neither recordings nor tar shards; fetch them"
                + (f", or remove {lists / present[split]}" if split in present else "")
            )
    further = {name: read_list(lists / file, _bare) for name, file in present.items()}
    dev = read_list(lists / "dev_trials.txt", _bare)
    fold = Fold(
        train={r.utterance: r.speaker for r in by_split["train"]},
        enroll=single_enrolments([dev, *further.values()]),
        trials=dev,
        more=further,
        closed_set=("val",),
    )
    recordings = [r for found in by_split.values() for r in found]
    genders = read_genders(lists / "tiny_meta.csv")
    return finish(Corpus(recordings, [fold], genders), Path(out_dir), strict)


def _bare(name: str) -> str:
    """Id of a name in a list; ValueError where it could not be the challenge's."""
    return member_id(f"{name.removesuffix('.wav')}.wav")


def _recordings(root: Path, split: str, out_dir: Path, strict: bool) -> Iterator[Recording]:
    """Find a split's recordings, unpacking its shards first where it comes in shards."""
    folder = root / split
    if any(folder.glob("*.tar")):
        described = read_shards(folder)  # all of them are looked through before one is unpacked
        folder = out_dir / "audio" / split
        for shard in dict.fromkeys(one.member.shard for one in described):
            extract(shard, folder, _place)
        for one in described:
            yield Recording(one.utterance, one.speaker, folder / f"{one.utterance}.wav")
        return
    if not folder.is_dir():
        return
    for path in find_audio(folder, strict):
        parts = path.relative_to(folder).with_suffix("").parts
        parts = parts[1:] if parts[0] == "wav" else parts
        if len(parts) == 3:  # speaker/video/utterance
            yield Recording("/".join(parts), parts[0], path)
        elif split == "eval":  # an opaque name, a speaker of its own as far as we know
            yield Recording(parts[-1], parts[-1], path)
        else:
            raise DataError(f"{path}: expected {split}/wav/speaker/video/utterance.wav")


def _place(name: PurePosixPath) -> PurePosixPath | None:
    """Where a member is unpacked to; None leaves it out."""
    return PurePosixPath(f"{member_id(str(name))}.wav") if name.suffix == ".wav" else None


def read_genders(path: Path) -> dict[str, str]:
    """Read ``tiny_meta.csv`` (id, gender, ...; with or without a header line) if there."""
    genders = {}
    for line in read_lines(path) if path.is_file() else []:
        fields = [field.strip() for field in line.split(",")]
        known = [f.lower()[0] for f in fields[1:] if f.lower() in ("m", "f", "male", "female")]
        if known:
            genders[fields[0]] = known[0]
    return genders
