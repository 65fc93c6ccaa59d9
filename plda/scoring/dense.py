"""All pairs of the vectors of one recording, projected onto its own principal axes first.

N vectors of a recording, D dimensions, K axes kept. Kaldi's ``ivector-plda-scoring-dense``, which
scores segments of a recording for diarisation.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from plda.checks import check_range, check_vectors
from plda.models.two_covariance import TwoCovariance

NO_PROJECTION = 0.999  # of the variance: nothing would be left out
RANK_FLOOR = 1e-6  # of the greatest variance: below it is rounding of float32


def dense_scores(
    model: TwoCovariance,
    X: np.ndarray,
    target_energy: float = 0.5,
    normalize_length: bool = True,
    simple_length_norm: bool = False,
) -> np.ndarray:
    """Log-likelihood ratios of every vector of a recording with every other.

    Parameters
    ----------
    model : PLDA
    X : ndarray (N, D)
    target_energy : float
        Share of the recording's variance that its principal axes keep; 1 leaves it as it is.
    normalize_length, simple_length_norm : bool
        As for `PLDA.transform`.

    Returns
    -------
    ndarray (N, N)

    Examples
    --------
    >>> from plda import PLDA
    >>> plda = PLDA.from_covariances(np.zeros(3), np.eye(3), np.eye(3))
    >>> X = np.array([[2.0, 0, 1], [2, 0.1, 1], [-2, 0, 1]])
    >>> scores = dense_scores(plda, X)
    >>> bool(scores[0, 1] > 0 > scores[0, 2])
    True
    """
    target_energy = check_range("target_energy", target_energy, 0.0, 1.0)
    X = check_vectors(X).astype(np.float64)
    if target_energy < NO_PROJECTION and len(axes := principal_axes(X, target_energy)):
        model, X = model.project(axes), X @ axes.T
    return model.score_matrix(
        X, X, normalize_length=normalize_length, simple_length_norm=simple_length_norm
    )


def principal_axes(X: np.ndarray, share: float) -> np.ndarray:
    """Principal axes (K, D) of vectors (N, D), one more than hold over `share` of the variance.

    Kaldi counts so. Where the vectors have no further axis, it takes any that is perpendicular,
    as rounding has it; here there are only those that the vectors determine, of one vector none.
    """
    values, vectors = linalg.eigh(np.cov(X.T, bias=True).reshape(X.shape[1], -1))
    values = values[::-1]
    rank = int((values > RANK_FLOOR * max(values[0], 0.0)).sum()) if len(X) > 1 else 0
    kept = np.cumsum(values) > share * values.sum()
    return vectors[:, ::-1].T[: min(int(np.argmax(kept)) + 2, rank)]
