"""Is one system better than another, and how sure is that.

systems     Comparing systems that scored the same trials: every one against the first.
result      A comparison of systems as text, Markdown and a record.
conditions  Parts of the trials by a column: its categories, or quarters of its numbers.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Comparison": "fusion.comparison.systems",
        "Disagreement": "fusion.comparison.systems",
        "Key": "fusion.comparison.systems",
        "Part": "fusion.comparison.systems",
        "Versus": "fusion.comparison.systems",
        "compare_systems": "fusion.comparison.systems",
        "holm": "fusion.comparison.systems",
    },
)
