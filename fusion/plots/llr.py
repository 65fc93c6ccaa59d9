"""Plots of log-likelihood ratios: Tippett, reliability (PAV), normalised Bayes error, and ECE.

They ask what DET curves cannot tell: whether the numbers mean what they say. Files have the same
bytes every time, like those of `fusion.plots`.

- Tippett plot (D. Meuwly, 2001; C. Aitken, D. Taroni, "Statistics and the evaluation of evidence
  for forensic scientists", 2004, in G. Morrison's form): which part of the target trials has at
  most a log-likelihood ratio, and which part of the nontarget trials has at least it. The curves
  of a system cross at its EER.
- Reliability: log-likelihood ratios as given against those that the pool-adjacent-violators
  algorithm finds in the trials themselves; calibrated systems follow the diagonal. Below, the
  numbers of trials on which each part of the curve rests.
- Normalised Bayes error (N. Brümmer, E. de Villiers, "The BOSARIS toolkit", 2011, section 5;
  an "APE" plot, normalised): the actual and the least detection cost for every prior.
- Empirical cross-entropy (D. Ramos et al., "Information-theoretical assessment of the performance
  of likelihood ratio computation methods", Journal of Forensic Sciences 58, 2013).

Axes of likelihood ratios are in powers of ten; everything given is in natural logarithms.

Dimension legend: K distinct scores of a system, G prior log-odds of a grid.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.metrics.curve import OperatingPoints
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
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from fusion.metrics.points import OperatingPoint

LN10 = float(np.log(10))
_ODDS = 7.0  # natural prior log-odds shown either way, unless a point lies further out
_GRID = 141
_TOP = 4.0  # errors above are drawn no higher; all plots end below
_OUT = 5e-4  # part of either class that a frame may leave out at one end
_LONGEST = 12.0  # powers of ten shown either way
_BINS = 48
_EXACT = 1 << 13  # different ratios from which a cross-entropy takes means
_DASHED = (0, (4, 3))
_DEFAULT = "default, without scores"
_PRIOR = "Prior log-odds, ln(P / (1 − P))"

Measure = Callable[[OperatingPoints, np.ndarray], tuple[np.ndarray, np.ndarray]]


def plot_tippett(path: str | os.PathLike, systems: Systems, title: str = "") -> None:
    """Draw Tippett plots of systems whose scores are log-likelihood ratios.

    Parameters
    ----------
    path : path-like
        ``.png`` or ``.svg``.
    systems : mapping of str to OperatingPoints
        Of natural log-likelihood ratios; two curves each.
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
    >>> from fusion import OperatingPoints, plot_tippett
    >>> system = OperatingPoints([-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5])
    >>> plot_tippett("tippett.png", {"plda": system})
    >>> os.path.exists("tippett.png")
    True
    """
    with saved_figure(path, systems, (7.2, 5.4)) as figure:
        finish(figure, draw_tippett(figure, PAPER, systems), title)


def draw_tippett(figure: Figure, look: Look, systems: Systems) -> Axes:
    """Draw what `plot_tippett` shows, without title and legend."""
    axes = figure.add_subplot()
    low, high = _frame(systems)
    for number, (name, points) in enumerate(systems.items()):
        colour, style = look.curve(number)
        x = np.clip(points.thresholds / LN10, low - 1, high + 1)
        x = np.concatenate([[low - 1], x])
        # The targets below the next threshold are those at or below this one.
        below = np.concatenate([points.misses, [points.n_targets]]) / points.n_targets
        above = np.concatenate([[1.0], points.rates().p_fa])
        drawn: dict[str, Any] = {"color": colour, "linestyle": style, "zorder": 3}
        curves: tuple[tuple[np.ndarray, dict[str, Any]], ...] = (
            (below, {"where": "post", "linewidth": 1.8, "label": figure_text(name)}),
            (above, {"where": "pre", "linewidth": 1.0}),
        )
        for y, rest in curves:
            keep = thin(x, y, ((high - low) / 1500, 1e-3))
            axes.step(x[keep], y[keep], **drawn, **rest)
    axes.plot([], [], color=look.faint, linewidth=1.8, label="wide: targets with at most this LR")
    axes.plot([], [], color=look.faint, linewidth=1.0, label="thin: nontargets with at least it")
    axes.axvline(0, color=look.faint, linewidth=0.9)
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.005)
    _powers(axes.xaxis, low, high)
    dress(axes, look, "Likelihood ratio (log scale)", "Part of the trials")
    return axes


def plot_reliability(path: str | os.PathLike, systems: Systems, title: str = "") -> None:
    """Draw log-likelihood ratios as given against those found in the trials (PAV).

    Parameters and errors as of `plot_tippett`.

    Examples
    --------
    >>> import os
    >>> from fusion import OperatingPoints, plot_reliability
    >>> system = OperatingPoints([-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5])
    >>> plot_reliability("reliability.png", {"plda": system})
    >>> os.path.exists("reliability.png")
    True
    """
    with saved_figure(path, systems, (6.4, 7.6)) as figure:
        finish(figure, draw_reliability(figure, PAPER, systems), title)


def draw_reliability(figure: Figure, look: Look, systems: Systems) -> Axes:
    """Draw what `plot_reliability` shows, without title and legend."""
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    low, high = _frame(systems)
    edges = np.linspace(low, high, _BINS + 1)
    for number, (name, points) in enumerate(systems.items()):
        colour, style = look.curve(number)
        given, found = (np.clip(v / LN10, low - 1, high + 1) for v in pav_steps(points))
        keep = thin(given, found, (high - low) / 1500)
        axes.plot(given[keep], found[keep], style, color=colour, label=figure_text(name), zorder=3)
        n_trials = np.diff(points.misses + points.rejections)
        values = np.clip(points.thresholds[:-1] / LN10, low, high)
        height = np.histogram(values, edges, weights=n_trials)[0]
        counts.stairs(np.maximum(height, 0.5), edges, baseline=0.5, color=colour, linestyle=style)
    axes.plot([low, high], [low, high], color=look.faint, linewidth=0.9, label="calibrated")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    counts.set_yscale("log")
    counts.set_ylim(bottom=0.5)
    counts.minorticks_off()
    _powers(axes.yaxis, low, high)
    _powers(counts.xaxis, low, high)
    dress(axes, look, "", "LR found in the trials")
    dress(counts, look, "LR as given (log scale)", "Trials")
    return axes


def plot_ape(
    path: str | os.PathLike,
    systems: Systems,
    points: Sequence[float | OperatingPoint] = (),
    title: str = "",
) -> None:
    """Draw normalised Bayes error rates over the prior log-odds, actual and least.

    Parameters
    ----------
    path : path-like
        ``.png`` or ``.svg``.
    systems : mapping of str to OperatingPoints
        Of natural log-likelihood ratios.
    points : sequence of float or fusion.metrics.points.OperatingPoint
        Priors, or priors and costs, to mark.
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
    >>> from fusion import OperatingPoints, plot_ape
    >>> system = OperatingPoints([-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5])
    >>> plot_ape("ape.png", {"plda": system}, points=[0.01])
    >>> os.path.exists("ape.png")
    True
    """
    with saved_figure(path, systems, (7.2, 5.4)) as figure:
        finish(figure, draw_ape(figure, PAPER, systems, marks(points)), title)


def draw_ape(figure: Figure, look: Look, systems: Systems, shown: Sequence[Mark] = ()) -> Axes:
    """Draw what `plot_ape` shows, without title and legend."""
    axes = figure.add_subplot()
    highest = _over_odds(axes, look, systems, shown, bayes_errors)
    axes.axhline(1, color=look.faint, linestyle=_DASHED, linewidth=0.9, label=_DEFAULT)
    axes.set_ylim(0, min(1.05 * max(1, highest), 1.6))
    dress(axes, look, _PRIOR, "Normalised Bayes error rate")
    return axes


def plot_ece(
    path: str | os.PathLike,
    systems: Systems,
    points: Sequence[float | OperatingPoint] = (),
    title: str = "",
) -> None:
    """Draw the empirical cross-entropy over the prior log-odds, actual and after PAV.

    Parameters and errors as of `plot_ape`.
    """
    with saved_figure(path, systems, (7.2, 5.4)) as figure:
        finish(figure, draw_ece(figure, PAPER, systems, marks(points)), title)


def draw_ece(figure: Figure, look: Look, systems: Systems, shown: Sequence[Mark] = ()) -> Axes:
    """Draw what `plot_ece` shows, without title and legend."""
    axes = figure.add_subplot()
    _over_odds(axes, look, systems, shown, cross_entropies)
    odds = _odds(shown)
    entropy = (np.logaddexp(0, odds) - odds / (1 + np.exp(-odds))) / np.log(2)
    axes.plot(odds, entropy, color=look.faint, linestyle=_DASHED, linewidth=0.9, label=_DEFAULT)
    axes.set_ylim(0, 1.2)
    dress(axes, look, _PRIOR, "Empirical cross-entropy (bit)")
    return axes


def _over_odds(
    axes: Axes, look: Look, systems: Systems, shown: Sequence[Mark], measure: Measure
) -> float:
    """Draw actual and least errors over the prior log-odds, with marks; the highest actual one."""
    odds = _odds(shown)
    at = np.array([logit(mark.prior) for mark in shown])
    style: dict[str, Any] = {"markersize": 7, "markeredgecolor": look.ground, "zorder": 5}
    highest = 0.0
    for number, (name, points) in enumerate(systems.items()):
        colour, line = look.curve(number)
        actual, least = measure(points, odds)
        highest = max(highest, float(actual.max()))
        drawn = np.minimum(actual, _TOP)
        axes.plot(odds, drawn, line, color=colour, linewidth=1.8, label=figure_text(name), zorder=3)
        axes.plot(odds, least, line, color=colour, linewidth=0.8, zorder=3)
        for x, y, marker in zip(at, measure(points, at)[0], MARKERS):
            axes.plot([x], [min(y, _TOP)], marker=marker, color=colour, **style)
    axes.plot([], [], color=look.faint, linewidth=1.8, label="wide: actual")
    axes.plot([], [], color=look.faint, linewidth=0.8, label="thin: least")
    for x, mark, marker in zip(at, shown, MARKERS):
        axes.axvline(x, color=look.faint, linewidth=0.7, zorder=2)
        axes.plot([], [], color=look.faint, linestyle="none", marker=marker, label=mark.label)
    axes.set_xlim(odds[0], odds[-1])
    return highest


def bayes_errors(points: OperatingPoints, odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Actual and least normalised Bayes error rates (G,) at prior log-odds (G,)."""
    target, other = np.exp(-np.logaddexp(0, -odds)), np.exp(-np.logaddexp(0, odds))
    default = np.minimum(target, other)
    at_bayes = points.rates(np.searchsorted(points.thresholds, -odds, side="left"))
    actual = target * at_bayes.p_miss + other * at_bayes.p_fa
    hull = points.rates(points.hull)
    least = [np.min(t * hull.p_miss + o * hull.p_fa) for t, o in zip(target, other)]
    return actual / default, np.array(least) / default


def cross_entropies(points: OperatingPoints, odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Empirical cross-entropies (G,) in bits at prior log-odds (G,), as given and after PAV."""
    n_tar, n_non = np.diff(points.misses), np.diff(points.rejections)
    given = points.thresholds[:-1]
    blocks = points.hull[:-1]
    per_block = np.diff(points.misses[points.hull]), np.diff(points.rejections[points.hull])
    found = points.pav(points.thresholds[blocks])
    return _entropies(given, n_tar, n_non, odds), _entropies(found, *per_block, odds)


def _entropies(
    llr: np.ndarray, n_tar: np.ndarray, n_non: np.ndarray, odds: np.ndarray
) -> np.ndarray:
    """Cross-entropies (G,) of trials counted by their log-likelihood ratio (K,)."""
    (tar_llr, tar_part), (non_llr, non_part) = _merged(llr, n_tar), _merged(llr, n_non)
    found = np.empty(len(odds))
    for i, logit in enumerate(odds):
        prior = 1 / (1 + np.exp(-logit))
        miss = tar_part @ np.logaddexp(0, -tar_llr - logit)
        accept = non_part @ np.logaddexp(0, non_llr + logit)
        found[i] = prior * miss + (1 - prior) * accept
    return found / np.log(2)


def _merged(llr: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratios of a class (K,) and the part of its trials at each.

    Of very many, those within 1/64 become their mean: the curvature of log(1 + exp(x)) is at most
    1/4, so that no cross-entropy changes by more than 2e-5 bits.
    """
    llr, part = llr[counts > 0], counts[counts > 0] / counts.sum()
    if len(llr) <= _EXACT:
        return llr, part
    finite = np.isfinite(llr)
    cells = np.floor(64 * np.clip(llr[finite], -100, 100)).astype(np.int64)
    _, cells = np.unique(cells, return_inverse=True)
    sums = np.bincount(cells, part[finite])
    means = np.bincount(cells, part[finite] * llr[finite]) / sums
    return np.append(means, llr[~finite]), np.append(sums, part[~finite])


def pav_steps(points: OperatingPoints) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of each block of PAV: log-likelihood ratio given and found, natural logarithms."""
    ends = np.stack([points.hull[:-1], points.hull[1:] - 1], axis=1).ravel()
    given = points.thresholds[ends]
    return given, points.pav(given)


def _odds(shown: Sequence[Mark]) -> np.ndarray:
    """Grid of prior log-odds (G,) that has all marks well inside."""
    most = max([_ODDS, *(abs(logit(mark.prior)) + 1 for mark in shown)])
    return np.linspace(-most, most, _GRID)


def logit(prior: float) -> float:
    """Natural log-odds of a probability."""
    return float(np.log(prior) - np.log1p(-prior))


def _frame(systems: Systems) -> tuple[int, int]:
    """Powers of ten between which nearly all log-likelihood ratios of either class lie."""
    low, high = -1.0, 1.0
    for points in systems.values():
        for counts, size in (
            (points.misses, points.n_targets),
            (points.rejections, points.n_nontargets),
        ):
            first = points.thresholds[np.searchsorted(counts, _OUT * size, side="right") - 1]
            last = points.thresholds[np.searchsorted(counts, (1 - _OUT) * size) - 1]
            low, high = min(low, first / LN10), max(high, last / LN10)
    return int(np.floor(max(low, -_LONGEST))), int(np.ceil(min(high, _LONGEST)))


def _powers(axis: Axis, low: int, high: int) -> None:
    """Name the powers of ten of a likelihood ratio."""
    step = 1 if high - low <= 8 else 2 if high - low <= 16 else 4
    ticks = [n for n in range(low, high + 1) if n % step == 0]
    axis.set_ticks(ticks, [power(n) for n in ticks])


def power(n: int) -> str:
    """Text of ten to the power of `n`: 1/100, 1, 1000, 10⁶."""
    if abs(n) <= 3:
        return str(10**n) if n >= 0 else f"1/{10**-n}"
    return "10" + str(n).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
