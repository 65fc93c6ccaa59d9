"""The report of an identification experiment as PDF of at most three pages, Markdown and HTML.

The content is `dnn.identification.assignment`'s; here are its pictures, drawn once for the pages of
the PDF and once as PNG for the other two, and how words and tables are set on a page.
"""

from __future__ import annotations

import base64
import logging
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnn.curves import COLOURS, SETTINGS
from dnn.identification.assignment import (
    FACTOR_HEADER,
    NETWORK_HEADER,
    analysis,
    comparisons,
    confusions,
    effects,
    factor_rows,
    machine_line,
    network_rows,
    sweep_line,
    task,
)
from dnn.identification.experiment import Experiment, Network, Point, read_experiment
from dnn.identification.figures import markdown_table, percent
from ivector.base.files import atomic_path, write_text
from ivector.base.foreign.names import figure_text, html_text, markdown_text, shown

TITLE = "Closed-set speaker identification"
WIDTH, HEIGHT, MARGIN = 8.27, 11.69, 0.8  # of a page, A4, in inches
MOST_ROWS = 18  # of the sweep's table on the page
MOST_NETWORKS = 3
MOST_PAIRS = 6
LONGEST = 32  # letters of a cell on a page
NAMED = 30  # speakers up to whom the axes of a confusion matrix have names
PAIR_HEADER = ("network", "speaker", "taken for", "tests")


def draw_curves(axes: Sequence[Any], experiment: Experiment) -> None:
    """Loss, and accuracies on training crops and held-out utterances; the legend stands below."""
    loss, accuracy = axes
    for network, colour in zip(experiment.networks, COLOURS):
        for name, style in (("training", ":"), ("held out", "-")):
            x, y = network.curves[name].T
            label = f"{figure_text(network.name)}: {name}"
            accuracy.plot(x, 100 * y, style, color=colour, label=label, linewidth=1.4)
        loss.plot(*network.curves["loss"].T, ":", color=colour, linewidth=1.4)
    loss.set(xlabel="Epoch", ylabel="Loss of training crops")
    accuracy.set(xlabel="Epoch", ylabel="Accuracy (%)", ylim=(0, 102))
    _grid(axes)
    accuracy.figure.legend(
        *accuracy.get_legend_handles_labels(), loc="lower left", ncols=2, fontsize=8, frameon=False,
        bbox_to_anchor=(MARGIN / WIDTH, _below(loss)),
    )  # fmt: skip


def _below(axes: Any) -> float:
    """Where a legend ends so that it stands under the axes and their labels."""
    figure = axes.figure
    return axes.get_position().y0 - 0.95 / figure.get_size_inches()[1]


def draw_effects(axes: Sequence[Any], experiment: Experiment) -> None:
    """Accuracy with intervals over each factor that was varied."""
    for number, (place, (title, points)) in enumerate(zip(axes, experiment.factors.items())):
        done = [point for point in points if not point.diverged]
        at = [points.index(point) for point in done]
        shares = 100 * np.array([point.record["test"]["top1"] for point in done])
        bounds = 100 * np.array([point.record["test"]["top1_interval"] for point in done])
        if done:
            errors = np.abs(bounds.T - shares)
            place.errorbar(at, shares, errors, fmt="o-", color=COLOURS[0], capsize=3, linewidth=1.4)
        place.set_xticks(range(len(points)), [_tick(point) for point in points])
        place.set(xlabel=title, ylim=(0, 102), xlim=(-0.5, len(points) - 0.5))
        if not number:
            place.set_ylabel("Accuracy (%)")
    _grid(axes)


def _tick(point: Point) -> str:
    return f"{point.value:g}" + ("\ndiverged" if point.diverged else "")


def draw_confusion(axes: Sequence[Any], experiment: Experiment) -> None:
    """Answers of each network as shares of the speaker's tests."""
    for place, network in zip(axes, experiment.networks):
        totals = np.maximum(network.confusion.sum(axis=1, keepdims=True), 1)
        place.imshow(100 * network.confusion / totals, cmap="Blues", vmin=0, vmax=100,
                     interpolation="nearest")  # fmt: skip
        title = f"{figure_text(network.name)}: {percent(network.test['top1'])} % right"
        place.set_title(title, fontsize=9)
        place.set(xlabel="Answer", ylabel="Speaker")
        if len(network.confusion) <= NAMED:
            place.set(xlabel="", ylabel="")
            names = [figure_text(name.replace("_", " ")) for name in experiment.speakers]
            names += [""] * (len(network.confusion) - len(names))
            place.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
            place.set_yticks(range(len(names)), names, fontsize=6)


def _grid(axes: Sequence[Any]) -> None:
    for place in axes:
        place.grid(True, color="#E0E0E0", linewidth=0.6)
        place.set_axisbelow(True)
        place.tick_params(labelsize=8)


Draw = Callable[[Sequence[Any], Experiment], None]
# Picture, its function, axes side by side, and height in inches.
PICTURES: tuple[tuple[str, Draw, float], ...] = (
    ("Learning curves", draw_curves, 2.6),
    ("Effects", draw_effects, 2.4),
    ("Confusions", draw_confusion, 3.2),
)


def _n_axes(draw: Draw, experiment: Experiment) -> int:
    if draw is draw_effects:
        return len(experiment.factors)
    return 2 if draw is draw_curves else min(2, len(experiment.networks))


def _new_axes(figure: Any, top: float, height: float, n: int) -> list[Any]:
    """Axes side by side whose upper edge is `top` inches above the figure's lower one."""
    page_width, page_height = figure.get_size_inches()
    gap = 0.75
    width = (page_width - 2 * MARGIN - 0.3 - gap * (n - 1)) / n
    return [
        figure.add_axes((
            (MARGIN + 0.3 + i * (width + gap)) / page_width, (top - height) / page_height,
            width / page_width, height / page_height,
        ))
        for i in range(n)
    ]  # fmt: skip


class _Page:
    """An A4 page that is filled from the top; `top` is what is free, in inches."""

    def __init__(self) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH, HEIGHT))
        self.top = HEIGHT - MARGIN

    def words(self, text: str, size: float = 9, weight: str = "normal") -> None:
        """A paragraph, broken into lines."""
        per_line = int((WIDTH - 2 * MARGIN) * 72 / (0.53 * size))
        for line in textwrap.wrap(text.replace(" %", "\u00a0%"), per_line):
            self._put(MARGIN, line, size, weight)
            self.top -= 1.4 * size / 72
        self.top -= 0.08

    def heading(self, text: str) -> None:
        self.top -= 0.08
        self.words(text, 11, "bold")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as their longest cell; the header's words one below the other."""
        size = 7.5
        rows = [[textwrap.shorten(cell, LONGEST, placeholder="…") for cell in row] for row in rows]
        heads = [cell.split(" ") for cell in header]
        widths = [
            max(map(len, [*head, *(row[i] for row in rows)])) + 2 for i, head in enumerate(heads)
        ]
        starts = MARGIN + (WIDTH - 2 * MARGIN) * np.cumsum([0, *widths[:-1]]) / sum(widths)
        n_lines = max(map(len, heads))
        for number in range(n_lines):
            for x, head in zip(starts, heads):
                if number < len(head):
                    self._put(x, head[number], size, "bold")
            self.top -= 1.3 * size / 72
        self._rule()
        for row in rows:
            for x, cell in zip(starts, row):
                self._put(x, cell, size, "normal")
            self.top -= 1.4 * size / 72
        self.top -= 0.1

    def _rule(self) -> None:
        """A line across the page, under a table's header."""
        from matplotlib.lines import Line2D

        ends = (MARGIN / WIDTH, 1 - MARGIN / WIDTH)
        self.figure.add_artist(
            Line2D(ends, 2 * [self.top / HEIGHT], color="#808080", linewidth=0.6)
        )
        self.top -= 0.05

    def picture(self, draw: Draw, experiment: Experiment, height: float) -> None:
        """Axes side by side, with room for their labels, and a legend of curves, below."""
        self.top -= 0.1
        draw(_new_axes(self.figure, self.top, height, _n_axes(draw, experiment)), experiment)
        self.top -= height + (0.6 if draw is draw_effects else 1.0)

    def _put(self, x: float, text: str, size: float, weight: str) -> None:
        self.figure.text(x / WIDTH, self.top / HEIGHT, shown(text), size=size, weight=weight,
                         va="top", parse_math=False)  # fmt: skip


def write_report(folder: Path, out: Path) -> None:
    """Write ``report.pdf``, ``report.md`` and ``report.html`` with their pictures.

    Raises
    ------
    DataError
        What `read_experiment` raises.
    """
    experiment = read_experiment(folder)
    out.mkdir(parents=True, exist_ok=True)
    draw_pictures(out, experiment)
    write_pdf(out / "report.pdf", experiment)
    write_text(out / "report.md", markdown(experiment))
    write_text(out / "report.html", html(out, experiment))


def write_pdf(path: Path, experiment: Experiment) -> None:
    """Write the pages: networks and curves, what was varied, confusions and hardware."""
    import matplotlib as mpl
    from matplotlib.backends.backend_pdf import PdfPages

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells each glyph
    experiment = experiment._replace(networks=experiment.networks[:MOST_NETWORKS])
    with mpl.rc_context({**SETTINGS, "font.size": 9, "pdf.fonttype": 42}):
        first, last = _Page(), _Page()
        first.words(TITLE, 15, "bold")
        first.words(task(experiment))
        first.table(NETWORK_HEADER, network_rows(experiment))
        first.heading("Analysis")
        for sentence in comparisons(experiment):
            first.words(sentence)
        first.heading("Learning curves")
        first.picture(draw_curves, experiment, 2.6)
        pages = [first]
        if experiment.factors:
            second = _Page()
            second.heading("Batch size, learning rate and width")
            second.words(sweep_line(experiment))
            second.picture(draw_effects, experiment, 2.4)
            for sentence in effects(experiment):
                second.words(sentence)
            second.table(FACTOR_HEADER, factor_rows(experiment)[:MOST_ROWS])
            pages.append(second)
        last.heading("Confusions: speakers in rows, answers in columns, by class")
        last.picture(draw_confusion, experiment, 3.0)
        for sentence in confusions(experiment):
            last.words(sentence)
        last.table(PAIR_HEADER, _pairs(experiment.networks))
        last.heading("Hardware")
        last.words(machine_line(experiment))
        pages.append(last)
        with atomic_path(path) as temporary:
            with PdfPages(temporary, metadata={"Title": TITLE, "CreationDate": None}) as pdf:
                for page in pages:
                    pdf.savefig(page.figure)


def _pairs(networks: Sequence[Network]) -> list[list[str]]:
    return [
        [network.name, pair["speaker"], pair["taken_for"], str(pair["utterances"])]
        for network in networks
        for pair in network.test["worst_pairs"][:MOST_PAIRS]
    ]


def draw_pictures(folder: Path, experiment: Experiment) -> None:
    """Write the pictures of Markdown and HTML as PNG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    for title, draw, height in _pictures(experiment):
        with mpl.rc_context({**SETTINGS, "font.size": 9}):
            figure = Figure(figsize=(WIDTH, height + 1.4), dpi=130)
            draw(_new_axes(figure, height + 1.1, height, _n_axes(draw, experiment)), experiment)
            with atomic_path(folder / _file(title)) as temporary:
                figure.savefig(temporary, format="png", metadata={"Software": None})


def _pictures(experiment: Experiment) -> list[tuple[str, Draw, float]]:
    return [part for part in PICTURES if _n_axes(part[1], experiment)]


def _file(title: str) -> str:
    return f"{title.lower().replace(' ', '-')}.png"


def markdown(experiment: Experiment) -> str:
    """The report's text in Markdown, with pictures beside it."""
    networks = markdown_table(NETWORK_HEADER, network_rows(experiment))
    items = "\n".join(f"- {markdown_text(sentence)}" for sentence in analysis(experiment))
    parts = [f"# {TITLE}", markdown_text(task(experiment)), networks, "## Analysis", items]
    for title, _, _ in _pictures(experiment):
        parts += [f"## {title}", f"![{title}]({_file(title)})"]
    if rows := factor_rows(experiment):
        parts += ["## What was varied", sweep_line(experiment), markdown_table(FACTOR_HEADER, rows)]
    if pairs := _pairs(experiment.networks):
        parts += ["## Who is taken for whom", markdown_table(PAIR_HEADER, pairs)]
    return "\n\n".join([*parts, "## Hardware", markdown_text(machine_line(experiment))]) + "\n"


def html(folder: Path, experiment: Experiment) -> str:
    """The report as one page of HTML, with its pictures in it."""
    items = "".join(f"<li>{html_text(sentence)}</li>" for sentence in analysis(experiment))
    parts = [
        f"<h1>{TITLE}</h1><p>{html_text(task(experiment))}</p>",
        _html(NETWORK_HEADER, network_rows(experiment)), f"<h2>Analysis</h2><ul>{items}</ul>",
    ]  # fmt: skip
    for title, _, _ in _pictures(experiment):
        data = base64.b64encode((folder / _file(title)).read_bytes()).decode()
        source = f"data:image/png;base64,{data}"
        parts.append(f'<h2>{title}</h2><img alt="{title}" src="{source}">')
    if rows := factor_rows(experiment):
        parts.append(f"<h2>What was varied</h2><p>{sweep_line(experiment)}</p>")
        parts.append(_html(FACTOR_HEADER, rows))
    if pairs := _pairs(experiment.networks):
        parts.append(f"<h2>Who is taken for whom</h2>{_html(PAIR_HEADER, pairs)}")
    parts.append(f"<h2>Hardware</h2><p>{html_text(machine_line(experiment))}</p>")
    style = (
        "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:left;"
        "border-bottom:1px solid #ddd}img{max-width:100%}"
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        f"<style>{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _html(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html_text(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
