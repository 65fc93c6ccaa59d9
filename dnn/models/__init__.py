"""Speaker networks by name: ``build("ecapa", n_features=80)``.

Every model maps features (batch, n_frames, n_features) float32, and the number of valid frames of
each (batch,) where the batch is padded, to embeddings (batch, embedding_dim).

base              The interface that all networks have, and the checks of their input.
layers            Layouts, masks and small layers that several of them share.
pooling           From frames to one vector; the table of all poolings.
xvector           X-vectors: a time-delay network.
ecapa             ECAPA-TDNN.
resnet            ResNetSE34L.
vgg               VGG-M on spectrograms.
deep_speaker      Deep Speaker's residual network.
deep_speaker_gru  Deep Speaker's recurrent network.
conformer         Conformer encoder.
attention         Its self-attention with relative positions.
widths            Any of them wider or narrower, by one factor.
folding           Batch norms folded into the layers beside them, for extraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnn.registry import Entry, create, split_config

if TYPE_CHECKING:
    from dnn.models.base import SpeakerNetwork

MODELS = {
    "xvector": Entry("dnn.models.xvector", "XVector"),
    "xvector-small": Entry(
        "dnn.models.xvector",
        "XVector",
        {"channels": (256, 256, 256, 256, 512), "embedding_dim": 128, "segment7_dim": 0},
    ),
    "ecapa": Entry("dnn.models.ecapa", "EcapaTdnn"),
    "resnetse34l": Entry("dnn.models.resnet", "ResNetSE34L"),
    "vgg-m": Entry("dnn.models.vgg", "VggM"),
    "deep-speaker-rescnn": Entry("dnn.models.deep_speaker", "DeepSpeakerResCnn"),
    "deep-speaker-gru": Entry("dnn.models.deep_speaker_gru", "DeepSpeakerGru"),
    "conformer": Entry("dnn.models.conformer", "Conformer"),
}


def build(name: str, **options: Any) -> SpeakerNetwork:
    """A model with fresh weights (from torch's global generator: seed it first).

    Parameters
    ----------
    name : str
        One of `MODELS`.
    **options
        Arguments of the model's class; the rest keep their defaults.

    Returns
    -------
    SpeakerNetwork

    Raises
    ------
    UsageError
        An unknown name or option, or options that make no network.

    Examples
    --------
    >>> import torch
    >>> network = build("xvector", n_features=20, channels=(8, 8, 8, 8, 16), embedding_dim=4)
    >>> features = torch.randn(2, 50, 20)  # two utterances of 50 frames
    >>> tuple(network(features).shape)
    (2, 4)
    """
    return create(MODELS, "model", name, options)


def build_from_config(config: Mapping[str, Any]) -> SpeakerNetwork:
    """A model with fresh weights, of the structure that ``model.config()`` told.

    Examples
    --------
    >>> config = build("ecapa", n_features=20, channels=16, embedding_dim=4).config()
    >>> config["name"], config["options"]["embedding_dim"]
    ('ecapa', 4)
    >>> build_from_config(config).embedding_dim
    4
    """
    name, options = split_config(config, "model")
    return build(name, **options)
