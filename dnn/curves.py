"""Training curves as a picture: loss, accuracy or error rate, and learning rate over the steps.

``python -m dnn.curves FOLDER...`` draws those of one or more trainings side by side, also while
they run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnn.commands import COMMANDS
from ivector.base.cli import Parser, run
from ivector.base.errors import DataError, UsageError
from ivector.base.foreign.names import figure_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# After M. Okabe, K. Ito, "Color universal design", 2008, darkened for white paper.
COLOURS = ("#0072B2", "#C24E00", "#00805D", "#B65C90", "#A87000", "#3A93CC", "#000000")
SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.hashsalt": "ivector-plda",
    "svg.fonttype": "path",
}
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}

Records = Sequence[Mapping[str, float]]


def plot_curves(
    path: str | os.PathLike,
    runs: str | os.PathLike | Mapping[str, str | os.PathLike],
    title: str = "",
) -> None:
    """Draw the curves of one or more trainings.

    Parameters
    ----------
    path : path-like
        ``.png`` or ``.svg``.
    runs : path-like or mapping of str to path-like
        ``scalars.jsonl`` of a training, or of several by name.
    title : str

    Raises
    ------
    UsageError
        Neither PNG nor SVG, or no trainings.
    DataError
        A file cannot be read, or written.
    """
    from dnn.training.scalars import read_scalars
    from ivector.base.files import atomic_path

    path = Path(path)
    kind = path.suffix[1:].lower()
    if kind not in _METADATA:
        raise UsageError(f"{path}: curves are written as .png or .svg; give such a name")
    named = runs if isinstance(runs, Mapping) else {"": runs}
    if not named:
        raise UsageError("nothing to plot: no trainings were given")
    records = {name: read_scalars(file) for name, file in named.items()}
    import matplotlib as mpl
    from matplotlib.figure import Figure

    options: dict[str, Any] = {"metadata": _METADATA[kind]}
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(9.6, 7.2), dpi=130, layout="constrained")
        _draw(figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1)), records)
        if title:
            figure.suptitle(figure_text(title))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, **options)


def _draw(panels: Any, runs: Mapping[str, Records]) -> None:
    """Loss, measures, and learning rate, one under the other."""
    loss, measures, rate = panels
    for number, (name, records) in enumerate(runs.items()):
        colour = COLOURS[number % len(COLOURS)]
        _line(loss, records, "loss", colour, _label(name, "training"), "-")
        _line(
            measures,
            records,
            "training_accuracy",
            colour,
            _label(name, "training accuracy"),
            ":",
            100,
        )
        other = colour if len(runs) > 1 else COLOURS[1]
        for key, style in (("accuracy", "-"), ("top5", "-."), ("eer", "--")):
            told = {"accuracy": "accuracy", "top5": "top 5", "eer": "EER"}[key]
            label = _label(name, f"validation {told}")
            _line(measures, records, f"validation_{key}", other, label, style, 100, "o")
        _line(rate, records, "learning_rate", colour, "", "-")
    for axes, text in zip(panels, ("Loss", "Accuracy, error rate (%)", "Learning rate")):
        axes.set_ylabel(text)
        axes.grid(True, color="#E0E0E0", linewidth=0.6)
        axes.set_axisbelow(True)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=9, frameon=False)
    rate.set_xlabel("Step")
    rate.set_ylim(bottom=0)


def _line(
    axes: Axes,
    records: Records,
    key: str,
    colour: str,
    label: str,
    style: str,
    factor: float = 1.0,
    marker: str = "",
) -> None:
    points = [(r["step"], factor * r[key]) for r in records if key in r]
    if points:
        x, y = zip(*points)
        axes.plot(
            x, y, style, color=colour, label=label, linewidth=1.6, marker=marker, markersize=4
        )


def _label(name: str, what: str) -> str:
    return f"{figure_text(name)}: {what}" if name else what


def make_parser() -> Parser:
    """Arguments of the command."""
    parser = Parser(prog="python -m dnn.curves", description=COMMANDS["curves"].sentence)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="of a training, with scalars.jsonl"
    )
    parser.add_argument("--out", type=Path, required=True, help="picture, .png or .svg")
    parser.add_argument("--title", default="", help="above the curves")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Read and draw."""
    files = {folder.name: folder / "scalars.jsonl" for folder in arguments.folders}
    if len(files) < len(arguments.folders):
        raise UsageError("two folders have the same name, which is what their curves are called")
    for file in files.values():
        if not file.is_file():
            raise DataError(f"{file}: not there; is its folder that of a training?")
    only = next(iter(files.values()))
    plot_curves(arguments.out, files if len(files) > 1 else only, arguments.title)


if __name__ == "__main__":
    raise SystemExit(run(make_parser(), main))
