"""Sums of an E-step as Kaldi keeps them, of raw features x and of v = w + p e_0.

`Accumulators` has features about the means m_c = p M_c e_0, and w, with which nothing of the size
of p² cancels in single precision. Kaldi's files have the raw ones, in double. The M-step is the
same of both, as raw sums are those about zero means with the offset 0.

Dimensions
----------
C components, D feature dimension, R rank, p prior offset.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ivector.total_variability import packed
from ivector.total_variability.e_step import Accumulators
from ivector.total_variability.m_step import m_step, update_prior
from ivector.total_variability.subspace import Subspace


def raw_sums(total: Accumulators, model: Subspace) -> Accumulators:
    """Kaldi's sums, of those of an E-step with `model`, which is of Kaldi's form.

    Returns
    -------
    Accumulators
        cross Σ X v̄', moment Σ N E[vv'], latent_sum Σ v̄, latent_moment Σ E[vv'], second Σ γ xx',
        which the M-step needs; first and latent are those about means that are 0.
    """
    (C, D, R), p, means = model.projection.shape, model.offset, model.means
    raw = Accumulators.zeros(C, D, R)
    raw.n_utterances, raw.zeroth, raw.evidence = total.n_utterances, total.zeroth, total.evidence
    counted = total.latent.copy()
    counted[:, 0] += p * total.zeroth  # Σ N v̄
    raw.cross = total.cross + means[:, :, None] * counted[:, None, :]
    raw.cross[:, :, 0] += p * total.first
    for c in range(C):
        moment = packed.to_full(total.moment[c], R)
        raw.moment[c] = _packed(_shifted(moment, total.latent[c], total.zeroth[c], p))
    moment = packed.to_full(total.latent_moment, R)
    raw.latent_moment = _packed(_shifted(moment, total.latent_sum, total.n_utterances, p))
    raw.latent_sum = total.latent_sum.copy()
    raw.latent_sum[0] += p * total.n_utterances
    if total.second is not None:
        mixed = total.first[:, :, None] * means[:, None, :]
        squares = means[:, :, None] * means[:, None, :] * total.zeroth[:, None, None]
        raw.second = total.second + mixed + mixed.transpose(0, 2, 1) + squares
    return raw


def _shifted(moment: np.ndarray, latent: np.ndarray, count: float, p: float) -> np.ndarray:
    """Σ n E[vv'] from Σ n E[ww'], Σ n w̄ and Σ n."""
    shifted = moment.copy()
    shifted[0] += p * latent
    shifted[:, 0] += p * latent
    shifted[0, 0] += p**2 * count
    return shifted


def _packed(full: np.ndarray) -> np.ndarray:
    rows, columns = packed.positions(len(full))
    return full[rows, columns]


def update_from_raw(
    model: Subspace,
    raw: Accumulators,
    min_count: float = 100.0,
    covariance_floor: float = 0.1,
    diagonalise: bool = True,
) -> Subspace:
    """M-step of Kaldi's sums (``IvectorExtractorStats::Update``); options as in `m_step`."""
    about_zero = replace(model, offset=0.0)
    updated = m_step(about_zero, raw, raw.second is not None, min_count, covariance_floor)
    return update_prior(updated, raw, diagonalise)
