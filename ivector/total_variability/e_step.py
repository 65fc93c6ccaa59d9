"""Total variability as pure functions: the model, its posteriors, the E-step of a batch.

The model of an utterance's mean of component c is

    classical (Dehak 2011, eq. 1; Kenny 2005):  m_c + T_c w,      w ~ N(0, I)
    Kaldi (``ivector-extractor.h``):            M_c v,            v ~ N(p e_0, I)

With w = v − p e_0 the second is the first with m_c = p M_c e_0 and T_c = M_c: the prior's offset
p carries the mean in column 0. So one E-step serves both: it works with statistics centred about
the present m_c and a standard normal w, which also is what keeps single precision accurate (v_0
is near p, and its square near p², while w is near one). Only the M-step knows the offset; there
the classical model is p = 0.

Dimensions
----------
U utterances of a batch, C components, D feature dimension, R rank, P = R (R + 1) / 2 numbers of
a symmetric R × R matrix in rectangular full packed form (`ivector.total_variability.packed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.special import xlogy

from ivector.base.errors import DataError
from ivector.base.workers import one_thread
from ivector.statistics.baum_welch import BaumWelchStatistics
from ivector.total_variability import packed as _rfp

# Packed moments and centred statistics of one batch; larger gains nothing, as the products are
# long before that limited by arithmetic.
BATCH_BYTES = 256 << 20


@dataclass(frozen=True)
class Subspace:
    """Parameters of a total-variability model.

    weights (C,); projection (C, D, R), T_c or M_c; precision (C, D, D), Σ_c⁻¹; offset p, 0 in the
    classical model; ubm_means (C, D), the m_c of the classical model, None in Kaldi's;
    diagonal: whether every Σ_c is kept diagonal.
    """

    weights: np.ndarray
    projection: np.ndarray
    precision: np.ndarray
    offset: float
    ubm_means: np.ndarray | None = None
    diagonal: bool = False

    @property
    def means(self) -> np.ndarray:
        """Means m_c of the average utterance (C, D)."""
        if self.ubm_means is not None:
            return self.ubm_means
        return self.offset * self.projection[:, :, 0]

    @property
    def rank(self) -> int:
        """R."""
        return self.projection.shape[2]

    def arrays(self) -> dict[str, np.ndarray]:
        """Parameters as a file holds them."""
        return {name: np.asarray(x) for name, x in vars(self).items() if x is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Subspace:
        """Parameters from the arrays of a file."""
        return cls(
            weights=arrays["weights"],
            projection=arrays["projection"],
            precision=arrays["precision"],
            offset=float(arrays["offset"]),
            ubm_means=arrays.get("ubm_means"),
            diagonal=bool(arrays["diagonal"]),
        )


@dataclass(frozen=True)
class Derived:
    """What extraction needs of a model, in single precision.

    linear (C D, R), Σ_c⁻¹ T_c stacked; quadratic (C, P), T_c' Σ_c⁻¹ T_c; means (C, D) float64;
    batch_bytes: what a batch of utterances may fill.
    """

    linear: np.ndarray
    quadratic: np.ndarray
    means: np.ndarray
    batch_bytes: int = BATCH_BYTES

    @property
    def batch_size(self) -> int:
        """Utterances whose packed moments and centred statistics fit in `batch_bytes`."""
        (C, D), R = self.means.shape, self.linear.shape[1]
        one = 4 * (_rfp.size(R) + 2 * C * D)
        return int(np.clip(self.batch_bytes // one, 1, 4096))


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
        C, D, R, P = n_components, n_features, rank, _rfp.size(rank)
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


@one_thread()
def derive(model: Subspace) -> Derived:
    """Products of T and Σ⁻¹ that every utterance shares (``ComputeDerivedVars``)."""
    C, D, R = model.projection.shape
    linear = np.empty((C, D, R), np.float32)
    quadratic = np.empty((C, _rfp.size(R)), np.float32)
    for c in range(C):
        linear[c] = model.precision[c] @ model.projection[c]
        quadratic[c] = _rfp.gram(whitener(model.precision[c]) @ model.projection[c])
    return Derived(linear.reshape(C * D, R), quadratic, model.means)


def sums_bytes(n_components: int, n_features: int, rank: int) -> int:
    """Bytes of `Accumulators`."""
    return 8 * n_components * (_rfp.size(rank) + n_features * (rank + n_features))


def training_bytes(n_components: int, n_features: int, rank: int) -> int:
    """Bytes that an EM iteration cannot do without in one process, beside statistics.

    The model and its update in float64 (T, Σ⁻¹ and scatters twice), what is derived of it in
    float32, and the sums: a shard's and the total. The largest part is 8 C P bytes of each.
    """
    C, D, R, P = n_components, n_features, rank, _rfp.size(rank)
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
    precisions[:, _rfp.diagonal(rank)] += 1.0
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
    diagonal = _rfp.diagonal(rank)
    means = np.empty_like(linear)
    for row, precision in enumerate(precisions):
        if _rfp.factor(precision, rank):
            precision.fill(np.nan)  # Noticed below, with what overflowed.
        means[row] = _rfp.solve(precision, linear[row])
    log_det = 2.0 * np.log(precisions[:, diagonal].astype(np.float64)).sum(1)
    fit = np.einsum("ur,ur->u", linear.astype(np.float64), means.astype(np.float64))
    gained = 0.5 * (fit - log_det)
    bad = ~np.isfinite(gained)
    if bad.any():
        raise DataError(
            f"utterance {first_row + int(bad.argmax())} of its shard: its i-vector's precision is "
            "not positive definite, as the statistics or the model hold values beyond single "
            "precision; check the scale of the features"
        )
    return means, gained


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
        _rfp.invert(factor, R)
        _rfp.add_outer(factor, mean)
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


def evidence(derived: Derived, stats: BaumWelchStatistics) -> float:
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


def whitener(precision: np.ndarray) -> np.ndarray:
    """Upper-triangular W with W'W = Σ⁻¹."""
    upper, info = linalg.lapack.dpotrf(precision, lower=0, clean=1)
    if info:
        raise DataError("a covariance of the model is not positive definite; train it again")
    return upper
