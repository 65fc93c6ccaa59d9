"""Losses by name: ``build_loss("aam-softmax", n_dims=192, n_classes=100)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnn.registry import Entry, create, split_config

if TYPE_CHECKING:
    from dnn.losses.classification import SpeakerLoss

LOSSES = {
    "softmax": Entry("dnn.losses.classification", "Softmax"),
    "am-softmax": Entry("dnn.losses.classification", "AmSoftmax"),
    "aam-softmax": Entry("dnn.losses.classification", "AamSoftmax"),
    "triplet": Entry("dnn.losses.metric", "Triplet"),
    "angular-prototypical": Entry("dnn.losses.metric", "AngularPrototypical"),
    "ge2e": Entry("dnn.losses.metric", "Ge2e"),
}
CLASSIFIERS = ("softmax", "am-softmax", "aam-softmax")


def build_loss(name: str, n_dims: int, n_classes: int, **options: Any) -> SpeakerLoss:
    """A loss by name.

    Parameters
    ----------
    name : str
        One of `LOSSES`; those in `CLASSIFIERS` have `logits`.
    n_dims, n_classes : int
        The model's `head_dim` and the number of training speakers; metric losses need neither.
    **options
        Arguments of the loss; the rest keep their defaults.

    Raises
    ------
    UsageError
        An unknown name or option.

    Examples
    --------
    >>> loss = build_loss("aam-softmax", n_dims=4, n_classes=100, margin=0.3)
    >>> loss.margin, tuple(loss.weight.shape)
    (0.3, (100, 4))
    """
    sizes = {"n_dims": n_dims, "n_classes": n_classes} if name in CLASSIFIERS else {}
    return create(LOSSES, "loss", name, {**options, **sizes})


def build_loss_from_config(config: Mapping[str, Any]) -> SpeakerLoss:
    """A loss with fresh weights, of the structure that ``loss.config()`` told.

    Examples
    --------
    >>> config = build_loss("softmax", n_dims=4, n_classes=3).config()
    >>> build_loss_from_config(config).n_classes
    3
    """
    name, options = split_config(config, "loss")
    return create(LOSSES, "loss", name, options)
