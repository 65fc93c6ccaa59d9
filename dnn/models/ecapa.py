"""ECAPA-TDNN: squeeze-excitation Res2 blocks, features of all depths, attentive statistics.

B. Desplanques, J. Thienpondt, K. Demuynck, "ECAPA-TDNN: emphasized channel attention, propagation
and aggregation in TDNN based speaker verification", Interspeech 2020, figure 2.

| layer        | kernel, dilation   | in → out     | C = 512   | C = 1024  |
|--------------|--------------------|--------------|-----------|-----------|
| conv         | 5, 1               | 80 → C       | 206,336   | 412,672   |
| SE-Res2 1    | 3, 2               | C → C        | 746,432   | 2,713,344 |
| SE-Res2 2    | 3, 3               | C → C        | 746,432   | 2,713,344 |
| SE-Res2 3    | 3, 4               | C → C        | 746,432   | 2,713,344 |
| aggregation  | 1, 1               | 3C → 1536    | 2,360,832 | 4,720,128 |
| pooling      | attention over 128 | 1536 → 3072  | 786,560   | 786,560   |
| embedding    | norm, affine, norm | 3072 → 192   | 593,280   | 593,280   |
| total        |                    |              | 6.19 M    | 14.65 M   |

The paper states 6.2 M and 14.7 M. Each SE-Res2 block takes the sum of the outputs of all layers
before it. Convolutions are followed by ReLU, then batch norm, and keep the number of frames. Biases
that a later step cancels (the attention's scores', those before the last norm) are left out.

Dimension legend: B batch, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnn.extra import told_extra
from dnn.models.base import SpeakerNetwork, check_positive
from dnn.models.layers import (
    Pointwise,
    SqueezeExcitation,
    as_frame_image,
    as_frames,
    frame_image_mask,
    zero_padding,
)
from dnn.models.pooling import build_pooling
from ivector.base.errors import UsageError

with told_extra():
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn


class ConvReluNorm(nn.Module):
    """Convolution over time that keeps the number of frames, ReLU, batch norm, on (B, C, 1, T)."""

    def __init__(self, n_in: int, n_out: int, kernel: int = 1, dilation: int = 1):
        super().__init__()
        padding = (0, kernel // 2 * dilation)
        self.conv = (
            Pointwise(n_in, n_out)
            if kernel == 1
            else nn.Conv2d(n_in, n_out, (1, kernel), dilation=(1, dilation), padding=padding)
        )
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, 1, T) to (B, C', 1, T)."""
        return self.norm(F.relu(self.conv(image), inplace=True))


class Res2Block(nn.Module):
    """Dilated convolutions on groups of channels, each fed with the group before it.

    S. Gao et al., "Res2Net", IEEE TPAMI 2021: y₁ = x₁, y₂ = K₂(x₂), yᵢ = Kᵢ(xᵢ + yᵢ₋₁).
    """

    def __init__(self, n_channels: int, kernel: int, dilation: int, scale: int):
        super().__init__()
        width = n_channels // scale
        self.scale = scale
        self.convs = nn.ModuleList(
            ConvReluNorm(width, width, kernel, dilation) for _ in range(scale - 1)
        )

    def forward(self, image: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, 1, T) to the same."""
        groups = zero_padding(image, mask).chunk(self.scale, 1)
        outputs = [groups[0]]
        for i, conv in enumerate(self.convs):
            x = groups[i + 1] if i == 0 else groups[i + 1] + outputs[-1]
            outputs.append(zero_padding(conv(x), mask))
        return torch.cat(outputs, 1)


class SeRes2Block(nn.Module):
    """1×1 convolution, Res2 convolutions, 1×1 convolution, squeeze-excitation, around a sum."""

    def __init__(self, n_channels: int, kernel: int, dilation: int, scale: int, n_bottleneck: int):
        super().__init__()
        self.before = ConvReluNorm(n_channels, n_channels)
        self.res2 = Res2Block(n_channels, kernel, dilation, scale)
        self.after = ConvReluNorm(n_channels, n_channels)
        self.gate = SqueezeExcitation(n_channels, n_bottleneck)

    def forward(self, image: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, 1, T) to the same."""
        return image + self.gate(self.after(self.res2(self.before(image), mask)), mask)


class EcapaTdnn(SpeakerNetwork):
    """ECAPA-TDNN: (B, T, n_features) to (B, embedding_dim).

    Parameters
    ----------
    n_features : int
        Dimension of the frames; the paper takes 80 MFCC.
    channels : int
        Channels C of the convolutions: 512 or 1024 in the paper.
    aggregation_dim : int
        Outputs of the layer over all blocks; 1536 in the paper at either width.
    embedding_dim : int
    scale : int
        Groups of channels in a Res2 block; divides `channels`.
    bottleneck : int
        Hidden dimension of the squeeze-excitation and of the pooling's attention.
    dilations : sequence of int
        One SE-Res2 block each.
    pooling : str, optional
        One of `dnn.models.pooling.POOLINGS` in place of attentive statistics.
    """

    name = "ecapa"

    def __init__(
        self,
        n_features: int = 80,
        channels: int = 512,
        aggregation_dim: int = 1536,
        embedding_dim: int = 192,
        scale: int = 8,
        bottleneck: int = 128,
        dilations: Sequence[int] = (2, 3, 4),
        pooling: str | None = None,
    ):
        super().__init__()
        check_positive("ecapa", n_features=n_features, channels=channels, scale=scale)
        check_positive("ecapa", bottleneck=bottleneck, aggregation_dim=aggregation_dim)
        check_positive("ecapa", embedding_dim=embedding_dim, dilations=min(dilations, default=0))
        if channels % scale:
            raise UsageError(f"ecapa: {channels} channels do not divide into {scale} groups")
        self.n_features, self.channels, self.embedding_dim = n_features, channels, embedding_dim
        self.aggregation_dim, self.scale, self.bottleneck = aggregation_dim, scale, bottleneck
        self.dilations = tuple(dilations)
        self.conv = ConvReluNorm(n_features, channels, 5)
        self.blocks = nn.ModuleList(
            SeRes2Block(channels, 3, dilation, scale, bottleneck) for dilation in dilations
        )
        self.aggregation = Pointwise(len(dilations) * channels, aggregation_dim)
        self.pooling = build_pooling(
            pooling, "attentive-statistics", aggregation_dim, n_hidden=bottleneck
        )
        self.embedding = nn.Sequential(
            nn.BatchNorm1d(self.pooling.output_dim),
            nn.Linear(self.pooling.output_dim, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim),
        )
        self.embedding[0].register_parameter("bias", None)

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Output of the last batch norm."""
        mask = frame_image_mask(lengths, features.shape[1])
        total = self.conv(zero_padding(as_frame_image(features), mask))
        outputs: list[Tensor] = []
        for block in self.blocks:
            if outputs:
                total = total + outputs[-1]
            outputs.append(block(total, mask))
        image = F.relu(self.aggregation(torch.cat(outputs, 1)), inplace=True)
        frames_mask = None if mask is None else mask[:, 0, 0]
        return self.embedding(self.pooling(as_frames(image), frames_mask))
