"""Training losses on embeddings (N, D) and speaker labels (N,).

Classification losses, here, hold one weight vector for each training speaker: softmax; AM-softmax
and AAM-softmax, where the angle between embedding and weight is what counts and a margin makes the
true speaker's harder. Metric losses, in `dnn.losses.metric`, compare the utterances of a batch with
each other: triplet, angular-prototypical, GE2E. All work in float32 or better whatever the autocast
type, may have parameters (give them to the optimiser with the model's), and are averages over the
batch.

Dimension legend: N utterances, D embedding dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar

from dnn.extra import told_extra
from dnn.models.layers import at_least_float32
from dnn.registry import config_of
from ivector.base.errors import UsageError

with told_extra():
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn


class SpeakerLoss(nn.Module):
    """Base of all losses; a loss defines `value`, and keeps its options as attributes.

    Examples
    --------
    >>> class Spread(SpeakerLoss):
    ...     name = "spread"
    ...
    ...     def value(self, embedding, labels):
    ...         return embedding.square().mean()
    >>> Spread()(torch.tensor([[1.0, 3.0]]), torch.tensor([0])).item()
    5.0
    """

    name: ClassVar[str]

    def forward(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        embedding : Tensor (N, D) float
            The model's `head` output.
        labels : Tensor (N,) int64
            Class of each utterance from 0; for metric losses any number that tells speakers apart.

        Returns
        -------
        Tensor ()

        Raises
        ------
        DataError
            A metric loss cannot compare this batch.
        """
        with torch.autocast(embedding.device.type, enabled=False):
            return self.value(at_least_float32(embedding), labels)

    def value(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """`forward` in full precision."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """``{"name": ..., "options": {...}}`` in JSON's types, for `build_loss_from_config`."""
        return config_of(self, self.name)


class Classifier(SpeakerLoss):
    """Base of the losses that hold a weight for each class.

    Attributes
    ----------
    n_dims, n_classes : int

    Examples
    --------
    >>> from dnn.losses import build_loss
    >>> loss = build_loss("am-softmax", n_dims=4, n_classes=3)
    >>> isinstance(loss, Classifier), tuple(loss.logits(torch.randn(5, 4)).shape)
    (True, (5, 3))
    """

    n_dims: int
    n_classes: int

    def logits(self, embedding: Tensor) -> Tensor:
        """Scores of all classes (N, n_classes), without any margin; the largest is the answer."""
        raise NotImplementedError


class Softmax(Classifier):
    """Affine layer and cross-entropy.

    Parameters
    ----------
    n_dims, n_classes : int
    label_smoothing : float
        Share of the target spread evenly over all classes.

    Examples
    --------
    >>> loss = Softmax(n_dims=4, n_classes=3)
    >>> embeddings, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> loss(embeddings, labels).backward()
    >>> tuple(loss.output.weight.grad.shape)
    (3, 4)
    """

    name = "softmax"

    def __init__(self, n_dims: int, n_classes: int, label_smoothing: float = 0.0):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing is at least 0 and below 1, not {label_smoothing}")
        self.n_dims, self.n_classes = n_dims, n_classes
        self.label_smoothing = label_smoothing
        self.output = nn.Linear(n_dims, n_classes)

    def logits(self, embedding: Tensor) -> Tensor:
        """Scores of all classes (N, n_classes)."""
        return self.output(embedding)

    def value(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        logits = self.logits(embedding)
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


class AmSoftmax(Classifier):
    """Additive margin: cross-entropy of s (cos θ − m at the true class).

    F. Wang et al., "Additive margin softmax for face verification", IEEE SPL 2018, equation 6.

    Parameters
    ----------
    n_dims, n_classes : int
    margin : float
        m, at least 0; `set_margin` changes it in training.
    scale : float
        s; sets how sure the classifier can become.

    Examples
    --------
    >>> loss = AmSoftmax(n_dims=2, n_classes=2, margin=0.5, scale=1.0)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> embedding, label = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> loss.logits(embedding).tolist(), round(loss(embedding, label).item(), 3)
    ([[1.0, 0.0]], 0.474)
    """

    name = "am-softmax"
    current_margin: Tensor

    def __init__(self, n_dims: int, n_classes: int, margin: float = 0.2, scale: float = 30.0):
        super().__init__()
        if not margin >= 0 or not scale > 0:
            raise UsageError(f"margin {margin} must be at least 0 and scale {scale} above 0")
        self.n_dims, self.n_classes, self.margin, self.scale = n_dims, n_classes, margin, scale
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_classes, n_dims)))
        # A buffer: it is saved with the weights, and a change does not recompile the network.
        self.register_buffer("current_margin", torch.tensor(float(margin)))

    def set_margin(self, margin: float) -> None:
        """Use this margin from now on (saved with the state; `margin` stays the option given)."""
        self.current_margin.fill_(margin)

    def cosines(self, embedding: Tensor) -> Tensor:
        """Cosine of every embedding and class weight (N, n_classes)."""
        return F.linear(F.normalize(embedding), F.normalize(self.weight))

    def logits(self, embedding: Tensor) -> Tensor:
        """Scaled cosines (N, n_classes)."""
        return self.scale * self.cosines(embedding)

    def value(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy with the margin at the true class."""
        cosines = self.cosines(embedding)
        column = labels[:, None]
        cosines = cosines.scatter(1, column, self.with_margin(cosines.gather(1, column)))
        return F.cross_entropy(self.scale * cosines, labels)

    def with_margin(self, cosine: Tensor) -> Tensor:
        """cos θ of the true class made smaller."""
        return cosine - self.current_margin


class AamSoftmax(AmSoftmax):
    """Additive angular margin: cross-entropy of s cos(θ + m) at the true class, s cos θ elsewhere.

    J. Deng et al., "ArcFace", CVPR 2019, equation 3. Beyond θ = π − m, where cos(θ + m) would rise
    again, the true class has cos θ − m sin m, which goes on falling; with `easy_margin` the margin
    acts only at θ < π/2.

    Parameters
    ----------
    n_dims, n_classes : int
    margin : float
        m in radians.
    scale : float
        s.
    easy_margin : bool

    Examples
    --------
    >>> loss = AamSoftmax(n_dims=2, n_classes=2, margin=0.2, scale=10.0)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> loss.logits(torch.tensor([[2.0, 0.0]])).tolist()
    [[10.0, 0.0]]
    >>> round(loss.with_margin(torch.tensor(0.5)).item(), 3)  # cos(60° + 0.2)
    0.318
    """

    name = "aam-softmax"

    def __init__(
        self,
        n_dims: int,
        n_classes: int,
        margin: float = 0.2,
        scale: float = 30.0,
        easy_margin: bool = False,
    ):
        super().__init__(n_dims, n_classes, margin, scale)
        self.easy_margin = easy_margin

    def with_margin(self, cosine: Tensor) -> Tensor:
        """cos(θ + m), continued so that it falls everywhere."""
        cos_m, sin_m = self.current_margin.cos(), self.current_margin.sin()
        # The floor keeps the root's gradient finite where embedding and weight coincide.
        sine = (1 - cosine.square()).clamp(min=1e-7).sqrt()
        moved = cosine * cos_m - sine * sin_m
        if self.easy_margin:
            return torch.where(cosine > 0, moved, cosine)
        return torch.where(cosine > -cos_m, moved, cosine - self.current_margin * sin_m)


class MarginSchedule:
    """Margin as a function of the step: `initial`, then rising to `final`, then constant.

    A margin from the first step keeps some networks from starting to learn. It depends on nothing
    but the step, so that a resumed run needs no state.

    Parameters
    ----------
    final : float
        Margin from `end` on.
    start, end : int
        Steps between which it rises; equal for a jump.
    initial : float
    shape : {"linear", "exponential"}
        Exponential rises fast at first: 1 − 10^(−3 f) of the way at the fraction f.

    Examples
    --------
    >>> margin = MarginSchedule(0.2, start=100, end=300)
    >>> [round(margin(step), 2) for step in (0, 100, 200, 300, 1000)]
    [0.0, 0.0, 0.1, 0.2, 0.2]
    """

    def __init__(
        self, final: float, start: int, end: int, initial: float = 0.0, shape: str = "linear"
    ):
        if not 0 <= start <= end:
            raise UsageError(
                f"a margin rises from a step to a later one, not from {start} to {end}"
            )
        if shape not in ("linear", "exponential"):
            raise UsageError(f"a margin rises linear or exponential, not {shape!r}")
        self.final, self.start, self.end, self.initial, self.shape = (
            final,
            start,
            end,
            initial,
            shape,
        )

    def __call__(self, step: int) -> float:
        """Margin at a step."""
        if step >= self.end:
            return self.final
        if step <= self.start:
            return self.initial
        share = (step - self.start) / (self.end - self.start)
        if self.shape == "exponential":
            share = (1 - 10 ** (-3 * share)) / (1 - 10**-3)
        return self.initial + (self.final - self.initial) * share

    def apply(self, loss: SpeakerLoss, step: int) -> None:
        """Give a loss the margin of a step, if it has one."""
        if isinstance(loss, AmSoftmax):
            loss.set_margin(self(step))
