"""Bounded logistic regression: log-likelihood ratios that a few outliers can neither tilt nor pass.

A handful of recordings with a wrong label, the wrong channel or a cough decide what plain logistic
regression makes of thousands of good ones, as its cost grows without end with a target's distance
below the threshold. Here a trial is taken for one of the other class with a small probability, e
for targets and f for nontargets (the saturation of N. Brümmer's FoCal, "Tools for fusion and
calibration of automatic speaker detection systems", 2005, section 5; the bounds are what forensic
practice asks for, P. Vergeer et al., Science & Justice 56, 2016):

    llr = log((1 − e) exp(z) + e) − log((1 − f) + f exp(z)),   z = X w + b                       (1)

which is z in the middle and stays between log(e / (1 − f)) and log((1 − e) / f). All of w, b, e and
f are those of least prior-weighted logistic cost (`fusion.calibration.logistic`, equation 1) of the
trials and of one more in each class that speaks wholly for the other (Laplace's rule of succession,
the ``laplace`` of BOSARIS): no llr claims more than the number of trials can show.

Levelled off, (1) gives many trials one llr, and in numbers of a computer's precision even one and
the same: ranks are lost that the scores had. So an outlier leans a little towards its own class,
with a density exp(h) times that of the other for targets and exp(−h) times for nontargets, where
h = λ asinh z. In (1) that is exp(h) beside e and exp(z − h) beside f, or

    llr = h + bound(z − h)                                                                       (2)

with the right side of (1) as bound: z in the middle as before, and beyond the bounds by h, which is
a thousandth where z is 10,000. It rises strictly with z. The weights, e and f are found with h = 0.

Dimension legend: N trials, d columns.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from fusion.calibration.kernels import bounded_pass
from fusion.calibration.logistic import (
    START_TRIALS,
    LogisticFit,
    Problem,
    checked_columns,
    fit_logistic,
)

_LIMITS = (-30.0, 0.0)  # log-odds of a trial being an outlier
_OUTLIERS = (0.0, 0.02)  # shares from which the search starts, beside one trial
_TOLERANCE = 1e-11
# λ of equation (2): the least that keeps z apart which differ by 2e-11 of their size.
_LEAN = 1e-4
_FURTHEST = 710.0  # asinh of the largest number


@dataclass(frozen=True)
class BoundedFit:
    """What `fit_bounded` found: llr = bound(X @ weights + offset, *outlier_log_odds).

    Parameters
    ----------
    weights : ndarray (d,) float64
    offset : float
    outlier_log_odds : tuple of float
        log e / (1 − e) of the targets and log f / (1 − f) of the nontargets.
    n_iter : int
    objective : list of float
        Cost, in nats, at the start and after each iteration.
    separable : bool
        As in `LogisticFit`.
    ridge : float
        As used.
    """

    weights: np.ndarray
    offset: float
    outlier_log_odds: tuple[float, float]
    n_iter: int
    objective: list[float] = field(repr=False)
    separable: bool = False
    ridge: float = 0.0


def bound(z: ArrayLike, target_log_odds: float, nontarget_log_odds: float) -> np.ndarray:
    """Equation (2) of the module: llr of unbounded ones."""
    z = np.asarray(z, np.float64)
    h = lean(z)
    return h + _level(z - h, target_log_odds, nontarget_log_odds)


def bounds(target_log_odds: float, nontarget_log_odds: float) -> tuple[float, float]:
    """Lowest and highest llr of equation (1), which equation (2) passes by little."""
    low, high = _level(np.array([-np.inf, np.inf]), target_log_odds, nontarget_log_odds)
    return float(low), float(high)


def unbound(llr: float, target_log_odds: float, nontarget_log_odds: float) -> float:
    """Return the z that `bound` takes to a llr; infinite where no number reaches it."""
    from scipy.optimize import brentq

    def excess(t: float) -> float:
        return float(bound(np.sinh(t), target_log_odds, nontarget_log_odds)) - llr

    if excess(-_FURTHEST) >= 0:
        return -np.inf
    if excess(_FURTHEST) <= 0:
        return np.inf
    return float(np.sinh(brentq(excess, -_FURTHEST, _FURTHEST, xtol=1e-15, rtol=1e-15)))


def lean(z: np.ndarray) -> np.ndarray:
    """Return h of equation (2)."""
    largest = np.finfo(np.float64).max
    return _LEAN * np.arcsinh(np.clip(z, -largest, largest))


def _level(z: np.ndarray, a: float, c: float) -> np.ndarray:
    """Equation (1), of log-odds a of e and c of f."""
    # exp(z) is taken out of both where it is large, so that z may be infinite.
    low, high = np.minimum(z, 0), np.maximum(z, 0)
    top = np.logaddexp(low, a - high) - np.logaddexp(0, a)
    return top - np.logaddexp(-high, c + low) + np.logaddexp(0, c)


def fit_bounded(
    X: ArrayLike,
    y: ArrayLike,
    *,
    prior: float = 0.5,
    ridge: float = 0.0,
    non_negative: bool = False,
) -> BoundedFit:
    """Weights, offset and bounds of least prior-weighted logistic cost.

    The search starts from the weights of `fit_logistic` and takes the best of two minima, as the
    cost is not convex. Parameters, errors and warnings are those of `fit_logistic`.
    """
    start = fit_logistic(X, y, prior=prior, ridge=ridge, non_negative=non_negative)
    table, target, _ = checked_columns(X, y, None)
    problem = Problem(table, target, None, prior, non_negative)
    search = _Search(problem, start.ridge, target)
    few = search.thinned() or search
    shared = np.append(start.weights * problem.spread * problem.unit, _offset(start, problem))
    found = [few.minimise(np.append(shared, few.log_odds(share))) for share in _OUTLIERS]
    best = min(found, key=lambda f: f[1][-1])
    if few is not search:
        best = search.minimise(best[0])
    point, objective = best
    weights, offset = problem.unstandardised(point[:-2])
    odds = float(point[-2]), float(point[-1])
    return BoundedFit(
        weights, offset, odds, len(objective) - 1, objective, start.separable, start.ridge
    )


class _Search:
    """The cost of a bounded regression at a point, and its minimisation.

    A point is (d + 3,): weights of standardised columns, offset and both log-odds.
    """

    def __init__(self, problem: Problem, ridge: float, target: np.ndarray):
        self._columns, self._shift, self._ridge = problem.columns, problem.shift, ridge
        self._non_negative, self._target = problem.non_negative, target
        self._counts = int(target.sum()), int((~target).sum())
        # Each class weighs as before, with one trial more.
        self._signed = problem.signed * np.where(target, *(n / (n + 1) for n in self._counts))
        totals = [problem.signed[target].sum(), -problem.signed[~target].sum()]
        self._extra = [total / (n + 1) for total, n in zip(totals, self._counts)]

    def thinned(self) -> _Search | None:
        """Every k-th trial of a class, to find a start from; None if there are few."""
        classes = [np.flatnonzero(self._target), np.flatnonzero(~self._target)]
        if max(map(len, classes)) < 2 * START_TRIALS:
            return None
        rows = [c[:: -(-len(c) // START_TRIALS)] for c in classes]
        few = copy(self)
        few._columns = np.ascontiguousarray(self._columns[:, np.concatenate(rows)])
        few._signed = np.concatenate(
            [self._signed[r] * (len(c) / len(r)) for r, c in zip(rows, classes)]
        )
        return few

    def log_odds(self, share: float) -> list[float]:
        """Log-odds of a share of outliers in each class, at least one of all trials."""
        return [float(np.log(max(share, 1 / (n + 1)))) for n in self._counts]

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        gradient = np.empty(len(point))
        cost = bounded_pass(
            self._columns,
            self._signed,
            point,
            self._shift,
            self._extra[0],
            self._extra[1],
            gradient,
        )
        gradient[:-3] += self._ridge * point[:-3]
        return cost + self._ridge / 2 * point[:-3] @ point[:-3], gradient

    def minimise(self, start: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """Point of least cost near `start`, and the cost at the start and of every iteration."""
        from scipy.optimize import minimize

        lowest = 0.0 if self._non_negative else None
        limits = [(lowest, None)] * (len(start) - 3) + [(None, None), _LIMITS, _LIMITS]
        objective = [self(start)[0]]
        found = minimize(
            self, start, jac=True, method="L-BFGS-B", bounds=limits,
            callback=lambda intermediate_result: objective.append(intermediate_result.fun),
            options={"maxiter": 1000, "ftol": _TOLERANCE, "gtol": 1e-9},
        )  # fmt: skip
        return found.x, objective


def _offset(start: LogisticFit, problem: Problem) -> float:
    """Offset for standardised columns."""
    return start.offset + float((start.weights * problem.unit) @ problem.mean)
