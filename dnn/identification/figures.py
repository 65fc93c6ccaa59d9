"""How reports say the figures of tests: shares, their intervals, tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ivector.base.foreign.names import markdown_text


def percent(share: float) -> str:
    """A share of 1 in percent, with one decimal."""
    return f"{100 * share:.1f}"


def interval(bounds: Sequence[float]) -> str:
    """The bounds of a share, in percent."""
    low, high = bounds
    return f"{percent(low)} – {percent(high)}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a header, whatever the names in them are."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(markdown_text, line)) + " |" for line in lines)
