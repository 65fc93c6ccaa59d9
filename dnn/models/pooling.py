"""From frames to one vector: averages, statistics and attention over time, with masks.

Every pooling is a module on frames (B, T, D) and a mask (B, T), True at valid frames, or None where
all are, that returns (B, ``output_dim``). Any network takes any of `POOLINGS`: a class that is
added there is known to all of them, to the command line and to files.

Averages and variances are float32 or better whatever the autocast type, variances from deviations
(not E[x²] − μ², which cancels) and floored before the square root as in Kaldi's
``StatisticsPoolingComponent`` (1e-10), so that gradients stay finite where a dimension is constant.

Dimension legend: B batch, T frames, D dimensions, A attention dimensions.
"""

from __future__ import annotations

import inspect
from typing import Any

from dnn.extra import told_extra
from dnn.models.layers import FrameLinear, at_least_float32, masked_mean
from ivector.base.errors import UsageError

with told_extra():
    import torch
    from torch import Tensor, nn

VARIANCE_FLOOR = 1e-10


class Pooling(nn.Module):
    """Base of all poolings; their constructors take the frames' dimension first.

    Attributes
    ----------
    output_dim : int
    told : str or None
        Name that a network's configuration tells; None where the network took its own.
    """

    output_dim: int
    told: str | None = None

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, output_dim)."""
        raise NotImplementedError


class AveragePooling(Pooling):
    """Mean over time: (B, T, D) to (B, D)."""

    def __init__(self, n_dims: int):
        super().__init__()
        self.output_dim = n_dims

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, D)."""
        return masked_mean(frames, _column(mask), 1)


class StatisticsPooling(Pooling):
    """Mean and standard deviation over time: (B, T, D) to (B, 2D).

    D. Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition", ICASSP 2018. The
    deviation is the maximum-likelihood one (divided by the number of frames), as in Kaldi.
    """

    def __init__(self, n_dims: int):
        super().__init__()
        self.output_dim = 2 * n_dims

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, 2D): means, then standard deviations."""
        mean, variance = mean_and_variance(frames, mask)
        return torch.cat([mean, _root(variance)], 1)


class SelfAttentivePooling(Pooling):
    """Mean over time under one learnt weight for each frame: (B, T, D) to (B, D).

    w = softmax over t of uᵀ tanh(W xₜ + b) (W. Cai, J. Chen, M. Li, "Exploring the encoding layer
    and loss function in end-to-end speaker and language recognition system", Odyssey 2018,
    equations 1 to 4).
    """

    def __init__(self, n_dims: int, n_hidden: int | None = None):
        super().__init__()
        n_hidden = n_dims if n_hidden is None else n_hidden
        self.output_dim = n_dims
        self.hidden = FrameLinear(n_dims, n_hidden)
        self.context = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_hidden, 1)))

    def weights(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention (B, T, 1), of sum 1 over the valid frames."""
        return attention(torch.tanh(self.hidden(frames)) @ self.context, mask)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, D)."""
        return (self.weights(frames, mask).transpose(1, 2) @ at_least_float32(frames)).squeeze(1)


class AttentiveStatisticsPooling(Pooling):
    """Weighted mean and standard deviation over time: (B, T, D) to (B, 2D).

    Scores eₜ = V tanh(W [xₜ, μ, σ] + b) with a weight for every frame and dimension, where the
    utterance's mean and deviation give the context (B. Desplanques, J. Thienpondt, K. Demuynck,
    "ECAPA-TDNN", Interspeech 2020, equations 1 to 5). ``context=False, per_dimension=False`` is
    the earlier form with one weight a frame (K. Okabe, T. Koshinaka, K. Shinoda, Interspeech 2018).
    """

    def __init__(
        self, n_dims: int, n_hidden: int = 128, context: bool = True, per_dimension: bool = True
    ):
        super().__init__()
        self.output_dim = 2 * n_dims
        self.hidden = FrameLinear(n_dims, n_hidden)
        # The context is the same at all frames: its share of the product is taken once for each
        # utterance, a third of the work of the product with [x, μ, σ] at every frame.
        self.context = nn.Linear(2 * n_dims, n_hidden, bias=False) if context else None
        # Without the papers' k, which is the same at all frames and cancels in the softmax.
        self.score = FrameLinear(n_hidden, n_dims if per_dimension else 1, bias=False)

    def weights(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention (B, T, D) or (B, T, 1), of sum 1 over the valid frames."""
        hidden = self.hidden(frames)
        if self.context is not None:
            mean, variance = mean_and_variance(frames, mask)
            context = self.context(torch.cat([mean, _root(variance)], 1))
            hidden = hidden + context[:, None]
        return attention(self.score(torch.tanh(hidden)), mask)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) to (B, 2D): weighted means, then standard deviations."""
        weights = self.weights(frames, mask)
        mean = (weights * frames).sum(1)
        variance = (weights * (frames - mean[:, None]).square()).sum(1)
        return torch.cat([mean, _root(variance)], 1)


POOLINGS: dict[str, type[Pooling]] = {
    "average": AveragePooling,
    "statistics": StatisticsPooling,
    "self-attentive": SelfAttentivePooling,
    "attentive-statistics": AttentiveStatisticsPooling,
}


def build_pooling(asked: str | None, own: str, n_dims: int, **sizes: Any) -> Pooling:
    """The pooling that a network's options ask for, or else the network's own.

    Parameters
    ----------
    asked : str or None
        One of `POOLINGS`.
    own : str
        Of the network, where none is asked for.
    n_dims : int
        D.
    **sizes
        What else the network says of its pooling, as ``n_hidden``; a pooling that does not take
        such a size goes without.

    Raises
    ------
    UsageError
        An unknown name.
    """
    name = own if asked is None else asked
    if name not in POOLINGS:
        raise UsageError(f"no pooling is called {name!r}; there are {', '.join(sorted(POOLINGS))}")
    cls: Any = POOLINGS[name]
    known = inspect.signature(cls).parameters
    pooling = cls(n_dims, **{size: value for size, value in sizes.items() if size in known})
    pooling.told = asked
    return pooling


def mean_and_variance(frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and maximum-likelihood variance over time of (B, T, D), each (B, D)."""
    column = _column(mask)
    mean = masked_mean(frames, column, 1)
    return mean, masked_mean((frames - mean[:, None]).square(), column, 1)


def attention(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over time of scores (B, T, ...), zero where the mask is False."""
    scores = at_least_float32(scores)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, None], -torch.inf)
    return scores.softmax(1)


def _root(variance: Tensor) -> Tensor:
    return variance.clamp(min=VARIANCE_FLOOR).sqrt()


def _column(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[:, :, None]
