"""Is one system better than another, and how sure is that.

systems     `compare_systems`: every system against the first, on the same trials.
conditions  Parts of the trials by a column: its categories, or quarters of its numbers.
parts       What it is made of: two systems, parts of the trials, single trials.
result      What a comparison found, as an object, text, Markdown and a record.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
