"""Unsupervised adaptation of PLDA to unlabelled in-domain vectors, as in Kaldi.

D dimensions. Follows ``PldaUnsupervisedAdaptor`` of Kaldi's ``ivector/plda.cc``: where the
in-domain vectors vary more than the model expects, the excess is shared out between the within-
and the between-class covariance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ivector.base.workers import one_thread
from plda.checks import check_input, check_range, warn_degenerate
from plda.linalg import diagonalise, eigh_descending, total_covariance
from plda.models.plda import PLDA


@one_thread()
def adapt_plda(
    model: PLDA,
    X: Any,
    within_covar_scale: float = 0.3,
    between_covar_scale: float = 0.7,
    mean_diff_scale: float = 1.0,
) -> PLDA:
    """Adapt a model to unlabelled vectors (Kaldi's ``ivector-adapt-plda``).

    Parameters
    ----------
    model : PLDA
        Left as it is.
    X : array_like (n_vectors, D)
        In-domain vectors, transformed like the model's training vectors.
    within_covar_scale, between_covar_scale : float
        Shares of the excess variance that go to W and B. Kaldi's defaults sum to 1; its SRE16
        recipe uses 0.75 and 0.25 (domain differences are mostly within speakers).
    mean_diff_scale : float
        Weight of the squared shift of the mean in the in-domain variance.

    Returns
    -------
    PLDA
        With the in-domain mean; speakers are to be enrolled anew.

    Raises
    ------
    DataError
        NaN, or vectors of another dimension.
    UsageError
        A negative scale.

    Examples
    --------
    >>> import numpy as np
    >>> from plda import PLDA
    >>> model = PLDA.from_covariances(np.zeros(2), np.eye(2), np.eye(2))
    >>> X = 1 + 3 * np.random.default_rng(0).normal(size=(2000, 2))
    >>> adapted = adapt_plda(model, X)
    >>> adapted.mean_.round().tolist(), bool((adapted.within_covariance_.diagonal() > 2).all())
    ([1.0, 1.0], True)
    """
    check_is_fitted(model)
    X = check_input(model, X)
    scales = {
        "within_covar_scale": within_covar_scale,
        "between_covar_scale": between_covar_scale,
        "mean_diff_scale": mean_diff_scale,
    }
    within_scale, between_scale, mean_scale = (
        check_range(name, value, 0.0) for name, value in scales.items()
    )
    mean, variance = total_covariance(X)
    _warn_few_vectors(variance, len(X))
    shift = mean - model.mean_
    variance += mean_scale * np.outer(shift, shift)

    # In this space the model's total covariance W + B is the identity.
    to_unit = model.transform_ / np.sqrt(1 + model.psi_)[:, None]
    values, directions = eigh_descending(to_unit @ variance @ to_unit.T)
    excess = np.maximum(values - 1, 0.0)
    # T⁻¹ with rows scaled, turned into the directions of the eigenvectors.
    back = np.linalg.solve(to_unit, directions)
    added = (back * excess) @ back.T
    within = model.within_covariance_ + within_scale * added
    between = model.between_covariance_ + between_scale * added
    return model.with_parameters(mean, *diagonalise(within, between))


def _warn_few_vectors(variance: np.ndarray, n_vectors: int) -> None:
    values = eigh_descending(variance)[0]
    rank = int(np.count_nonzero(values > 1e-6 * values[0])) if values[0] > 0 else 0
    if rank < len(values):
        warn_degenerate(
            f"the covariance of {n_vectors} in-domain vectors has rank {rank} of {len(values)}"
            " dimensions, so its greatest variances are overestimated and nothing is known of the"
            " rest: use more vectors"
        )
