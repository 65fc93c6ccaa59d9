"""Compare systems: ``python -m fusion.compare A B [C...] TRIALS``.

Every system is set against the first: differences of all metrics with intervals and p-values from
a paired bootstrap over speakers, McNemar's test of decisions, parts of the trials by any column,
and the trials on which two systems disagree most. Ends with what can be told, in plain words.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fusion.commands import COMMANDS
from fusion.metrics.points import parse_points
from fusion.terminal.inputs import (
    MOST,
    add_column_options,
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


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m fusion.compare",
        usage="%(prog)s A B [C...] TRIALS [options]",
        description=COMMANDS["compare"].sentence,
    )
    add = parser.add_argument
    add(
        "scores",
        nargs="+",
        metavar="FILE",
        help="score files, of the first system and of those to set against it, may be gzipped; "
        "NAME=FILE names the system, otherwise the file's stem does; the trial list last",
    )
    add("--trials", nargs="+", default=[], metavar="FILE", type=Path,
        help="trial list(s), 'enrol test target|nontarget' or '1|0 enrol test'; without it the "
        "last file is the list")  # fmt: skip
    add("--pool", action="store_true",
        help="take files of the same NAME for parts of one system, such as folds")  # fmt: skip
    add_trial_options(parser)
    add("--points", nargs="+", default=["0.01"], metavar="POINT",
        help="operating points: a prior (0.01), a prior and costs (0.01:10:1), or the name of an "
        "evaluation such as sre08 or voxsrc; decisions are tested at the first")  # fmt: skip
    add("--llr", action="store_true",
        help="all scores are natural-log likelihood ratios: compare Cllr and actual costs too, "
        "and decisions at the Bayes threshold")  # fmt: skip
    add("--threshold", type=_finite, metavar="X",
        help="test decisions at this threshold of all systems; without it at the Bayes threshold "
        "(--llr) or at each system's best")  # fmt: skip
    add_column_options(parser, "compared")
    add("--top", type=whole(0, MOST), default=10, metavar="N",
        help="trials to show on which two systems disagree most")  # fmt: skip
    add("--bootstrap", type=whole(20, MOST), default=1000, metavar="N",
        help="replicates; more are steadier and take longer")  # fmt: skip
    add("--seed", type=SEED, default=0, help="seed of the bootstrap")
    add("--json", type=Path, metavar="FILE", help="write all numbers to a file")
    add("--markdown", type=Path, metavar="FILE", help="write the tables to a file")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read, compare, print, and write what was asked for."""
    check_trial_options(arguments)
    check_column_options(arguments)
    if not arguments.trials:
        arguments.trials = [Path(arguments.scores.pop())]
    given = systems(arguments.scores, arguments.pool)
    if len(given) < 2:
        raise UsageError(
            "give the scores of at least two systems, by different names, and their trial list"
        )
    points = parse_points(arguments.points)
    from fusion.comparison.systems import compare_systems
    from fusion.formats.files import read_trials
    from fusion.formats.layouts import TARGET

    trials = read_trials(arguments.trials, arguments.label_column)
    told = speakers(trials, arguments)
    found = compare_systems(
        {name: scored(paths, trials, arguments).values for name, paths in given.items()},
        trials.labels == TARGET,
        told.enrol,
        told.test,
        llr=arguments.llr,
        points=points,
        conditions=conditions(arguments, trials),
        threshold=arguments.threshold,
        top=arguments.top,
        n_bootstrap=arguments.bootstrap,
        random_state=arguments.seed,
        ids=lambda n: (trials.enrol_ids[trials.enrol[n]], trials.test_ids[trials.test[n]]),
        speakers=told.count,
        doubt=told.doubt,
    )
    print(found.text(), end="")
    print(f"Speakers: {told.source}.")
    from ivector.base.files import write_json, write_text

    if arguments.json:
        content = {**found.record(), "speakers_from": told.source, "seed": arguments.seed}
        write_json(arguments.json, content)
    if arguments.markdown:
        write_text(arguments.markdown, found.markdown() + f"\nSpeakers: {told.source}.\n")


def _finite(text: str) -> float:
    """Type of a threshold."""
    import math

    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"takes a finite number, not {text!r}")
    return value


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
