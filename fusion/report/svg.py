"""Figures as SVG to set into a page: in the page's colours and fonts, without outside parts.

Colours are not known when a page's figure is drawn, for they follow the reader's choice of a light
or a dark page. `PAGE` draws with stand-ins, which become ``currentColor`` and CSS variables here.
Names inside a figure get its key for a prefix, so that any number of figures share a page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from fusion.plots.drawing import SETTINGS, Look
from ivector.base.foreign.names import html_text as escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_SERIES = 7
_FONT_SIZE = 10.5
PAGE = Look(
    series=tuple(f"#0000a{n}" for n in range(1, N_SERIES + 1)),
    ink="#010101",
    faint="#020202",
    grid="#030303",
    ground="#040404",
)
_PAINT = {
    **{colour: f"var(--s{n})" for n, colour in enumerate(PAGE.series, 1)},
    PAGE.ink: "currentColor",
    "#000000": "currentColor",
    PAGE.faint: "var(--faint)",
    PAGE.grid: "var(--grid)",
    PAGE.ground: "var(--ground)",
}
_COLOUR = re.compile("|".join(_PAINT))
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-\d+)?")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_LINK = "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"metadata", "style", "title"}
# What an inline figure takes from the page.
_OWN = ("font-family", "font-variant", "font-stretch")


def inline_svg(
    draw: Callable[[Figure], Any], key: str, title: str, text: str, size: tuple[float, float]
) -> str:
    """Draw a figure and return it as an ``svg`` element.

    Parameters
    ----------
    draw : callable
        Takes the empty figure; uses the colours of `PAGE`.
    key : str
        Name of the figure, unique in the page: letters, digits and hyphens.
    title, text : str
        What a screen reader says: the name of the plot, and what it shows.
    size : (float, float)
        Width and height in inches, of 72 pixels; the page stretches it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    file = io.StringIO()
    with mpl.rc_context({**SETTINGS, "svg.fonttype": "none", "font.size": _FONT_SIZE}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        options: dict[str, Any] = {"metadata": {"Date": None, "Creator": None}}
        figure.savefig(file, format="svg", transparent=True, **options)
    root = ElementTree.fromstring(file.getvalue())
    parts = [
        f'<svg viewBox="{root.get("viewBox")}" role="img" focusable="false" '
        f'aria-labelledby="{key}-title {key}-text">'
        f'<title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-text">{escape(text)}</desc>'
    ]
    _Writer(root, key, parts).children(root)
    return "".join(parts) + "</svg>"


class _Writer:
    """Writes the elements of a figure, as few and as short as will do."""

    def __init__(self, root: ElementTree.Element, key: str, parts: list[str]):
        used = [name for element in root.iter() for name in _references(element)]
        self._names = {name: f"{key}-{n}" for n, name in enumerate(dict.fromkeys(used))}
        self._parts = parts

    def children(self, parent: ElementTree.Element) -> None:
        for element in parent:
            self._element(element)

    def _element(self, element: ElementTree.Element) -> None:
        tag = element.tag.rpartition("}")[2]
        attributes = {name: value for name, value in self._attributes(element) if value}
        if tag in _DROPPED or "opacity:0" in attributes.get("style", "").split(";"):
            return
        if tag in ("g", "defs") and not (len(element) and (attributes or tag == "defs")):
            self.children(element)  # no more than a bracket
            return
        named = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
        self._parts.append(f"<{tag}{named}>{escape(element.text.strip() if element.text else '')}")
        self.children(element)
        self._parts.append(f"</{tag}>")

    def _attributes(self, element: ElementTree.Element) -> Iterator[tuple[str, str]]:
        for name, value in element.attrib.items():
            if name == "id":
                yield name, self._names.get(value, "")
            elif name == _LINK:
                yield "href", f"#{self._names[value[1:]]}"
            elif name == "style":
                yield name, _style(value)
            elif name == "transform":
                yield name, "" if value.startswith("rotate(-0") else _short(value)
            elif name == "clip-path":
                yield name, _REFERENCE.sub(lambda m: f"url(#{self._names[m[1]]})", value)
            else:
                yield name, _short(value)


def _references(element: ElementTree.Element) -> list[str]:
    found = _REFERENCE.findall(element.get("clip-path", ""))
    return [*found, element.attrib[_LINK][1:]] if _LINK in element.attrib else found


def _style(text: str) -> str:
    """A style in the page's colours and font."""
    declared = [part.partition(":")[::2] for part in text.split(";") if part.strip()]
    kept = [
        (name.strip(), _COLOUR.sub(lambda m: _PAINT[m[0]], value.strip()))
        for name, value in declared
        if name.strip() not in _OWN
    ]
    return ";".join(f"{name}:{_short(value)}" for name, value in kept)


def _short(text: str) -> str:
    """Numbers to a hundredth of a point, and no line ends."""

    def rounded(match: re.Match[str]) -> str:
        number = f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
        return "0" if number == "-0" else number

    return " ".join(_NUMBER.sub(rounded, text).split())
