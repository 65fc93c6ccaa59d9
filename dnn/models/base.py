"""What every speaker network has in common: one interface and the checks of its input."""

from __future__ import annotations

from typing import Any, ClassVar

from dnn.extra import told_extra
from dnn.registry import config_of
from ivector.base.errors import DataError, UsageError

with told_extra():
    import torch
    from torch import Tensor, nn


class SpeakerNetwork(nn.Module):
    """Base of all models; a model defines `embed`, and keeps its options as attributes.

    Attributes
    ----------
    n_features : int
        Dimension of the input frames.
    embedding_dim : int
        Dimension of the embedding.
    head_dim : int
        Dimension of `head`'s output, which the training loss takes.
    min_frames : int
        Fewest frames that give an embedding.
    """

    name: ClassVar[str]
    n_features: int
    embedding_dim: int
    min_frames: int = 1

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embeddings of a batch of utterances.

        Parameters
        ----------
        features : Tensor (batch, n_frames, n_features) float
        lengths : Tensor (batch,) int, optional
            Valid frames of each utterance; the frames behind them are ignored. Default: all.

        Returns
        -------
        Tensor (batch, embedding_dim)

        Raises
        ------
        DataError
            Frames of another dimension, too few frames, or lengths that do not fit.
        """
        return self.embed(features, self._checked_lengths(features, lengths))

    def embed(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """`forward` on checked input."""
        raise NotImplementedError

    def head(self, embedding: Tensor) -> Tensor:
        """What the training loss takes: (batch, head_dim); for most models the embedding."""
        return embedding

    @property
    def head_dim(self) -> int:
        """Dimension of `head`'s output."""
        return self.embedding_dim

    def config(self) -> dict[str, Any]:
        """``{"name": ..., "options": {...}}`` in JSON's types, for `build_from_config`."""
        return config_of(self, self.name)

    def _checked_lengths(self, features: Tensor, lengths: Tensor | None) -> Tensor | None:
        if features.ndim != 3 or features.shape[2] != self.n_features:
            raise DataError(
                f"features have shape {tuple(features.shape)} where {self.name} takes (batch, "
                f"n_frames, {self.n_features}); compute the features it was built for, or build "
                "it with their `n_features`"
            )
        n_frames = features.shape[1]
        if lengths is None:
            self._check_frames(n_frames)
            return None
        lengths = torch.as_tensor(lengths)
        if lengths.shape != features.shape[:1]:
            raise DataError(
                f"lengths have shape {tuple(lengths.shape)} for a batch of {len(features)}; "
                "give one number of frames for each utterance"
            )
        shortest, longest = int(lengths.min()), int(lengths.max())
        if longest > n_frames:
            raise DataError(
                f"an utterance is said to have {longest} frames in a batch of {n_frames}; "
                "lengths count the frames before padding"
            )
        self._check_frames(shortest)
        return None if shortest == n_frames else lengths.to(features.device)

    def _check_frames(self, n_frames: int) -> None:
        if n_frames < self.min_frames:
            raise DataError(
                f"an utterance of {n_frames} frames is too short for {self.name}, which needs "
                f"{self.min_frames}; repeat its frames or leave it out"
            )


def check_positive(name: str, **values: int) -> None:
    """Raise UsageError unless every given size of the model `name` is a positive whole number."""
    for option, value in values.items():
        if value < 1 or value != int(value):
            raise UsageError(f"{name}: {option} is a whole number of at least 1, not {value}")
