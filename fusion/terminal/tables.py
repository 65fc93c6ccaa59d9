"""Tables on the terminal: aligned columns, and those of all metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import METRICS, pick, points_last
from ivector.base.foreign.names import MOST_NAME, shown


def print_table(table: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, the head first, their columns aligned."""
    table = [[shown(cell, most=MOST_NAME) for cell in cells] for cells in table]
    widths = [max(map(len, column)) for column in zip(*table)]
    for cells in table:
        line = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))]
        print("  ".join(line).rstrip())


def metric_heads(points: Sequence[OperatingPoint]) -> list[str]:
    """Heads of the columns of all metrics, the operating points in full."""
    metrics = [(METRICS[name], number) for name, number in points_last(len(points))]
    return [metric.heading(points[n].label if metric.per_point else "") for metric, n in metrics]


def metric_cells(row: Mapping[str, Any], points: Sequence[OperatingPoint]) -> list[str]:
    """The cells below `metric_heads` of a row of `fusion.metrics.table.measures`."""
    values = [(METRICS[key[0]], pick(row, key)) for key in points_last(len(points))]
    return ["-" if value is None else metric.text(value) for metric, value in values]
