"""VGG-M on magnitude spectrograms with an average over time.

A. Nagrani, J. S. Chung, A. Zisserman, "VoxCeleb: a large-scale speaker identification dataset",
Interspeech 2017, table 4 (frequency × time there, time × frequency here).

| layer | kernel, stride    | channels   | output at 300 × 512 | parameters |
|-------|-------------------|------------|---------------------|------------|
| conv1 | 7×7, 2, pad 1     | 1 → 96     | 148 × 254           | 4,896      |
| pool1 | max 3×3, 2        |            | 73 × 126            |            |
| conv2 | 5×5, 2, pad 1     | 96 → 256   | 36 × 62             | 614,912    |
| pool2 | max 3×3, 2        |            | 17 × 30             |            |
| conv3 | 3×3, pad 1        | 256 → 384  | 17 × 30             | 885,504    |
| conv4 | 3×3, pad 1        | 384 → 256  | 17 × 30             | 885,248    |
| conv5 | 3×3, pad 1        | 256 → 256  | 17 × 30             | 590,336    |
| pool5 | max 3×5, 2×3      |            | 8 × 9               |            |
| fc6   | 1×9               | 256 → 4096 | 8 × 1               | 9,445,376  |
| apool | average over time |            | 4096                |            |
| fc7   |                   | 4096 → 1024| 1024, the embedding | 4,196,352  |

Every layer is followed by batch norm, whose shift stands for the bias, and ReLU. The output layer
fc8 (1024 → classes) belongs to the loss.

Dimension legend: B batch, T frames, C channels, F frequency bins.
"""

from __future__ import annotations

from dnn.extra import told_extra
from dnn.models.base import SpeakerNetwork, check_positive
from dnn.models.folding import fold_behind
from dnn.models.layers import convolved_lengths, frame_mask, image_mask, zero_padding
from dnn.models.pooling import build_pooling
from ivector.base.errors import UsageError

with told_extra():
    import torch.nn.functional as F
    from torch import Tensor, nn

# (outputs, kernel, stride, padding) of conv1 … conv5; (kernel, stride), time × frequency, of the
# max pooling behind each.
CONVOLUTIONS = ((96, 7, 2, 1), (256, 5, 2, 1), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
POOLING = (((3, 3), (2, 2)), ((3, 3), (2, 2)), None, None, ((3, 5), (2, 3)))


class ConvNormRelu(nn.Module):
    """Convolution, batch norm, ReLU on (B, C, T, F)."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
    ):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(n_out)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, T, F) to (B, C', T', F')."""
        return F.relu(self.norm(self.conv(image)), inplace=True)

    def fold_norms(self) -> None:
        """Fold the norm into the convolution."""
        fold_behind(self.conv, self.norm)
        self.norm = nn.Identity()


class VggM(SpeakerNetwork):
    """VGG-M: spectrograms (B, T, n_features) to (B, embedding_dim).

    Parameters
    ----------
    n_features : int
        Frequency bins; 512 in the paper. At least 97, which leave one bin to fc6.
    embedding_dim : int
        Outputs of fc7.
    width : float
        Factor on the channels of conv1 … fc6; 0.5 has a quarter of the work.
    pooling : str, optional
        One of `dnn.models.pooling.POOLINGS` in place of the average.
    """

    name = "vgg-m"

    def __init__(
        self,
        n_features: int = 512,
        embedding_dim: int = 1024,
        width: float = 1.0,
        pooling: str | None = None,
    ):
        super().__init__()
        check_positive("vgg-m", n_features=n_features, embedding_dim=embedding_dim)
        if not width > 0:
            raise UsageError(f"vgg-m: width is a factor above 0, not {width}")
        self.n_features, self.embedding_dim, self.width = n_features, embedding_dim, width
        n_bins = _remaining(n_features, 1)
        if n_bins < 1:
            least = next(n for n in range(n_features, 1000) if _remaining(n, 1) >= 1)
            raise UsageError(
                f"vgg-m: {n_features} frequency bins do not last through its strides; "
                f"it takes at least {least}"
            )
        self.min_frames = next(n for n in range(1, 1000) if _remaining(n, 0) >= 1)
        self.conv = nn.ModuleList()
        n_in = 1
        for outputs, kernel, stride, padding in CONVOLUTIONS:
            n_out = max(1, round(width * outputs))
            self.conv.append(ConvNormRelu(n_in, n_out, kernel, stride, padding))
            n_in = n_out
        n_fc6 = max(1, round(width * 4096))
        self.fc6 = ConvNormRelu(n_in, n_fc6, (1, n_bins))
        self.pooling = build_pooling(pooling, "average", n_fc6)
        self.fc7 = ConvNormRelu(self.pooling.output_dim, embedding_dim, 1)

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Output of fc7, after norm and ReLU."""
        image = zero_padding(features.unsqueeze(1), image_mask(lengths, features.shape[1]))
        for conv, (_, kernel, stride, padding), pooling in zip(
            self.conv, CONVOLUTIONS, POOLING, strict=True
        ):
            image = conv(image)
            lengths = convolved_lengths(lengths, kernel, stride, padding)
            if pooling is not None:
                size, steps = pooling
                image = F.max_pool2d(image, size, steps)
                lengths = convolved_lengths(lengths, size[0], steps[0])
            image = zero_padding(image, image_mask(lengths, image.shape[2]))
        frames = self.fc6(image).squeeze(3).transpose(1, 2)  # one bin is left: (B, T, C)
        mask = None if lengths is None else frame_mask(lengths, frames.shape[1])
        return self.fc7(self.pooling(frames, mask)[:, :, None, None]).flatten(1)


def _remaining(size: int, axis: int) -> int:
    """Frames (axis 0) or bins (axis 1) that pool5 leaves of `size`."""
    for (_, kernel, stride, padding), pooling in zip(CONVOLUTIONS, POOLING, strict=True):
        size = (size + 2 * padding - kernel) // stride + 1
        if pooling is not None:
            size = (size - pooling[0][axis]) // pooling[1][axis] + 1
        if size < 1:
            return 0
    return size
