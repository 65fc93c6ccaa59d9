"""How well log-likelihood ratios are calibrated: their loss against what chance alone would lose.

Cllr is above its minimum and an actual cost above the least one even if every ratio is right, as
the minimum is found on the very trials. How far above, is known: where a ratio says what it means,
of the trials with an llr x a share 1 / (1 + exp(-x)) are targets, both classes weighed alike. Sets
are drawn that hold to this, with the llr and the numbers of trials at hand (consistency resampling:
J. Bröcker, L. Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting
22, 2007); what the trials lose is compared with what those lose. Trials of one speaker are alike:
of a class, as many are drawn as independent ones would tell as much, by the influence of the
speakers (L. Kish, "Survey sampling", 1965).

Three kinds of loss are looked at: of Cllr by PAV, of the cost at each operating point, and what
another offset and slope of the llr would gain (the score test of D. Cox, "Two further applications
of a model for binary regression", Biometrika 45, 1958). The p-value is of the least of their
p-values, and so for all of them.

Dimension legend: N trials, K bins, P operating points, B sets drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.kernels import bootstrap_block
from fusion.intervals.results import Interval
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint, cost_weights
from ivector.base.errors import DataError

# Parts that bad calibration adds to Cllr or to a cost, beyond chance: up to the one, ratios can be
# taken at face value; above the other, they should not be used.
WELL, POOR = 0.03, 0.25
# Chance of a verdict against ratios that are right: of any, and of the worst.
FAIRLY_LEVEL, POORLY_LEVEL = 0.02, 0.005
_SURE = 1.96  # standard errors
_MOST = 700.0  # llr whose exponential is finite
_BLOCK = 1 << 20
_SAMPLE = 1 << 18  # trials that tell where the bins are


@dataclass(frozen=True)
class Grade:
    """How well an llr is calibrated.

    Parameters
    ----------
    word : {"well", "fairly", "poorly", "too few", "nothing", "misleading"}
        "too few": the errors are too few to tell. "nothing" and "misleading": by its Cllr the llr
        is no better than none, or worse.
    cllr, loss : float
        In bits; the loss is Cllr less min Cllr.
    by_chance : float
        Mean loss of llr that are perfectly calibrated, on as many trials.
    p_value : float
        Of a loss as large, of Cllr or at a point, if the llr were perfectly calibrated.
    added : float
        The largest part by which bad calibration raises Cllr or a cost, beyond chance.
    where : int
        What it raises so, and decides the word: the cost at the point of that number or Cllr, -1.
    costs : tuple of str
        Of decisions at each point beside taking the better of all and none: "less", "unseen"
        (errors are too few to tell), "unsure" (it may be chance), "no less", "more".
    power : float
        Chance that the score test would notice llr that are all too large, or too small, by 1.

    Examples
    --------
    >>> from fusion import Calibration, cross_validate, grade_calibration
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> llr = cross_validate(Calibration(), part.scores["cosine"], part.target, *part.sides)
    >>> grade_calibration(llr, part.target, *part.sides).word
    'well'
    """

    word: str
    cllr: float
    loss: float
    by_chance: float
    p_value: float
    added: float
    where: int
    costs: tuple[str, ...]
    power: float = 1.0


def grade_calibration(
    llr: ArrayLike,
    is_target: ArrayLike,
    enrol_speaker: ArrayLike | None = None,
    test_speaker: ArrayLike | None = None,
    *,
    shared: bool = True,
    points: Sequence[OperatingPoint] = (),
    actual: Sequence[Interval] | None = None,
    n_sets: int = 1000,
    random_state: int | np.random.Generator | None = 0,
) -> Grade:
    """Test whether log-likelihood ratios are calibrated, and grade by how much they lose.

    Parameters
    ----------
    llr : array-like (N,)
        Natural-log likelihood ratios.
    is_target : array-like (N,) bool
    enrol_speaker, test_speaker : array-like (N,) int, optional
        Numbers from 0 of the speaker of either side; without them trials count as independent.
    shared : bool
        Whether both sides number the same speakers.
    points : sequence of OperatingPoint
    actual : sequence of Interval, optional
        Of the actual cost at each point, by which it is told whether decisions cost less than
        none; without them a normal one of the numbers of errors and of how speakers share them.
    n_sets : int
        Sets of perfectly calibrated trials to draw.
    random_state : int, numpy.random.Generator or None

    Raises
    ------
    DataError
        A class has no trials, an llr is NaN, or arrays differ in length.

    Examples
    --------
    >>> from fusion import grade_calibration
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> found = grade_calibration(part.scores["plda"], part.target, *part.sides)
    >>> found.word, found.loss > 3 * found.by_chance
    ('misleading', True)
    """
    values, target = np.asarray(llr, np.float64), np.asarray(is_target, bool)
    sides = [None if s is None else np.asarray(s) for s in (enrol_speaker, test_speaker)]
    if values.ndim != 1 or any(a is not None and a.shape != values.shape for a in (target, *sides)):
        raise DataError("llr, classes and speakers must all be of one shape (n_trials,)")
    if np.isnan(values).any() or not target.any() or target.all():
        raise DataError("a grade needs trials of both classes, with numbers for llr")
    told = sides if all(side is not None for side in sides) else None
    bins = _Bins(values, target, points)
    effects = _design_effects(values, target, told, shared)
    counts = bins.counts.sum(axis=1) / effects
    rng = np.random.default_rng(random_state)
    drawn = [
        rng.multinomial(max(round(n), 1), p, size=n_sets) for n, p in zip(counts, bins.perfect)
    ]
    sets = [np.vstack([one, more]) for one, more in zip(bins.counts, drawn)]
    scores, power = _scores(bins, sets)
    graded = _graded(bins, _measured(bins, sets), scores, counts)
    if actual is None:
        costs = [
            _costs(bins, number, _design_effects(values, target, told, shared, bar))
            for number, bar in enumerate(bins.thresholds)
        ]
    else:
        costs = [_by_interval(interval) for interval in actual]
    exact = OperatingPoints(values[target], values[~target], keep=True)
    cllr = exact.cllr()
    return replace(graded, cllr=cllr, loss=cllr - exact.min_cllr(), costs=tuple(costs), power=power)


class _Bins:
    """Trials counted by their llr, as fine as matters, with what those of a bin cost.

    Parameters
    ----------
    values : ndarray (N,)
    target : ndarray (N,) bool
    points : sequence of OperatingPoint

    Attributes
    ----------
    counts : ndarray (2, K) int64
        Targets and nontargets.
    perfect : ndarray (2, K)
        Shares of the classes, if the llr were perfectly calibrated.
    llr, bits : ndarray (K,), (2, K)
        Mean llr, and what a target or nontarget costs.
    thresholds, bars : ndarray (P,)
        Bayes threshold of each point, and bins below it.
    """

    def __init__(self, values: np.ndarray, target: np.ndarray, points: Sequence[OperatingPoint]):
        self.points = list(points)
        self.costs = np.array(
            [cost_weights(p.p_target, p.c_miss, p.c_fa) for p in points], np.float64
        ).reshape(-1, 2)
        self.thresholds = np.log(self.costs[:, 1]) - np.log(self.costs[:, 0])
        edges = _edges(values, target, self.thresholds)
        sums = np.zeros((5, len(edges) + 1))
        sizes = [np.count_nonzero(target), np.count_nonzero(~target)]
        for part in _blocks(len(values)):
            llr = np.clip(values[part], -_MOST, _MOST)
            weight = np.where(target[part], 0.5 / sizes[0], 0.5 / sizes[1])
            bits = np.logaddexp(0, -llr) / np.log(2), np.logaddexp(0, llr) / np.log(2)
            at = np.searchsorted(edges, llr, side="right")
            for row, one in zip(sums, (weight, weight * llr, *(weight * b for b in bits))):
                row += np.bincount(at, one, sums.shape[1])
            sums[4] += np.bincount(at, target[part], sums.shape[1])
        used = sums[0] > 0
        total, *means, n_targets = sums[:, used]
        self.llr = means[0] / total
        self.bits = np.array(means[1:]) / total
        n_nontargets = np.round((total - n_targets * 0.5 / sizes[0]) * 2 * sizes[1])
        self.counts = np.array([n_targets, n_nontargets]).astype(np.int64)
        posterior = 1 / (1 + np.exp(-self.llr))
        self.posterior = posterior
        mass = total * np.array([posterior, 1 - posterior])
        self.perfect = mass / mass.sum(axis=1, keepdims=True)
        below = np.concatenate([[0], np.cumsum(used)])
        self.bars = below[np.searchsorted(edges, self.thresholds) + 1]


def _edges(values: np.ndarray, target: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Where bins meet: a grid of llr, quantiles of either class, and the thresholds."""
    found = [np.arange(-12, 12, 0.05), thresholds]
    far = np.geomspace(12, _MOST, 40)
    found += [far, -far]
    for wanted in (True, False):
        some = values[target == wanted]
        some = some[:: -(-len(some) // _SAMPLE)]
        found.append(np.quantile(np.clip(some, -_MOST, _MOST), np.linspace(0, 1, 201)))
    return np.unique(np.concatenate(found))


def _blocks(n_trials: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, n_trials, _BLOCK))


def _design_effects(
    values: np.ndarray,
    target: np.ndarray,
    sides: list | None,
    shared: bool,
    threshold: float | None = None,
) -> list[float]:
    """How many targets, and nontargets, tell as much as one that is independent, at least 1."""
    if sides is None:
        return [1.0, 1.0]
    return [
        _design_effect(values, target, wanted, sides, shared, threshold) for wanted in (True, False)
    ]


def _design_effect(
    values: np.ndarray,
    target: np.ndarray,
    wanted: bool,
    sides: list,
    shared: bool,
    threshold: float | None,
) -> float:
    """The same of one class.

    By the errors of decisions, or without a threshold of the posterior at even odds: the sum of
    squares of their sums over speakers, a pair of speakers counted once, over that of the trials
    themselves. Of many trials every k-th is looked at, which has as many times less company.
    """
    rows = np.flatnonzero(target == wanted)
    step = -(-len(rows) // _BLOCK)
    rows = rows[::step]
    if threshold is None:
        error = 1 / (1 + np.exp(np.clip(values[rows], -_MOST, _MOST) * (1 if wanted else -1)))
    else:
        error = ((values[rows] < threshold) == wanted).astype(np.float64)
    error -= error.mean()
    enrol, test = (side[rows] for side in sides)
    if shared:
        both = np.unique(np.concatenate([enrol, test]), return_inverse=True)[1]
        enrol, test = both[: len(rows)], both[len(rows) :]
    else:
        enrol, test = (np.unique(side, return_inverse=True)[1] for side in (enrol, test))
    size = int(max(enrol.max(), test.max())) + 1
    total = float(error @ error)
    if size < 2 or total <= 0:
        return 1.0
    sums = [np.bincount(side, error, size) for side in (enrol, test)]
    own = (enrol == test) & shared
    if shared:
        sums = [sums[0] + sums[1] - np.bincount(enrol[own], error[own], size)]
    low, high = (np.minimum(enrol, test), np.maximum(enrol, test)) if shared else (enrol, test)
    pairs = np.unique((low * size + high)[~own], return_inverse=True)[1]
    alike = float(np.sum(np.bincount(pairs, error[~own]) ** 2)) if len(pairs) else 0.0
    spread = sum(float(one @ one) for one in sums) * size / (size - 1) - alike
    return max(1.0, 1 + step * (spread / total - 1))


def _measured(bins: _Bins, sets: list[np.ndarray]) -> np.ndarray:
    """EER, least costs, min Cllr, Cllr and actual costs of the sets, (B + 1, 3 + 2 P)."""
    n_bins = len(bins.llr)
    weights = np.stack(sets, axis=2).reshape(len(sets[0]), 2 * n_bins).astype(np.int64)
    number = np.arange(2 * n_bins, dtype=np.int32)
    out = np.empty((len(weights), 3 + 2 * len(bins.points)))
    bootstrap_block(
        number, number, number % 2 == 0, number % 2 == 1, True, weights, weights, bins.costs,
        bins.bars, bins.bits.T.ravel(), np.empty(0), out, np.empty((len(weights), 0)),
    )  # fmt: skip
    return out


def _scores(bins: _Bins, sets: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Cox's score statistic (B + 1,) of another offset and slope, by its spread over the sets.

    And the chance that it would notice llr that are all off by 1, as a chi-square variable.
    """
    from scipy.special import chdtri, chndtr

    def gradients(posterior: np.ndarray, tar: np.ndarray, non: np.ndarray) -> np.ndarray:
        missed, accepted = (part[:, None] * columns for part in (1 - posterior, posterior))
        return tar @ missed - non @ accepted

    columns = np.column_stack([np.ones(len(bins.llr)), bins.llr])
    tar, non = (one / one.sum(axis=1, keepdims=True) for one in sets)
    gradient = gradients(bins.posterior, tar, non)
    gradient -= gradient[1:].mean(axis=0)
    spread = np.linalg.pinv(np.cov(gradient[1:].T))
    found = np.einsum("bi,ij,bj->b", gradient, spread, gradient)
    perfect = gradients(bins.posterior, *bins.perfect)
    moved = [gradients(1 / (1 + np.exp(-bins.llr - by)), *bins.perfect) for by in (-1, 1)]
    least = min(float((one - perfect) @ spread @ (one - perfect)) for one in moved)
    return found, float(1 - chndtr(chdtri(2, FAIRLY_LEVEL), 2, least))


def _graded(bins: _Bins, measured: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> Grade:
    """The grade, of the statistics of the trials (the first row) and of the sets."""
    n_points = len(bins.points)
    least = measured[:, [1 + n_points, *range(1, 1 + n_points)]]
    actual = measured[:, 2 + n_points :]
    losses = np.column_stack([actual - least, scores])
    p_values, p_value = _p_values(losses)
    by_chance = losses[1:, :-1].mean(axis=0)
    beyond = losses[0, :-1] - by_chance
    reference = np.maximum(actual[0] - beyond, 1e-12)
    parts = np.maximum(beyond, 0) / reference
    sure = np.where(p_values[:-1] <= FAIRLY_LEVEL, parts, 0)
    cllr = float(actual[0, 0])
    if cllr >= 1 - 1e-9:
        word = "misleading" if cllr - _SURE * _error(bins, counts) > 1 else "nothing"
    elif p_value <= POORLY_LEVEL and sure.max() > POOR:
        word, parts = "poorly", sure
    elif p_value <= FAIRLY_LEVEL and parts.max() > WELL:
        word = "fairly"
    else:
        most = np.quantile(losses[1:, 0], 1 - FAIRLY_LEVEL) - by_chance[0]
        # Of classes without an error nothing is lost, whatever the llr say.
        word = "too few" if most > POOR * reference[0] or measured[0, 0] <= 0 else "well"
    return Grade(
        word, cllr, float(losses[0, 0]), float(by_chance[0]), p_value, float(parts.max()),
        int(parts.argmax()) - 1, (),
    )  # fmt: skip


def _p_values(losses: np.ndarray) -> tuple[np.ndarray, float]:
    """P-values of the first row's losses, and of the least of them."""
    others = np.sort(losses[1:], axis=0)
    # Rounding must not tell equal losses apart.
    above = [
        len(others) - np.searchsorted(column, row - 1e-12 * (1 + np.abs(row)))
        for column, row in zip(others.T, losses.T)
    ]
    ranks = np.array(above).T
    least = ranks.min(axis=1)
    p_values = (1 + ranks[0]) / (1 + len(others))
    return p_values, float((1 + np.sum(least[1:] <= least[0])) / (1 + len(others)))


def _error(bins: _Bins, counts: np.ndarray) -> float:
    """Standard error of Cllr."""
    variance = 0.0
    for share, bits, n in zip(bins.counts, bins.bits, counts):
        mean = share @ bits / share.sum()
        variance += float(share @ (bits - mean) ** 2 / share.sum() / n) / 4
    return float(np.sqrt(variance))


def _by_interval(interval: Interval) -> str:
    """How decisions compare with the better of accepting all and none, by their cost's interval."""
    if abs(interval.estimate - 1) <= 1e-9:
        return "no less"  # they do what needs no scores
    if interval.high < 1:
        return "less"
    if interval.estimate < 1:
        return "unsure" if interval.enough else "unseen"
    return "more" if interval.enough and interval.low > 1 else "unsure"


def _costs(bins: _Bins, point: int, effects: Sequence[float]) -> str:
    """The same at a point without an interval of the cost."""
    bar = bins.bars[point]
    errors = bins.counts[0, :bar].sum(), bins.counts[1, bar:].sum()
    cost, seen, unseen = 0.0, 0.0, 0.0
    for wrong, n, effect, weight in zip(
        errors, bins.counts.sum(axis=1), effects, bins.costs[point]
    ):
        cost += weight * wrong / n
        few = n / effect
        # One error more, so that none is no certainty.
        for extra in (0, 1):
            rate = (few * wrong / n + extra) / (few + 2 * extra)
            variance = weight**2 * rate * (1 - rate) / few
            seen, unseen = (seen, unseen + variance) if extra else (seen + variance, unseen)
    widths = [_SURE * float(np.sqrt(variance)) for variance in (seen, unseen)]
    found = [Interval(cost, cost - width, cost + width, 0.95) for width in widths]
    words = [_by_interval(interval) for interval in found]
    if words == ["less", "unsure"]:
        return "unseen"
    return words[1]
