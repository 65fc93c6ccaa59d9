"""Batches of speakers that a network takes for each other, for triplets with hard negatives.

C. Li et al., "Deep Speaker", 2017, section 3.2, choose the negatives of a batch among those of all
GPUs, so that there are hard ones. Here the hard ones are brought into the batch: every N steps all
speakers are embedded by the network as it is then, and batches hold, beside each speaker that is
drawn, the most similar one to it that is not there yet.

Batches stay functions of the seed and the step: the speakers most like each other are written to
the training's folder at step kN, and used from step (k + 1)N on, before which no reader asks.

S speakers; M speakers of K utterances in a batch; N steps between refreshes
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dnn.data.batches import Augment, CropBatches
from dnn.data.sources import Source, Subset
from ivector.base.errors import DataError
from ivector.base.files import atomic_write

UTTERANCES = 4  # of a speaker, whose embeddings are averaged
NEAREST = 64  # most similar speakers that are kept of each

Embed = Callable[[Any, Source], np.ndarray]


class HardBatches(CropBatches):
    """`CropBatches` whose speakers are like each other, as the network has it every N steps.

    Parameters
    ----------
    source, labels, n_frames, batch_size, utterances_per_speaker, augment, seed
        As of `CropBatches`; a batch has K utterances of each of M speakers.
    every : int
        N. Batches before step N are dealt at random.
    folder : path-like
        Of the training; ``hard/STEP.npy`` is kept in it.
    embed : callable
        Network and source to embeddings (n_utterances, n_dims).

    Raises
    ------
    DataError
        From `get`, a refresh that is missing or damaged.
    """

    def __init__(
        self,
        source: Source,
        labels: np.ndarray,
        *,
        n_frames: int | tuple[int, int],
        batch_size: int,
        utterances_per_speaker: int,
        every: int,
        folder: str | os.PathLike,
        embed: Embed,
        augment: Augment | None = None,
        seed: int = 0,
    ):
        super().__init__(
            source, labels, n_frames=n_frames, batch_size=batch_size,
            utterances_per_speaker=utterances_per_speaker, augment=augment, seed=seed,
        )  # fmt: skip
        self.every, self.folder, self.embed = every, Path(folder) / "hard", embed
        _, count = np.unique(self.labels, return_counts=True)
        self._of_speaker = np.split(np.argsort(self.labels, kind="stable"), np.cumsum(count)[:-1])
        self._nearest: tuple[int, np.ndarray] | None = None

    def refresh(self, step: int, model: Any) -> None:
        """Embed all speakers, if it is time to, and write who is most like whom."""
        if step % self.every:
            return
        rng = np.random.default_rng([self.seed, step, 1])
        chosen = [rng.permutation(mine)[:UTTERANCES] for mine in self._of_speaker]
        vectors = self.embed(model, Subset(self.source, np.concatenate(chosen)))
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        first = np.cumsum([0, *map(len, chosen[:-1])])
        means = np.add.reduceat(vectors, first)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        similarity = means @ means.T
        np.fill_diagonal(similarity, -np.inf)
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(NEAREST, len(means) - 1)]
        with atomic_write(self._file(step)) as file:
            np.save(file, nearest.astype(np.int32))

    def utterances(self, step: int) -> np.ndarray:
        """As `CropBatches.utterances`."""
        if step < self.every:
            return super().utterances(step)
        nearest = self._read((step // self.every - 1) * self.every)
        rng = np.random.default_rng([self.seed, step, 2])
        per_speaker = int(self.utterances_per_speaker or 1)
        n_speakers = self.batch_size // per_speaker
        speakers: list[int] = []
        for drawn in rng.permutation(len(self._of_speaker)):
            if len(speakers) >= n_speakers:
                break
            if drawn in speakers:
                continue
            speakers.append(int(drawn))
            rival = next((int(s) for s in nearest[drawn] if s not in speakers), None)
            if rival is not None:
                speakers.append(rival)
        # A speaker of few utterances has some repeated.
        rows = [
            np.resize(rng.permutation(self._of_speaker[s]), per_speaker)
            for s in speakers[:n_speakers]
        ]
        return np.concatenate(rows)

    def _file(self, step: int) -> Path:
        return self.folder / f"{step}.npy"

    def _read(self, step: int) -> np.ndarray:
        if self._nearest is None or self._nearest[0] != step:
            path = self._file(step)
            try:
                table = np.load(path, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{path}: missing or damaged; go on with the former `hard_every`, or train in "
                    "another folder"
                ) from error
            n_speakers = len(self._of_speaker)
            if table.ndim != 2 or len(table) != n_speakers or not (table < n_speakers).all():
                raise DataError(f"{path}: is of other speakers; train in another folder")
            self._nearest = (step, table)
        return self._nearest[1]
