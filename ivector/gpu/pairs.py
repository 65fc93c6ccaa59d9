"""Pairs of frame and component, grouped by component into tiles of one size.

A component's pairs are cut into tiles; the first tiles of all components are one layer, the second
tiles of those that have so many another. Of a layer every component occurs once, so that a layer is
a batched product, and adding it to a component's sum has one order: the same bytes every time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

TILE = 256  # pairs


def layers(
    components: torch.Tensor, n_components: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the layers of some pairs.

    Parameters
    ----------
    components : Tensor (n_pairs,) of int64
        Component of each pair.
    n_components : int

    Yields
    ------
    which : Tensor (n_tiles,) of int64
        Different components.
    pairs : Tensor (n_tiles, TILE) of int64
        Their pairs, in order; `n_pairs` in places that are left over.
    """
    n_pairs = len(components)
    if not n_pairs:
        return
    order = torch.argsort(components, stable=True)
    counts = torch.bincount(components, minlength=n_components)
    starts = torch.cumsum(counts, 0) - counts
    inside = torch.arange(TILE, device=components.device)
    for first in range(0, int(counts.max()), TILE):
        which = torch.nonzero(counts > first)[:, 0]
        place = first + inside
        taken = place < counts[which, None]
        at = (starts[which, None] + place).clamp_(max=n_pairs - 1)
        yield which, torch.where(taken, order[at], n_pairs)
