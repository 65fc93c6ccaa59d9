"""Statistics of utterances from their features, with the posteriors of a UBM.

Dimensions
----------
U utterances, C components, D feature dimension, n frames of an utterance.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivector.base.errors import DataError, UsageError
from ivector.gmm.mixture import check_posterior_options
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
    device: str | None = None,
    posteriors: Iterable[tuple[np.ndarray, np.ndarray]] | None = None,
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
    device : str, optional
        "cuda" or "cuda:1": posteriors and sums are made on that GPU, by torch. The same numbers
        but for rounding, which may move a posterior across `min_post`.
    posteriors : iterable of (indices, posts), optional
        Components (n_frames, N) and their posteriors, for each utterance of `X`, in place of the
        UBM's: of any recogniser whose classes are the components. `ubm` then is what has their
        means, as a `TotalVariability` has too; `num_gselect` and `min_post` play no part.

    Returns
    -------
    BaumWelchStatistics
        Centred about the UBM's means.

    Raises
    ------
    DataError
        Features of another dimension, or with NaN or infinity; names the utterance.
    UsageError
        A UBM without parameters, options out of range, no such device, or posteriors for a device
        or of another number of utterances.

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
    options = (num_gselect, min_post, posterior_scale, max_count)
    work: Any
    if device is None:
        scatter = np.zeros((C, D, D)) if second_order else None
        work = _Sums(ubm, means, *options, scatter, dtype)
    else:
        work = _on_device(device, ubm, means, *options, second_order, dtype)
    zeroth: list[np.ndarray] = []
    first: list[np.ndarray] = []
    if posteriors is not None and device is not None:
        raise UsageError(
            "posteriors that are given are summed on the processor; leave out `device`"
        )
    given = None if posteriors is None else iter(posteriors)
    for block in _blocks([X] if isinstance(X, np.ndarray) else X, D):
        counts, sums = (
            work.block(block) if given is None else work.block(block, _next(given, block))
        )
        zeroth.extend(counts)
        first.extend(sums)
    if not zeroth:
        raise DataError("no utterances to accumulate statistics of: the list is empty")
    return BaumWelchStatistics(np.stack(zeroth), np.stack(first), work.second(), means)


def _next(posteriors: Iterator[tuple[np.ndarray, np.ndarray]], block: list[np.ndarray]) -> list:
    """The posteriors that belong to a block of utterances."""
    found = list(itertools.islice(posteriors, len(block)))
    if len(found) < len(block):
        raise UsageError(
            "there are posteriors of fewer utterances than features; give those of all"
        )
    for (indices, _), frames in zip(found, block):
        if len(indices) != len(frames):
            raise DataError(
                f"posteriors of {len(indices)} frames do not belong to features of {len(frames)}"
            )
    return found


def _on_device(device: str, ubm: Any, means: np.ndarray, num_gselect: int, *options: Any) -> Any:
    """`_Sums` that are made on a device."""
    from ivector.gpu.statistics import DeviceStatistics

    if not hasattr(ubm, "on_device"):
        raise UsageError(f"`device` needs a DiagonalGMM or FullGMM as UBM, got {ubm!r}")
    n = check_posterior_options(num_gselect, options[0], len(means))
    return DeviceStatistics(ubm.on_device(device), means, n, *options)


@dataclass(frozen=True)
class _Sums:
    """Statistics of blocks of utterances; parameters as of `baum_welch`.

    means (C, D); scatter (C, D, D), which is added to, or None.
    """

    ubm: Any
    means: np.ndarray
    num_gselect: int
    min_post: float
    posterior_scale: float
    max_count: float
    scatter: np.ndarray | None
    dtype: str

    def second(self) -> np.ndarray | None:
        """Second-order sum of all blocks so far."""
        return self.scatter

    def block(
        self,
        utterances: list[np.ndarray],
        given: list[tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Zeroth (C,) and first (C, D) order statistics of each utterance (n_frames, D)."""
        frames, C = np.concatenate(utterances), len(self.means)
        if given is not None:
            indices, posts = _together(given)
        elif len(frames):
            indices, posts = self.ubm.posteriors(
                frames, num_gselect=self.num_gselect, min_post=self.min_post
            )
        else:
            indices, posts = np.empty((0, 1), np.int32), np.empty((0, 1), np.float32)
        weights = np.array(posts)
        zeroth, first = [], []
        ends = np.cumsum([len(one) for one in utterances])
        for start, end in zip([0, *ends[:-1]], ends):
            one = slice(start, end)
            counts, sums = accumulate(indices[one], posts[one], frames[one], C, centre=self.means)
            scale = count_scale(counts.sum(), self.posterior_scale, self.max_count)
            zeroth.append((scale * counts).astype(self.dtype))
            first.append((scale * sums).astype(self.dtype))
            weights[one] *= scale
        if self.scatter is not None:
            accumulate_second(indices, weights, frames, C, self.means, out=self.scatter)
        return zeroth, first


def _together(given: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (n_frames, N) of several utterances one below the other, N of the widest."""
    width = max(indices.shape[1] for indices, _ in given)
    padded = [
        [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (indices, posts)]
        for indices, posts in given
    ]
    indices, posts = (np.concatenate(parts) for parts in zip(*padded))
    return indices.astype(np.int32), posts.astype(np.float32)


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
