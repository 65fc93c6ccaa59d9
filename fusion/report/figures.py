"""The figures of a report: drawn for a page, with legend, instructions and what they show in words.

A figure's words hold its numbers, so that who cannot see it learns what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.forensic.measures import mean_distance_of
from fusion.forensic.words import factor_words
from fusion.intervals.results import ends
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.order import area
from fusion.metrics.table import PRIMARY
from fusion.plots import det as plots
from fusion.plots import llr as llr_plots
from fusion.plots.drawing import MARKERS, STYLES, Mark, Systems, marks
from fusion.report.svg import N_SERIES, PAGE, inline_svg
from fusion.report.tables import told_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fusion.intervals.bootstrap import BootstrapResult
    from fusion.metrics.points import OperatingPoint

_SYMBOLS = dict(zip("osDv^<>pP", "●■◆▼▲◀▶⬟✚"))
_WIDE, _SQUARE, _TALL, _SMALL = (4.3, 3.7), (4.3, 4.2), (4.3, 5.2), (4.3, 3.0)
_DASHES = {"-": "", "--": "6 3", "-.": "7 2 1.5 2", ":": "1.5 2.5"}


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page.

    Parameters
    ----------
    key, title : str
    svg : str
        The element.
    words : str
        What it shows, in numbers.
    how : str
        How to read it.
    series : list of (int, str, str)
        Legend: number of the colour (from 1), dashes of the line, and text.
    symbols : list of (str, str)
        Legend of marks.
    """

    key: str
    title: str
    svg: str
    words: str
    how: str
    series: list[tuple[int, str, str]] = field(default_factory=list)
    symbols: list[tuple[str, str]] = field(default_factory=list)


def error_figures(
    systems: Systems,
    points: Sequence[OperatingPoint],
    intervals: Mapping[str, BootstrapResult],
) -> list[PageFigure]:
    """DET and ROC."""
    shown = marks(points)
    rates = _rates(systems, intervals)
    det = _figure(
        "det", "DET curves", _SQUARE,
        lambda figure: plots.draw_det(figure, PAGE, systems, shown, intervals),
        [f"{name}: {_misses(p, rates[name])}" for name, p in systems.items()],
        "Lower and further left is better. Each curve is one system at every threshold; both "
        "scales are stretched at small rates."
        + (" Shaded: 95 % interval of the miss rate at each false-alarm rate." if intervals else "")
        + f" Dotted: left of or below it, a rate rests on fewer than "
        f"{plots.RULE_OF} errors.",
        {name: f"{name}, EER {rate} %" for name, rate in rates.items()},
        [("●", "EER"), *_symbols(shown, "least cost, ")],
    )  # fmt: skip
    areas = {name: area(p) for name, p in systems.items()}
    roc = _figure(
        "roc", "ROC curves", _SQUARE,
        lambda figure: plots.draw_roc(figure, PAGE, systems),
        [f"{name}: area under the curve {share:.4f}" for name, share in areas.items()],
        "Higher and further left is better; the diagonal is chance. Thin: convex hulls.",
        {name: f"{name}, area {share:.4f}" for name, share in areas.items()},
    )  # fmt: skip
    return [det, roc]


def histogram_figures(systems: Systems) -> list[PageFigure]:
    """Score distributions, one figure a system."""
    return [
        _figure(
            f"scores-{number}", f"Scores of {name}", _SMALL,
            partial(plots.draw_histogram, look=PAGE, points=points),
            [_spread(points)],
            "",
        )
        for number, (name, points) in enumerate(systems.items(), 1)
    ]  # fmt: skip


def llr_figures(
    everything: Systems, llr: Collection[str], points: Sequence[OperatingPoint]
) -> list[PageFigure]:
    """Tippett, reliability, Bayes error and ECE plots of the systems that `llr` names."""
    shown = marks(points)
    systems = {name: everything[name] for name in everything if name in llr}
    # The colours that these systems have among all.
    look = replace(PAGE, order=tuple(n for n, name in enumerate(everything) if name in llr))
    names = {name: name if name in llr else "" for name in everything}
    symbols = _symbols(shown, "")
    tippett = _figure(
        "tippett", "Tippett plot", _WIDE,
        lambda figure: llr_plots.draw_tippett(figure, look, systems),
        [f"{name}: {_misleading(p)}" for name, p in systems.items()],
        "Rising, wide: which part of the target trials has at most this likelihood ratio. Falling, "
        "thin: which part of the nontarget trials has at least it. What rises left of 1 or falls "
        "right of it misleads.",
        names,
    )  # fmt: skip
    reliability = _figure(
        "reliability", "Reliability (PAV)", _TALL,
        lambda figure: llr_plots.draw_reliability(figure, look, systems),
        [f"{name}: {_deviation(p)}" for name, p in systems.items()],
        "Calibrated likelihood ratios follow the diagonal; flatter is overconfident, steeper too "
        "cautious. The vertical ends are where the trials of one class run out. Below: how many "
        "trials have such a ratio.",
        names,
    )  # fmt: skip
    ape = _figure(
        "ape", "Normalised Bayes error", _WIDE,
        lambda figure: llr_plots.draw_ape(figure, look, systems, shown),
        [f"{name}: {_costs(p, shown)}" for name, p in systems.items()],
        "What decisions cost at every prior, as part of the cost of deciding without scores "
        "(dashed, 1). Wide: actual. Thin: the least that any threshold reaches. Wide near thin is "
        "well calibrated. Log-odds of 0 are a prior of one half, −4.6 of one in a hundred.",
        names, symbols,
    )  # fmt: skip
    ece = _figure(
        "ece", "Empirical cross-entropy", _WIDE,
        lambda figure: llr_plots.draw_ece(figure, look, systems, shown),
        [f"{name}: {_entropy(p)}" for name, p in systems.items()],
        "How much is still unknown after the likelihood ratio, at every prior. Wide: actual. Thin: "
        "after the best recalibration. Dashed: without scores. At log-odds 0 it is Cllr.",
        names, symbols,
    )  # fmt: skip
    return [tippett, reliability, ape, ece]


def _figure(
    key: str,
    title: str,
    size: tuple[float, float],
    draw: Callable[[Figure], Any],
    words: Sequence[str],
    how: str,
    names: Mapping[str, str] | None = None,
    symbols: Sequence[tuple[str, str]] = (),
) -> PageFigure:
    text = ". ".join(words) + "."
    return PageFigure(
        key, title, inline_svg(draw, key, title, text, size), text, how,
        series(list(names.values())) if names else [], list(symbols),
    )  # fmt: skip


def series(texts: Sequence[str]) -> list[tuple[int, str, str]]:
    """Legend of systems in the order in which they are drawn; without those of no text."""
    return [
        (n % N_SERIES + 1, _DASHES[STYLES[n % len(STYLES)]], text)
        for n, text in enumerate(texts)
        if text
    ]


def _symbols(shown: Sequence[Mark], what: str) -> list[tuple[str, str]]:
    return [(_SYMBOLS[marker], f"{what}{mark.label}") for mark, marker in zip(shown, MARKERS)]


def _rates(systems: Systems, intervals: Mapping[str, BootstrapResult]) -> dict[str, str]:
    """EER of each system, in the digits of the table: those that the intervals of all bear out."""
    digits = told_digits(PRIMARY, [ends(r.intervals[PRIMARY.name, 0]) for r in intervals.values()])
    return {name: PRIMARY.text(PRIMARY.measure(p), digits) for name, p in systems.items()}


def _misses(points: OperatingPoints, eer: str) -> str:
    """Miss rates at some false-alarm rates, in words."""
    p_miss, p_fa, _ = points.rates()
    parts = [
        f"{100 * p_miss[np.searchsorted(-p_fa, -rate)]:.2f} % misses at {100 * rate:g} % false "
        "alarms"
        for rate in (0.1, 0.01, 0.001)
        if rate * points.n_nontargets >= 1
    ]
    return ", ".join([f"EER {eer} %", *parts])


def _spread(points: OperatingPoints) -> str:
    """Where the scores of either class lie, in words."""
    parts = []
    for name, counts, size in (
        ("nontarget", points.rejections, points.n_nontargets),
        ("target", points.misses, points.n_targets),
    ):
        low, middle, high = (_quantile(points, counts, size, q) for q in (0.05, 0.5, 0.95))
        parts.append(f"median of {name} trials {middle:.3g}, 90 % within {low:.3g} and {high:.3g}")
    p_miss, p_fa, threshold = points.rates(np.array([points.best_point(0.5)]))
    parts.append(
        f"at the threshold of least error where both classes are as frequent, {threshold[0]:.3g}, "
        f"{100 * p_miss[0]:.2f} % misses and {100 * p_fa[0]:.2f} % false alarms"
    )
    return "; ".join(parts)


def _quantile(points: OperatingPoints, counts: np.ndarray, size: int, part: float) -> float:
    """Score at or below which a part of the trials of a class lies."""
    return float(points.thresholds[np.searchsorted(counts, part * size) - 1])


def _misleading(points: OperatingPoints) -> str:
    """Evidence on the wrong side, in words."""
    even = np.searchsorted(points.thresholds, 0.0)
    p_miss, p_fa, _ = points.rates(np.array([even]))
    most = points.thresholds[np.searchsorted(points.rejections, points.n_nontargets) - 1]
    least = points.thresholds[np.searchsorted(points.misses, 0, side="right") - 1]
    text = (
        f"likelihood ratio below 1 for {100 * p_miss[0]:.2f} % of the target trials and at or "
        f"above 1 for {100 * p_fa[0]:.2f} % of the nontarget trials"
    )
    strongest = [f"{_ratio(most)} for a nontarget"] if most > 0 else []
    strongest += [f"{_ratio(least)} for a target"] if least < 0 else []
    return text + (f"; most misleading {' and '.join(strongest)} trial" if strongest else "")


def _ratio(llr: float) -> str:
    """A likelihood ratio from its natural logarithm, in words."""
    if not np.isfinite(llr):
        return "infinite" if llr > 0 else "0"
    decimals = llr / llr_plots.LN10
    if abs(decimals) > 5:
        return f"about {llr_plots.power(round(decimals))}"
    ratio = float(f"{np.exp(abs(llr)):.2g}")
    return f"{ratio:,g}" if llr >= 0 else f"1/{ratio:,g}"


def _deviation(points: OperatingPoints) -> str:
    """How far likelihood ratios are from those found, in words."""
    distance = mean_distance_of(points)
    if math.isnan(distance):
        return "the classes do not overlap, so that no ratio can be checked"
    return f"where the classes overlap, {factor_words(distance)}"


def _costs(points: OperatingPoints, shown: Sequence[Mark]) -> str:
    """Actual and least costs at the marks, in words."""
    if not shown:
        (actual,), (least,) = llr_plots.bayes_errors(points, np.zeros(1))
        return f"actual {actual:.4f} and least {least:.4f} at even odds"
    at = np.array([llr_plots.logit(mark.prior) for mark in shown])
    return ", ".join(
        f"actual {actual:.4f} and least {least:.4f} at {mark.label}"
        for mark, actual, least in zip(shown, *llr_plots.bayes_errors(points, at))
    )


def _entropy(points: OperatingPoints) -> str:
    """Cross-entropies at even odds, in words."""
    (actual,), (least,) = llr_plots.cross_entropies(points, np.zeros(1))
    return f"{actual:.4f} bit at even odds, {least:.4f} after recalibration, 1 without scores"
