"""Whether two systems differ by more than the chance of their tests: paired on the same tests.

From the counts of right answers by speaker alone. Tests of one speaker are not independent, so the
variance is that between speakers; where the counts hardly vary between few of them, it is at least
that of as many changed answers as the counts prove.

C  speakers, with n_c tests each, N in all
d  right answers of one system less those of the other, (C,)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ivector.base.errors import DataError

LEVEL = 0.95


class Difference(NamedTuple):
    """A difference of shares and the ends of its interval."""

    share: float
    low: float
    high: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        share, low, high = (f"{round(100 * x, 1) + 0.0:.1f}" for x in self)  # no minus before 0
        return f"{share} points [{low}, {high}]".replace("-", "−")


class Extremes(NamedTuple):
    """Numbers of the best and the worst of several tests, and the difference between them."""

    best: int
    worst: int
    difference: Difference


def paired_difference(
    one: Mapping[str, Any], two: Mapping[str, Any], n_comparisons: int = 1
) -> Difference:
    """Share of right answers of `one` less that of `two`, with its 95 % interval.

    Parameters
    ----------
    one, two : mapping
        Of `dnn.identification.identifier.measures`; their ``by_speaker`` is looked at.
    n_comparisons : int
        From among how many this one was chosen; all their intervals hold at once with 95 %
        (Bonferroni).

    Raises
    ------
    DataError
        They are of different tests, or of one speaker.

    References
    ----------
    K.-Y. Liang, S. L. Zeger, "Longitudinal data analysis using generalized linear models", 1986
    (the variance between clusters); A. Agresti, Y. Min, "Simple improved confidence intervals for
    comparing matched proportions", 2005 (that of changed answers).

    Examples
    --------
    >>> one = {"by_speaker": {"ann": [9, 10], "bob": [8, 10], "eve": [10, 10]}}
    >>> two = {"by_speaker": {"ann": [8, 10], "bob": [8, 10], "eve": [9, 10]}}
    >>> print(paired_difference(one, two), paired_difference(one, two).beyond_chance)
    6.7 points [−7.7, 21.0] False
    """
    from scipy.stats import norm, t

    counts = [np.array(list(test["by_speaker"].values()), float) for test in (one, two)]
    same = list(one["by_speaker"]) == list(two["by_speaker"])
    if not same or (counts[0] != counts[1])[:, 1].any():
        raise DataError("the systems were tested on different sets; test them on one")
    tests, d = counts[0][:, 1], counts[0][:, 0] - counts[1][:, 0]
    n_speakers, n_tests = len(tests), tests.sum()
    if n_speakers < 2:
        raise DataError("there is one speaker; a closed set has at least two")
    share = d.sum() / n_tests
    tail = 1 - (1 - LEVEL) / (2 * n_comparisons)
    between = np.sqrt(n_speakers / (n_speakers - 1) * ((d - tests * share) ** 2).sum()) / n_tests
    changed, total = np.abs(d).sum() + 1, n_tests + 2
    within = np.sqrt(changed - d.sum() ** 2 / total) / total
    half = max(t.ppf(tail, n_speakers - 1) * between, norm.ppf(tail) * within)
    return Difference(float(share), float(max(-1.0, share - half)), float(min(1.0, share + half)))


def extremes(tests: Sequence[Mapping[str, Any]]) -> Extremes:
    """The best and the worst of at least two tests; their interval allows for the choice.

    Raises
    ------
    DataError
        As `paired_difference`.
    """
    shares = [test["top1"] for test in tests]
    best, worst = int(np.argmax(shares)), int(np.argmin(shares))
    n_pairs = math.comb(len(shares), 2)
    return Extremes(best, worst, paired_difference(tests[best], tests[worst], n_pairs))


def independent_difference(
    one: float, one_interval: Sequence[float], two: float, two_interval: Sequence[float]
) -> Difference:
    """Share `one` less `two` of different tests, by their Wilson intervals (R. G. Newcombe, 1998).

    Examples
    --------
    >>> print(independent_difference(0.8, (0.7, 0.9), 0.6, (0.5, 0.7)))
    20.0 points [5.9, 34.1]
    """
    low = one - two - np.hypot(one - one_interval[0], two_interval[1] - two)
    high = one - two + np.hypot(one_interval[1] - one, two - two_interval[0])
    return Difference(one - two, float(low), float(high))
