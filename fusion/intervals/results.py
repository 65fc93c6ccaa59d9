"""What intervals and comparisons are returned as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fusion.metrics.table import METRICS, Key

TOO_FEW = "too few errors"  # what stands in place of an interval that has not enough of them
Ends = list[float] | str | None


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; error rates are fractions.

    Parameters
    ----------
    estimate, low, high : float
    level : float
    enough : bool
        Whether there are errors enough for it to hold the truth as often as its level says.

    Examples
    --------
    >>> from fusion import analytic_interval
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> eer = analytic_interval(part.scores["plda"], part.target, *part.sides, level=0.9).eer
    >>> print(f"{eer.estimate:.2f}, {eer.low:.2f} to {eer.high:.2f} ({eer.level:.0%})")
    0.10, 0.08 to 0.14 (90%)
    """

    estimate: float
    low: float
    high: float
    level: float
    enough: bool = True


def ends(interval: Interval | None) -> dict[str, Any]:
    """Ends of an interval for a record; none, where there is none or errors are too few for it."""
    known = interval if interval and interval.enough else None
    return {
        "low": known.low if known else None,
        "high": known.high if known else None,
        "enough": interval.enough if interval else None,
    }


def told_ends(interval: Interval | None) -> Ends:
    """Ends of an interval, or in their place that errors are too few; None if there is none."""
    if interval is None:
        return None
    return [interval.low, interval.high] if interval.enough else TOO_FEW


@dataclass(frozen=True)
class MetricIntervals:
    """Intervals of all metrics, each also by its name, as an attribute.

    A metric with operating points (`min_dcf`) has a list of intervals, one for each of `p_target`,
    then one for each of `points`; another (`eer`) has an interval. What needs log-likelihood ratios
    has none, an empty list or None, where the scores are not taken for such.

    Parameters
    ----------
    intervals : dict of (str, int) to Interval
        By name and number of the operating point, in the order of columns of replicates.
    """

    intervals: dict[Key, Interval]

    def __getattr__(self, name: str) -> Any:
        if name not in METRICS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        found = [interval for (kind, _), interval in self.intervals.items() if kind == name]
        if METRICS[name].per_point:
            return found
        return found[0] if found else None


@dataclass(frozen=True)
class Difference:
    """Two systems in one metric.

    Parameters
    ----------
    a, b : float
        The metric of either.
    interval : Interval
        Of b - a.
    p_value : float
        Two-sided, of no difference.

    Examples
    --------
    >>> from fusion import paired_bootstrap
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> cosine, plda = part.scores["cosine"], part.scores["plda"]
    >>> found = paired_bootstrap(cosine, plda, part.target, *part.sides)
    >>> eer = found.differences["eer", 0]
    >>> round(eer.a, 2), round(eer.b, 2)
    (0.09, 0.1)
    >>> bool(eer.interval.low < eer.b - eer.a < eer.interval.high)
    True
    """

    a: float
    b: float
    interval: Interval
    p_value: float


@dataclass(frozen=True)
class McNemar:
    """Decisions of two systems on the same trials.

    Parameters
    ----------
    only_a, only_b : int
        Trials that only the first, or only the second, decides wrongly.
    p_exact : float
        Two-sided p-value of the binomial test, as if trials were independent.
    p_speakers : float
        The same from the sums over speakers, as trials of one speaker go together; 1 if there is
        only one.
    """

    only_a: int
    only_b: int
    p_exact: float
    p_speakers: float
