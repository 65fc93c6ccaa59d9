"""What `python -m fusion.calibrate` prints and writes of a calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion.calibration.one_system import KNOTTED, Calibration
from fusion.calibration.wording import describe_llr
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.order import order
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import INFORMATION, measures
from fusion.terminal.tables import metric_cells, metric_heads, print_table
from ivector.base.errors import DataError

# Cllr beside min Cllr from which bounded training is tried, and the part it is to leave.
_MUCH, _BETTER = 1.2, 0.95


def measure(
    values: np.ndarray, target: np.ndarray, points: Sequence[OperatingPoint]
) -> dict[str, Any]:
    """Metrics of values (N,) taken for log-likelihood ratios."""
    return measures(OperatingPoints(values[target], values[~target], keep=True), points)


def print_metrics(
    title: str, rows: Mapping[str, Mapping[str, Any]], points: Sequence[OperatingPoint]
) -> None:
    """Print metrics, a line for each name."""
    lines = [[name, *metric_cells(row, points)] for name, row in rows.items()]
    print_table([[title, *metric_heads(points)], *lines])


def print_order(model: Calibration, scores: np.ndarray, target: np.ndarray) -> None:
    """Say so if targets have the lower scores, or if a calibration takes them to have."""
    found = order(OperatingPoints(scores[target], scores[~target]))
    if found.turned:
        print(f"the sign seems turned: {found.words} of cases")
    elif found.higher and model.method == "logistic" and model.coef_[0] <= 0:
        print(
            f"a few scores far out have turned the slope, though {found.words} of cases: mend the "
            "scoring, or try --bounded or --method isotonic"
        )


def may_be_ruled(model: Calibration, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a few scores far out may rule a calibration: it loses much of what they tell."""
    affine = model.method == "logistic" and not model.bounded and not len(model.mean_)
    least = rows["before"][INFORMATION.best]
    return affine and rows["calibrated"][INFORMATION.name] > _MUCH * least


def print_bounded(plain: Mapping[str, Any], robust: Mapping[str, Any] | None) -> None:
    """Say so if bounded training is better on unseen speakers; none, if it was not tried."""
    name, show = INFORMATION.name, INFORMATION.text
    if robust and robust[name] < _BETTER * plain[name]:
        print(
            f"a few scores far out rule the calibration: with --bounded {INFORMATION.symbol} is "
            f"{show(robust[name])} and not {show(plain[name])}"
        )


def print_model(model: Calibration, training: Mapping[str, Any]) -> None:
    """Print what a calibration is and what it was trained on."""
    text = f"{model.method} calibration"
    if "trials" in training:
        text += (
            f", learnt from {training['trials']} trials ({training.get('targets', '?')} targets) "
            f"of {'at most ' if training.get('speakers_at_most') else ''}"
            f"{training.get('speakers', '?')} speakers"
        )
    if model.method == "logistic":
        text += f", for a prior of {model.prior:g}"
    print(text)
    if model.method in KNOTTED:
        for name, value in model.parameters().items():
            print(f"{name} {value:.6g}")
        print(
            f"{len(model.knots_)} knots, llr {model.llr_[0]:.4g} to {model.llr_[-1]:.4g} for "
            f"scores {model.knots_[0]:.6g} to {model.knots_[-1]:.6g}"
        )
    elif model.method == "logistic" and not len(model.mean_) and not model.bounded:
        print(f"llr = {model.coef_[0]:.6g} x score {model.offset_:+.6g}")
    else:
        rows = [[name, f"{value:.6g}"] for name, value in model.parameters().items()]
        print_table([["parameter", "value"], *rows])
        if model.method == "logistic" and len(model.mean_):
            print("quality measures count in standard deviations from their mean of training")
    if model.method == "logistic" and model.separable_:
        print("the classes did not overlap: the slope is that of a small ridge, not of the data")


def _from(model: Calibration, score: float) -> str:
    """A score from which on to accept, and where a parabola falls below it again."""
    text = f"{score:.6g}"
    if model.method != "gaussian" or model.variances_[0] == model.variances_[1]:
        return text
    (mean0, mean1), (var0, var1) = model.means_, model.variances_
    other = 2 * (mean1 * var0 - mean0 * var1) / (var0 - var1) - score
    return f"{text} to {other:.6g}" if var1 < var0 else f"{text}, or below {other:.6g}"


def print_thresholds(
    model: Calibration, points: Sequence[OperatingPoint]
) -> list[dict[str, float | None]]:
    """Print and return from which score on to accept at each operating point."""
    found: list[dict[str, float | None]] = []
    measures = model.method == "logistic" and len(model.mean_)
    for point in points:
        score: float | None = None
        try:
            score = model.threshold(point)
            where = {math.inf: "no score is enough", -math.inf: "any score will do"}.get(
                score, f"a score of {_from(model, score)}{' at mean quality' if measures else ''}"
            )
        except DataError as error:
            where = str(error)
        print(f"{point.label}: accept from an llr of {point.threshold:.4g} on, {where}")
        finite = None if score is None or math.isinf(score) else score
        found.append({"p_target": point.p_target, "c_miss": point.c_miss, "c_fa": point.c_fa,
                      "llr": point.threshold, "score": finite})  # fmt: skip
    print(f"in words, {describe_llr(points[0].threshold, points[0].p_target)}")
    return found
