"""Detection costs that are equalised over partitions of the trials, as NIST's scorer computes them.

NIST's evaluations since 2016 let the parts of the trials, such as those of a language and a number
of enrolment segments, count alike however many trials they have: an error rate is the mean of the
rates of the partitions, targets and nontargets separately (a partition without trials of a class
is left out of that mean). The minimum takes one threshold for all partitions (NIST 2016 Speaker
Recognition Evaluation Plan, section 3.2).

Dimension legend: N trials, P operating points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fusion.metrics.arrays import checked
from fusion.metrics.curve import bayes_threshold
from fusion.metrics.kernels import equalised_costs
from fusion.metrics.points import OperatingPoint, cost_weights
from ivector.base.errors import DataError


class EqualisedPoints:
    """Costs of trials at operating points, equalised over partitions.

    Parameters
    ----------
    scores : array-like (N,)
    is_target : array-like (N,) bool
    partition : array-like (N,) int
        Number of each trial's partition, from 0; trials of a negative number do not count.
    points : sequence of OperatingPoint

    Attributes
    ----------
    n_partitions : int
        Partitions that have trials.

    Raises
    ------
    DataError
        Arrays of different lengths, no trials or one class only, NaN, or partitions that are not
        numbers.

    Examples
    --------
    >>> from fusion.metrics import EqualisedPoints, OperatingPoint
    >>> scores, is_target = [2.0, -1.0, 3.0, -2.0, -3.0], [True, True, True, False, False]
    >>> costs = EqualisedPoints(scores, is_target, [0, 0, 1, 0, 1], [OperatingPoint(0.5)])
    >>> costs.least().tolist(), costs.actual().tolist()  # P_miss: the mean of 1/2 and 0 / 1
    ([0.0], [0.25])
    """

    def __init__(
        self,
        scores: ArrayLike,
        is_target: ArrayLike,
        partition: ArrayLike,
        points: Sequence[OperatingPoint],
    ):
        values, target = checked(scores, "given"), np.asarray(is_target, bool)
        numbers = np.asarray(partition)
        if not values.shape == target.shape == numbers.shape:
            shapes = f"{values.shape}, {target.shape}, {numbers.shape}"
            raise DataError(f"scores, classes and partitions have the shapes {shapes}; give (N,)")
        if not np.issubdtype(numbers.dtype, np.integer):
            raise DataError("partitions must be numbers from 0; number them first")
        present, codes = np.unique(numbers, return_inverse=True)
        self.n_partitions = int(np.count_nonzero(present >= 0))
        self.order = np.argsort(values, kind="stable")
        values = values[self.order]
        self._target = target[self.order]
        self._partition = (codes.reshape(-1) - (len(present) - self.n_partitions))[self.order]
        self._last = np.append(values[1:] != values[:-1], True)
        weights = [cost_weights(p.p_target, p.c_miss, p.c_fa) for p in points]
        self._costs = np.array(weights, np.float64).reshape(-1, 2)
        bars = [np.searchsorted(values, bayes_threshold(costs)) for costs in weights]
        self._bars = np.array(bars, np.int64)
        self._measured = self.weighted(np.ones(len(values), np.int64))
        if np.isnan(self._measured).any():
            raise DataError("a class has no trials that count; error rates need both")

    def least(self) -> np.ndarray:
        """Normalised costs (P,) at the best threshold of each point."""
        return self._measured[0]

    def actual(self) -> np.ndarray:
        """Normalised costs (P,) at the Bayes threshold of each point."""
        return self._measured[1]

    def weighted(self, weights: np.ndarray) -> np.ndarray:
        """Both costs (2, P) of trials that count as often as `weights` (N,) says, as sorted."""
        found = np.empty((2, len(self._costs)))
        equalised_costs(
            self._target, self._last, self._partition, weights, max(self.n_partitions, 1),
            self._costs, self._bars, *found,
        )  # fmt: skip
        return found
