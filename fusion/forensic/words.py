"""A record of `fusion.forensic.validation.validate` as tables and sentences.

Likelihood ratios are written as such, since that is what is reported; lengths on their scale are
powers of ten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusion.forensic.verbal import ratio_text
from fusion.intervals.results import TOO_FEW

Record = Mapping[str, Any]
NONE = "–"
_LN10 = math.log(10)

TERMS = (
    ("devPAV", "mean distance of log10 LR from those that the trials themselves give, where these "
     "are finite, over the range of LR; 0 is best"),
    ("ELUB", "empirical lower and upper bounds: the LR beyond which one more misleading trial of "
     "either class would make decisions by the LR worse than without; LR beyond are not supported "
     "by so few trials"),
    ("Invariance bounds", "the LR up to which the trials at and beyond an LR are as many more of "
     "one class than of the other as it says"),
    ("Overestimation", "log10 LR less that of the densities of such LR in either class; mean "
     "without sign over the range that the classes share"),
    ("Misleading evidence", "an LR that speaks for the wrong side, at all or by more than a "
     "factor; by more than a factor of k it should be no more frequent than 1 / k"),
    ("Bi-Gaussianised", "calibration that gives LR the distribution that a perfectly calibrated "
     "Gaussian system of the same Cllr has"),
)  # fmt: skip


@dataclass(frozen=True)
class TextTable:
    """A table of texts; the first cell of a row is its name, and so is a part's of its rows."""

    key: str
    caption: str
    head: list[str]
    parts: list[tuple[str, list[list[str]]]]


def tables(records: Mapping[str, Record]) -> list[TextTable]:
    """Tables of systems by name: measures, misleading evidence, calibrations, conditions."""
    found = [_measures(records), _misleading(records)]
    if any(record["calibrations"] for record in records.values()):
        found.append(_calibrations(records))
    names = [one["condition"] for one in next(iter(records.values()))["conditions"]]
    return found + [_condition(records, n, name) for n, name in enumerate(names)]


def sentences(name: str, record: Record) -> list[str]:
    """What a reader in a hurry should know of a system, with its numbers."""
    low, high = map(ratio_text, record["elub"])
    text = (
        f"{name}: Cllr {bits(record['metrics']['cllr'])}, of which "
        f"{bits(record['metrics']['min_cllr'])} is discrimination (min Cllr). The trials support "
        f"LR as given from {low} to {high} (ELUB); {percent(record['beyond'])} of them have an LR "
        "beyond."
    )
    if math.isfinite(record["mean_distance"]):
        text += f" Where the classes overlap, {factor_words(record['mean_distance'])}."
    over = record["overestimation"]
    if over:
        text += (
            f" On {percent(over['share_certain'])} of the range of both classes LR are outside the "
            "95 % fiducial intervals of the ratio of the trials' densities, which take trials for "
            "independent and are too narrow where speakers share them."
        )
    more = [*_difference(record), *record["cautions"]]
    return [text, *(f"{name}: {one[0].lower()}{one[1:]}" for one in more)]


def factor_words(distance: float) -> str:
    """How far LR are from those of PAV on average over the trials, of a natural logarithm."""
    return (
        f"LR differ by a factor of {ratio_text(distance)} from those that PAV finds, on average "
        "over the trials, both classes alike; PAV fits too well, so that those of a perfect system "
        "differ too"
    )


def _difference(record: Record) -> list[str]:
    found = record["difference"]
    if not found:
        return []
    better = "bi-Gaussianised" if found["estimate"] < 0 else "logistic"
    if found["low"] is None:
        return []  # too few errors to tell
    certain = found["low"] * found["high"] > 0
    return [
        f"On unseen speakers, Cllr after bi-Gaussianised calibration less that after logistic is "
        f"{found['estimate']:+.4f} (95 % interval {found['low']:+.4f} to {found['high']:+.4f}): "
        + (f"{better} is better." if certain else "neither is shown to be better.")
    ]


def bits(number: Record) -> str:
    """A Cllr with its interval."""
    return _with_ends(number, lambda value: f"{value:.4f}")


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.3g} %"


def _with_ends(number: Record, show: Any) -> str:
    if number.get("enough") is False:
        return f"{show(number['estimate'])} [{TOO_FEW}]"
    if number["low"] is None:
        return show(number["estimate"])
    return f"{show(number['estimate'])} [{show(number['low'])}, {show(number['high'])}]"


def _share(number: Record) -> str:
    def show(value: float) -> str:
        return "< 0.001" if 0 < value < 1e-5 else f"{100 * value:.3g}"

    return f"{_with_ends(number, show)} ({number['count']})"


def _tenths(value: float) -> str:
    """A length on the natural logarithm, in powers of ten."""
    return f"{value / _LN10:.3f}" if math.isfinite(value) else NONE


def _range(bounds: Sequence[float]) -> str:
    return f"{ratio_text(bounds[0])} to {ratio_text(bounds[1])}"


def _measures(records: Mapping[str, Record]) -> TextTable:
    rows = []
    for name, record in records.items():
        over = record["overestimation"]
        rows.append(
            [
                name, bits(record["metrics"]["cllr"]), bits(record["metrics"]["min_cllr"]),
                _tenths(record["dev_pav"]),
                _tenths(over["mean_absolute"]) if over else NONE,
                _range(record["elub"]), _range(record["invariance"]), percent(record["beyond"]),
            ]
        )  # fmt: skip
    head = ["System", "Cllr", "min Cllr", "devPAV, log10", "Overestimation, log10", "ELUB, LR"]
    head += ["Invariance bounds, LR", "Beyond ELUB"]
    return TextTable("forensic-measures", "Likelihood ratios as evidence", head, [("", rows)])


def _misleading(records: Mapping[str, Record]) -> TextTable:
    parts = []
    for name, record in records.items():
        rows = []
        for row in record["misleading"]:
            factor = f"{row['factor']:,.0f}"
            label = "at all" if row["factor"] == 1 else f"by a factor of more than {factor}"
            most = NONE if row["factor"] == 1 else f"{100 / row['factor']:g}"
            rows.append([label, _share(row["targets"]), _share(row["nontargets"]), most])
        parts.append((name, rows))
    head = [
        "Misleading",
        "Targets, % (trials)",
        "Nontargets, % (trials)",
        "At most, if calibrated, %",
    ]
    return TextTable("forensic-misleading", "Rates of misleading evidence", head, parts)


_LINE = ["Cllr", "min Cllr", "devPAV, log10", "ELUB, LR", "Misleading targets, % (trials)",
         "Misleading nontargets, % (trials)"]  # fmt: skip


def _line(row: Record) -> list[str]:
    return [
        bits(row["cllr"]), bits(row["min_cllr"]), _tenths(row["dev_pav"]), _range(row["elub"]),
        _share(row["misleading"]["targets"]), _share(row["misleading"]["nontargets"]),
    ]  # fmt: skip


def _calibrations(records: Mapping[str, Record]) -> TextTable:
    parts = [
        (name, [[row["calibration"], *_line(row)] for row in record["calibrations"]])
        for name, record in records.items()
    ]
    caption = "Calibrations of unseen speakers, by cross-validation"
    return TextTable("forensic-calibrations", caption, ["Calibration", *_LINE], parts)


def _condition(records: Mapping[str, Record], number: int, name: str) -> TextTable:
    parts = []
    for system, record in records.items():
        rows = []
        for part in record["conditions"][number]["parts"]:
            label = f"{part['value']}: {part['trials']} trials, {part['targets']} targets"
            row = part["measures"]
            if row is None:
                label, cells = f"{label}; too few trials to tell", [NONE] * len(_LINE)
            else:
                cells = _line(row)
            rows.append([label, *cells])
        parts.append((system, rows))
    key = f"forensic-condition-{number + 1}"
    return TextTable(key, f"Likelihood ratios as evidence by {name}", [name, *_LINE], parts)
