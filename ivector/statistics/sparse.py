"""Statistics of the components that utterances use, alone: as files of float16 hold them.

Dimensions
----------
U utterances, C components, D feature dimension, K kept pairs of utterance and component.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ivector.statistics.batch import BaumWelchStatistics


@dataclass(frozen=True)
class SparseStatistics:
    """Zeroth- and first-order statistics of a block of utterances.

    Parameters
    ----------
    count : ndarray (n_utterances,) of int
        Components kept of each utterance.
    component : ndarray (n_kept,) of int
        Which, one utterance after the other.
    zeroth : ndarray (n_kept,) of float32
    offset : ndarray (n_kept, n_features) of float16
        Mean offset from `centre`, in `unit`.
    unit : ndarray (n_features,) of float32
    n_components : int
    centre : ndarray (n_components, n_features), optional
    second : ndarray (n_components, n_features, n_features), optional
        As in `BaumWelchStatistics`.
    """

    count: np.ndarray
    component: np.ndarray
    zeroth: np.ndarray
    offset: np.ndarray
    unit: np.ndarray
    n_components: int
    centre: np.ndarray | None = None
    second: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.count)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_components, n_features)."""
        return self.n_components, self.offset.shape[1]

    @property
    def rows(self) -> np.ndarray:
        """Utterance of each kept pair, (n_kept,)."""
        return np.repeat(np.arange(len(self.count)), self.count)

    def dense(self) -> BaumWelchStatistics:
        """The same statistics of all components, float32."""
        row, D = self.rows, self.offset.shape[1]
        counts = np.zeros((len(self), self.n_components), np.float32)
        sums = np.zeros((len(self), self.n_components, D), np.float32)
        counts[row, self.component] = self.zeroth
        restored = self.offset.astype(np.float32)
        restored *= self.unit
        restored *= self.zeroth[:, None]
        sums[row, self.component] = restored
        return BaumWelchStatistics(counts, sums, self.second, self.centre)
