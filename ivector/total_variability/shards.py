"""Total variability over shards: what runs in one process on one block of statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.statistics.batch import BaumWelchStatistics, same_centre
from ivector.total_variability import packed
from ivector.total_variability.e_step import (
    Accumulators,
    e_step,
    evidence_of,
    factor_and_solve,
    posterior_terms,
)
from ivector.total_variability.subspace import Derived

Loaded = BaumWelchStatistics | Iterable[BaumWelchStatistics]
Shard = BaumWelchStatistics | Callable[[], Loaded]
# What an extractor takes; an array holds supervectors.
Data = BaumWelchStatistics | Sequence[Shard] | np.ndarray

# A shard's accumulators cost as much as some hundred utterances, so shards should be longer.
_MIN_SHARD, _MAX_SHARDS = 1000, 16
NO_SECOND = (
    "re-estimating covariances needs second-order statistics: accumulate with `second_order`, or "
    "train without `update_covariance`"
)


def shards_of(X: Data) -> list[Shard]:
    """Shards that depend on the data alone; a batch's second-order sum goes with its first."""
    if not isinstance(X, BaumWelchStatistics):
        shards: list[Shard] = list(X)
        if not shards:
            raise DataError("no statistics: the list of shards is empty")
        return shards
    if not len(X):
        raise DataError("no utterances in the statistics")
    size = max(_MIN_SHARD, -(-len(X) // _MAX_SHARDS))
    parts = [X[i : i + size] for i in range(0, len(X), size)]
    parts[0].second = X.second
    if X.second is not None:
        for part in parts[1:]:
            part.second = np.zeros_like(X.second)
    return list(parts)


def blocks(shard: Shard, shape: tuple[int, ...]) -> Iterator[BaumWelchStatistics]:
    """Yield the statistics of a shard, checked to be of a model of (components, features) `shape`.

    A shard is one block, or a function that gives one or several; of several, only one is in
    memory at a time, and second-order sums of any of them add to that of the shard.
    """
    loaded = shard() if callable(shard) else shard
    parts = [loaded] if isinstance(loaded, BaumWelchStatistics) else loaded
    if isinstance(parts, np.ndarray) or not isinstance(parts, Iterable):
        raise UsageError(f"expected BaumWelchStatistics, got {type(parts).__name__}")
    for stats in parts:
        if not isinstance(stats, BaumWelchStatistics):
            raise UsageError(f"expected BaumWelchStatistics, got {type(stats).__name__}")
        if stats.first.shape[1:] != shape:
            raise DataError(
                f"statistics of (components, features) {stats.first.shape[1:]} do not fit a model "
                f"of {shape}; they come from another UBM"
            )
        yield stats


class Pool:
    """Sums over the utterances of a shard's blocks, about the centre that they share."""

    def __init__(self) -> None:
        self.stats: BaumWelchStatistics | None = None

    def add(self, stats: BaumWelchStatistics) -> None:
        """Add a block."""
        one = BaumWelchStatistics(
            stats.zeroth.sum(0, keepdims=True, dtype=np.float64),
            stats.first.sum(0, keepdims=True, dtype=np.float64),
            stats.second,
            stats.centre,
        )
        if self.stats is None:
            self.stats = one
            return
        both = (self.stats.about(one.centre), one)
        seconds = [part.second for part in both if part.second is not None]
        self.stats = BaumWelchStatistics(
            both[0].zeroth + one.zeroth,
            both[0].first + one.first,
            sum(seconds[1:], seconds[0]) if seconds else None,
            one.centre,
        )

    def second_about(self, means: np.ndarray) -> np.ndarray | None:
        """Second-order sum about `means`, (C, D, D), or None."""
        if self.stats is None or self.stats.second is None:
            return None
        return self.stats.about(means).second


def _pooled(parts: Iterable[BaumWelchStatistics], pool: Pool) -> Iterator[BaumWelchStatistics]:
    for stats in parts:
        pool.add(stats)
        yield stats


def merged(parts: Iterable[BaumWelchStatistics], most: int) -> Iterator[BaumWelchStatistics]:
    """Yield blocks joined to up to `most` utterances, where there are several.

    Each E-step of a batch goes through sums of the size of the model, so few are made. What is
    joined has no second-order sum.
    """
    waiting: list[BaumWelchStatistics] = []
    for stats in parts:
        together = sum(map(len, waiting)) + len(stats)
        if waiting and (together > most or not same_centre(stats.centre, waiting[0].centre)):
            yield _joined(waiting)
            waiting = []
        waiting.append(stats)
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[BaumWelchStatistics]) -> BaumWelchStatistics:
    if len(parts) == 1:
        return parts[0]
    zeroth, first = (np.concatenate([getattr(p, n) for p in parts]) for n in ("zeroth", "first"))
    return BaumWelchStatistics(zeroth, first, None, parts[0].centre)


def accumulate_shard(shard: Shard, derived: Derived, needs_second: bool) -> Accumulators:
    """E-step of one shard."""
    C, D = derived.means.shape
    total = Accumulators.zeros(C, D, derived.linear.shape[1])
    pool = Pool()
    for stats in merged(_pooled(blocks(shard, (C, D)), pool), derived.batch_size):
        e_step(derived, stats, total)
    total.second = pool.second_about(derived.means)
    if needs_second and total.second is None:
        raise UsageError(NO_SECOND)
    return total


def evidence_shard(shard: Shard, derived: Derived) -> tuple[float, np.ndarray, np.ndarray | None]:
    """Evidence, counts (C,) and scatter about the model's means (C, D, D) of one shard."""
    evidence, counts, pool = 0.0, np.zeros(len(derived.means)), Pool()
    for stats in blocks(shard, derived.means.shape):
        evidence += evidence_of(derived, stats)
        counts += stats.zeroth.sum(0, dtype=np.float64)
        pool.add(stats)
    return evidence, counts, pool.second_about(derived.means)


def extract_shard(
    shard: Shard, derived: Derived, return_cov: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """I-vectors (U, R) of one shard and, if asked for, their covariances (U, R, R)."""
    parts = [_extract(stats, derived, return_cov) for stats in blocks(shard, derived.means.shape)]
    if len(parts) == 1:
        return parts[0]
    covariances = [cov for _, cov in parts if cov is not None]
    rank = derived.linear.shape[1]
    ivectors = [np.empty((0, rank), np.float32), *(vectors for vectors, _ in parts)]
    return np.concatenate(ivectors), np.concatenate(covariances) if covariances else None


def _extract(
    stats: BaumWelchStatistics, derived: Derived, return_cov: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    rank = derived.linear.shape[1]
    step = derived.batch_size
    ivectors = np.empty((len(stats), rank), np.float32)
    covariances = np.empty((len(stats), rank, rank), np.float32) if return_cov else None
    for start in range(0, len(stats), step):
        batch = stats[start : start + step]
        precisions, linear, _, _ = posterior_terms(derived, batch)
        ivectors[start : start + step], _ = factor_and_solve(precisions, linear, start)
        if covariances is not None:
            for row, factor in enumerate(precisions, start):
                packed.invert(factor, rank)
                covariances[row] = packed.to_full(factor, rank)
    return ivectors, covariances
