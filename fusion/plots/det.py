"""DET and ROC curves and score histograms, as PNG or SVG files of the same bytes every time.

The DET plot is A. Martin et al., "The DET curve in assessment of detection task performance",
Eurospeech 1997: both axes on the normal-deviate (probit) scale, so that normally distributed scores
give straight lines. Its dashed lines are Doddington's rule of 30: left of or below them a rate
rests on fewer than 30 errors (G. Doddington et al., "The NIST speaker recognition evaluation",
Speech Communication 31, 2000).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fusion.metrics.curve import OperatingPoints
from fusion.metrics.order import area
from fusion.plots.drawing import (
    MARKERS,
    PAPER,
    Look,
    Mark,
    Systems,
    dress,
    finish,
    marks,
    saved_figure,
    thin,
)
from ivector.base.foreign.names import figure_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fusion.intervals.bootstrap import BootstrapResult
    from fusion.metrics.points import OperatingPoint

RULE_OF = 30  # errors
_TICKS = (1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
_FIRST = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.4, 0.8)


def plot_det(
    path: str | os.PathLike,
    systems: Systems,
    p_target: Sequence[float | OperatingPoint] = (),
    intervals: Mapping[str, BootstrapResult] | None = None,
    title: str = "",
) -> None:
    """Draw DET curves with the EER and the points of least cost.

    Parameters
    ----------
    path : path-like
        ``.png`` or ``.svg``.
    systems : mapping of str to OperatingPoints
        One curve each, in order.
    p_target : sequence of float or fusion.metrics.points.OperatingPoint
        Priors (or priors and costs) whose points of least cost are marked.
    intervals : mapping of str to BootstrapResult, optional
        Bands to shade around the curves; made with ``band=det_band()``.
    title : str

    Raises
    ------
    UsageError
        Neither PNG nor SVG, or no systems.
    DataError
        The file cannot be written.

    Examples
    --------
    >>> import os
    >>> from fusion import OperatingPoints, plot_det
    >>> system = OperatingPoints([-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5])
    >>> plot_det("det.png", {"plda": system}, p_target=[0.01])
    >>> os.path.exists("det.png")
    True
    """
    with saved_figure(path, systems) as figure:
        axes = draw_det(figure, PAPER, systems, marks(p_target), intervals)
        _mark_legend(axes, marks(p_target))
        finish(figure, axes, title)


def draw_det(
    figure: Figure,
    look: Look,
    systems: Systems,
    shown: Sequence[Mark] = (),
    intervals: Mapping[str, BootstrapResult] | None = None,
) -> Axes:
    """Draw what `plot_det` shows, without title and legend."""
    axes = figure.add_subplot()
    frame = _Frame(systems, shown)
    for number, (name, points) in enumerate(systems.items()):
        colour, style = look.curve(number)
        label = f"{figure_text(name)} (EER {100 * points.eer():.2f} %)"
        x, y = _det_path(points, frame)
        axes.plot(x, y, style, color=colour, linewidth=1.8, label=label, zorder=3)
        if intervals and name in intervals:
            band = intervals[name]
            bottom, top = frame.place(band.p_miss_low), frame.place(band.p_miss_high)
            axes.fill_between(
                frame.place(band.p_fa), bottom, top, color=colour, alpha=0.15, linewidth=0, zorder=1
            )
        _mark(axes, points, shown, colour, look, frame)
    _rule_of_30(axes, systems, frame, look)
    frame.dress(axes, look, 0.8 * min(figure.get_size_inches()))
    dress(axes, look, "False-alarm rate (%)", "Miss rate (%)")
    return axes


def det_band() -> np.ndarray:
    """False-alarm rates (G,) at which to bootstrap the band of a DET plot.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion.plots import det_band
    >>> rates = det_band()
    >>> bool((np.diff(rates) > 0).all()), bool(0 < rates[0] < rates[-1] < 1)
    (True, True)
    """
    from scipy.special import ndtr, ndtri

    return ndtr(np.linspace(ndtri(1e-5), ndtri(0.99), 200))


def plot_roc(path: str | os.PathLike, systems: Systems, title: str = "") -> None:
    """Draw ROC curves (thin: their convex hulls); parameters as in `plot_det`.

    Examples
    --------
    >>> import os
    >>> from fusion import OperatingPoints, plot_roc
    >>> system = OperatingPoints([-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5])
    >>> plot_roc("roc.svg", {"plda": system})
    >>> os.path.exists("roc.svg")
    True
    """
    with saved_figure(path, systems) as figure:
        finish(figure, draw_roc(figure, PAPER, systems), title, "lower right")


def draw_roc(figure: Figure, look: Look, systems: Systems) -> Axes:
    """Draw what `plot_roc` shows, without title and legend."""
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(systems.items()):
        colour, style = look.curve(number)
        hit, accept = 1 - points.rates().p_miss, points.rates().p_fa
        keep = thin(accept, hit, 1e-3)
        label = f"{figure_text(name)} (area {area(points):.4f})"
        axes.plot(
            accept[keep], hit[keep], style, color=colour, linewidth=1.8, label=label, zorder=3
        )
        hull = points.rates(points.hull)
        axes.plot(hull.p_fa, 1 - hull.p_miss, color=colour, linewidth=0.7, zorder=2)
    axes.plot([0, 1], [0, 1], color=look.faint, linewidth=0.8)
    axes.set_xlim(-0.005, 1)
    axes.set_ylim(0, 1.005)
    axes.set_aspect("equal")
    dress(axes, look, "False-alarm rate", "Detection rate")
    return axes


def plot_score_histogram(
    path: str | os.PathLike, tar: ArrayLike, non: ArrayLike, title: str = "", bins: int = 60
) -> None:
    """Draw the distributions of target and nontarget scores and the EER threshold.

    Parameters
    ----------
    path : path-like
        ``.png`` or ``.svg``.
    tar, non : array-like (n_targets,), (n_nontargets,)
    title : str
    bins : int

    Raises
    ------
    UsageError
        Neither PNG nor SVG.
    DataError
        A class has no scores, a score is not a number, or the file cannot be written.

    Examples
    --------
    >>> import os
    >>> from fusion import plot_score_histogram
    >>> plot_score_histogram("scores.png", [-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5])
    >>> os.path.exists("scores.png")
    True
    """
    points = OperatingPoints(tar, non)
    with saved_figure(path, {"": points}, (7.2, 4.8)) as figure:
        finish(figure, draw_histogram(figure, PAPER, points, bins), title)


def draw_histogram(figure: Figure, look: Look, points: OperatingPoints, bins: int = 60) -> Axes:
    """Draw what `plot_score_histogram` shows, without title and legend."""
    axes = figure.add_subplot()
    seen = np.isfinite(points.thresholds)
    values = points.thresholds[seen]
    classes = {"nontarget": np.diff(points.rejections), "target": np.diff(points.misses)}
    edges = np.histogram_bin_edges(values, bins)
    for (name, counts), colour in zip(classes.items(), look.series):
        # The counts between two thresholds are those of the lower score.
        counts = np.append(counts, 0)[seen]
        label = f"{name} ({counts.sum():,} trials)"
        if not counts.any():
            axes.plot([], [], color=colour, label=label)
            continue
        height = np.histogram(values, edges, weights=counts)[0]
        height = height / (height.sum() * np.diff(edges))
        axes.stairs(height, edges, fill=True, color=colour, alpha=0.35, linewidth=0, label=label)
        axes.stairs(height, edges, color=colour, linewidth=1.4)
    _threshold(axes, points, look)
    axes.set_ylim(bottom=0)
    dress(axes, look, "Score", "Density of each class")
    return axes


def _threshold(axes: Axes, points: OperatingPoints, look: Look) -> None:
    """Draw the threshold of least error at equal priors."""
    p_miss, p_fa, threshold = points.rates(np.array([points.best_point(0.5)]))
    if not np.isfinite(threshold[0]):
        return
    label = (
        f"least error at equal priors: {threshold[0]:.3g}\n"
        f"(miss {100 * p_miss[0]:.2f} %, false alarm {100 * p_fa[0]:.2f} %)"
    )
    axes.axvline(threshold[0], color=look.ink, linestyle="--", linewidth=1.2, label=label)


class _Frame:
    """What a DET plot shows: rates (low, high), the same on both axes, on the probit scale."""

    def __init__(self, systems: Systems, shown: Sequence[Mark]):
        curves = [points.rates() for points in systems.values()]
        best = [
            points.rates(np.array([points.best_point(mark.prior)]))
            for points in systems.values()
            for mark in shown
        ]
        worst = max(points.eer() for points in systems.values())
        x_high = y_high = _tick_above(max(1.5 * worst, 0.25))
        for rates in best:
            if rates.p_miss[0] + 0.02 < _TICKS[-1]:
                y_high = max(y_high, _tick_above(rates.p_miss[0] + 0.02))
        # Where the curves leave the frame, but not below a single error.
        left = min(
            max(curve.p_fa[curve.p_miss <= y_high].min(), 1 / points.n_nontargets)
            for curve, points in zip(curves, systems.values())
        )
        foot = min(
            max(curve.p_miss[curve.p_fa <= x_high].min(), 1 / points.n_targets)
            for curve, points in zip(curves, systems.values())
        )
        # A square of the same rates on both axes: only there a slope can be read.
        least = min(left, foot, max(worst / 4, _TICKS[0]))
        self.range = _tick_below(least), max(x_high, y_high)

    def place(self, rates: ArrayLike) -> np.ndarray:
        """Places of rates; those out of sight are just outside."""
        return _probit(rates, *self.range)

    def dress(self, axes: Axes, look: Look, inches: float) -> None:
        """Set limits and ticks of axes so long, and draw the line of equal error rates."""
        low, high = self.range
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [t for t in _TICKS if low <= t <= high]
            ticks = _roomy(ticks, self.place, axis is axes.xaxis, inches)
            axis.set_ticks(self.place(ticks), [f"{100 * t:g}" for t in ticks])
        axes.set_xlim(*self.place(self.range))
        axes.set_ylim(*self.place(self.range))
        axes.axline((0, 0), slope=1, color=look.faint, linewidth=0.8, zorder=0)
        axes.set_aspect("equal")


def _roomy(
    ticks: list[float], place: Callable[[ArrayLike], np.ndarray], along: bool, inches: float
) -> list[float]:
    """Ticks whose labels have room, powers of ten before others; `along` the axis or above it."""
    ends = place([ticks[0], ticks[-1]])
    scale = inches / (ends[1] - ends[0]) if len(ticks) > 1 else 0.0
    kept: list[float] = []
    for tick in sorted(ticks, key=lambda t: (t not in (ticks[0], ticks[-1]), t not in _FIRST, t)):
        room = [
            (0.05 * (len(f"{100 * tick:g}") + len(f"{100 * other:g}")) + 0.08 if along else 0.17)
            < scale * abs(float(place(tick) - place(other)))
            for other in kept
        ]
        if all(room):
            kept.append(tick)
    return sorted(kept)


def _tick_above(rate: float) -> float:
    return next((t for t in _TICKS if t > rate), _TICKS[-1])


def _tick_below(rate: float) -> float:
    return next((t for t in reversed(_TICKS) if t <= rate), _TICKS[0])


def _probit(rates: ArrayLike, low: float, high: float) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(np.clip(rates, low / 4, (1 + high) / 2))


def _det_path(points: OperatingPoints, frame: _Frame) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a DET curve, thinned to what can be seen."""
    p_miss, p_fa, _ = points.rates()
    x, y = frame.place(p_fa), frame.place(p_miss)
    keep = thin(x, y, 5e-3)
    return x[keep], y[keep]


def _mark(
    axes: Axes,
    points: OperatingPoints,
    shown: Sequence[Mark],
    colour: str,
    look: Look,
    frame: _Frame,
) -> None:
    """Mark the EER and the points of least cost on a curve; at the edge, if out of sight."""
    style: dict[str, Any] = {"markersize": 8, "color": colour, "markeredgecolor": look.ground}
    style |= {"zorder": 5, "clip_on": False, "linestyle": "none"}

    def mark(p_fa: ArrayLike, p_miss: ArrayLike, marker: str) -> None:
        x, y = np.clip(p_fa, *frame.range), np.clip(p_miss, *frame.range)
        axes.plot(frame.place(x), frame.place(y), marker=marker, **style)

    mark([points.eer()], [points.eer()], "o")
    for wanted, marker in zip(shown, MARKERS):
        p_miss, p_fa, _ = points.rates(np.array([points.best_point(wanted.prior)]))
        mark(p_fa, p_miss, marker)


def _mark_legend(axes: Axes, shown: Sequence[Mark]) -> None:
    """Explain the markers, once for all systems."""
    look: dict[str, Any] = {"linestyle": "none", "color": "0.4", "markeredgecolor": "white"}
    look |= {"markersize": 8}
    axes.plot([], [], marker="o", label="EER (convex hull)", **look)
    for wanted, marker in zip(shown, MARKERS):
        axes.plot([], [], marker=marker, label=f"minDCF, {wanted.label}", **look)


def _rule_of_30(axes: Axes, systems: Systems, frame: _Frame, look: Look) -> None:
    """Draw where a rate rests on 30 errors, if all systems have the same trials."""
    counts = {(points.n_targets, points.n_nontargets) for points in systems.values()}
    if len(counts) > 1:
        return
    n_targets, n_nontargets = counts.pop()
    fa, miss = RULE_OF / n_nontargets, RULE_OF / n_targets
    style: dict[str, Any] = {"color": look.faint, "linewidth": 0.9, "linestyle": (0, (2, 2))}
    shown = False
    if frame.range[0] < fa < frame.range[1]:
        axes.axvline(float(frame.place(fa)), zorder=2, **style)
        shown = True
    if frame.range[0] < miss < frame.range[1]:
        axes.axhline(float(frame.place(miss)), zorder=2, **style)
        shown = True
    if shown:
        axes.plot([], [], label=f"{RULE_OF} errors (Doddington)", **style)
