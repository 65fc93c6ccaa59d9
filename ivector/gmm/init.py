"""Starting points of a mixture: random frames, k-means, or binary splitting, on a sample.

One pass over the data counts the frames, sums their moments and draws a sample whose size depends
on the number of components alone. The sample consists of the distinct frames with the smallest
hash of their content and the seed, so that it does not depend on how the data are sharded.

Dimension legend: C components, D feature dimensions, n frames of the sample.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import clone

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.shards import map_shards
from ivector.base.workers import one_thread
from ivector.gmm.em import BaseGMM
from ivector.gmm.engine import complain_of_frame
from ivector.gmm.statistics import CONSTANT, load_shard

logger = logging.getLogger(__name__)

SAMPLE_PER_COMPONENT = 100
SAMPLE_LEAST = 20_000
KMEANS_ITERATIONS = 10
SPLIT_ITERATIONS = 4
SPLIT_STEP = 0.2  # Standard deviations by which the halves of a Gaussian move apart.
HASH_BLOCK = 4096


@dataclass
class Summary:
    """What one pass over the data finds.

    Attributes
    ----------
    n_frames : int
    mean, variance : ndarray (n_features,)
    sample : ndarray (n_sample, n_features) float64
        Distinct frames in order of their hash.
    """

    n_frames: int
    mean: np.ndarray
    variance: np.ndarray
    sample: np.ndarray


def initialise(model: BaseGMM, shards: list[Any]) -> None:
    """Give a diagonal mixture its starting parameters, as its option ``init`` says.

    Raises
    ------
    UsageError
        An unknown ``init``.
    DataError
        Fewer distinct frames than components, or unusable frames.
    """
    init = model.init
    if isinstance(init, type(model)):
        _start_from(model, init, shards)
        return
    starts = {"random": random_start, "kmeans": kmeans_start, "split": split_start}
    if not isinstance(init, str) or init not in starts:
        raise UsageError(f"init must be one of {', '.join(starts)} or a DiagonalGMM, got {init!r}")
    rng = np.random.default_rng(model.seed())
    size = max(SAMPLE_LEAST, SAMPLE_PER_COMPONENT * model.n_components)
    summary = summarise(shards, size, int(rng.integers(1 << 62)), model.n_jobs)
    check_amount(summary, model.n_components)
    with one_thread():
        starts[init](model, summary, rng)


def _start_from(model: BaseGMM, init: BaseGMM, shards: list[Any]) -> None:
    if not hasattr(init, "means_"):
        init = clone(init).fit(shards)  # An option of the user's is not changed.
    model.set_parameters(*init.parameters())


# ---- the pass over the data ----------------------------------------------------------------


def summarise(shards: list[Any], size: int, seed: int, n_jobs: int = 1) -> Summary:
    """Count frames, sum moments and draw a sample of at most `size` distinct frames."""
    total = 0
    sums = squares = np.zeros(1)
    keys, frames = np.empty(0, np.uint64), None
    origin = None
    for part in map_shards(_scan_shard, shards, nj=n_jobs, size=size, seed=seed):
        count, mean, scatter, new_keys, new_frames = part
        if frames is None:
            origin, frames = mean, new_frames
        elif new_frames.shape[1] != frames.shape[1]:
            raise DataError(
                f"blocks of {frames.shape[1]} and {new_frames.shape[1]} features do not belong "
                "to one model; extract them with the same options"
            )
        if count:
            total += count
            sums = sums + count * (mean - origin)
            squares = squares + scatter + count * (mean - origin) ** 2
        if len(keys) == size:  # What cannot enter any more is not copied.
            new_keys = new_keys[: np.searchsorted(new_keys, keys[-1])]
            new_frames = new_frames[: len(new_keys)]
        keys, frames = _smallest(
            np.concatenate([keys, new_keys]), np.concatenate([frames, new_frames]), size
        )
    if not total or frames is None or origin is None:
        raise DataError("no frames to train on; check the VAD and the feature files")
    offset = sums / total
    sample = frames.astype(np.float64)
    return Summary(total, origin + offset, squares / total - offset**2, sample)


def _scan_shard(shard: Any, size: int, seed: int) -> tuple[int, Any, Any, Any, Any]:
    """Count, mean (D,), scatter about it (D,), and the sample of one shard."""
    X = load_shard(shard)
    if not len(X):
        return 0, np.zeros(X.shape[1]), np.zeros(X.shape[1]), np.empty(0, np.uint64), X
    mean = X.mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean).all():
        # The first that is not finite; else a sum overflowed, and the largest is to blame.
        worst = int(np.argmax(np.nan_to_num(np.abs(X), nan=np.inf).max(axis=1)))
        complain_of_frame(X[worst], worst)
    scatter = np.zeros(X.shape[1])
    keys = np.empty(len(X), np.uint64)
    for start in range(0, len(X), HASH_BLOCK):
        block = X[start : start + HASH_BLOCK]
        scatter += ((block - mean) ** 2).sum(axis=0)
        keys[start : start + HASH_BLOCK] = hash_frames(block, seed)
    keys, frames = _smallest(keys, X, size)
    return len(X), mean, scatter, keys, frames


def _smallest(keys: np.ndarray, frames: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys, sorted, at most `size`, and their frames."""
    keys, first = np.unique(keys, return_index=True)
    return keys[:size], frames[first[:size]]


def hash_frames(frames: np.ndarray, seed: int) -> np.ndarray:
    """64-bit hash of each frame's float32 content (n,): a random linear form, then SplitMix64."""
    bits = np.ascontiguousarray(frames, np.float32).view(np.uint32).astype(np.uint64)
    rng = np.random.default_rng(seed)
    odd = rng.integers(1 << 63, size=frames.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    h = (bits * odd).sum(axis=1, dtype=np.uint64)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def check_amount(summary: Summary, n_components: int, per_component: float = 20.0) -> None:
    """Refuse data that cannot place the components; warn where they are scarce or constant."""
    n_frames, distinct = summary.n_frames, len(summary.sample)
    if distinct < n_components:
        raise DataError(
            f"{n_components} components need as many distinct frames, got {distinct} in "
            f"{n_frames} sample(s); use fewer components or more data"
        )
    if n_frames < per_component * n_components:
        warnings.warn(
            f"{n_frames} frames are few for {n_components} components (want at least "
            f"{per_component * n_components:.0f}); use fewer components or more data",
            DegenerateDataWarning,
            stacklevel=4,
        )
    constant = _constant(summary)
    if constant.any():
        warnings.warn(
            f"{int(constant.sum())} of {len(constant)} feature dimensions are constant, first "
            f"number {int(constant.argmax())} (rank {int((~constant).sum())}); drop them",
            DegenerateDataWarning,
            stacklevel=4,
        )


def _constant(summary: Summary) -> np.ndarray:
    return summary.variance <= CONSTANT * (summary.mean**2 + summary.variance)


def _scale(summary: Summary) -> np.ndarray:
    """Standard deviations (D,) of all frames; those of constant dimensions are made up."""
    constant = _constant(summary)
    if constant.all():
        return np.ones_like(summary.variance)
    return np.sqrt(np.where(constant, summary.variance[~constant].min(), summary.variance))


# ---- starting points -----------------------------------------------------------------------


def random_start(model: BaseGMM, summary: Summary, rng: np.random.Generator) -> None:
    """Random frames as means, the variances of all frames, equal weights."""
    count = model.n_components
    means = summary.sample[np.sort(rng.permutation(len(summary.sample))[:count])]
    variances = np.tile(_scale(summary) ** 2, (count, 1))
    model.set_parameters(np.full(count, 1 / count), means, variances)


def kmeans_start(model: BaseGMM, summary: Summary, rng: np.random.Generator) -> None:
    """Clusters of the standardised sample: their shares, means and variances."""
    count, scale = model.n_components, _scale(summary)
    frames = ((summary.sample - summary.mean) / scale).astype(np.float32)
    centres = kmeans(frames, count, rng)
    labels = nearest(frames, centres)
    sizes = np.maximum(np.bincount(labels, minlength=count), 1)
    member = _membership(labels, count)
    means = member @ frames.astype(np.float64) / sizes[:, None]
    squares = member @ frames.astype(np.float64) ** 2 / sizes[:, None]
    # A cluster of few frames has a poor variance: shrink towards the average one.
    within = squares - means**2
    pooled = (sizes[:, None] * within).sum(axis=0) / sizes.sum()
    variances = (sizes[:, None] * within + 10 * pooled) / (sizes[:, None] + 10)
    floor = np.asarray(model.variance_floor, np.float64)  # Absolute, if one a dimension.
    variances = np.maximum(variances, np.maximum(floor / scale**2 if floor.ndim else floor, 1e-6))
    model.set_parameters(sizes / sizes.sum(), summary.mean + means * scale, variances * scale**2)


def kmeans(frames: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Lloyd's k-means from a k-means++ start; empty clusters restart at ill-fitting frames.

    Parameters
    ----------
    frames : ndarray (n, D) float32
    count : int
        C.

    Returns
    -------
    ndarray (C, D) float32
    """
    centres = _spread_out(frames[: max(20 * count, 2000)], count, rng)
    for _ in range(KMEANS_ITERATIONS):
        labels = nearest(frames, centres)
        sizes = np.bincount(labels, minlength=count)
        centres = (_membership(labels, count) @ frames / np.maximum(sizes, 1)[:, None]).astype(
            np.float32
        )
        empty = np.flatnonzero(sizes == 0)
        if len(empty):
            distances = ((frames - centres[labels]) ** 2).sum(axis=1)
            centres[empty] = frames[np.argsort(-distances, kind="stable")[: len(empty)]]
    return centres


def _spread_out(frames: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ seeding (Arthur & Vassilvitskii 2007): draw far frames more often."""
    norms = np.einsum("nd,nd->n", frames, frames)
    chosen = [int(rng.integers(len(frames)))]
    distances = np.full(len(frames), np.inf, np.float32)
    for _ in range(count - 1):
        centre = frames[chosen[-1]]
        new = np.maximum(norms - 2 * (frames @ centre) + norms[chosen[-1]], 0)
        distances = np.minimum(distances, new)
        distances[chosen[-1]] = 0
        cumulated = np.cumsum(distances, dtype=np.float64)
        place = int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))
        chosen.append(min(place, len(frames) - 1))
    return frames[chosen]


def nearest(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest centre (C, D) of each frame (n, D) → (n,)."""
    offsets = 0.5 * np.einsum("cd,cd->c", centres, centres)
    labels = np.empty(len(frames), np.intp)
    for start in range(0, len(frames), 4096):
        rows = slice(start, start + 4096)
        labels[rows] = (frames[rows] @ centres.T - offsets).argmax(axis=1)
    return labels


def _membership(labels: np.ndarray, count: int) -> csr_matrix:
    n = len(labels)
    return csr_matrix((np.ones(n, np.float32), (labels, np.arange(n))), shape=(count, n))


def split_start(model: BaseGMM, summary: Summary, rng: np.random.Generator) -> None:
    """One Gaussian, then: split the heaviest, run EM on the sample, until there are enough."""
    variances = _scale(summary) ** 2
    model.set_parameters(np.ones(1), summary.mean[None], variances[None])
    target = model.n_components
    frames = np.ascontiguousarray(summary.sample)
    # Starved components may be removed on the way, hence a few rounds more than log2 C.
    for _ in range(int(np.ceil(np.log2(max(target, 1)))) + 4):
        size = len(model.weights_)
        if size >= target:
            break
        split(model, min(2 * size, target), rng)
        used = frames[: max(SAMPLE_PER_COMPONENT * len(model.weights_), 2000)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)
            for _ in range(SPLIT_ITERATIONS):
                model.update(model.accumulate(used))


def split(model: BaseGMM, target: int, rng: np.random.Generator) -> None:
    """Split the heaviest components in two until there are `target`, at most twice as many.

    The halves move apart along a random direction (Kaldi, ``DiagGmm::Split``).
    """
    weights, means, variances = model.parameters()
    heavy = np.argsort(-weights, kind="stable")[: target - len(weights)]
    step = SPLIT_STEP * np.sqrt(variances[heavy]) * rng.standard_normal(means[heavy].shape)
    weights, means = weights.copy(), means.copy()
    weights[heavy] /= 2
    means[heavy] -= step
    model.set_parameters(
        np.concatenate([weights, weights[heavy]]),
        np.concatenate([means, means[heavy] + 2 * step]),
        np.concatenate([variances, variances[heavy]]),
    )
