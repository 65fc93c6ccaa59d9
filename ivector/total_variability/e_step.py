"""E-step: posteriors of the utterances of a batch, and the sums that the M-step needs.

Pure functions of a model (`ivector.total_variability.subspace`) and of Baum-Welch statistics;
extraction of i-vectors uses the same posteriors.

Dimensions
----------
U utterances of a batch, C components, D feature dimension, R rank, P = R (R + 1) / 2 packed
numbers of a symmetric R × R matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from ivector.base.errors import DataError
from ivector.statistics.batch import BaumWelchStatistics
from ivector.total_variability import packed
from ivector.total_variability.subspace import Derived, Subspace, whitener


@dataclass
class Accumulators:
    """Sufficient statistics of the M-step, in float64; they add. w̄ is E[w] of an utterance.

    n_utterances; zeroth (C,) Σ N; first (C, D) Σ F; latent (C, R) Σ N w̄; cross (C, D, R) Σ F w̄';
    moment (C, P) Σ N E[ww']; latent_sum (R,) Σ w̄; latent_moment (P,) Σ E[ww'];
    evidence Σ ½ l'L⁻¹l − ½ log|L|; second (C, D, D) Σ S, or None. F and S are about the means.
    """

    n_utterances: int
    zeroth: np.ndarray
    first: np.ndarray
    latent: np.ndarray
    cross: np.ndarray
    moment: np.ndarray
    latent_sum: np.ndarray
    latent_moment: np.ndarray
    evidence: float
    second: np.ndarray | None

    @classmethod
    def zeros(cls, n_components: int, n_features: int, rank: int) -> Accumulators:
        """Nothing seen yet."""
        C, D, R, P = n_components, n_features, rank, packed.size(rank)
        return cls(
            0, np.zeros(C), np.zeros((C, D)), np.zeros((C, R)), np.zeros((C, D, R)),
            np.zeros((C, P)), np.zeros(R), np.zeros(P), 0.0, None,
        )  # fmt: skip

    def __iadd__(self, other: Accumulators) -> Accumulators:
        self.n_utterances += other.n_utterances
        self.evidence += other.evidence
        for name in ("zeroth", "first", "latent", "cross", "moment", "latent_sum", "latent_moment"):
            mine = getattr(self, name)
            mine += getattr(other, name)
        if other.second is not None:
            self.second = other.second if self.second is None else self.second + other.second
        return self


def sums_bytes(n_components: int, n_features: int, rank: int) -> int:
    """Bytes of `Accumulators`."""
    return 8 * n_components * (packed.size(rank) + n_features * (rank + n_features))


def training_bytes(n_components: int, n_features: int, rank: int) -> int:
    """Bytes that an EM iteration cannot do without in one process, beside statistics.

    The model and its update in float64 (T, Σ⁻¹ and scatters twice), what is derived of it in
    float32, and the sums: a shard's and the total. The largest part is 8 C P bytes of each.
    """
    C, D, R, P = n_components, n_features, rank, packed.size(rank)
    model = 8 * C * D * (R + D)
    return 2 * model + 4 * C * (P + D * R) + 2 * sums_bytes(C, D, R)


def posterior_terms(
    derived: Derived, stats: BaumWelchStatistics
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Linear and quadratic terms of log p(w | utterance), a product of matrices each.

    Kenny 2005, prop. 1: L_u = I + Σ_c N_uc T_c'Σ_c⁻¹T_c and l_u = Σ_c T_c'Σ_c⁻¹F_uc.

    Returns
    -------
    precisions (U, P) in RFP, linear (U, R), zeroth (U, C), centred first order (U, C D);
    all float32.
    """
    rank = derived.linear.shape[1]
    zeroth = np.ascontiguousarray(stats.zeroth, np.float32)
    first = _centre(stats, derived.means).reshape(len(stats), -1)
    precisions = zeroth @ derived.quadratic
    precisions[:, packed.diagonal(rank)] += 1.0
    return precisions, first @ derived.linear, zeroth, first


def _centre(stats: BaumWelchStatistics, means: np.ndarray) -> np.ndarray:
    """First-order statistics about `means`, float32; the difference is taken in float64."""
    shift = means if stats.centre is None else means - stats.centre
    if not shift.any():
        return np.ascontiguousarray(stats.first, np.float32)
    centred = np.empty(stats.first.shape, np.float32)
    for row, first, zeroth in zip(centred, stats.first, stats.zeroth):
        row[:] = first - zeroth.astype(np.float64)[:, None] * shift
    return centred


def factor_and_solve(
    precisions: np.ndarray, linear: np.ndarray, first_row: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cholesky-factor each precision in place and solve for the posterior mean.

    Returns
    -------
    means : ndarray (U, R) of float32
        w̄_u = L_u⁻¹ l_u.
    gained : ndarray (U,) of float64
        ½ l_u'L_u⁻¹l_u − ½ log|L_u|: log-likelihood gained over the means m_c alone.
    """
    rank = linear.shape[1]
    diagonal = packed.diagonal(rank)
    means = np.empty_like(linear)
    for row, precision in enumerate(precisions):
        if packed.factor(precision, rank):
            precision.fill(np.nan)  # Noticed below, with what overflowed.
        means[row] = packed.solve(precision, linear[row])
    log_det = 2.0 * np.log(precisions[:, diagonal].astype(np.float64)).sum(1)
    fit = np.einsum("ur,ur->u", linear.astype(np.float64), means.astype(np.float64))
    gained = 0.5 * (fit - log_det)
    check_gained(gained, first_row)
    return means, gained


def check_gained(gained: np.ndarray, first_row: int) -> None:
    """Refuse utterances whose gain (U,) is no number, as their precision is not definite.

    Raises
    ------
    DataError
        Names the first.
    """
    bad = ~np.isfinite(gained)
    if bad.any():
        raise DataError(
            f"utterance {first_row + int(bad.argmax())} of its shard: its i-vector's precision is "
            "not positive definite, as the statistics or the model hold values beyond single "
            "precision; check the scale of the features"
        )


def e_step(
    derived: Derived, stats: BaumWelchStatistics, total: Accumulators | None = None
) -> Accumulators:
    """Accumulate a block, batch by batch (``IvectorExtractorStats::CommitStatsForUtterance``).

    With `total`, the block is added to it, but for its second-order sum.
    """
    C, D, R = *derived.means.shape, derived.linear.shape[1]
    started = total
    total = Accumulators.zeros(C, D, R) if total is None else total
    step = derived.batch_size
    for start in range(0, len(stats), step):
        _accumulate_batch(total, derived, stats[start : start + step], start)
    if started is None and stats.second is not None:
        total.second = stats.about(derived.means).second
    return total


def _accumulate_batch(
    total: Accumulators, derived: Derived, stats: BaumWelchStatistics, first_row: int
) -> None:
    C, D, R = total.cross.shape
    precisions, linear, zeroth, first = posterior_terms(derived, stats)
    means, gained = factor_and_solve(precisions, linear, first_row)
    for factor, mean in zip(precisions, means):
        packed.invert(factor, R)
        packed.add_outer(factor, mean)
    moments = precisions  # Now E[ww'] = L⁻¹ + w̄w̄'.
    total.n_utterances += len(stats)
    total.evidence += float(gained.sum())
    total.zeroth += zeroth.sum(0, dtype=np.float64)
    total.first += first.sum(0, dtype=np.float64).reshape(C, D)
    total.latent += zeroth.T @ means
    total.cross += (first.T @ means).reshape(C, D, R)
    total.latent_sum += means.sum(0, dtype=np.float64)
    total.latent_moment += moments.sum(0, dtype=np.float64)
    _add_product(total.moment, zeroth, moments)


def _add_product(total: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """total (C, P, float64) += left' (C, U) right (U, P), in column blocks that stay in cache."""
    width = max(256, (4 << 20) // (4 * len(total)))
    for start in range(0, right.shape[1], width):
        block = slice(start, start + width)
        total[:, block] += left.T @ right[:, block]


def evidence_of(derived: Derived, stats: BaumWelchStatistics) -> float:
    """The E-step's evidence of a shard alone, without the sums the M-step needs."""
    step = derived.batch_size
    total = 0.0
    for start in range(0, len(stats), step):
        precisions, linear, _, _ = posterior_terms(derived, stats[start : start + step])
        total += float(factor_and_solve(precisions, linear, start)[1].sum())
    return total


def objective(
    model: Subspace, evidence: float, zeroth: np.ndarray, second: np.ndarray | None
) -> float:
    """Log-likelihood of the data, alignments fixed, per frame (nats).

    Σ_u log ∫ Π_t N(x_t; m_c + T_c w, Σ_c)^γ N(w; 0, I) dw plus weights: Kaldi's auxiliary
    function (``GetAuxf`` with the posterior's variance), whose bound is tight.

    Parameters
    ----------
    evidence : float
        Σ_u ½ l'L⁻¹l − ½ log|L|.
    zeroth : ndarray (C,)
        Σ_u N_uc.
    second : ndarray (C, D, D) or None
        Scatter about the means; where there is none it is taken as N_c Σ_c, as Kaldi does.
    """
    D = model.projection.shape[1]
    log_det = np.array([2.0 * np.log(np.diag(whitener(p))).sum() for p in model.precision])
    constant = 0.5 * (log_det - D * np.log(2 * np.pi))
    n_frames = float(zeroth.sum())
    scatter = D * n_frames if second is None else float(np.vdot(model.precision, second))
    # N log w is 0 for a component without weight, that no frame belongs to.
    value = evidence + float(zeroth @ constant + xlogy(zeroth, model.weights).sum()) - 0.5 * scatter
    return value / max(n_frames, np.finfo(float).tiny)
