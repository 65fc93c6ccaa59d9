"""Ends of intervals and p-values from estimates, their optimism and their spread.

Error rates spread in proportion to their size, and skewed; their logarithm (the EER's logit) does
not; the table of metrics says which has which scale. An interval is symmetric on that scale about
the estimate less its optimism and the bias of the logarithm, and as many standard errors wide as
Student's t says with the degrees of freedom that the variance has. Where no trial errs there is no
spread to tell; the upper end is then the share of speakers who could err without one of them being
seen to (the rule of three). Fewer than four errors are too few: such an interval is marked.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from fusion.intervals.replicates import System
from fusion.intervals.results import Interval
from fusion.metrics.table import METRICS

_MOST_VARIANCE = 0.25  # on the scale; beyond, nothing follows from a second derivative
FEWEST_ERRORS = 4.0
# Of an interval of what chooses no threshold, and has no optimism that would raise it:
# how many standard errors its middle is raised, and how much wider it is made, for the skewness of
# errors that come by few speakers (measured: tests/benchmarks/coverage.py).
_RAISED, _WIDER = 0.2, 1.05
# The logarithm of a count spreads more in replicates than from sample to sample: by this times its
# variance (1 to 1.7 for Poisson counts of 5 to 40).
_EXCESS = 1.5


class Scale:
    """The scale on which a statistic spreads symmetrically.

    Parameters
    ----------
    name : str
        Name of the metric.
    step : float
        Half of what one more error adds at least, so that 0 errors stay finite on a logarithm.
    missed : float
        What the statistic would be if all targets were missed; 0 for those that have no errors.
    n_units : int
        Speakers with target trials.
    """

    def __init__(self, name: str, step: float, missed: float, n_units: int):
        metric = METRICS[name]
        self.plain, self.logit = metric.scale == "plain", metric.scale == "logit"
        self.least, self.most, self.step = metric.least, metric.most, step
        self.skewed = not self.plain and metric.choice is None
        self.missed, self.n_units = missed, n_units

    def with_missed(self, missed: float) -> Scale:
        """The same scale of a statistic that another value would be of if all were missed."""
        other = copy(self)
        other.missed = missed
        return other

    def to(self, values: np.ndarray | float) -> np.ndarray:
        """Values on the scale."""
        if self.plain:
            return np.asarray(values, np.float64)
        raised = np.maximum(values, 0) + self.step
        return np.log(raised / (1 - np.minimum(values, 0.5))) if self.logit else np.log(raised)

    def back(self, values: np.ndarray | float) -> np.ndarray:
        """Inverse of `to`, within what the statistic can be."""
        if self.plain:
            return np.clip(values, self.least, self.most)
        ratio = np.exp(values)
        found = (ratio - self.step) / (1 + ratio) if self.logit else ratio - self.step
        return np.clip(found, self.least, self.most)

    def slope(self, value: float) -> float:
        """Derivative of `to`."""
        if self.plain:
            return 1.0
        slope = 1 / (max(value, 0) + self.step)
        return slope + 1 / (1 - min(value, 0.5)) if self.logit else slope

    def of_samples(self, spread: float) -> float:
        """Variance from sample to sample of what has this variance in the replicates of one."""
        return spread if self.plain else spread / (1 + _EXCESS * spread)

    def bend(self, value: float) -> float:
        """Second derivative of `to` by the square of the first, negative."""
        if self.plain:
            return 0.0
        return 1 - 2 * min(value, 0.5) if self.logit else 1.0


def scales(system: System) -> list[Scale]:
    """Scale of each statistic."""
    step = 0.5 / min(system.operating.n_targets, system.operating.n_nontargets)
    n_units = len(np.unique(system.enrol[system.target]))
    return [
        Scale(metric.name, step, metric.missed(*metric.arguments(at)), n_units)
        for metric, at in system.asked
    ]


def numbers_of_errors(system: System) -> np.ndarray:
    """Errors (M,) that each statistic is made of, infinite where that is not known.

    As many as would vary like its misses and false alarms do together, of which one kind may cost
    next to nothing: 1 / sum of squared shares of the cost by numbers.
    """
    found = np.full(len(system.keys), np.inf)
    sizes = np.array([system.operating.n_targets, system.operating.n_nontargets])
    for i, (metric, at) in enumerate(system.asked):
        if metric.errors is None:
            continue
        *rates, miss, accept = metric.errors(system.operating, *metric.arguments(at))
        costs = np.array([miss, accept]) * rates
        paid = costs > 0
        shares = costs[paid] / costs.sum()
        found[i] = 1 / (shares**2 / (sizes * rates)[paid]).sum() if paid.any() else 0.0
    return found


def interval(
    scale: Scale,
    estimate: float,
    gained: float,
    error: float,
    free: float,
    level: float,
    *,
    enough: bool = True,
) -> Interval:
    """Interval about an estimate (that it includes) less its optimism.

    Parameters
    ----------
    scale : Scale
    estimate : float
    gained : float
        Optimism: how far too low the estimate is.
    error : float
        Standard error on the scale.
    free : float
        Degrees of freedom of its variance.
    level : float
    enough : bool
        Whether errors are enough for it.
    """
    from scipy.special import stdtrit

    if not np.isfinite(estimate):
        return Interval(estimate, estimate, estimate, level, enough)
    if estimate == error == 0:
        share = 1 - ((1 - level) / 2) ** (1 / scale.n_units)
        return Interval(0.0, 0.0, float(min(scale.most, scale.missed * share)), level, enough)
    raised = estimate + gained
    # The mean of a logarithm is below the logarithm of the mean, by half of its variance.
    centre = scale.to(raised) + 0.5 * min(error**2, _MOST_VARIANCE) * scale.bend(raised)
    width = stdtrit(free, (1 + level) / 2) * error
    if scale.skewed:
        centre, width = centre + _RAISED * error, _WIDER * width
    low, high = (float(scale.back(centre + sign * width)) for sign in (-1, 1))
    return Interval(estimate, min(low, estimate), max(high, estimate), level, enough)


def difference(
    scale: Scale,
    change: float,
    gained: float,
    error: float,
    free: float,
    level: float,
    enough: bool = True,
) -> tuple[Interval, float]:
    """Interval of a difference and the two-sided p-value of none; arguments are of it.

    The interval stays within what a statistic can change by.
    """
    from scipy.special import stdtr, stdtrit

    if not np.isfinite(change) or not np.isfinite(error):
        return Interval(change, -np.inf, np.inf, level, enough), 1.0
    centre = change + gained
    if error == 0:
        return Interval(change, change, change, level, enough), float(change == 0)
    width = stdtrit(free, (1 + level) / 2) * error
    p_value = float(2 * stdtr(free, -abs(centre) / error))
    most = scale.most - scale.least
    low, high = max(min(centre - width, change), -most), min(max(centre + width, change), most)
    if low <= 0 <= high:  # which holds the estimate as well: no test may then tell a difference
        p_value = max(p_value, 1 - level)
    return Interval(change, low, high, level, enough), p_value
