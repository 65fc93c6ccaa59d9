"""LibriSpeech trees: ``[LibriSpeech/]SET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTT.flac``.

And the table that Deep Speaker's programs make of one: CSV with an index column without name, then
``filename,chapter_id,speaker_id,dataset_id``, of which the first version calls one ``filenames``.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from ivector.base.errors import DataError
from ivector.base.files import read_lines, write_text
from ivector.base.foreign.opening import files_below

ENDINGS = (".flac", ".wav")
COLUMNS = ("filename", "chapter_id", "speaker_id", "dataset_id")
FORMER = {"filenames": "filename"}  # what the first version called a column


class Utterance(NamedTuple):
    """A recording of LibriSpeech."""

    utterance: str
    speaker: str
    chapter: str
    dataset: str
    path: str


def read_tree(root: str | os.PathLike, datasets: Collection[str] | None = None) -> list[Utterance]:
    """Find the recordings of a tree, sorted by id.

    Parameters
    ----------
    root : path-like
        Folder of the sets, one above it, or one set.
    datasets : collection of str, optional
        Names of sets to take, as ``train-clean-100``; by default all.

    Raises
    ------
    DataError
        No such folder, no recordings of such names, a set that is not there, or one recording
        twice.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; it should hold SET/SPEAKER/CHAPTER/*.flac")
    found: dict[str, Utterance] = {}
    for path in files_below(root):
        row = _utterance(root, path)
        if row is None or (datasets is not None and row.dataset not in datasets):
            continue
        if row.utterance in found:
            raise DataError(f"{row.path}: is {found[row.utterance].path} too; remove one")
        found[row.utterance] = row
    if absent := sorted(set(datasets or ()) - {row.dataset for row in found.values()}):
        raise DataError(
            f"{root}: holds no recordings of the set {absent[0]}; fetch it, or name others"
        )
    if not found:
        raise DataError(f"{root}: holds no SET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTT.flac")
    return [found[utt] for utt in sorted(found)]


def _utterance(root: Path, path: Path) -> Utterance | None:
    """What a file's name says, if it stands where it should."""
    fields = path.stem.split("-")
    inside = path.relative_to(root).parts
    if path.suffix.lower() not in ENDINGS or len(fields) != 3 or path.stem.startswith("."):
        return None
    if list(path.parts[-3:-1]) != fields[:2]:
        return None
    dataset = inside[-4] if len(inside) > 3 else root.name
    return Utterance(path.stem, fields[0], fields[1], dataset, os.fspath(path))


def write_table(path: str | os.PathLike, utterances: Iterable[Utterance]) -> None:
    """Write Deep Speaker's table, as its later version does."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("", *COLUMNS))
    writer.writerows((i, u.path, u.chapter, u.speaker, u.dataset) for i, u in enumerate(utterances))
    write_text(path, text.getvalue())


def read_table(path: str | os.PathLike) -> list[Utterance]:
    """Read Deep Speaker's table of either version; relative files are sought in its folder.

    Raises
    ------
    DataError
        The table is missing or empty, lacks a column, or a line lacks a field.
    """
    path = Path(path)
    rows = list(csv.reader(read_lines(path)))
    header = [FORMER.get(name.strip(), name.strip()) for name in rows[0]] if rows else []
    if absent := [name for name in COLUMNS if name not in header]:
        raise DataError(f"{path}: has no column {absent[0]}; expected {', '.join(COLUMNS)}")
    where = [header.index(name) for name in COLUMNS]
    found = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) <= max(where) or not all(row[i].strip() for i in where[:3]):
            raise DataError(f"{path}:{number}: expected {', '.join(header)}, got {row!r}")
        file, chapter, speaker, dataset = (row[i].strip() for i in where)
        found.append(
            Utterance(Path(file).stem, speaker, chapter, dataset, os.fspath(path.parent / file))
        )
    if not found:
        raise DataError(f"{path}: names no recordings; make the table again")
    return found
