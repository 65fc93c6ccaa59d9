"""Comparing systems that scored the same trials: every one against the first.

`compare_systems` measures the differences of all metrics under the same draws of speakers, tests
decisions at a threshold, repeats the comparison in parts of the trials, and finds the trials on
which two systems disagree most; the `Comparison` tells all of it as text, Markdown or a record.

Dimension legend: N trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusion.calibration.grades import Grade, grade_calibration
from fusion.comparison.conditions import groups
from fusion.comparison.parts import Disagreement, Part, Versus
from fusion.comparison.result import Comparison
from fusion.intervals.paired import PairedResult, mcnemar, paired_bootstrap
from fusion.intervals.results import Difference, McNemar, MetricIntervals
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import ACTUAL_COST, Key
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError

_BLOCK = 1 << 20  # trials looked at together


@dataclass(frozen=True)
class _Trials:
    """What is the same for all systems."""

    target: np.ndarray
    enrol: np.ndarray
    test: np.ndarray
    shared: bool
    llr: bool
    points: list[OperatingPoint]
    n_bootstrap: int
    level: float
    seed: int | np.random.Generator | None

    def paired(
        self, one: np.ndarray, two: np.ndarray, chosen: np.ndarray | slice = slice(None)
    ) -> PairedResult:
        """Differences on some of the trials."""
        return paired_bootstrap(
            one[chosen], two[chosen], self.target[chosen], self.enrol[chosen], self.test[chosen],
            shared=self.shared, points=self.points, llr=self.llr, n_bootstrap=self.n_bootstrap,
            level=self.level, random_state=self.seed,
        )  # fmt: skip

    def grade(self, values: np.ndarray, found: MetricIntervals) -> Grade:
        """How well llr are calibrated."""
        return grade_calibration(
            values, self.target, self.enrol, self.test, shared=self.shared, points=self.points,
            actual=getattr(found, ACTUAL_COST.name), random_state=self.seed,
        )  # fmt: skip

    def n_speakers(self, chosen: np.ndarray | slice = slice(None)) -> int:
        """Number of speakers (or of those of the smaller side) of some of the trials."""
        sides = self.enrol[chosen], self.test[chosen]
        if self.shared:
            return len(np.unique(np.concatenate(sides)))
        return min(len(np.unique(side)) for side in sides)


def compare_systems(
    systems: Mapping[str, ArrayLike],
    is_target: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    shared: bool = True,
    llr: bool = False,
    points: Sequence[OperatingPoint] = (OperatingPoint(0.01),),
    conditions: Mapping[str, ArrayLike] | None = None,
    threshold: float | None = None,
    top: int = 10,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
    ids: Callable[[int], tuple[str, str]] | None = None,
    speakers: str = "",
    doubt: str = "",
) -> Comparison:
    """Compare every system with the first.

    Parameters
    ----------
    systems : mapping of str to array-like (N,)
        Scores by name, at least two, in the same order of trials.
    is_target : array-like (N,) bool
    enrol_speaker, test_speaker : array-like (N,) int
        As in `fusion.intervals.bootstrap.bootstrap_interval`, and so `shared`, `n_bootstrap`,
        `level`, `random_state`.
    llr : bool
        Whether all scores are natural-log likelihood ratios.
    points : sequence of OperatingPoint
        The first is also where decisions are tested.
    conditions : mapping of str to array-like (N,)
        Columns by whose values the comparison is repeated in parts: categories, or numbers, which
        are cut at their quartiles.
    threshold : float, optional
        At which decisions are tested; by default the Bayes threshold of the first point with
        `llr`, else each system's best threshold there.
    top : int
        How many trials to find on which two systems disagree most: whose parts of Cllr differ
        most once both are log-likelihood ratios.
    ids : callable, optional
        Gives the enrolment and test id of a trial's number, to name trials by.
    speakers, doubt : str
        How many speakers there are, and what to say of intervals that cannot be trusted, in words.

    Raises
    ------
    DataError
        Too few speakers, one class only, NaN, or arrays of different lengths.
    UsageError
        Fewer than two systems, no operating point, or an impossible option.

    Examples
    --------
    >>> from fusion import compare_systems
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> systems = {name: part.scores[name] for name in ("cosine", "plda")}
    >>> found = compare_systems(systems, part.target, *part.sides, n_bootstrap=200)
    >>> for sentence in found.conclusions():
    ...     print(sentence)
    No difference in EER between cosine and plda can be told with these 40 speakers: plda - cosine
    is +0.68 %, 95 % interval ... (p = ...).
    cosine is better in minDCF (P_tar 0.01).
    No difference can be told in min Cllr.
    """
    if len(systems) < 2 or not points or top < 0:
        raise UsageError("a comparison needs two systems, an operating point and top of 0 or more")
    trials = _Trials(
        np.asarray(is_target, bool), np.asarray(enrol_speaker), np.asarray(test_speaker), shared,
        llr, list(points), n_bootstrap, level, random_state,
    )  # fmt: skip
    first, *others = ((name, np.asarray(values, np.float64)) for name, values in systems.items())
    columns = _columns(conditions or {}, len(trials.target))
    paired = [trials.paired(first[1], values) for _, values in others]
    found = [one.differences for one in paired]
    each = [paired[0].systems[0], *(one.systems[1] for one in paired)]
    adjusted = {key: holm([differences[key].p_value for differences in found]) for key in found[0]}
    versus = []
    for n, (name, values) in enumerate(others):
        p_values = {key: values[n] for key, values in adjusted.items()}
        cuts = tuple(_threshold(trials, scores, threshold) for scores in (first[1], values))
        versus.append(
            Versus(
                name, found[n], p_values, (cuts[0], cuts[1]),
                _tests(trials, first[1] >= cuts[0], values >= cuts[1]),
                list(_parts(trials, first[1], values, columns)),
                *_disagreements(trials, first[1], values, top),
            )
        )  # fmt: skip
    n_targets, n_speakers = int(trials.target.sum()), trials.n_speakers()
    return Comparison(
        first[0], versus, list(points), level, n_bootstrap, n_speakers, n_targets,
        len(trials.target) - n_targets, _at(trials, threshold), ids,
        {name: trials.grade(values, one) for (name, values), one in zip((first, *others), each)}
        if llr
        else {},
        speakers or f"{n_speakers} speakers", doubt,
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    Examples
    --------
    >>> from fusion.comparison import holm
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    found = np.empty(len(values))
    found[order] = np.minimum(stepped, 1)
    return found.tolist()


def _columns(conditions: Mapping[str, ArrayLike], n_trials: int) -> dict[str, np.ndarray]:
    columns = {name: np.asarray(values) for name, values in conditions.items()}
    for name, values in columns.items():
        if values.shape != (n_trials,):
            raise DataError(
                f"the column {name!r} has shape {values.shape}; give one value for each of "
                f"{n_trials} trials"
            )
    return columns


def _threshold(trials: _Trials, scores: np.ndarray, given: float | None) -> float:
    point = trials.points[0]
    if given is not None:
        return given
    if trials.llr:
        return point.threshold
    points = OperatingPoints(scores[trials.target], scores[~trials.target])
    best = points.best_point(point.p_target, point.c_miss, point.c_fa)
    return float(points.thresholds[best])


def _at(trials: _Trials, given: float | None) -> str:
    label = trials.points[0].label
    if given is not None:
        return f"the threshold {given:g}"
    if trials.llr:
        return f"the Bayes threshold {trials.points[0].threshold:.4g} of {label}"
    return f"each system's own best threshold at {label}"


def _tests(trials: _Trials, accept_a: np.ndarray, accept_b: np.ndarray) -> dict[str, McNemar]:
    wrong_a, wrong_b = accept_a != trials.target, accept_b != trials.target
    chosen: dict[str, Any] = {"all": slice(None)}
    chosen |= {"targets": trials.target, "nontargets": ~trials.target}
    with warnings.catch_warnings():
        # Few speakers have been told of once.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        return {
            name: mcnemar(
                wrong_a[which], wrong_b[which], trials.enrol[which], trials.test[which],
                shared=trials.shared,
            )
            for name, which in chosen.items()
        }  # fmt: skip


def _parts(
    trials: _Trials, one: np.ndarray, two: np.ndarray, columns: Mapping[str, np.ndarray]
) -> Iterator[Part]:
    for condition, column in columns.items():
        for name, chosen in groups(column):
            n_targets, n_speakers = int(trials.target[chosen].sum()), trials.n_speakers(chosen)
            differences: dict[Key, Difference] = {}
            if 0 < n_targets < len(chosen) and n_speakers > 1:
                differences = _paired_or_none(trials, one, two, chosen)
            n_nontargets = len(chosen) - n_targets
            yield Part(condition, name, n_targets, n_nontargets, n_speakers, differences)


def _paired_or_none(
    trials: _Trials, one: np.ndarray, two: np.ndarray, chosen: np.ndarray
) -> dict[Key, Difference]:
    """Differences in a part, none if too few speakers have both classes."""
    with warnings.catch_warnings():
        # The table shows how many speakers a part has.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        try:
            return trials.paired(one, two, chosen).differences
        except DataError:
            # The arrays are sound: all trials have been compared before.
            return {}


def _disagreements(
    trials: _Trials, one: np.ndarray, two: np.ndarray, top: int
) -> tuple[list[Disagreement], str]:
    """Trials that cost two systems most differently, and the scale in words.

    What a trial costs is its part of Cllr: far on the right side is as good as further.
    """
    if not top:
        return [], ""
    (a, b), scale = _one_scale(trials, [one, two])
    apart = np.zeros(len(a))
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        sign = np.where(trials.target[part], -1.0, 1.0)
        costs = [np.logaddexp(0, sign * llr[part]) for llr in (a, b)]
        # Both infinite is no disagreement.
        np.subtract(costs[1], costs[0], where=costs[0] != costs[1], out=apart[part])
    np.abs(apart, out=apart)
    least = np.partition(apart, -top)[-top] if top < len(apart) else 0.0
    most = np.flatnonzero(apart >= least)
    order = most[np.argsort(-apart[most], kind="stable")[:top]]
    rows = [
        Disagreement(int(i), bool(trials.target[i]), float(a[i]), float(b[i]))
        for i in order
        if apart[i]
    ]
    return rows, scale


def _one_scale(trials: _Trials, scores: list[np.ndarray]) -> tuple[list[np.ndarray], str]:
    """Scores as log-likelihood ratios, and how they became it."""
    if trials.llr:
        return scores, "llr as given"
    from fusion.calibration.crossval import cross_validate
    from fusion.calibration.one_system import Calibration

    # Two populations are numbered apart, so that none of one's speakers is taken for the other's.
    test = trials.test if trials.shared else trials.test + trials.enrol.max() + 1
    try:
        llr = [
            cross_validate(Calibration(), values, trials.target, trials.enrol, test)
            for values in scores
        ]
        return llr, "llr by logistic calibration, each trial's learnt from other speakers"
    except DataError:
        llr = [Calibration().fit(v, trials.target).decision_function(v) for v in scores]
        return llr, "llr by logistic calibration, learnt from the same trials for want of speakers"
