"""Likelihoods and statistics of Gaussian mixtures in float32 blocks.

Dimension legend: n frames of a block, C components, D feature dimensions, N selected components
a frame, P = n N (frame, component) pairs.

float32 has seven digits, and z² − 2 z μ + μ² loses as many of them as the mean is standard
deviations away from the origin. So frames are first standardised by the mixture's own mean and
standard deviation (z below, of order 1), full-covariance products are taken about each
component's mean, and sums over blocks are float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ivector.base.errors import DataError
from ivector.base.lanes import LANES
from ivector.gmm import kernels, kernels_pairs, kernels_products

LOG_2PI = float(np.log(2 * np.pi))
LOG_ZERO = -1e30
# Of |log w_c N(x | c)|. Beyond, a real component could fall below LOG_ZERO and lose against
# padding, and float32 would overflow; the kernels rely on neither happening.
LARGEST_LOG = 1e20
# Pairs of a component and block, on average: enough to be worth fetching its matrix for.
PAIRS_PER_COMPONENT = 160
# Frames whose float32 sums go to the float64 ones together; full covariances are large to add.
FLUSH_FRAMES, FLUSH_FRAMES_FULL = 1 << 12, 1 << 14
WIDE = kernels_products.wide_vectors()


def log_weights(weights: np.ndarray) -> np.ndarray:
    """Natural logarithm of weights (C,); a huge negative number for zero."""
    return np.where(weights > 0, np.log(np.maximum(weights, 1e-300)), LOG_ZERO)


class Standardiser:
    """Standardisation by a mixture's own mean and standard deviation, and its blocks of frames.

    Parameters
    ----------
    weights : ndarray (C,)
    means : ndarray (C, D)
    variances : ndarray (C, D)
        Diagonals of the covariances.
    """

    def __init__(self, weights: np.ndarray, means: np.ndarray, variances: np.ndarray):
        share = weights / weights.sum()
        self.centre = share @ means  # (D,)
        self.scale = np.sqrt(share @ (variances + (means - self.centre) ** 2))  # (D,)
        self.inverse_scale = 1.0 / self.scale

    def means(self, means: np.ndarray) -> np.ndarray:
        """Means (C, D) in standardised coordinates."""
        return (means - self.centre) * self.inverse_scale

    def log_jacobian(self) -> float:
        """What is added to a log density of z to make it one of x."""
        return -float(np.log(self.scale).sum())

    def blocks(
        self, frames: np.ndarray, size: int, width: int, limit: float
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, extended frames [z, z², 1, 0 …] float32 (n, width)); the array is reused.

        Raises
        ------
        DataError
            A frame holds NaN, infinity or numbers whose |z|² exceeds `limit`.
        """
        n_frames = len(frames)
        out = np.zeros((min(size, n_frames), width), np.float32)
        for start in range(0, n_frames, size):
            rows = slice(start, min(start + size, n_frames))
            block = out[: rows.stop - start]
            unusable = kernels.extend(frames[rows], self.centre, self.inverse_scale, limit, block)
            if unusable >= 0:
                complain_of_frame(frames[start + unusable], start + unusable)
            yield rows, block


def complain_of_frame(frame: np.ndarray, number: int) -> None:
    """Raise the DataError that says what is wrong with a frame (D,)."""
    finite = np.isfinite(frame).all()
    what = "numbers too large for float32 products" if finite else "NaN or infinity"
    raise DataError(
        f"features hold {what}, first in frame {number} of the block; "
        "look for clipped or empty audio and for log(0) in the features"
    )


class DiagonalEngine:
    """log w_c N(x | c) of a diagonal mixture as one product of extended frames.

    Parameters
    ----------
    weights, means, variances : ndarray (C,), (C, D), (C, D)
    standardiser : Standardiser, optional
        Coordinates to work in; default the mixture's own.
    """

    def __init__(
        self,
        weights: np.ndarray,
        means: np.ndarray,
        variances: np.ndarray,
        standardiser: Standardiser | None = None,
    ):
        self.standardiser = standardiser or Standardiser(weights, means, variances)
        z_means = self.standardiser.means(means)
        precisions = self.standardiser.scale**2 / variances
        constants = (
            log_weights(weights)
            + self.standardiser.log_jacobian()
            - 0.5 * (means.shape[1] * LOG_2PI - np.log(precisions).sum(axis=1))
            - 0.5 * (z_means**2 * precisions).sum(axis=1)
        )
        # (C, 2 D + 1), against [z, z², 1].
        parameters = np.hstack([z_means * precisions, -0.5 * precisions, constants[:, None]])
        # |log − constant| ≤ Σ |parameters| max(1, |z|²).
        self.limit = LARGEST_LOG / np.abs(parameters[:, :-1]).sum(axis=1).max()
        self.n_components, self.dim = means.shape
        self.wide = WIDE and self.n_components >= kernels_products.PANEL // 2
        if self.wide:
            parameters = _pad_parameters(parameters)
        self.size, self.width = parameters.shape
        self.parameters = parameters.astype(np.float32)
        if self.wide:
            self.parameters = kernels_products.panels(self.parameters)

    @property
    def block_size(self) -> int:
        """Frames of a block: their log-probabilities fill about 1 MB."""
        return int(np.clip((1 << 18) // self.size, 128, 4096))

    def blocks(
        self, frames: np.ndarray, size: int | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, extended frames (n, width)) of `Standardiser.blocks`."""
        return self.standardiser.blocks(frames, size or self.block_size, self.width, self.limit)

    def scores(self, extended: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Joint log-probabilities (n, size) of extended frames; of padding, −1e30."""
        if not self.wide:
            return np.matmul(extended, self.parameters.T, out=out)
        kernels_products.scores(extended, self.parameters, out)
        return out

    def log_prob(self, extended: np.ndarray) -> np.ndarray:
        """Joint log-probabilities (n, C) float32 of extended frames."""
        logs = self.scores(extended, np.empty((len(extended), self.size), np.float32))
        return np.ascontiguousarray(logs[:, : self.n_components])

    def select(self, extended: np.ndarray, count: int) -> np.ndarray:
        """Indices (n, count) int32 of the best components of each frame, best first."""
        best = np.empty((len(extended), count), np.int32)
        size = self.block_size
        logs = np.empty((min(size, len(extended)), self.size), np.float32)
        for start in range(0, len(extended), size):
            part = extended[start : start + size]
            kernels.top_n(self.scores(part, logs[: len(part)]), best[start : start + size])
        return best

    def accumulate(
        self, frames: np.ndarray, selected: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Zeroth (C,), first (C, D), second (C, D) order statistics of x, and Σ log p(x).

        Parameters
        ----------
        frames : ndarray (n_frames, D)
        selected : ndarray (n_frames, N) of int, optional
            Components each frame may belong to; default all.
        """
        total = np.zeros((self.size, self.width))  # Σ γ [z, z², 1]
        partial = np.zeros_like(total, np.float32)
        logs = np.empty((min(self.block_size, len(frames)), self.size), np.float32)
        log_likelihood, pending = 0.0, 0
        for rows, extended in self.blocks(frames):
            block = self.scores(extended, logs[: len(extended)])
            if selected is not None:
                _mask_unselected(block, selected[rows])
            log_sums, inverse = np.empty((2, len(block)), np.float32)
            kernels.exp_rows(block, log_sums, inverse)
            log_likelihood += float(log_sums.sum(dtype=np.float64))
            extended *= inverse[:, None]  # Normalises the posteriors, at less cost.
            if self.wide:
                kernels_products.moments(block, extended, partial)
            else:
                partial += block.T @ extended
            pending += len(block)
            if pending >= FLUSH_FRAMES or rows.stop == len(frames):
                total += partial
                partial[:], pending = 0, 0
        return (*self._undo(total[: self.n_components]), log_likelihood)

    def _undo(self, total: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Statistics of x = centre + scale z from those of z."""
        dim, centre, scale = self.dim, self.standardiser.centre, self.standardiser.scale
        zeroth, scaled = total[:, 2 * dim].copy(), total[:, :dim] * scale
        first = scaled + zeroth[:, None] * centre
        second = total[:, dim : 2 * dim] * scale**2 + centre * (scaled + first)
        return zeroth, first, second


def _pad_parameters(parameters: np.ndarray) -> np.ndarray:
    """Pad (C, 2 D + 1) with components of no probability and columns of zeros."""
    n_components, width = parameters.shape
    rows = -n_components % kernels_products.PANEL
    padded = np.pad(parameters, ((0, rows), (0, -width % kernels_products.COLUMNS)))
    padded[n_components:, width - 1] = LOG_ZERO
    return padded


def _mask_unselected(logs: np.ndarray, selected: np.ndarray) -> None:
    outside = np.ones(logs.shape, bool)
    np.put_along_axis(outside, selected.astype(np.intp), False, axis=1)
    logs[outside] = LOG_ZERO


class FullEngine:
    """Full-covariance likelihoods and statistics of selected components.

    The pairs of a block are grouped by component, so that every component costs one triangular
    product (y = L⁻¹ (z − μ), log-likelihood −½ |y|²) and one symmetric rank update
    (`ivector.gmm.kernels_pairs`).

    Parameters
    ----------
    weights, means, covariances : ndarray (C,), (C, D), (C, D, D)
    selector : tuple of ndarray (C,), (C, D), (C, D), optional
        Diagonal mixture that selects; default the diagonal of this one.
    """

    def __init__(
        self,
        weights: np.ndarray,
        means: np.ndarray,
        covariances: np.ndarray,
        selector: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    ):
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        self.standardiser = Standardiser(weights, means, variances)
        self.selector = DiagonalEngine(
            *(selector or (weights, means, variances)), standardiser=self.standardiser
        )
        scale = self.standardiser.scale
        factors = cholesky(covariances / np.outer(scale, scale))
        log_dets = 2 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        constants = (
            log_weights(weights)
            + self.standardiser.log_jacobian()
            - 0.5 * (means.shape[1] * LOG_2PI + log_dets)
        )
        self.constants = constants.astype(np.float32)
        n_components, dim = means.shape
        self.dim = dim
        width = -(-(dim + 1) // LANES) * LANES
        self.means = np.zeros((n_components, width), np.float32)  # [μ, 0 …]
        self.means[:, :dim] = self.standardiser.means(means)
        # Transposes of L⁻¹, upper triangular, padded: z − μ as a row is multiplied by them.
        self.factors = np.zeros((n_components, width, width), np.float32)
        self.factors[:, :dim, :dim] = np.triu(np.linalg.inv(factors).transpose(0, 2, 1))
        norm = float(np.einsum("cde,cde->c", self.factors, self.factors).max())
        self.limit = min(self.selector.limit, LARGEST_LOG / norm)  # As |y|² ≤ ‖L⁻¹‖² |z − μ|².

    def block_size(self, count: int) -> int:
        """Frames of a block when `count` components are selected."""
        frames = PAIRS_PER_COMPONENT * len(self.means) // count
        return int(np.clip(frames, 1024, 1 << 15))

    def log_prob(self, extended: np.ndarray) -> np.ndarray:
        """Joint log-probabilities (n, C) float32 of extended frames, all components."""
        everything = np.tile(np.arange(len(self.means), dtype=np.int32), (len(extended), 1))
        return self._pair_log_prob(self._pad(extended), everything)[0]

    def blocks(self, frames: np.ndarray, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, extended frames) as the selector takes them."""
        return self.standardiser.blocks(frames, size, self.selector.width, self.limit)

    def _pad(self, extended: np.ndarray) -> np.ndarray:
        """Padded frames [z, 1, 0 …] (n, W) float32."""
        frames = np.zeros((len(extended), self.means.shape[1]), np.float32)
        frames[:, : self.dim] = extended[:, : self.dim]
        frames[:, self.dim] = 1.0
        return frames

    def _pair_log_prob(
        self, frames: np.ndarray, selected: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-probabilities (n, N) of the selected components, and the pairs' order and offsets."""
        order, offsets = kernels_pairs.group_pairs(selected, len(self.means))
        logs = np.empty(selected.shape, np.float32)
        kernels_pairs.pair_logs(
            frames, order, offsets, self.means, self.factors, self.constants, selected.shape[1],
            logs.reshape(-1),
        )  # fmt: skip
        return logs, order, offsets

    def posteriors(self, extended: np.ndarray, selected: np.ndarray) -> np.ndarray:
        """Posteriors (n, N) float32 of extended frames over the selected components (n, N)."""
        posts, _, _ = self._pair_log_prob(self._pad(extended), selected)
        _normalise(posts)
        return posts

    def accumulate(
        self, frames: np.ndarray, count: int, selected: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Zeroth (C,), first (C, D), second (C, D, D) order statistics of x, and Σ log p(x).

        Parameters
        ----------
        frames : ndarray (n_frames, D)
        count : int
            N, components selected for a frame.
        selected : ndarray (n_frames, N) of int32, optional
            Which; default the selector's choice.
        """
        # Σ γ v vᵀ with v = [z − μ, 1, 0 …]: blocks of float32 sums into a float64 one.
        grams = np.zeros(self.factors.shape)
        partial = np.zeros_like(self.factors)
        log_likelihood, pending = 0.0, 0
        for rows, extended in self.blocks(frames, self.block_size(count)):
            if selected is None:
                chosen = self.selector.select(extended, count)
            else:
                chosen = np.ascontiguousarray(selected[rows], np.int32)
            padded = self._pad(extended)
            posts, order, offsets = self._pair_log_prob(padded, chosen)
            log_likelihood += float(_normalise(posts).sum(dtype=np.float64))
            kernels_pairs.add_grams(
                padded, order, offsets, self.means, posts.reshape(-1), chosen.shape[1], partial
            )
            pending += len(padded)
            if pending >= FLUSH_FRAMES_FULL or rows.stop == len(frames):
                grams += partial
                partial[:], pending = 0, 0
        return (*self._undo(grams), log_likelihood)

    def _undo(self, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Statistics of x from moments of z about the standardised means."""
        dim, scale = self.dim, self.standardiser.scale
        means = self.standardiser.centre + self.means[:, :dim] * scale  # As rounded to float32.
        zeroth, first = grams[:, dim, dim].copy(), grams[:, dim, :dim] * scale
        lower = np.tril(grams[:, :dim, :dim])
        second = (lower + np.tril(lower, -1).transpose(0, 2, 1)) * np.outer(scale, scale)
        # Σ γ x xᵀ = Σ γ (x − μ)(x − μ)ᵀ + μ (Σ γ x)ᵀ + (Σ γ (x − μ)) μᵀ
        total = first + zeroth[:, None] * means
        for c in range(len(means)):
            cross = np.outer(means[c], total[c]) + np.outer(first[c], means[c])
            second[c] += 0.5 * (cross + cross.T)  # Symmetric but for rounding.
        return zeroth, total, second


def _normalise(logs: np.ndarray) -> np.ndarray:
    """Turn log-probabilities (n, N) into posteriors in place; return log Σ exp (n,)."""
    log_sums, inverse = np.empty((2, len(logs)), np.float32)
    kernels.exp_rows(logs, log_sums, inverse)
    logs *= inverse[:, None]
    return log_sums


def cholesky(covariances: np.ndarray) -> np.ndarray:
    """Lower Cholesky factors of (C, D, D).

    Raises
    ------
    DataError
        A matrix is not positive definite; says which.
    """
    try:
        return np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(covariances)[:, 0]
        raise DataError(
            f"covariance of component {int(least.argmin())} is not positive definite; "
            "train with fewer components, more data or a larger `variance_floor`"
        ) from None
