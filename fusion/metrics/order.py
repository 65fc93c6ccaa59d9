"""Do target trials score higher than nontarget trials: the area under the ROC, and its error.

Means do not tell that: a few scores far out turn them about, and a slope learnt from the scores
with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from fusion.metrics.curve import OperatingPoints

_SURE = 3.0  # standard errors


class Order(NamedTuple):
    """How often a target trial scores higher than a nontarget trial.

    Parameters
    ----------
    area : float
        Share of the pairs, ties counting half: the area under the ROC.
    error : float
        Its standard error if scores tell nothing (H. Mann, D. Whitney, Annals of Mathematical
        Statistics 18, 1947); trials count as independent.
    """

    area: float
    error: float

    @property
    def turned(self) -> bool:
        """Whether targets score lower."""
        return self.area < 0.5 - _SURE * self.error

    @property
    def higher(self) -> bool:
        """Whether targets score higher."""
        return self.area > 0.5 + _SURE * self.error

    @property
    def words(self) -> str:
        """How often they do."""
        return f"a target trial scores higher than a nontarget trial in {100 * self.area:.1f} %"


def order(points: OperatingPoints) -> Order:
    """Order of the trials of a curve."""
    error = float(np.sqrt((1 / points.n_targets + 1 / points.n_nontargets) / 12))
    return Order(area(points), error)


def area(points: OperatingPoints) -> float:
    """Area under the ROC: how often a target's score beats a nontarget's, ties counting half."""
    hit, accept = 1 - points.rates().p_miss, points.rates().p_fa
    return float((hit[1:] + hit[:-1]) @ -np.diff(accept) / 2)
