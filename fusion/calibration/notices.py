"""What is wrong with scores that a fusion learnt from or is applied to, without asking for labels.

Scores of new trials are compared with what a fusion keeps of development
(`fusion.calibration.reference`): range, distribution, agreement, copies, and what is missing.

Dimension legend: N trials, K systems, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fusion.calibration.reference import (
    FALSE_ALARMS,
    MATTERS,
    Reference,
    correlations,
    enough,
    moments,
)

_SAME = 0.99999  # correlation of two copies
_GAP = 0.05  # by which the missing shares of two classes may differ
_RARE = 0.02  # share of trials, beyond which they are no outliers


@dataclass(frozen=True)
class Notice:
    """What is wrong with scores that a fusion is applied to.

    Parameters
    ----------
    kind : str
        One word: "shift", "scale", "shape", "agreement", "outliers", "copies", "gaps"; by labels
        "worth", of what is less than on development, and "beaten", of a fusion by a part of it.
    systems : tuple of int
        Numbers of those that are to blame; all, if it cannot be told.
    text : str
    harms : {"calibration", "ranking", "nothing"}
        What of the fused llr suffers: their size, or also the order of trials.
    trials : tuple of int
        Those that are to blame, if it is some.
    """

    kind: str
    systems: tuple[int, ...]
    text: str
    harms: str
    trials: tuple[int, ...] = ()


def notices(
    reference: Reference, table: np.ndarray, n_recordings: int, share: float | None = None
) -> list[Notice]:
    """What is wrong with scores (N, K) of trials, beside those of development.

    Parameters
    ----------
    reference : Reference
    table : ndarray (N, K)
        NaN where a system has no score.
    n_recordings : int
        Ids of either side; speakers are as many as development has for them.
    share : float, optional
        Of the targets among the trials, if there are labels.
    """
    per_speaker = max(reference.n_recordings / max(reference.n_speakers, 1), 1)
    n_speakers = max(n_recordings / per_speaker, 2)
    found = [*_outliers(reference, table)]
    n_missing = np.isnan(table).sum(axis=0)
    table = table[enough(len(table))]
    found += _gaps(reference, table, n_missing)
    with np.errstate(all="ignore"):
        seen = correlations(moments(table)[1])
        known = correlations(reference.covariances[1])
    found += _copies(reference.names, seen, known)
    statistics, fitted = reference.statistics(table, share)
    limits = _limits(reference, n_speakers)
    beside = "development with as many targets"
    if share is None:
        beside = f"development with {100 * fitted:.2g} % of targets, which fits best"
    return (
        found
        + _of_systems(reference, statistics, limits, beside)
        + _of_pairs(reference, statistics["agreement"], limits["agreement"], beside)
    )


def development(reference: Reference, table: np.ndarray, target: np.ndarray) -> list[Notice]:
    """What is wrong with the development scores (N, K) of a reference, by their labels."""
    found = [*_outliers(reference, table, "the others")]
    sizes = np.array([target.sum(), (~target).sum()])
    for k, name in enumerate(reference.names):
        tar, non = reference.missing[:, k]
        error = np.sqrt((reference.missing[:, k] * (1 - reference.missing[:, k]) / sizes).sum())
        if abs(tar - non) > max(_GAP, 5 * error):
            text = (
                f"{name} lacks the scores of {100 * tar:.3g} % of the targets and of "
                f"{100 * non:.3g} % of the nontargets"
            )
            found.append(Notice("gaps", (k,), text, "calibration"))
    seen = correlations(reference.covariances[1])
    copies = _copies(reference.names, seen, np.zeros_like(seen))
    return [*found, *(replace(notice, harms="nothing") for notice in copies)]


def _limits(reference: Reference, n_speakers: float) -> dict[str, np.ndarray]:
    """How far each statistic may be from its reference."""
    from scipy.special import stdtrit

    k = len(reference.names)
    free = max(min(reference.n_speakers, n_speakers) / 2, 3)  # halves overlap
    level = FALSE_ALARMS / (3 * k + k * (k - 1) / 2)
    times = stdtrit(free, 1 - level / 2) * np.sqrt(
        1 / max(reference.n_speakers, 2) + 1 / n_speakers
    )
    return {name: np.maximum(MATTERS[name], times * reference.noise[name]) for name in MATTERS}


def _of_systems(
    reference: Reference,
    statistics: Mapping[str, np.ndarray],
    limits: Mapping[str, np.ndarray],
    beside: str,
) -> list[Notice]:
    """Systems whose scores are shifted, scaled or otherwise shaped."""
    found = []
    for k, name in enumerate(reference.names):
        shift, scale = statistics["shift"][k], statistics["scale"][k]
        texts, kind = [], ""
        if abs(scale) > limits["scale"][k]:
            kind, factor = "scale", np.exp(scale)
            texts = [
                f"spread {factor:.3g} times as far as" if factor > 1e-6 else "hardly spread beside"
            ]
        if abs(shift) > limits["shift"][k]:
            kind = kind or "shift"
            way = "above" if shift > 0 else "below"
            texts.append(f"lie {abs(shift):.2g} deviations of nontargets {way}")
        if not kind and statistics["misfit"][k] > limits["misfit"][k]:
            kind, texts = "shape", ["are distributed otherwise than"]
        if kind:
            text = f"the scores of {name} {' and '.join(texts)} those of {beside}"
            found.append(Notice(kind, (k,), text, "calibration"))
    return found


def _of_pairs(
    reference: Reference, agreement: np.ndarray, limits: np.ndarray, beside: str
) -> list[Notice]:
    """Systems that disagree with others as they did not in development, the worst first."""
    apart = np.abs(agreement) > limits
    apart |= apart.T
    np.fill_diagonal(apart, False)
    found: list[Notice] = []
    while apart.any():
        counts = apart.sum(axis=0)
        worst = int(counts.argmax())
        others = list(map(int, np.flatnonzero(apart[worst])))
        # Of two that disagree with each other alone, it cannot be told which is wrong.
        systems = (worst,) if len(others) > 1 else (worst, others[0])
        change = agreement[worst, others[0]]
        names = " and ".join(reference.names[j] for j in others)
        less, lower = ("less", "lower") if change < 0 else ("more", "higher")
        text = f"{reference.names[worst]} agrees {less} with {names} than on {beside} "
        text += f"(correlation {lower} by {abs(change):.2f})"
        if change < 0:
            text += ": its sign may be turned, or its scores be of other trials"
        found.append(Notice("agreement", systems, text, "ranking"))
        apart[worst] = apart[:, worst] = False
    return found


def _outliers(
    reference: Reference, table: np.ndarray, others: str = "those of development"
) -> Iterator[Notice]:
    """Scores of few trials far beyond all of development."""
    for k, name in enumerate(reference.names):
        low, high = far(reference.quantiles[:, k])
        rows = np.flatnonzero((table[:, k] < low) | (table[:, k] > high))
        if 0 < len(rows) <= max(_RARE * len(table), 1):
            rows = rows[np.argsort(-np.abs(table[rows, k] - (low + high) / 2), kind="stable")]
            values = ", ".join(f"{value:.6g}" for value in table[rows[:3], k])
            are = "score of {} is" if len(rows) == 1 else "scores of {} are"
            text = f"{len(rows)} {are.format(name)} far outside {others} ({values}"
            text += ", …)" if len(rows) > 3 else ")"
            yield Notice("outliers", (k,), text, "calibration", tuple(map(int, rows)))


def far(quantiles: np.ndarray) -> tuple[float, float]:
    """Ends (2, Q quantiles of both classes) beyond which a score is none of the system's."""
    least, most = np.nanmin(quantiles[:, 4]), np.nanmax(quantiles[:, -5])  # of 2 % and 98 %
    width = max(most - least, 1e-12)
    # Outliers of development itself do not widen it.
    least = max(np.nanmin(quantiles[:, 0]), least - width)
    most = min(np.nanmax(quantiles[:, -1]), most + width)
    return float(least - width / 2), float(most + width / 2)


def _gaps(reference: Reference, table: np.ndarray, n_missing: np.ndarray) -> Iterator[Notice]:
    """Systems whose missing scores are of trials unlike the others, by the other systems.

    `n_missing` (K,) is of all trials, the table of those that are looked at.
    """
    missing = np.isnan(table)
    for k, name in enumerate(reference.names):
        for j, other in enumerate(reference.names):
            values = table[:, j]
            parts = [
                values[missing[:, k] & ~missing[:, j]],
                values[~missing[:, k] & ~missing[:, j]],
            ]
            sizes = [len(part) for part in parts]
            if j == k or min(sizes) < 5:
                continue
            above = _higher(*parts)
            # Trials of one speaker are alike; four times the variance is what this allows for.
            error = 2 * np.sqrt((1 / sizes[0] + 1 / sizes[1]) / 12)
            if abs(above - 0.5) > max(0.15, 4 * error):
                text = (
                    f"{n_missing[k]} trials lack {name}, and {other} has "
                    f"{'higher' if above > 0.5 else 'lower'} scores there than elsewhere: mostly "
                    f"{'targets' if above > 0.5 else 'nontargets'} are missing"
                )
                yield Notice("gaps", (k,), text, "calibration")
                break


def _higher(one: np.ndarray, two: np.ndarray) -> float:
    """Share of pairs in which the first has the higher score."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([one, two]))[: len(one)]
    return float((ranks.sum() - len(one) * (len(one) + 1) / 2) / (len(one) * len(two)))


def _copies(names: list[str], seen: np.ndarray, known: np.ndarray) -> Iterator[Notice]:
    """Systems with the same scores, by correlations (K, K), that were not known for it."""
    for i, j in zip(*np.triu_indices(len(names), 1)):
        if seen[i, j] > _SAME > known[i, j]:
            text = (
                f"{names[i]} and {names[j]} are the same, or nearly, but for scale and offset (one "
                "file twice?)"
            )
            yield Notice("copies", (int(i), int(j)), text, "ranking")
