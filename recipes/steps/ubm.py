"""Stage 2: the universal background model of every fold, diagonal first, then full."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

from ivector.base.budget import require_disk, require_memory
from ivector.base.errors import DataError
from ivector.base.files import write_text
from ivector.base.foreign.boundary import foreign, read_json
from ivector.base.parallel.checkpoint import Checkpoint
from ivector.formats.gmm import load_gmm, save_gmm, write_diag_gmm, write_full_gmm
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.full import FullGMM
from ivector.pipeline import FrontEnd
from recipes.engine.marks import digest
from recipes.engine.run import Job, Run, Task
from recipes.engine.stage import resume_folder
from recipes.experiment.frames import Corpus, frame_shards, logger
from recipes.experiment.protocol import read_utt2spk


def front_end(folder: Path) -> FrontEnd:
    """Front-end that a fold's UBM was trained with; later stages read features through it."""
    path = folder / "front_end.json"
    if not path.is_file():
        raise DataError(f"{folder}: stage 2 has not finished; run with --stage 2")
    with foreign(path, "a front-end", "run again with --stage 2"):
        return FrontEnd(**read_json(path, "a front-end"))


def load_ubm(folder: Path) -> DiagonalGMM | FullGMM:
    """The fold's UBM, full where there is one."""
    return load_gmm(folder / "final.npz")


def check_budget(task: Task, dims: int, work: Path) -> None:
    """Refuse a UBM whose sums do not fit in memory or whose files do not on the disk."""
    values = task.values
    n = values.num_components * dims * (dims if values.covariance == "full" else 1)
    what = f"a {values.covariance} UBM of {values.num_components} components"
    # Parameters, what is derived of them, a shard's sums and the total; an eighth is for frames.
    require_memory(8 * 5 * n * 8 / 7, values.memory, what, "fewer components")
    require_disk(work, 3 * 8 * n, values.disk, what, "fewer components")


def train(task: Task, options: dict, work: Path, nj: int) -> None:
    """Train one fold's UBM into `work`."""
    values, fold = task.values, task.fold
    corpus = Corpus(task.run.features, FrontEnd(**options["front_end"]))
    utterances = corpus.usable(sorted(read_utt2spk(fold / "train.utt2spk")), "training")
    dims = corpus.frames(utterances[0]).shape[1]
    check_budget(task, dims, work)
    shards = frame_shards(corpus, utterances, values.memory)
    logger.info("%s: UBM on %d utterances in %d shards", fold.name, len(utterances), len(shards))
    diagonal = DiagonalGMM(
        values.num_components,
        n_iter=values.num_iters_diag,
        n_jobs=nj,
        random_state=values.seed,
        device=task.gpu,
    ).fit(shards, checkpoint=Checkpoint(resume_folder(work) / "diagonal"))
    write_diag_gmm(work / "final.dubm", diagonal)
    final: DiagonalGMM | FullGMM = diagonal
    if values.covariance == "full":
        final = FullGMM(
            init=diagonal,
            num_gselect=values.num_gselect,
            n_iter=values.num_iters_full,
            n_jobs=nj,
            device=task.gpu,
        ).fit(shards, checkpoint=Checkpoint(resume_folder(work) / "full"))
        write_full_gmm(work / "final.ubm", final)
    save_gmm(work / "final.npz", final)
    objective = {"diagonal": diagonal.log_likelihood_, "final": final.log_likelihood_}
    write_text(work / "objective.json", json.dumps(objective, indent=1) + "\n")
    write_text(work / "front_end.json", json.dumps(options["front_end"], indent=1) + "\n")


def job(task: Task) -> Job:
    """The UBM of a fold."""
    values = task.values
    options = {
        "num_components": values.num_components,
        "covariance": values.covariance,
        "num_iters_diag": values.num_iters_diag,
        "seed": values.seed,
        "front_end": {
            "delta_order": values.delta_order,
            "delta_window": values.delta_window,
            "normalisation": values.normalisation,
            "cmn_window": values.cmn_window,
        },
    }
    if values.covariance == "full":
        options |= {"num_iters_full": values.num_iters_full, "num_gselect": values.num_gselect}
    options |= task.on_gpu()
    training = digest(task.fold / "train.utt2spk")
    upstream = {"features": task.features(), "training list": training}
    body = functools.partial(train, task, options)
    return task.job("ubm", "ubm", options, upstream, body, alone=task.gpu is not None)


def jobs(run: Run) -> Iterator[Job]:
    """The UBMs of all folds."""
    return map(job, run.tasks("ubm"))
