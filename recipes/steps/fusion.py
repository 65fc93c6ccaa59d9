"""Stage 9: calibration of every system and their fusion, learnt from training speakers alone.

The development scores are those of trials between training speakers, by systems of the same options
trained on the other training speakers (`recipes.inner_folds`): no speaker who is enrolled or tested
plays a part. For each fold the step learns one calibration a system and one linear fusion, and
turns the fold's scores into log-likelihood ratios: ``fusion/FOLD/SYSTEM.scores`` and
``fusion/FOLD/fusion.scores``, the models beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.calibration import Calibration
from fusion.formats import TARGET, Scores, Trials, align, read_scores, read_trials, write_scores
from fusion.linear import LinearFusion
from fusion.metrics import cllr
from fusion.models import save_model
from ivector.base.cli import name, number
from ivector.base.errors import DataError
from ivector.base.files import write_text
from recipes.stage import require, stage
from recipes.steps.common import folds, logger, make_parser

FUSED = "fusion"


@dataclass(frozen=True)
class Table:
    """Scores of the same trials by several systems.

    Parameters
    ----------
    trials : Trials
    scores : ndarray (n_trials, n_systems)
    """

    trials: Trials
    scores: np.ndarray


def read_table(folders: Sequence[Sequence[Path]], part: str = "") -> Table:
    """Read the scores of some folders (n_systems, n_folders), joined over the folders.

    Parameters
    ----------
    folders : sequence of sequence of Path
        Score folders of each system, in the same order.
    part : str
        ``-NAME`` of a further trial list.
    """
    columns = []
    trials: Trials | None = None
    for mine in folders:
        lists = read_trials([folder / f"trials{part}" for folder in mine])
        scores: Scores = read_scores([folder / f"scores{part}" for folder in mine])
        trials = trials or lists
        if len(lists) != len(trials):
            raise DataError(
                f"{mine[0]}: {len(lists)} trials are scored, {len(trials)} by the first system; "
                "run both with --stage 6"
            )
        columns.append(align(scores, trials).values)
    assert trials is not None
    return Table(trials, np.column_stack(columns))


def _labelled(table: Table) -> np.ndarray:
    return table.trials.labels == TARGET


def learn(
    arguments: argparse.Namespace, development: Table, systems: Sequence[str]
) -> dict[str, Calibration | LinearFusion]:
    """One calibration for each system, and the fusion, by name."""
    target = _labelled(development)
    models: dict[str, Calibration | LinearFusion] = {}
    for column, system in enumerate(systems):
        calibration = Calibration(prior=arguments.fusion_prior)
        models[system] = calibration.fit(development.scores[:, column], target)
    fusion = LinearFusion(
        prior=arguments.fusion_prior, ridge=arguments.fusion_ridge, non_negative=True
    )
    models[FUSED] = fusion.fit(development.scores, target)
    return models


def apply(model: Calibration | LinearFusion, table: Table, column: int | None) -> np.ndarray:
    """Log-likelihood ratios (n_trials,) of a system's scores, or of all systems' together."""
    return model.transform(table.scores if column is None else table.scores[:, column])


def _write(path: Path, trials: Trials, llr: np.ndarray) -> None:
    enrol = (trials.enrol_ids[i] for i in trials.enrol)
    test = (trials.test_ids[j] for j in trials.test)
    write_scores(path, enrol, test, llr)


def _summary(models: dict[str, Calibration | LinearFusion], development: Table) -> str:
    """Cllr of every model on what it learnt from."""
    target = _labelled(development)
    lines = []
    for column, (system, model) in enumerate(models.items()):
        llr = apply(model, development, None if system == FUSED else column)
        lines.append(f"{system} {cllr(llr[target], llr[~target]):.3f}")
    return ", ".join(lines)


def fuse(
    arguments: argparse.Namespace, inner: Sequence[str], scored: Sequence[Path], work: Path
) -> None:
    """Learn from a fold's development scores, calibrate and fuse its scores into `work`."""
    systems = arguments.systems
    home = arguments.development
    development = read_table([[home / one / "scores" / part for part in inner] for one in systems])
    models = learn(arguments, development, systems)
    logger.info("Cllr on the development trials: %s", _summary(models, development))
    for system, model in models.items():
        save_model(work / f"{system}.json", model)
    for part in sorted(path.name.removeprefix("scores") for path in scored[0].glob("scores*")):
        table = read_table([[folder] for folder in scored], part)
        trials = (scored[0] / f"trials{part}").read_text(encoding="utf-8")
        write_text(work / f"trials{part}", trials)
        for column, system in enumerate(models):
            llr = apply(models[system], table, None if system == FUSED else column)
            _write(work / f"{system}{part}.scores", table.trials, llr)


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    home, systems = arguments.development, arguments.systems
    inner = [path.name for path in folds(home / "data")]
    options = {
        "systems": systems,
        "fusion_prior": arguments.fusion_prior,
        "fusion_ridge": arguments.fusion_ridge,
    }
    for fold in folds(arguments.data):
        mine = [part for part in inner if part.rpartition("-")[0] == fold.name]
        if not mine:
            raise DataError(f"{home}: no development scores for {fold.name}; run with --stage 9")
        scored = [arguments.exp / system / "scores" / fold.name for system in systems]
        upstream = [require(folder, 6) for folder in scored]
        upstream += [require(home / one / "scores" / part, 9) for one in systems for part in mine]
        target = arguments.exp / FUSED / fold.name
        with stage(target, options, upstream, force=arguments.force) as work:
            if work is not None:
                fuse(arguments, mine, scored, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("fusion", __doc__ or "")
    parser.add_argument("--systems", type=name, nargs="+", required=True, help="what to fuse")
    parser.add_argument(
        "--development", type=Path, required=True, help="experiment on the training speakers"
    )
    parser.add_argument(
        "--fusion-prior", type=number(0, 1), default=0.5,
        help="prior of a target for which errors are weighed",
    )  # fmt: skip
    parser.add_argument(
        "--fusion-ridge", type=number(0), default=0.0, help="penalty of large weights"
    )
    return parser
