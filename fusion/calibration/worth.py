"""What a fusion and its parts are worth on speakers they have not seen, and the guard over them.

Every row of the table is a set of systems, fused (one alone: calibrated) by clones of one
estimator, each trained on trials that have neither speaker of those it scores
(`fusion.calibration.crossval.cross_validate`). All rows are measured on the same trials; where no
system of a row has a score, the row's llr is 0, which says nothing.

Dimension legend: N trials, K systems, P operating points.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from fusion.calibration.crossval import cross_validate
from fusion.calibration.linear import LinearFusion
from fusion.intervals.paired import paired_bootstrap
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.table import INFORMATION, METRICS, Key, Metric, measures, pick, points_last
from fusion.metrics.trial_costs import Costs
from ivector.base.log import progress

if TYPE_CHECKING:
    from fusion.formats.speakers import TrialSpeakers
    from fusion.intervals.results import Interval
    from fusion.metrics.points import OperatingPoint

_MANY = 1 << 20  # trials whose llr wait in a file
_LONG = 1 << 20  # trials times sets of systems from which progress is shown
_ALL_SUBSETS = 5  # systems up to which the guard tries every subset


class Kept:
    """An array that is in memory only while it is looked at: a large one waits in a file."""

    def __init__(self, values: np.ndarray):
        self._values: np.ndarray | None = values
        if len(values) >= _MANY:
            with contextlib.suppress(OSError):  # a full disk: it stays where it is
                self._file = tempfile.TemporaryFile()
                np.save(self._file, values)
                self._values = None

    def load(self) -> np.ndarray:
        """The array."""
        if self._values is not None:
            return self._values
        self._file.seek(0)
        return np.load(self._file)


@dataclass(frozen=True)
class Measured:
    """A set of systems, fused and measured on speakers not trained on.

    Parameters
    ----------
    name : str
    systems : tuple of int
        Columns of the score table.
    kept : Kept
        Cross-validated llr (N,).
    values : dict
        Of all metrics by name (`fusion.metrics.table.measures`); each is an attribute, too.
    missing : int
        Trials for which no system of the set has a score.
    """

    name: str
    systems: tuple[int, ...]
    kept: Kept
    values: Mapping[str, Any]
    missing: int

    def __getattr__(self, name: str) -> Any:
        if name not in METRICS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self.values[name]

    @property
    def llr(self) -> np.ndarray:
        """Cross-validated log-likelihood ratios (N,)."""
        return self.kept.load()

    def value(self, metric: Key) -> float:
        """One metric, by its name and the number of the operating point."""
        return float(pick(self.values, metric))


class Contest:
    """Trials on which sets of systems are fused and measured by cross-validation.

    Parameters
    ----------
    estimator : LinearFusion
        With the options to fuse by; its `names` are those of the systems.
    table : ndarray (N, K)
        Scores; NaN where a system has none.
    target : ndarray (N,) bool
    speakers : TrialSpeakers
    points : sequence of OperatingPoint
    n_folds : int
    random_state : int
    """

    def __init__(
        self,
        estimator: LinearFusion,
        table: np.ndarray,
        target: np.ndarray,
        speakers: TrialSpeakers,
        points: Sequence[OperatingPoint],
        *,
        n_folds: int = 5,
        random_state: int = 0,
    ):
        self.estimator, self.table, self.target = estimator, table, target
        self.speakers, self.points = speakers, list(points)
        self.n_folds, self.random_state = n_folds, random_state
        self.names = list(estimator.names or [])
        self._measured: dict[tuple[int, ...], Measured] = {}

    def measure(self, systems: Iterable[int]) -> Measured:
        """Fuse and measure a set of systems; a set asked for again is not done again."""
        chosen = tuple(sorted(systems))
        if chosen not in self._measured:
            self._measured[chosen] = self._measure(chosen)
        return self._measured[chosen]

    def fit(self, systems: Sequence[int]) -> LinearFusion:
        """The fusion of some systems, trained on all trials that have the score of one."""
        scores = self.table[:, systems]
        here = ~np.isnan(scores).all(axis=1)
        trials = (scores, self.target) if here.all() else (scores[here], self.target[here])
        return self._clone(systems).fit(*trials)

    def _clone(self, systems: Sequence[int]) -> LinearFusion:
        return clone(self.estimator).set_params(names=[self.names[k] for k in systems])

    def everything(self) -> list[tuple[str, Measured]]:
        """The rows of the table, named: the parts, all systems, and all but one."""
        n_systems = len(self.names)
        sets = [(f"{name} alone", {k}) for k, name in enumerate(self.names)]
        sets.append(("all fused", {*range(n_systems)}))
        if n_systems > 2:
            sets += [
                (f"without {name}", {*range(n_systems)} - {k}) for k, name in enumerate(self.names)
            ]
        todo: Iterable[tuple[str, set[int]]] = sets
        if len(sets) * len(self.table) > _LONG:
            todo = progress(sets, desc="cross-validation", unit="fusion")
        return [(label, self.measure(systems)) for label, systems in todo]

    def parts(self) -> list[Measured]:
        """Each system alone, calibrated."""
        return [self.measure([k]) for k in range(len(self.names))]

    def fused(self) -> Measured:
        """All systems."""
        return self.measure(range(len(self.names)))

    def left_out(self) -> list[Measured]:
        """All systems but one, in the order of the one; of two that is the other alone."""
        n_systems = len(self.names)
        return [self.measure({*range(n_systems)} - {k}) for k in range(n_systems)]

    def _measure(self, chosen: tuple[int, ...]) -> Measured:
        scores = self.table if len(chosen) == self.table.shape[1] else self.table[:, chosen]
        trials = scores, self.target, self.speakers.enrol, self.speakers.test
        here = ~np.isnan(scores).all(axis=1)
        n_missing = len(here) - int(here.sum())
        n_folds, seed = self.n_folds, self.random_state
        if not n_missing:
            del here
            llr = cross_validate(self._clone(chosen), *trials, n_folds=n_folds, random_state=seed)
        else:
            llr = np.zeros(len(scores))
            llr[here] = cross_validate(
                self._clone(chosen), *(part[here] for part in trials),
                n_folds=n_folds, random_state=seed,
            )  # fmt: skip
        found = measure(llr, self.target, self.points)
        name = " + ".join(self.names[k] for k in chosen)
        return Measured(name, chosen, Kept(llr), found, missing=n_missing)


def measure(
    scores: np.ndarray, target: np.ndarray, points: Sequence[OperatingPoint], llr: bool = True
) -> dict[str, Any]:
    """All metrics of scores (N,); None for those that need an llr, if they are none."""
    return measures(OperatingPoints(scores[target], scores[~target], keep=True), points, llr)


@dataclass(frozen=True)
class Finding:
    """A metric at which the fused system is worse than its best part.

    Parameters
    ----------
    metric : tuple of str and int
        Name and number of the operating point.
    label : str
        For people.
    fused : float
    part : Measured
        The part that is best.
    difference : Interval or None
        Fused minus part, by a paired bootstrap over speakers.
    least : float
        Of a cost of more than 1, which deciding without scores has: its lower limit by the number
        of trials that it rests on.
    """

    metric: Key
    label: str
    fused: float
    part: Measured
    difference: Interval | None
    least: float = 0.0

    @property
    def best(self) -> float:
        """The best part's value."""
        return self.part.value(self.metric)

    @property
    def worse(self) -> tuple[float, float] | None:
        """Interval of how much worse the fused system is, above 0 if it is."""
        if self.difference is None:
            return None
        sign = METRICS[self.metric[0]].sign
        low, high = sorted((sign * self.difference.low, sign * self.difference.high))
        return low, high

    @property
    def certain(self) -> bool:
        """Whether chance does not explain it.

        The interval is above 0, or there is none; or the fused system is worth less than deciding
        without scores, even if the few trials of great weight that make it so are as rare as chance
        allows: draws without them hide them.
        """
        if self.difference is None or self.useless:
            return True
        return self.difference.enough and bool(self.worse and self.worse[0] > 0)

    @property
    def useless(self) -> bool:
        """Whether it is worse than deciding without scores, and its best part is not."""
        return bool(self.least > 1 + 1e-9 > self.best + 1e-9) if self.least else False


def metrics_of(points: Sequence[OperatingPoint]) -> dict[Key, str]:
    """What the guard looks at, with labels."""
    found = {}
    for key in points_last(len(points)):
        metric = METRICS[key[0]]
        if metric.guarded:
            at = f"({points[key[1]].label})" if metric.per_point else ""
            found[key] = metric.symbol + at
    return found


def paired(
    contest: Contest, n_bootstrap: int = 1000, random_state: int = 0
) -> Callable[[Measured, Measured], Mapping[Key, Interval]]:
    """Intervals of second minus first by a paired bootstrap over speakers, for `guard`."""

    def differences(one: Measured, two: Measured) -> Mapping[Key, Interval]:
        found = paired_bootstrap(
            one.llr,
            two.llr,
            contest.target,
            contest.speakers.enrol,
            contest.speakers.test,
            points=contest.points,
            llr=True,
            n_bootstrap=n_bootstrap,
            random_state=random_state,
        ).differences
        return {metric: difference.interval for metric, difference in found.items()}

    return differences


def guard(
    contest: Contest,
    differences: Callable[[Measured, Measured], Mapping[Key, Interval]] | None = None,
) -> list[Finding]:
    """Metrics at which the fused system is worse than the best of its parts.

    Parameters
    ----------
    contest : Contest
    differences : callable, optional
        Intervals of second minus first, for a part and the fused system (`paired`).
    """
    fused, parts = contest.fused(), contest.parts()
    found = []
    intervals: dict[tuple[int, ...], Mapping[Key, Interval]] = {}
    for metric, label in metrics_of(contest.points).items():
        best = _best(parts, metric)
        kind, value, least = METRICS[metric[0]], fused.value(metric), best.value(metric)
        if not kind.is_worse(value, least) or kind.text(value) == kind.text(least):
            continue  # what no digit shows is none
        if differences and best.systems not in intervals:
            intervals[best.systems] = differences(best, fused)
        interval = intervals[best.systems].get(metric) if differences else None
        sure = 0.0
        if interval and kind.needs_llr and value > 1:
            sure = at_least(fused.llr, contest.target, kind, contest.points[metric[1]])
        found.append(Finding(metric, label, value, best, interval, sure))
    return found


def at_least(
    llr: np.ndarray, target: np.ndarray, metric: Metric, at: OperatingPoint | None = None
) -> float:
    """Lower 97.5 % limit of a metric that is a sum over trials.

    As many of them as would vary like it, 1 / the sum of their squared shares, are rare events.
    """
    from scipy.special import gammaincinv

    points = OperatingPoints(llr[target], llr[~target], keep=True)
    costs, sizes = metric.influences(points, at), (points.n_targets, points.n_nontargets)
    if isinstance(costs, Costs):
        parts = np.concatenate([one / n for one, n in zip(costs, sizes)])
        counts = np.ones(len(parts))
    else:
        below = [points.below(cut.at) for cut in costs]
        counts = np.array([[missed, sizes[1] - rejected] for missed, rejected in below])
        parts = np.array([[cut.part * cut.miss, cut.part * cut.accept] for cut in costs]) / sizes
    whole = float((counts * parts).sum())
    if not np.isfinite(whole):
        return whole
    number = whole**2 / float((counts * parts**2).sum())
    return whole * float(gammaincinv(number, 0.025)) / number


def _best(parts: Sequence[Measured], metric: Key) -> Measured:
    """The first of the parts that are best in a metric."""
    return min(parts, key=lambda part: METRICS[metric[0]].sign * part.value(metric))


def offer(contest: Contest, findings: Sequence[Finding]) -> tuple[Measured, list[Finding]]:
    """The subset to take instead, and the findings that hold for it too.

    Of the sub-sets that are no worse than the best part at most of the findings, the one of least
    Cllr. Every sub-set is tried up to 5 systems; beyond, single ones and all but one.
    """
    everything = range(len(contest.names))
    sizes = everything if len(everything) <= _ALL_SUBSETS else (1, len(everything) - 1)
    candidates = [
        contest.measure(subset)
        for size in sizes
        if size
        for subset in itertools.combinations(everything, size)
    ]

    def worse(candidate: Measured) -> list[Finding]:
        values = [(finding, candidate.value(finding.metric)) for finding in findings]
        return [f for f, value in values if METRICS[f.metric[0]].is_worse(value, f.best)]

    def rank(candidate: Measured) -> tuple[int, int, float]:
        remaining = worse(candidate)
        information = candidate.value((INFORMATION.name, 0))
        return sum(f.certain for f in remaining), len(remaining), information

    chosen = min(candidates, key=rank)
    return chosen, worse(chosen)
