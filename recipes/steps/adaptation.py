"""Stage 5 (of embeddings: 8): the back-ends of all folds, adapted to ``--adapt`` if it is worth it.

What decides is the evidence of a fold's own back-end (`plda.domains.evidence`). The parts of its
training speakers, which calibration is learnt from, follow that decision, lest trials and
calibration are scored in two ways. Their trials are of the training domain, though: covariances are
adapted, to the recordings' vectors by the part's own extractor, and the means stay.

Where the recordings on trial are like those of training (`recipes.steps.domain`), nothing is
adapted, whatever the folder sounds like.

What scores, adapted or as it was, is ``SYSTEM/adapted/FOLD``; ``adaptation.json`` there says why.
"""

from __future__ import annotations

import functools
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from ivector.base.errors import DegenerateDataWarning
from ivector.base.files import write_text
from plda.domains.evidence import THRESHOLD, Evidence, evidence, gaussian
from plda.domains.methods import METHODS, adapt_backend
from plda.formats.models import load_model, save_model, write_plda
from plda.models import BACKENDS
from recipes.engine.console import TOLD
from recipes.engine.run import Job, Run, Task
from recipes.engine.stage import require
from recipes.experiment import backends
from recipes.experiment.decisions import NAME, told
from recipes.experiment.frames import logger
from recipes.experiment.vectors import read_vectors
from recipes.steps.backend import training_vectors
from recipes.steps.domain import are_inside
from recipes.systems import ADAPTED, stage_of

FRAME = {"done.json", "options.json", "log"}  # files of a stage that are no results


def read_backend(task: Task) -> Pipeline:
    """Transforms of a fold's back-end and the PLDA that judges: its own, or else a Gaussian."""
    folder, scoring = task.folder("backend", own=True), task.values.scoring
    transforms = load_model(folder / "transforms.npz")
    if scoring == "plda":
        model = backends.load(folder, scoring)
    else:
        X, _ = training_vectors(task, task.folder("ivectors") / "ivectors.npz")
        model = gaussian(transforms.transform(X))
    return Pipeline([*transforms.steps, ("plda", model)])


def in_domain(task: Task) -> np.ndarray:
    """Vectors (n_recordings, n_dims) of ``--adapt`` by the models of a fold, in order of ids."""
    return np.stack(list(read_vectors(task.folder("adapt") / "ivectors.npz").values()))


def adapt(task: Task, work: Path, nj: int) -> None:
    """Write the back-end that scores a fold into `work`."""
    scoring, outer = task.values.scoring, task.outer()
    found = evidence(read_backend(outer), in_domain(outer), ADAPTED[scoring])
    for path in task.folder("backend", own=True).iterdir():
        if path.name not in FRAME:
            shutil.copyfile(path, work / path.name)
    inside = are_inside(task.run.exp / "domain" / outer.fold.name)
    adapts = found.adapts and not inside
    if adapts:
        adapted = adapted_backend(task, keeps_means=task is not outer)
        save_model(adapted[:-1], work / "transforms.npz")
        if scoring == "plda":
            save_model(adapted[-1], work / "plda.npz")
            write_plda(adapted[-1], work / "plda")
    record = {
        **choice(task),
        **numbers(found),
        "adapts": adapts,
        "trials_are_like_training": inside,
    }
    if adapts:
        record["means"] = "moved" if task is outer else "kept"
    write_text(work / NAME, json.dumps(record, indent=1) + "\n")
    if task is outer:
        logger.log(TOLD, "%s", told(task.system, task.fold.name, record))


def adapted_backend(task: Task, keeps_means: bool) -> Any:
    """A fold's back-end adapted to its vectors of ``--adapt``."""
    backend, X = read_backend(task), in_domain(task)
    with warnings.catch_warnings():  # the shares are those that did best with few vectors
        warnings.simplefilter("ignore", DegenerateDataWarning)
        adapted = adapt_backend(backend, X, ADAPTED[task.values.scoring])
    if not keeps_means:
        return adapted
    old, new = backend[-1], adapted[-1]
    model = old.with_parameters(old.mean_, new.transform_, new.psi_)
    return Pipeline([*backend.steps[:-1], ("plda", model)])


def choice(task: Task) -> dict[str, Any]:
    """What is done where the evidence is for it, and what it is judged by."""
    method = ADAPTED[task.values.scoring]
    return {"method": method, "shares": dict(METHODS[method].parameters), "threshold": THRESHOLD}


def numbers(found: Evidence) -> dict[str, Any]:
    """Evidence for machines; gains in nats."""
    return {
        "n_vectors": found.n_vectors,
        "n_dims": found.n_dims,
        "centring_gain_per_dimension": found.shift,
        "centring_gain_error": found.shift_error,
        "gain_per_vector": found.gain,
        "gain_error": found.error,
    }


def job(task: Task) -> Job:
    """The back-end that scores a fold."""
    number, outer, upstream = stage_of(task.system, "backend"), task.outer(), {}
    for one in [task] if task is outer else [task, outer]:
        name = "" if one is task else f" of {one.fold.name}"
        folder = one.folder("backend", own=True)
        upstream[f"backend{name}"] = require(folder, number, on=[one.vectors()])
        upstream[f"vectors to adapt to{name}"] = one.other("adapt")
    upstream["domain"] = require(task.run.exp / "domain" / outer.fold.name, 1)
    options = {"scoring": task.values.scoring, **choice(task)}
    body, by_name = functools.partial(adapt, task), [BACKENDS[task.values.scoring].module]
    return task.job("adaptation", "adapted", options, upstream, body, by_name=by_name)


def jobs(run: Run) -> Iterator[Job]:
    """The back-ends that score all folds, with ``--adapt``."""
    return map(job, run.tasks("adaptation"))
