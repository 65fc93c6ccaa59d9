"""Deep Speaker's GRU: one convolution, three forward GRU layers, average over time, unit length.

C. Li et al., "Deep Speaker: an end-to-end neural speaker embedding system", arXiv:1705.02304, 2017,
table 2. See `dnn.models.deep_speaker` for the convolution and its batch norm.

| layer              | output, T × 64 in | parameters |
|--------------------|-------------------|------------|
| conv64-s 5×5, 2×2  | T/2 × 2048        | 6 K        |
| GRU 1024           | T/2 × 1024        | 9.4 M      |
| GRU 1024           | T/2 × 1024        | 6.3 M      |
| GRU 1024           | T/2 × 1024        | 6.3 M      |
| average            | 1024              |            |
| affine             | 512               | 500 K      |
| length norm        | 512               |            |
| total              |                   | 23 M       |

Dimension legend: B batch, T frames.
"""

from __future__ import annotations

from dnn.extra import told_extra
from dnn.models.base import check_positive
from dnn.models.deep_speaker import ConvClip, DeepSpeaker
from dnn.models.layers import convolved_lengths
from dnn.models.pooling import build_pooling

with told_extra():
    from torch import Tensor, nn


class DeepSpeakerGru(DeepSpeaker):
    """Convolution and forward GRU layers: (B, T, n_features) to unit vectors (B, embedding_dim).

    Parameters
    ----------
    n_features, embedding_dim, in_channels, normalise, pooling
        As in `DeepSpeakerResCnn`.
    channels : int
        Channels of the convolution.
    hidden_dim, n_layers : int
        Units and number of the GRU layers.
    """

    name = "deep-speaker-gru"

    def __init__(
        self,
        n_features: int = 64,
        channels: int = 64,
        hidden_dim: int = 1024,
        n_layers: int = 3,
        embedding_dim: int = 512,
        in_channels: int = 1,
        normalise: bool = True,
        pooling: str | None = None,
    ):
        super().__init__()
        self._set_options(n_features, in_channels, embedding_dim)
        check_positive(self.name, channels=channels, hidden_dim=hidden_dim, n_layers=n_layers)
        self.channels, self.hidden_dim, self.n_layers = channels, hidden_dim, n_layers
        self.normalise = normalise
        n_bins = (n_features // in_channels + 1) // 2
        self.conv = ConvClip(in_channels, channels, 5, 2, n_bins)
        self.gru = nn.GRU(channels * n_bins, hidden_dim, n_layers, batch_first=True)
        self.pooling = build_pooling(pooling, "average", hidden_dim)
        self.affine = nn.Linear(self.pooling.output_dim, embedding_dim)

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Output of the affine layer, of unit length."""
        image = self.conv(self._image(features, lengths), None)
        # The layers run forwards: what stands behind an utterance's end cannot reach its frames.
        frames, _ = self.gru(image.permute(0, 2, 3, 1).flatten(2))
        return self._finish(frames, convolved_lengths(lengths, 5, 2, 2))
