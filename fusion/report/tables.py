"""Tables of a report, of cells in words, for the page and for Markdown alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fusion.intervals.results import TOO_FEW
from fusion.metrics.table import INFORMATION, METRICS, Metric, pick
from fusion.metrics.table import columns as metric_columns

Record = dict[str, Any]
NONE = "–"


@dataclass(frozen=True)
class Cell:
    """A cell: its number, lines of what goes with it, and whether it is the best of its column."""

    text: str
    extra: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its name, and so is a part's of its rows."""

    key: str
    caption: str
    head: list[Cell]
    parts: list[tuple[str, list[list[Cell]]]] = field(default_factory=list)


def metric_text(metric: Metric, value: float, digits: int | None = None) -> str:
    """A value of a metric, in its unit without the sign of that."""
    return metric.text(value, digits) if math.isfinite(value) else "∞"


def told_digits(metric: Metric, numbers: Iterable[Record | None]) -> int:
    """Digits after the point that intervals bear out: two of the narrowest one's width."""
    factor = 100 if metric.unit == "%" else 1
    widths = [
        factor * (number["high"] - number["low"])
        for number in numbers
        if number and number["low"] is not None and number["high"] > number["low"]
    ]
    finite = [width for width in widths if math.isfinite(width)]
    if not finite:
        return metric.digits
    return min(metric.digits, max(0, 1 - math.floor(math.log10(min(finite)))))


def count(number: int) -> str:
    """A number of things, with commas between thousands."""
    return f"{number:,}"


def p_text(p_value: float) -> str:
    """A p-value to two digits, where it is not tiny."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def too_few(number: Record) -> bool:
    """Whether there is no interval because errors are too few for one."""
    return number.get("enough") is False


def interval(number: Record, show: Callable[[float], str], link: str = " to ") -> str:
    """Ends of an interval in words; "" if there is none."""
    if number["low"] is None:
        return ""
    return f"{show(number['low'])}{link}{show(number['high'])}"


def tables(content: Record) -> list[Table]:
    """Systems, differences if there are several, and one for each condition."""
    found = [_systems(content)]
    if content["comparison"]:
        found += _differences(content)
    return found + [_condition(content, n, c) for n, c in enumerate(content["conditions"], 1)]


def _metrics(content: Record, rows: Sequence[Record]) -> list[tuple[Cell, list[Cell]]]:
    """Columns of metrics: head and one cell a row."""
    any_llr = any(row["llr"] for row in rows)
    columns = []
    for key in metric_columns(len(content["points"])):
        metric = METRICS[key[0]]
        if metric.needs_llr and not any_llr:
            continue
        lines = _lines(content["points"][key[1]]) if metric.per_point else ()
        columns.append((Cell(metric.heading(), lines), [pick(row, key) for row in rows], metric))
    if any_llr:
        losses = [row["calibration_loss"] for row in rows]
        loss = [None if one is None else {"estimate": one, "low": None} for one in losses]
        columns.append((Cell("Calibration loss"), loss, INFORMATION))
    return [(head, _column(numbers, metric)) for head, numbers, metric in columns]


def _column(numbers: Sequence[Record | None], metric: Metric) -> list[Cell]:
    """Cells of one metric, the best emphasised, where there is something to choose from."""
    known = [number["estimate"] for number in numbers if number]
    choice = len(known) > 1 and min(known) < max(known)
    best = (min if metric.lower_is_better else max)(known) if choice else None
    show = partial(metric_text, metric, digits=told_digits(metric, numbers))
    return [
        Cell(show(number["estimate"]), _ends(number, show), number["estimate"] == best)
        if number
        else Cell(NONE)
        for number in numbers
    ]


def _ends(number: Record, show: Callable[[float], str]) -> tuple[str, ...]:
    text = TOO_FEW if too_few(number) else interval(number, show, "–")
    return (text,) if text else ()


def _lines(point: Record) -> tuple[str, ...]:
    """An operating point for a narrow column."""
    return tuple(point["label"].split(", "))


def _systems(content: Record) -> Table:
    rows = content["systems"]
    columns = _metrics(content, rows)
    caption = "Error rates, costs and calibration of the systems"
    if content["bootstrap"]:
        caption += f", with 95 % intervals{content['trials']['doubt']}"
    cells = [
        [Cell(row["system"]), *(column[n] for _, column in columns)] for n, row in enumerate(rows)
    ]
    return Table(
        "systems", caption, [Cell("System"), *(head for head, _ in columns)], [("", cells)]
    )


def difference_text(column: Sequence[Record]) -> Callable[[float], str]:
    """How the differences of a metric are written: percentage points or plain, with a sign."""
    metric = METRICS[column[0]["metric"]]
    digits = told_digits(metric, column)

    def show(value: float) -> str:
        text = metric.text(value, digits, sign=True)
        return text.replace("-", "−") if math.isfinite(value) else NONE

    return show


def _differences(content: Record) -> list[Table]:
    """Differences in what matters most, and then, if there is more, in everything else."""
    compared = content["comparison"]
    longest = max((row["metrics"] for row in compared["systems"]), key=len)
    places = [(metric["metric"], metric["point"]) for metric in longest]
    first = [place for place in places if not place[1]]  # at no operating point, or at the first
    rest = [place for place in places if place not in first]
    caption = f"Difference of each system from {compared['best']}; above zero is worse"
    if better := [one.symbol for one in METRICS.values() if not one.lower_is_better]:
        caption += f", but better in {', '.join(better)}"
    found = [_difference_table(content, "differences", caption, first)]
    if rest:
        caption = f"Difference of each system from {compared['best']} at the other points"
        found.append(_difference_table(content, "more-differences", caption, rest))
    return found


def _difference_table(
    content: Record, key: str, caption: str, places: Sequence[tuple[str, int | None]]
) -> Table:
    systems = content["comparison"]["systems"]
    heads, rows = [Cell("System")], [[Cell(row["system"])] for row in systems]
    for place in places:
        column = [_at(row["metrics"], place) for row in systems]
        known = [metric for metric in column if metric]
        heads.append(Cell(METRICS[place[0]].symbol, _below(content, known[0])))
        show = difference_text(known)
        for cells, metric in zip(rows, column):
            cells.append(_difference(metric, show) if metric else Cell(NONE))
    return Table(key, caption, heads, [("", rows)])


def _at(metrics: Sequence[Record], place: tuple[str, int | None]) -> Record | None:
    return next((m for m in metrics if (m["metric"], m["point"]) == place), None)


def _difference(metric: Record, show: Callable[[float], str]) -> Cell:
    if too_few(metric):
        return Cell(show(metric["difference"]), (TOO_FEW,))
    ends = interval(metric, show)
    return Cell(show(metric["difference"]), (ends, p_text(metric["p_value"])) if ends else ())


def _below(content: Record, metric: Record) -> tuple[str, ...]:
    """What goes below the head of a metric's differences: operating point or unit."""
    if metric["point"] is not None:
        return _lines(content["points"][metric["point"]])
    unit = METRICS[metric["metric"]].unit
    return ("percentage points",) if unit else ()


def _condition(content: Record, number: int, found: Record) -> Table:
    parts: list[tuple[str, list[list[Cell]]]] = []
    heads = [Cell("System")]
    for part in found["parts"]:
        size = f"{part['value']}: {count(part['trials'])} trials, {count(part['targets'])} targets"
        if part["systems"] is None:
            parts.append((f"{size}; one class only, so nothing to measure", []))
            continue
        columns = _metrics(content, part["systems"])
        heads = [Cell("System"), *(head for head, _ in columns)]
        rows = [
            [Cell(row["system"]), *(column[n] for _, column in columns)]
            for n, row in enumerate(part["systems"])
        ]
        parts.append((size, rows))
    caption = f"The systems by {found['condition']}"
    return Table(f"condition-{number}", caption, heads, parts)
