"""Trainings that differ in one option at a time, and the report of what that changes.

Every trial is a training in a folder of its own, tested with the weights of its end; what is done
already is not done again. All see the same utterances equally often, so that small batches make
more updates. A training whose loss is no number any more, as too high a rate makes it, is reported
as diverged.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dnn.configuration.sections import NetworkConfig
from dnn.data.labelled import FrontEnd, LabelledSet
from dnn.identification.sweep_report import COLUMNS, Trial, curve_file, report, value_of
from dnn.identification.training import (
    complete,
    default_loss,
    read_speed,
    told,
    train_identifier,
)
from ivector.base.errors import DataError, NotFiniteError, UsageError
from ivector.base.files import write_json, write_text
from ivector.base.foreign.boundary import foreign, read_json

logger = logging.getLogger("sweep")

RESULT, REPORT = "result.json", "report.md"


class Factors(NamedTuple):
    """Values tried besides those of the base: batch sizes, learning rates, widths, networks."""

    batch_sizes: Sequence[int] = ()
    rates: Sequence[float] = ()
    widths: Sequence[float] = ()
    models: Sequence[str] = ()


# Numbers of steps, if they are steps and not shares: fewer where a batch is larger.
STEPS = ("training.steps", "schedule.warmup", "loss.margin_starts", "loss.margin_stands")


def run_sweep(
    data: LabelledSet,
    test: LabelledSet,
    folder: str | os.PathLike,
    base: NetworkConfig,
    front_end: FrontEnd,
    factors: Factors,
) -> bool:
    """Train and test all trials, then write ``report.md`` with its pictures.

    Parameters
    ----------
    data, test : LabelledSet
        Of the same speakers.
    folder : path-like
        One of its own for every trial is made in it.
    base : NetworkConfig
        What is not varied; other networks take neither its ``model.options``, nor, unless it names
        one, the loss that its own network is trained by.
    front_end : FrontEnd
    factors : Factors

    Returns
    -------
    bool
        False where SIGTERM stopped it; the same call goes on.

    Raises
    ------
    UsageError
        Nothing is varied.
    DataError
        The folder holds trials of other options, or what training raises.
    """
    fixed_loss = base.loss.name is not None
    base = complete(base, front_end)
    groups = plan(base, factors, fixed_loss)
    trials: dict[str, Trial] = {}
    for config in (config for group in groups.values() for config in group):
        name = trial_name(config)
        if name in trials:
            continue
        logger.info("trial %s", name)
        trial = _run(data, test, Path(folder) / name, config, front_end)
        if trial is None:
            return False
        trials[name] = trial
    tables = {title: [trials[trial_name(c)] for c in group] for title, group in groups.items()}
    _write_report(Path(folder), (data, test), base, front_end, tables)
    return True


def plan(
    base: NetworkConfig, factors: Factors, fixed_loss: bool = False
) -> dict[str, list[NetworkConfig]]:
    """Configurations of the trials of each table, the base among them, in the order of the values.

    With `fixed_loss` other networks are trained by the base's loss, else by their own.
    """
    groups: dict[str, list[NetworkConfig]] = {}
    for (title, key), others in zip(COLUMNS.items(), factors, strict=True):
        chosen: list[Any] = list(dict.fromkeys([base[key], *others]))
        if len(chosen) < 2:
            continue
        if key == "batches.batch_size":
            groups[title] = [_of_batch_size(base, value) for value in sorted(chosen)]
        elif key == "model.name":
            groups[title] = [base, *(_of_model(base, name, fixed_loss) for name in chosen[1:])]
        else:
            groups[title] = [base.changed({key: value}) for value in sorted(chosen)]
    if not groups:
        raise UsageError("nothing is varied; give other batch sizes, rates, widths or networks")
    return groups


def _of_model(base: NetworkConfig, name: str, fixed_loss: bool) -> NetworkConfig:
    loss = base.loss.name if fixed_loss else default_loss(name)
    return base.changed({"model.name": name, "model.options": {}, "loss.name": loss})


def _of_batch_size(base: NetworkConfig, size: int) -> NetworkConfig:
    """A configuration that sees as many crops in batches of another size."""
    changed: dict[str, Any] = {"batches.batch_size": size}
    for key in STEPS:
        if (number := base[key]) is not None and number >= 1:
            changed[key] = round(number * base.batches.batch_size / size)
    if "training.steps" in changed:
        changed["training.steps"] = max(1, changed["training.steps"])
    return base.changed(changed)


def trial_name(config: NetworkConfig) -> str:
    """Folder of a trial."""
    return (
        f"{config.model.name}-batch{config.batches.batch_size}-rate{config.schedule.lr:g}"
        f"-width{config.model.width:g}"
    )


def _run(
    data: LabelledSet,
    test: LabelledSet,
    folder: Path,
    config: NetworkConfig,
    front_end: FrontEnd,
) -> Trial | None:
    """One trial, from its folder where it is done; None where SIGTERM stopped it."""
    # What changes no result is not compared.
    idle = dict.fromkeys(("device", "n_workers", "n_validations", "save_every"))
    identity = {
        "options": {**told(config), **idle},
        "front_end": front_end._asdict(),
        "utterances": [len(data.labels), len(test.labels)],
    }
    identity = json.loads(json.dumps(identity))
    former = _former(folder / RESULT, identity)
    if former is not None:
        return Trial(folder, config, former)
    result = _outcome(data, test, folder, config, front_end)
    if result is None:
        return None
    record = {"identity": identity, **result}
    write_json(folder / RESULT, record, indent=1)
    return Trial(folder, config, record)


def _outcome(
    data: LabelledSet,
    test: LabelledSet,
    folder: Path,
    config: NetworkConfig,
    front_end: FrontEnd,
) -> dict[str, Any] | None:
    """Train and test; None where SIGTERM stopped it."""
    from dnn.embedding.export import load_classifier
    from dnn.identification.identifier import answer, measures, plot_confusion
    from dnn.training.distributed import Ranks, pick_device

    try:
        trained = train_identifier(data, folder, config, front_end, test)
    except NotFiniteError as error:
        logger.warning("the trial diverged: %s", error)
        return {"diverged": str(error)}
    if not trained.finished:
        return None
    device = pick_device(config.machine.device, Ranks())
    answers = answer(load_classifier(trained.network), test.source, test.labels, device=device)
    plot_confusion(folder / "confusion.png", answers.confusion, test.speakers)
    return {
        "steps": trained.step,
        "test": measures(answers, test.speakers),
        "training": read_speed(folder),
    }


def _former(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a trial that is done."""
    from dnn.training.identity import differences

    if not path.exists():
        return None
    with foreign(path, "a trial of a sweep", "remove its folder to train it again"):
        record = read_json(path, "a trial of a sweep")
        other = differences(identity, record["identity"])
    if other:
        raise DataError(
            f"{path}: is of another sweep: {'; '.join(other)}; name another `out`, or remove it"
        )
    return record


def _write_report(
    folder: Path,
    sets: tuple[LabelledSet, LabelledSet],
    base: NetworkConfig,
    front_end: FrontEnd,
    tables: Mapping[str, Sequence[Trial]],
) -> None:
    """Draw the pictures and write ``report.md``."""
    from dnn.curves import plot_curves

    for title, group in tables.items():
        files = {
            f"{title.lower()} {value_of(t, title)}": t.folder / "scalars.jsonl"
            for t in group
            if (t.folder / "scalars.jsonl").exists()  # none where the first steps diverged
        }
        if files:
            plot_curves(folder / curve_file(title), files)
    write_text(folder / REPORT, report(folder, sets, base, front_end, tables))
