"""Report on systems: ``python -m fusion.report SYSTEM=SCORES... TRIALS --out report.html``.

Writes one self-contained page with tables, plots, cautions and a glossary, and beside it the same
numbers as Markdown (.md) and for machines (.json). Scores are matched to trials by ids.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from fusion.commands import COMMANDS
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


def build_parser() -> Parser:
    """Arguments of the command.

    Examples
    --------
    >>> from fusion.report import build_parser
    >>> arguments = build_parser().parse_args(["plda=scores", "trials", "--out", "report.html"])
    >>> arguments.scores, arguments.points
    (['plda=scores'], ['0.01'])
    """
    parser = Parser(
        prog="python -m fusion.report",
        usage="%(prog)s SCORES... TRIALS --out FILE.html [options]",
        description=COMMANDS["report"].sentence,
    )
    add = parser.add_argument
    add(
        "scores",
        nargs="+",
        metavar="SCORES",
        help="score file(s), may be gzipped; NAME=FILE names the system, otherwise the file's "
        "stem does",
    )
    add("trials", metavar="TRIALS", help="trial list with labels", type=Path)
    add("--out", type=Path, required=True, metavar="FILE.html",
        help="the page; Markdown and JSON are written beside it")  # fmt: skip
    add_fold_options(parser)
    add_trial_options(parser)
    add("--points", nargs="+", default=["0.01"], metavar="POINT",
        help="operating points: a prior (0.01), a prior and costs (0.01:10:1), or the name of an "
        "evaluation such as sre08 or voxsrc")  # fmt: skip
    add("--llr", nargs="*", default=None, metavar="NAME",
        help="systems whose scores are natural-log likelihood ratios, to measure their "
        "calibration; all, if none is named")  # fmt: skip
    add("--forensic", action="store_true",
        help="add a chapter that validates the systems of --llr as forensic evidence, as "
        "python -m fusion.validate does")  # fmt: skip
    add_column_options(parser, "measured")
    add("--bootstrap", type=whole(0, MOST), default=1000, metavar="N",
        help="replicates of the intervals; more are steadier and take longer, 0 gives neither "
        "intervals nor p-values")  # fmt: skip
    add("--seed", type=SEED, default=0, help="seed of the bootstrap")
    add("--title", default="", help="heading of the page")
    add("--note", dest="notes", action="append", default=[], metavar="TEXT",
        help="a caution to print; may be given several times")  # fmt: skip
    add("--command", dest="commands", action="append", default=[], metavar="TEXT",
        help="a command that made the scores, to print before this one; may be given several "
        "times")  # fmt: skip
    add("--date", default="",
        help="date to print; without one the same input gives the same bytes")  # fmt: skip
    return parser


make_parser = build_parser  # the name that it has in every command


def main(arguments: argparse.Namespace) -> None:
    """Read, measure, and write the report.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fusion.example import simulate, write_part
    >>> from fusion.report import build_parser, main
    >>> write_part(Path("dev"), simulate(n_speakers=10))
    >>> options = ["--utt2spk", "dev/utt2spk", "--bootstrap", "0", "--out", "report.html"]
    >>> main(build_parser().parse_args(["dev/plda.scores", "dev/trials", *options]))
    Measured on 380 trials between 10 speakers; in 60 of them, the target trials, one person spoke
    both sides.
    plda reaches an EER of 7.33 %: as if, where both errors are equally frequent, 73 of 1,000 trials
    of either class were decided wrongly.
    report.html, and beside it .md and .json
    """
    check_trial_options(arguments)
    check_column_options(arguments)
    given = systems(arguments.scores, arguments.pool)
    from fusion.formats.files import read_trials
    from fusion.formats.layouts import TARGET
    from fusion.metrics.points import parse_points
    from fusion.report.make import html_path, make_report

    points, out = parse_points(arguments.points), html_path(arguments.out)
    llr = _llr(arguments.llr, list(given))
    trials = read_trials([arguments.trials, *arguments.more_trials], arguments.label_column)
    told = speakers(trials, arguments)
    report = make_report(
        trials.labels == TARGET,
        told.enrol,
        told.test,
        {name: scored(paths, trials, arguments).values for name, paths in given.items()},
        llr=llr,
        points=points,
        n_bootstrap=arguments.bootstrap,
        conditions=conditions(arguments, trials),
        title=arguments.title,
        commands=[*arguments.commands, _command()],
        notes=arguments.notes,
        random_state=arguments.seed,
        speakers_from=told.source,
        at_most=told.at_most,
        doubt=told.doubt,
        date=arguments.date,
        forensic=arguments.forensic,
    )
    report.write(out)
    for sentence in report.content["summary"]:
        print(sentence)
    print(f"{out}, and beside it .md and .json")


def _llr(asked: list[str] | None, names: list[str]) -> list[str]:
    """Systems of likelihood ratios: none, those named, or all."""
    unknown = [name for name in asked or () if name not in names]
    if unknown:
        raise UsageError(
            f"--llr: {unknown[0]!r} is none of the systems; they are {', '.join(names)}"
        )
    return names if asked == [] else asked or []


def _command() -> str:
    """This command as it was typed."""
    return shlex.join(["python", "-m", "fusion.report", *sys.argv[1:]])


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
