"""Self-attention with relative positions, as the Conformer takes it.

Z. Dai et al., "Transformer-XL: attentive language models beyond a fixed-length context", ACL 2019,
section 3.3: the score of frames i and j is (qᵢ + u)ᵀ kⱼ + (qᵢ + v)ᵀ p₍ᵢ₋ⱼ₎.

Dimension legend: B batch, T frames, d model dimension, H heads, K = d / H.
"""

from __future__ import annotations

import math

from dnn.extra import told_extra
from dnn.models.layers import FrameLinear

with told_extra():
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn


def relative_positions(n_frames: int, dim: int, like: Tensor) -> Tensor:
    """Sinusoids (2T − 1, d) of the distances T − 1, …, 0, …, −(T − 1)."""
    distances = torch.arange(n_frames - 1, -n_frames, -1, device=like.device, dtype=torch.float32)
    rates = torch.arange(0, dim, 2, device=like.device, dtype=torch.float32)
    angles = distances[:, None] * torch.exp(rates * (-math.log(10000.0) / dim))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1).to(like.dtype)


def by_distance_to_by_frame(scores: Tensor, n_frames: int) -> Tensor:
    """(B, H, T, 2T − 1) scores of distances to (B, H, T, T): [i, j] takes distance i − j.

    Row i starts at column T − 1 − i; padding each row by one and reading on shifts the rows apart
    by one each (Transformer-XL, appendix B). T is given, as an exported graph would take that of
    the scores for a constant.
    """
    n_heads = scores.shape[1]
    padded = F.pad(scores, (1, 0)).view(-1, n_heads, 2 * n_frames, n_frames)
    return padded[:, :, 1:].reshape(-1, n_heads, n_frames, 2 * n_frames - 1)[..., :n_frames]


class RelativeAttention(nn.Module):
    """Self-attention of content and relative position: (B, T, d) to the same."""

    def __init__(self, dim: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm = nn.LayerNorm(dim)
        self.project = FrameLinear(dim, 3 * dim, bias=False)  # u and v are the queries' biases
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(n_heads, 1, dim // n_heads))  # u
        self.position_bias = nn.Parameter(torch.zeros(n_heads, 1, dim // n_heads))  # v
        self.output = FrameLinear(dim, dim)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """`positions` (2T − 1, d), `mask` (B, T)."""
        heads = (self.n_heads, -1)
        query, key, value = (
            part.unflatten(2, heads).transpose(1, 2)
            for part in self.project(self.norm(x)).chunk(3, 2)
        )  # each (B, H, T, K)
        place = self.position(positions).unflatten(1, heads).transpose(0, 1)  # (H, 2T − 1, K)
        scores = (query + self.content_bias) @ key.transpose(2, 3)
        scores = scores + by_distance_to_by_frame(
            (query + self.position_bias) @ place.transpose(1, 2), x.shape[1]
        )
        scores = scores / math.sqrt(query.shape[3])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
        weights = F.dropout(scores.softmax(3), self.dropout, self.training)
        return self.output((weights @ value).transpose(1, 2).flatten(2))
