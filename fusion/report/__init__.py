"""One page about systems that scored the same trials, its Markdown and its JSON.

__main__  The command: ``python -m fusion.report SYSTEM=SCORES... TRIALS --out report.html``.
make      `make_report`: measures, compares and warns; the `Report` that it returns.
numbers   Metrics with intervals, differences from the best system, parts of the trials.
tables    The numbers in cells of words, for the page and for Markdown alike.
forensic  The chapter on forensic validation, of `fusion.forensic`.
words     Summary, cautions, facts and glossary; all of it as Markdown.
figures   What is drawn on the page, with legends and what each figure shows, in words.
svg       Drawings as SVG in the page's colours and fonts, without outside parts.
page      The page: one HTML file for any screen.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
