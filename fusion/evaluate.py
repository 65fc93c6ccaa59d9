"""Measure systems: ``python -m fusion.evaluate SCORES... TRIALS``.

Prints one line a system: EER on the ROC convex hull and minimum detection costs with their
confidence intervals, and the interpolated EER. Scores are matched to trials by ids. Intervals come
from a bootstrap over speakers, told from --utt2spk, or else from the target trials.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion._inputs import add_trial_options, check_trial_options, speakers, systems
from ivector.base.cli import Parser, run
from ivector.base.errors import UsageError

if TYPE_CHECKING:
    from fusion.formats import ScoredTrials
    from fusion.intervals import BootstrapResult, Interval
    from fusion.metrics import OperatingPoints
    from fusion.speakers import TrialSpeakers


def build_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m fusion.evaluate",
        usage="%(prog)s SCORES... TRIALS [options]",
        description="Error rates of score files: EER, minDCF, intervals, DET and ROC plots.",
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
    add("--trials", dest="more_trials", nargs="+", default=[], metavar="FILE", type=Path,
        help="further trial lists, read on after TRIALS; for folds")  # fmt: skip
    add("--pool", action="store_true",
        help="take score files of the same NAME (all, if none is named) for parts of one system, "
        "such as folds; without it, each is a system")  # fmt: skip
    add("--p-target", nargs="+", type=float, default=[0.01], metavar="P",
        help="priors of a target trial, one minDCF each (costs 1 and 1, normalised)")  # fmt: skip
    add("--bootstrap", type=int, default=1000, metavar="N",
        help="replicates of the intervals; more are steadier and take longer, 0 gives no "
        "intervals")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the bootstrap")
    add_trial_options(parser)
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
    from fusion.formats import align, read_scores, read_trials
    from fusion.metrics import OperatingPoints

    given = systems(arguments.scores, arguments.pool)
    trials = read_trials([arguments.trials, *arguments.more_trials])
    told: TrialSpeakers | None = None
    if arguments.bootstrap:
        told = speakers(trials, arguments.utt2spk, arguments.enroll)
    points: dict[str, OperatingPoints] = {}
    intervals: dict[str, BootstrapResult] = {}
    for name, paths in given.items():
        scored = align(
            read_scores(paths, arguments.score_column),
            trials,
            subset=arguments.subset,
            allow_duplicates=arguments.allow_duplicates,
        )
        tar, non = scored.split()
        points[name] = OperatingPoints(tar, non)
        if told:
            intervals[name] = _bootstrap(scored, told, arguments)
        if arguments.histogram:
            from fusion.plots import plot_score_histogram

            path = arguments.histogram
            if len(given) > 1:
                path = path.with_name(f"{path.stem}-{_file_name(name)}{path.suffix}")
            plot_score_histogram(path, tar, non, title=name)
    rows = [_row(name, points[name], intervals.get(name), arguments) for name in given]
    _print(rows, arguments, told)
    _draw(arguments, points, intervals)
    if arguments.json:
        _write_json(arguments, rows, told)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that make no sense before anything is read."""
    wrong = [p for p in arguments.p_target if not 0 < p < 1]
    if wrong:
        raise UsageError(f"--p-target: priors are between 0 and 1, got {wrong[0]:g}")
    if len(set(arguments.p_target)) < len(arguments.p_target):
        raise UsageError("--p-target: a prior is given twice")
    if arguments.bootstrap and arguments.bootstrap < 20:
        raise UsageError(f"--bootstrap: give at least 20 or 0, got {arguments.bootstrap}")
    if arguments.seed < 0:
        raise UsageError(f"--seed: must not be negative, got {arguments.seed}")
    check_trial_options(arguments)
    for name in ("det", "roc", "histogram"):
        path = getattr(arguments, name)
        if path and path.suffix.lower() not in (".png", ".svg"):
            raise UsageError(f"--{name}: give a name that ends in .png or .svg, got {path}")


def _bootstrap(
    scored: ScoredTrials, told: TrialSpeakers, arguments: argparse.Namespace
) -> BootstrapResult:
    from fusion.formats import TARGET
    from fusion.intervals import bootstrap_interval
    from fusion.plots import det_band

    return bootstrap_interval(
        scored.values,
        scored.trials.labels == TARGET,
        told.enrol,
        told.test,
        p_target=arguments.p_target,
        band=det_band() if arguments.det else (),
        n_bootstrap=arguments.bootstrap,
        random_state=arguments.seed,
    )


def _row(
    name: str,
    points: OperatingPoints,
    intervals: BootstrapResult | None,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """All numbers of one system; error rates as fractions."""

    def ends(interval: Interval | None) -> list[float] | None:
        return [interval.low, interval.high] if interval else None

    costs = [
        {
            "p_target": prior,
            "min_dcf": points.min_dcf(prior),
            "interval": ends(intervals.min_dcf[i] if intervals else None),
        }
        for i, prior in enumerate(arguments.p_target)
    ]
    return {
        "system": name,
        "trials": points.n_targets + points.n_nontargets,
        "targets": points.n_targets,
        "nontargets": points.n_nontargets,
        "eer": points.eer(),
        "eer_interval": ends(intervals.eer if intervals else None),
        "eer_interpolated": points.eer_interpolated(),
        "min_dcf": costs,
    }


def _print(
    rows: list[dict[str, Any]], arguments: argparse.Namespace, told: TrialSpeakers | None
) -> None:
    """Print the table, its columns aligned, and what the intervals are."""

    def number(value: float, ends: list[float] | None, scale: float, digits: int) -> str:
        text = f"{scale * value:.{digits}f}"
        if ends is None:
            return text
        return f"{text} [{scale * ends[0]:.{digits}f}, {scale * ends[1]:.{digits}f}]"

    head = ["system", "trials", "targets", "nontargets", "EER %", "EER interp. %"]
    head += [f"minDCF({prior:g})" for prior in arguments.p_target]
    table = [head]
    for row in rows:
        cells = [row["system"], *(str(row[key]) for key in ("trials", "targets", "nontargets"))]
        cells.append(number(row["eer"], row["eer_interval"], 100, 2))
        cells.append(number(row["eer_interpolated"], None, 100, 2))
        cells += [number(cost["min_dcf"], cost["interval"], 1, 4) for cost in row["min_dcf"]]
        table.append(cells)
    widths = [max(map(len, column)) for column in zip(*table)]
    for cells in table:
        line = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))]
        print("  ".join(line))
    print("EER: on the ROC convex hull; interp.: on the ROC itself. minDCF(P_target): normalised.")
    if told:
        print(
            f"[ , ]: 95 % intervals, {arguments.bootstrap} bootstrap replicates of "
            f"{told.n_speakers} speakers ({told.source})."
        )


def _draw(
    arguments: argparse.Namespace,
    points: dict[str, OperatingPoints],
    intervals: dict[str, BootstrapResult],
) -> None:
    from fusion.plots import plot_det, plot_roc

    if arguments.det:
        plot_det(arguments.det, points, arguments.p_target, intervals)
    if arguments.roc:
        plot_roc(arguments.roc, points)


def _file_name(name: str) -> str:
    """System name fit to be part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _write_json(
    arguments: argparse.Namespace, rows: list[dict[str, Any]], told: TrialSpeakers | None
) -> None:
    import json

    from ivector.base.files import write_text

    content: dict[str, Any] = {"systems": rows}
    if told:
        content["bootstrap"] = {
            "replicates": arguments.bootstrap,
            "seed": arguments.seed,
            "level": 0.95,
            "speakers": told.n_speakers,
            "speakers_from": told.source,
        }
    write_text(arguments.json, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    raise SystemExit(run(build_parser(), main))
