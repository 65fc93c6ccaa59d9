"""Kaldi's reference case for i-vectors: its posteriors, features and statistics, as arrays."""

import re
from pathlib import Path

import kaldiio
import numpy as np

from ivector.statistics import (
    BaumWelchStatistics,
    accumulate,
    accumulate_second,
)

N_COMPONENTS = 16


def read_posteriors(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Text posteriors of Kaldi as {utterance: (indices, posts)}, padded with zeros."""
    table = {}
    for line in path.read_text().splitlines():
        key, _, rest = line.partition(" ")
        frames = [np.array(f.split(), float).reshape(-1, 2) for f in re.findall(r"\[(.*?)\]", rest)]
        width = max(map(len, frames))
        indices = np.zeros((len(frames), width), np.int32)
        posts = np.zeros((len(frames), width), np.float32)
        for t, frame in enumerate(frames):
            indices[t, : len(frame)], posts[t, : len(frame)] = frame.T
        table[key] = indices, posts
    return table


def read_case(golden: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """{utterance: (indices, posts, features)} of all utterances."""
    posteriors = read_posteriors(golden / "ie" / "post.txt")
    features = kaldiio.load_ark(str(golden / "ubm" / "feats.ark"))
    return {key: (*posteriors[key], X) for key, X in features}


def utterance_statistics(indices, posts, X, second_order: bool = True) -> BaumWelchStatistics:
    """Raw statistics of one utterance."""
    zeroth, first = accumulate(indices, posts, X, N_COMPONENTS)
    second = accumulate_second(indices, posts, X, N_COMPONENTS) if second_order else None
    return BaumWelchStatistics(zeroth[None], first[None], second)


def read_triangles(path: Path) -> dict[str, np.ndarray]:
    """Text archive of lower triangles as {utterance: full symmetric matrix}."""
    table = {}
    for block in path.read_text().split("]"):
        key, _, rows = block.partition("[")
        values = np.array(rows.split(), float)
        if not values.size:
            continue
        n = int(np.sqrt(2 * values.size))
        lower = np.zeros((n, n))
        lower[np.tril_indices(n)] = values
        table[key.strip()] = lower + np.tril(lower, -1).T
    return table


def read_matrices(path: Path) -> dict[str, np.ndarray]:
    """Text archive of matrices."""
    return dict(kaldiio.load_ark(str(path)))
