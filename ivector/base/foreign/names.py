"""Ids, names and titles that others chose, shown as text that does nothing but be read.

A terminal obeys escape sequences, bidirectional marks turn text round, XML has no control
characters, Markdown and matplotlib take characters for mark-up. Files keep names as they are.
"""

from __future__ import annotations

import re
from html import escape

MOST_SHOWN = 4000  # characters of a message
MOST_NAME = 200  # characters of a name in a table or picture
# C0 and C1, format characters (category Cf, among them bidirectional marks), line and paragraph
# separators, surrogates (bytes that are not UTF-8) and noncharacters.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\uffff\U000110bd\U000110cd"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
# What begins a tag, a link, a formula or another cell; emphasis and the like do no harm.
_MARKDOWN = re.compile(r"(<(?=[A-Za-z/!?])|\[(?=[^\]]*\]\s?[(\[:])|[|$])")


def shown(text: object, keep: str = "", most: int = MOST_SHOWN) -> str:
    r"""Text with what cannot be seen as visible escapes, and no longer than `most` characters.

    Parameters
    ----------
    text : object
        Its string is taken.
    keep : str
        Characters that stay as they are, line feeds, say.
    most : int
        0 for no limit.

    Examples
    --------
    >>> shown("a\x1b[31mb\u202ec")
    'a\\x1b[31mb\\u202ec'
    """
    text = str(text)
    if _HIDDEN.search(text):
        text = _HIDDEN.sub(lambda found: _escaped(found[0], keep), text)
    return text if not most or len(text) <= most else f"{text[: most - 1]}…"


def _escaped(character: str, keep: str) -> str:
    return character if character in keep else character.encode("unicode_escape").decode("ascii")


def html_text(text: object) -> str:
    """Text for HTML and SVG, in elements and in attributes."""
    return escape(shown(text, "\n\t", 0))


def markdown_text(text: object) -> str:
    """One line of text that is neither tag, link, formula nor more than one cell in Markdown."""
    return _MARKDOWN.sub(r"\\\1", shown(" ".join(str(text).split()), most=0))


def figure_text(text: object) -> str:
    """A name as matplotlib draws it: no formula between dollars, never left out of a legend."""
    text = shown(text, most=MOST_NAME).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
