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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from dnn.data.labelled import FrontEnd, LabelledSet
from dnn.identification.sweep_report import Trial
from dnn.identification.training import (
    IdentifierOptions,
    default_loss,
    read_speed,
    train_identifier,
)
from ivector.base.errors import DataError, NotFiniteError, UsageError
from ivector.base.files import write_text

logger = logging.getLogger("sweep")

RESULT, REPORT = "result.json", "report.md"


class Factors(NamedTuple):
    """Values tried besides those of the base: batch sizes, learning rates, widths, networks."""

    batch_sizes: Sequence[int] = ()
    rates: Sequence[float] = ()
    widths: Sequence[float] = ()
    models: Sequence[str] = ()


# Of every factor: title in the report, option, what a trial is called in table and curves.
TABLES = (
    ("Batch size", "batch_size", "{}"),
    ("Learning rate", "rate", "{:g}"),
    ("Width", "width", "{:g}"),
    ("Network", "model", "{}"),
)


def run_sweep(
    data: LabelledSet,
    test: LabelledSet,
    folder: str | os.PathLike,
    base: IdentifierOptions,
    front_end: FrontEnd,
    factors: Factors,
    *,
    fixed_loss: bool = False,
) -> bool:
    """Train and test all trials, then write ``report.md`` with its pictures.

    Parameters
    ----------
    data, test : LabelledSet
        Of the same speakers.
    folder : path-like
        One of its own for every trial is made in it.
    base : IdentifierOptions
        What is not varied; other networks take neither its `network`, nor, unless `fixed_loss`,
        its loss.
    front_end : FrontEnd
    factors : Factors
    fixed_loss : bool

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
    groups = plan(base, factors, fixed_loss)
    trials: dict[str, Trial] = {}
    for options in (options for group in groups.values() for options in group):
        name = trial_name(options)
        if name in trials:
            continue
        logger.info("trial %s", name)
        trial = _run(data, test, Path(folder) / name, options, front_end)
        if trial is None:
            return False
        trials[name] = trial
    tables = {title: [trials[trial_name(o)] for o in group] for title, group in groups.items()}
    _write_report(Path(folder), (data, test), base, front_end, tables)
    return True


def plan(
    base: IdentifierOptions, factors: Factors, fixed_loss: bool = False
) -> dict[str, list[IdentifierOptions]]:
    """Options of the trials of each table, the base among them, in the order of the values."""
    values = (factors.batch_sizes, factors.rates, factors.widths, factors.models)
    groups: dict[str, list[IdentifierOptions]] = {}
    for (title, option, _), others in zip(TABLES, values):
        mine = getattr(base, option)
        chosen: list[Any] = list(dict.fromkeys([mine, *others]))
        if len(chosen) < 2:
            continue
        if option == "batch_size":
            groups[title] = [_of_batch_size(base, value) for value in sorted(chosen)]
            continue
        if option != "model":
            groups[title] = [replace(base, **{option: value}) for value in sorted(chosen)]
            continue
        groups[title] = [base]
        for name in chosen[1:]:
            loss = base.loss if fixed_loss else default_loss(name)
            groups[title].append(replace(base, model=name, network={}, loss=loss))
    if not groups:
        raise UsageError("nothing is varied; give other batch sizes, rates, widths or networks")
    return groups


def _of_batch_size(base: IdentifierOptions, size: int) -> IdentifierOptions:
    """Options that see as many crops in batches of another size."""

    def scaled(steps: int | None) -> int | None:
        return None if steps is None else round(steps * base.batch_size / size)

    n_steps = scaled(base.n_steps)
    return replace(
        base,
        batch_size=size,
        n_steps=None if n_steps is None else max(1, n_steps),
        n_warmup=scaled(base.n_warmup),
    )


def trial_name(options: IdentifierOptions) -> str:
    """Folder of a trial."""
    return f"{options.model}-batch{options.batch_size}-rate{options.rate:g}-width{options.width:g}"


def _run(
    data: LabelledSet,
    test: LabelledSet,
    folder: Path,
    options: IdentifierOptions,
    front_end: FrontEnd,
) -> Trial | None:
    """One trial, from its folder where it is done; None where SIGTERM stopped it."""

    # What changes no result is not compared.
    told = {**asdict(options), "device": None, "n_workers": None, "n_validations": None,
            "save_every": None}  # fmt: skip
    identity = {
        "options": told,
        "front_end": front_end._asdict(),
        "utterances": [len(data.labels), len(test.labels)],
    }
    identity = json.loads(json.dumps(identity))
    former = _former(folder / RESULT, identity)
    if former is not None:
        return Trial(folder, options, former)
    result = _outcome(data, test, folder, options, front_end)
    if result is None:
        return None
    record = {"identity": identity, **result}
    write_text(folder / RESULT, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return Trial(folder, options, record)


def _outcome(
    data: LabelledSet,
    test: LabelledSet,
    folder: Path,
    options: IdentifierOptions,
    front_end: FrontEnd,
) -> dict[str, Any] | None:
    """Train and test; None where SIGTERM stopped it."""
    from dnn.embedding.export import load_classifier
    from dnn.identification.identifier import answer, measures, plot_confusion
    from dnn.training.distributed import Ranks, pick_device

    try:
        trained = train_identifier(data, folder, options, front_end, test)
    except NotFiniteError as error:
        logger.warning("the trial diverged: %s", error)
        return {"diverged": str(error)}
    if not trained.finished:
        return None
    device = pick_device(options.device, Ranks())
    answers = answer(load_classifier(trained.network), test.source, test.labels, device=device)
    plot_confusion(folder / "confusion.png", answers.confusion, test.speakers)
    return {
        "steps": trained.step,
        "test": measures(answers, test.speakers),
        "training": read_speed(folder),
    }


def _former(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a trial that is done."""
    from dnn.training.checkpoint import differences

    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        other = differences(identity, record["identity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged; remove its folder to train it again") from error
    if other:
        raise DataError(
            f"{path}: is of another sweep: {'; '.join(other)}; name another --out, or remove it"
        )
    return record


def _write_report(
    folder: Path,
    sets: tuple[LabelledSet, LabelledSet],
    base: IdentifierOptions,
    front_end: FrontEnd,
    tables: Mapping[str, Sequence[Trial]],
) -> None:
    """Draw the pictures and write ``report.md``."""
    from dnn.curves import plot_curves
    from dnn.identification.sweep_report import curve_file, report

    for title, option, form in TABLES:
        files = {
            f"{title.lower()} {form.format(getattr(t.options, option))}": t.folder / "scalars.jsonl"
            for t in tables.get(title, ())
            if (t.folder / "scalars.jsonl").exists()  # none where the first steps diverged
        }
        if files:
            plot_curves(folder / curve_file(title), files)
    write_text(folder / REPORT, report(folder, sets, base, front_end, tables))
