"""What all plots share: colours, the figure and its file, and the thinning of curves.

A plot is drawn by a function of a figure and a `Look`, so that the same drawing can be saved as a
file (black on white) or set into a page whose colours are not known when it is drawn. Figures are
made without pyplot, so that no global state is touched and any number may be drawn side by side.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.metrics.curve import OperatingPoints
from ivector.base.errors import UsageError
from ivector.base.files import atomic_path
from ivector.base.foreign.names import figure_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fusion.metrics.points import OperatingPoint

# After M. Okabe, K. Ito, "Color universal design", 2008, darkened to a contrast of at least 3:1
# with white; line styles tell curves apart in grey.
COLOURS = ("#0072B2", "#C24E00", "#00805D", "#B65C90", "#A87000", "#3A93CC", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = "sDv^<>pP"
SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.hashsalt": "ivector-plda",
    "svg.fonttype": "path",
    "path.simplify": True,
}
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}

Systems = Mapping[str, OperatingPoints]


@dataclass(frozen=True)
class Look:
    """Colours of a plot: of its curves, text, side marks, grid and ground.

    `order` has the number of each system drawn, if they are some of those of another plot and
    are to look as there.
    """

    series: tuple[str, ...] = COLOURS
    ink: str = "#000000"
    faint: str = "#737373"
    grid: str = "#E0E0E0"
    ground: str = "#FFFFFF"
    order: tuple[int, ...] = ()

    def curve(self, number: int) -> tuple[str, str]:
        """Colour and line style of a system; the pair repeats after 28."""
        number = self.order[number] if self.order else number
        return self.series[number % len(self.series)], STYLES[number % len(STYLES)]


PAPER = Look()


@dataclass(frozen=True)
class Mark:
    """An operating point to show: its name and its effective prior (costs of 1)."""

    label: str
    prior: float


def marks(points: Sequence[float | OperatingPoint]) -> list[Mark]:
    """Marks of priors (costs 1 and 1) and of operating points."""
    return [
        Mark(f"target prior {point:g}", float(point))
        if isinstance(point, (int, float))
        else Mark(point.label, point.prior)
        for point in points
    ]


@contextlib.contextmanager
def saved_figure(
    path: str | os.PathLike, systems: Systems, size: tuple[float, float] = (6.4, 6.4)
) -> Iterator[Figure]:
    """Yield a figure; save it to `path` if the block succeeds.

    Raises
    ------
    UsageError
        Neither PNG nor SVG, or no systems.
    DataError
        The file cannot be written.
    """
    path = Path(path)
    kind = path.suffix[1:].lower()
    if kind not in _METADATA:
        raise UsageError(f"{path}: plots are written as .png or .svg; give such a name")
    if not systems:
        raise UsageError("nothing to plot: no systems were given")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    options: dict[str, Any] = {"metadata": _METADATA[kind]}
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, bbox_inches="tight", **options)


def dress(axes: Axes, look: Look, x: str, y: str) -> None:
    """Name the axes and give frame, ticks and grid the look's colours."""
    axes.set_xlabel(x, color=look.ink)
    axes.set_ylabel(y, color=look.ink)
    axes.tick_params(which="both", color=look.ink, labelcolor=look.ink)
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_color(look.ink)
    axes.grid(True, color=look.grid, linewidth=0.6)
    axes.set_axisbelow(True)


def finish(figure: Figure, axes: Axes, title: str, place: str | None = None) -> None:
    """Title and legend of a plot that stands alone; the legend is below if `place` is None."""
    if title:
        axes.set_title(figure_text(title))
    look: dict[str, Any] = {"fontsize": 9, "framealpha": 0.95}
    if place:
        axes.legend(loc=place, **look)  # type: ignore[call-overload]
    else:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, **look)


def thin(x: np.ndarray, y: np.ndarray, step: float | tuple[float, float]) -> np.ndarray:
    """Positions of the points of a curve that differ on a grid of the given step (x, y)."""
    steps = np.broadcast_to(np.asarray(step, np.float64), 2)[:, None]
    cells = np.floor(np.stack([x, y]) / steps)
    moved = (cells[:, 1:] != cells[:, :-1]).any(axis=0)
    # Both ends of a jump, or a long step of the staircase would be drawn as a slope.
    keep = np.zeros(len(x), bool)
    keep[[0, -1]] = True
    keep[1:] |= moved
    keep[:-1] |= moved
    return np.flatnonzero(keep)
