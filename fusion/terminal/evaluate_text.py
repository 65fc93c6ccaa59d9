"""What `python -m fusion.evaluate` prints and writes: the numbers of every system, in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.calibration.grades import Grade
from fusion.calibration.wording import calibration_sentences
from fusion.intervals.results import Ends, told_ends
from fusion.metrics.points import PRESETS, OperatingPoint
from fusion.metrics.table import METRICS, Key, Metric, statistics
from fusion.terminal.tables import print_table

if TYPE_CHECKING:
    from fusion.formats.speakers import TrialSpeakers
    from fusion.intervals.bootstrap import BootstrapResult
    from fusion.metrics.curve import OperatingPoints


@dataclass(frozen=True)
class Asked:
    """What is to be measured.

    Parameters
    ----------
    points : list of OperatingPoint
    presets : list of str
        Those of several points, for their C_primary.
    llr : bool
        Whether the scores are natural-log likelihood ratios.
    """

    points: list[OperatingPoint]
    presets: list[str]
    llr: bool

    def keys(self, metric: Metric, preset: str) -> list[Key]:
        """The statistics whose mean is the C_primary of a preset."""
        return [(metric.name, self.points.index(point)) for point in PRESETS[preset]]


def measured(
    name: str,
    points: OperatingPoints,
    found: BootstrapResult | None,
    asked: Asked,
    equalised: Mapping[tuple[str, str], dict[str, Any]],
    grade: Grade | None = None,
) -> dict[str, Any]:
    """All numbers of one system; error rates as fractions.

    `equalised` has the C_primary that are equalised over partitions, by metric and evaluation.
    """
    row: dict[str, Any] = {
        "system": name,
        "trials": points.n_targets + points.n_nontargets,
        "targets": points.n_targets,
        "nontargets": points.n_nontargets,
    }
    for key, _ in statistics(1, asked.llr):
        numbers = _at_points if METRICS[key].per_point else _single
        row |= numbers(METRICS[key], points, found, asked)
    for metric, preset in equalised:
        mean = METRICS[metric].mean
        for entry in row.get(mean[0], []) if mean else []:
            if entry["preset"] == preset:
                entry["equalised"] = equalised[metric, preset]
    return row | ({"grade": vars(grade)} if grade else {})


def _single(
    metric: Metric, points: OperatingPoints, found: BootstrapResult | None, asked: Asked
) -> dict[str, Any]:
    """Numbers of a metric without operating points."""
    interval = found.intervals[metric.name, 0] if found else None
    row = {metric.name: metric.measure(points), f"{metric.name}_interval": told_ends(interval)}
    if metric.reading:
        row[metric.reading.name] = metric.reading.function(points)
    return row


def _at_points(
    metric: Metric, points: OperatingPoints, found: BootstrapResult | None, asked: Asked
) -> dict[str, Any]:
    """Numbers of a metric at every operating point, and their mean over those of evaluations."""
    each = []
    for number, point in enumerate(asked.points):
        entry = {"p_target": point.p_target, "c_miss": point.c_miss, "c_fa": point.c_fa}
        if metric.needs_llr:
            entry["threshold"] = point.threshold
        interval = found.intervals[metric.name, number] if found else None
        each.append(
            {**entry, metric.name: metric.measure(points, point), "interval": told_ends(interval)}
        )
    row: dict[str, Any] = {metric.name: each}
    if metric.mean:
        row[metric.mean[0]] = [
            _mean(metric, points, found, asked, preset) for preset in asked.presets
        ]
    return row


def _mean(
    metric: Metric,
    points: OperatingPoints,
    found: BootstrapResult | None,
    asked: Asked,
    preset: str,
) -> dict[str, Any]:
    """C_primary of a preset."""
    value = float(np.mean([metric.measure(points, point) for point in PRESETS[preset]]))
    keys = asked.keys(metric, preset)
    return {
        "preset": preset,
        "c_primary": value,
        "interval": told_ends(found.mean(keys) if found else None),
    }


def print_tables(
    rows: list[dict[str, Any]],
    asked: Asked,
    told: TrialSpeakers | None,
    n_bootstrap: int,
    notes: Sequence[str] = (),
) -> None:
    """Print how well the systems tell speakers apart, how well their llr say so, and the notes."""
    apart = [metric for metric in METRICS.values() if not metric.of_ratios]
    ratios = [metric for metric in METRICS.values() if metric.of_ratios]
    heads = ["system", "trials", "targets", "nontargets"]
    _print_metrics(heads, [[str(row[key]) for key in heads] for row in rows], rows, apart, asked)
    if asked.llr:
        print()
        names = [[row["system"]] for row in rows]
        _print_metrics(["as log-likelihood ratios"], names, rows, ratios, asked)
    print(" ".join(metric.note for metric in apart if metric.note))
    if asked.llr:
        print(" ".join(metric.note for metric in ratios if metric.note))
        print("\n".join(point.statement for point in asked.points))
        grades = {row["system"]: Grade(**row["grade"]) for row in rows if "grade" in row}
        print("".join(f"{text}\n" for text in calibration_sentences(grades, asked.points)), end="")
    for note in notes:
        print(note)
    if told:
        print(
            f"[ , ]: 95 % intervals{told.doubt}, "
            f"{n_bootstrap} bootstrap replicates of {told.count} ({told.source})."
        )


def _print_metrics(
    heads: list[str],
    firsts: Sequence[list[str]],
    rows: Sequence[dict[str, Any]],
    metrics: Sequence[Metric],
    asked: Asked,
) -> None:
    """Print a table of some metrics; `firsts` are the first cells of each row."""
    columns = [column for metric in metrics for column in _columns(metric, rows, asked)]
    body = zip(firsts, zip(*(cells for _, cells in columns)))
    print_table([[*heads, *(head for head, _ in columns)], *([*a, *b] for a, b in body)])


def _columns(
    metric: Metric, rows: Sequence[dict[str, Any]], asked: Asked
) -> Iterator[tuple[str, list[str]]]:
    """Head and cells of every column of a metric."""
    name = metric.name
    if not metric.per_point:
        cells = [_cell(metric, row[name], row[f"{name}_interval"]) for row in rows]
        yield metric.heading(), cells
        if metric.reading:
            key, symbol = metric.reading.name, metric.reading.symbol
            cells = [_cell(metric, row[key], None) for row in rows]
            yield f"{symbol} {metric.unit}".rstrip(), cells
        return
    for i, point in enumerate(asked.points):
        cells = [_cell(metric, row[name][i][name], row[name][i]["interval"]) for row in rows]
        yield metric.heading(_short(point)), cells
    if metric.mean:
        key, symbol = metric.mean
        for i, preset in enumerate(asked.presets):
            means = [row[key][i] for row in rows]
            cells = [_cell(metric, one["c_primary"], one["interval"]) for one in means]
            yield f"{symbol}({preset})", cells
            if "equalised" in means[0]:
                even = [one["equalised"] for one in means]
                cells = [_cell(metric, one["c_primary"], one["interval"]) for one in even]
                yield f"{symbol}({preset}) equalised", cells


def _short(point: OperatingPoint) -> str:
    """Prior, and costs where they are not 1."""
    if (point.c_miss, point.c_fa) == (1, 1):
        return f"{point.p_target:g}"
    return f"{point.p_target:g}:{point.c_miss:g}:{point.c_fa:g}"


def _cell(metric: Metric, value: float, ends: Ends) -> str:
    text = metric.text(value)
    if isinstance(ends, str):
        return f"{text} [{ends}]"
    return f"{text} [{metric.text(ends[0])}, {metric.text(ends[1])}]" if ends else text
