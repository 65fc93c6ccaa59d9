"""Hyke: digit strings over the telephone, 83 speakers with 5 utterances each, at 8 kHz.

The folder holds ``manifest.tsv`` (columns speaker, utterance, path, gender, ...), the recordings
it names and ``protocol/fold{0,1}``. Reda, Panjwani and Cutrell, NSDR 2011. All five lines of a
speaker come from one call, so error rates are lower than they would be in the field.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ivector.base.errors import DataError
from ivector.base.files import read_lines
from ivector.base.foreign.opening import inside
from recipes.corpora.common import Corpus, Recording, need_folder, read_protocol
from recipes.corpora.layout import finish

COLUMNS = ("speaker", "utterance", "path", "gender")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this corpus's options to `parser` (it has none)."""


def prepare(
    corpus_dir: str | os.PathLike | None, out_dir: str | os.PathLike, *, strict: bool = False
) -> dict[str, int]:
    """Write the layout of Hyke.

    Parameters
    ----------
    corpus_dir, out_dir : path-like
    strict : bool
        Stop at recordings that cannot be used.

    Returns
    -------
    counts : dict of str to int
    """
    root = need_folder(corpus_dir, "manifest.tsv, the recordings and protocol/")
    rows = read_manifest(root / "manifest.tsv")
    recordings = [
        Recording(r["utterance"], r["speaker"], inside(root, r["path"], root / "manifest.tsv"))
        for r in rows
    ]
    genders = {r["speaker"]: r["gender"] for r in rows}
    return finish(
        Corpus(recordings, read_protocol(root / "protocol"), genders), Path(out_dir), strict
    )


def read_manifest(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated table with a header line.

    Raises
    ------
    DataError
        It is missing, has other columns, or a row of another length.
    """
    lines = read_lines(path)
    header = lines[0].split("\t") if lines else []
    if missing := [name for name in COLUMNS if name not in header]:
        raise DataError(f"{path}: has no column {', '.join(missing)}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise DataError(f"{path}, line {number}: {len(fields)} fields, expected {len(header)}")
        rows.append(dict(zip(header, fields)))
    return rows
