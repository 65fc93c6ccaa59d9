"""Baum-Welch statistics of blocks of utterances on a device.

The posteriors of a block of frames are spread over all components, and an utterance's statistics
are then one product in float64: of a fixed order, and cheap, as even a small share of the time of
the selection before it.

Dimensions
----------
U utterances, C components, D feature dimension, n frames of a block, K pairs of frame and
component that a posterior is left for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ivector.base.extras import told_extra
from ivector.gpu.device import moved
from ivector.gpu.mixture import DeviceMixture
from ivector.gpu.pairs import add_tiles, tiles
from ivector.statistics.accumulation import count_scale

with told_extra():
    import torch

# Rows of a block of frames, their selected components and pruned posteriors (n, N).
Part = tuple[slice, torch.Tensor, torch.Tensor]


class DeviceStatistics:
    """Makes the statistics of blocks of utterances, about the means of a mixture.

    Parameters
    ----------
    mixture : DeviceMixture
    means : ndarray (C, D)
    num_gselect, min_post, posterior_scale, max_count
        As in `baum_welch`.
    second_order : bool
        Sum the scatter of all utterances, too.
    dtype : {"float32", "float64"}
        Of what is given back; sums are made in float64.
    """

    def __init__(
        self,
        mixture: DeviceMixture,
        means: np.ndarray,
        num_gselect: int,
        min_post: float,
        posterior_scale: float,
        max_count: float,
        second_order: bool,
        dtype: str,
    ):
        self.mixture = mixture
        self.means = moved(means, mixture.device)
        self.num_gselect, self.min_post = num_gselect, min_post
        self.scaling = posterior_scale, max_count
        self.dtype = getattr(torch, dtype)
        C, D = means.shape
        self._second = self.means.new_zeros((C, D, D)) if second_order else None

    def second(self) -> np.ndarray | None:
        """Σ γ (x − m)(x − m)' of all blocks so far (C, D, D), float64."""
        return None if self._second is None else self._second.cpu().numpy()

    def block(self, utterances: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Zeroth (U, C) and first (U, C, D) order statistics of utterances (n_frames, D)."""
        D = self.means.shape[1]
        frames = np.concatenate(utterances)
        lengths = np.array([len(one) for one in utterances])
        parts = list(self.mixture.posteriors(frames, self.num_gselect, self.min_post))
        sums = self._sum(frames, lengths, parts)
        zeroth, first = sums[:, :, D], sums[:, :, :D] - sums[:, :, D:] * self.means
        scale = count_scale(zeroth.sum(1).cpu().numpy(), *self.scaling)
        if self._second is not None:
            self._add_second(frames, np.repeat(scale, lengths), parts, self._second)
        by = moved(scale, self.means.device)
        kept = zeroth * by[:, None], first * by[:, None, None]
        return kept[0].to(self.dtype).cpu().numpy(), kept[1].to(self.dtype).cpu().numpy()

    def _sum(self, frames: np.ndarray, lengths: np.ndarray, parts: list[Part]) -> torch.Tensor:
        """[Σ γ x, Σ γ] of every utterance (U, C, D + 1); those that blocks cut are put together."""
        (C, D), ends = self.means.shape, np.cumsum(lengths)
        sums = self.means.new_zeros((len(lengths), C, D + 1))
        for rows, indices, posts in parts:
            x = moved(frames[rows], self.means.device).double()
            x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
            gamma = x.new_zeros((len(x), C)).scatter_(1, indices, posts.double())
            first, last = np.searchsorted(ends, [rows.start, rows.stop - 1], "right")
            for u in range(first, last + 1):
                start = max(int(ends[u] - lengths[u]) - rows.start, 0)
                mine = slice(start, int(ends[u]) - rows.start)
                sums[u].addmm_(gamma[mine].T, x[mine])
        return sums

    def _add_second(
        self, frames: np.ndarray, scale: np.ndarray, parts: list[Part], sums: torch.Tensor
    ) -> None:
        """Add γ (x − m)(x − m)' of all pairs; `scale` (n,) is that of each frame's utterance."""
        for rows, indices, posts in parts:
            x = moved(frames[rows], sums.device).double()
            weights = posts.double() * moved(scale[rows], sums.device)[:, None]
            frame, column = torch.nonzero(weights, as_tuple=True)
            padded = torch.cat([weights[frame, column].sqrt(), weights.new_zeros(1)])
            frame = torch.cat([frame, frame.new_zeros(1)])
            which, pairs = tiles(indices[frame[:-1], column], len(sums))
            delta = x[frame[pairs]] - self.means[which, None]
            delta *= padded[pairs][:, :, None]
            add_tiles(sums, which, torch.bmm(delta.mT, delta))
