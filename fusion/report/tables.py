"""Tables of a report, of cells in words, for the page and for Markdown alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
NAMES = {"eer": "EER", "min_dcf": "minDCF", "act_dcf": "actDCF", "cllr": "Cllr"}
NAMES["min_cllr"] = "min Cllr"
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


def percent(value: float) -> str:
    """A rate in percent, without the sign."""
    return f"{100 * value:.2f}"


def four(value: float) -> str:
    """A cost or an entropy."""
    return f"{value:.4f}" if math.isfinite(value) else "∞"


def count(number: int) -> str:
    """A number of things, with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def p_text(p_value: float) -> str:
    """A p-value to two digits, where it is not tiny."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def interval(number: Record, show: Callable[[float], str], link: str = " to ") -> str:
    """Ends of an interval in words; "" if there is none."""
    if number["low"] is None:
        return ""
    return f"{show(number['low'])}{link}{show(number['high'])}"


def tables(content: Record) -> list[Table]:
    """Systems, differences if there are several, and one for each condition."""
    found = [_systems(content)]
    if content["comparison"]:
        found.append(_differences(content))
    return found + [_condition(content, n, c) for n, c in enumerate(content["conditions"], 1)]


def _metrics(content: Record, rows: Sequence[Record]) -> list[tuple[Cell, list[Cell]]]:
    """Columns of metrics: head and one cell a row."""
    any_llr = any(row["llr"] for row in rows)
    columns = [(Cell("EER %"), [row["eer"] for row in rows], percent)]
    for i, point in enumerate(content["points"]):
        least = [row["min_dcf"][i] for row in rows]
        columns.append((Cell("minDCF", _lines(point)), least, four))
        if any_llr:
            actual = [row["act_dcf"][i] if row["llr"] else None for row in rows]
            columns.append((Cell("actDCF", _lines(point)), actual, four))
    if any_llr:
        columns.append((Cell("Cllr"), [row["cllr"] for row in rows], four))
    columns.append((Cell("min Cllr"), [row["min_cllr"] for row in rows], four))
    if any_llr:
        loss = [
            {"estimate": row["calibration_loss"], "low": None} if row["llr"] else None
            for row in rows
        ]
        columns.append((Cell("Calibration loss"), loss, four))
    return [(head, _column(numbers, show)) for head, numbers, show in columns]


def _column(numbers: Sequence[Record | None], show: Callable[[float], str]) -> list[Cell]:
    """Cells of one metric; the least is the best, where there is something to choose from."""
    known = [number["estimate"] for number in numbers if number]
    least = min(known) if len(known) > 1 and min(known) < max(known) else None
    return [
        Cell(show(number["estimate"]), _ends(number, show), number["estimate"] == least)
        if number
        else Cell(NONE)
        for number in numbers
    ]


def _ends(number: Record, show: Callable[[float], str]) -> tuple[str, ...]:
    text = interval(number, show, "–")
    return (text,) if text else ()


def _lines(point: Record) -> tuple[str, ...]:
    """An operating point for a narrow column."""
    return tuple(point["label"].split(", "))


def _systems(content: Record) -> Table:
    rows = content["systems"]
    columns = _metrics(content, rows)
    caption = "Error rates, costs and calibration of the systems"
    if content["bootstrap"]:
        caption += ", with 95 % intervals"
    cells = [
        [Cell(row["system"]), *(column[n] for _, column in columns)] for n, row in enumerate(rows)
    ]
    return Table(
        "systems", caption, [Cell("System"), *(head for head, _ in columns)], [("", cells)]
    )


def difference_text(metric: Record) -> Callable[[float], str]:
    """How a metric's differences are written: percent points or plain, with a sign."""
    scale, digits = (100, 2) if metric["metric"] == "eer" else (1, 4)

    def show(value: float) -> str:
        return f"{scale * value:+.{digits}f}".replace("-", "−") if math.isfinite(value) else NONE

    return show


def _differences(content: Record) -> Table:
    compared = content["comparison"]
    longest = max((row["metrics"] for row in compared["systems"]), key=len)
    heads = [
        Cell(NAMES[metric["metric"]], () if i is None else _lines(content["points"][i]))
        for metric, i in ((metric, metric["point"]) for metric in longest)
    ]
    heads[0] = Cell("EER", ("points of %",))
    rows = []
    for row in compared["systems"]:
        cells = [Cell(row["system"])]
        for metric in row["metrics"]:
            show = difference_text(metric)
            extra: tuple[str, ...] = ()
            if content["bootstrap"]:
                extra = (interval(metric, show), p_text(metric["p_value"]))
            cells.append(Cell(show(metric["difference"]), extra))
        cells += [Cell(NONE)] * (len(heads) + 1 - len(cells))
        rows.append(cells)
    caption = f"Difference of each system from {compared['best']}; above zero is worse"
    return Table("differences", caption, [Cell("System"), *heads], [("", rows)])


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
