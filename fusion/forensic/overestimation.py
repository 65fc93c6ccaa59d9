"""How much too large llr are, over their range, with fiducial bands.

An llr is what it says if the log ratio of the densities of such values, among target and among
nontarget trials, is the llr itself. The difference is its overestimation. Densities are Gaussian
kernel estimates (B. Silverman, "Density estimation for statistics and data analysis", 1986,
equation 3.31). Their uncertainty is fiducial, after I. Alberink et al.: no model is assumed, so
that the cumulative probabilities of the sorted llr of a class are like sorted uniform numbers, and
the parts between them like a draw of a flat Dirichlet distribution; each draw gives a density.
Trials count as independent, so that the bands are too narrow where trials share speakers.

Dimension legend: G points of the grid, R draws, K cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fusion.forensic.measures import refuse_infinite
from fusion.intervals.replicates import check_level
from fusion.metrics.arrays import checked
from ivector.base.errors import DataError

_CELLS = 2048  # into which llr are sorted; at least 8 for each bandwidth unless llr are very spread
_TIED = 0.5  # part of the trials of a class whose llr may be that of another trial
_REACH = 6.0  # bandwidths from which a trial still counts


class Overestimation(NamedTuple):
    """Overestimation (G,) at llr (G,), and its fiducial interval.

    Natural logarithms; positive for llr that are too large (too small, if it is negative).
    """

    llr: np.ndarray
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def mean_absolute(self) -> float:
        """Mean over the range, without sign."""
        return float(np.abs(self.estimate).mean())

    @property
    def share_certain(self) -> float:
        """Share of the range where the interval does not hold 0."""
        return float(np.mean((self.low > 0) | (self.high < 0)))


def llr_overestimation(
    tar: ArrayLike,
    non: ArrayLike,
    *,
    n_grid: int = 100,
    n_draws: int = 500,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> Overestimation:
    """Overestimation of llr over the range that both classes share.

    Parameters
    ----------
    tar, non : array-like (n_targets,), (n_nontargets,)
        Llr, natural logarithms.
    n_grid : int
        Number G of llr at which it is found.
    n_draws : int
        Number R of fiducial draws.
    level : float
    random_state : int, numpy.random.Generator or None

    Raises
    ------
    DataError
        An llr is not finite, a class is constant, most llr of one are those of several trials, so
        that they have no density, or the classes do not overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion.forensic import llr_overestimation
    >>> rng = np.random.default_rng(0)
    >>> tar, non = rng.normal(4.5, 3, 1000) + 1, rng.normal(-4.5, 3, 5000) + 1
    >>> found = llr_overestimation(tar, non)  # 1 too large
    >>> near_0 = np.abs(found.llr).argmin()
    >>> print(f"{found.low[near_0]:.1f} to {found.high[near_0]:.1f}")
    0.8 to 1.4
    """
    check_level(level)
    classes = [checked(tar, "target"), checked(non, "nontarget")]
    for values, name in zip(classes, ("target", "nontarget")):
        refuse_infinite(values, f"llr of {name} trials")
        if values[0] == values.min() == values.max():
            raise DataError(f"the llr of all {name} trials are {values[0]:g}; mend the scoring")
        distinct, counts = np.unique(values, return_counts=True)
        if counts[counts > 1].sum() > _TIED * len(values):
            raise DataError(
                f"the llr of {len(values)} {name} trials are {len(distinct)} different ones, which "
                "have no densities; take llr that were not rounded"
            )
    low, high = max(v.min() for v in classes), min(v.max() for v in classes)
    if low >= high:
        raise DataError("the llr of the classes do not overlap, so that none can be checked")
    grid = np.linspace(low, high, n_grid)
    rng = np.random.default_rng(random_state)
    logs = [_log_densities(values, grid, n_draws, rng) for values in classes]
    over = grid - (logs[0] - logs[1])
    ends = np.quantile(over[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Overestimation(grid, over[0], ends[0], ends[1])


def _log_densities(
    values: np.ndarray, grid: np.ndarray, n_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Log density (1 + R, G) of a class: as estimated, and of every draw."""
    quarter, three = np.quantile(values, [0.25, 0.75])
    spread = min(values.std(ddof=1), (three - quarter) / 1.34) or values.std(ddof=1)
    width = 0.9 * spread * len(values) ** -0.2
    edges = np.linspace(grid[0] - _REACH * width, grid[-1] + _REACH * width, _CELLS + 1)
    counts = np.histogram(values, edges)[0]
    outside = len(values) - counts.sum()
    used = counts > 0
    middles = (edges[:-1] + edges[1:])[used] / 2
    # The sum of n parts of a flat Dirichlet distribution is that of a gamma variable of shape n.
    shares = rng.standard_gamma(np.append(counts[used], outside), (n_draws, used.sum() + 1))
    shares = np.vstack([np.append(counts[used], outside), shares])
    shares /= shares.sum(axis=1, keepdims=True)
    kernel = np.exp(-(((grid - middles[:, None]) / width) ** 2) / 2)
    density = shares[:, :-1] @ kernel / (np.sqrt(2 * np.pi) * width)
    # Gaps that no kernel reaches are as thin as numbers get, not of no density.
    return np.log(np.maximum(density, np.finfo(np.float64).tiny))
