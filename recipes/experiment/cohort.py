"""Recordings without labels that scores are normalised by: ``run.sh --cohort DIR``.

Each stands for a speaker of its own, so that it is a model and a test. Their ids begin with a mark
which keeps them apart from those of the corpus.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ivector.base.errors import DataError
from ivector.data import Row, read_data_dir
from ivector.pipeline import FrontEnd
from recipes.corpora.common import find_audio, safe_id
from recipes.engine.marks import digest
from recipes.engine.run import Task
from recipes.experiment.frames import Corpus
from recipes.experiment.protocol import Models, Protocol, fold_utterances

MARK = "cohort:"


def read_cohort(folder: Path, strict: bool = False) -> list[Row]:
    """Recordings of a data directory, or else of a folder at any depth.

    Raises
    ------
    DataError
        There are none, or (`strict`) some cannot be read.
    """
    if (folder / "wav.scp").exists():
        return [(MARK + row[0], *row[1:]) for row in read_data_dir(folder).recordings()]
    below = [(path.relative_to(folder), path) for path in find_audio(folder, strict)]
    rows: list[Row] = [
        (MARK + "-".join(map(safe_id, name.parts)), path, None, None) for name, path in below
    ]
    if len({row[0] for row in rows}) < len(rows):
        raise DataError(f"{folder}: names differ by blanks, dashes and folders alone; rename them")
    return rows


def to_extract(task: Task, front_end: FrontEnd, is_cohort: bool) -> tuple[Corpus, list[str]]:
    """Features of a fold's utterances, or of the cohort's, and these utterances."""
    if is_cohort:
        corpus = Corpus(task.run.cohort, front_end)
        return corpus, sorted(corpus.locations())
    corpus = Corpus(task.run.features, front_end)
    return corpus, corpus.usable(fold_utterances(task.fold), "train, enrolment and test")


def refuse_tested(cohort: Iterable[Row], tested: Iterable[Row], folder: Path) -> None:
    """Refuse recordings that are enrolled or tested, under the same name or another.

    Raises
    ------
    DataError
        There are some: scores against oneself are no impostor's.
    """
    sizes: dict[int, list[Path]] = {}
    for row in tested:
        path = Path(row[1])
        if (size := _size(path)) is not None:
            sizes.setdefault(size, []).append(path)
    contents: dict[int, set[str]] = {}
    same: list[Path] = []
    for path in dict.fromkeys(Path(row[1]) for row in cohort):
        size = _size(path)
        if size in sizes and size is not None:
            if size not in contents:
                contents[size] = {digest(one) for one in sizes[size]}
            same += [path] * (digest(path) in contents[size])
    if same:
        raise DataError(
            f"{folder}: {len(same)} recordings of the cohort are enrolled or tested, for example "
            f"{same[0]}; give others"
        )


def _size(path: Path) -> int | None:
    """Bytes of a file; none if it is not there, which is told where it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def with_cohort(protocol: Protocol, cohort: Sequence[str]) -> Protocol:
    """The same trials, with recordings of their own as the cohort instead of training speakers."""
    ids = list(cohort)
    return dataclasses.replace(
        protocol,
        cohort=Models(ids, [[utt] for utt in ids]),
        cohort_tests=ids,
        cohort_owners=np.array(ids),
    )
