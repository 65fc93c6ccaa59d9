"""From files of vectors and speakers to a back-end, whatever fits in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from ivector.base.budget import memory_limit, require_memory
from ivector.base.errors import DataError, UsageError
from ivector.base.parallel.workers import one_thread
from plda.formats.sources import VectorFile
from plda.linalg import ClassStatistics
from plda.models.plda import PLDA
from plda.training.chain import make_chain
from plda.training.choice import Candidate, choose
from plda.training.labels import SpeakerLabels
from plda.training.statistics import Labelled, Sums, fit_chain
from plda.transforms.discriminant import LDA

logger = logging.getLogger("plda.train")

# Vectors by which LDA size and smoothing are chosen, and the most of one speaker.
SAMPLE = 50_000
SAMPLE_OF_SPEAKER = 10
# Bytes of vectors that are kept, so that a file is read once; others are read again each pass.
HELD = 1 << 28


class Trained(NamedTuple):
    """A back-end and how it came about.

    Parameters
    ----------
    backend : Pipeline
    candidates : list of Candidate
        What was tried, the best first; empty where nothing was to be chosen.
    n_vectors, n_speakers : int
        Of training.
    """

    backend: Pipeline
    candidates: list[Candidate]
    n_vectors: int
    n_speakers: int


class TrainingVectors:
    """Vectors of a file with their speakers; the first pass looks for what is wrong with them.

    Parameters
    ----------
    vectors : path-like
        One of `plda.formats.sources.FORMATS`.
    utt2spk : path-like
        ``utterance speaker`` a line.
    skip_missing : bool
        Leave out vectors without a speaker, and utterances without a vector.
    """

    def __init__(
        self, vectors: str | os.PathLike, utt2spk: str | os.PathLike, skip_missing: bool = False
    ):
        self.file = VectorFile(vectors)
        self.labels = SpeakerLabels(utt2spk)
        self.skip_missing = skip_missing
        self.n_classes = len(self.labels.speakers)
        self._held: list[Labelled] | None = None

    def blocks(self) -> Iterator[Labelled]:
        """Yield vectors (n, D) and the numbers of their speakers (n,)."""
        if self._held is not None:
            yield from self._held
            return
        for ids, X in self.file.blocks():
            rows = self.labels.rows(ids)
            if (rows >= 0).any():
                yield _some(X, rows >= 0), self.labels.index[rows[rows >= 0]]

    def first_pass(
        self, n_sampled: int, seed: int
    ) -> tuple[ClassStatistics, tuple[np.ndarray, np.ndarray]]:
        """Statistics of all, and vectors and speakers of a sample of `n_sampled` at most.

        Raises
        ------
        DataError
            An id twice, a vector without a speaker or an utterance without a vector (unless they
            are left out), one speaker alone, or no speaker of two vectors.
        """
        is_sampled = _sampled(self.labels, n_sampled, seed)
        is_seen = np.zeros(len(self.labels), bool)
        sums, without = Sums(self.n_classes), _Count()
        sample: list[Labelled] = []
        held: list[Labelled] | None = []
        n_held, most_held = 0, min(HELD, (memory_limit() << 20) // 4 or HELD)
        for ids, X in self.file.blocks():
            rows = self.labels.rows(ids)
            without.add([key for key, row in zip(ids, rows) if row < 0] if rows.min() < 0 else [])
            X, rows = _some(X, rows >= 0), rows[rows >= 0]
            self._refuse_twice(rows, is_seen)
            if not sums.counts.any():
                self._require_memory(X.shape[1], n_sampled)
            index = self.labels.index[rows]
            sums.add(X, index)
            sample.append((X[is_sampled[rows]], index[is_sampled[rows]]))
            n_held += X.nbytes
            if held is not None and len(X):
                held.append((X, index))
                held = held if n_held <= most_held else None
        self._check_all(without, is_seen)
        self._held = held
        self._check_counts(sums.counts)
        return sums.statistics(), _joined(sample)

    def _require_memory(self, n_dims: int, n_sampled: int) -> None:
        """Refuse what does not fit: speakers' means in EM, the sample, labels; and the program."""
        if not memory_limit():
            return
        n_bytes = 8 * n_dims * (7 * self.n_classes + 12 * n_dims + 4 * n_sampled)
        require_memory(
            n_bytes + 32 * len(self.labels) + (200 << 20),
            memory_limit(),
            f"training on {self.n_classes} speakers in {n_dims} dimensions",
            "leave speakers out",
        )

    def _refuse_twice(self, rows: np.ndarray, is_seen: np.ndarray) -> None:
        again = rows[is_seen[rows]]
        is_seen[rows] = True
        if not len(again):
            values, counts = np.unique(rows, return_counts=True)
            again = values[counts > 1]
        if len(again):
            name = self.labels.utterance(again[0])
            raise DataError(f"{self.file.path}: id {name} occurs twice; ids must be unique")

    def _check_all(self, without: _Count, is_seen: np.ndarray) -> None:
        cure = "correct them, or leave those out with `skip_missing`"
        vectors, labels = self.file.path, self.labels.path
        told = []
        if without.n:
            told.append(
                f"{labels}: has no speaker for {without.n} of {without.n + is_seen.sum()} vectors "
                f"of {vectors} (first {without.first})"
            )
        if n_unseen := int(len(is_seen) - is_seen.sum()):
            unseen = np.flatnonzero(~is_seen)
            first = self.labels.utterance(unseen[self.labels.place[unseen].argmin()])
            told.append(
                f"{vectors}: lacks {n_unseen} of {len(is_seen)} utterances of {labels} (first "
                f"{first})"
            )
        if told and not self.skip_missing:
            raise DataError(f"{told[0]}; {cure}")
        for line in told:
            logger.warning("%s; left out", line)
        if not is_seen.any():
            raise DataError(f"{vectors}: has no vector of an utterance of {labels}")

    def _check_counts(self, counts: np.ndarray) -> None:
        n_speakers = int(np.count_nonzero(counts))
        if n_speakers < 2:
            raise DataError(f"{self.labels.path}: has one speaker; give vectors of several")
        if counts.max() < 2:
            raise DataError(
                f"{self.labels.path}: each of {n_speakers} speakers has one vector, which says "
                "nothing of how vectors of one speaker differ; give several of some"
            )


class _Count:
    """How many there were, and the first."""

    def __init__(self) -> None:
        self.n, self.first = 0, ""

    def add(self, keys: list[str]) -> None:
        self.first = self.first or next(iter(keys), "")
        self.n += len(keys)


def _some(X: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return X if mask.all() else X[mask]


def _sampled(labels: SpeakerLabels, n_sampled: int, seed: int) -> np.ndarray:
    """Which utterances are in the sample: some of each speaker, of as many speakers as fit."""
    rng = np.random.default_rng(seed)
    if n_sampled >= len(labels):
        return np.ones(len(labels), bool)
    index = np.empty_like(labels.index)  # in the order of the file
    index[labels.place] = labels.index
    # Utterances in random order, numbered within their speaker; speakers in random order.
    order = rng.permutation(len(index))
    order = order[np.argsort(index[order], kind="stable")]
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    number = np.arange(len(index)) - np.repeat(starts, np.diff(np.append(starts, len(index))))
    kept = order[number < SAMPLE_OF_SPEAKER]
    place = rng.permutation(int(index.max()) + 1)[index[kept]]
    kept = kept[np.argsort(place, kind="stable")][:n_sampled]
    mask = np.zeros(len(index), bool)
    mask[kept] = True
    return mask[labels.place]


def _joined(blocks: list[Labelled]) -> Labelled:
    X = np.concatenate([X for X, _ in blocks])
    speakers = np.concatenate([index for _, index in blocks])
    return X, np.unique(speakers, return_inverse=True)[1] if len(speakers) else speakers


@one_thread()
def train_backend(
    vectors: str | os.PathLike,
    utt2spk: str | os.PathLike,
    chain: str = "kaldi",
    lda: int | None = None,
    smoothing: float | None = None,
    skip_missing: bool = False,
    seed: int = 0,
) -> Trained:
    """Train a back-end on vectors of any origin.

    Parameters
    ----------
    vectors : path-like
        One of `plda.formats.sources.FORMATS`; read once, and again for each length norm where it
        does not fit into memory.
    utt2spk : path-like
        ``utterance speaker`` a line.
    chain : str
        As for `make_chain`.
    lda, smoothing : int, float, optional
        Dimensions behind LDA, and the share of B that is added to W. By default they are chosen by
        verification of training speakers held out; of more than 50 000 vectors, by so many.
    skip_missing : bool
        Leave out vectors without a speaker, and utterances without a vector.
    seed : int
        Of the sample and the folds.

    Returns
    -------
    Trained

    Raises
    ------
    DataError
        What is wrong with the files.
    UsageError
        An unknown chain, options that do not fit, or too little memory.

    Examples
    --------
    >>> from plda import write_ids_vectors
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"spk{n // 5}-{n % 5}" for n in range(100)]
    >>> X = 3 * rng.normal(size=(20, 4)).repeat(5, axis=0) + rng.normal(size=(100, 4))
    >>> write_ids_vectors("x.ark", ids, X)
    >>> with open("utt2spk", "w") as file:
    ...     file.writelines(f"{key} {key[:-2]}\\n" for key in ids)
    >>> trained = train_backend("x.ark", "utt2spk", lda=3)
    >>> trained.n_speakers, trained.backend[1].n_components
    (20, 3)
    """
    steps = make_chain(chain)
    has_lda = any(isinstance(step, LDA) for step in steps)
    is_plda = isinstance(steps[-1], PLDA)
    is_chosen = (has_lda and lda is None) or (is_plda and smoothing is None)
    if lda is not None and not has_lda:
        raise UsageError(f"`lda` is of no use in the chain {chain!r}, which has none")
    if smoothing is not None and not is_plda:
        raise UsageError(f"`smoothing` is of no use in the chain {chain!r}, which has no PLDA")
    source = TrainingVectors(vectors, utt2spk, skip_missing)
    stats, (X, index) = source.first_pass(SAMPLE if is_chosen else 0, seed)
    candidates = choose(steps, X, index, lda, smoothing, seed) if is_chosen else []
    del X, index
    if candidates:
        lda, smoothing, _ = candidates[0]
    for step in steps:
        if isinstance(step, LDA):
            step.set_params(n_components=lda)
        elif isinstance(step, PLDA):
            step.set_params(smoothing=smoothing)
    backend = fit_chain(
        steps, source, stats, lambda n: logger.info("another pass, behind step %d", n)
    )
    return Trained(backend, candidates, stats.n_vectors, len(stats.counts))
