"""The numbers of a report: metrics with intervals, differences from the best, parts of the trials.

Dimension legend: N trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion.calibration.grades import Grade, grade_calibration
from fusion.comparison.conditions import groups_of
from fusion.intervals.bootstrap import BootstrapResult, bootstrap_interval
from fusion.intervals.paired import paired_bootstrap
from fusion.intervals.results import Difference, ends
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import (
    ACTUAL_COST,
    INFORMATION,
    METRICS,
    PRIMARY,
    Key,
    groups,
    measures,
    pick,
    statistics,
)
from ivector.base.errors import DataError, DegenerateDataWarning

LEVEL = 0.95
Record = dict[str, Any]


@dataclass(frozen=True)
class Draw:
    """Trials and options of the bootstrap, the same for every system."""

    target: np.ndarray
    enrol: np.ndarray
    test: np.ndarray
    shared: bool
    points: list[OperatingPoint]
    n_bootstrap: int
    seed: int

    def bootstrap(
        self, values: np.ndarray, llr: bool, band: np.ndarray | tuple[()] = ()
    ) -> BootstrapResult | None:
        """Intervals; one seed, so that replicates of all systems are of the same speakers."""
        if not self.n_bootstrap:
            return None
        return bootstrap_interval(
            values, self.target, self.enrol, self.test, shared=self.shared, points=self.points,
            llr=llr, band=band, n_bootstrap=self.n_bootstrap, level=LEVEL,
            random_state=self.seed,
        )  # fmt: skip

    def paired(self, one: np.ndarray, two: np.ndarray, llr: bool) -> dict[Key, Difference]:
        """Differences of two systems under the same draws; none without a bootstrap."""
        if not self.n_bootstrap:
            return {}
        return paired_bootstrap(
            one, two, self.target, self.enrol, self.test, shared=self.shared, points=self.points,
            llr=llr, n_bootstrap=self.n_bootstrap, level=LEVEL, random_state=self.seed,
        ).differences  # fmt: skip

    def grade(self, values: np.ndarray, result: BootstrapResult | None) -> Grade:
        """How well llr are calibrated; beside intervals, their costs by these."""
        return grade_calibration(
            values, self.target, self.enrol, self.test, shared=self.shared, points=self.points,
            actual=getattr(result, ACTUAL_COST.name) if result else None, random_state=self.seed,
        )  # fmt: skip

    def part(self, chosen: np.ndarray) -> Draw:
        """The same for some of the trials."""
        sides = (self.target[chosen], self.enrol[chosen], self.test[chosen])
        return Draw(*sides, self.shared, self.points, self.n_bootstrap, self.seed)


def numbers(
    measured: OperatingPoints,
    result: BootstrapResult | None,
    points: Sequence[OperatingPoint],
    llr: bool,
) -> Record:
    """All metrics of a system, each with its interval if there is one; None without llr."""
    values = measures(measured, points, llr)

    def number(name: str, at: int) -> Record:
        interval = result.intervals[name, at] if result else None
        return {"estimate": pick(values, (name, at)), **ends(interval)}

    row: Record = {}
    for group in groups():
        for metric in sorted(group, key=lambda metric: metric.needs_llr):
            if metric.needs_llr and not llr:
                row[metric.name] = None
            elif metric.per_point:
                row[metric.name] = [number(metric.name, at) for at in range(len(points))]
            else:
                row[metric.name] = number(metric.name, 0)
            if metric.reading:
                row[metric.reading.name] = metric.reading.function(measured)
    row["calibration_loss"] = None
    if llr:
        row["calibration_loss"] = values[INFORMATION.name] - values[INFORMATION.best]
    return row


def comparison(rows: list[Record], scores: dict[str, np.ndarray], draw: Draw) -> Record | None:
    """Every other system less the one of least EER, under the same draws of speakers."""
    if len(rows) < 2:
        return None
    best = min(rows, key=_rank)
    found: list[Record] = []
    for row in rows:
        if row is not best:
            metrics = _differences(best, row, scores, draw)
            found.append({"system": row["system"], "metrics": metrics})
    return {"best": best["system"], "by": PRIMARY.symbol, "systems": found}


def _rank(row: Record) -> tuple[float, float]:
    """EER, and for systems of one order of trials, such as before and after calibration, Cllr."""
    bits = row[INFORMATION.name]["estimate"] if row["llr"] else np.inf
    return PRIMARY.sign * row[PRIMARY.name]["estimate"], bits


def _differences(
    best: Record, row: Record, scores: dict[str, np.ndarray], draw: Draw
) -> list[Record]:
    both = best["llr"] and row["llr"]
    paired = draw.paired(scores[best["system"]], scores[row["system"]], both)
    found = []
    for key in statistics(len(draw.points), both):
        one, two = pick(best, key), pick(row, key)
        at = key[1] if METRICS[key[0]].per_point else None
        entry: Record = {"metric": key[0], "point": at}
        entry |= {"difference": two["estimate"] - one["estimate"]}
        known = paired.get(key)
        entry |= ends(known.interval if known else None)
        entry["p_value"] = known.p_value if known and known.interval.enough else None
        found.append(entry)
    return found


def condition(
    name: str, column: np.ndarray, scores: dict[str, np.ndarray], llr: set[str], draw: Draw
) -> Record:
    """Metrics of every system on each part of the trials."""
    parts = []
    for value, chosen in groups_of(name, column, len(draw.target)):
        part = draw.part(chosen)
        targets = int(part.target.sum())
        entry: Record = {"value": value, "trials": len(part.target), "targets": targets}
        entry["systems"] = None
        if 0 < targets < len(part.target):
            entry["systems"] = [
                {
                    "system": system,
                    "llr": system in llr,
                    **_part(values[chosen], part, system in llr),
                }
                for system, values in scores.items()
            ]
        parts.append(entry)
    return {"condition": name, "parts": parts}


def _part(values: np.ndarray, part: Draw, llr: bool) -> Record:
    """Metrics of a system on a part, without intervals where speakers are too few."""
    measured = OperatingPoints(values[part.target], values[~part.target], keep=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)
            result = part.bootstrap(values, llr)
    except DataError:  # fewer than two speakers, or draws that lack a class
        result = None
    return numbers(measured, result, part.points, llr)
