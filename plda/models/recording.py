"""Scores between the segments of one recording, for diarisation (``ivector-plda-scoring-dense``).

n segments, D dimensions. Segments of one recording vary in few directions; Kaldi projects the
vectors and the model on the recording's own principal components before scoring.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from plda.checks import check_input, check_range
from plda.linalg import eigh_descending, total_covariance
from plda.models.plda import PLDA


def score_recording(model: PLDA, X: Any, target_energy: float = 0.5, **options: Any) -> np.ndarray:
    """Score every segment of a recording against every other.

    Parameters
    ----------
    model : PLDA
    X : array_like (n_segments, D)
        The segments' vectors.
    target_energy : float
        Share of the variance between segments that the kept principal components must exceed;
        Kaldi then keeps one more, and so does this.
    **options
        ``normalize_length`` and ``simple_length_norm`` of `PLDA.transform`.

    Returns
    -------
    ndarray (n_segments, n_segments)

    Notes
    -----
    Never more components are kept than the segments' covariance has rank, where Kaldi takes an
    arbitrary direction of its null space; hence fewer segments than dimensions may score
    differently there. Segments that are all equal are scored without projection.

    Examples
    --------
    >>> import numpy as np
    >>> from plda import PLDA
    >>> model = PLDA.from_covariances(np.zeros(3), np.eye(3), 4 * np.eye(3))
    >>> segments = np.array([[4.0, 0, 1], [5, 1, 0], [-4, 1, 1]])  # the last is of someone else
    >>> (score_recording(model, segments) > 0).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    X = check_input(model, X)
    energy = check_range("target_energy", target_energy, 0.0, 1.0)
    components = _principal_components(X, energy)
    if len(components):
        model, X = model.project(components), X @ components.T.astype(X.dtype)
    return model.score_matrix(X, X, **options)


def _principal_components(X: np.ndarray, target_energy: float) -> np.ndarray:
    """Kaldi's ``EstPca``: rows are components (n_components, D); none if there is no variance."""
    mean, covariance = total_covariance(X)
    values, vectors = eigh_descending(covariance)
    rounding = np.finfo(X.dtype).eps * max(values[0], 0.0) + np.finfo(np.float64).eps * (
        mean @ mean
    )
    rank = int(np.count_nonzero(values > rounding * X.shape[1]))
    share = np.cumsum(values[:rank]) / max(values[:rank].sum(), np.finfo(np.float64).tiny)
    n_exceeding = int(np.searchsorted(share, target_energy, side="right")) + 1
    return vectors[:, : min(rank, n_exceeding + 1)].T
