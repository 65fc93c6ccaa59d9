"""X-vectors: a time-delay network with statistics pooling.

D. Snyder, D. Garcia-Romero, G. Sell, D. Povey, S. Khudanpur, "X-vectors: robust DNN embeddings for
speaker recognition", ICASSP 2018, table 1, as in Kaldi's ``egs/voxceleb/v2`` and ``egs/sre16/v2``.

| layer     | frames                | in → out    | parameters (24 features)     |
|-----------|-----------------------|-------------|------------------------------|
| frame1    | t−2 … t+2             | 120 → 512   | 61,952                       |
| frame2    | t−2, t, t+2           | 1536 → 512  | 786,944                      |
| frame3    | t−3, t, t+3           | 1536 → 512  | 786,944                      |
| frame4    | t                     | 512 → 512   | 262,656                      |
| frame5    | t                     | 512 → 1500  | 769,500                      |
| pooling   | all: mean, deviation  | 1500 → 3000 |                              |
| segment6  | (the embedding)       | 3000 → 512  | 1,536,512; together 4.2 M    |
| segment7  | training only         | 512 → 512   | 262,656                      |

Each layer is affine, then ReLU, then batch normalisation without scale and offset, as in Kaldi; the
embedding is segment6 before its nonlinearity. No layer pads: T frames become T − 14.

``xvector-small`` (channels 256, 256, 256, 256, 512; embedding 128; no segment7, so that a margin
loss acts on the embedding itself) is for little training data and the CPU.

Dimension legend: B batch, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dnn.extra import told_extra
from dnn.models.base import SpeakerNetwork, check_positive
from dnn.models.folding import fold_into_affine, fold_into_statistics
from dnn.models.layers import Pointwise, as_frame_image, as_frames, frame_mask
from dnn.models.pooling import StatisticsPooling, build_pooling
from ivector.base.errors import UsageError

with told_extra():
    import torch.nn.functional as F
    from torch import Tensor, nn

CONTEXT = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))  # (kernel, dilation) of frame1 … frame5


class TdnnLayer(nn.Module):
    """Affine over spliced frames, ReLU, batch norm: (B, C, 1, T) to (B, C', 1, T − context)."""

    def __init__(self, n_in: int, n_out: int, kernel: int, dilation: int):
        super().__init__()
        self.affine = (
            Pointwise(n_in, n_out)
            if kernel == 1
            else nn.Conv2d(n_in, n_out, (1, kernel), dilation=(1, dilation))
        )
        self.norm: nn.Module = nn.BatchNorm2d(n_out, eps=1e-3, affine=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, 1, T) to (B, C', 1, T − (kernel − 1) dilation)."""
        return self.norm(F.relu(self.affine(image), inplace=True))


class XVector(SpeakerNetwork):
    """Time-delay network of the x-vectors: (B, T, n_features) to (B, embedding_dim).

    Parameters
    ----------
    n_features : int
        Dimension of the frames; Kaldi takes 24 (SRE16: 23) MFCC for 16 kHz (8 kHz).
    channels : sequence of 5 int
        Outputs of frame1 … frame5.
    embedding_dim : int
        Output of segment6.
    segment7_dim : int
        Output of segment7, which stands between embedding and loss; 0 leaves it out.
    pooling : str, optional
        One of `dnn.models.pooling.POOLINGS` in place of means and deviations.
    """

    name = "xvector"

    def __init__(
        self,
        n_features: int = 24,
        channels: Sequence[int] = (512, 512, 512, 512, 1500),
        embedding_dim: int = 512,
        segment7_dim: int = 512,
        pooling: str | None = None,
    ):
        super().__init__()
        if len(channels) != len(CONTEXT):
            raise UsageError(f"xvector: channels are {len(CONTEXT)} numbers, not {len(channels)}")
        check_positive("xvector", n_features=n_features, embedding_dim=embedding_dim)
        check_positive("xvector", channels=min(channels))
        self.n_features, self.embedding_dim = n_features, embedding_dim
        self.channels, self.segment7_dim = tuple(channels), segment7_dim
        self.min_frames = 1 + sum((k - 1) * d for k, d in CONTEXT)
        sizes = (n_features, *channels)
        self.frame = nn.Sequential(
            *(TdnnLayer(sizes[i], sizes[i + 1], k, d) for i, (k, d) in enumerate(CONTEXT))
        )
        self.pooling = build_pooling(pooling, "statistics", channels[-1])
        self.segment6 = nn.Linear(self.pooling.output_dim, embedding_dim)
        self.segment7 = _segment7(embedding_dim, segment7_dim) if segment7_dim else nn.Identity()

    @property
    def head_dim(self) -> int:
        """Dimension of `head`'s output: segment7's, or the embedding's without it."""
        return self.segment7_dim or self.embedding_dim

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Output of segment6's affine layer."""
        frames = as_frames(self.frame(as_frame_image(features)))
        mask = None
        if lengths is not None:
            mask = frame_mask(lengths - (self.min_frames - 1), frames.shape[1])
        return self.segment6(self.pooling(frames, mask))

    def head(self, embedding: Tensor) -> Tensor:
        """Output of segment7, (batch, head_dim), the input of the output layer."""
        return self.segment7(embedding)

    def fold_norms(self) -> None:
        """Fold every batch norm of the frame layers into the affine layer behind it.

        No layer pads, so this is exact but for the variance floor of the pooling. The last norm
        stays where the pooling is none of means and deviations.
        """
        layers = [layer for layer in self.frame if isinstance(layer, TdnnLayer)]
        for layer, following in pairwise(layers):
            fold_into_affine(layer.norm, following.affine)
            layer.norm = nn.Identity()
        if type(self.pooling) is StatisticsPooling:
            fold_into_statistics(layers[-1].norm, self.segment6)
            layers[-1].norm = nn.Identity()


def _segment7(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.BatchNorm1d(n_in, eps=1e-3, affine=False),
        nn.Linear(n_in, n_out),
        nn.ReLU(),
        nn.BatchNorm1d(n_out, eps=1e-3, affine=False),
    )
