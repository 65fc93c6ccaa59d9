"""Ends of intervals and p-values from estimates, their optimism and their spread.

Error rates spread in proportion to their size, and skewed; their logarithm (the EER's logit) does
not; the table of metrics says which has which scale. An interval is symmetric on that scale about
the estimate less its optimism and the bias of the logarithm, and as many standard errors wide as
Student's t says with the degrees of freedom that the variance has. Where no trial errs there is no
spread to tell; the upper end is then the share of speakers who could err without one of them being
seen to (the rule of three). Fewer than four errors are too few: such an interval is marked.

Replicates repeat errors that were made. What a kind may cost that was never made is told by the
rule of three, and added to the upper side as independent errors add up (G. Zou, A. Donner,
"Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008). Where
one error more of either kind would leave less than four, errors are too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

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


class Errors(NamedTuple):
    """Misses and false alarms that a statistic is made of.

    Parameters
    ----------
    numbers, each : ndarray (2,)
        How many, and what one costs.
    most : ndarray (2,)
        Speakers who could make them.
    """

    numbers: np.ndarray
    each: np.ndarray
    most: np.ndarray

    @property
    def both(self) -> bool:
        """Whether either kind costs anything."""
        return bool(self.each.all())

    def number(self, more: int = 0) -> float:
        """As many errors as would vary like these do together, of which one may cost little.

        That is 1 / sum of squared shares of the cost by numbers, of each kind at most as many as
        speakers could make; with some more of either kind.
        """
        numbers = self.numbers + more
        costs = numbers * self.each
        paid = costs > 0
        shares = costs[paid] / costs.sum()
        return 1 / (shares**2 / np.minimum(numbers, self.most)[paid]).sum() if paid.any() else 0.0


def errors(system: System) -> list[Errors | None]:
    """Errors that each statistic (M,) is made of; None where that is not known."""
    sizes = np.array([system.operating.n_targets, system.operating.n_nontargets])
    most = _speakers(system)
    found: list[Errors | None] = []
    for metric, at in system.asked:
        if metric.errors is None:
            found.append(None)
            continue
        *rates, miss, accept = metric.errors(system.operating, *metric.arguments(at))
        found.append(Errors(np.array(rates) * sizes, np.array([miss, accept]) / sizes, most))
    return found


def enough_errors(*made: Sequence[Errors | None]) -> list[bool]:
    """Whether each statistic (M,) of a system, or difference of two, has errors enough.

    One error more of either kind must leave a system four, and a difference, which is smaller than
    what it is of, as many for each.
    """
    found = []
    for row in zip(*made):
        known = [one for one in row if one]
        enough = not known or sum(one.number() for one in known) >= FEWEST_ERRORS
        if enough and known and known[0].both:
            usual = np.mean([one.numbers for one in known], axis=0)
            enough = known[0]._replace(numbers=usual).number(more=1) >= FEWEST_ERRORS * len(known)
        found.append(bool(enough))
    return found


def _speakers(system: System) -> np.ndarray:
    """Speakers (2,) who have target trials, and nontarget trials; of the side that has fewer."""
    found = []
    for which in (system.target, ~system.target):
        sides = [np.unique(side[which]) for side in (system.enrol, system.test)]
        both = [np.union1d(*sides)] if system.units.shared else sides
        found.append(min(map(len, both)))
    return np.array(found)


def unseen_errors(system: System, level: float) -> np.ndarray:
    """How much more each cost (M,) may be by errors of a kind that was never made.

    As many as independent trials hide with twice the chance of 1 - level, 2.3 of 95 %, which is
    enough together with the other kind (measured: tests/benchmarks/coverage.py); how much alike
    trials of a speaker are, of which none erred, is not known. The least cost is at most what
    another threshold costs, where some are made. 0 of what is no sum of two kinds of errors.
    """
    found = np.zeros(len(system.keys))
    points = system.operating
    misses, rejections = (counts[points.hull] for counts in (points.misses, points.rejections))
    anywhere = np.column_stack([misses, points.n_nontargets - rejections])
    for i, one in enumerate(errors(system)):
        if one and one.both:
            chosen = anywhere if system.asked[i][0].choice else one.numbers[None]
            dearer = (chosen - one.numbers) @ one.each
            never = np.where(chosen < 0.5, -np.log(min(2 * (1 - level), 1)) * one.each, 0)
            found[i] = (dearer + np.linalg.norm(never, axis=1)).min()
    return found


def interval(
    scale: Scale,
    estimate: float,
    gained: float,
    error: float,
    free: float,
    level: float,
    *,
    unseen: float = 0.0,
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
    unseen : float
        What errors that were not seen may add (`unseen_errors`), beside the standard error.
    enough : bool
        Whether errors are enough for it.
    """
    from scipy.special import stdtrit

    if not np.isfinite(estimate):
        return Interval(estimate, estimate, estimate, level, enough)
    if estimate == error == 0:
        share = 1 - ((1 - level) / 2) ** (1 / scale.n_units)
        high = max(scale.missed * share, unseen)
        return Interval(0.0, 0.0, float(min(scale.most, high)), level, enough)
    raised = estimate + gained
    # The mean of a logarithm is below the logarithm of the mean, by half of its variance.
    centre = scale.to(raised) + 0.5 * min(error**2, _MOST_VARIANCE) * scale.bend(raised)
    width = stdtrit(free, (1 + level) / 2) * error
    if scale.skewed:
        centre, width = centre + _RAISED * error, _WIDER * width
    low, high = (float(scale.back(centre + sign * width)) for sign in (-1, 1))
    high = float(min(raised + np.hypot(max(high - raised, 0), unseen), scale.most))
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
