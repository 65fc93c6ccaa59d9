"""EM of the two-covariance model (Kaldi's ``PldaEstimator`` in ``ivector/plda.cc``).

N vectors, D dimensions, K classes, n_k vectors in class k; W and B the within- and the
between-class covariance, T and ψ their simultaneous diagonalisation: T W T' = I, T B T' = diag(ψ).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from plda.checks import refuse_equal_vectors, warn_degenerate
from plda.linalg import ClassStatistics, eigh_descending


def absolute_floor(stats: ClassStatistics, relative_floor: float) -> float:
    """Floor of W's eigenvalues; warns where the vectors leave directions undetermined."""
    n_vectors, n_dims = int(stats.counts.sum()), stats.means.shape[1]
    total = eigh_descending((stats.within_scatter + stats.between_scatter) / n_vectors)[0]
    floor = max(relative_floor, n_dims * np.finfo(np.float64).eps) * total[0]
    within = eigh_descending(stats.within_scatter / n_vectors)[0]
    ranks = [int(np.count_nonzero(values > floor)) for values in (total, within)]
    refuse_equal_vectors(total[0], stats.mean, n_vectors)
    if ranks[0] < n_dims:
        warn_degenerate(
            f"{n_vectors} vectors of {len(stats.counts)} speakers have a total covariance of rank"
            f" {ranks[0]} of {n_dims} dimensions; the within-class covariance is floored in the"
            f" rest: use more vectors, or fewer dimensions with LDA or Whiten({ranks[0]}) before"
        )
    elif ranks[1] < n_dims:
        warn_degenerate(
            f"the within-class scatter of {n_vectors} vectors of {len(stats.counts)} speakers has"
            f" rank {ranks[1]} of {n_dims} dimensions; the speakers' means alone determine the"
            " rest: use more utterances per speaker, or fewer dimensions with LDA before"
        )
    return floor


def floor_eigenvalues(covariance: np.ndarray, floor: float) -> np.ndarray:
    """Symmetric matrix nearest to `covariance` (D, D) whose eigenvalues are at least `floor`."""
    values, vectors = linalg.eigh((covariance + covariance.T) / 2)
    if values[0] >= floor:
        return covariance
    return (vectors * np.maximum(values, floor)) @ vectors.T


def em_step(
    stats: ClassStatistics,
    centred: np.ndarray,
    within: np.ndarray,
    transform: np.ndarray,
    psi: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """One EM iteration, W and B → W and B (``GetStatsFromClassMeans``, ``EstimateFromStats``).

    A class mean m is the sum of x ~ N(0, B) and y ~ N(0, W/n). With u = T m, the posterior of
    T x has the diagonal covariance ψ/(1 + nψ) and the mean w = nψ/(1 + nψ) u.
    """
    n = stats.counts[:, None]
    latent = centred @ transform.T
    covariance = psi / (1 + n * psi)
    w = n * covariance * latent
    rest = latent - w
    between = w.T @ w + np.diag(covariance.sum(axis=0))
    offsets = (n * rest).T @ rest + np.diag((n * covariance).sum(axis=0))
    back = within @ transform.T  # T⁻¹, as T W T' = I
    within = (stats.within_scatter + back @ offsets @ back.T) / stats.counts.sum()
    return within, back @ between @ back.T / len(stats.counts)


def objective(
    stats: ClassStatistics, centred: np.ndarray, transform: np.ndarray, psi: np.ndarray
) -> float:
    """Kaldi's ``PldaEstimator::ComputeObjf``: log-likelihood per vector, short of a constant."""
    n_vectors, n_classes, n_dims = stats.counts.sum(), len(stats.counts), len(psi)
    logdet_within = -2 * np.linalg.slogdet(transform)[1]
    constant = logdet_within + n_dims * np.log(2 * np.pi)
    scatter = np.einsum("de,de->", transform @ stats.within_scatter, transform)
    part1 = (n_vectors - n_classes) * constant + scatter
    latent = centred @ transform.T
    variance = psi + 1 / stats.counts[:, None]
    part2 = n_classes * constant + (np.log(variance) + np.square(latent) / variance).sum()
    return float(-(part1 + part2) / (2 * n_vectors))
