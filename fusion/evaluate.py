"""Measure systems: ``python -m fusion.evaluate SCORES... TRIALS``.

Prints one line a system: EER on the ROC convex hull and minimum detection costs with their
confidence intervals, and the interpolated EER; with --llr also what the scores are worth as natural
log-likelihood ratios. Scores are matched to trials by ids. Intervals come from a bootstrap over
speakers, told from --utt2spk, or else from the target trials.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.commands import COMMANDS
from fusion.metrics.points import PRESETS, OperatingPoint, parse_points
from fusion.terminal.inputs import (
    MOST,
    add_fold_options,
    add_trial_options,
    check_trial_options,
    scored,
    speakers,
    systems,
)
from fusion.terminal.partitions import (
    add_partition_options,
    check_partition_options,
    equalised_costs,
    partition_notes,
    partitioned,
)
from ivector.base.cli import SEED, Parser, run, whole
from ivector.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from fusion.calibration.grades import Grade
    from fusion.formats.speakers import TrialSpeakers
    from fusion.intervals.bootstrap import BootstrapResult
    from fusion.metrics.curve import OperatingPoints
    from fusion.terminal.evaluate_text import Asked


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m fusion.evaluate",
        usage="%(prog)s SCORES... TRIALS [options]",
        description=COMMANDS["evaluate"].sentence,
    )
    add = parser.add_argument
    add(
        "scores",
        nargs="+",
        metavar="SCORES",
        help="score file(s), 'enrol test score' or 'score enrol test', may be gzipped; "
        "NAME=FILE names the system, otherwise the file's stem does",
    )
    add(
        "trials",
        metavar="TRIALS",
        help="trial list, 'enrol test target|nontarget' or '1|0 enrol test'",
    )
    add_fold_options(parser, "score files of the same NAME (all, if none is named)")
    add("--p-target", nargs="+", type=float, default=[], metavar="P",
        help="priors of a target trial, one minDCF each (costs 1 and 1, normalised); 0.01, if "
        "there are no --points")  # fmt: skip
    add("--points", nargs="+", default=[], metavar="POINT",
        help=f"further operating points: a prior, prior:c_miss:c_fa, or those of an evaluation, "
        f"with their C_primary: {', '.join(PRESETS)}")  # fmt: skip
    add("--llr", action="store_true",
        help="the scores are natural-log likelihood ratios: measure Cllr and the actual costs, of "
        "decisions at the Bayes threshold")  # fmt: skip
    add("--bootstrap", type=whole(0, MOST), default=1000, metavar="N",
        help="replicates of the intervals; more are steadier and take longer, 0 gives no "
        "intervals")  # fmt: skip
    add("--seed", type=SEED, default=0, help="seed of the bootstrap")
    add_trial_options(parser)
    add_partition_options(parser)
    for name, what in (("det", "DET"), ("roc", "ROC")):
        add(f"--{name}", type=Path, metavar="FILE", help=f"draw {what} curves, .png or .svg")
    add("--histogram", type=Path, metavar="FILE",
        help="draw the score distributions, .png or .svg; with several systems one file each, "
        "FILE-SYSTEM")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write all numbers to a file")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, measure, print, and write what was asked for."""
    _check(arguments)
    asked = _asked(arguments)
    check_partition_options(arguments, asked.presets)
    from fusion.calibration.wording import taken_for_another
    from fusion.formats.files import read_trials
    from fusion.formats.layouts import TARGET
    from fusion.metrics.curve import OperatingPoints
    from fusion.metrics.order import order
    from fusion.terminal.evaluate_text import measured, print_tables

    given = systems(arguments.scores, arguments.pool)
    trials = read_trials([arguments.trials, *arguments.more_trials], arguments.label_column)
    told: TrialSpeakers | None = None
    if arguments.bootstrap:
        told = speakers(trials, arguments)
    parts = partitioned(arguments, trials, asked.presets)
    rows: list[dict[str, Any]] = []
    points: dict[str, OperatingPoints] = {}
    intervals: dict[str, BootstrapResult] = {}
    hints: list[str] = []
    for number, (name, paths) in enumerate(given.items(), 1):
        found = scored(paths, trials, arguments)
        scores, target = found.values, trials.labels == TARGET
        del found
        if number == len(given):
            del trials  # as large as the scores
        result = _bootstrap(scores, target, told, asked, arguments) if told else None
        equalised = equalised_costs(scores, target, told, result, asked, parts, arguments)
        grade = None
        if told and result and asked.llr:
            grade = _grade(scores, target, told, asked, result, arguments)
        if grade and grade.word in ("fairly", "poorly", "misleading"):
            hints += [f"{name}: {text}" for text in [taken_for_another(scores, target)] if text]
        tar, non = scores[target], scores[~target]
        del scores  # a curve takes several times their memory
        curve = OperatingPoints(tar, non)
        if (found_order := order(curve)).turned:
            hints.append(f"{name}: the sign seems turned: {found_order.words} of cases.")
        rows.append(measured(name, curve, result, asked, equalised, grade))
        if arguments.det or arguments.roc:
            points[name] = curve
            intervals |= {name: result} if result else {}
        if arguments.histogram:
            from fusion.plots.det import plot_score_histogram

            path = arguments.histogram
            if len(given) > 1:
                path = path.with_name(f"{path.stem}-{_file_name(name)}{path.suffix}")
            plot_score_histogram(path, tar, non, title=name)
    notes = [*hints, *partition_notes(asked.presets, parts)]
    print_tables(rows, asked, told, arguments.bootstrap, notes)
    _draw(arguments, asked, points, intervals)
    if arguments.json:
        _write_json(arguments, rows, told)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that make no sense before anything is read."""
    check_trial_options(arguments)
    for name in ("det", "roc", "histogram"):
        path = getattr(arguments, name)
        if path and path.suffix.lower() not in (".png", ".svg"):
            raise UsageError(f"--{name}: give a name that ends in .png or .svg, got {path}")


def _asked(arguments: argparse.Namespace) -> Asked:
    """What is to be measured, of the options."""
    from fusion.terminal.evaluate_text import Asked

    if len(set(arguments.p_target)) < len(arguments.p_target):
        raise UsageError("--p-target: a prior is given twice")
    for prior in arguments.p_target:
        if not 0 < prior < 1:
            raise UsageError(f"--p-target: priors are between 0 and 1, got {prior:g}")
    priors = arguments.p_target or ([] if arguments.points else [0.01])
    points = [*map(OperatingPoint, priors), *parse_points(arguments.points)]
    presets = [word.lower() for word in arguments.points if len(PRESETS.get(word.lower(), ())) > 1]
    return Asked([*dict.fromkeys(points)], [*dict.fromkeys(presets)], arguments.llr)


def _bootstrap(
    scores: np.ndarray,
    target: np.ndarray,
    told: TrialSpeakers,
    asked: Asked,
    arguments: argparse.Namespace,
) -> BootstrapResult:
    from fusion.intervals.bootstrap import bootstrap_interval
    from fusion.plots.det import det_band

    return bootstrap_interval(
        scores,
        target,
        told.enrol,
        told.test,
        points=asked.points,
        llr=asked.llr,
        band=det_band() if arguments.det else (),
        n_bootstrap=arguments.bootstrap,
        random_state=arguments.seed,
    )


def _grade(
    scores: np.ndarray,
    target: np.ndarray,
    told: TrialSpeakers,
    asked: Asked,
    result: BootstrapResult,
    arguments: argparse.Namespace,
) -> Grade:
    """How well the llr are calibrated."""
    from fusion.calibration.grades import grade_calibration
    from fusion.metrics.table import ACTUAL_COST

    return grade_calibration(
        scores,
        target,
        told.enrol,
        told.test,
        points=asked.points,
        actual=getattr(result, ACTUAL_COST.name),
        random_state=arguments.seed,
    )


def _draw(
    arguments: argparse.Namespace,
    asked: Asked,
    points: dict[str, OperatingPoints],
    intervals: dict[str, BootstrapResult],
) -> None:
    from fusion.plots.det import plot_det, plot_roc

    if arguments.det:
        plot_det(arguments.det, points, asked.points, intervals)
    if arguments.roc:
        plot_roc(arguments.roc, points)


def _file_name(name: str) -> str:
    """System name fit to be part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _write_json(
    arguments: argparse.Namespace, rows: list[dict[str, Any]], told: TrialSpeakers | None
) -> None:
    from ivector.base.files import write_json

    content: dict[str, Any] = {"systems": rows}
    if told:
        content["bootstrap"] = {
            "replicates": arguments.bootstrap,
            "seed": arguments.seed,
            "level": 0.95,
            "speakers": told.n_speakers,
            "speakers_at_most": told.at_most,
            "speakers_from": told.source,
            "trusted": told.trusted,
        }
    write_json(arguments.json, content)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
