"""Validate llr as forensic evidence: ``python -m fusion.validate LLR... TRIALS``.

Prints how good log-likelihood ratios are as evidence, following the consensus on validation of
forensic voice comparison (2021): Cllr, devPAV, the bounds that the trials support, rates of
misleading evidence, logistic and bi-Gaussianised calibration of unseen speakers, and all of it by
condition. With ``--case`` also what the llr of trials in question are worth: intervals and
conclusions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.commands import COMMANDS
from fusion.forensic.verbal import SCALES
from fusion.terminal.inputs import (
    MOST,
    add_column_options,
    add_fold_options,
    add_trial_options,
    check_column_options,
    check_trial_options,
    conditions,
    scored,
    speakers,
    systems,
)
from ivector.base.cli import SEED, Parser, run, whole
from ivector.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from fusion.formats.speakers import TrialSpeakers
    from fusion.formats.tables import Trials
    from fusion.terminal.validate_text import Case


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m fusion.validate",
        usage="%(prog)s LLR... TRIALS [options]",
        description=COMMANDS["validate"].sentence,
    )
    add = parser.add_argument
    add("scores", nargs="+", metavar="LLR",
        help="file(s) of natural-log likelihood ratios; NAME=FILE names the system, otherwise "
        "the file's stem does")  # fmt: skip
    add("trials", metavar="TRIALS", type=Path, help="trial list with labels")
    add_fold_options(parser)
    add("--log10", action="store_true",
        help="the llr of all files are decimal logarithms; what is written is natural")  # fmt: skip
    add_trial_options(parser)
    add_column_options(parser, "validated")
    add("--case", type=Path, metavar="LLR",
        help="llr of one system for trials in question, of the same kind as those given: "
        "recalibrated by the trials, with intervals and a conclusion")  # fmt: skip
    add("--scale", choices=tuple(SCALES), default="enfsi",
        help="verbal scale of conclusions: of ENFSI 2015, of the AFSP 2009, or of the Swedish "
        "National Forensic Centre")  # fmt: skip
    add("--out", type=Path, metavar="FILE",
        help="write the recalibrated llr of each trial of --case, or else of TRIALS, with "
        "intervals")  # fmt: skip
    for name, what in (("tippett", "Tippett"), ("reliability", "reliability (PAV)")):
        add(f"--{name}", type=Path, metavar="FILE", help=f"draw {what} plots, .png or .svg")
    add("--folds", type=whole(0, MOST), default=5,
        help="parts of the speakers in cross-validation, at least 3; 0 compares no calibrations, "
        "where there are too few speakers")  # fmt: skip
    add("--bootstrap", type=whole(0, MOST), default=1000, metavar="N",
        help="replicates of the intervals; more are steadier and take longer, 0 gives none but "
        "those of rates")  # fmt: skip
    add("--seed", type=SEED, default=0, help="seed of bootstrap and folds")
    add("--json", type=Path, metavar="FILE", help="write all numbers to a file")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, validate, print, and write what was asked for."""
    given = systems(arguments.scores, arguments.pool)
    _check(arguments, len(given))
    from fusion.forensic.validation import validate
    from fusion.formats.files import read_trials
    from fusion.formats.layouts import TARGET
    from fusion.terminal import validate_text as text
    from ivector.base.errors import named

    trials = read_trials([arguments.trials, *arguments.more_trials], arguments.label_column)
    told = speakers(trials, arguments)
    target, columns = trials.labels == TARGET, conditions(arguments, trials)
    llr: dict[str, np.ndarray] = {}
    records: dict[str, dict[str, Any]] = {}
    for name, paths in given.items():
        llr[name] = scored(paths, trials, arguments).values * text.factor(arguments.log10)
        with named(name):
            records[name] = validate(
                llr[name], target, told.enrol, told.test, conditions=columns,
                n_bootstrap=arguments.bootstrap, n_folds=arguments.folds,
                random_state=arguments.seed,
            )  # fmt: skip
    text.print_validation(records, told, arguments.bootstrap, arguments.log10)
    case = None
    if arguments.case or arguments.out:
        (name,) = given
        case = _case(arguments, llr[name], trials, told, records[name])
    _draw(arguments, llr, target)
    if arguments.json:
        text.write_record(
            arguments.json, records, told, arguments.bootstrap, arguments.seed,
            case if arguments.case else None,
        )  # fmt: skip


def _check(arguments: argparse.Namespace, n_systems: int) -> None:
    """Refuse options that make no sense before anything is read."""
    check_trial_options(arguments)
    check_column_options(arguments)
    if arguments.folds in (1, 2):
        raise UsageError("--folds: give at least 3, or 0 for no cross-validation")
    for name in ("case", "out"):
        if not getattr(arguments, name):
            continue
        if n_systems > 1:
            raise UsageError(f"--{name}: is of one system, but {n_systems} are given")
        if not (arguments.bootstrap and arguments.folds):
            raise UsageError(f"--{name}: needs intervals; give --bootstrap and --folds")
    for name in ("tippett", "reliability"):
        path = getattr(arguments, name)
        if path and path.suffix.lower() not in (".png", ".svg"):
            raise UsageError(f"--{name}: give a name that ends in .png or .svg, got {path}")


def _case(
    arguments: argparse.Namespace,
    llr: np.ndarray,
    trials: Trials,
    told: TrialSpeakers,
    record: dict[str, Any],
) -> Case:
    """Recalibrate the llr of the case, or of the trials; print and write them with intervals."""
    from fusion.forensic.uncertainty import calibration_uncertainty
    from fusion.formats.layouts import TARGET
    from fusion.terminal import validate_text as text

    learnt = calibration_uncertainty(
        llr, trials.labels == TARGET, told.enrol, told.test, n_bootstrap=arguments.bootstrap,
        random_state=arguments.seed,
    )  # fmt: skip
    if arguments.case:
        from fusion.formats.files import align, read_scores
        from fusion.formats.systems import all_trials

        read = read_scores(arguments.case, arguments.score_column, arguments.label_column)
        trials = all_trials({"": read})
        llr = align(read, trials).values * text.factor(arguments.log10)
    case = text.recalibrated(learnt, llr, trials, record, arguments.scale)
    if arguments.case:
        text.print_case(case)
    if arguments.out:
        text.write_case(arguments.out, case)
    return case


def _draw(arguments: argparse.Namespace, llr: dict[str, np.ndarray], target: np.ndarray) -> None:
    if not (arguments.tippett or arguments.reliability):
        return
    from fusion.metrics.curve import OperatingPoints
    from fusion.plots.llr import plot_reliability, plot_tippett

    curves = {name: OperatingPoints(v[target], v[~target]) for name, v in llr.items()}
    if arguments.tippett:
        plot_tippett(arguments.tippett, curves)
    if arguments.reliability:
        plot_reliability(arguments.reliability, curves)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
