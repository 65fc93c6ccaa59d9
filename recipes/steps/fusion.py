"""Stage 9: calibration of every system and their fusion, learnt from training speakers alone.

The development scores are those of trials between training speakers, by systems of the same options
trained on the other training speakers (`recipes.inner_folds`): no speaker who is enrolled or tested
plays a part. For each fold the step learns one calibration a system and one linear fusion, tells
what each system brings on training speakers held out, and
turns the fold's scores into log-likelihood ratios: ``fusion/llr/FOLD/SYSTEM.scores`` and
``fusion/llr/FOLD/fusion.scores``, the models beside them. One system alone is calibrated only, in
``SYSTEM/llr/FOLD``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.calibration.linear import LinearFusion
from fusion.calibration.one_system import Calibration
from fusion.calibration.saving import save_model
from fusion.calibration.worth import Contest
from fusion.formats.files import align, read_scores, read_trials, write_trial_scores
from fusion.formats.layouts import TARGET
from fusion.formats.speakers import TrialSpeakers, mapped_speakers, read_enrolments, read_map
from fusion.formats.tables import Scores, Trials
from fusion.metrics.points import OperatingPoint
from ivector.base.cli import name, number
from ivector.base.errors import DataError, UsageError
from ivector.base.files import write_text
from recipes.engine.stage import require, stage
from recipes.steps.common import folds, logger, make_parser, stage_of

FUSED = "fusion"
POINT = OperatingPoint(0.01)
FEW_SPEAKERS = 20


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
    arguments: argparse.Namespace, development: Table, speakers: TrialSpeakers
) -> dict[str, Calibration | LinearFusion]:
    """One calibration for each system, and the fusion, by name."""
    target, systems = _labelled(development), arguments.systems
    models: dict[str, Calibration | LinearFusion] = {}
    for column, system in enumerate(systems):
        calibration = Calibration(prior=arguments.fusion_prior, bounded=True)
        models[system] = calibration.fit(development.scores[:, column], target)
    if len(systems) == 1:
        return models
    fused = arguments.fuse or systems
    scores = development.scores[:, [systems.index(system) for system in fused]]
    fusion = LinearFusion(
        prior=arguments.fusion_prior,
        ridge=arguments.fusion_ridge,
        bounded=True,
        non_negative=True,
        names=fused,
    )
    if speakers.n_speakers < FEW_SPEAKERS:
        logger.warning(
            "only %d training speakers to learn the fusion from: it is rough", speakers.n_speakers
        )
    else:
        contest = Contest(fusion, scores, target, speakers, [POINT])
        for label, row in contest.everything():
            logger.info(
                "on held-out training speakers, %s: EER %.2f %%, minDCF(0.01) %.3f, Cllr %.4f",
                label, 100 * row.eer, row.min_dcf[0], row.cllr,
            )  # fmt: skip
    models[FUSED] = fusion.fit(scores, target)
    return models


def apply(models: dict[str, Calibration | LinearFusion], name: str, table: Table) -> np.ndarray:
    """Log-likelihood ratios (n_trials,) of a system's scores, or of all systems' together."""
    systems = [system for system in models if system != FUSED]
    model = models[name]
    if isinstance(model, LinearFusion):
        return model.transform(table.scores[:, [systems.index(one) for one in model.names or ()]])
    return model.transform(table.scores[:, systems.index(name)])


def fuse(
    arguments: argparse.Namespace, inner: Sequence[str], scored: Sequence[Path], work: Path
) -> None:
    """Learn from a fold's development scores, calibrate and fuse its scores into `work`."""
    home = arguments.development
    development = read_table(
        [[home / one / "scores" / part for part in inner] for one in arguments.systems]
    )
    models = learn(arguments, development, _speakers(home / "data", inner, development.trials))
    for system, model in models.items():
        save_model(work / f"{system}.json", model)
    for part in sorted(path.name.removeprefix("scores") for path in scored[0].glob("scores*")):
        table = read_table([[folder] for folder in scored], part)
        trials = (scored[0] / f"trials{part}").read_text(encoding="utf-8")
        write_text(work / f"trials{part}", trials)
        for system in models:
            llr = apply(models, system, table)
            write_trial_scores(work / f"{system}{part}.scores", table.trials, llr)


def _speakers(data: Path, parts: Sequence[str], trials: Trials) -> TrialSpeakers:
    utt2spk = read_map(data / "wav" / "utt2spk")
    models: dict[str, str] = {}
    for part in parts:
        models.update(read_enrolments(data / part / "enroll", utt2spk))
    return mapped_speakers(trials, utt2spk, models)


def main(arguments: argparse.Namespace) -> None:
    """Run the stage for every fold."""
    home, systems = arguments.development, arguments.systems
    if unknown := set(arguments.fuse or ()) - set(systems):
        raise UsageError(f"--fuse {min(unknown)}: is not one of --systems {' '.join(systems)}")
    inner = [path.name for path in folds(home / "data")]
    options = {
        "systems": systems,
        "fuse": arguments.fuse,
        "fusion_prior": arguments.fusion_prior,
        "fusion_ridge": arguments.fusion_ridge,
    }
    for fold in folds(arguments.data):
        mine = [part for part in inner if part.rpartition("-")[0] == fold.name]
        if not mine:
            raise DataError(f"{home}: no development scores for {fold.name}; run with --stage 9")
        scored = [arguments.exp / system / "scores" / fold.name for system in systems]
        upstream = [require(folder, stage_of(folder.parents[1], 6)) for folder in scored]
        upstream += [require(home / one / "scores" / part, 9) for one in systems for part in mine]
        target = arguments.exp / (FUSED if len(systems) > 1 else systems[0]) / "llr" / fold.name
        with stage(target, options, upstream, force=arguments.force) as work:
            if work is not None:
                fuse(arguments, mine, scored, work)


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the step."""
    parser = make_parser("fusion", __doc__ or "")
    parser.add_argument("--systems", type=name, nargs="+", required=True, help="what to calibrate")
    parser.add_argument("--fuse", type=name, nargs="+", help="what of these to fuse, default all")
    parser.add_argument(
        "--development", type=Path, required=True, help="experiment on the training speakers"
    )
    parser.add_argument(
        "--fusion-prior", type=number(0, 1), default=0.5,
        help="prior of a target for which errors are weighed",
    )  # fmt: skip
    parser.add_argument(
        "--fusion-ridge",
        type=number(0),
        default=0.0,
        help="penalty of large weights",
    )
    return parser
