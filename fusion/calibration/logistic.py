"""Prior-weighted logistic regression: weights that turn scores into log-likelihood ratios.

The cost is Brümmer's (N. Brümmer, J. du Preez, "Application-independent evaluation of speaker
detection", Computer Speech & Language 20, 2006, section 7; BOSARIS's ``train_binary_classifier``):
the classes are weighed as if targets had the prior P, and the prior log-odds are added inside the
logistic function, so that what is learned is a log-likelihood ratio and not a posterior:

    P Σ_tar u_i log(1 + exp(−s_i − τ)) + (1 − P) Σ_non u_i log(1 + exp(s_i + τ)) + R(w)    (1)

with s = X w + b, τ = log P / (1 − P), and u_i the weights of the trials, summing to 1 in each
class. The penalty is R(w) = ½ ridge Σ_j (σ_j w_j)², where σ_j is the standard deviation of column
j under the same class and trial weights: the scale of a score does not matter. The offset is not
penalised. (1) is minimised by Newton's method with backtracking, on standardised columns.

Dimension legend: N trials, d columns.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from fusion.calibration.kernels import logistic_pass, standardise
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller

_MAX_ITERATIONS = 200
_STEP = 1e-6  # relative; Newton's last step squares it
_DECREMENT = 1e-15  # expected fall of the cost, relative, that rounding hides
_FLAT = 1e-8  # the same, below which scores that still move by ½ show a direction without end
START_TRIALS = 20_000  # of a class, from which the search among many trials starts
_EPS = float(np.finfo(np.float64).eps)
_COLLINEAR = 1e-10  # of the variance of standardised columns


@dataclass(frozen=True)
class LogisticFit:
    """What `fit_logistic` found: llr = X @ weights + offset.

    Parameters
    ----------
    weights : ndarray (d,) float64
    offset : float
    n_iter : int
    objective : list of float
        Cost (1), in nats, at the start and after each iteration.
    separable : bool
        Whether some weights divide the classes without error, so that without a ridge the cost
        falls for ever as they grow.
    ridge : float
        As used: the one given, or the one taken because of separable scores.
    """

    weights: np.ndarray
    offset: float
    n_iter: int
    objective: list[float] = field(repr=False)
    separable: bool = False
    ridge: float = 0.0


def fit_logistic(
    X: ArrayLike,
    y: ArrayLike,
    *,
    prior: float = 0.5,
    ridge: float = 0.0,
    non_negative: bool = False,
    sample_weight: ArrayLike | None = None,
) -> LogisticFit:
    """Weights and offset of least prior-weighted logistic cost.

    Equals scikit-learn's ``LogisticRegression(C=1 / ridge)`` on standardised columns with the
    sample weights P u_i and (1 − P) u_i of the module's equation (1), and the prior log-odds taken
    off its intercept.

    Parameters
    ----------
    X : array-like (N, d) or (N,)
        Scores, or any columns.
    y : array-like (N,) bool
        Whether a trial is a target.
    prior : float
        Prior probability of a target at which the llr should serve best.
    ridge : float
        Penalty of squared weights of standardised columns, relative to a cost that is an average
        over trials: 1e-3 is little.
    non_negative : bool
        Whether no weight may be below 0.
    sample_weight : array-like (N,), optional
        Relative weights within each class; trials of weight 0 are left out.

    Raises
    ------
    DataError
        One class only, a column that is constant, NaN or infinite values, or arrays that do not
        fit together.
    UsageError
        An impossible prior or ridge.

    Warns
    -----
    DegenerateDataWarning
        The classes are separable: the weights are those with a ridge of one over the trials of
        the smaller class. Or columns are combinations of others: of all best weights, those of
        least squares are taken.

    Examples
    --------
    >>> from fusion import fit_logistic
    >>> scores = [-2.0, -1.0, 0.5, -0.5, 1.0, 2.0]
    >>> fit = fit_logistic(scores, [0, 0, 0, 1, 1, 1])
    >>> print(f"llr = {fit.weights[0]:.2f} score {fit.offset:+.2f}")
    llr = 1.35 score +0.00
    """
    if not 0 < prior < 1:
        raise UsageError(f"the prior of a target must be between 0 and 1, got {prior}")
    if not 0 <= ridge < np.inf:
        raise UsageError(f"the ridge must be at least 0 and finite, got {ridge}")
    table, target, weight = checked_columns(X, y, sample_weight)
    problem = Problem(table, target, weight, prior, non_negative)
    search = problem.minimise(ridge)
    if search.separable and not ridge:
        ridge = 1 / min(target.sum(), (~target).sum())
        warn_caller(
            f"the scores separate targets from nontargets without error, so that no finite "
            f"weights are best; took those with a ridge of {ridge:.3g}. The llr are as large as "
            "so few trials allow; use more trials",
            DegenerateDataWarning,
        )
        again = problem.minimise(ridge)
        search = _Search(again.point, again.objective, True)
    elif problem.rank < table.shape[1] and not ridge:
        warn_caller(
            f"only {problem.rank} of {table.shape[1]} columns tell something of their own; what "
            "they share is weighed by least squares, leave some out or give a ridge",
            DegenerateDataWarning,
        )
    weights, offset = problem.unstandardised(search.point)
    return LogisticFit(
        weights, offset, len(search.objective) - 1, search.objective, search.separable, ridge
    )


def checked_columns(
    X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Table (N, d), labels (N,) and weights of trials, of those with a weight."""
    try:
        table = np.asarray(X, np.float64)
        weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        raise DataError("scores or weights are not numbers; give arrays of numbers") from None
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size:
        raise DataError(f"scores of shape {np.shape(X)}; give (n_trials, n_columns)")
    target = binary_labels(y, len(table))
    if weight is not None:
        if weight.shape != target.shape:
            raise DataError(f"{len(table)} trials but weights of shape {weight.shape}")
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise DataError("weights of trials must be finite and not negative")
        used = weight > 0
        if not used.all():
            table, target, weight = table[used], target[used], weight[used]
    refuse_one_class(target)
    for j, column in enumerate(table.T):
        low, high = float(column.min()), float(column.max())  # NaN if there is one
        if not (np.isfinite(low) and np.isfinite(high)):
            wrong = np.argwhere(~np.isfinite(table))
            raise DataError(
                f"{len(wrong)} values are NaN or infinite, first in trial {wrong[0, 0]}, column "
                f"{wrong[0, 1]}; mend the scoring"
            )
        if high / 2 - low / 2 <= 2 * _EPS * max(abs(low), abs(high)):
            which = f"column {j} is" if table.shape[1] > 1 else "all scores are"
            raise DataError(f"{which} {low:g}, which tells nothing; leave it out or mend it")
    return table, target, weight


def binary_labels(y: ArrayLike, n_trials: int) -> np.ndarray:
    """Labels (n_trials,) as bool.

    Raises
    ------
    DataError
        Not one for each trial, or others than 0 and 1.
    """
    labels = np.asarray(y)
    if labels.shape != (n_trials,):
        raise DataError(f"{n_trials} trials but labels of shape {labels.shape}; give one each")
    if labels.dtype != bool and not np.isin(labels, (0, 1)).all():
        raise DataError("labels must be 1 (target) or 0 (nontarget); take unknown ones out")
    return labels.astype(bool, copy=False)


def refuse_one_class(target: np.ndarray) -> None:
    """Raise DataError unless there are targets and nontargets."""
    n_targets = int(np.count_nonzero(target))
    if not n_targets or n_targets == len(target):
        missing = "nontarget" if n_targets else "target"
        raise DataError(f"there are no {missing} trials, only one class; training needs both")


@dataclass(frozen=True)
class _Search:
    """Where a minimisation ended: weights of standardised columns and offset (d + 1,)."""

    point: np.ndarray
    objective: list[float]
    separable: bool


@dataclass
class _State:
    """Cost (1) at a point, its derivatives, and the lowest target and highest nontarget score."""

    point: np.ndarray
    cost: float
    gradient: np.ndarray
    hessian: np.ndarray
    lowest: float
    highest: float

    def separates(self) -> bool:
        """Whether a threshold divides the classes; scores that touch do not overlap either."""
        *weights, offset = np.abs(self.point)
        # Weights that drown in rounding give all trials one score, which divides nothing.
        return max(weights) > 8 * _EPS * max(1.0, offset) and self.lowest >= self.highest


_BLOCK = 1 << 20  # trials


class Problem:
    """Cost (1) on standardised columns, ready for Newton's method."""

    def __init__(
        self,
        table: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray | None,
        prior: float,
        non_negative: bool,
    ):
        self.prior = prior
        self.shift = float(np.log(prior) - np.log1p(-prior))
        self.non_negative = non_negative
        self.signed = _signed_weights(target, weight, prior)
        # Squares of huge or tiny scores would overflow.
        self.unit = np.array([max(-column.min(), column.max()) for column in table.T])
        self.columns = np.empty(table.T.shape)
        self.mean, self.spread = np.empty(len(self.unit)), np.empty(len(self.unit))
        standardise(table, self.signed, self.unit, self.columns, self.mean, self.spread)
        self.start = self.state(np.zeros(len(self.unit) + 1), 0.0)
        # At zero weights every trial curves the cost alike: this is P (1 − P) the correlations.
        correlation = self.start.hessian[:-1, :-1] / (prior * (1 - prior))
        self.rank = int(np.sum(np.linalg.eigvalsh(correlation) > _COLLINEAR))

    def state(self, point: np.ndarray, ridge: float) -> _State:
        """Cost and derivatives at a point (d + 1,)."""
        size = len(point)
        gradient, hessian = np.empty(size), np.empty((size, size))
        cost, lowest, highest = logistic_pass(
            self.columns, self.signed, point[:-1], point[-1], self.shift, gradient, hessian
        )
        if ridge:
            cost += ridge / 2 * point[:-1] @ point[:-1]
            gradient[:-1] += ridge * point[:-1]
            hessian[np.arange(size - 1), np.arange(size - 1)] += ridge
        return _State(point, cost, gradient, hessian, lowest, highest)

    def minimise(self, ridge: float) -> _Search:
        """Newton's method, projected on weights of at least 0 if asked for.

        D. Bertsekas, "Projected Newton methods for optimization problems with simple
        constraints", SIAM J. Control and Optimization 20, 1982.
        """
        now = self._first(ridge)
        objective, n_flat = [now.cost], 0
        for _ in range(_MAX_ITERATIONS):
            step = self._newton_step(now, ridge)
            following = self._backtrack(now, step, ridge)
            if following is None:
                break
            moved, fall = following.point - now.point, -float(now.gradient @ step)
            now = following
            objective.append(now.cost)
            if now.separates() and not ridge:
                return _Search(now.point, objective, True)
            if np.abs(moved).max() <= _STEP * (1 + np.abs(now.point).max()):
                break
            # Some trials' scores grow by about 1 a step for ever, and count for less and less.
            flat = not ridge and fall <= _FLAT * now.cost and self._largest_move(moved) > 0.5
            n_flat = n_flat + 1 if flat else 0
            if n_flat >= 2:
                return _Search(now.point, objective, True)
            if fall <= _DECREMENT * now.cost and not flat:
                break
        return _Search(now.point, objective, now.separates())

    def _first(self, ridge: float) -> _State:
        """Zero weights, or with many trials the best ones of every k-th trial for each class."""
        n_targets = int(np.count_nonzero(self.signed > 0))
        counts = n_targets, len(self.signed) - n_targets
        if max(counts) < 2 * START_TRIALS or self.rank < len(self.columns):
            return self.start
        few = copy(self)
        rows, parts = [], []
        for count, sign, share in zip(counts, (1, -1), (self.prior, 1 - self.prior)):
            k = -(-count // START_TRIALS)
            every = self.signed[::k]
            picked = k * np.flatnonzero(every > 0 if sign > 0 else every < 0)
            if not len(picked):  # Classes that alternate with the period k.
                return self.start
            rows.append(picked)
            parts.append(self.signed[picked] * (sign * share / self.signed[picked].sum()))
        few.signed = np.concatenate(parts)
        few.columns = np.ascontiguousarray(self.columns[:, np.concatenate(rows)])
        few.start = few.state(self.start.point, 0.0)
        search = few.minimise(ridge)
        if search.separable:
            return self.start
        first = self.state(search.point, ridge)
        return first if first.cost < self.start.cost else self.start

    def _newton_step(self, now: _State, ridge: float) -> np.ndarray:
        free = np.ones(len(now.point), bool)
        if self.non_negative:
            free[:-1] = (now.point[:-1] > 0) | (now.gradient[:-1] < 0)
        cut = _COLLINEAR if self.rank < len(self.columns) and not ridge else None
        step = np.zeros(len(now.point))
        hessian = now.hessian[np.ix_(free, free)]
        step[free] = np.linalg.lstsq(hessian, -now.gradient[free], rcond=cut)[0]
        return step

    def _backtrack(self, now: _State, step: np.ndarray, ridge: float) -> _State | None:
        """The first point, at half the step each time, where the cost falls enough."""
        length = 1.0
        for _ in range(40):
            point = now.point + length * step
            if self.non_negative:
                np.maximum(point[:-1], 0.0, out=point[:-1])
            following = self.state(point, ridge)
            expected = float(now.gradient @ (point - now.point))
            slack = 4 * _EPS * now.cost
            if following.cost <= now.cost + 1e-4 * min(expected, 0.0) + slack:
                return following
            length /= 2
        return None

    def _largest_move(self, moved: np.ndarray) -> float:
        most = 0.0
        for start in range(0, len(self.signed), _BLOCK):
            change = moved[:-1] @ self.columns[:, start : start + _BLOCK] + moved[-1]
            most = max(most, float(np.abs(change, out=change).max()))
        return most

    def unstandardised(self, point: np.ndarray) -> tuple[np.ndarray, float]:
        """Weights (d,) and offset for the columns as given."""
        weights = point[:-1] / self.spread
        return weights / self.unit, float(point[-1] - weights @ self.mean)


def _signed_weights(target: np.ndarray, weight: np.ndarray | None, prior: float) -> np.ndarray:
    """Weights (N,) of cost (1), P in sum for targets and −(1 − P) for nontargets."""
    if weight is None:
        n_targets = np.count_nonzero(target)
        return np.where(target, prior / n_targets, (prior - 1) / (len(target) - n_targets))
    tar, non = weight[target].sum(), weight[~target].sum()
    return weight * np.where(target, prior / tar, (prior - 1) / non)
