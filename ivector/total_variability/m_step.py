"""M-step: T and Σ from the sums of the E-step, and the prior by minimum divergence.

Pure functions, written once for both models of `ivector.total_variability.subspace`; the
classical one has offset p = 0. `m_step` updates T_c (`_projection_step`), then Σ_c
(`_residual_scatter`, `_update_precision`); `update_prior` transforms the subspace.

Dimensions
----------
C components, D feature dimension, R rank, P = R (R + 1) / 2 packed numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg

from ivector.base.errors import DataError
from ivector.total_variability import packed
from ivector.total_variability.e_step import Accumulators
from ivector.total_variability.subspace import Subspace, whitener

MAX_CONDITION = 1e4  # Kaldi's SolverOptions K: eigenvalues below top / K are floored in solving.
MIN_PRIOR_VARIANCE = 1e-7  # Kaldi's floor on eigenvalues of the i-vectors' covariance.


def m_step(
    model: Subspace,
    total: Accumulators,
    update_covariance: bool,
    min_count: float,
    covariance_floor: float,
) -> Subspace:
    """Re-estimate projections, then covariances (``UpdateProjections``, ``UpdateVariances``).

    Components with fewer than `min_count` frames keep their parameters.
    """
    projection = model.projection.copy()
    scatters: dict[int, np.ndarray] = {}
    for c in map(int, np.flatnonzero(total.zeroth >= min_count)):
        moment = packed.to_full(total.moment[c], model.rank)
        step = _projection_step(projection[c], moment, total, c, model.offset)
        projection[c] += step
        if update_covariance and total.second is not None:
            shift = model.offset * step[:, 0]
            scatters[c] = _residual_scatter(projection[c], moment, total, c, shift)
    precision = model.precision
    if scatters:
        precision = _update_precision(model, total.zeroth, scatters, covariance_floor)
    return replace(model, projection=projection, precision=precision)


def _projection_step(
    projection: np.ndarray, moment: np.ndarray, total: Accumulators, c: int, offset: float
) -> np.ndarray:
    """Solve ΔQ = G for the change of T_c (D, R), with v = w + p e_0 (Kenny 2005, eq. 13).

    Q = Σ N E[vv'] and the residual G = Σ E[(F − N T w) v'] are written with moments of w, so
    that nothing of the size of p² cancels.
    """
    count, latent = total.zeroth[c], total.latent[c]
    residual = total.cross[c] - projection @ moment
    if not offset:
        return solve_floored(moment, residual)
    residual[:, 0] += offset * (total.first[c] - projection @ latent)
    quadratic = moment.copy()
    quadratic[0] += offset * latent
    quadratic[:, 0] += offset * latent
    quadratic[0, 0] += offset**2 * count
    return solve_floored(quadratic, residual)


def solve_floored(quadratic: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Solve X Q = rhs (D, R), ill-conditioned directions damped.

    Kaldi's ``SolveQuadraticMatrixProblem``: Q is scaled to a unit diagonal, and eigenvalues
    below its largest / 1e4 are floored. That the floor is not reached, the usual case, is
    proved by a Cholesky factor of Q − ‖Q‖_F / 1e4 I, much cheaper than eigenvalues.
    """
    n = len(quadratic)
    scale = 1.0 / np.sqrt(np.maximum(np.diag(quadratic), np.finfo(float).tiny * 1e3))
    scaled = quadratic * scale
    scaled *= scale[:, None]
    shifted = scaled.copy()
    shifted.ravel()[:: n + 1] -= np.linalg.norm(scaled) / MAX_CONDITION
    if _is_definite(shifted):
        # A symmetric matrix is its own transpose: in that order LAPACK works without a copy.
        factor, _ = linalg.lapack.dpotrf(scaled.T, lower=1, clean=0, overwrite_a=1)
        solution, _ = linalg.lapack.dpotrs(factor, (rhs * scale).T, lower=1)
        return solution.T * scale
    values, vectors = linalg.eigh(scaled)
    values = np.maximum(values, values[-1] / MAX_CONDITION)
    return ((rhs * scale) @ vectors / values) @ vectors.T * scale


def _residual_scatter(
    projection: np.ndarray, moment: np.ndarray, total: Accumulators, c: int, shift: np.ndarray
) -> np.ndarray:
    """Σ E[(x − μ)(x − μ)'] of component c for the new means μ = m_c + δ + T_c w (D, D).

    S − (B T' + f δ') − (…)' + T A T' + T h δ' + δ h'T' + N δ δ', about the old m_c.
    """
    assert total.second is not None
    modelled = projection @ total.latent[c]
    mean_part = np.outer(modelled - total.first[c], shift)
    cross = mean_part - total.cross[c] @ projection.T
    scatter = total.second[c] + cross + cross.T + projection @ moment @ projection.T
    scatter += total.zeroth[c] * np.outer(shift, shift)
    return 0.5 * (scatter + scatter.T)


def _update_precision(
    model: Subspace, zeroth: np.ndarray, scatters: dict[int, np.ndarray], floor_factor: float
) -> np.ndarray:
    """Σ_c from scatters, floored at `floor_factor` times their average; returns inverses."""
    rows = list(scatters)
    average = sum(scatters.values()) / zeroth[rows].sum()
    floor = _limit_condition(floor_factor * _keep(average, model.diagonal))
    precision = model.precision.copy()
    for c, scatter in scatters.items():
        covariance = floored(_keep(scatter / zeroth[c], model.diagonal), floor)
        inverse = linalg.inv(covariance)
        precision[c] = 0.5 * (inverse + inverse.T)
    return precision


def _limit_condition(covariance: np.ndarray) -> np.ndarray:
    """Floor the eigenvalues at the largest over 1e4, as Kaldi does with its variance floor."""
    values, vectors = linalg.eigh(covariance)
    return (vectors * np.maximum(values, values[-1] / MAX_CONDITION)) @ vectors.T


def _keep(matrix: np.ndarray, diagonal: bool) -> np.ndarray:
    return np.diag(np.diag(matrix)) if diagonal else matrix


def floored(covariance: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Smallest matrix not below `floor` in any direction (Kaldi's ``SpMatrix::ApplyFloor``).

    Raises
    ------
    DataError
        The floor itself is singular: features are constant or linearly dependent.
    """
    if _is_definite(covariance - floor):
        return covariance
    try:
        values, vectors = linalg.eigh(covariance, floor)
    except linalg.LinAlgError:
        raise DataError(
            "covariances cannot be floored: the average covariance is singular, as the features "
            "have a constant or linearly dependent dimension; remove it"
        ) from None
    back = floor @ vectors
    return (back * np.maximum(values, 1.0)) @ back.T


def _is_definite(matrix: np.ndarray) -> bool:
    """Whether a symmetric matrix (destroyed) is positive definite."""
    _, info = linalg.lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    return bool(info == 0)


def update_prior(model: Subspace, total: Accumulators, diagonalise: bool) -> Subspace:
    """Minimum divergence: change T so that the prior of w fits the posteriors seen.

    The likelihood stays and the divergence of posteriors from the prior falls (Kenny 2008,
    sect. IV). Kaldi's model has the mean as a parameter: the covariance becomes I and the mean
    p e_0 (``UpdatePrior``). The classical model has none: the second moment becomes I.
    """
    n = max(total.n_utterances, 1)
    moment = packed.to_full(total.latent_moment / n, model.rank)
    mean = total.latent_sum / n
    if model.ubm_means is None:
        moment -= np.outer(mean, mean)
        mean = mean.copy()
        mean[0] += model.offset
    whiten = _unit_covariance(moment)
    n_fixed = 0
    if model.ubm_means is None:
        whiten = _reflection_onto_first(whiten @ mean) @ whiten
        n_fixed = 1
    if diagonalise:
        whiten[n_fixed:] = _diagonalising_rotation(model, whiten, n_fixed) @ whiten[n_fixed:]
    projection = _right_divide(model.projection, whiten)
    offset = float(whiten[0] @ mean) if n_fixed else 0.0
    return replace(model, projection=projection, offset=offset)


def _unit_covariance(covariance: np.ndarray) -> np.ndarray:
    """V (R, R) with V Σ V' = I, eigenvalues floored."""
    values, vectors = linalg.eigh(covariance)
    return vectors.T / np.sqrt(np.maximum(values, MIN_PRIOR_VARIANCE))[:, None]


def _reflection_onto_first(vector: np.ndarray) -> np.ndarray:
    """Householder reflection that takes `vector` to a positive multiple of e_0."""
    direction = vector / np.linalg.norm(vector)
    direction[0] -= 1.0
    length = float(direction @ direction)
    identity = np.eye(len(vector))
    if length < np.finfo(float).eps ** 2:
        return identity
    return identity - np.outer(direction, direction) * (2.0 / length)


def _diagonalising_rotation(model: Subspace, whiten: np.ndarray, n_fixed: int) -> np.ndarray:
    """Rotation that makes Σ_c w_c T_c'Σ_c⁻¹T_c diagonal, largest first.

    Follows ``GetOrthogonalIvectorTransform``, which leaves out the offset's row and column
    before inverting. Signs are fixed: the largest element of each row is positive.
    """
    C, D, R = model.projection.shape
    stacked = np.empty((C, D, R))
    for c in range(C):
        stacked[c] = np.sqrt(model.weights[c]) * whitener(model.precision[c]) @ model.projection[c]
    stacked = stacked.reshape(C * D, R)[:, n_fixed:]
    inner = linalg.inv(whiten[n_fixed:, n_fixed:])
    _, vectors = linalg.eigh(inner.T @ (stacked.T @ stacked) @ inner)
    rotation = vectors[:, ::-1].T
    if not len(rotation):
        return rotation
    largest = np.take_along_axis(rotation, np.abs(rotation).argmax(1)[:, None], axis=1)
    return rotation * np.sign(largest)


def _right_divide(projection: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """T_c V⁻¹ for every component."""
    C, D, R = projection.shape
    return (projection.reshape(C * D, R) @ linalg.inv(transform)).reshape(C, D, R)
