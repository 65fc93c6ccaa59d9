"""The metrics: one table from which everything that measures, compares or reports takes them.

Evaluation, comparison, fusion, calibration, intervals, reports and the records for JSON ask here
which metrics there are, how to compute them, what to call them and how to write them. A metric more
is an entry more in `METRICS` (or a call of `add`): with a name, a symbol, its meaning in words and
a function of `fusion.metrics.curve.OperatingPoints` it appears in all of them, with intervals:

    def fnmr(points):
        p_miss, p_fa, _ = points.rates()
        return float(p_miss[p_fa <= 0.01][0])

    add(Metric("fnmr", "FNMR", fnmr, "miss rate where 1 % of the nontargets pass", unit="%"))

Intervals are then made by counting trials as often as their speakers are drawn, and of what the
metric does when neighbouring scores count more or less; the last fields of a `Metric` make them
faster and closer: its influence function, its scale, and what it chooses.

The order of the table is the order in words and columns, of each kind of metrics: those before the
first that is measured at operating points, those at points, and those after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.metrics import trial_costs
from fusion.metrics.points import OperatingPoint, cost_weights

if TYPE_CHECKING:
    from fusion.metrics.curve import OperatingPoints

Key = tuple[str, int]  # name of a metric, number of the operating point (0 if it has none)


@dataclass(frozen=True)
class Choice:
    """How a metric chooses thresholds on the trials that it measures, which flatters it.

    Parameters
    ----------
    costs : callable
        Costs of a miss and of a false alarm at the thresholds, of what the metric's function takes.
    noise : float
        Part of its squared optimism by which the choice adds to the variance: 1 for one threshold,
        less where the noise of many averages.
    """

    costs: Callable[..., tuple[float, float]]
    noise: float = 1.0


@dataclass(frozen=True)
class Reading:
    """A second reading of a metric, shown beside it without an interval."""

    name: str
    symbol: str
    function: Callable[[OperatingPoints], float]


@dataclass(frozen=True)
class Metric:
    """What is to be known of a metric.

    Parameters
    ----------
    name : str
        In records, in results and for programs; an identifier.
    symbol : str
        In tables and sentences.
    function : callable
        Of an `OperatingPoints` and, if `per_point`, of a prior and the costs of a miss and of a
        false alarm. It is also asked of trials that count several times, as a bootstrap draws.
    meaning : str
        What it is, for the glossary.
    unit : {"", "%"}
        Percentages are fractions everywhere but in text.
    digits : int
        After the decimal point.
    lower_is_better : bool
    needs_llr : bool
        Whether it is measured only of natural-log likelihood ratios.
    per_point : bool
        Whether each operating point has its own.
    of_ratios : bool, optional
        Whether it belongs to what log-likelihood ratios are worth rather than to how well the
        classes are told apart; by default if it needs log-likelihood ratios.
    guarded : bool
        Whether a fusion is to be no worse in it than the best of its parts.
    best : str
        Name of the metric that it would be after the best calibration.
    note : str
        A remark below tables.
    reading : Reading, optional
        Of a metric without operating points.
    mean : tuple of str, optional
        Name and symbol of the mean over the points of an evaluation, of a metric with such.
    scale : {"plain", "log", "logit"}
        On which it spreads symmetrically.
    least, most : float
        What it can be.
    missed : callable
        What it would be if all targets were missed, of prior and costs; 0 if it counts no errors.
    choice : Choice, optional
        Of thresholds, if it chooses them.
    errors : callable, optional
        Of what `function` takes: miss and false-alarm rate at the threshold that its noise is of,
        and what either counts there, to tell whether errors are enough for an interval.
    influence : callable, optional
        Its influence function, of what `function` takes: what each trial costs
        (`fusion.metrics.trial_costs`); without one, it is found numerically.

    Examples
    --------
    >>> from fusion.metrics import METRICS, OperatingPoints
    >>> eer = METRICS["eer"]
    >>> eer.heading(), eer.lower_is_better
    ('EER %', True)
    >>> eer.measure(OperatingPoints([-1.0, 1.0, 2.0, 3.0], [-3.0, -2.0, 0.0, 1.5]))
    0.25
    """

    name: str
    symbol: str
    function: Callable[..., float]
    meaning: str
    unit: str = ""
    digits: int = 4
    lower_is_better: bool = True
    needs_llr: bool = False
    per_point: bool = False
    of_ratios: bool | None = None
    guarded: bool = True
    best: str = ""
    note: str = ""
    reading: Reading | None = None
    mean: tuple[str, str] | None = None
    scale: str = "plain"
    least: float = float("-inf")
    most: float = float("inf")
    missed: Callable[..., float] = lambda *costs: 0.0
    choice: Choice | None = None
    errors: Callable[..., tuple[float, float, float, float]] | None = None
    influence: Callable[..., trial_costs.TrialCosts] | None = None

    def __post_init__(self) -> None:
        if self.of_ratios is None:
            object.__setattr__(self, "of_ratios", self.needs_llr)

    def heading(self, at: str = "") -> str:
        """Symbol and unit, for the head of a column; `at` is an operating point in words."""
        return f"{self.symbol}{f'({at})' if at else ''} {self.unit}".rstrip()

    @property
    def sign(self) -> int:
        """1 if more is worse, -1 if more is better."""
        return 1 if self.lower_is_better else -1

    def is_worse(self, value: float, than: float) -> bool:
        """Whether one value is worse than another."""
        return self.sign * value > self.sign * than

    def arguments(self, point: OperatingPoint | None) -> tuple[float, ...]:
        """What `function` takes beside the trials."""
        if not self.per_point or point is None:
            return ()
        return (point.p_target, point.c_miss, point.c_fa)

    def measure(self, points: OperatingPoints, at: OperatingPoint | None = None) -> float:
        """The metric of some trials, at an operating point if it has one."""
        return self.function(points, *self.arguments(at))

    def influences(
        self, points: OperatingPoints, at: OperatingPoint | None = None
    ) -> trial_costs.TrialCosts:
        """What each trial costs, to first order."""
        if self.influence is not None:
            return self.influence(points, *self.arguments(at))
        return trial_costs.cost_of_neighbours(lambda some: self.measure(some, at), points)

    def text(self, value: float, digits: int | None = None, sign: bool = False) -> str:
        """A value in its unit, which is not written."""
        factor = 100 if self.unit == "%" else 1
        digits = self.digits if digits is None else digits
        rounded = round(float(factor * value), digits) + 0.0  # never -0.0
        return f"{rounded:{'+' if sign else ''}.{digits}f}"


def _even_costs(points: OperatingPoints) -> tuple[float, float]:
    """Costs of a miss and of a false alarm at which no other threshold than the EER's is better."""
    prior, _, _ = points.crossing_edge()
    return prior, 1 - prior


def _even_errors(points: OperatingPoints) -> tuple[float, float, float, float]:
    """Error rates where they are the same; what vary are those of the smaller class."""
    rate, few_targets = points.eer(), points.n_targets < points.n_nontargets
    return rate, rate, float(few_targets), float(not few_targets)


def _errors_at(
    point: int, points: OperatingPoints, p_target: float, c_miss: float, c_fa: float
) -> tuple[float, float, float, float]:
    """Error rates at a point of the curve, and the factors of the cost."""
    p_miss, p_fa, _ = points.rates(slice(point, point + 1))
    return (float(p_miss[0]), float(p_fa[0]), *cost_weights(p_target, c_miss, c_fa))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "eer",
            "EER",
            lambda points: points.eer(),
            "equal error rate: the miss rate and false-alarm rate at the threshold where they are "
            "the same, on the convex hull of the ROC",
            unit="%",
            digits=2,
            note="EER: on the ROC convex hull; interp.: on the ROC itself.",
            reading=Reading(
                "eer_interpolated", "EER interp.", lambda points: points.eer_interpolated()
            ),
            scale="logit",
            least=0.0,
            most=0.5,
            missed=lambda: 1.0,
            choice=Choice(_even_costs),
            errors=_even_errors,
            influence=trial_costs.of_crossing,
        ),
        Metric(
            "min_dcf",
            "minDCF",
            lambda points, *costs: points.min_dcf(*costs),
            "detection cost at the best threshold for an operating point, found with the labels; 1 "
            "is the cost of deciding without scores",
            per_point=True,
            note="minDCF(P_target): normalised.",
            mean=("min_c_primary", "min C_primary"),
            scale="log",
            least=0.0,
            most=1.0,
            missed=lambda *costs: cost_weights(*costs)[0],
            choice=Choice(lambda points, *costs: cost_weights(*costs)),
            errors=lambda points, *at: _errors_at(points.best_point(*at), points, *at),
            influence=trial_costs.of_least_cost,
        ),
        Metric(
            "cllr",
            "Cllr",
            lambda points: points.cllr(),
            "cost of likelihood ratios over all priors, in bits; 0 is perfect, 1 says nothing, and "
            "more than 1 misleads",
            needs_llr=True,
            best="min_cllr",
            note="Cllr in bits: 0 is perfect, 1 is worth nothing;",
            scale="log",
            least=0.0,
            errors=_even_errors,
            influence=trial_costs.of_bits,
        ),
        Metric(
            "min_cllr",
            "min Cllr",
            lambda points: points.min_cllr(),
            "Cllr after the best recalibration that keeps the order of the scores",
            of_ratios=True,
            guarded=False,
            note="min Cllr: after PAV, the best that calibration can do.",
            scale="log",
            least=0.0,
            most=1.0,
            choice=Choice(lambda points: (0.5, 0.5), noise=0.5),
            errors=_even_errors,
            influence=trial_costs.of_block_bits,
        ),
        Metric(
            "act_dcf",
            "actDCF",
            lambda points, *costs: points.act_dcf(*costs),
            "detection cost at the threshold that the operating point prescribes for likelihood "
            "ratios, without looking at the labels",
            needs_llr=True,
            per_point=True,
            best="min_dcf",
            note="actDCF: at the Bayes threshold.",
            mean=("act_c_primary", "act C_primary"),
            scale="log",
            least=0.0,
            missed=lambda *costs: cost_weights(*costs)[0],
            errors=lambda points, *at: _errors_at(points.bayes_point(*at), points, *at),
            influence=trial_costs.of_actual_cost,
        ),
    )
}

# The metric by which systems are ranked, and of which the first sentence about them is.
PRIMARY = METRICS["eer"]
# The metric that tells what log-likelihood ratios are worth; its excess is the calibration loss.
INFORMATION = METRICS["cllr"]
# The cost of decisions by log-likelihood ratios; above 1 they are worse than none.
ACTUAL_COST = METRICS["act_dcf"]


def add(metric: Metric) -> None:
    """Put a metric at the end of the table.

    Raises
    ------
    ValueError
        Its name is no identifier, or its name or symbol is taken.
    """
    if not metric.name.isidentifier():
        raise ValueError(f"the metric's name {metric.name!r} is no identifier")
    for other in METRICS.values():
        if metric.name == other.name or metric.symbol == other.symbol:
            raise ValueError(f"there is a metric {other.name} ({other.symbol}) already")
    METRICS[metric.name] = metric


def groups() -> tuple[list[Metric], list[Metric], list[Metric]]:
    """Metrics before the first that has operating points, those that have, and the others after."""
    metrics = list(METRICS.values())
    first = next((n for n, metric in enumerate(metrics) if metric.per_point), len(metrics))
    after = [metric for metric in metrics[first:] if not metric.per_point]
    return metrics[:first], [metric for metric in metrics if metric.per_point], after


def statistics(n_points: int, llr: bool) -> list[Key]:
    """Every metric at every point: those of any scores, then those of log-likelihood ratios."""
    return [
        (metric.name, number)
        for needs_llr in (False, True)[: 1 + llr]
        for metric in METRICS.values()
        if metric.needs_llr == needs_llr
        for number in range(n_points if metric.per_point else 1)
    ]


def columns(n_points: int) -> list[Key]:
    """Every metric at every point, in the order of a wide table: by operating points in between."""
    before, at_points, after = groups()
    return [
        *((metric.name, 0) for metric in before),
        *((metric.name, number) for number in range(n_points) for metric in at_points),
        *((metric.name, 0) for metric in after),
    ]


def points_last(n_points: int) -> list[Key]:
    """As `columns`, but what has no operating points first."""
    keys = columns(n_points)
    return sorted(keys, key=lambda key: METRICS[key[0]].per_point)


def measures(
    points: OperatingPoints, at: Sequence[OperatingPoint], llr: bool = True
) -> dict[str, Any]:
    """All metrics of some trials by name, as lists if they have operating points.

    Those that need log-likelihood ratios are None (at each point) without `llr`.
    """

    def one(metric: Metric, point: OperatingPoint | None) -> float | None:
        return metric.measure(points, point) if llr or not metric.needs_llr else None

    before, at_points, after = groups()
    found: dict[str, Any] = {metric.name: one(metric, None) for metric in (*before, *after)}
    return found | {metric.name: [one(metric, point) for point in at] for metric in at_points}


def pick(row: Mapping[str, Any], key: Key) -> Any:
    """What a row that has something for every metric has for one, at one point."""
    found = row[key[0]]
    return found[key[1]] if METRICS[key[0]].per_point and found is not None else found
