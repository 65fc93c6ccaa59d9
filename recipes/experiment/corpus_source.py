"""Features of a corpus as a source of training crops: as models see them, voiced frames only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnn.data.sources import Source
from recipes.experiment.frames import BYTES_PER_NUMBER, Corpus, voiced_counts

MIB = 2**20


class CorpusSource(Source):
    """Utterances of a corpus.

    Parameters
    ----------
    corpus : Corpus
    utterances : sequence of str
        That have features.
    memory_mb : int
        Utterances are kept in memory once read if all of them fit into half of it; else each crop
        reads its utterance anew.
    """

    def __init__(self, corpus: Corpus, utterances: Sequence[str], memory_mb: int):
        self.corpus, self.ids = corpus, list(utterances)
        counts = voiced_counts(corpus.folder)
        self.lengths = np.array([counts[utt] for utt in self.ids], np.int64)
        self.n_features = corpus.frames(self.ids[0]).shape[1]
        n_bytes = int(self.lengths.sum()) * self.n_features * BYTES_PER_NUMBER
        self._kept: dict[int, np.ndarray] | None = {} if n_bytes <= memory_mb * MIB // 2 else None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_kept": None if self._kept is None else {}}

    def _read(self, index: int, start: int, stop: int) -> np.ndarray:
        frames = None if self._kept is None else self._kept.get(index)
        if frames is None:
            frames = self.corpus.frames(self.ids[index])
            if self._kept is not None:
                self._kept[index] = frames
        return np.array(frames[start:stop], np.float32, order="C")
