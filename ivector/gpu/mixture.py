"""A mixture on a device: Gaussian selection, posteriors, and the sums of EM.

The arithmetic is that of `ivector.gmm.engine`: standardised frames z, float32 products, full
covariances about each component's mean, float64 sums over blocks. So are the numbers, but for the
order of sums within a product.

Dimension legend: n frames of a block, C components, D feature dimensions, N selected components
a frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ivector.base.extras import told_extra
from ivector.gmm.engine import (
    LOG_2PI,
    DiagonalEngine,
    Standardiser,
    cholesky,
    complain_of_frame,
    log_weights,
)
from ivector.gpu.device import full_precision, moved, open_device
from ivector.gpu.pairs import add_tiles, tiles

with told_extra():
    import torch

BLOCK_FRAMES = 1 << 15  # 270 MB of scores with 2,048 components

Selector = tuple[np.ndarray, np.ndarray, np.ndarray]
Sums = tuple[np.ndarray, np.ndarray, np.ndarray, float]  # zeroth, first, second, Σ log p(x)


class DeviceMixture:
    """What `DiagonalEngine` and `FullEngine` are on the CPU.

    Parameters
    ----------
    device : str
        As `open_device` takes it.
    weights, means : ndarray (C,), (C, D)
    covariances : ndarray (C, D) or (C, D, D)
        Of a diagonal or full mixture.
    selector : tuple of ndarray (C,), (C, D), (C, D), optional
        Diagonal mixture that selects for a full one; default its diagonal.
    """

    def __init__(
        self,
        device: str,
        weights: np.ndarray,
        means: np.ndarray,
        covariances: np.ndarray,
        selector: Selector | None = None,
    ):
        self.device = open_device(device)
        self.full = covariances.ndim == 3
        variances = np.einsum("cdd->cd", covariances) if self.full else covariances
        standardiser = Standardiser(weights, means, variances)
        scorer = DiagonalEngine(*(selector or (weights, means, variances)), standardiser)
        self.n_components, self.dim = means.shape
        self.limit = scorer.limit
        # What a frame [z, z², 1] is multiplied by: the scores of the unit vectors, exactly.
        unit = np.eye(2 * self.dim + 1, scorer.width, dtype=np.float32)
        table = scorer.scores(unit, np.empty((len(unit), scorer.size), np.float32))
        scores = moved(table[:, : self.n_components].copy(), self.device)
        self.slopes, self.offsets = scores[:-1], scores[-1]
        self.centre = moved(standardiser.centre, self.device)
        self.scale = moved(standardiser.scale, self.device)
        self.means = moved(standardiser.means(means).astype(np.float32), self.device)
        if self.full:
            self._factor(weights, covariances, standardiser)

    def _factor(
        self, weights: np.ndarray, covariances: np.ndarray, standardiser: Standardiser
    ) -> None:
        """Transposes of L⁻¹ (C, D, D) and constants (C,) of the full covariances of z."""
        scale = standardiser.scale
        lower = cholesky(covariances / np.outer(scale, scale))
        log_dets = 2 * np.log(np.einsum("cdd->cd", lower)).sum(axis=1)
        constants = (
            log_weights(weights)
            + standardiser.log_jacobian()
            - 0.5 * (self.dim * LOG_2PI + log_dets)
        )
        factors = np.triu(np.linalg.inv(lower).transpose(0, 2, 1))
        self.factors = moved(factors.astype(np.float32), self.device)
        self.constants = moved(constants.astype(np.float32), self.device)

    def blocks(self, frames: np.ndarray) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield (rows, standardised frames (n, D) float32 on the device).

        Raises
        ------
        DataError
            A frame holds NaN, infinity or numbers too large for float32 products.
        """
        for start in range(0, len(frames), BLOCK_FRAMES):
            rows = slice(start, min(start + BLOCK_FRAMES, len(frames)))
            x = moved(np.ascontiguousarray(frames[rows]), self.device)
            z = ((x.double() - self.centre) / self.scale).float()
            unusable = ~(z.square().sum(1) < self.limit)
            if unusable.any():
                number = start + int(unusable.int().argmax())
                complain_of_frame(frames[number], number)
            yield rows, z

    def scores(self, z: torch.Tensor) -> torch.Tensor:
        """Joint log-probabilities (n, C) under the diagonal mixture."""
        return torch.addmm(self.offsets, torch.cat([z, z * z], 1), self.slopes)

    def select(self, z: torch.Tensor, count: int) -> torch.Tensor:
        """Indices (n, count) of the best components of each frame, best first."""
        return torch.topk(self.scores(z), count, dim=1).indices

    def pair_logs(self, z: torch.Tensor, selected: torch.Tensor) -> torch.Tensor:
        """Joint log-probabilities (n, N) of selected components, full covariances."""
        padded = torch.cat([z, z.new_zeros(1, self.dim)])
        logs = z.new_empty(selected.numel() + 1)
        which, pairs = tiles(selected.flatten(), self.n_components)
        delta = padded[pairs // selected.shape[1]] - self.means[which, None]
        squares = torch.bmm(delta, self.factors[which]).square_().sum(2)
        logs[pairs] = self.constants[which, None] - 0.5 * squares
        return logs[:-1].view(selected.shape)

    @full_precision()
    def posteriors(
        self, frames: np.ndarray, count: int, min_post: float
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield (rows, indices (n, count) int64, pruned posteriors (n, count) float32)."""
        for rows, z in self.blocks(frames):
            if self.full:
                indices = self.select(z, count)
                logs = self.pair_logs(z, indices)
            else:
                logs, indices = torch.topk(self.scores(z), count, dim=1)
            yield rows, indices, pruned(torch.softmax(logs, 1), min_post)

    @full_precision()
    def accumulate(
        self, frames: np.ndarray, count: int = 0, selected: np.ndarray | None = None
    ) -> Sums:
        """Zeroth, first and second order statistics of x, and Σ log p(x), of all frames.

        Parameters
        ----------
        frames : ndarray (n_frames, D)
        count : int
            N, components selected for a frame by a full mixture.
        selected : ndarray (n_frames, N) of int, optional
            Components each frame may belong to; default the selection, or all of a diagonal one.
        """
        width = self.dim + 1 if self.full else 2 * self.dim + 1
        shape = (self.n_components, width, width) if self.full else (self.n_components, width)
        sums = torch.zeros(shape, dtype=torch.float64, device=self.device)
        log_likelihood = torch.zeros((), dtype=torch.float64, device=self.device)
        for rows, z in self.blocks(frames):
            chosen = None if selected is None else moved(selected[rows], self.device).long()
            if self.full:
                chosen = self.select(z, count) if chosen is None else chosen
                logs = self.pair_logs(z, chosen)
                self._add_grams(z, chosen, torch.softmax(logs, 1), sums)
            else:
                logs = self.scores(z)
                if chosen is not None:
                    kept = torch.full_like(logs, -torch.inf)
                    logs = kept.scatter_(1, chosen, logs.gather(1, chosen))
                extended = torch.cat([z, z * z, torch.ones_like(z[:, :1])], 1)
                sums += (torch.softmax(logs, 1).T @ extended).double()
            log_likelihood += torch.logsumexp(logs, 1).double().sum()
        parts = self._undo_full(sums) if self.full else self._undo_diagonal(sums)
        zeroth, first, second = (part.cpu().numpy() for part in parts)
        return zeroth, first, second, float(log_likelihood)

    def _add_grams(
        self, z: torch.Tensor, selected: torch.Tensor, posts: torch.Tensor, sums: torch.Tensor
    ) -> None:
        """Σ γ v v' (C, D + 1, D + 1) with v = [z − μ, 1]."""
        padded = torch.cat([z, z.new_zeros(1, self.dim)])
        gamma = torch.cat([posts.flatten(), posts.new_zeros(1)])
        which, pairs = tiles(selected.flatten(), self.n_components)
        delta = padded[pairs // selected.shape[1]] - self.means[which, None]
        v = torch.cat([delta, torch.ones_like(delta[:, :, :1])], 2)
        add_tiles(sums, which, torch.bmm((v * gamma[pairs][:, :, None]).mT, v))

    def _undo_diagonal(self, sums: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Statistics of x = centre + scale z from Σ γ [z, z², 1]."""
        dim, centre, scale = self.dim, self.centre, self.scale
        zeroth, scaled = sums[:, 2 * dim], sums[:, :dim] * scale
        first = scaled + zeroth[:, None] * centre
        return zeroth, first, sums[:, dim : 2 * dim] * scale**2 + centre * (scaled + first)

    def _undo_full(self, sums: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Statistics of x from moments of z about the standardised means."""
        dim, scale = self.dim, self.scale
        means = self.centre + self.means.double() * scale
        zeroth, about = sums[:, dim, dim], sums[:, dim, :dim] * scale
        first = about + zeroth[:, None] * means
        # Σ γ x x' = Σ γ (x − μ)(x − μ)' + μ (Σ γ x)' + (Σ γ (x − μ)) μ'
        second = sums[:, :dim, :dim] * torch.outer(scale, scale)
        second += means[:, :, None] * first[:, None] + about[:, :, None] * means[:, None]
        return zeroth, first, 0.5 * (second + second.mT)


def pruned(posts: torch.Tensor, floor: float) -> torch.Tensor:
    """Posteriors (n, N) without those below `floor`, rescaled; the largest is one if all are."""
    kept = torch.where(posts >= floor, posts, 0.0)
    total = kept.sum(1, keepdim=True)
    best = torch.zeros_like(posts).scatter_(1, posts.argmax(1, keepdim=True), 1.0)
    return torch.where(total > 0, kept / total, best)
