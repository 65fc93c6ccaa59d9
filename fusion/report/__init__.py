"""The report page: numbers, tables, sentences, figures.

__main__  Report on systems: ``python -m fusion.report SYSTEM=SCORES... TRIALS --out report.html``.
make      One page about systems that scored the same trials: how good, how sure, how well
          calibrated.
numbers   The numbers of a report: metrics with intervals, differences from the best, parts of the
          trials.
tables    Tables of a report, of cells in words, for the page and for Markdown alike.
words     The words of a report: summary, cautions, facts, glossary, and all of it as Markdown.
figures   The figures of a report: drawn for a page, with legend, instructions and what they show
          in words.
svg       Figures as SVG to set into a page: in the page's colours and fonts, without outside parts.
page      The page of a report: one HTML file with its style and figures inside, for any screen.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "build_parser": "fusion.report.__main__",
        "main": "fusion.report.__main__",
    },
)
