"""I-vectors of the frames so far, every so many frames (Kaldi's ``EstimateIvectorsOnline``).

Dimensions
----------
T frames of an utterance, N Gaussians of a frame, C components, D feature dimension, R rank, p
prior offset.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from ivector.base.errors import UsageError
from ivector.statistics.accumulation import accumulate
from ivector.total_variability.subspace import Subspace


class OnlineExtractor:
    """Extracts i-vectors of growing parts of utterances; of Kaldi's form, in float64.

    Parameters
    ----------
    model : Subspace
    period : int
        Frames from one i-vector to the next; the first is that of the first frame.
    n_cg_iter : int
        Steps of conjugate gradients from the i-vector before; negative solves exactly.
    max_count : float
        Frames beyond which the prior is weighted up, so that long utterances count as so many; 0
        for no limit.

    Raises
    ------
    UsageError
        A period below 1, or a negative count.
    """

    def __init__(
        self, model: Subspace, period: int = 10, n_cg_iter: int = 15, max_count: float = 0.0
    ):
        if period < 1 or max_count < 0:
            raise UsageError(
                f"`period` is at least 1 and `max_count` not negative, got {period}, {max_count}"
            )
        self.period, self.n_cg_iter, self.max_count = period, n_cg_iter, max_count
        self.model = model
        self.linear = model.precision @ model.projection  # (C, D, R), Σ⁻¹ M
        self.quadratic = model.projection.transpose(0, 2, 1) @ self.linear  # (C, R, R)

    def extract(self, indices: np.ndarray, posts: np.ndarray, X: np.ndarray) -> np.ndarray:
        """I-vectors (⌈T / period⌉, R) float64 of an utterance; as Kaldi's, with p in element 0.

        Parameters
        ----------
        indices, posts : ndarray (T, N)
        X : ndarray (T, D)
        """
        C, _, R = self.linear.shape
        n_rows = -(-len(X) // self.period)
        ivectors, current = np.empty((n_rows, R)), np.zeros(R)
        current[0] = self.model.offset
        linear, quadratic, count, done = np.zeros(R), np.zeros((R, R)), 0.0, 0
        for row in range(n_rows):
            part = slice(done, row * self.period + 1)  # what a row has ends with its first frame
            done = part.stop
            zeroth, first = accumulate(indices[part], posts[part], X[part], C)
            linear += np.tensordot(first, self.linear, 2)
            quadratic += np.tensordot(zeroth, self.quadratic, 1)
            count += float(zeroth.sum())
            ivectors[row] = current = self._solved(linear, quadratic, count, current)
        return ivectors

    def _solved(
        self, linear: np.ndarray, quadratic: np.ndarray, count: float, start: np.ndarray
    ) -> np.ndarray:
        """The i-vector of sums over `count` frames, and of the prior."""
        weight = max(count, self.max_count) / self.max_count if self.max_count else 1.0
        right = linear.copy()
        right[0] += weight * self.model.offset
        left = quadratic + weight * np.eye(len(linear))
        if self.n_cg_iter < 0:
            return linalg.solve(left, right, assume_a="pos")
        return conjugate_gradients(left, right, start, self.n_cg_iter)


def conjugate_gradients(A: np.ndarray, b: np.ndarray, x: np.ndarray, n_iter: int) -> np.ndarray:
    """Approximate x of A x = b, A (R, R) positive definite, by at most `n_iter` steps from `x`."""
    x = x.copy()
    residual = b - A @ x
    direction, square = residual.copy(), float(residual @ residual)
    least = (np.finfo(float).eps ** 2) * float(b @ b)
    for _ in range(n_iter):
        if square <= least:
            break
        turned = A @ direction
        step = square / float(direction @ turned)
        x += step * direction
        residual -= step * turned
        before, square = square, float(residual @ residual)
        direction = residual + (square / before) * direction
    return x
