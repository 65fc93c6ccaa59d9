"""Pairs of frame and component, grouped by component into tiles of one size.

A tile has pairs of one component, so that a batched product goes over all tiles. Sums over the
tiles of a component are added in their order, the first of all components, then the second of those
that have so many, and so on: the same bytes every time.
"""

from __future__ import annotations

from ivector.base.extras import told_extra

with told_extra():
    import torch


TILE = 128  # pairs


def tiles(components: torch.Tensor, n_components: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut the pairs of each component into tiles.

    Parameters
    ----------
    components : Tensor (n_pairs,) of int64
        Component of each pair.
    n_components : int

    Returns
    -------
    which : Tensor (n_tiles,) of int64
        Component of each tile, rising.
    pairs : Tensor (n_tiles, TILE) of int64
        Its pairs, in order; `n_pairs` in places that are left over.
    """
    n_pairs = len(components)
    order = torch.argsort(components, stable=True)
    counts = torch.bincount(components, minlength=n_components)
    starts = torch.cumsum(counts, 0) - counts
    every = torch.arange(n_components, device=components.device)
    which = torch.repeat_interleave(every, (counts + TILE - 1) // TILE)
    inside = torch.arange(TILE, device=components.device)
    place = TILE * _numbers(which)[:, None] + inside
    at = (starts[which, None] + place).clamp_(max=max(n_pairs - 1, 0))
    return which, torch.where(place < counts[which, None], order[at], n_pairs)


def _numbers(which: torch.Tensor) -> torch.Tensor:
    """Number of each tile among those of its component, (n_tiles,)."""
    return torch.arange(len(which), device=which.device) - torch.searchsorted(which, which)


def add_tiles(sums: torch.Tensor, which: torch.Tensor, products: torch.Tensor) -> None:
    """Add what a batched product made of each tile (n_tiles, …) to its component's sum (C, …)."""
    if not len(which):
        return
    numbers = _numbers(which)
    # Of one number every component has one tile at most, so that the order of additions is fixed.
    for tile in torch.argsort(numbers, stable=True).split(torch.bincount(numbers).tolist()):
        sums.index_add_(0, which[tile], products[tile].to(sums.dtype))
