"""Statistics of utterances from their features, with the posteriors of a UBM.

Dimensions
----------
U utterances, C components, D feature dimension, n frames of an utterance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.statistics.accumulation import accumulate, accumulate_second, count_scale, ubm_means
from ivector.statistics.batch import BaumWelchStatistics

# Posteriors and second-order products are fast on many frames at once; 60 dimensions: 5 MB.
_BLOCK_FRAMES = 20000


def baum_welch(
    ubm: Any,
    X: np.ndarray | Iterable[np.ndarray],
    num_gselect: int = 20,
    min_post: float = 0.025,
    posterior_scale: float = 1.0,
    max_count: float = 0.0,
    *,
    second_order: bool = False,
    dtype: str = "float32",
) -> BaumWelchStatistics:
    """Statistics of one utterance, or of each of several, about the means of a UBM.

    Parameters
    ----------
    ubm : FullGMM or DiagonalGMM
        Fitted; its ``posteriors`` selects components and prunes as Kaldi's
        ``fgmm-global-gselect-to-post``.
    X : ndarray (n_frames, n_features) or iterable of them
        One utterance, or several: they are read one block after the other, and one second-order
        sum is kept for all.
    num_gselect : int
        Components kept in a frame; fewer are faster.
    min_post : float
        Posteriors below it are dropped and the rest rescaled.
    posterior_scale, max_count : float
        As in `BaumWelchStatistics.scaled`, applied to each utterance.
    second_order : bool
        Add what the re-estimation of covariances needs; costs D² a frame and component.
    dtype : {"float32", "float64"}
        Of the statistics kept; sums are made in float64.

    Returns
    -------
    BaumWelchStatistics
        Centred about the UBM's means.

    Raises
    ------
    DataError
        Features of another dimension, or with NaN or infinity; names the utterance.
    UsageError
        A UBM without parameters, or options out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import DiagonalGMM
    >>> rng = np.random.default_rng(0)
    >>> ubm = DiagonalGMM(4, random_state=0).fit(rng.normal(size=(2000, 3)))
    >>> stats = baum_welch(ubm, [rng.normal(size=(300, 3)), rng.normal(size=(500, 3))])
    >>> stats
    BaumWelchStatistics(2 utterances, 4 components, 3 features; zeroth, first order, centred)
    >>> stats.zeroth.sum(axis=1).round().tolist()  # frames
    [300.0, 500.0]
    """
    if dtype not in ("float32", "float64"):
        raise UsageError(f"dtype is 'float32' or 'float64', got {dtype!r}")
    means = ubm_means(ubm)
    C, D = means.shape
    zeroth: list[np.ndarray] = []
    first: list[np.ndarray] = []
    second = np.zeros((C, D, D)) if second_order else None
    for block in _blocks([X] if isinstance(X, np.ndarray) else X, D):
        frames = np.concatenate(block)
        if len(frames):
            indices, posts = ubm.posteriors(frames, num_gselect=num_gselect, min_post=min_post)
        else:
            indices, posts = np.empty((0, 1), np.int32), np.empty((0, 1), np.float32)
        weights = np.array(posts)
        ends = np.cumsum([len(one) for one in block])
        for start, end in zip([0, *ends[:-1]], ends):
            one = slice(start, end)
            counts, sums = accumulate(indices[one], posts[one], frames[one], C, centre=means)
            scale = count_scale(counts.sum(), posterior_scale, max_count)
            zeroth.append((scale * counts).astype(dtype))
            first.append((scale * sums).astype(dtype))
            weights[one] *= scale
        if second is not None:
            accumulate_second(indices, weights, frames, C, means, out=second)
    if not zeroth:
        raise DataError("no utterances to accumulate statistics of: the list is empty")
    return BaumWelchStatistics(np.stack(zeroth), np.stack(first), second, means)


def _blocks(utterances: Iterable[np.ndarray], n_features: int) -> Iterator[list[np.ndarray]]:
    """Utterances, checked and float32, in blocks of some `_BLOCK_FRAMES` frames."""
    block: list[np.ndarray] = []
    for number, utterance in enumerate(utterances):
        frames = np.asarray(utterance, np.float32)
        if frames.ndim != 2 or frames.shape[1] != n_features:
            raise DataError(
                f"utterance {number}: features have shape {frames.shape}, the UBM needs "
                f"(frames, {n_features})"
            )
        if not np.isfinite(frames).all():
            raise DataError(f"utterance {number}: features contain NaN or infinity")
        block.append(frames)
        if sum(map(len, block)) >= _BLOCK_FRAMES:
            yield block
            block = []
    if block:
        yield block
