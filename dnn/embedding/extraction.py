"""Embeddings of utterances of any length, many at a time.

Utterances of similar length are padded to one batch, whose padding the networks ignore, so that the
result is that of one after the other. Long recordings may be cut into chunks of equal length, whose
embeddings are averaged with their numbers of frames as weights (as Kaldi's
``nnet3-xvector-compute`` does with ``--chunk-size``), which bounds the memory.

Dimension legend: N utterances, D embedding dimensions.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from dnn.extra import told_extra
from ivector.base.errors import DataError, NotFiniteError, UsageError
from ivector.base.log import progress

if TYPE_CHECKING:
    import torch

    from dnn.models.base import SpeakerNetwork

logger = logging.getLogger("extraction")

MAX_FRAMES = 40_000  # of a batch, padding included


class Source(Protocol):
    """What embeddings are made from, such as those of `dnn.data.sources`."""

    ids: list[str]
    lengths: np.ndarray
    n_features: int

    def read(self, index: int, start: int = 0, n_frames: int | None = None) -> np.ndarray:
        """Frames (n_frames, n_features) float32 of an utterance."""
        ...


class Piece(NamedTuple):
    """Frames of an utterance that are embedded at once."""

    row: int
    utterance: int
    start: int
    n_frames: int


@told_extra()
def extract(
    model: SpeakerNetwork,
    source: Source,
    indices: Sequence[int] | np.ndarray | None = None,
    *,
    chunk: int = 0,
    max_frames: int = MAX_FRAMES,
    device: str | torch.device = "cpu",
    n_threads: int = 0,
    show: bool = False,
) -> np.ndarray:
    """Embeddings of utterances.

    Parameters
    ----------
    model : SpeakerNetwork
        Stays as it is; a copy in evaluation mode with folded norms extracts.
    source : Source
    indices : sequence of int, optional
        Utterances of the source; all by default.
    chunk : int
        Longest piece in frames that is embedded at once; 0 takes every utterance whole. The
        average over chunks is not the embedding of the whole.
    max_frames : int
        Frames of a batch with its padding; a longer utterance is a batch of its own.
    device : str or torch.device
    n_threads : int
        Threads on the CPU; 0 leaves torch's setting.
    show : bool
        Log the progress.

    Returns
    -------
    ndarray (n_utterances, embedding_dim), float32
        In the order of `indices`. Utterances shorter than the network needs are repeated.

    Raises
    ------
    DataError
        An utterance without frames, features of another dimension, or an embedding that is not
        finite; names the utterance.
    UsageError
        A chunk shorter than the network needs.
    """
    import torch

    from dnn.models.folding import fold
    from ivector.gpu.device import full_precision

    indices = np.arange(len(source.ids)) if indices is None else np.asarray(indices, np.int64)
    if source.n_features != model.n_features:
        raise DataError(
            f"the utterances have {source.n_features} features, the network takes "
            f"{model.n_features}; compute the features it was trained on"
        )
    pieces = _pieces(source, indices, chunk, model.min_frames)
    sums = np.zeros((len(indices), model.embedding_dim))
    network = fold(model).to(device)
    with torch.inference_mode(), torch_threads(n_threads), full_precision():
        for group, rows in _embedded(network, source, pieces, max_frames, device, show):
            for piece, row in zip(group, rows.astype(np.float64)):
                sums[piece.row] += piece.n_frames * row
    total = np.bincount([p.row for p in pieces], [p.n_frames for p in pieces], len(indices))
    vectors = (sums / total[:, None]).astype(np.float32)
    if not np.isfinite(vectors).all():
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        raise NotFiniteError(
            f"{len(bad)} embeddings are not finite, the first of {source.ids[indices[bad[0]]]}; "
            "look at its features, then at the network's training"
        )
    return vectors


def write_vectors(path: str | os.PathLike, ids: Sequence[str], vectors: np.ndarray) -> None:
    """Write vectors (N, D) with their ids: ``.npz``, or ``.ark`` or ``.scp`` for Kaldi's pair.

    Raises
    ------
    UsageError
        Another ending.
    DataError
        The file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npz":
        from ivector.base.files import save_model

        save_model(path, "vectors", {"ids": np.array(ids), "vectors": vectors}, {})
    elif path.suffix in (".ark", ".scp"):
        from ivector.formats.arks import ArkWriter

        with ArkWriter(path.with_suffix("")) as writer:
            for key, row in zip(ids, vectors):
                writer.write(key, row)
    else:
        raise UsageError(f"{path}: vectors are written as .npz, .ark or .scp; give such a name")


def _pieces(source: Source, indices: np.ndarray, chunk: int, min_frames: int) -> list[Piece]:
    """What to embed: whole utterances, or chunks of nearly equal length."""
    if chunk and chunk < min_frames:
        raise UsageError(
            f"chunks of {chunk} frames are shorter than the {min_frames} that the network needs"
        )
    pieces = []
    n_short = 0
    for row, index in enumerate(indices.tolist()):
        length = int(source.lengths[index])
        if length == 0:
            raise DataError(f"{source.ids[index]}: has no frames; leave it out")
        n_short += length < min_frames
        # Equal chunks, so that none is too short to tell a speaker.
        n_chunks = -(-length // chunk) if chunk else 1
        n_chunks = max(1, min(n_chunks, length // min_frames))
        edges = [length * i // n_chunks for i in range(n_chunks + 1)]
        pieces += [Piece(row, index, a, b - a) for a, b in pairwise(edges)]
    if n_short:
        logger.warning(
            "%d utterances are shorter than the %d frames the network needs; they are repeated",
            n_short, min_frames,
        )  # fmt: skip
    return pieces


def _embedded(
    network: SpeakerNetwork,
    source: Source,
    pieces: list[Piece],
    max_frames: int,
    device: str | torch.device,
    show: bool,
) -> Iterator[tuple[list[Piece], np.ndarray]]:
    """Batches of pieces with their embeddings; the next is read while one is computed."""
    import torch

    from dnn.data.batches import length_buckets

    lengths = np.array([max(p.n_frames, network.min_frames) for p in pieces], np.int64)
    groups = [[pieces[i] for i in bucket] for bucket in length_buckets(lengths, max_frames)]
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(_read, source, groups[0], network.min_frames) if groups else None
        shown = progress(groups, desc="embeddings", unit="batch") if show else groups
        for number, group in enumerate(shown):
            assert waiting is not None
            features, valid = waiting.result()
            if number + 1 < len(groups):
                waiting = reader.submit(_read, source, groups[number + 1], network.min_frames)
            batch = torch.from_numpy(features).to(device, non_blocking=True)
            yield group, network(batch, torch.from_numpy(valid)).float().cpu().numpy()


def _read(source: Source, group: list[Piece], min_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Padded features (B, T, n_features) and lengths (B,) of pieces."""
    frames = [source.read(p.utterance, p.start, p.n_frames) for p in group]
    frames = [f if len(f) >= min_frames else _repeated(f, min_frames) for f in frames]
    valid = np.array([len(f) for f in frames], np.int64)
    features = np.zeros((len(frames), int(valid.max()), source.n_features), np.float32)
    for row, f in zip(features, frames):
        row[: len(f)] = f
    return features, valid


def _repeated(frames: np.ndarray, n_frames: int) -> np.ndarray:
    return np.take(frames, np.arange(n_frames), axis=0, mode="wrap")


@contextlib.contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Torch on so many threads within a block."""
    import torch

    before = torch.get_num_threads()
    if n_threads:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
