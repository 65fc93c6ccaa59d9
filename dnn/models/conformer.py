"""Conformer encoder with self-attentive pooling.

A. Gulati et al., "Conformer: convolution-augmented transformer for speech recognition", Interspeech
2020, for the encoder; relative positions as in Z. Dai et al., "Transformer-XL", ACL 2019, section
3.3; pooling of `dnn.models.pooling.SelfAttentivePooling`.

| layer       | T frames of d = `dim`                                       | parameters    |
|-------------|-------------------------------------------------------------|---------------|
| prenet      | affine n_features → d                                       | (n + 1) d     |
| n_blocks ×: |                                                             |               |
| ½ feed fwd  | norm, affine d → 4d, swish, affine 4d → d                   | 8d² + 7d      |
| attention   | norm, d → 3d, positions d → d, u, v, affine d → d           | 5d² + 5d      |
| convolution | norm, d → 2d, GLU, depthwise k, batch norm, swish, d → d    | 3d² + (k + 7)d |
| ½ feed fwd  | as above                                                    | 8d² + 7d      |
| norm        | layer norm                                                  | 2d            |
| pooling     | self-attentive                                              | d² + 2d       |
| embedding   | affine d → embedding_dim                                    |               |

A block has 24d² + (k + 28) d parameters. Crops of the speaker-classification task are 128 frames
of 40 log-mel bins, 600 speakers, under the AM-softmax loss.

Dimension legend: B batch, T frames, d model dimension, H heads, K = d / H.
"""

from __future__ import annotations

from dnn.extra import told_extra
from dnn.models.attention import RelativeAttention, relative_positions
from dnn.models.base import SpeakerNetwork, check_positive
from dnn.models.folding import fold_behind
from dnn.models.layers import FrameLinear, as_frame_image, as_frames, frame_mask
from dnn.models.pooling import build_pooling
from ivector.base.errors import UsageError

with told_extra():
    import torch.nn.functional as F
    from torch import Tensor, nn


class ConvolutionModule(nn.Module):
    """Gated pointwise and depthwise convolution over time: (B, T, d) to the same."""

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = FrameLinear(dim, 2 * dim)
        self.depthwise = nn.Conv2d(
            dim, dim, (1, kernel), padding=(0, kernel // 2), groups=dim, bias=False
        )
        self.batch_norm: nn.Module = nn.BatchNorm2d(dim)
        self.project = FrameLinear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` (B, T)."""
        x = F.glu(self.expand(self.norm(x)), 2)
        if mask is not None:
            x = x * mask[:, :, None]
        image = F.silu(self.batch_norm(self.depthwise(as_frame_image(x))))
        return self.project(as_frames(image))

    def fold_norms(self) -> None:
        """Fold the batch norm into the depthwise convolution."""
        fold_behind(self.depthwise, self.batch_norm)
        self.batch_norm = nn.Identity()


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, norm: (B, T, d)."""

    def __init__(self, dim: int, n_heads: int, kernel: int, dropout: float):
        super().__init__()
        self.first, self.second = _feed_forward(dim, dropout), _feed_forward(dim, dropout)
        self.attention = RelativeAttention(dim, n_heads, dropout)
        self.convolution = ConvolutionModule(dim, kernel)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """`positions` (2T − 1, d), `mask` (B, T)."""
        x = x + 0.5 * self.first(x)
        x = x + self.dropout(self.attention(x, positions, mask))
        x = x + self.dropout(self.convolution(x, mask))
        return self.norm(x + 0.5 * self.second(x))


class Conformer(SpeakerNetwork):
    """Conformer encoder: (B, T, n_features) to (B, embedding_dim).

    Parameters
    ----------
    n_features : int
        Log-mel bins; 40 in the task.
    dim : int
        Model dimension d, even, a multiple of `n_heads`; 144 in the paper's small network.
    n_blocks, n_heads : int
    kernel : int
        Frames of the depthwise convolution, odd.
    dropout : float
    embedding_dim : int
    pooling : str, optional
        One of `dnn.models.pooling.POOLINGS` in place of self-attention.
    """

    name = "conformer"

    def __init__(
        self,
        n_features: int = 40,
        dim: int = 144,
        n_blocks: int = 6,
        n_heads: int = 4,
        kernel: int = 31,
        dropout: float = 0.1,
        embedding_dim: int = 256,
        pooling: str | None = None,
    ):
        super().__init__()
        check_positive("conformer", n_features=n_features, dim=dim, n_blocks=n_blocks)
        check_positive("conformer", n_heads=n_heads, kernel=kernel, embedding_dim=embedding_dim)
        if dim % 2 or dim % n_heads:
            raise UsageError(f"conformer: dim {dim} must be even and a multiple of n_heads")
        if kernel % 2 == 0:
            raise UsageError(f"conformer: kernel {kernel} has no middle; take an odd number")
        if not 0 <= dropout < 1:
            raise UsageError(f"conformer: dropout is at least 0 and below 1, not {dropout}")
        self.n_features, self.dim, self.n_blocks, self.n_heads = n_features, dim, n_blocks, n_heads
        self.kernel, self.dropout, self.embedding_dim = kernel, dropout, embedding_dim
        self.prenet = FrameLinear(n_features, dim)
        self.blocks = nn.ModuleList(
            ConformerBlock(dim, n_heads, kernel, dropout) for _ in range(n_blocks)
        )
        self.pooling = build_pooling(pooling, "self-attentive", dim)
        self.embedding = nn.Linear(self.pooling.output_dim, embedding_dim)

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Output of the affine layer after the pooling."""
        n_frames = features.shape[1]
        mask = None if lengths is None else frame_mask(lengths, n_frames)
        x = self.prenet(features)
        positions = relative_positions(n_frames, self.dim, x)
        for block in self.blocks:
            x = block(x, positions, mask)
        return self.embedding(self.pooling(x, mask))


def _feed_forward(dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim),
        FrameLinear(dim, 4 * dim),
        nn.SiLU(),
        nn.Dropout(dropout),
        FrameLinear(4 * dim, dim),
        nn.Dropout(dropout),
    )
