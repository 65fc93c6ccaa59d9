"""Batch normalisation folded into the affine layers beside it, for extraction.

In evaluation a batch norm is a fixed scale and shift of each channel. Behind a convolution it is
absorbed by that convolution's weights; behind a nonlinearity by those of the following layer,
which is exact if that layer does not pad. The folded network gives the same embeddings to rounding
and reads and writes every activation once less.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from dnn.extra import told_extra

with told_extra():
    import torch
    from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def fold(model: Network) -> Network:
    """A copy of a model in evaluation mode with its batch norms folded where that is exact.

    It extracts; it must not be trained, and its weights do not load into a model from `build`.

    Examples
    --------
    >>> from dnn import build
    >>> network = build("xvector", n_features=20, channels=(8, 8, 8, 8, 16), embedding_dim=4).eval()
    >>> features = torch.randn(2, 50, 20)
    >>> torch.allclose(fold(network)(features), network(features), atol=1e-4)
    True
    """
    folded = copy.deepcopy(model).eval()
    # Outer modules first: they may know more of what stands beside a norm than the inner ones.
    for module in list(folded.modules()):
        if callable(fold_norms := getattr(module, "fold_norms", None)):
            fold_norms()
    return folded


@torch.no_grad()
def fold_behind(conv: nn.Conv2d, norm: nn.Module) -> None:
    """Fold a batch norm into the convolution right before it."""
    scale, shift = _scale_and_shift(norm)
    if conv.bias is None:
        conv.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels), requires_grad=False)
    conv.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    conv.bias.copy_(conv.bias.double() * scale + shift)


@torch.no_grad()
def fold_into_affine(norm: nn.Module, conv: nn.Conv2d) -> None:
    """Fold a batch norm into the convolution after it, which must have a bias and not pad."""
    scale, shift = _scale_and_shift(norm)
    _shift_bias(conv, torch.einsum("oikl,i->o", conv.weight.double(), shift))
    conv.weight.copy_(conv.weight.double() * scale[:, None, None])


@torch.no_grad()
def fold_into_statistics(norm: nn.Module, linear: nn.Linear) -> None:
    """Fold a batch norm before statistics pooling into the linear layer after the pooling.

    The mean of a x + b is a times the mean, plus b; its deviation is |a| times the deviation.
    """
    scale, shift = _scale_and_shift(norm)
    n_dims = len(scale)
    weight = linear.weight.double()
    _shift_bias(linear, weight[:, :n_dims] @ shift)
    linear.weight.copy_(weight * torch.cat([scale, scale.abs()]))


def _shift_bias(layer: nn.Conv2d | nn.Linear, shift: Tensor) -> None:
    assert layer.bias is not None
    layer.bias.copy_(layer.bias.double() + shift)


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) float64 of a batch norm in evaluation mode."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()
