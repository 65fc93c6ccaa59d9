"""Embeddings of recordings by a network in an ONNX file, in shards; bad recordings are told.

Each recording is embedded whole and alone, on one thread, so that no vector depends on the others,
nor on the number of processes.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnn.embedders.front_ends import FRONT_ENDS, RATE
from dnn.embedders.model import OnnxEmbedder
from ivector.base.errors import DataError
from ivector.base.log import progress
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import make_shards
from ivector.data import Part, Row
from ivector.features.audio import read_audio, refuse_zeros

logger = logging.getLogger("embeddings")

RECORDINGS_PER_SHARD = 16


class Embedded(NamedTuple):
    """Embeddings of recordings.

    Parameters
    ----------
    ids : list of str
        Of the recordings that have an embedding.
    vectors : ndarray (n_ids, D), float32
    skipped : dict of str to str
        Why others have none, by id.
    """

    ids: list[str]
    vectors: np.ndarray
    skipped: dict[str, str]


@dataclass(frozen=True)
class EmbedShard:
    """Embeds a shard of recordings.

    Parameters
    ----------
    model : Path
        ONNX file.
    front_end : str
        One of `FRONT_ENDS`.
    rate : int
        Hz, to which recordings are converted.
    channel : int or "mean", optional
        Of recordings with several, where ``segments`` names none.
    strict : bool
        Stop at the first bad recording.
    """

    model: Path
    front_end: str
    rate: int = RATE
    channel: int | str | None = None
    strict: bool = False

    def __call__(self, recordings: Sequence[Row]) -> Embedded:
        """Embeddings of some recordings."""
        status = self.model.stat()
        embedder = _embedder(self.model, self.front_end, (status.st_mtime_ns, status.st_size))
        vectors, skipped = {}, {}
        for part in (Part(*row) for row in recordings):
            try:
                vectors[part.utterance] = self._one(embedder, part)
            except DataError as error:
                if self.strict:
                    raise DataError(f"{part.utterance}: {error}") from error
                skipped[part.utterance] = str(error)
        rows = np.stack([*vectors.values()]) if vectors else np.zeros((0, 0), np.float32)
        return Embedded(list(vectors), rows, skipped)

    def probe(self) -> None:
        """Try the network on noise, so that what is wrong with it is told at once."""
        OnnxEmbedder(self.model, FRONT_ENDS[self.front_end]).probe(self.rate)

    def _one(self, embedder: OnnxEmbedder, part: Part) -> np.ndarray:
        channel = self.channel if part.channel is None else part.channel
        samples, _ = read_audio(part.file, self.rate, channel, part.start, part.end)
        refuse_zeros(samples, part.file)
        heard = embedder.front_end.compute(samples, self.rate, embedder.n_bins)
        if not len(heard):
            raise DataError(f"{part.file}: shorter than one frame; leave it out")
        return embedder.embed(heard)


def embed_recordings(embed: EmbedShard, recordings: Sequence[Row], nj: int = 1) -> Embedded:
    """Embeddings of recordings; shows how far it is, and tells what is skipped.

    Raises
    ------
    DataError
        The network cannot be used, no recording can be embedded, or (strict) one cannot.
    """
    embed.probe()
    shards = make_shards(recordings, RECORDINGS_PER_SHARD)
    return joined(progress(map_shards(embed, shards, nj=nj), len(shards), "embeddings", "shard"))


def joined(parts: Iterable[Embedded]) -> Embedded:
    """Embeddings of several shards; what was skipped is told.

    Raises
    ------
    DataError
        There are none.
    """
    found = list(parts)
    ids = [key for part in found for key in part.ids]
    skipped = {key: why for part in found for key, why in part.skipped.items()}
    example = "".join(f", for example {key}: {why}" for key, why in [*skipped.items()][:1])
    if not ids:
        raise DataError(f"no recording could be embedded{example}")
    if skipped:
        logger.warning("%d recordings skipped%s", len(skipped), example)
    return Embedded(ids, np.concatenate([part.vectors for part in found if part.ids]), skipped)


@functools.lru_cache(maxsize=1)
def _embedder(model: Path, front_end: str, _: tuple[int, int]) -> OnnxEmbedder:
    """The network that a worker keeps for as long as its file is in this state."""
    return OnnxEmbedder(model, FRONT_ENDS[front_end])
