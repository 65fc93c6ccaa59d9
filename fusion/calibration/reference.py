"""What a fusion keeps of its development scores, to know others of their kind by.

Of each system the quantiles of either class, how systems vary together, and how much all of that
changes from speakers to speakers. Trials are a mixture of the two classes; without labels in an
unknown proportion, so that they are compared with the mixture that fits best over all systems:

- shift and scale of a system's scores, and their misfit in shape, by quantiles;
- agreement of two systems, by their correlation;
- range: scores far beyond all of development.

How much healthy scores differ is measured between random halves of the development speakers, and
brought to the numbers of speakers at hand. A difference counts if it matters and is beyond what
chance explains in 1 of 50 sets over all systems and checks together (Bonferroni).

Dimension legend: N trials, K systems, Q quantiles, R random halves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fusion.metrics.table import INFORMATION, PRIMARY
from ivector.base.errors import DataError
from ivector.base.files import plain

LEVELS = np.concatenate(
    [[0, 0.001, 0.005, 0.01], np.linspace(0.02, 0.98, 49), [0.99, 0.995, 0.999, 1]]
)
_INNER = slice(4, 53)  # of the levels, those that are compared
# Correlations of well separated classes hang on the share of the smaller one.
_SHARES = np.unique(np.concatenate([np.geomspace(1e-3, 0.2, 40), np.linspace(0, 1, 41)]))
# What matters: misfit and shift in deviations of nontargets, scale in logarithms, correlations.
MATTERS = {"misfit": 0.3, "shift": 0.5, "scale": 0.25, "agreement": 0.25}
FUSED = "all fused"  # the fusion among its systems
FALSE_ALARMS = 0.02  # over all systems and checks
_HALVES = 20
_FEW = 8  # speakers, below which halves tell nothing
_UNKNOWN = 0.7  # deviation of a speaker, where halves tell nothing
_ENOUGH = 1 << 20  # trials of a class that tell quantiles and error rates
_THINNED = 100_000  # trials that are enough for halves
_MOST = 1 << 53  # counts and metrics in a file are below
_LARGEST = 1e200  # what scores and their squares in a file are below


@dataclass
class Reference:
    """Development scores of systems, in numbers.

    Parameters
    ----------
    names : list of str
    n_speakers, n_recordings : int
        Of development; recordings and models are told by their ids.
    quantiles : ndarray (2, K, Q)
        Of targets and nontargets at `LEVELS`.
    means, covariances : ndarray (2, K), (2, K, K)
        Of either class, of scores without their extremes.
    missing : ndarray (2, K)
        Share of trials without a score.
    noise : dict of str to ndarray
        Deviation of each statistic that one speaker makes: (K,), of agreement (K, K).
    worth : dict
        Metrics of the fusion and of its parts on development, with intervals.
    """

    names: list[str]
    n_speakers: int
    n_recordings: int
    quantiles: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    missing: np.ndarray
    noise: dict[str, np.ndarray] = field(default_factory=dict)
    worth: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def learn(
        cls,
        table: np.ndarray,
        target: np.ndarray,
        sides: Sequence[np.ndarray],
        names: Sequence[str],
        n_recordings: int,
        random_state: int = 0,
    ) -> Reference:
        """Reference of scores (N, K) with labels (N,) and the speakers (N,) of both sides."""
        rng = np.random.default_rng(random_state)
        n_speakers = len(np.unique(np.concatenate([np.unique(side) for side in sides])))
        rows = enough(len(target), target, rng)
        table, target, sides = table[rows], target[rows], [side[rows] for side in sides]
        found = cls._of(table, target, names)
        found.n_speakers, found.n_recordings = n_speakers, n_recordings
        found.noise = _noise(table, target, sides, found, rng)
        return found

    @classmethod
    def _of(cls, table: np.ndarray, target: np.ndarray, names: Sequence[str]) -> Reference:
        classes = [table[target], table[~target]]
        quantiles = np.array([[_quantiles(column) for column in part.T] for part in classes])
        inner = np.clip(table, *np.nanquantile(table, [0.005, 0.995], axis=0))
        both = [moments(inner[which]) for which in (target, ~target)]
        means, covariances = (np.array([pair[i] for pair in both]) for i in (0, 1))
        missing = np.array([np.isnan(part).mean(axis=0) for part in classes])
        return cls(list(names), 0, 0, quantiles, means, covariances, missing)

    def to_dict(self) -> dict[str, Any]:
        """As what JSON holds."""
        content: dict[str, Any] = {
            "names": self.names, "speakers": self.n_speakers, "recordings": self.n_recordings,
            "worth": self.worth, "noise": {k: v.tolist() for k, v in self.noise.items()},
        }  # fmt: skip
        for name in ("quantiles", "means", "covariances", "missing"):
            content[name] = getattr(self, name).tolist()
        return plain(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Reference:
        """Inverse of `to_dict`.

        Raises
        ------
        DataError
            Something lacks, or has another size.
        """
        try:
            quantiles, means, covariances, missing = arrays = [
                np.array(content[name], np.float64)
                for name in ("quantiles", "means", "covariances", "missing")
            ]
            noise = {name: np.array(content["noise"][name], np.float64) for name in MATTERS}
            found = cls(
                [str(name) for name in content["names"]], int(content["speakers"]),
                int(content["recordings"]), quantiles, means, covariances, missing, noise,
                dict(content["worth"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"development scores are kept in another form ({error})") from None
        k = len(found.names)
        shapes = [array.shape for array in (*arrays, *noise.values())]
        if shapes != [(2, k, len(LEVELS)), (2, k), (2, k, k), (2, k), (k,), (k,), (k,), (k, k)]:
            raise DataError("development scores are kept in another size")
        if not found._possible():
            raise DataError("development scores are kept with impossible numbers")
        _check_worth(found)
        return found

    def _possible(self) -> bool:
        """Whether numbers that were read can be those of scores; NaN stands for none."""
        noise = [*self.noise.values()]
        return (
            all(0 <= count < _MOST for count in (self.n_speakers, self.n_recordings))
            and all((np.abs(array) < _LARGEST).all() for array in (self.means, self.covariances))
            and all(((array >= 0) & (array < _LARGEST)).all() for array in (self.missing, *noise))
            and not (np.abs(self.quantiles) >= _LARGEST).any()
            and not (np.diff(self.quantiles) < 0).any()
        )

    def only(self, systems: Sequence[int]) -> Reference:
        """The same of some systems; what the fusion of all is worth is left out."""
        at = list(systems)
        noise = {
            name: values[np.ix_(at, at)] if values.ndim == 2 else values[at]
            for name, values in self.noise.items()
        }
        names = [self.names[k] for k in at]
        return Reference(
            names, self.n_speakers, self.n_recordings, self.quantiles[:, at], self.means[:, at],
            self.covariances[:, at][:, :, at], self.missing[:, at], noise,
            {name: self.worth[name] for name in names},
        )  # fmt: skip

    @property
    def spread(self) -> np.ndarray:
        """Deviation (K,) of the middle of nontargets."""
        inner = self.quantiles[1][:, _INNER]
        return np.maximum(np.diff(inner[:, [7, 41]])[:, 0] / 2, 1e-12)

    def mixture(self, system: int, share: float) -> np.ndarray:
        """Inner quantiles of a system's scores where a share of the trials are targets."""
        tar, non = self.quantiles[:, system]
        scores = np.unique(np.concatenate([tar, non]))
        below = share * _below(scores, tar) + (1 - share) * _below(scores, non)
        return np.interp(LEVELS[_INNER], below, scores)

    def statistics(
        self, table: np.ndarray, share: float | None = None
    ) -> tuple[dict[str, np.ndarray], float]:
        """How far scores (N, K) are from a mixture, NaN of systems without; its share of targets.

        The mixture is of that share of targets, or the one that fits best.
        """
        k = len(self.names)
        given = [int(j) for j in np.flatnonzero(~np.isnan(table).all(axis=0))]
        seen = {j: _quantiles(table[:, j])[_INNER] for j in given}
        if share is None:
            apart = np.array(
                [[np.abs(seen[j] - self.mixture(j, s)).mean() for j in given] for s in _SHARES]
            )
            share = float(_SHARES[(apart / self.spread[given]).sum(axis=1).argmin()])
        found = {name: np.full(k, np.nan) for name in ("misfit", "shift", "scale")}
        for j in given:
            expected, spread = self.mixture(j, share), self.spread[j]
            found["misfit"][j] = np.abs(seen[j] - expected).mean() / spread
            found["shift"][j] = np.median(seen[j] - expected) / spread
            widths = [max(q[41] - q[7], 1e-12) for q in (seen[j], expected)]
            found["scale"][j] = np.log(widths[0]) - np.log(widths[1])
        found["agreement"] = self._agreement(table, share)
        return found, share

    def _agreement(self, table: np.ndarray, share: float) -> np.ndarray:
        """Correlations (K, K) less those of the mixture."""
        step = self.means[0] - self.means[1]
        expected = share * self.covariances[0] + (1 - share) * self.covariances[1]
        expected = expected + share * (1 - share) * np.outer(step, step)
        with np.errstate(all="ignore"):
            limits = np.nanquantile(table, [0.005, 0.995], axis=0)
            _, seen = moments(np.clip(table, *limits))
            return correlations(seen) - correlations(expected)


def enough(
    n_trials: int,
    target: np.ndarray | None = None,
    random_state: int | np.random.Generator | None = 0,
) -> np.ndarray | slice:
    """Which of very many trials to look at: about 2²⁰ drawn at random, of either class if told."""
    if n_trials <= _ENOUGH:
        return slice(None)
    rng = np.random.default_rng(random_state)
    n_targets = n_trials if target is None else max(int(target.sum()), 1)
    share, of_nontargets = _ENOUGH / n_targets, _ENOUGH / max(n_trials - n_targets, 1)
    found = []
    for start in range(0, n_trials, _ENOUGH):  # numbers of all of them would be large themselves
        drawn = rng.random(min(_ENOUGH, n_trials - start))
        if target is not None:
            part = target[start : start + _ENOUGH]
            found.append(start + np.flatnonzero(drawn < np.where(part, share, of_nontargets)))
        else:
            found.append(start + np.flatnonzero(drawn < share))
    return np.concatenate(found)


def _check_worth(reference: Reference) -> None:
    """Refuse metrics on development that are not those of the fusion and of each system."""
    metrics = {PRIMARY.name: 3, INFORMATION.name: 3}
    for name in (FUSED, *reference.names):
        sizes = metrics if name == FUSED else {**metrics, "calibration": 2}
        kept = reference.worth.get(name)
        if not isinstance(kept, dict) or not all(
            _numbers(kept.get(n), k) for n, k in sizes.items()
        ):
            raise DataError(f"what {name} was worth on development is not kept whole")


def _numbers(value: Any, size: int) -> bool:
    """Whether what JSON holds is a list of so many numbers."""
    return (
        isinstance(value, list)
        and len(value) == size
        and all(isinstance(number, (int, float)) and abs(number) < _MOST for number in value)
    )


def _quantiles(values: np.ndarray) -> np.ndarray:
    values = values[~np.isnan(values)]
    return np.quantile(values, LEVELS) if len(values) else np.full(len(LEVELS), np.nan)


def _below(scores: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Share of a class below each score."""
    distinct, last = np.unique(quantiles[::-1], return_index=True)
    return np.interp(scores, distinct, LEVELS[::-1][last], left=0.0, right=1.0)


def moments(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (K,) and covariances (K, K) of what is there; 0 where nothing is."""
    there = ~np.isnan(table)
    counts = there.sum(axis=0)
    means = np.where(there, table, 0).sum(axis=0) / np.maximum(counts, 1)
    centred = np.where(there, table - means, 0.0)
    both = there.T.astype(np.float64) @ there
    return means, centred.T @ centred / np.maximum(both, 1)


def correlations(covariance: np.ndarray) -> np.ndarray:
    deviation = np.sqrt(np.diag(covariance))
    return covariance / np.outer(deviation, deviation)


def _noise(
    table: np.ndarray,
    target: np.ndarray,
    sides: Sequence[np.ndarray],
    reference: Reference,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Deviation of each statistic that one speaker makes, by halves of the speakers.

    Between halves of n speakers a statistic has the variance 2 / (n / 2) of that of one.
    """
    k, n = len(reference.names), reference.n_speakers
    unknown = {name: np.full((k, k) if name == "agreement" else k, _UNKNOWN) for name in MATTERS}
    if n < _FEW:
        return unknown
    if len(table) > _THINNED:
        rows = rng.choice(len(table), _THINNED, replace=False)
        table, target, sides = table[rows], target[rows], [side[rows] for side in sides]
    found: dict[str, list[np.ndarray]] = {name: [] for name in MATTERS}
    for one, two in _halves(sides, rng):
        labels = target[one]
        if labels.sum() < 5 or (~labels).sum() < 5 or not two.any():
            continue
        if np.isnan(table[one][labels]).all(axis=0).any():
            continue
        half = Reference._of(table[one], labels, reference.names)
        for name, values in half.statistics(table[two])[0].items():
            found[name].append(values)
    if len(found["shift"]) < _HALVES:
        return unknown
    with np.errstate(all="ignore"):
        noise = {
            name: np.sqrt(np.nanmean(np.square(values), axis=0) * n) / 2
            for name, values in found.items()
        }
    return {name: np.where(np.isfinite(v), v, _UNKNOWN) for name, v in noise.items()}


def _halves(
    sides: Sequence[np.ndarray], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Trials (N,) within either half of the speakers; both ways."""
    names = np.unique(np.concatenate([np.unique(side) for side in sides]))
    at = [np.searchsorted(names, side) for side in sides]
    for _ in range(_HALVES // 2 + 3):
        first = rng.permutation(len(names)) < len(names) // 2
        inside = [first[side] for side in at]
        parts = inside[0] & inside[1], ~inside[0] & ~inside[1]
        yield parts
        yield parts[::-1]
