"""Deep Speaker's residual network on log-mel features, average over time, unit length.

C. Li et al., "Deep Speaker: an end-to-end neural speaker embedding system", arXiv:1705.02304, 2017,
table 1. `dnn.models.deep_speaker_gru` has the recurrent network of table 2.

| layer                               | output, T × 64 in | parameters |
|-------------------------------------|-------------------|------------|
| conv64-s 5×5, 2×2                   | 64 × T/2 × 32     | 6 K        |
| 3 × res64: two 3×3 around a sum     | 64 × T/2 × 32     | 6 × 41 K   |
| conv128-s 5×5, 2×2                  | 128 × T/4 × 16    | 209 K      |
| 3 × res128                          | 128 × T/4 × 16    | 6 × 151 K  |
| conv256-s 5×5, 2×2                  | 256 × T/8 × 8     | 823 K      |
| 3 × res256                          | 256 × T/8 × 8     | 6 × 594 K  |
| conv512-s 5×5, 2×2                  | 512 × T/16 × 4    | 3.3 M      |
| 3 × res512                          | 512 × T/16 × 4    | 6 × 2.4 M  |
| average over time                   | 2048              |            |
| affine                              | 512               | 1 M        |
| length norm                         | 512               |            |
| total                               |                   | 24 M       |

Convolutions have no bias; each is followed by a batch norm of every channel *and* frequency bin
(64 × 32 = 128 × 16 = … = 2048 pairs, hence 4,096 parameters more than the kernel, as the table
counts) and a ReLU clipped at 20.

Dimension legend: B batch, T frames, C channels, F frequency bins.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnn.extra import told_extra
from dnn.models.base import SpeakerNetwork, check_positive
from dnn.models.layers import (
    as_frame_image,
    as_frames,
    convolved_lengths,
    frame_mask,
    image_mask,
    zero_padding,
)
from dnn.models.pooling import Pooling, build_pooling
from ivector.base.errors import UsageError

with told_extra():
    import torch.nn.functional as F
    from torch import Tensor, nn


class BinwiseNorm(nn.Module):
    """Batch norm of every channel and frequency bin over batch and time: (B, C, T, F)."""

    def __init__(self, n_channels: int, n_bins: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels * n_bins)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, T, F) to the same; in channels_last order all reshapes are views."""
        by_time = image.permute(0, 2, 3, 1)  # (B, T, F, C)
        normal = as_frames(self.norm(as_frame_image(by_time.flatten(2))))
        return normal.unflatten(2, by_time.shape[2:]).permute(0, 3, 1, 2)


class ConvClip(nn.Module):
    """Convolution, norm and clipped ReLU; `shortcut` is added before the ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, n_bins: int):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
        self.norm = BinwiseNorm(n_out, n_bins)

    def forward(self, image: Tensor, mask: Tensor | None, shortcut: Tensor | None = None) -> Tensor:
        """(B, C, T, F) to (B, C', T', F')."""
        image = self.norm(self.conv(image))
        if shortcut is not None:
            image = image + shortcut
        return zero_padding(F.hardtanh(image, 0.0, 20.0), mask)


class Stage(nn.Module):
    """Convolution of stride 2, then residual blocks of two 3×3 convolutions."""

    def __init__(self, n_in: int, n_out: int, n_blocks: int, n_bins: int):
        super().__init__()
        self.shrink = ConvClip(n_in, n_out, 5, 2, n_bins)
        self.first = nn.ModuleList(ConvClip(n_out, n_out, 3, 1, n_bins) for _ in range(n_blocks))
        self.second = nn.ModuleList(ConvClip(n_out, n_out, 3, 1, n_bins) for _ in range(n_blocks))

    def forward(self, image: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, T, F) to (B, C', T / 2, F / 2), whose mask is `mask`."""
        image = self.shrink(image, mask)
        for first, second in zip(self.first, self.second, strict=True):
            image = second(first(image, mask), mask, shortcut=image)
        return image


class DeepSpeaker(SpeakerNetwork):
    """What both networks share: images of the input, and the end from average to unit length."""

    in_channels: int
    normalise: bool
    pooling: Pooling
    affine: nn.Linear

    def _image(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T, in_channels F) to (B, in_channels, T, F), zero in the padding."""
        by_channel = features.unflatten(2, (self.in_channels, -1))
        image = by_channel.permute(0, 2, 1, 3)
        return zero_padding(image, image_mask(lengths, features.shape[1]))

    def _finish(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        mask = None if lengths is None else frame_mask(lengths, frames.shape[1])
        embedding = self.affine(self.pooling(frames, mask))
        return F.normalize(embedding) if self.normalise else embedding

    def _set_options(self, n_features: int, in_channels: int, embedding_dim: int) -> None:
        check_positive(self.name, n_features=n_features, in_channels=in_channels)
        check_positive(self.name, embedding_dim=embedding_dim)
        if n_features % in_channels:
            raise UsageError(
                f"{self.name}: {n_features} features do not divide into {in_channels} channels"
            )
        self.n_features, self.in_channels = n_features, in_channels
        self.embedding_dim = embedding_dim


class DeepSpeakerResCnn(DeepSpeaker):
    """Residual network: (B, T, n_features) to unit vectors (B, embedding_dim).

    Parameters
    ----------
    n_features : int
        Log-mel bins (64 in the paper), times `in_channels`.
    channels : sequence of int
        Channels of the stages, each of which halves time and frequency.
    n_blocks : int
        Residual blocks of each stage.
    embedding_dim : int
    in_channels : int
        3 where the frames hold static, delta and delta-delta coefficients, in this order.
    normalise : bool
        Scale embeddings to unit length, as the triplet loss takes them. The attribute may be
        turned off for training with the softmax loss; weights are the same.
    pooling : str, optional
        One of `dnn.models.pooling.POOLINGS` in place of the average.
    """

    name = "deep-speaker-rescnn"

    def __init__(
        self,
        n_features: int = 64,
        channels: Sequence[int] = (64, 128, 256, 512),
        n_blocks: int = 3,
        embedding_dim: int = 512,
        in_channels: int = 1,
        normalise: bool = True,
        pooling: str | None = None,
    ):
        super().__init__()
        self._set_options(n_features, in_channels, embedding_dim)
        check_positive(self.name, channels=min(channels, default=0), n_blocks=n_blocks)
        self.channels, self.n_blocks, self.normalise = tuple(channels), n_blocks, normalise
        self.stages = nn.ModuleList()
        n_in, n_bins = in_channels, n_features // in_channels
        for n_out in channels:
            n_bins = (n_bins + 1) // 2
            self.stages.append(Stage(n_in, n_out, n_blocks, n_bins))
            n_in = n_out
        self.pooling = build_pooling(pooling, "average", n_in * n_bins)
        self.affine = nn.Linear(self.pooling.output_dim, embedding_dim)

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Output of the affine layer, of unit length."""
        image = self._image(features, lengths)
        for stage in self.stages:
            lengths = convolved_lengths(lengths, 5, 2, 2)
            image = stage(image, image_mask(lengths, (image.shape[2] + 1) // 2))
        return self._finish(image.permute(0, 2, 3, 1).flatten(2), lengths)
