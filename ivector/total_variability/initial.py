"""Where the EM of a total-variability model starts: at random, or at principal axes.

Dimensions
----------
U utterances, C components, D feature dimension, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg

from ivector.base.errors import UsageError
from ivector.statistics.accumulation import ubm_means
from ivector.statistics.batch import BaumWelchStatistics
from ivector.total_variability.shards import Shard, blocks
from ivector.total_variability.subspace import Subspace, whitener

# Principal axes are taken from so many utterances per dimension of the subspace, if they fit.
_UTTERANCES_PER_DIMENSION = 5
_SAMPLE_BYTES = 1 << 30


def initial_subspace(
    ubm: Any,
    shards: Sequence[Shard],
    *,
    rank: int,
    method: str,
    offset: float,
    rng: np.random.RandomState,
) -> Subspace:
    """Start of training from a UBM.

    Parameters
    ----------
    ubm : FullGMM or DiagonalGMM
        With ``weights_``, ``means_`` and ``covariances_``.
    shards : sequence of statistics or loaders
        Read only for principal axes, and only as many as they need.
    rank : int
    method : {"pca", "random"}
    offset : float
        Kaldi's prior offset; 0 for the classical model.
    rng : RandomState
    """
    means = ubm_means(ubm)
    weights = np.asarray(ubm.weights_, np.float64)
    covariances = np.asarray(ubm.covariances_, np.float64)
    diagonal = covariances.ndim == 2
    if diagonal:
        precision = np.stack([np.diag(1.0 / row) for row in covariances])
    else:
        precision = np.linalg.inv(covariances)
        precision = 0.5 * (precision + precision.transpose(0, 2, 1))
    projection = _random_projection(rng, precision, rank, kaldi=offset > 0)
    if method == "pca":
        _fill_principal_axes(projection[:, :, 1 if offset else 0 :], shards, means, precision)
    elif method != "random":
        raise UsageError(f"init is 'pca' or 'random', got {method!r}")
    if offset:
        projection[:, :, 0] = means / offset
    return Subspace(
        weights, projection, precision, float(offset), None if offset else means, diagonal
    )


def _random_projection(
    rng: np.random.RandomState, precision: np.ndarray, rank: int, kaldi: bool
) -> np.ndarray:
    """N(0, 1) as ``ivector-extractor-init``, or N(0, Σ_c / R): as variable as the residual."""
    noise = rng.standard_normal((*precision.shape[:2], rank))
    if kaldi:
        return noise
    for c, one in enumerate(precision):
        noise[c] = linalg.solve_triangular(whitener(one), noise[c]) / np.sqrt(rank)
    return noise


def _fill_principal_axes(
    projection: np.ndarray, shards: Sequence[Shard], means: np.ndarray, precision: np.ndarray
) -> None:
    """Overwrite columns by principal axes of x_uc = N_uc^-½ Σ_c^-½ F_uc (probabilistic PCA).

    In the model x_u has unit noise around √N_uc Σ_c^-½ T_c w, so that an eigenvector v with
    eigenvalue λ of the second moment of x gives a column Σ_c^½ v_c √((λ − 1) / N̄_c).
    Columns that no eigenvalue above the noise supports stay random.
    """
    C, D, R = projection.shape
    whiteners = np.stack([whitener(one) for one in precision])
    enough = min(_UTTERANCES_PER_DIMENSION * R, max(R, _SAMPLE_BYTES // (4 * C * D)))
    sample = _sample(shards, enough, (C, D)).about(means)
    count = np.maximum(sample.zeroth, np.finfo(np.float32).tiny)
    vectors = np.empty((len(sample), C * D), np.float32)
    by_component = vectors.reshape(len(sample), C, D)
    for c in range(C):
        scaled = sample.first[:, c] / np.sqrt(count[:, c, None])
        by_component[:, c] = scaled @ whiteners[c].T.astype(np.float32)
    values, combined = linalg.eigh((vectors @ vectors.T).astype(np.float64))
    gain = values[::-1][:R] / len(sample) - 1.0
    kept = int((gain > 0).sum())
    if not kept:
        return
    # x'a / √(a'xx'a) is the unit eigenvector of the second moment for the Gram matrix's a.
    top = combined[:, ::-1][:, :kept] / np.sqrt(values[::-1][:kept])
    axes = (vectors.T @ top.astype(np.float32)).reshape(C, D, kept).astype(np.float64)
    mean_count = np.maximum(sample.zeroth.mean(0, dtype=np.float64), 1e-3)
    for c in range(C):
        column_scale = np.sqrt(gain[:kept] / mean_count[c])
        projection[c, :, :kept] = linalg.solve_triangular(whiteners[c], axes[c]) * column_scale


def _sample(shards: Sequence[Shard], enough: int, shape: tuple[int, int]) -> BaumWelchStatistics:
    """About `enough` utterances spread over all shards (they may be sorted by speaker)."""
    quota = -(-enough // len(shards))
    parts: list[BaumWelchStatistics] = []
    for shard in shards:
        # Of each block first, as the number of blocks is known at the end only.
        found = [_spread(stats, quota) for stats in blocks(shard, shape) if len(stats)]
        if len(found) == 1:
            parts += found
        elif found:
            parts.append(_spread(BaumWelchStatistics.concatenate(found), quota))
    return BaumWelchStatistics.concatenate(parts)


def _spread(stats: BaumWelchStatistics, quota: int) -> BaumWelchStatistics:
    """Up to `quota` utterances, evenly spaced, without second-order sums."""
    return stats[np.unique(np.linspace(0, len(stats) - 1, quota).astype(int))]
