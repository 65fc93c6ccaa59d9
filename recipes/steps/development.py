"""Stage 0, too: the training speakers of every fold cut into parts, to learn calibration from.

Each part is tested by systems trained on the others (`recipes.inner_folds`); stages 2 to 8 train
and score them beside the folds of the trials.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ivector.data import read_table
from recipes.engine.marks import digest, is_planned
from recipes.engine.run import Job, Run
from recipes.experiment.frames import logger
from recipes.experiment.protocol import folds
from recipes.inner_folds import inner_folds, most_parts, write


def cut(run: Run, work: Path, nj: int) -> None:
    """Write the parts into `work`; say where the speakers allow fewer than asked for."""
    values, home = run.settings.common, run.development.data
    most = most_parts(run.data, values.dev_folds, values.seed)
    fewest = min(
        len(set(read_table(fold / "train.utt2spk", str).values())) for fold in folds(run.data)
    )
    if not most:
        logger.warning(
            "%d training speakers in a fold are too few to learn calibration and fusion from: "
            "scores stay as they are; at least 4 speakers, each with a recording more than "
            "an enrolment takes, would do",
            fewest,
        )
    elif most < values.dev_folds:
        logger.warning(
            "%d training speakers in a fold allow %d development folds, not %d; calibration "
            "and fusion are the rougher",
            fewest, most, values.dev_folds,
        )  # fmt: skip
    files = (
        inner_folds(run.data, most, values.dev_models, values.seed, values.dev_folds_used)
        if most
        else {}
    )
    write(files, work, home, run.data)


def jobs(run: Run) -> Iterator[Job]:
    """The data folder of the parts."""
    values = run.settings.common
    if not values.dev_folds:
        return
    options = {
        "dev_folds": values.dev_folds,
        "dev_folds_used": values.dev_folds_used,
        "dev_models": values.dev_models,
        "seed": values.seed,
    }
    if is_planned(run.data):
        upstream = {"corpus": "planned: stage 0"}
    else:
        lists = [fold / name for fold in folds(run.data) for name in ("train.utt2spk", "enroll")]
        upstream = {"training lists": digest(*lists)}
    code = run.code("development")
    yield Job(run.development.data, options, upstream, functools.partial(cut, run), code)
