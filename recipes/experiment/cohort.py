"""Recordings without labels beside the corpus's: ``run.sh --cohort DIR`` and ``--adapt DIR``.

Scores are normalised by the one, back-ends adapted to the other, which normalises, too, where there
is no cohort. In a cohort each stands for a speaker of its own, so that it is a model and a test.
Their ids begin with the option's name, which keeps them apart from those of the corpus.
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
from recipes.systems import OTHERS

LEAST = 5  # recordings to adapt to, as each is judged by what is adapted to those of four folds


def read_others(folder: Path, name: str, strict: bool = False) -> list[Row]:
    """Recordings of a data directory, or else of a folder at any depth, given by an option.

    Raises
    ------
    DataError
        There are none, or (`strict`) some cannot be read.
    """
    if (folder / "wav.scp").exists():
        return [(f"{name}:{row[0]}", *row[1:]) for row in read_data_dir(folder).recordings()]
    below = [(path.relative_to(folder).parts, path) for path in find_audio(folder, strict)]
    rows: list[Row] = [
        (f"{name}:{'-'.join(map(safe_id, parts))}", path, None, None) for parts, path in below
    ]
    if len({row[0] for row in rows}) < len(rows):
        raise DataError(f"{folder}: names differ by blanks, dashes and folders alone; rename them")
    return rows


def to_extract(task: Task, front_end: FrontEnd, kind: str) -> tuple[Corpus, list[str]]:
    """Features of a fold's utterances, or of others, by the kind of vectors; these utterances."""
    if kind in OTHERS:
        corpus = Corpus(task.run.exp / kind, front_end)
        return corpus, sorted(corpus.locations())
    corpus = Corpus(task.run.features, front_end)
    return corpus, corpus.usable(fold_utterances(task.fold), "train, enrolment and test")


def refuse_few(n_usable: int, folder: Path) -> None:
    """Refuse to adapt to fewer recordings than can be cut into folds."""
    if n_usable < LEAST:
        raise DataError(
            f"{folder}: {n_usable} of its recordings can be used, and --adapt takes {LEAST} at "
            "least; give more, or leave it out"
        )


def refuse_tested(others: Iterable[Row], tested: Iterable[Row], folder: Path, name: str) -> None:
    """Refuse recordings that are enrolled or tested, under the same name or another.

    Raises
    ------
    DataError
        There are some: scores against oneself are no impostor's, and what has seen a trial is no
        judge of it.
    """
    sizes: dict[int, list[Path]] = {}
    for row in tested:
        path = Path(row[1])
        if (size := _size(path)) is not None:
            sizes.setdefault(size, []).append(path)
    contents: dict[int, set[str]] = {}
    same: list[Path] = []
    for path in dict.fromkeys(Path(row[1]) for row in others):
        size = _size(path)
        if size in sizes and size is not None:
            if size not in contents:
                contents[size] = {digest(one) for one in sizes[size]}
            same += [path] * (digest(path) in contents[size])
    if same:
        raise DataError(
            f"{folder}: {len(same)} recordings of --{name} are enrolled or tested, for example "
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
