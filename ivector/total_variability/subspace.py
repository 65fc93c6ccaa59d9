"""Parameters of a total-variability model, and what extraction derives of them.

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
C components, D feature dimension, R rank, P = R (R + 1) / 2 numbers of a symmetric R × R matrix
in rectangular full packed form (`ivector.total_variability.packed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ivector.base.errors import DataError
from ivector.base.parallel.workers import one_thread
from ivector.total_variability import packed

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
        one = 4 * (packed.size(R) + 2 * C * D)
        return int(np.clip(self.batch_bytes // one, 1, 4096))


@one_thread()
def derive(model: Subspace) -> Derived:
    """Products of T and Σ⁻¹ that every utterance shares (``ComputeDerivedVars``)."""
    C, D, R = model.projection.shape
    linear = np.empty((C, D, R), np.float32)
    quadratic = np.empty((C, packed.size(R)), np.float32)
    for c in range(C):
        linear[c] = model.precision[c] @ model.projection[c]
        quadratic[c] = packed.gram(whitener(model.precision[c]) @ model.projection[c])
    return Derived(linear.reshape(C * D, R), quadratic, model.means)


def whitener(precision: np.ndarray) -> np.ndarray:
    """Upper-triangular W with W'W = Σ⁻¹."""
    upper, info = linalg.lapack.dpotrf(precision, lower=0, clean=1)
    if info:
        raise DataError("a covariance of the model is not positive definite; train it again")
    return upper
