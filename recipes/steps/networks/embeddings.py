"""Stage 8: which of the embedder's vectors a fold takes; what follows is as for i-vectors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ivector.base.errors import DataError
from recipes.engine.marks import require
from recipes.engine.run import Job, Run, Task
from recipes.experiment.frames import logger
from recipes.experiment.protocol import fold_utterances
from recipes.experiment.vectors import read_vectors, write_vectors
from recipes.steps.networks.embedder import FILE
from recipes.systems import OTHERS, stage_of


def choose(task: Task, source: Path, kind: str, work: Path, nj: int) -> None:
    """Write the vectors of one fold, or those of others beside the corpus's, into `work`."""
    table = read_vectors(source / FILE)
    wanted = sorted(table) if kind in OTHERS else fold_utterances(task.fold)
    found = [utt for utt in wanted if utt in table]
    if not found:
        raise DataError(f"{task.fold}: none of its utterances has an embedding; see {source}")
    if len(found) < len(wanted):
        logger.warning(
            "%s: %d of %d utterances have no embedding and are left out; see %s",
            task.fold.name, len(wanted) - len(found), len(wanted), source / "skipped",
        )  # fmt: skip
    write_vectors(work / "ivectors.npz", found, np.stack([table[utt] for utt in found]))


def jobs(run: Run) -> Iterator[Job]:
    """The vectors of all folds."""
    for task in run.tasks("networks.embeddings"):
        number = stage_of(task.system, "networks.embedder")
        models = {"embeddings": require(task.folder("embeddings"), number)}
        for kind, upstream in task.vectors_of(models).items():
            source = task.folder("embeddings")
            if kind in OTHERS:
                source = task.folder(f"{kind}_embeddings")
                upstream = {**upstream, f"embeddings of --{kind}": require(source, number)}
            body = functools.partial(choose, task, source, kind)
            yield task.job("networks.embeddings", kind, {}, upstream, body)
