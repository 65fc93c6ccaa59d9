"""What `python -m fusion.evaluate` prints and writes: the numbers of every system, in tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.metrics.points import PRESETS, OperatingPoint

if TYPE_CHECKING:
    from fusion.formats.speakers import TrialSpeakers
    from fusion.intervals.bootstrap import BootstrapResult, Interval
    from fusion.metrics.rates import OperatingPoints

Ends = list[float] | None


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


def measured(
    name: str, points: OperatingPoints, found: BootstrapResult | None, asked: Asked
) -> dict[str, Any]:
    """All numbers of one system; error rates as fractions."""
    costs = [
        {
            "p_target": point.p_target,
            "c_miss": point.c_miss,
            "c_fa": point.c_fa,
            "min_dcf": points.min_dcf(point.p_target, point.c_miss, point.c_fa),
            "interval": _ends(found.min_dcf[i] if found else None),
        }
        for i, point in enumerate(asked.points)
    ]
    row: dict[str, Any] = {
        "system": name,
        "trials": points.n_targets + points.n_nontargets,
        "targets": points.n_targets,
        "nontargets": points.n_nontargets,
        "eer": points.eer(),
        "eer_interval": _ends(found.eer if found else None),
        "eer_interpolated": points.eer_interpolated(),
        "min_dcf": costs,
        "min_c_primary": [_primary(points, found, asked, preset, True) for preset in asked.presets],
        "min_cllr": points.min_cllr(),
        "min_cllr_interval": _ends(found.min_cllr if found else None),
    }
    return {**row, **(_of_llr(points, found, asked) if asked.llr else {})}


def _of_llr(points: OperatingPoints, found: BootstrapResult | None, asked: Asked) -> dict[str, Any]:
    """The numbers that only log-likelihood ratios have."""
    costs = [
        {
            "p_target": point.p_target,
            "c_miss": point.c_miss,
            "c_fa": point.c_fa,
            "threshold": point.threshold,
            "act_dcf": points.act_dcf(point.p_target, point.c_miss, point.c_fa),
            "interval": _ends(found.act_dcf[i] if found else None),
        }
        for i, point in enumerate(asked.points)
    ]
    return {
        "cllr": points.cllr(),
        "cllr_interval": _ends(found.cllr if found else None),
        "act_dcf": costs,
        "act_c_primary": [
            _primary(points, found, asked, preset, False) for preset in asked.presets
        ],
    }


def _primary(
    points: OperatingPoints, found: BootstrapResult | None, asked: Asked, preset: str, minimum: bool
) -> dict[str, Any]:
    """C_primary of a preset; its interval is that of the mean of the replicated costs."""
    value = points.c_primary(preset, minimum)
    if found is None:
        return {"preset": preset, "c_primary": value, "interval": None}
    from fusion.intervals.bootstrap import corrected

    # Columns of the replicates: EER, least costs, min Cllr, Cllr, actual costs.
    first = 1 if minimum else 3 + len(asked.points)
    columns = [first + asked.points.index(point) for point in PRESETS[preset]]
    drawn = found.replicates[:, columns].mean(axis=1)
    low, high = corrected(drawn, value, found.eer.level)
    return {"preset": preset, "c_primary": value, "interval": [low, high]}


def _ends(interval: Interval | None) -> Ends:
    return [interval.low, interval.high] if interval else None


def print_tables(
    rows: list[dict[str, Any]], asked: Asked, told: TrialSpeakers | None, n_bootstrap: int
) -> None:
    """Print how well the systems tell speakers apart, how well their llr say so, and the notes."""
    head = ["system", "trials", "targets", "nontargets", "EER %", "EER interp. %"]
    head += [f"minDCF({_short(point)})" for point in asked.points]
    head += [f"min C_primary({preset})" for preset in asked.presets]
    table = [head]
    for row in rows:
        cells = [row["system"], *(str(row[key]) for key in ("trials", "targets", "nontargets"))]
        cells.append(_number(row["eer"], row["eer_interval"], 100, 2))
        cells.append(_number(row["eer_interpolated"], None, 100, 2))
        cells += [_number(cost["min_dcf"], cost["interval"]) for cost in row["min_dcf"]]
        cells += [_number(cost["c_primary"], cost["interval"]) for cost in row["min_c_primary"]]
        table.append(cells)
    _columns(table)
    if asked.llr:
        print()
        _print_llr(rows, asked)
    print("EER: on the ROC convex hull; interp.: on the ROC itself. minDCF(P_target): normalised.")
    if asked.llr:
        print("Cllr in bits: 0 is perfect, 1 is worth nothing; min Cllr: after PAV, the best that "
              "calibration can do. actDCF: at the Bayes threshold.")  # fmt: skip
        print("\n".join(point.statement for point in asked.points))
    if told:
        print(
            f"[ , ]: 95 % intervals, {n_bootstrap} bootstrap replicates of {told.n_speakers} "
            f"speakers ({told.source})."
        )


def _print_llr(rows: list[dict[str, Any]], asked: Asked) -> None:
    head = ["as log-likelihood ratios", "Cllr", "min Cllr"]
    head += [f"actDCF({_short(point)})" for point in asked.points]
    head += [f"act C_primary({preset})" for preset in asked.presets]
    table = [head]
    for row in rows:
        cells = [row["system"], _number(row["cllr"], row["cllr_interval"])]
        cells.append(_number(row["min_cllr"], row["min_cllr_interval"]))
        cells += [_number(cost["act_dcf"], cost["interval"]) for cost in row["act_dcf"]]
        cells += [_number(cost["c_primary"], cost["interval"]) for cost in row["act_c_primary"]]
        table.append(cells)
    _columns(table)


def _short(point: OperatingPoint) -> str:
    """Prior, and costs where they are not 1."""
    if (point.c_miss, point.c_fa) == (1, 1):
        return f"{point.p_target:g}"
    return f"{point.p_target:g}:{point.c_miss:g}:{point.c_fa:g}"


def _number(value: float, ends: Ends, scale: float = 1, digits: int = 4) -> str:
    text = f"{scale * value:.{digits}f}"
    if ends is None:
        return text
    return f"{text} [{scale * ends[0]:.{digits}f}, {scale * ends[1]:.{digits}f}]"


def _columns(table: Sequence[Sequence[str]]) -> None:
    """Print a table, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*table)]
    for cells in table:
        line = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))]
        print("  ".join(line))
