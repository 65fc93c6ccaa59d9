"""DET and ROC curves and score histograms, as PNG or SVG files of the same bytes every time.

Figures are made without pyplot, so that no global state is touched and any number may be drawn
side by side. The DET plot is A. Martin et al., "The DET curve in assessment of detection task
performance", Eurospeech 1997: both axes on the normal-deviate (probit) scale, so that normally
distributed scores give straight lines. Its dashed lines are Doddington's rule of 30: left of or
below them a rate rests on fewer than 30 errors (G. Doddington et al., "The NIST speaker recognition
evaluation", Speech Communication 31, 2000).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fusion.metrics import OperatingPoints
from ivector.base.errors import UsageError
from ivector.base.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fusion.intervals import BootstrapResult

# M. Okabe, K. Ito, "Color universal design", 2008; line styles tell curves apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = "sDv^<>pP"
_TICKS = (1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.hashsalt": "ivector-plda",
    "svg.fonttype": "path",
    "path.simplify": True,
}
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
_RULE_OF = 30

Systems = Mapping[str, OperatingPoints]


def plot_det(
    path: str | os.PathLike,
    systems: Systems,
    p_target: Sequence[float] = (),
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
    p_target : sequence of float
        Priors whose points of least cost are marked.
    intervals : mapping of str to BootstrapResult, optional
        Bands to shade around the curves; made with ``band=det_band()``.
    title : str

    Raises
    ------
    UsageError
        Neither PNG nor SVG, or no systems.
    DataError
        The file cannot be written.
    """
    with _figure(path, systems) as (figure, axes):
        frame = _Frame(systems, p_target)
        for number, (name, points) in enumerate(systems.items()):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
            label = f"{name} (EER {100 * points.eer():.2f} %)"
            x, y = _det_path(points, frame)
            axes.plot(x, y, style, color=colour, linewidth=1.8, label=label, zorder=3)
            if intervals and name in intervals:
                band = intervals[name]
                bottom, top = frame.y(band.p_miss_low), frame.y(band.p_miss_high)
                axes.fill_between(
                    frame.x(band.p_fa), bottom, top, color=colour, alpha=0.15, linewidth=0, zorder=1
                )
            _mark(axes, points, p_target, colour, frame)
        _rule_of_30(axes, systems, frame)
        frame.dress(axes)
        _mark_legend(axes, p_target)
        _finish(figure, axes, "False-alarm rate (%)", "Miss rate (%)", title, None)


def det_band() -> np.ndarray:
    """False-alarm rates (G,) at which to bootstrap the band of a DET plot."""
    from scipy.special import ndtr, ndtri

    return ndtr(np.linspace(ndtri(1e-5), ndtri(0.99), 200))


def plot_roc(path: str | os.PathLike, systems: Systems, title: str = "") -> None:
    """Draw ROC curves (thin: their convex hulls); parameters as in `plot_det`."""
    with _figure(path, systems) as (figure, axes):
        for number, (name, points) in enumerate(systems.items()):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
            hit, accept = 1 - points.rates().p_miss, points.rates().p_fa
            area = float((hit[1:] + hit[:-1]) @ -np.diff(accept) / 2)
            keep = _thin(accept, hit, 1e-3)
            label = f"{name} (area {area:.4f})"
            axes.plot(
                accept[keep], hit[keep], style, color=colour, linewidth=1.8, label=label, zorder=3
            )
            hull = points.rates(points.hull)
            axes.plot(hull.p_fa, 1 - hull.p_miss, color=colour, linewidth=0.7, zorder=2)
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        axes.set_xlim(-0.005, 1)
        axes.set_ylim(0, 1.005)
        axes.set_aspect("equal")
        _finish(figure, axes, "False-alarm rate", "Detection rate", title, "lower right")


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
    """
    points = OperatingPoints(tar, non)
    values = [np.asarray(scores, np.float64) for scores in (non, tar)]
    finite = [scores[np.isfinite(scores)] for scores in values]
    edges = np.histogram_bin_edges(np.concatenate(finite), bins)
    at_eer = points.best_point(0.5)
    with _figure(path, {"": points}, (7.2, 4.8)) as (figure, axes):
        for scores, name, colour in zip(finite, ("nontarget", "target"), COLOURS):
            label = f"{name} ({len(scores):,} trials)"
            if not len(scores):
                axes.plot([], [], color=colour, label=label)
                continue
            drawn = {"bins": edges.tolist(), "density": True, "color": colour}
            axes.hist(scores, alpha=0.35, label=label, **drawn)
            axes.hist(scores, histtype="step", linewidth=1.4, **drawn)
        rates = points.rates()
        threshold = rates.thresholds[at_eer]
        if np.isfinite(threshold):
            label = (
                f"least error at equal priors: {threshold:.3g}\n"
                f"(miss {100 * rates.p_miss[at_eer]:.2f} %, "
                f"false alarm {100 * rates.p_fa[at_eer]:.2f} %)"
            )
            axes.axvline(threshold, color="black", linestyle="--", linewidth=1.2, label=label)
        _finish(figure, axes, "Score", "Density of each class", title, None)


class _figure:
    """A figure with one pair of axes, saved when the block succeeds."""

    def __init__(
        self, path: str | os.PathLike, systems: Systems, size: tuple[float, float] = (6.4, 6.4)
    ):
        self._size = size
        self._path = Path(path)
        self._kind = self._path.suffix[1:].lower()
        if self._kind not in _METADATA:
            raise UsageError(f"{path}: plots are written as .png or .svg; give such a name")
        if not systems:
            raise UsageError("nothing to plot: no systems were given")

    def __enter__(self) -> tuple[Figure, Axes]:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        self._context = mpl.rc_context(_SETTINGS)
        self._context.__enter__()
        self._figure = Figure(figsize=self._size, dpi=150, layout="constrained")
        return self._figure, self._figure.add_subplot()

    def __exit__(self, kind: type | None, *rest: object) -> None:
        try:
            if kind is None:
                options: dict[str, Any] = {"metadata": _METADATA[self._kind]}
                with atomic_path(self._path) as temporary:
                    self._figure.savefig(
                        temporary, format=self._kind, bbox_inches="tight", **options
                    )
        finally:
            self._context.__exit__(None, None, None)


def _finish(figure: Figure, axes: Axes, x: str, y: str, title: str, place: str | None) -> None:
    """Name the axes and place the legend; below the axes if `place` is None."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title)
    axes.grid(True, color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    look: dict[str, Any] = {"fontsize": 9, "framealpha": 0.95}
    if place:
        axes.legend(loc=place, **look)  # type: ignore[call-overload]
    else:
        figure.legend(loc="outside lower center", ncols=2, **look)


class _Frame:
    """What a DET plot shows: rates (low, high) of both axes, on the probit scale."""

    def __init__(self, systems: Systems, p_target: Sequence[float]):
        curves = [points.rates() for points in systems.values()]
        marks = [
            points.rates(np.array([points.best_point(prior)]))
            for points in systems.values()
            for prior in p_target
        ]
        worst = max(points.eer() for points in systems.values())
        x_high = y_high = _tick_above(max(1.5 * worst, 0.25))
        for mark in marks:
            if mark.p_miss[0] + 0.02 < _TICKS[-1]:
                y_high = max(y_high, _tick_above(mark.p_miss[0] + 0.02))
        # Where the curves leave the frame, but not below a single error.
        left = min(
            max(curve.p_fa[curve.p_miss <= y_high].min(), 1 / points.n_nontargets)
            for curve, points in zip(curves, systems.values())
        )
        foot = min(
            max(curve.p_miss[curve.p_fa <= x_high].min(), 1 / points.n_targets)
            for curve, points in zip(curves, systems.values())
        )
        self.x_range = _tick_below(min(left, max(worst / 4, _TICKS[0]))), x_high
        self.y_range = _tick_below(min(foot, max(worst / 4, _TICKS[0]))), y_high

    def x(self, rates: ArrayLike) -> np.ndarray:
        """Places of false-alarm rates; those out of sight are just outside."""
        return _probit(rates, *self.x_range)

    def y(self, rates: ArrayLike) -> np.ndarray:
        """Places of miss rates; those out of sight are just outside."""
        return _probit(rates, *self.y_range)

    def dress(self, axes: Axes) -> None:
        """Set limits and ticks, and draw the line of equal error rates."""
        for axis, place, (low, high) in (
            (axes.xaxis, self.x, self.x_range),
            (axes.yaxis, self.y, self.y_range),
        ):
            ticks = [t for t in _TICKS if low <= t <= high]
            if low < 1e-3:  # no room for all
                ticks = [t for t in ticks if t not in (2e-3, 5e-3)]
            axis.set_ticks(place(ticks), [f"{100 * t:g}" for t in ticks])
        axes.set_xlim(*self.x(self.x_range))
        axes.set_ylim(*self.y(self.y_range))
        axes.axline((0, 0), slope=1, color="0.75", linewidth=0.8, zorder=0)
        axes.set_aspect("equal")


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
    x, y = frame.x(p_fa), frame.y(p_miss)
    keep = _thin(x, y, 5e-3)
    return x[keep], y[keep]


def _thin(x: np.ndarray, y: np.ndarray, step: float) -> np.ndarray:
    """Positions of the points of a curve that differ on a grid of the given step."""
    cells = np.floor(np.stack([x, y]) / step)
    moved = (cells[:, 1:] != cells[:, :-1]).any(axis=0)
    # Both ends of a jump, or a long step of the staircase would be drawn as a slope.
    keep = np.zeros(len(x), bool)
    keep[[0, -1]] = True
    keep[1:] |= moved
    keep[:-1] |= moved
    return np.flatnonzero(keep)


def _mark(
    axes: Axes, points: OperatingPoints, p_target: Sequence[float], colour: str, frame: _Frame
) -> None:
    """Mark the EER and the points of least cost on a curve; at the edge, if out of sight."""
    look: dict[str, Any] = {"markersize": 8, "color": colour, "markeredgecolor": "white"}
    look |= {"zorder": 5, "clip_on": False}

    def mark(p_fa: ArrayLike, p_miss: ArrayLike, marker: str) -> None:
        x, y = np.clip(p_fa, *frame.x_range), np.clip(p_miss, *frame.y_range)
        axes.plot(frame.x(x), frame.y(y), marker, **look)

    mark(points.eer(), points.eer(), "o")
    for prior, marker in zip(p_target, MARKERS):
        p_miss, p_fa, _ = points.rates(np.array([points.best_point(prior)]))
        mark(p_fa, p_miss, marker)


def _mark_legend(axes: Axes, p_target: Sequence[float]) -> None:
    """Explain the markers, once for all systems."""
    look = {"linestyle": "none", "color": "0.4", "markeredgecolor": "white", "markersize": 8}
    axes.plot([], [], marker="o", label="EER (convex hull)", **look)  # type: ignore[arg-type]
    for prior, marker in zip(p_target, MARKERS):
        label = f"minDCF, target prior {prior:g}"
        axes.plot([], [], marker=marker, label=label, **look)  # type: ignore[arg-type]


def _rule_of_30(axes: Axes, systems: Systems, frame: _Frame) -> None:
    """Draw where a rate rests on 30 errors, if all systems have the same trials."""
    counts = {(points.n_targets, points.n_nontargets) for points in systems.values()}
    if len(counts) > 1:
        return
    n_targets, n_nontargets = counts.pop()
    fa, miss = _RULE_OF / n_nontargets, _RULE_OF / n_targets
    look = {"color": "0.45", "linewidth": 0.9, "linestyle": (0, (2, 2)), "zorder": 2}
    shown = False
    if frame.x_range[0] < fa < frame.x_range[1]:
        axes.axvline(float(frame.x(fa)), **look)  # type: ignore[arg-type]
        shown = True
    if frame.y_range[0] < miss < frame.y_range[1]:
        axes.axhline(float(frame.y(miss)), **look)  # type: ignore[arg-type]
        shown = True
    if shown:
        axes.plot([], [], label=f"{_RULE_OF} errors (Doddington)", **look)  # type: ignore[arg-type]
