"""The guard over labelled trials that a fusion is applied to: is it worth there what it promised?

Three questions, each asked so that healthy fusions are blamed in at most 1 of 50 sets, over all
parts and metrics together (Bonferroni): is the fusion worse than a part that development calibrated
alone, by a paired bootstrap over speakers; is it, or a part, worse than on development, by the
sides of their intervals that face each other; and does it say less than nothing. What is worse in
EER or least costs has lost the ranking of trials; what is worse in Cllr or actual costs alone, its
calibration.

Dimension legend: N trials, K systems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fusion.calibration.notices import Notice
from fusion.calibration.reference import FALSE_ALARMS, FUSED, Reference, enough
from fusion.calibration.worth import Contest, at_least, metrics_of
from fusion.intervals.analytic import analytic_interval
from fusion.intervals.paired import paired_bootstrap
from fusion.metrics.points import OperatingPoint
from fusion.metrics.rates import eer
from fusion.metrics.table import INFORMATION, METRICS, PRIMARY, Key

_TIMES = 1.3  # by which a metric is above that of development, to matter
_LITTLE = 0.01  # part of a metric by which a fusion may be worse than a part of it
_LEAST = 1e-3  # so that a metric without errors has a logarithm


def promised(contest: Contest) -> dict[str, dict]:
    """What `Reference.worth` keeps: metrics on development and how parts are calibrated alone."""
    rows = {FUSED: contest.fused(), **dict(zip(contest.names, contest.parts()))}
    found: dict[str, dict] = {name: promised_of(contest, row.llr) for name, row in rows.items()}
    for k, name in enumerate(contest.names):
        alone = contest.fit([k])
        found[name]["calibration"] = [float(alone.weights_[0]), alone.offset_]
    return found


def promised_of(contest: Contest, llr: np.ndarray) -> dict[str, list[float]]:
    """EER and Cllr of llr (N,) of a contest's trials, each with its 95 % interval."""
    trials = contest.target, contest.speakers.enrol, contest.speakers.test
    rows = enough(len(llr), contest.target)
    return _worth(llr[rows], [one[rows] for one in trials])


def _worth(
    llr: np.ndarray, trials: Sequence[np.ndarray], level: float = 0.95
) -> dict[str, list[float]]:
    """EER and Cllr, each with its interval."""
    intervals = analytic_interval(llr, *trials, llr=True, level=level).intervals
    ends = {name: intervals[name, 0] for name in (PRIMARY.name, INFORMATION.name)}
    return {name: [one.estimate, one.low, one.high] for name, one in ends.items()}


def labelled(
    reference: Reference,
    llr: np.ndarray,
    table: np.ndarray,
    trials: tuple[np.ndarray, np.ndarray, np.ndarray],
    points: Sequence[OperatingPoint] = (),
    *,
    n_bootstrap: int = 1000,
    random_state: int = 0,
) -> list[Notice]:
    """What is wrong with fused llr (N,) of systems (N, K), by the labels.

    Parameters
    ----------
    reference : Reference
        With its `worth`.
    llr, table : ndarray (N,), (N, K)
    trials : tuple of ndarray (N,)
        Classes, and speakers of either side.
    points : sequence of OperatingPoint
    n_bootstrap, random_state : int

    Raises
    ------
    DataError
        Too few speakers.
    """
    rows = enough(len(llr), trials[0])
    llr, table = llr[rows], table[rows]
    trials = trials[0][rows], trials[1][rows], trials[2][rows]
    found = [*_turned(reference, table, trials[0])]
    blamed = {k for notice in found for k in notice.systems}
    found += [one for one in _fallen(reference, llr, table, trials) if not blamed & {*one.systems}]
    if n_bootstrap:
        parts = _parts(reference, table)
        found += _beaten(reference, llr, parts, trials, points, n_bootstrap, random_state)
    return found


def _parts(reference: Reference, table: np.ndarray) -> dict[int, np.ndarray]:
    """Llr (N,) of each system alone, 0 where it has no score."""
    found = {}
    for k, name in enumerate(reference.names):
        if not np.isnan(table[:, k]).all():
            weight, offset = reference.worth[name]["calibration"]
            found[k] = np.nan_to_num(table[:, k] * weight + offset)
    return found


def _turned(reference: Reference, table: np.ndarray, target: np.ndarray) -> Iterator[Notice]:
    """Systems that give targets the lower scores, and did not in development."""
    for k, name in enumerate(reference.names):
        here = ~np.isnan(table[:, k])
        scores, labels = table[here, k], target[here]
        if not labels.any() or labels.all():
            continue
        if reference.worth[name][PRIMARY.name][0] > 0.4:
            continue  # it did not know them apart there either
        values = np.sign(reference.worth[name]["calibration"][0] or 1) * scores
        turned = eer(-values[labels], -values[~labels])
        if turned < 0.4 and eer(values[labels], values[~labels]) > 0.45:
            text = f"{name} gives targets the lower scores: its sign is turned"
            yield Notice("agreement", (k,), text, "ranking")


def _fallen(
    reference: Reference,
    llr: np.ndarray,
    table: np.ndarray,
    trials: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Iterator[Notice]:
    """The fusion and its parts, where they are worse than on development."""
    from scipy.special import ndtri

    everything = tuple(range(len(reference.names)))
    rows: dict[str, tuple[tuple[int, ...], np.ndarray, np.ndarray]]
    rows = {FUSED: (everything, llr, np.ones(len(llr), bool))}
    for k, part in _parts(reference, table).items():
        here = ~np.isnan(table[:, k])
        if trials[0][here].any() and not trials[0][here].all():
            rows[reference.names[k]] = (k,), part, here
    chance = FALSE_ALARMS / (2 * len(rows))
    wider = float(ndtri(chance) / ndtri(0.025))  # than 95 %, which is kept of development
    for name, (systems, values, here) in rows.items():
        now = _worth(values[here], [one[here] for one in trials], 1 - 2 * chance)
        before = reference.worth[name]
        for metric, harms in ((PRIMARY, "ranking"), (INFORMATION, "calibration")):
            if _is_worse(now[metric.name], before[metric.name], wider):
                text = (
                    f"{name} has {metric.symbol} {metric.text(now[metric.name][0])} {metric.unit}"
                    f"".rstrip()
                    + f", and had {metric.text(before[metric.name][0])} on development"
                )
                yield Notice("worth", systems, text, harms)
                break
        else:
            if name == FUSED and (
                now[INFORMATION.name][1] >= 1 or at_least(values, trials[0], INFORMATION) > 1
            ):
                yield Notice("worth", systems, f"{name} says less than nothing", "calibration")


def _is_worse(now: Sequence[float], before: Sequence[float], wider: float) -> bool:
    """Whether an estimate with its interval is above another, on a logarithmic scale.

    By the sides of the intervals that face each other, as they are skewed (G. Zou, A. Donner,
    Statistics in Medicine 27, 2008); that of before is to be made so much wider.
    """
    if not np.isfinite(now[0]):
        return True
    (here, low, _), (there, _, high) = np.log(np.maximum([now, before], _LEAST))
    error = np.hypot(here - low, wider * (high - there))
    return bool(here - there > max(np.log(_TIMES), error))


def _beaten(
    reference: Reference,
    llr: np.ndarray,
    parts: Mapping[int, np.ndarray],
    trials: tuple[np.ndarray, np.ndarray, np.ndarray],
    points: Sequence[OperatingPoint],
    n_bootstrap: int,
    random_state: int,
) -> Iterator[Notice]:
    """Metrics in which a part alone is better than the fusion, each with the best such part."""
    labels = metrics_of(points)
    level = 1 - 2 * FALSE_ALARMS / (len(labels) * len(parts))
    found: dict[Key, tuple[float, int, str]] = {}
    for k, part in parts.items():
        differences = paired_bootstrap(
            part, llr, *trials, points=points, llr=True, n_bootstrap=n_bootstrap, level=level,
            random_state=random_state,
        ).differences  # fmt: skip
        for key, label in labels.items():
            change, metric = differences[key], METRICS[key[0]]
            ends = sorted(metric.sign * end for end in (change.interval.low, change.interval.high))
            matters = change.interval.enough and ends[0] > _LITTLE * abs(change.a)
            if matters and (key not in found or metric.is_worse(found[key][0], change.a)):
                unit = f" {metric.unit}" if metric.unit else ""
                text = (
                    f"fused {label} {metric.text(change.b)}{unit}, {reference.names[k]} alone "
                    f"{metric.text(change.a)}{unit}: worse by {metric.text(ends[0])} to "
                    f"{metric.text(ends[1])}{unit} ({100 * level:.3g} % interval)"
                )
                found[key] = change.a, k, text
    for key, (_, k, text) in found.items():
        others = tuple(j for j in range(len(reference.names)) if j != k)
        harms = "calibration" if METRICS[key[0]].needs_llr else "ranking"
        yield Notice("beaten", others, text, harms)
