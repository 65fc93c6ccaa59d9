"""Fuse systems: ``python -m fusion.fuse A B [C ...] TRIALS --apply EVAL_A EVAL_B --out FUSED``.

Learns one weight a system and an offset that make log-likelihood ratios (natural logarithm) of the
scores of development trials, and applies them to others. Says what each system brings and what the
fusion is worth on speakers it has not seen, by cross-validation over speakers, and whether it is
worse anywhere than its best part. ``--model FILE --apply ...`` applies a fusion saved before.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.commands import COMMANDS
from fusion.metrics.points import parse_points
from fusion.terminal.inputs import (
    MOST,
    add_fold_options,
    add_trial_options,
    check_trial_options,
    systems,
)
from ivector.base.cli import SEED, Parser, number, run, whole
from ivector.base.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from fusion.calibration.linear import LinearFusion
    from fusion.formats.speakers import TrialSpeakers
    from fusion.formats.tables import Trials
    from fusion.terminal.fuse_guard import Learnt, Options

GUARDS = ("warn", "best", "refuse")
# Options that only training takes, and their defaults.
_LEARNING = {
    "prior": 0.5, "ridge": 0.0, "non_negative": False, "bounded": False, "missing": "refuse",
}  # fmt: skip
UNGUARDED = (
    "guard: nothing is kept of the development scores, so that those of --apply are not looked at"
)


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        parameters={"missing": "--missing fallback"},
        prog="python -m fusion.fuse",
        usage="%(prog)s SCORES... TRIALS [--apply SCORES...] [--out FUSED] [--model FILE] [options]"
        "\n       %(prog)s --model FILE --apply SCORES... --out FUSED [options]",
        description=COMMANDS["fuse"].sentence,
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="SCORES... TRIALS",
        help="score files to learn from, one a system, and their trial list; NAME=FILE names a "
        "system, otherwise the file's stem does",
    )
    add_fold_options(parser)
    add("--apply", nargs="+", default=[], metavar="SCORES",
        help="score files to fuse, of the same systems: in their order or named alike")  # fmt: skip
    add("--apply-trials", nargs="+", default=[], metavar="FILE", type=Path,
        help="trials to fuse, in this order, and to measure if they have labels; without it all "
        "pairs that --apply has")  # fmt: skip
    add("--out", type=Path, metavar="FILE",
        help="write the fused llr: of --apply, or else of the trials learnt from, each by a "
        "fusion that saw neither of its speakers; .gz packs it")  # fmt: skip
    add("--model", type=Path, metavar="FILE",
        help="JSON file of the fusion: written, or with --apply alone, read")  # fmt: skip
    add("--prior", type=number(0, 1), default=0.5,
        help="prior of a target for which the fusion is best; a low one for false alarms that "
        "matter")  # fmt: skip
    add("--ridge", type=number(0), default=0.0,
        help="penalty of squared weights, for few trials or systems much alike")  # fmt: skip
    add("--non-negative", action="store_true",
        help="no weights below 0; they rarely help on unseen conditions")  # fmt: skip
    add("--bounded", action="store_true",
        help="take some trials for outliers, which cannot tilt the weights; no llr is then larger "
        "than so many trials can show")  # fmt: skip
    add("--missing", choices=("refuse", "fallback"), default="refuse",
        help="what to do with trials that a system has not scored; fallback fuses the systems that "
        "have, with weights learnt for them")  # fmt: skip
    add("--guard", choices=GUARDS, default="warn",
        help="if the fusion is worse than its best part beyond chance, or the scores of --apply "
        "are not like those of development: say so, take the systems that are not to blame, or "
        "fail")  # fmt: skip
    add("--points", "--p-target", dest="p_target", nargs="+", default=["0.01"], metavar="P",
        help="operating points of the table and the guard: prior, prior:c_miss:c_fa, or a "
        "preset such as sre16")  # fmt: skip
    add("--folds", type=whole(0, MOST), default=5,
        help="parts of the speakers in cross-validation; 0 for no table and no guard")  # fmt: skip
    add("--bootstrap", type=whole(0, MOST), default=1000, metavar="N",
        help="replicates of the guard's intervals; 0 takes every difference for real")  # fmt: skip
    add("--seed", type=SEED, default=0, help="seed of folds and bootstrap")
    add_trial_options(parser)
    add("--json", type=Path, metavar="FILE", help="write all numbers to a file")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Learn or read a fusion, say what it is worth, and apply it."""
    _check(arguments)
    from fusion.terminal import fuse_text as text

    record: dict[str, Any] = {}
    written: tuple[Trials, np.ndarray] | None = None
    if arguments.inputs:
        fusion, written, learnt = _learn(arguments, record)
    else:
        fusion, learnt = _load(arguments.model)
        record["fusion"] = fusion.to_dict()
        text.print_weights(fusion, None)
    if arguments.apply:
        fusion, written = _apply(arguments, fusion, learnt, record)
    if arguments.out and written:
        from fusion.formats.files import write_trial_scores

        write_trial_scores(arguments.out, *written)
    if arguments.model and arguments.inputs:
        from fusion.calibration.saving import save_model

        save_model(arguments.model, fusion, record["training"])
    if arguments.json:
        from ivector.base.files import write_json

        write_json(arguments.json, record)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that make no sense before anything is read."""
    if not arguments.inputs and not (arguments.model and arguments.apply and arguments.out):
        raise UsageError(
            "give SCORES... TRIALS to learn from, or --model, --apply and --out to apply a fusion "
            "learnt before"
        )
    if not arguments.inputs:
        for name, default in _LEARNING.items():
            if getattr(arguments, name) != default:
                option = name.replace("_", "-")
                raise UsageError(f"--{option}: has no effect on a fusion learnt before; leave out")
    if len(arguments.inputs) in (1, 2):
        raise UsageError(
            "give at least two score files and their trial list; for one system use "
            "python -m fusion.calibrate"
        )
    if not 0 < arguments.prior < 1:
        raise UsageError(f"--prior: is between 0 and 1, got {arguments.prior:g}")
    if arguments.folds in (1, 2):
        raise UsageError("--folds: give at least 3, or 0 for no cross-validation")
    check_trial_options(arguments)
    if arguments.apply_trials and not arguments.apply:
        raise UsageError("--apply-trials: needs --apply, the score files to fuse")
    if arguments.apply and not arguments.out:
        raise UsageError("--apply: needs --out, the file of fused scores")
    if arguments.inputs and not (arguments.apply or arguments.folds) and arguments.out:
        raise UsageError("--out: needs --apply or cross-validation (--folds of at least 3)")
    parse_points(arguments.p_target)


def _learn(
    arguments: argparse.Namespace, record: dict[str, Any]
) -> tuple[LinearFusion, tuple[Trials, np.ndarray] | None, Learnt | None]:
    """Train on development: the fusion, trials and cross-validated llr to write, what is known."""
    from fusion.calibration.linear import LinearFusion
    from fusion.formats.files import read_scores, read_trials
    from fusion.formats.layouts import TARGET
    from fusion.formats.systems import Waiting, join
    from fusion.formats.tables import ScoredTrials
    from fusion.terminal import fuse_text as text
    from fusion.terminal.inputs import speakers

    given = systems(arguments.inputs[:-1], arguments.pool)
    if len(given) < 2:
        raise UsageError(
            f"all score files are of one system, {next(iter(given))!r}; name them with NAME=FILE"
        )
    lists = [arguments.inputs[-1], *arguments.more_trials]
    trials = read_trials(lists, arguments.label_column)
    columns = arguments.score_column, arguments.label_column
    table = join(
        Waiting({name: partial(read_scores, paths, *columns) for name, paths in given.items()}),
        trials,
        missing=arguments.missing == "fallback",
        subset=arguments.subset,
        allow_duplicates=arguments.allow_duplicates,
    )
    ScoredTrials(trials, table[:, 0]).check()
    target = trials.labels == TARGET
    options = ("prior", "ridge", "non_negative", "missing", "bounded")
    fusion = LinearFusion(names=[*given], **{name: getattr(arguments, name) for name in options})
    fusion.fit(table, target)
    record["training"] = {"trials": len(target), "targets": int(target.sum())}
    print(
        f"fusion of {len(given)} systems, learnt from {len(target)} trials ({target.sum()} "
        f"targets) for a prior of {arguments.prior:g}"
    )
    text.print_missing(table, fusion)
    text.print_weights(fusion, table)
    told = speakers(trials, arguments) if arguments.folds else None
    written = trials if arguments.out and not arguments.apply else None
    llr, learnt = table[:, 0], None
    if told:
        fusion, llr, learnt = _validate(arguments, fusion, table, target, told, trials, record)
    record["fusion"] = fusion.to_dict()
    return fusion, (written, llr) if written else None, learnt


def _validate(
    arguments: argparse.Namespace,
    fusion: LinearFusion,
    table: np.ndarray,
    target: np.ndarray,
    told: TrialSpeakers,
    trials: Trials,
    record: dict[str, Any],
) -> tuple[LinearFusion, np.ndarray, Learnt]:
    """Cross-validate and guard; the fusion to use, its cross-validated llr, what is known of it."""
    from fusion.calibration.worth import Contest
    from fusion.terminal import fuse_text as text
    from fusion.terminal.fuse_guard import of_development

    contest = Contest(
        fusion,
        table,
        target,
        told,
        parse_points(arguments.p_target),
        n_folds=arguments.folds,
        random_state=arguments.seed,
    )
    text.print_contest(contest)
    record["cross_validation"] = text.table_record(contest)
    fusion, llr, learnt = of_development(contest, trials, _guarding(arguments), record)
    record["training"]["reference"] = learnt.reference.to_dict()
    return fusion, llr, learnt


def _guarding(arguments: argparse.Namespace) -> Options:
    """How to guard, of the options."""
    from fusion.terminal.fuse_guard import Options

    return Options(
        arguments.guard, parse_points(arguments.p_target), arguments.bootstrap, arguments.seed,
        arguments.utt2spk, arguments.enroll, arguments.speaker_ids,
    )  # fmt: skip


def _load(path: Path) -> tuple[LinearFusion, Learnt | None]:
    """A saved fusion, and what its file keeps of development; files of before keep nothing."""
    from fusion.calibration.linear import LinearFusion
    from fusion.calibration.reference import Reference
    from fusion.calibration.saving import read_model
    from fusion.terminal.fuse_guard import Learnt

    fusion, training = read_model(path)
    if not isinstance(fusion, LinearFusion):
        raise DataError(
            f"{path}: holds no fusion but a {type(fusion).__name__}; apply it with "
            "python -m fusion.calibrate"
        )
    kept = training.get("reference")
    if kept is None:
        return fusion, None
    try:
        reference = Reference.from_dict(kept)
    except DataError as error:
        raise DataError(f"{path}: {error}; train the fusion again") from None
    if reference.names != list(fusion.names or ()):
        raise DataError(f"{path}: its development scores are of other systems; train it again")
    return fusion, Learnt(reference, trained=False)


def _apply(
    arguments: argparse.Namespace,
    fusion: LinearFusion,
    learnt: Learnt | None,
    record: dict[str, Any],
) -> tuple[LinearFusion, tuple[Trials, np.ndarray]]:
    """Fuse the score files of --apply; the fusion used, their trials and llr (N,)."""
    import numpy as np

    from fusion.formats.files import read_scores, read_trials
    from fusion.formats.systems import Waiting, all_trials, join
    from fusion.terminal import fuse_text as text
    from fusion.terminal.fuse_guard import classes, of_applied

    names = list(fusion.names or ())
    order = list(systems(arguments.inputs[:-1], arguments.pool)) if arguments.inputs else names
    given = _match(arguments.apply, arguments.pool, order, names, fusion.missing == "fallback")
    columns = arguments.score_column, arguments.label_column
    fetch = {name: partial(read_scores, paths, *columns) for name, paths in given.items()}
    if arguments.apply_trials:
        trials = read_trials(arguments.apply_trials, arguments.label_column)
    else:
        scores = {name: read() for name, read in fetch.items()}
        trials = all_trials(scores)
        fetch = {name: partial(scores.pop, name) for name in given}
    table = join(
        Waiting(fetch),
        trials,
        missing=fusion.missing == "fallback",
        subset=arguments.subset,
        allow_duplicates=arguments.allow_duplicates,
    )
    if list(given) != names:
        joined, table = table, np.full((len(trials), len(names)), np.nan)
        table[:, [names.index(name) for name in given]] = joined
    print(f"fused {len(trials)} trials of {', '.join(given)}")
    record["applied"] = {"trials": len(trials), "missing": text.print_missing(table, fusion)}
    if learnt:
        applied = record["applied"]
        fusion, llr, learnt = of_applied(
            learnt, fusion, table, trials, _guarding(arguments), applied
        )
        if arguments.inputs:
            record["training"]["reference"] = learnt.reference.to_dict()
            record["fusion"] = fusion.to_dict()
    else:
        print(UNGUARDED)
        llr = fusion.transform(table)
    target = classes(trials)
    if target is not None:
        points = parse_points(arguments.p_target)
        record["applied"] |= text.print_applied(llr, table, target, names, points)
    return fusion, (trials, llr)


def _match(
    files: list[str], pool: bool, learnt: Sequence[str], names: Sequence[str], part: bool
) -> dict[str, list[Path]]:
    """Files of --apply for the systems of a fusion (`names`) out of those it was `learnt` from.

    By name if every file has the name of a system, else by position.
    """
    given = systems(files, pool)
    if set(given) <= set(learnt):
        missing = [name for name in names if name not in given]
        if len(missing) == len(names) or (missing and not part):
            raise UsageError(f"--apply: lacks the system {missing[0]!r}; give its scores too")
        return {name: given[name] for name in names if name in given}
    named = [text for text in files if "=" in text and not os.path.exists(text)]
    moved = [name for n, name in enumerate(given) if name in learnt and n != learnt.index(name)]
    if named or moved or len(given) != len(learnt):
        raise UsageError(
            f"--apply: takes one score file for each of {', '.join(learnt)}, got "
            f"{', '.join(given)}; name them {' '.join(f'{name}=FILE' for name in learnt)}, and "
            "give a trial list with --apply-trials"
        )
    by_position = dict(zip(learnt, given.values()))
    return {name: by_position[name] for name in names}


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
