"""Stage 9: calibration of every system and their fusion, learnt from training speakers alone.

The development scores are those of trials between training speakers, by systems of the same options
trained on the other training speakers (`recipes.inner_folds`): no speaker who is enrolled or tested
plays a part. For each fold the step learns one calibration a system and one linear fusion, tells
what each system brings on training speakers held out, and
turns the fold's scores into log-likelihood ratios: ``fusion/llr/FOLD/SYSTEM.scores`` and
``fusion/llr/FOLD/fusion.scores``, the models beside them. One system alone is calibrated only, in
``SYSTEM/llr/FOLD``.

Calibration that was learnt from training speakers holds for recordings like theirs. Where those on
trial are of another domain (`recipes.steps.domain`), llr are drawn towards 0 as far as their scores
have moved (`fusion.calibration.caution`), and a little where all that has not moved, unless
``--adapt`` was given for them; ``--trust-calibration`` leaves them. How far is in ``caution.json``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fusion.calibration.caution import LEAST_DOUBT, Caution, caution
from fusion.calibration.linear import LinearFusion
from fusion.calibration.one_system import Calibration
from fusion.calibration.saving import save_model
from fusion.calibration.worth import Contest
from fusion.formats.files import align, read_scores, read_trials, write_trial_scores
from fusion.formats.layouts import TARGET
from fusion.formats.speakers import TrialSpeakers, mapped_speakers, read_enrolments, read_map
from fusion.formats.tables import Scores, Trials
from fusion.metrics.points import OperatingPoint
from ivector.base.errors import DataError
from ivector.base.files import write_text
from recipes.engine.marks import is_planned
from recipes.engine.run import Job, Run
from recipes.engine.stage import require
from recipes.experiment.frames import logger
from recipes.experiment.protocol import folds
from recipes.steps.domain import is_outside, read_domain
from recipes.systems import FUSED, SYSTEMS

POINT = OperatingPoint(0.01)
FEW_SPEAKERS = 20


@dataclass(frozen=True)
class Learning:
    """What is learnt: systems to calibrate, those of them to fuse (all if none), prior, ridge."""

    systems: Sequence[str]
    fuse: Sequence[str]
    prior: float
    ridge: float


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
                "run both without --stage"
            )
        columns.append(align(scores, trials).values)
    assert trials is not None
    return Table(trials, np.column_stack(columns))


def _labelled(table: Table) -> np.ndarray:
    return table.trials.labels == TARGET


def learn(
    wanted: Learning, development: Table, speakers: TrialSpeakers
) -> dict[str, Calibration | LinearFusion]:
    """One calibration for each system, and the fusion, by name."""
    target, systems = _labelled(development), list(wanted.systems)
    models: dict[str, Calibration | LinearFusion] = {}
    for column, system in enumerate(systems):
        calibration = Calibration(prior=wanted.prior, bounded=True)
        models[system] = calibration.fit(development.scores[:, column], target)
    if len(systems) == 1:
        return models
    fused = list(wanted.fuse) or systems
    scores = development.scores[:, [systems.index(system) for system in fused]]
    fusion = LinearFusion(
        prior=wanted.prior,
        ridge=wanted.ridge,
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


def weighed(models: dict[str, Calibration | LinearFusion], name: str, table: Table) -> np.ndarray:
    """Scores (n_trials,) that llr are made of, without bounds: a system's own, or all weighed."""
    systems = [system for system in models if system != FUSED]
    model = models[name]
    if isinstance(model, LinearFusion):
        return table.scores[:, [systems.index(one) for one in model.names or ()]] @ model.weights_
    return table.scores[:, systems.index(name)]


def fuse(wanted: Learning, run: Run, inner: Sequence[str], fold: Path, work: Path, nj: int) -> None:
    """Learn from a fold's development scores, calibrate and fuse its scores into `work`."""
    home = run.development.exp
    scored = [run.exp / system / "scores" / fold.name for system in wanted.systems]
    development = read_table(
        [[home / one / "scores" / part for part in inner] for one in wanted.systems]
    )
    models = learn(wanted, development, _speakers(home / "data", inner, development.trials))
    for system, model in models.items():
        save_model(work / f"{system}.json", model)
    domain = read_domain(run.exp / "domain" / fold.name)
    cautions: dict[str, dict] = {}
    for part in sorted(path.name.removeprefix("scores") for path in scored[0].glob("scores*")):
        table = read_table([[folder] for folder in scored], part)
        trials = (scored[0] / f"trials{part}").read_text(encoding="utf-8")
        write_text(work / f"trials{part}", trials)
        doubted: dict[str, Caution] = {}
        for system in models:
            llr = apply(models, system, table)
            if is_outside(domain.get(part, {})) and not run.settings.common.trust_calibration:
                new, known = (weighed(models, system, one) for one in (table, development))
                least = _least_doubt(run, models[system], system)
                doubted[system] = caution(new, known[~_labelled(development)], least)
                llr = doubted[system].transform(llr)
            write_trial_scores(work / f"{system}{part}.scores", table.trials, llr)
        if doubted:
            cautions[part] = {name: asdict(found) for name, found in doubted.items()}
            logger.warning("llr of %s%s: %s", fold.name, part, _told(doubted))
    if cautions:
        write_text(work / "caution.json", json.dumps(cautions, indent=1) + "\n")


def _least_doubt(run: Run, model: Calibration | LinearFusion, name: str) -> float:
    """Doubt of llr whose bulk has not moved: none where all that made them knows the domain.

    That is, has been held against ``--adapt``, and adapted where it was worth it.
    """
    made_of = model.names or () if isinstance(model, LinearFusion) else (name,)
    adapted = run.settings.common.adapt is not None
    adapted = adapted and all(run.settings.takes(one, "adapt") for one in made_of)
    return 0.0 if adapted else LEAST_DOUBT


def _told(doubted: Mapping[str, Caution]) -> str:
    """What was done to llr of another domain, in a sentence."""
    name, found = list(doubted.items())[-1]  # the fusion, if there is one
    return (
        f"the calibration is not known to hold there, so llr are drawn towards 0: those of {name} "
        f"to within ±{found.most:.2g}, as their bulk lies {found.shift:+.1f} deviations from "
        f"that of training's nontargets, {found.scale:.1f} times as wide; --trust-calibration "
        "leaves them as they are"
    )


def _speakers(data: Path, parts: Sequence[str], trials: Trials) -> TrialSpeakers:
    utt2spk = read_map(data / "wav" / "utt2spk")
    models: dict[str, str] = {}
    for part in parts:
        models.update(read_enrolments(data / part / "enroll", utt2spk))
    return mapped_speakers(trials, utt2spk, models)


def jobs(run: Run) -> Iterator[Job]:
    """The log-likelihood ratios of all folds, where there are parts of the training speakers."""
    home, values = run.development, run.settings.common
    if not values.dev_folds:
        return
    wanted = Learning(run.systems, values.fusion_systems, values.fusion_prior, values.fusion_ridge)
    options = {
        "systems": list(wanted.systems),
        "fuse": list(wanted.fuse),
        "fusion_prior": wanted.prior,
        "fusion_ridge": wanted.ridge,
        "trust_calibration": values.trust_calibration,
    }
    if is_planned(run.data) or is_planned(home.data):
        name = FUSED if len(run.systems) > 1 else run.systems[0]
        yield Job(run.exp / name / "llr", {}, {"parts": "planned: stage 0"}, lambda *_: None)
        return
    inner = [path.name for path in folds(home.data, none_is_fine=True)]
    for fold in folds(run.data):
        mine = [part for part in inner if part.rpartition("-")[0] == fold.name]
        if not mine:
            continue  # stage 0 has said why
        upstream = {"domain": require(run.exp / "domain" / fold.name, 1)}
        for system in wanted.systems:
            number = max(SYSTEMS[system].steps.values())
            scores = run.exp / system / "scores" / fold.name
            upstream[f"scores of {system}"] = require(scores, number)
            for part in mine:
                folder = home.exp / system / "scores" / part
                upstream[f"development scores of {system}, {part}"] = require(folder, number)
        kind = FUSED if len(wanted.systems) > 1 else wanted.systems[0]
        body = functools.partial(fuse, wanted, run, mine, fold)
        target = run.exp / kind / "llr" / fold.name
        yield Job(target, options, upstream, body, run.code("fusion"), run.forced)
