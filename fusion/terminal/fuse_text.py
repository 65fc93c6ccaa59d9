"""What `python -m fusion.fuse` prints and writes of a fusion: weights, table, guard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusion.calibration.bounded import bounds
from fusion.calibration.linear import LinearFusion
from fusion.calibration.worth import Contest, Finding, Measured, measure
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import INFORMATION, METRICS, PRIMARY, Metric
from fusion.terminal.tables import metric_cells, metric_heads, print_table

ALL_WELL = "guard: on development the fusion is nowhere worse than its best part"
APPLIED_WELL = "guard: nothing shows that the scores of --apply are unlike those of development"
APPLIED_WELL_LABELLED = f"{APPLIED_WELL}, or the fusion worth less than there"


def print_missing(table: np.ndarray, fusion: LinearFusion) -> dict[str, int]:
    """Say and return how many trials each system has not scored."""
    counts = np.isnan(table).sum(axis=0)
    lacking = {name: int(n) for name, n in zip(fusion.names or (), counts) if n}
    if lacking:
        each = ", ".join(f"{count} lack {name}" for name, count in lacking.items())
        print(f"missing scores: of {len(table)} trials {each}; fused from the systems they have")
    return lacking


def print_weights(fusion: LinearFusion, table: np.ndarray | None) -> None:
    """Print the weights; with scores also times their spread, which can be compared."""
    head, rows = ["system", "weight"], []
    if table is not None:
        head.append("weight x s.d.")
    for k, name in enumerate(fusion.names or ()):
        row = [name, f"{fusion.weights_[k]:.6g}"]
        if table is not None:
            row.append(f"{fusion.weights_[k] * np.nanstd(table[:, k]):.3f}")
        rows.append(row)
    print_table([head, *rows, ["offset", f"{fusion.offset_:.6g}", *[""] * (len(head) - 2)]])
    if fusion.bounded:
        low, high = bounds(*fusion.pattern_outlier_log_odds_[0])
        print(f"the llr level off at {low:.3f} and {high:.3f}")
    if len(fusion.patterns_) > 1:
        print(f"and {len(fusion.patterns_) - 1} fusions of fewer systems, for missing scores")


def print_contest(contest: Contest) -> None:
    """Print every part, the fusion and what is left without each system."""
    rows = [(label, numbers(row)) for label, row in contest.everything()]
    missing = _print_rows("on unseen speakers", rows, contest.points)
    print(
        f"cross-validated: {contest.n_folds} folds of {contest.speakers.count} "
        f"({contest.speakers.source}); each llr is of a fusion that saw neither "
        f"of its two{contest.speakers.known}"
        + ("; an llr that is missing counts as 0" if missing else "")
    )
    print(f"what each system brings: {'; '.join(_brings(contest))}")


def _brings(contest: Contest) -> list[str]:
    """What is lost without each system."""

    def more(metric: Metric, row: Measured) -> str:
        key = (metric.name, 0)
        change = metric.text(row.value(key) - contest.fused().value(key), sign=True)
        return f"{metric.symbol} {change} {metric.unit}".rstrip()

    return [
        f"without {name} " + ", ".join(more(metric, row) for metric in (PRIMARY, INFORMATION))
        for name, row in zip(contest.names, contest.left_out())
    ]


def print_applied(
    llr: np.ndarray,
    table: np.ndarray,
    target: np.ndarray,
    names: Sequence[str],
    points: Sequence[OperatingPoint],
) -> dict[str, Any]:
    """Print and return what systems (N, K) and their fusion (N,) are worth on labelled trials.

    Systems are measured as they are, on the trials that they have scored.
    """
    found: dict[str, Any] = {}
    for name, scores in zip(names, table.T):
        here = ~np.isnan(scores)
        if target[here].any() and not target[here].all():
            found[name] = measure(scores[here], target[here], points, llr=False)
            found[name]["missing"] = int((~here).sum())
    fused = {**measure(llr, target, points), "missing": 0}
    rows = [(f"{name} as it is", row) for name, row in found.items()]
    _print_rows("of --apply", [*rows, ("all fused", fused)], points)
    return {"alone": found, "fused": fused}


def _print_rows(
    title: str, rows: Sequence[tuple[str, dict[str, Any]]], points: Sequence[OperatingPoint]
) -> bool:
    """Print metrics, a line for each name; whether scores are missing."""
    missing = any(row["missing"] for _, row in rows)
    table = [[title, *metric_heads(points)] + ["missing"] * missing]
    for label, row in rows:
        table.append([label, *metric_cells(row, points)] + [str(row["missing"])] * missing)
    print_table(table)
    return missing


def numbers(row: Measured) -> dict[str, Any]:
    """One row's metrics, for JSON."""
    return {**row.values, "missing": row.missing}


def table_record(contest: Contest) -> dict[str, Any]:
    """All rows, for JSON."""
    named = zip(contest.names, contest.left_out())
    return {
        "folds": contest.n_folds,
        "speakers": contest.speakers.n_speakers,
        "speakers_from": contest.speakers.source,
        "points": [
            {"p_target": p.p_target, "c_miss": p.c_miss, "c_fa": p.c_fa} for p in contest.points
        ],
        "alone": {row.name: numbers(row) for row in contest.parts()},
        "fused": numbers(contest.fused()),
        "without": {name: numbers(row) for name, row in named},
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    """One finding, for JSON."""
    interval = finding.difference
    return {
        "metric": finding.label,
        "fused": finding.fused,
        "best": finding.best,
        "best_part": finding.part.name,
        "interval": [interval.low, interval.high] if interval else None,
        "certain": finding.certain,
    }


def labels(findings: Sequence[Finding]) -> str:
    """Metrics of some findings, in words."""
    return ", ".join(finding.label for finding in findings)


def sentence(finding: Finding) -> str:
    """One finding in words."""
    metric = METRICS[finding.metric[0]]
    unit = f" {metric.unit}" if metric.unit else ""
    values = [finding.fused, finding.best, metric.sign * (finding.fused - finding.best)]
    fused, best, more = (metric.text(value) + unit for value in values)
    text = (
        f"guard: fused {finding.label} {fused}, {finding.part.name} alone {best}: worse by {more}"
    )
    if finding.worse is None:
        return text
    if finding.difference and not finding.difference.enough:
        text += ", and there are too few errors to tell whether this is chance"
    else:
        text += f" (95 % interval {' to '.join(map(metric.text, finding.worse))})"
    if finding.useless:
        return f"{text}; it is worse than deciding without scores"
    few = finding.difference and not finding.difference.enough
    return text if finding.certain or few else f"{text}, which may be chance"


def offered(
    chosen: Measured, findings: Sequence[Finding], remaining: Sequence[Finding], takes: bool
) -> str:
    """The subset to take instead of what was found, in words; whether --guard best would."""
    values = [
        f"{metric.symbol} {metric.text(chosen.value((metric.name, 0)))} {metric.unit}".rstrip()
        for metric in (PRIMARY, INFORMATION)
    ]
    text = f"guard: {chosen.name} has {', '.join(values)} and is "
    if remaining:
        return f"{text}worse than the best part at {labels(remaining)} only"
    best = all(finding.part.systems == chosen.systems for finding in findings)
    text += "the best part there" if best else "not worse than the best part there"
    return text + "; --guard best takes it" * takes


def bounded(robust: Measured, plain: Measured) -> str:
    """That bounded training is better, in words."""
    return (
        f"guard: a few trials rule the training; with --bounded {INFORMATION.symbol} is "
        f"{INFORMATION.text(robust.cllr)} and not {INFORMATION.text(plain.cllr)}"
    )
