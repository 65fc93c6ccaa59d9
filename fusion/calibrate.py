"""Calibrate a system: ``python -m fusion.calibrate SCORES TRIALS --apply EVAL --out LLR``.

Learns from the scores of development trials how to make log-likelihood ratios (natural logarithm)
of them, and applies that to others. Says what it is worth on speakers it has not seen, by
cross-validation over speakers, and from which score on to accept. ``--model FILE --apply ...``
applies a calibration saved before; ``--explain LLR`` puts a ratio into words.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.commands import COMMANDS
from fusion.terminal.inputs import MOST, add_trial_options, check_trial_options
from ivector.base.cli import SEED, Parser, number, run, whole
from ivector.base.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from fusion.calibration.one_system import Calibration
    from fusion.formats.tables import Trials
    from fusion.metrics.points import OperatingPoint

# Options that only training takes, and their defaults.
_LEARNING = {
    "method": "logistic", "prior": 0.5, "ridge": 0.0, "bounded": False, "use": [],
    "interactions": False, "utt2spk": None, "enroll": None,
}  # fmt: skip


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(
        prog="python -m fusion.calibrate",
        usage="%(prog)s SCORES TRIALS [--apply SCORES...] [--out LLR] [--model FILE] [options]"
        "\n       %(prog)s --model FILE --apply SCORES... --out LLR [options]"
        "\n       %(prog)s --explain LLR... [--p-target P]",
        description=COMMANDS["calibrate"].sentence,
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="SCORES TRIALS",
        help="score file(s) of one system to learn from, and their trial list",
    )
    add("--apply", nargs="+", default=[], metavar="SCORES", type=Path,
        help="score file(s) of the same system to calibrate")  # fmt: skip
    add("--apply-trials", nargs="+", default=[], metavar="FILE", type=Path,
        help="trials to calibrate, in this order, and to measure if they have labels; without it "
        "all pairs that --apply has")  # fmt: skip
    add("--out", type=Path, metavar="FILE",
        help="write the llr: of --apply, or else of the trials learnt from, each by a calibration "
        "that saw neither of its speakers; .gz packs it")  # fmt: skip
    add("--model", type=Path, metavar="FILE",
        help="JSON file of the calibration: written, or with --apply alone, read")  # fmt: skip
    add("--method", choices=("logistic", "isotonic", "bigaussian", "gaussian"), default="logistic",
        help="logistic is affine and needs few trials; isotonic follows any rising curve, "
        "bigaussian gives the llr the distribution of a perfect Gaussian system: both need many; "
        "gaussian is for scores that are Gaussian in each class")  # fmt: skip
    add("--prior", type=number(0, 1), default=0.5,
        help="prior of a target for which logistic is best; a low one for false alarms that "
        "matter")  # fmt: skip
    add("--ridge", type=number(0), default=0.0,
        help="penalty of squared weights of logistic, for few trials or many measures")  # fmt: skip
    add("--bounded", action="store_true",
        help="logistic, with llr bounded by the share of outliers, so that a few wrong labels or "
        "bad recordings do not tilt it; needs some hundred trials of either class")  # fmt: skip
    add("--quality", nargs="+", default=[], metavar="FILE", type=Path,
        help="tables of quality measures of the trials learnt from: a header and 'enrol test "
        "COL...' or 'id COL...' lines, or Kaldi's utt2dur")  # fmt: skip
    add("--use", nargs="+", default=[], metavar="COL",
        help="columns of --quality to use, all of numbers by default; of a table by recording, COL "
        "stands for enrol_COL and test_COL; log:COL takes logarithms, for durations")  # fmt: skip
    add("--interactions", action="store_true",
        help="let quality measures change the slope of the score as well; needs more "
        "trials")  # fmt: skip
    add("--apply-quality", nargs="+", default=[], metavar="FILE", type=Path,
        help="tables of quality measures of --apply; those of --quality by default")  # fmt: skip
    add("--points", "--p-target", dest="p_target", nargs="+", metavar="P",
        help="operating points of the tables and thresholds: prior, prior:c_miss:c_fa, or a "
        "preset such as sre16; 0.01 by default")  # fmt: skip
    add("--explain", nargs="+", type=_llr, default=[], metavar="LLR",
        help="say what log-likelihood ratios mean; with --p-target also the posterior")  # fmt: skip
    add("--folds", type=whole(0, MOST), default=5,
        help="parts of the speakers in cross-validation, at least 3; 0 for none, where there are "
        "too few speakers")  # fmt: skip
    add("--seed", type=SEED, default=0, help="seed of the folds")
    add_trial_options(parser)
    add("--json", type=Path, metavar="FILE", help="write all numbers to a file")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Learn or read a calibration, say what it is worth, and apply it."""
    from fusion.metrics.points import parse_points

    points = parse_points(arguments.p_target or ["0.01"])
    _check(arguments)
    if arguments.explain:
        _explain(arguments, points if arguments.p_target else [])
        return
    from fusion.terminal import calibrate_text as text

    record: dict[str, Any] = {}
    written: tuple[Trials, np.ndarray] | None = None
    if arguments.inputs:
        model, training, written = _learn(arguments, points, record)
    else:
        model, training = _load(arguments.model)
        text.print_model(model, training)
    record["calibration"], record["training"] = model.to_dict(), training
    record["thresholds"] = text.print_thresholds(model, points)
    if arguments.apply:
        written = _apply(arguments, model, points, record)
    if arguments.out and written:
        from fusion.formats.files import write_trial_scores

        write_trial_scores(arguments.out, *written)
    if arguments.model and arguments.inputs:
        from fusion.calibration.saving import save_model

        save_model(arguments.model, model, training)
    if arguments.json:
        from ivector.base.files import write_json

        write_json(arguments.json, record)


def _llr(text: str) -> float:
    """Type of the values to explain."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"takes log-likelihood ratios, and goes without files; {text!r} is no number"
        ) from None


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that make no sense before anything is read."""
    learns, applies = bool(arguments.inputs), bool(arguments.apply)
    if arguments.explain:
        if learns or applies or arguments.out or arguments.model:
            raise UsageError("--explain: goes without files, with --p-target alone")
        return
    if not learns and not (arguments.model and applies and arguments.out):
        raise UsageError(
            "give SCORES TRIALS to learn from, or --model, --apply and --out to apply a "
            "calibration learnt before, or --explain"
        )
    if len(arguments.inputs) == 1:
        raise UsageError(f"{arguments.inputs[0]}: give its trial list as well")
    if not learns:
        for name, default in _LEARNING.items():
            if getattr(arguments, name) != default:
                raise UsageError(f"--{name}: has no effect on a calibration learnt before")
    if not 0 < arguments.prior < 1:
        raise UsageError(f"--prior: is between 0 and 1, got {arguments.prior:g}")
    if arguments.folds in (1, 2):
        raise UsageError("--folds: give at least 3, or 0 for no cross-validation")
    for name in ("apply_trials", "apply_quality"):
        if getattr(arguments, name) and not applies:
            raise UsageError(f"--{name.replace('_', '-')}: needs --apply, the scores to calibrate")
    if applies and not arguments.out:
        raise UsageError("--apply: needs --out, the file of calibrated scores")
    if learns and not (applies or arguments.folds) and arguments.out:
        raise UsageError("--out: needs --apply or cross-validation (--folds of at least 3)")
    if (arguments.use or arguments.interactions) and not arguments.quality:
        name = "use" if arguments.use else "interactions"
        raise UsageError(f"--{name}: needs --quality, the tables of quality measures")
    for name in ("quality", "bounded"):
        if getattr(arguments, name) and arguments.method != "logistic":
            raise UsageError(f"--{name}: needs --method logistic, not {arguments.method}")
    check_trial_options(arguments)


def _explain(arguments: argparse.Namespace, points: list[OperatingPoint]) -> None:
    from fusion.calibration.wording import describe_llr

    for llr in arguments.explain:
        priors: list[float | None] = [point.p_target for point in points]
        for prior in priors or [None]:
            print(describe_llr(llr, prior))
    print(
        "The ratio alone is not the probability that one person spoke both: that depends on how "
        "probable it was before."
    )


def _learn(
    arguments: argparse.Namespace, points: list[OperatingPoint], record: dict[str, Any]
) -> tuple[Calibration, dict[str, Any], tuple[Trials, np.ndarray] | None]:
    """Train on the development trials; model, training, trials and cross-validated llr to write."""
    from sklearn.base import clone

    from fusion.calibration.crossval import cross_validate
    from fusion.calibration.one_system import Calibration
    from fusion.formats.files import align, read_scores, read_trials
    from fusion.formats.layouts import TARGET
    from fusion.terminal import calibrate_text as text
    from fusion.terminal.inputs import speakers

    trials = read_trials(arguments.inputs[-1], arguments.label_column)
    scored = align(
        read_scores(arguments.inputs[:-1], arguments.score_column, arguments.label_column),
        trials,
        subset=arguments.subset,
        allow_duplicates=arguments.allow_duplicates,
    )
    scored.check()
    scores, target = scored.values, trials.labels == TARGET
    names, quality = None, None
    if arguments.quality:
        names, quality = _quality(arguments.quality, arguments.use, trials)
    model = Calibration(
        method=arguments.method,
        prior=arguments.prior,
        ridge=arguments.ridge,
        bounded=arguments.bounded,
        interactions=arguments.interactions,
        names=names,
    ).fit(scores, target, quality)
    whose = speakers(trials, arguments)
    training = {
        "trials": len(trials),
        "targets": int(target.sum()),
        "nontargets": int((~target).sum()),
        "speakers": whose.n_speakers,
        "speakers_at_most": whose.at_most,
        "speakers_from": whose.source,
    }
    text.print_model(model, training)
    text.print_order(model, scores, target)
    written = trials if arguments.out and not arguments.apply else None
    del scored, trials  # as large as what is to come
    llr = scores
    if arguments.folds:
        llr = cross_validate(
            model, scores, target, whose.enrol, whose.test, quality=quality,
            n_folds=arguments.folds, random_state=arguments.seed,
        )  # fmt: skip
        rows = {"before": text.measure(scores, target, points)}
        rows["calibrated"] = text.measure(llr, target, points)
        text.print_metrics("on unseen speakers", rows, points)
        print(
            f"cross-validated: {arguments.folds} folds of {whose.count} "
            f"({whose.source}); each llr is of a calibration that saw "
            f"neither of its two{whose.known}"
        )
        record["cross_validation"] = {"folds": arguments.folds, **rows}
        robust = None
        if text.may_be_ruled(model, rows):
            robust = text.measure(
                cross_validate(
                    clone(model).set_params(bounded=True), scores, target, whose.enrol, whose.test,
                    n_folds=arguments.folds, random_state=arguments.seed,
                ),
                target, points,
            )  # fmt: skip
        text.print_bounded(rows["calibrated"], robust)
    return model, training, (written, llr) if written else None


def _load(path: Path) -> tuple[Calibration, dict[str, Any]]:
    from fusion.calibration.one_system import Calibration
    from fusion.calibration.saving import read_model

    model, training = read_model(path)
    if not isinstance(model, Calibration):
        raise DataError(
            f"{path}: holds no calibration but a {type(model).__name__}; apply it with "
            "python -m fusion.fuse"
        )
    return model, training


def _apply(
    arguments: argparse.Namespace,
    model: Calibration,
    points: list[OperatingPoint],
    record: dict[str, Any],
) -> tuple[Trials, np.ndarray]:
    """Calibrate the score files of --apply; their trials and llr (N,)."""
    from fusion.formats.files import align, read_scores, read_trials
    from fusion.formats.layouts import TARGET, UNKNOWN
    from fusion.formats.systems import all_trials
    from fusion.terminal import calibrate_text as text

    read = read_scores(arguments.apply, arguments.score_column, arguments.label_column)
    listed = arguments.apply_trials
    trials = read_trials(listed, arguments.label_column) if listed else all_trials({"": read})
    scores = align(
        read, trials, subset=arguments.subset, allow_duplicates=arguments.allow_duplicates
    ).values
    quality = None
    if model.method == "logistic" and len(model.mean_):
        tables = arguments.apply_quality or arguments.quality
        if not tables:
            raise UsageError(
                f"the calibration needs {', '.join(model.names or ())}; give --apply-quality"
            )
        _, quality = _quality(tables, list(model.names or ()), trials)
    elif arguments.apply_quality:
        raise UsageError("--apply-quality: the calibration takes no quality measures; leave out")
    llr = model.transform(scores, quality)
    print(f"calibrated {len(trials)} trials")
    record["applied"] = {"trials": len(trials)}
    target = trials.labels == TARGET
    if not (trials.labels == UNKNOWN).any() and target.any() and not target.all():
        rows = {"before": text.measure(scores, target, points)}
        rows["calibrated"] = text.measure(llr, target, points)
        text.print_metrics("of --apply", rows, points)
        record["applied"] |= rows
    return trials, llr


def _quality(paths: list[Path], wanted: list[str], trials: Trials) -> tuple[list[str], np.ndarray]:
    """Names and values (N, Q) of quality measures of trials."""
    import numpy as np

    from fusion.formats.measures import read_columns, trial_columns

    columns = trial_columns([read_columns(path) for path in paths], trials)
    numbers = [name for name, values in columns.items() if values.dtype != object]
    names: list[str] = []
    if words := [] if wanted else [name for name in columns if name not in numbers]:
        print(f"columns of words are no quality measures, and not used: {', '.join(words)}")
    for word in wanted or numbers:
        log, plain = ("log:", word[4:]) if word.startswith("log:") else ("", word)
        sides = [side for side in (f"enrol_{plain}", f"test_{plain}") if side in columns]
        found = [plain] if plain in columns else sides
        if not found:
            raise UsageError(
                f"--quality: there is no column {plain!r}; there are {', '.join(columns)}"
            )
        names += [log + name for name in found if log + name not in names]
    if not names:
        given = " + ".join(map(str, paths))
        raise DataError(f"{given}: no column has numbers; categories cannot be used")
    table = np.empty((len(trials), len(names)))
    for k, name in enumerate(names):
        plain = name.removeprefix("log:")
        if plain not in numbers:
            raise UsageError(f"--use: {plain!r} is a column of words; quality measures are numbers")
        table[:, k] = columns[plain]
        if plain != name:
            if (table[:, k] <= 0).any():
                raise DataError(
                    f"the column {plain!r} has values that are not positive, such as "
                    f"{table[:, k].min():g}, and no logarithm; use it without log:"
                )
            table[:, k] = np.log(table[:, k])
    return names, table


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
