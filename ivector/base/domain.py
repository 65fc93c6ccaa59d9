"""How far recordings, or vectors, lie outside the domain that a system was trained on.

N recordings, K measures of each (`ivector.measures`, or a vector's dimensions), S speakers.

Measures become normal scores by their ranks among the training recordings, so that a few odd
recordings do not decide. For each group of measures, and all of them together, the training
speakers give a mean m, a between-speaker covariance B and a within-speaker covariance W. The mean
of n recordings of s speakers then has, if they are of the same domain,

    C = B (1/s + 1/S) + W (1/n + 1/N),        T² = (x̄ − m)' C⁻¹ (x̄ − m) / K                     (1)

How large T² becomes without a shift is not read off a table, as the covariances are those of few
speakers: parts of the training speakers are held out and sets of them are judged by the others.
The quantiles of what these give are the limits: of each group, and, as the largest of several
exceeds its limit more often, of the largest ratio of T² to its limit. That one is the *distance*:
above 1 with a false-alarm rate of `rate`.

Nobody says how many speakers unlabelled recordings have. Sets are drawn with up to three recordings
a speaker on average; of fewer speakers a set is noticed more often than `rate`, since they may
well differ from the others, as one speaker differs from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from ivector.base.errors import DataError

FEWEST_SPEAKERS = 8  # of training; of fewer nobody knows how unseen ones vary
_ALL = "all"
_PER_SPEAKER = 3.0  # recordings, at most, on average
_MOST_SPEAKERS, _MOST_RECORDINGS = 400, 4000  # of training that are looked at
_LARGEST_SET = 50  # recordings judged at once; of more several sets are judged
_FARTHEST = 1e6  # a distance that is told; where nothing varies it has no measure
_TINY = 1e-9  # of variances and limits
_RIDGE = 0.05  # of variances, added to them
_PARTITIONS, _DRAWS = 20, 10  # of training speakers, and sets drawn of those held out
_HELD_OUT = 0.25


class Distance(NamedTuple):
    """How far a set of recordings lies outside.

    Attributes
    ----------
    value : float
        Largest ratio to its limit of a group: above 1 means outside.
    groups : dict of str to float
        The ratios of the groups.
    n_recordings : int
    """

    value: float
    groups: dict[str, float]
    n_recordings: int

    @property
    def outside(self) -> bool:
        """Whether it is more than chance lets unseen speakers of the domain have."""
        return self.value > 1

    @property
    def reasons(self) -> list[str]:
        """Groups that are outside, the farthest first; "all" where only all of them tell."""
        found = sorted(self.groups, key=self.groups.__getitem__, reverse=True)
        found = [name for name in found if self.groups[name] > 1]
        return [name for name in found if name != _ALL] or found


class Recordings(NamedTuple):
    """How far single recordings lie outside.

    Attributes
    ----------
    values : ndarray (N,)
        Above 1 means outside.
    groups : list of str
        Of each the group that is farthest.
    """

    values: np.ndarray
    groups: list[str]


def sample(speakers: Any, seed: int = 0) -> np.ndarray:
    """Rows of training recordings that are looked at: all, but of very many speakers some.

    Parameters
    ----------
    speakers : array_like (N,)
    seed : int
    """
    owners = np.unique(np.asarray(speakers), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(owners.max(initial=-1) + 1)[:_MOST_SPEAKERS]
    rows = np.flatnonzero(np.isin(owners, chosen))
    if len(rows) > _MOST_RECORDINGS:
        rows = np.sort(rng.choice(rows, _MOST_RECORDINGS, replace=False))
    return rows


class Domain:
    """What the recordings of a domain look like, learnt from training speakers.

    Parameters
    ----------
    X : array_like (N, K)
        Measures of training recordings.
    speakers : array_like (N,)
    groups : mapping of str to slice
        Of the columns.
    resolution : array_like (K,), optional
        Differences that tell nothing; without them any tells something.
    rate : float
        Share of sets, and of single recordings, of unseen speakers that may be called outside.
    seed : int

    Raises
    ------
    DataError
        Fewer than `FEWEST_SPEAKERS` speakers, one recording each, or measures that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector.base.domain import Domain
    >>> rng = np.random.default_rng(0)
    >>> speakers = np.arange(200) // 5
    >>> X = rng.normal(size=(40, 3))[speakers] + rng.normal(size=(200, 3))
    >>> domain = Domain(X, speakers, {"first": slice(0, 1), "others": slice(1, 3)})
    >>> same = rng.normal(size=(40, 3)) + rng.normal(size=(40, 3))
    >>> domain.distance(same).outside, domain.distance(same + [2, 0, 0]).reasons
    (False, ['first'])
    """

    def __init__(
        self,
        X: Any,
        speakers: Any,
        groups: Mapping[str, slice],
        resolution: Any = None,
        rate: float = 0.05,
        seed: int = 0,
    ):
        self.rate, self.seed = rate, seed
        self.groups = {**groups, _ALL: slice(None)}
        X, owners = _checked(X, speakers)
        rows = sample(owners, seed)
        X, owners = X[rows], np.unique(owners[rows], return_inverse=True)[1]
        rng = np.random.default_rng(seed)
        if resolution is not None:
            X = X + np.asarray(resolution) * rng.normal(size=X.shape)
        self._model = _Model(X, owners, self.groups)
        # A set's limits are those of its size, found when they are first asked for.
        self._partitions = [_partition(X, owners, self.groups, rng) for _ in range(_PARTITIONS)]
        single = np.concatenate([part.of_single() for part in self._partitions])
        self._single = _limits(single, rate)
        self._of_size: dict[int, tuple[np.ndarray, float]] = {}

    def distance(self, X: Any) -> Distance:
        """How far a set of recordings lies outside.

        Parameters
        ----------
        X : array_like (n_recordings, K)
            At least two.
        """
        X = self._measures(X)
        if len(X) < 2:
            raise DataError("one recording has no mean to speak of; see Domain.recordings")
        size = min(len(X), _LARGEST_SET, min(part.n_recordings for part in self._partitions))
        limits, most = self._limits_of(size)
        scores = self._model.scores(X)
        rng = np.random.default_rng([self.seed, len(X)])
        sets = [np.arange(len(X))]
        if len(X) > size:
            sets = [rng.choice(len(X), size, replace=False) for _ in range(2 * _DRAWS)]
        found = np.array([self._model.of_set(scores[rows]) for rows in sets])
        ratios = np.minimum(np.median(found, axis=0) / (limits * most), _FARTHEST)
        return Distance(float(ratios.max()), dict(zip(self.groups, ratios.tolist())), len(X))

    def recordings(self, X: Any) -> Recordings:
        """How far every single recording lies outside, (n_recordings, K)."""
        limits, most = self._single
        ratios = self._model.of_single(self._model.scores(self._measures(X)))
        ratios = np.minimum(ratios / (limits * most), _FARTHEST)
        names = list(self.groups)
        return Recordings(ratios.max(axis=1), [names[k] for k in ratios.argmax(axis=1)])

    def _measures(self, X: Any) -> np.ndarray:
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self._model.n_measures:
            raise DataError(
                f"expected {self._model.n_measures} measures a recording, got an array of shape "
                f"{X.shape}"
            )
        if not np.isfinite(X).all():
            raise DataError("measures of recordings are not finite")
        return X

    def _limits_of(self, size: int) -> tuple[np.ndarray, float]:
        if size not in self._of_size:
            rng = np.random.default_rng([self.seed, size])
            found = [part.of_sets(size, rng) for part in self._partitions]
            self._of_size[size] = _limits(np.concatenate(found), self.rate)
        return self._of_size[size]


def _limits(found: np.ndarray, rate: float) -> tuple[np.ndarray, float]:
    """Limits of groups, from distances (n, n_groups) without a shift; of their largest ratio."""
    limits = np.maximum(np.quantile(found, 1 - rate, axis=0), _TINY)
    return limits, float(np.quantile((found / limits).max(axis=1), 1 - rate)) or 1.0


def _checked(X: Any, speakers: Any) -> tuple[np.ndarray, np.ndarray]:
    """Measures and numbers of their speakers."""
    X = np.asarray(X, dtype=np.float64)
    names, owners = np.unique(np.asarray(speakers), return_inverse=True)
    if X.ndim != 2 or len(X) != len(owners):
        raise DataError(f"measures of shape {X.shape} do not fit {len(owners)} speakers' labels")
    if not np.isfinite(X).all():
        raise DataError("measures of recordings are not finite")
    if len(names) < FEWEST_SPEAKERS:
        raise DataError(
            f"{len(names)} training speakers are too few to know how others of the same domain "
            f"would differ; {FEWEST_SPEAKERS} would do"
        )
    if len(X) == len(names):
        raise DataError("one recording a training speaker does not tell how recordings differ")
    return X, owners


@dataclass
class _Moments:
    """Mean and covariances of one group's normal scores."""

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray


class _Model:
    """Normal scores and equation (1) of the module, of given training recordings."""

    def __init__(self, X: np.ndarray, owners: np.ndarray, groups: Mapping[str, slice]):
        self.n_measures = X.shape[1]
        self._sorted = np.sort(X, axis=0)
        scores = self.scores(X)
        counts = np.bincount(owners)
        self.n_recordings, self.n_speakers = len(X), len(counts)
        self.per_speaker = self.n_recordings / self.n_speakers
        self._parts = list(groups.values())
        self._moments = [_moments(scores[:, part], owners, counts) for part in self._parts]

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Normal scores of measures (N, K) by their ranks among the training recordings."""
        found = np.empty(X.shape)
        for k, known in enumerate(self._sorted.T):
            rank = np.searchsorted(known, X[:, k]) + np.searchsorted(known, X[:, k], "right")
            found[:, k] = ndtri((rank / 2 + 0.5) / (len(known) + 1))
        return found

    def of_set(self, scores: np.ndarray) -> np.ndarray:
        """T² of each group, of a set's scores (n, K)."""
        n_speakers = max(1.0, len(scores) / min(self.per_speaker, _PER_SPEAKER))
        mean = scores.mean(axis=0, keepdims=True)
        between, within = 1 / n_speakers + 1 / self.n_speakers, 1 / len(scores) + 1 / len(self)
        found = [
            _squared(mean[:, part] - one.mean, between * one.between + within * one.within)
            for part, one in zip(self._parts, self._moments)
        ]
        return np.concatenate(found)

    def of_single(self, scores: np.ndarray) -> np.ndarray:
        """T² of each group of every recording, (n, n_groups)."""
        found = [
            _squared(scores[:, part] - one.mean, one.between + one.within)
            for part, one in zip(self._parts, self._moments)
        ]
        return np.stack(found, axis=1)

    def __len__(self) -> int:
        return self.n_recordings


def _moments(scores: np.ndarray, owners: np.ndarray, counts: np.ndarray) -> _Moments:
    sums = np.stack([np.bincount(owners, column) for column in scores.T], axis=1)
    means = sums / counts[:, None]
    inner = scores - means[owners]
    within = inner.T @ inner / max(len(scores) - len(counts), 1)
    spread = np.atleast_2d(np.cov(means.T)) - within * np.mean(1 / counts)
    values, vectors = np.linalg.eigh(spread)
    between = (vectors * np.maximum(values, 0)) @ vectors.T
    return _Moments(scores.mean(axis=0), between, within)


def _squared(differences: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Mahalanobis distances (n,) of differences (n, K), squared, over K."""
    ridge = _RIDGE * np.diag(covariance) + _TINY
    solved = np.linalg.solve(covariance + np.diag(ridge), differences.T).T
    return np.einsum("nk,nk->n", differences, solved) / differences.shape[1]


@dataclass
class _Partition:
    """Training speakers without some, and the scores of those."""

    model: _Model
    scores: np.ndarray
    owners: np.ndarray

    @property
    def n_recordings(self) -> int:
        return len(self.scores)

    def of_single(self) -> np.ndarray:
        """Distances of the recordings held out, (n, n_groups)."""
        return self.model.of_single(self.scores)

    def of_sets(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Distances of sets of so many recordings held out, of few speakers or many."""
        names = np.unique(self.owners)
        most = min(size, len(names))
        least = min(most, max(1, int(np.ceil(size / min(self.model.per_speaker, _PER_SPEAKER)))))
        found = []
        for _ in range(_DRAWS):
            n_speakers = int(np.exp(rng.uniform(np.log(least), np.log(most + 1))))
            rows = np.empty(0, dtype=int)
            order = rng.permutation(names)
            while len(rows) < size:  # speakers with few recordings: more of them
                rows = np.flatnonzero(np.isin(self.owners, order[:n_speakers]))
                n_speakers += 1
            rows = rng.choice(rows, size, replace=False)
            found.append(self.model.of_set(self.scores[rows]))
        return np.array(found)


def _partition(
    X: np.ndarray, owners: np.ndarray, groups: Mapping[str, slice], rng: np.random.Generator
) -> _Partition:
    n_speakers = owners.max() + 1
    n_out = max(2, round(_HELD_OUT * n_speakers))
    out = np.isin(owners, rng.permutation(n_speakers)[:n_out])
    rest = np.unique(owners[~out], return_inverse=True)[1]
    model = _Model(X[~out], rest, groups)
    return _Partition(model, model.scores(X[out]), owners[out])
