"""MAP adaptation of a diagonal UBM to one speaker (Reynolds, Quatieri & Dunn 2000, section 3.2).

Dimension legend: C components, D feature dimensions.
"""

from __future__ import annotations

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.statistics import GMMStatistics

PARAMETERS = "mvw"


def map_adapt(
    ubm: DiagonalGMM, statistics: GMMStatistics, relevance: float = 16.0, parameters: str = "m"
) -> DiagonalGMM:
    """Adapt a UBM to the data behind `statistics`.

    Parameters
    ----------
    ubm : DiagonalGMM
        The prior.
    statistics : GMMStatistics
        From ``ubm.accumulate(X)``; statistics of several recordings add.
    relevance : float
        Relevance factor r: a component seen in r frames moves half way to its data. Larger keeps
        short enrolments nearer to the UBM. 16 is customary.
    parameters : str
        What is adapted: any of "m" (means), "v" (variances), "w" (weights). Means alone are best
        for verification with fast scoring.

    Returns
    -------
    DiagonalGMM
        A new model; components without data keep the UBM's parameters.

    Raises
    ------
    UsageError
        A relevance that is not positive, or unknown `parameters`.
    DataError
        Statistics of another model.

    Examples
    --------
    >>> import numpy as np
    >>> ubm = DiagonalGMM(1).set_parameters([1.0], [[0.0]], [[1.0]])
    >>> speaker = np.full((16, 1), 3.0)
    >>> map_adapt(ubm, ubm.accumulate(speaker), relevance=16).means_.round(3).tolist()
    [[1.5]]
    """
    if not relevance > 0:
        raise UsageError(f"relevance must be positive, got {relevance}")
    if not parameters or set(parameters) - set(PARAMETERS):
        raise UsageError(f"parameters are letters of {PARAMETERS!r}, got {parameters!r}")
    if statistics.second.shape != ubm.covariances_.shape:
        raise DataError(
            f"statistics of second order have shape {statistics.second.shape}, the UBM's "
            f"variances {ubm.covariances_.shape}; gather them with ubm.accumulate"
        )
    zeroth = statistics.zeroth
    alpha = (zeroth / (zeroth + relevance))[:, None]  # eq. (14)
    count = np.maximum(zeroth, np.finfo(float).tiny)[:, None]
    mean = statistics.first / count  # eq. (9): E_i(x)
    means, covariances, weights = ubm.means_, ubm.covariances_, ubm.weights_
    if "m" in parameters:
        means = alpha * mean + (1 - alpha) * ubm.means_  # eq. (12)
    if "v" in parameters:
        square = statistics.second / count  # eq. (10): E_i(x²)
        prior_square = ubm.covariances_ + ubm.means_**2
        covariances = alpha * square + (1 - alpha) * prior_square - means**2  # eq. (13)
        covariances = np.maximum(covariances, 1e-2 * ubm.covariances_)
    if "w" in parameters:
        share = zeroth / max(zeroth.sum(), np.finfo(float).tiny)
        weights = alpha[:, 0] * share + (1 - alpha[:, 0]) * ubm.weights_  # eq. (11)
        weights = weights / weights.sum()
    return ubm.with_parameters(weights, means, covariances)
