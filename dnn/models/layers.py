"""Layouts, masks and the small layers that several networks share.

Layouts. Features come as (batch, n_frames, n_features). Convolutions run on images in torch's
``channels_last`` memory format, which oneDNN and tensor cores take as it is: time-delay layers
on (B, C, 1, T), of which (B, T, C) is a view, and two-dimensional ones on (B, C, T, F), of which
the features themselves are a view at C = 1. So no layer transposes memory.

Padding. Frames beyond an utterance's length are set to zero wherever a convolution that pads could
see them, as they would be if the utterance were alone, and are left out of every average. In
training batch normalisation does see them: train on crops of one length.

Dimension legend: B batch, T frames, C channels, F frequency bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dnn.extra import told_extra

with told_extra():
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn


def as_frame_image(frames: Tensor) -> Tensor:
    """(B, T, C) seen as (B, C, 1, T) in channels_last order, without a copy."""
    return frames.transpose(1, 2).unsqueeze(2)


def as_frames(image: Tensor) -> Tensor:
    """(B, C, 1, T) seen as (B, T, C)."""
    return image.squeeze(2).transpose(1, 2)


def frame_mask(lengths: Tensor, n_frames: int) -> Tensor:
    """Mask (B, n_frames) bool: True at the first lengths[b] frames of each utterance."""
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None]


def frame_image_mask(lengths: Tensor | None, n_frames: int) -> Tensor | None:
    """Mask (B, 1, 1, T) of the valid frames of (B, C, 1, T)."""
    return None if lengths is None else frame_mask(lengths, n_frames)[:, None, None]


def image_mask(lengths: Tensor | None, n_frames: int) -> Tensor | None:
    """Mask (B, 1, T, 1) of the valid frames of (B, C, T, F)."""
    return None if lengths is None else frame_mask(lengths, n_frames)[:, None, :, None]


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x` with its padding set to zero; `mask` broadcasts against it."""
    return x if mask is None else x * mask


def convolved_lengths(
    lengths: Tensor | None, kernel: int, stride: int = 1, padding: int = 0
) -> Tensor | None:
    """Lengths after a convolution or pooling over time."""
    if lengths is None:
        return None
    return (lengths + (2 * padding - kernel)).div(stride, rounding_mode="floor") + 1


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, in float32 if it is of a shorter type."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def masked_mean(x: Tensor, mask: Tensor | None, dims: int | Sequence[int]) -> Tensor:
    """Mean over dimensions `dims` where `mask` is True; it broadcasts against `x`, (B, 1, ...)."""
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    dtype = torch.promote_types(x.dtype, torch.float32)
    if mask is None:
        return x.mean(dims, dtype=dtype)
    repeats = math.prod(x.shape[d] // mask.shape[d] for d in dims)
    return (x * mask).sum(dims, dtype=dtype) / (mask.sum(dims) * repeats)


class Pointwise(nn.Conv2d):
    """1×1 convolution of (B, C, H, W), on the CPU through oneDNN whatever the batch."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True):
        super().__init__(n_in, n_out, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H, W)."""
        return _pointwise(input, self.weight, self.bias)


class FrameLinear(nn.Linear):
    """Linear layer on (B, T, C), on the CPU as a 1×1 convolution.

    oneDNN's convolution reaches two to three times the rate of the matrix product behind
    `nn.Linear` on processors that the latter's library was not tuned for, and the same elsewhere.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, T, in_features) to (B, T, out_features)."""
        if input.is_cuda:
            return super().forward(input)
        weight = self.weight[:, :, None, None]
        return as_frames(_pointwise(as_frame_image(input), weight, self.bias))


def _pointwise(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # In one thread torch leaves oneDNN for 1×1 kernels of small batches, at half the rate, unless
    # the kernel is dilated; dilation does nothing to a kernel of one.
    return F.conv2d(image, weight, bias, dilation=1 if image.is_cuda else 2)


class SqueezeExcitation(nn.Module):
    """Channel gates from the channels' averages (J. Hu, L. Shen, G. Sun, CVPR 2018)."""

    def __init__(self, n_channels: int, n_hidden: int):
        super().__init__()
        self.squeeze = nn.Linear(n_channels, n_hidden)
        self.excite = nn.Linear(n_hidden, n_channels)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Gates an image (B, C, H, W); `mask` broadcasts against it."""
        average = masked_mean(image, mask, (2, 3))
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(average))))
        return image * gates[:, :, None, None]
