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
from typing import TYPE_CHECKING

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
_SETTINGS = {
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
        low, high = _limits(systems)
        for number, (name, points) in enumerate(systems.items()):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
            x, y = _det_path(points, low, high)
            label = f"{name} (EER {100 * points.eer():.2f} %)"
            axes.plot(x, y, style, color=colour, linewidth=1.8, label=label, zorder=3)
            if intervals and name in intervals:
                _shade(axes, intervals[name], colour, low, high)
            _mark(axes, points, p_target, colour, low, high)
        _rule_of_30(axes, systems, low, high)
        _probit_axes(axes, low, high)
        _mark_legend(axes, p_target)
        _finish(figure, axes, "False-alarm rate (%)", "Miss rate (%)", title, "upper right")


def det_band() -> np.ndarray:
    """False-alarm rates (G,) at which to bootstrap the band of a DET plot."""
    from scipy.special import ndtr, ndtri

    return ndtr(np.linspace(ndtri(1e-5), ndtri(0.99), 200))


def plot_roc(path: str | os.PathLike, systems: Systems, title: str = "") -> None:
    """Draw ROC curves (dashed: their convex hulls); parameters as in `plot_det`."""
    with _figure(path, systems) as (figure, axes):
        for number, (name, points) in enumerate(systems.items()):
            colour = COLOURS[number % len(COLOURS)]
            hit, accept = 1 - points.rates().p_miss, points.rates().p_fa
            area = float(np.trapezoid(hit[::-1], accept[::-1]))
            keep = _thin(accept, hit, 1e-3)
            label = f"{name} (area {area:.4f})"
            axes.plot(accept[keep], hit[keep], color=colour, linewidth=1.8, label=label, zorder=3)
            hull = points.rates(points.hull)
            axes.plot(hull.p_fa, 1 - hull.p_miss, "--", color=colour, linewidth=0.8, zorder=2)
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
    with _figure(path, {"": points}) as (figure, axes):
        for scores, name, colour in zip(finite, ("nontarget", "target"), COLOURS):
            label = f"{name} ({len(scores):,} trials)"
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
        _finish(figure, axes, "Score", "Density of each class", title, "best")


class _figure:
    """A figure with one pair of axes, saved when the block succeeds."""

    def __init__(self, path: str | os.PathLike, systems: Systems):
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
        self._figure = Figure(figsize=(6.4, 6.4), dpi=150, layout="constrained")
        return self._figure, self._figure.add_subplot()

    def __exit__(self, kind: type | None, *rest: object) -> None:
        try:
            if kind is None:
                with atomic_path(self._path) as temporary:
                    self._figure.savefig(
                        temporary, format=self._kind, metadata=_METADATA[self._kind]
                    )
        finally:
            self._context.__exit__(None, None, None)


def _finish(figure: Figure, axes: Axes, x: str, y: str, title: str, place: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title)
    axes.grid(True, color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc=place, fontsize=9, framealpha=0.95)


def _limits(systems: Systems) -> tuple[float, float]:
    """Range of rates to show on both axes: down to one error, up to a bad system's EER."""
    least = min(1 / max(points.n_targets, points.n_nontargets) for points in systems.values())
    worst = max(points.eer() for points in systems.values())
    low = next((t for t in reversed(_TICKS) if t <= max(least, 1e-5)), _TICKS[0])
    high = next((t for t in _TICKS if t > max(2 * worst, 0.39)), _TICKS[-1])
    return min(low, 0.01), high


def _probit(rates: ArrayLike, low: float, high: float) -> np.ndarray:
    """Normal deviates of rates, those out of sight brought to just outside the frame."""
    from scipy.special import ndtri

    return ndtri(np.clip(rates, low / 4, (1 + high) / 2))


def _det_path(points: OperatingPoints, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a DET curve, thinned to what can be seen."""
    p_miss, p_fa, _ = points.rates()
    x, y = _probit(p_fa, low, high), _probit(p_miss, low, high)
    keep = _thin(x, y, 2e-3 * float(np.ptp(_probit([low, high], low, high))))
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


def _shade(axes: Axes, result: BootstrapResult, colour: str, low: float, high: float) -> None:
    x = _probit(result.p_fa, low, high)
    bottom, top = (_probit(p, low, high) for p in (result.p_miss_low, result.p_miss_high))
    axes.fill_between(x, bottom, top, color=colour, alpha=0.15, linewidth=0, zorder=1)


def _mark(
    axes: Axes,
    points: OperatingPoints,
    p_target: Sequence[float],
    colour: str,
    low: float,
    high: float,
) -> None:
    """Mark the EER and the points of least cost on a curve."""
    rate = _probit(points.eer(), low, high)
    look = {"markersize": 8, "color": colour, "markeredgecolor": "white", "zorder": 5}
    axes.plot(rate, rate, "o", **look)  # type: ignore[arg-type]
    for prior, marker in zip(p_target, MARKERS):
        p_miss, p_fa, _ = points.rates(np.array([points.best_point(prior)]))
        x, y = _probit(p_fa, low, high), _probit(p_miss, low, high)
        axes.plot(x, y, marker, clip_on=True, **look)  # type: ignore[arg-type]


def _mark_legend(axes: Axes, p_target: Sequence[float]) -> None:
    """Explain the markers, once for all systems."""
    look = {"linestyle": "none", "color": "0.4", "markeredgecolor": "white", "markersize": 8}
    axes.plot([], [], marker="o", label="EER (convex hull)", **look)  # type: ignore[arg-type]
    for prior, marker in zip(p_target, MARKERS):
        label = f"minDCF, target prior {prior:g}"
        axes.plot([], [], marker=marker, label=label, **look)  # type: ignore[arg-type]


def _rule_of_30(axes: Axes, systems: Systems, low: float, high: float) -> None:
    """Draw where a rate rests on 30 errors, if all systems have the same trials."""
    counts = {(points.n_targets, points.n_nontargets) for points in systems.values()}
    if len(counts) > 1:
        return
    n_targets, n_nontargets = counts.pop()
    look = {"color": "0.45", "linewidth": 0.9, "linestyle": (0, (2, 2)), "zorder": 2}
    shown = [low < _RULE_OF / n < high for n in (n_nontargets, n_targets)]
    if shown[0]:
        axes.axvline(_probit(_RULE_OF / n_nontargets, low, high), **look)  # type: ignore[arg-type]
    if shown[1]:
        axes.axhline(_probit(_RULE_OF / n_targets, low, high), **look)  # type: ignore[arg-type]
    if any(shown):
        axes.plot([], [], label=f"{_RULE_OF} errors (Doddington)", **look)  # type: ignore[arg-type]


def _probit_axes(axes: Axes, low: float, high: float) -> None:
    ticks = [t for t in _TICKS if low <= t <= high]
    # The smallest ticks crowd; 0.2 and 0.5 % stand close together on long axes.
    if low < 1e-3:
        ticks = [t for t in ticks if t not in (2e-3, 5e-3)] + ([5e-3] if low >= 1e-4 else [])
    places, names = _probit(sorted(ticks), low, high), [f"{100 * t:g}" for t in sorted(ticks)]
    span = _probit([low, high], low, high)
    axes.plot(span, span, color="0.75", linewidth=0.8, zorder=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(places, names)
    axes.set_xlim(*span)
    axes.set_ylim(*span)
    axes.set_aspect("equal")
