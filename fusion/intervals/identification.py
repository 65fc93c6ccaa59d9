"""Confidence intervals of identification rates by a bootstrap that draws speakers.

Tests of one speaker are right or wrong together, so that replicates draw the speakers of the tests,
with replacement, and take all tests of each. The enrolled models stay as they are: the intervals
hold for other speakers who search the same models, not for other sets of models.

Intervals are bias-corrected percentiles, as those of `fusion.intervals`.

Dimension legend: N tests, M models, B replicates, E tests of enrolled speakers, O of others, S
speakers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from fusion.intervals.bootstrap import corrected
from fusion.intervals.replicates import check_drawing
from fusion.intervals.results import Interval
from fusion.metrics.identification import Searches, fnir_at_fpir, in_top_k, open_set, top_k_accuracy
from ivector.base.errors import DataError

_BLOCK_WEIGHTS = 1 << 22


def top_k_interval(
    scores: ArrayLike,
    labels: ArrayLike,
    test_speaker: ArrayLike,
    k: int = 1,
    *,
    models: Sequence[Hashable] | None = None,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> Interval:
    """`fusion.top_k_accuracy` and its interval.

    Parameters
    ----------
    scores, labels, k, models
        As in `fusion.top_k_accuracy`.
    test_speaker : array-like (N,)
        Speaker of each test, by any names.
    n_bootstrap : int
    level : float
    random_state : int, numpy.random.Generator or None

    Raises
    ------
    DataError
        What `fusion.top_k_accuracy` raises, or fewer than two speakers.
    UsageError
        An impossible k, level or number of replicates.

    Examples
    --------
    >>> from fusion import top_k_interval
    >>> scores = [[3, 1], [2, 1], [1, 4], [3, 2]]
    >>> found = top_k_interval(scores, [0, 0, 1, 1], list("aabb"), n_bootstrap=200)
    >>> found.estimate, found.low <= found.estimate <= found.high
    (0.75, True)
    """
    check_drawing(n_bootstrap, level)
    rng = np.random.default_rng(random_state)
    found = in_top_k(scores, labels, k, models=models)
    speaker, draws = _drawn(test_speaker, len(found), n_bootstrap, rng)
    hits = draws @ np.bincount(speaker, weights=found)
    values = hits / (draws @ np.bincount(speaker))
    estimate = top_k_accuracy(scores, labels, k, models=models)
    return Interval(estimate, *corrected(values, estimate, level), level)


def fnir_interval(
    scores: ArrayLike,
    labels: ArrayLike,
    test_speaker: ArrayLike,
    fpir: float,
    *,
    rank: int | None = None,
    models: Sequence[Hashable] | None = None,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> Interval:
    """`fusion.fnir_at_fpir` and its interval; every replicate sets its own threshold.

    Parameters
    ----------
    scores, labels, fpir, rank, models
        As in `fusion.fnir_at_fpir`.
    test_speaker : array-like (N,)
        Speaker of each test, by any names, also of those not enrolled.
    n_bootstrap : int
    level : float
    random_state : int, numpy.random.Generator or None

    Raises
    ------
    DataError
        What `fusion.fnir_at_fpir` raises, fewer than two speakers, or so few that most replicates
        draw none that is enrolled, or only such.
    UsageError
        An impossible rate, rank, level or number of replicates.

    Examples
    --------
    >>> from fusion import fnir_interval
    >>> scores = [[3, 1], [2, 1], [1, 4], [2, 3], [1, 2], [0, 1], [2, 1], [1, 0]]
    >>> labels = [0, 0, 1, 1, -1, -1, -1, -1]  # -1: a speaker who is not enrolled
    >>> found = fnir_interval(scores, labels, list("aabbccdd"), fpir=0.25, n_bootstrap=200)
    >>> found.estimate, found.low <= found.estimate <= found.high
    (0.25, True)
    """
    check_drawing(n_bootstrap, level)
    rng = np.random.default_rng(random_state)
    estimate = fnir_at_fpir(scores, labels, fpir, rank=rank, models=models)
    searches = open_set(scores, labels, rank=rank, models=models)
    speaker, draws = _drawn(test_speaker, len(searches.enrolled), n_bootstrap, rng)
    values = weighted_fnir(searches, speaker, draws, fpir)
    values = values[~np.isnan(values)]
    if 2 * len(values) < n_bootstrap:
        raise DataError(
            "most replicates drew no speaker who is enrolled, or no other; use more speakers"
        )
    return Interval(estimate, *corrected(values, estimate, level), level)


def weighted_fnir(
    searches: Searches, speaker: np.ndarray, draws: np.ndarray, fpir: float
) -> np.ndarray:
    """FNIR (B,) at an FPIR, of tests that count as often as their speaker was drawn.

    Parameters
    ----------
    searches : Searches
    speaker : ndarray (N,) int
    draws : ndarray (B, S) int
    fpir : float

    Returns
    -------
    ndarray (B,)
        NaN where no enrolled or no other speaker was drawn.
    """
    up, down = np.argsort(searches.own), np.argsort(-searches.other)
    own, found, other = searches.own[up], searches.found[up], searches.other[down]
    of_own = speaker[searches.enrolled][up]
    of_other = speaker[~searches.enrolled][down]
    values = np.full(len(draws), np.nan)
    step = max(1, _BLOCK_WEIGHTS // len(speaker))
    for start in range(0, len(draws), step):
        weights = draws[start : start + step]
        own_weight, over = weights[:, of_own], np.cumsum(weights[:, of_other], axis=1)
        n_own, n_other = own_weight.sum(axis=1), over[:, -1]
        # The threshold is above the highest score that would let too many others pass, if any.
        too_many = over > (fpir + 1e-12) * n_other[:, None]
        first = np.argmax(too_many, axis=1)
        above = np.where(too_many.any(axis=1), np.searchsorted(own, other[first], "right"), 0)
        hits = np.cumsum((own_weight * found)[:, ::-1], axis=1)[:, ::-1]
        hits = np.column_stack([hits, np.zeros(len(hits))])[np.arange(len(hits)), above]
        drawn = (n_own > 0) & (n_other > 0)
        values[start : start + step][drawn] = 1 - hits[drawn] / n_own[drawn]
    return values


def _drawn(
    test_speaker: ArrayLike, n_tests: int, n_bootstrap: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Number of each test's speaker (N,), and how often each speaker was drawn (B, S)."""
    names = np.asarray(test_speaker)
    if names.shape != (n_tests,):
        raise DataError(f"{n_tests} tests but speakers of shape {names.shape}; give one each")
    found, speaker = np.unique(names, return_inverse=True)
    size = len(found)
    if size < 2:
        raise DataError("an interval needs tests of at least 2 speakers to draw from")
    return speaker, rng.multinomial(size, np.full(size, 1 / size), size=n_bootstrap)
