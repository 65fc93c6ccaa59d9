"""LibriSpeech: read English, 16 kHz; can download itself (``--download test-clean,test-other``).

The folder holds ``[LibriSpeech/]<set>/<speaker>/<chapter>/<speaker>-<chapter>-<utt>.flac`` and,
where speakers' genders are wanted, ``SPEAKERS.TXT``. Where sets named ``train-*`` are there, they
train one fold and the other sets test it; else two folds are made. Panayotov et al., ICASSP 2015;
CC BY 4.0, openslr.org/12.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
from pathlib import Path, PurePosixPath

from ivector.base.errors import DataError, UsageError
from ivector.base.files import read_lines
from recipes.corpora.common import (
    Corpus,
    Fold,
    Recording,
    add_protocol_options,
    check_protocol_options,
    find_files,
    make_test,
    need_folder,
    read_protocol,
    two_folds,
)
from recipes.corpora.download import download, extract
from recipes.corpora.layout import finish, usable

logger = logging.getLogger("prepare")

MIRROR = "https://www.openslr.org/resources/12"
# From openslr.org/resources/12/md5sum.txt.
SETS = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser`."""
    parser.add_argument(
        "--download",
        default="",
        metavar="SETS",
        help="sets to fetch into --corpus-dir first, with commas between: " + ", ".join(SETS),
    )
    parser.add_argument(
        "--mirror", default=MIRROR, metavar="URL", help="where to fetch from; one nearby is faster"
    )
    add_protocol_options(parser)


def prepare(
    corpus_dir: str | os.PathLike | None,
    out_dir: str | os.PathLike,
    *,
    download: str = "",
    mirror: str = MIRROR,
    protocol: str | os.PathLike | None = None,
    enrol_utts: int | None = None,
    max_trials: int | None = None,
    strict: bool = False,
) -> dict[str, int]:
    """Write the layout of the sets of LibriSpeech that are in the folder.

    Parameters
    ----------
    corpus_dir, out_dir : path-like
    download : str
        Names of sets to fetch, with commas between.
    mirror : str
        Address that they are fetched from.
    protocol, enrol_utts, max_trials
        As in `recipes.corpora.folder.prepare`.
    strict : bool
        Stop at recordings that cannot be used.

    Returns
    -------
    counts : dict of str to int
    """
    check_protocol_options(protocol, enrol_utts, max_trials)
    for name in filter(None, download.split(",")):
        fetch_set(name.strip(), corpus_dir, mirror)
    root = need_folder(corpus_dir, "LibriSpeech/<set>/<speaker>/<chapter>/*.flac")
    sets = find_sets(root)
    recordings = usable((r for found in sets.values() for r in found), strict)
    if protocol:
        folds = read_protocol(protocol)
    else:
        train = {r for name, found in sets.items() if name.startswith("train") for r in found}
        folds = make_folds(recordings, train, enrol_utts, max_trials)
    corpus = Corpus(recordings, folds, read_genders(root), checked=True)
    return finish(corpus, Path(out_dir), strict)


def fetch_set(name: str, corpus_dir: str | os.PathLike | None, mirror: str) -> None:
    """Download and unpack one set, unless it is there."""
    if name not in SETS:
        raise UsageError(f"--download {name}: no such set; there are {', '.join(SETS)}")
    if not corpus_dir:
        raise UsageError("--download needs --corpus-dir, the folder to fetch into")
    root = Path(corpus_dir)
    target = root / "LibriSpeech" / name
    if target.is_dir():
        return
    archive = download(f"{mirror.rstrip('/')}/{name}.tar.gz", root / f"{name}.tar.gz", SETS[name])
    logger.info("unpacking %s", archive)
    # Beside its place first, so that a set is there whole or not at all.
    half = root / f".{name}.half"
    extract(archive, half)
    if not (half / "LibriSpeech" / name).is_dir():
        raise DataError(f"{archive}: holds no LibriSpeech/{name}")
    for path in (half / "LibriSpeech").glob("*.TXT"):
        (root / "LibriSpeech").mkdir(exist_ok=True)
        os.replace(path, root / "LibriSpeech" / path.name)
    target.parent.mkdir(exist_ok=True)
    os.replace(half / "LibriSpeech" / name, target)
    shutil.rmtree(half, ignore_errors=True)
    archive.unlink()


def find_sets(root: Path) -> dict[str, list[Recording]]:
    """Find recordings by set: name of the set to recordings."""
    sets: dict[str, list[Recording]] = {}
    for path in find_files(root, {".flac", ".wav"}):
        parts = PurePosixPath(path.relative_to(root).as_posix()).parts
        fields = path.stem.split("-")
        if len(fields) != 3 or list(parts[-3:-1]) != fields[:2]:
            continue
        name = parts[-4] if len(parts) > 3 else root.name
        sets.setdefault(name, []).append(Recording(path.stem, fields[0], path))
    if not sets:
        raise DataError(
            f"{root}: holds no <set>/<speaker>/<chapter>/<speaker>-<chapter>-<utt>.flac; for "
            "other trees use the corpus 'folder'"
        )
    return sets


def make_folds(
    recordings: list[Recording],
    training: set[Recording],
    enrol_utts: int | None,
    max_trials: int | None,
) -> list[Fold]:
    """Train on those of the ``train-*`` sets and test the others; two folds without the one."""
    train = {r.utterance: r.speaker for r in recordings if r in training}
    test = {r.utterance: r.speaker for r in recordings if r not in training}
    if not (train and test):
        return two_folds(train or test, enrol_utts, max_trials)
    return [Fold(train, *make_test(test, enrol_utts, max_trials))]


def read_genders(root: Path) -> dict[str, str]:
    """Read ``SPEAKERS.TXT`` (``ID | SEX | SUBSET | MINUTES | NAME``) where it is there."""
    for path in (root / "SPEAKERS.TXT", root / "LibriSpeech" / "SPEAKERS.TXT"):
        if path.is_file():
            rows = [line.split("|") for line in read_lines(path) if not line.startswith(";")]
            return {
                row[0].strip(): row[1].strip().lower()
                for row in rows
                if len(row) > 1 and row[1].strip() in ("M", "F")
            }
    return {}
