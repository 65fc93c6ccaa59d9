"""ResNetSE34L ("fast ResNet-34" with squeeze-excitation) and self-attentive pooling.

J. S. Chung et al., "In defence of metric learning for speaker recognition", Interspeech 2020, with
the squeeze-excitation of the authors' ``ResNetSE34L`` (clovaai/voxceleb_trainer).

| layer     | kernel, stride (time × frequency) | output, T × 40 in       | parameters |
|-----------|-----------------------------------|-------------------------|------------|
| norm      | each bin over the utterance       | T × 40                  |            |
| conv1     | 7×7, 1×2                          | 16 × T × 20             | 816        |
| layer1    | 3 blocks of two 3×3               | 16 × T × 20             | 14,262     |
| layer2    | 4 blocks, the first 2×2           | 32 × T/2 × 10           | 71,440     |
| layer3    | 6 blocks, the first 2×2           | 64 × T/4 × 5            | 429,040    |
| layer4    | 3 blocks                          | 128 × T/4 × 5           | 838,320    |
| average   | over frequency                    | T/4 × 128               |            |
| pooling   | self-attentive                    | 128                     | 16,640     |
| embedding | affine                            | 512                     | 66,048     |

A block is 3×3 convolution, ReLU, norm, 3×3 convolution, norm, gates (C → C/8 → C), sum, ReLU, and
where its shape changes the sum takes a 1×1 convolution and norm of the input. Together 1.4 M.

Dimension legend: B batch, T frames, C channels, F frequency bins.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnn.extra import told_extra
from dnn.models.base import SpeakerNetwork, check_positive
from dnn.models.folding import fold_behind
from dnn.models.layers import (
    SqueezeExcitation,
    convolved_lengths,
    frame_mask,
    image_mask,
    zero_padding,
)
from dnn.models.pooling import build_pooling, mean_and_variance
from ivector.base.errors import UsageError

with told_extra():
    import torch.nn.functional as F
    from torch import Tensor, nn

STRIDES = (1, 2, 2, 1)  # of layer1 … layer4, over time and frequency
REDUCTION = 8


class SeBasicBlock(nn.Module):
    """Two 3×3 convolutions with gates around a sum: (B, C, T, F) to (B, C', T / s, F / s)."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(n_out)
        self.gate = SqueezeExcitation(n_out, max(1, n_out // REDUCTION))
        self.reshape: nn.Conv2d | None = None
        self.reshape_norm: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.reshape = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.reshape_norm = nn.BatchNorm2d(n_out)

    def forward(self, image: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` (B, 1, T / s, 1) is that of the output."""
        x = zero_padding(self.norm1(F.relu(self.conv1(image), inplace=True)), mask)
        x = self.gate(self.norm2(self.conv2(x)), mask)
        x = x + (image if self.reshape is None else self.reshape_norm(self.reshape(image)))
        return zero_padding(F.relu(x, inplace=True), mask)

    def fold_norms(self) -> None:
        """Fold the norms that stand right behind a convolution."""
        fold_behind(self.conv2, self.norm2)
        self.norm2 = nn.Identity()
        if self.reshape is not None:
            fold_behind(self.reshape, self.reshape_norm)
            self.reshape_norm = nn.Identity()


class ResNetSE34L(SpeakerNetwork):
    """Thin residual network on log-mel features: (B, T, n_features) to (B, embedding_dim).

    Parameters
    ----------
    n_features : int
        Log-mel bins; 40 in the paper. The network normalises each bin over the utterance.
    channels : sequence of 4 int
        Channels of layer1 … layer4.
    n_blocks : sequence of 4 int
        Blocks of each layer.
    embedding_dim : int
    pooling : str, optional
        One of `dnn.models.pooling.POOLINGS` in place of self-attention.
    """

    name = "resnetse34l"

    def __init__(
        self,
        n_features: int = 40,
        channels: Sequence[int] = (16, 32, 64, 128),
        n_blocks: Sequence[int] = (3, 4, 6, 3),
        embedding_dim: int = 512,
        pooling: str | None = None,
    ):
        super().__init__()
        if not len(channels) == len(n_blocks) == len(STRIDES):
            raise UsageError(f"{self.name}: channels and n_blocks are {len(STRIDES)} numbers each")
        check_positive(self.name, n_features=n_features, embedding_dim=embedding_dim)
        check_positive(self.name, channels=min(channels), n_blocks=min(n_blocks))
        self.n_features, self.embedding_dim = n_features, embedding_dim
        self.channels, self.n_blocks = tuple(channels), tuple(n_blocks)
        self.conv1 = nn.Conv2d(1, channels[0], 7, (1, 2), 3, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(channels[0])
        self.blocks = nn.ModuleList()
        self._strides = [s if i == 0 else 1 for s, n in zip(STRIDES, n_blocks) for i in range(n)]
        widths = [c for c, n in zip(channels, n_blocks) for _ in range(n)]
        n_in = channels[0]
        for n_out, stride in zip(widths, self._strides):
            self.blocks.append(SeBasicBlock(n_in, n_out, stride))
            n_in = n_out
        self.pooling = build_pooling(pooling, "self-attentive", n_in)
        self.embedding = nn.Linear(self.pooling.output_dim, embedding_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Output of the affine layer."""
        mask = None if lengths is None else frame_mask(lengths, features.shape[1])
        mean, variance = mean_and_variance(features, mask)
        normal = (features - mean[:, None]) * (variance[:, None] + 1e-5).rsqrt()
        masks = image_mask(lengths, features.shape[1])
        image = self.conv1(zero_padding(normal.unsqueeze(1), masks))
        image = zero_padding(F.relu(self.norm1(image), inplace=True), masks)
        for block, stride in zip(self.blocks, self._strides, strict=True):
            if stride != 1:
                lengths = convolved_lengths(lengths, 3, stride, 1)
                masks = image_mask(lengths, (image.shape[2] - 1) // stride + 1)
            image = block(image, masks)
        frames_mask = None if masks is None else masks[:, 0, :, 0]
        return self.embedding(self.pooling(image.mean(3).transpose(1, 2), frames_mask))

    def fold_norms(self) -> None:
        """Fold the first norm; the blocks fold their own."""
        fold_behind(self.conv1, self.norm1)
        self.norm1 = nn.Identity()
