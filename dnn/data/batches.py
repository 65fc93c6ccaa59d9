"""Batches of crops to train on, each a pure function of the seed and the step.

Nothing is remembered between batches: step 1000 is the same whether 999 steps went before it, a
run was resumed there, or another process asked for it. So any number of loader processes, and any
number of machines that each read some of the rows, see one and the same training.

B  batch size; M speakers of K utterances each, if balanced
T  frames of a crop, one number for a whole batch
D  features
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from dnn.data.sources import Source
from ivector.base.errors import DataError, UsageError

logger = logging.getLogger("batches")

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class CropBatches:
    """Random crops of a source's utterances.

    Without `utterances_per_speaker` an epoch is a shuffle of the utterances, of which those that
    do not fill a last batch are left out. With it, an epoch is a sequence of shuffles of the
    speakers; a batch has K utterances of each of M different speakers, so that all speakers are
    seen equally often, and a speaker's utterances are taken in turn.

    Parameters
    ----------
    source : Source
    labels : array-like of int (n_utterances,)
        Speaker numbers from 0, as `dnn.data.sources.make_labels` gives them.
    n_frames : int or (int, int)
        Length of the crops, or least and largest; then drawn for each batch. A shorter utterance
        is repeated from its beginning until it fills the crop.
    batch_size : int
        B.
    utterances_per_speaker : int, optional
        K; divides `batch_size`. A speaker of fewer utterances has some repeated, with other crops.
    augment : callable, optional
        Features (n_frames, n_features) and a generator to features of that shape; sources of
        audio have one of their own for the sound.
    seed : int

    Raises
    ------
    DataError
        Labels that do not fit the source, an utterance without frames, or fewer speakers than a
        batch needs.
    UsageError
        Sizes that make no sense.

    Notes
    -----
    Epoch e is shuffled by ``np.random.default_rng([seed, e])``; its batch p draws lengths and
    beginnings from the ``SeedSequence([seed, e], spawn_key=(p,))``, and the augmentation of row i
    from that of key ``(p, i)``, independently of all other rows.
    """

    def __init__(
        self,
        source: Source,
        labels: Sequence[int] | np.ndarray,
        *,
        n_frames: int | tuple[int, int],
        batch_size: int,
        utterances_per_speaker: int | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ):
        self.source = source
        self.labels = np.asarray(labels, np.int64).reshape(-1)
        self.n_frames = n_frames
        self.batch_size = batch_size
        self.utterances_per_speaker = utterances_per_speaker
        self.augment = augment
        self.seed = seed
        low, high = self._range()
        if not 1 <= low <= high:
            raise UsageError(f"n_frames={n_frames}: crops have at least 1 frame, least first")
        if batch_size < 1 or seed < 0:
            raise UsageError(f"batch_size={batch_size}, seed={seed}: at least 1 and 0 are needed")
        self._check_labels()
        if utterances_per_speaker is not None:
            self._check_speakers(utterances_per_speaker)
        self._epoch: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Steps in an epoch."""
        return max(1, len(self.source) // self.batch_size)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_epoch": None}

    def get(self, step: int, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Make one batch.

        Parameters
        ----------
        step : int
            From 0, and beyond the first epoch.
        rows : slice
            Of the batch, for one of several machines; the others are not read.

        Returns
        -------
        features : ndarray (B, T, n_features), float32
        labels : ndarray (B,), int64

        Raises
        ------
        DataError
            Files that cannot be read, or numbers that are not finite; names the utterance.
        """
        chosen = self.utterances(step)
        n_frames, starts = self._draw(step, len(chosen))
        wanted = range(len(chosen))[rows]
        features = np.empty((len(wanted), n_frames, self.source.n_features), np.float32)
        for out, row in zip(features, wanted):
            self._fill(out, int(chosen[row]), starts[row], step, row)
        self._check_finite(features, chosen[rows])
        return features, self.labels[chosen[rows]]

    def utterances(self, step: int) -> np.ndarray:
        """Indices of the utterances in a batch, (B,) int64."""
        if step < 0:
            raise UsageError(f"steps count from 0, got {step}")
        epoch, position = divmod(step, len(self))
        if self._epoch is None or self._epoch[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            order = self._shuffle(rng) if self.utterances_per_speaker is None else self._deal(rng)
            self._epoch = (epoch, order)
        first = position * self.batch_size
        return self._epoch[1][first : first + self.batch_size]

    def crop_length(self, step: int) -> int:
        """Frames of the crops in a batch."""
        return self._draw(step, 0)[0]

    def _draw(self, step: int, n_rows: int) -> tuple[int, np.ndarray]:
        """Length of the crops, and where each begins in what its utterance leaves, 0 … 1."""
        low, high = self._range()
        rng = self._generator(step)
        n_frames = int(rng.integers(low, high + 1))
        return n_frames, rng.random(n_rows)

    def _generator(self, step: int, *row: int) -> np.random.Generator:
        """That of a batch, or of one of its rows."""
        epoch, position = divmod(step, len(self))
        sequence = np.random.SeedSequence([self.seed, epoch], spawn_key=(position, *row))
        return np.random.Generator(np.random.PCG64(sequence))

    def _range(self) -> tuple[int, int]:
        low, high = self.n_frames if isinstance(self.n_frames, Sequence) else (self.n_frames,) * 2
        return int(low), int(high)

    def _shuffle(self, rng: np.random.Generator) -> np.ndarray:
        """Order of an epoch; a source smaller than a batch is shuffled several times."""
        n_wanted, n_utterances = len(self) * self.batch_size, len(self.source)
        rounds = -(-n_wanted // n_utterances)
        return np.concatenate([rng.permutation(n_utterances) for _ in range(rounds)])[:n_wanted]

    def _deal(self, rng: np.random.Generator) -> np.ndarray:
        """Order of an epoch of M × K batches.

        Batches never cross from one shuffle of the speakers into the next, so that a speaker
        stands in a batch once; the few at the end of a shuffle are left out, others each time.
        """
        per_speaker = int(self.utterances_per_speaker or 1)
        n_speakers = self.batch_size // per_speaker
        order = np.lexsort((rng.random(len(self.labels)), self.labels))
        names, count = np.unique(self.labels, return_counts=True)
        first = np.cumsum(count) - count
        batches_a_round = len(names) // n_speakers
        rounds = -(-len(self) // batches_a_round)
        dealt = np.zeros(len(names), np.int64)  # utterances taken so far
        epoch = []
        for _ in range(rounds):
            speakers = rng.permutation(len(names))[: batches_a_round * n_speakers]
            turns = dealt[speakers, None] + np.arange(per_speaker)
            epoch.append(order[first[speakers, None] + turns % count[speakers, None]].reshape(-1))
            dealt[speakers] += per_speaker
        return np.concatenate(epoch)[: len(self) * self.batch_size]

    def _fill(self, out: np.ndarray, index: int, where: float, step: int, row: int) -> None:
        """Write a crop of an utterance to `out` (T, D)."""
        n_frames, length = len(out), int(self.source.lengths[index])
        taken = min(n_frames, length)
        start = min(int(where * (length - taken + 1)), length - taken)
        # Making a generator takes longer than reading a crop: only where one is needed.
        rng = self._generator(step, row) if self.augment or self.source.draws else None
        features = self.source.crop(index, start, taken, rng)
        for begin in range(0, n_frames, taken):
            out[begin : begin + taken] = features[: n_frames - begin]
        if self.augment is not None and rng is not None:
            out[:] = self.augment(out, rng)

    def _check_finite(self, features: np.ndarray, chosen: np.ndarray) -> None:
        # NaN and infinity survive a sum, which takes no temporary array.
        sums = features.reshape(len(features), -1).sum(axis=1, dtype=np.float32)
        if not np.isfinite(sums).all():
            for row, index in zip(features, chosen):
                if not np.isfinite(row).all():
                    raise DataError(
                        f"{self.source.ids[int(index)]}: its features are NaN or infinite; "
                        "make them again or leave it out"
                    )

    def _check_labels(self) -> None:
        n_utterances = len(self.source)
        if len(self.labels) != n_utterances:
            raise DataError(f"{len(self.labels)} labels for {n_utterances} utterances")
        if not n_utterances:
            raise DataError("no utterances to train on")
        if self.labels.min() < 0:
            raise DataError(f"label {self.labels.min()}: labels count speakers from 0")
        empty = np.flatnonzero(self.source.lengths < 1)
        if len(empty):
            raise DataError(
                f"{self.source.ids[empty[0]]}: has no frames ({len(empty)} such utterances); "
                "leave it out"
            )

    def _check_speakers(self, per_speaker: int) -> None:
        if per_speaker < 1 or self.batch_size % per_speaker:
            raise UsageError(
                f"batch_size={self.batch_size} is no multiple of "
                f"utterances_per_speaker={per_speaker}"
            )
        names, count = np.unique(self.labels, return_counts=True)
        if len(names) < self.batch_size // per_speaker:
            raise DataError(
                f"a batch needs {self.batch_size // per_speaker} speakers, there are {len(names)}; "
                f"take a `batch_size` of {len(names) * per_speaker} or less"
            )
        few = np.flatnonzero(count < per_speaker)
        if len(few):
            example = self.source.ids[int(np.flatnonzero(self.labels == names[few[0]])[0])]
            logger.warning(
                "%d of %d speakers have fewer than %d utterances, for example that of %s: "
                "other crops of the same are taken", len(few), len(names), per_speaker, example,
            )  # fmt: skip


def length_buckets(
    lengths: Sequence[int] | np.ndarray, max_frames: int, max_waste: float = 0.1
) -> list[np.ndarray]:
    """Group utterances of like length, to be padded to a common one and embedded together.

    Parameters
    ----------
    lengths : array-like of int (n_utterances,)
        Frames.
    max_frames : int
        Most frames of a group, padding included; a longer utterance is a group of its own.
    max_waste : float
        Largest share of padding in the shortest utterance of a group.

    Returns
    -------
    list of ndarray of int
        Indices of the utterances of each group, longest groups first, so that memory suffices
        to the end if it does at the beginning. Every utterance is in one group.
    """
    lengths = np.asarray(lengths, np.int64).reshape(-1)
    if max_frames < 1 or not 0 <= max_waste < 1:
        raise UsageError(
            f"max_frames={max_frames}, max_waste={max_waste}: at least 1, and below 1, are needed"
        )
    order = np.argsort(-lengths, kind="stable")
    buckets, begin = [], 0
    while begin < len(order):
        longest = max(int(lengths[order[begin]]), 1)
        end = begin + max(1, max_frames // longest)
        group = order[begin:end]
        fitting = lengths[group] >= longest * (1 - max_waste)
        group = group[: max(1, int(fitting.sum()))]
        buckets.append(group)
        begin += len(group)
    return buckets
