"""Stage 5 (of embeddings: 8): the back-end of every fold: centring, LDA, length norm, PLDA."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from ivector.base.budget import require_memory
from ivector.base.errors import DataError, UsageError
from plda.formats.models import save_model, write_transform
from plda.models import BACKENDS
from plda.transforms import LDA, Center, LengthNorm
from recipes.engine.run import Job, Run, Task
from recipes.experiment import backends
from recipes.experiment.frames import logger
from recipes.experiment.protocol import read_utt2spk
from recipes.experiment.vectors import read_vectors


def transforms(lda_dim: int, total_covariance_factor: float) -> Pipeline:
    """What every vector goes through before PLDA or the cosine."""
    steps = [Center()]
    if lda_dim:
        steps.append(LDA(lda_dim, total_covariance_factor=total_covariance_factor))
    return make_pipeline(*steps, LengthNorm())


def train(task: Task, vectors: Path, work: Path, nj: int) -> None:
    """Train one fold's back-end on the vectors of a file into `work`."""
    values = task.values
    X, y = training_vectors(task, vectors)
    if values.lda_dim > X.shape[1]:
        raise UsageError(
            f"--lda-dim {values.lda_dim}: the vectors have only {X.shape[1]} dimensions"
        )
    pipeline = transforms(values.lda_dim, values.total_covariance_factor)
    normalised = pipeline.fit_transform(X, y)
    save_model(pipeline, work / "transforms.npz")
    if values.lda_dim:
        write_transform(pipeline[1], work / "transform.mat")
    objective = backends.train(values.scoring, normalised, y, values, work)
    if objective is not None:
        logger.info(
            "%s: %s objective %.4f per vector", task.fold.name, values.scoring.upper(), objective
        )


def training_vectors(task: Task, vectors: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n_utterances, n_dims) of the training list, and their speakers."""
    table = read_vectors(vectors)
    utt2spk = read_utt2spk(task.fold / "train.utt2spk")
    utterances = [utt for utt in sorted(utt2spk) if utt in table]
    if len(utterances) < len(utt2spk):
        if not utterances:
            raise DataError(f"{vectors}: no training utterance has a vector; look at its features")
        logger.warning(
            "%s: %d of %d training utterances have no vector and are left out",
            task.fold.name, len(utt2spk) - len(utterances), len(utt2spk),
        )  # fmt: skip
    require_memory(
        3 * 8 * len(utterances) * len(table[utterances[0]]),  # float64, and twice on the way
        task.values.memory,
        f"the back-end of {len(utterances)} vectors",
        "train it on fewer utterances of each speaker",
    )
    X = np.stack([table[utt] for utt in utterances])
    return X, np.array([utt2spk[utt] for utt in utterances])


def job(task: Task) -> Job:
    """The back-end of a fold."""
    values = task.values
    options = {
        "scoring": values.scoring,
        "lda_dim": values.lda_dim,
        "total_covariance_factor": values.total_covariance_factor if values.lda_dim else 0.0,
        **backends.training_options(values.scoring, values),
    }
    body = functools.partial(train, task, task.folder("ivectors") / "ivectors.npz")
    upstream, by_name = {"vectors": task.vectors()}, [BACKENDS[values.scoring].module]
    return task.job("backend", "backend", options, upstream, body, by_name=by_name)


def jobs(run: Run) -> Iterator[Job]:
    """The back-ends of all folds."""
    return map(job, run.tasks("backend"))
