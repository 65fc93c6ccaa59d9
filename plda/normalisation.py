"""Score normalisation by a cohort of impostors: z, t, zt, s and adaptive s.

E enrolments, T tests, C cohort entries. A trial's score s(e, t) is set against scores of its
enrolment e, or of its test t, with a cohort of speakers known to be others, whose mean μ and
standard deviation σ (over C, not C − 1) give

    z     (s − μ_e) / σ_e                               Auckenthaler 2000
    t     (s − μ_t) / σ_t                               Auckenthaler 2000
    zt    t of the z-normalised score, with t statistics of z-normalised cohort scores
    s     ½ [(s − μ_e) / σ_e + (s − μ_t) / σ_t]         Kenny 2010, there without the ½
    as    s, each side's statistics over its own N highest-scoring cohort entries
    as2   s, e's statistics over t's N highest and the reverse

The adaptive forms are those of Cumani 2011 and Matějka 2017.

References
----------
R. Auckenthaler, M. Carey, H. Lloyd-Thomas, "Score normalization for text-independent speaker
verification systems", Digital Signal Processing 10, 2000.
P. Kenny, "Bayesian speaker verification with heavy-tailed priors", Odyssey 2010.
S. Cumani et al., "Comparison of speaker recognition approaches for real applications",
Interspeech 2011.
P. Matějka et al., "Analysis of score normalization in multilingual speaker recognition",
Interspeech 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ivector.base.errors import DataError, UsageError
from plda.checks import check_vectors, warn_degenerate

_BLOCK_NUMBERS = 1 << 22

# Mean and standard deviation.
_Statistics = tuple[np.ndarray, np.ndarray]


def _one_after_the_other(s: np.ndarray, enrol: _Statistics, test: _Statistics) -> np.ndarray:
    # Unused sides have mean 0 and deviation 1; for zt, t follows z.
    return ((s - enrol[0]) / enrol[1] - test[0]) / test[1]


def _mean_of_both(s: np.ndarray, enrol: _Statistics, test: _Statistics) -> np.ndarray:
    return ((s - enrol[0]) / enrol[1] + (s - test[0]) / test[1]) / 2


@dataclass(frozen=True)
class Norm:
    """A kind of score normalisation.

    Parameters
    ----------
    combine : callable
        Normalised scores, of scores and of the statistics (μ, σ) of enrolments and of tests.
    enrol, test : bool
        Uses scores of the enrolments, or of the tests, against the cohort.
    adaptive : bool
        Takes each row's `top_n` highest.
    cohort : bool
        Uses scores of the cohort against itself.
    crossed : bool
        Selects by the other side, so that both sides must have the same cohort, whole.
    """

    combine: Callable[[np.ndarray, _Statistics, _Statistics], np.ndarray]
    enrol: bool = True
    test: bool = True
    adaptive: bool = False
    cohort: bool = False
    crossed: bool = False


# Whoever lists or checks kinds asks here; a new one of these parts is an entry.
NORMS = {
    "z": Norm(_one_after_the_other, test=False),
    "t": Norm(_one_after_the_other, enrol=False),
    "zt": Norm(_one_after_the_other, cohort=True),
    "s": Norm(_mean_of_both),
    "as": Norm(_mean_of_both, adaptive=True),
    "as2": Norm(_mean_of_both, adaptive=True, crossed=True),
}


class ScoreNorm(TransformerMixin, BaseEstimator):
    """Normalise scores by those of a cohort.

    `fit` sees scores against the cohort, a row for each enrolment (and one for each test);
    `transform` normalises a score matrix of the same enrolments and tests, in the same order.

    Parameters
    ----------
    kind : {"as", "as2", "s", "z", "t", "zt"}
        See the module. "as" is the usual choice, and the one that suffers least from a cohort
        that resembles the trials only in part; z needs no cohort scores of the tests and can be
        computed at enrolment.
    top_n : int
        Cohort entries that "as" and "as2" select; 100 to 400 in most papers.

    Attributes
    ----------
    enrol_mean_, enrol_std_ : ndarray (n_enrol,)
        μ_e and σ_e; for kind "t" a single 0 and 1.
    test_mean_, test_std_ : ndarray (n_test,)
        μ_t and σ_t; for kind "z" a single 0 and 1. For "as2" both are of each side's own N
        highest, and only bound the deviations that each trial has.
    n_features_in_ : int
        Size of the cohort: of the enrolments', or for kind "t" of the tests'.

    Examples
    --------
    Two enrolments, the second with scores that are all 10 higher; three tests:

    >>> cohort = [[1.0, 2, 3], [11, 12, 13]]
    >>> ScoreNorm("z").fit(cohort).transform([[2.0, 2, 4], [12, 12, 14]]).round(2).tolist()
    [[0.0, 0.0, 2.45], [0.0, 0.0, 2.45]]
    """

    def __init__(self, kind: str = "as", top_n: int = 200):
        self.kind = kind
        self.top_n = top_n

    def fit(
        self,
        X: Any = None,
        y: Any = None,
        cohort_cohort: Any = None,
        *,
        enrol_cohort: Any = None,
        test_cohort: Any = None,
    ) -> ScoreNorm:
        """Learn the statistics of cohort scores; what `kind` does not use may be None.

        Parameters
        ----------
        X : array_like (n_enrol, n_cohort), or iterator over blocks of its rows
            Enrolments against cohort utterances. Blocks are for matrices larger than the memory;
            "as2" needs them whole.
        y : array_like (n_test, n_cohort), or iterator over blocks of its rows
            Cohort models against tests, a row for each test.
        cohort_cohort : array_like (n_cohort_models, n_cohort_utterances)
            For "zt": the models behind `y`'s columns against the utterances behind `X`'s. NaN
            marks an utterance against its own speaker, which is left out.
        enrol_cohort, test_cohort
            `X` and `y` by names that say what they are; errors use them.

        Raises
        ------
        DataError
            Scores missing, not finite, of a cohort of fewer than two, or all equal.
        UsageError
            An unknown kind, a `top_n` below 2, or scores given by both names.
        """
        enrol_cohort = _one_of(X, enrol_cohort, "X", "enrol_cohort")
        test_cohort = _one_of(y, test_cohort, "y", "test_cohort")
        if self.kind not in NORMS:
            raise UsageError(f"kind must be one of {', '.join(NORMS)}, got {self.kind!r}")
        norm = NORMS[self.kind]
        if not isinstance(self.top_n, (int, np.integer)) or self.top_n < 2:
            raise UsageError(f"top_n must be an integer of at least 2, got {self.top_n!r}")
        if norm.crossed and any(
            isinstance(scores, Iterator) for scores in (enrol_cohort, test_cohort)
        ):
            raise UsageError(
                f"kind={self.kind!r} needs cohort scores as whole matrices, not in blocks"
            )
        enrol = self._cohort(enrol_cohort, "enrol_cohort", norm.enrol)
        test = self._cohort(test_cohort, "test_cohort", norm.test)
        self.enrol_mean_, self.enrol_std_, width = self._statistics(enrol, "enrolments")
        if norm.cohort:
            test = self._z_normalised(test, cohort_cohort, width)
        self.test_mean_, self.test_std_, of_tests = self._statistics(test, "tests")
        self.n_features_in_ = width or of_tests
        if norm.crossed:
            self._fit_cross(check_vectors(enrol_cohort), check_vectors(test_cohort))
        return self

    def _cohort(self, scores: Any, name: str, is_used: bool) -> Iterator[np.ndarray]:
        """Yield blocks of rows, checked; nothing for a side that `kind` does not use."""
        if not is_used:
            return
        if scores is None:
            raise DataError(f"kind={self.kind!r} needs {name}: scores against the cohort")
        width = 0
        for block in scores if isinstance(scores, Iterator) else [scores]:
            block = check_vectors(block, name)
            if width and block.shape[1] != width:
                raise DataError(f"{name}: blocks of {width} and of {block.shape[1]} columns")
            if block.shape[1] < 2:
                raise DataError(f"{name} has 1 feature(s), a cohort of one; give two or more")
            if not width and NORMS[self.kind].adaptive and block.shape[1] < self.top_n:
                warn_degenerate(
                    f"{name} holds a cohort of {block.shape[1]}, fewer than top_n={self.top_n}; "
                    "all are used, which is plain s-norm: use a larger cohort or a smaller `top_n`"
                )
            width = block.shape[1]
            yield block

    def _z_normalised(
        self, test: Iterable[np.ndarray], cohort_cohort: Any, n_utterances: int
    ) -> Iterator[np.ndarray]:
        if cohort_cohort is None:
            raise DataError(
                f"kind={self.kind!r} needs cohort_cohort: cohort models against the z cohort"
            )
        scores = np.asarray(cohort_cohort, dtype=np.float64)
        if np.isinf(scores).any() or (np.isfinite(scores).sum(axis=-1) < 2).any():
            raise DataError("cohort_cohort needs two finite scores or more in every row")
        mean = std = None
        for block in test:
            if scores.shape != (block.shape[1], n_utterances):
                raise DataError(
                    f"cohort_cohort has shape {scores.shape}, expected"
                    f" {(block.shape[1], n_utterances)}: test_cohort's columns by enrol_cohort's"
                )
            if mean is None:
                mean = np.nanmean(scores, axis=1)
                std = _floor(np.nanstd(scores, axis=1), "cohort models")
            yield (block - mean) / std

    def _statistics(
        self, blocks: Iterable[np.ndarray], side: str
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Mean and deviation of every row, and the number of columns; 0, 1, 0 of an unused side."""
        means, stds, width = [], [], 0
        for scores in blocks:
            width = scores.shape[1]
            n_top = self.top_n if NORMS[self.kind].adaptive else width
            step = max(1, _BLOCK_NUMBERS // width)
            for start in range(0, len(scores), step):
                block = scores[start : start + step]
                if n_top < width:
                    block = np.partition(block, -n_top, axis=1)[:, -n_top:]
                means.append(block.mean(axis=1, dtype=np.float64))
                stds.append(block.std(axis=1, dtype=np.float64))
        if not means:
            return np.zeros(1), np.ones(1), 0
        return np.concatenate(means), _floor(np.concatenate(stds), side), width

    def _fit_cross(self, enrol: np.ndarray, test: np.ndarray) -> None:
        if enrol.shape[1] != test.shape[1]:
            raise DataError(
                f"enrol_cohort has {enrol.shape[1]} columns but test_cohort {test.shape[1]};"
                f" kind={self.kind!r} needs the same cohort on both sides"
            )
        # About each row's own mean, so that variances do not cancel.
        self._enrol_scores = (enrol - self.enrol_mean_[:, None]).astype(enrol.dtype)
        self._test_scores = (test - self.test_mean_[:, None]).astype(test.dtype)
        n_top = min(self.top_n, enrol.shape[1])
        self._enrol_top = np.argpartition(enrol, -n_top, axis=1)[:, -n_top:]
        self._test_top = np.argpartition(test, -n_top, axis=1)[:, -n_top:]

    def transform(self, scores: Any) -> np.ndarray:
        """Normalise a score matrix.

        Parameters
        ----------
        scores : array_like (n_enrol, n_test)

        Returns
        -------
        ndarray (n_enrol, n_test)
            float32 if `scores` is, else float64.
        """
        check_is_fitted(self)
        scores = check_vectors(scores, "scores")
        sizes = (len(self.enrol_mean_), len(self.test_mean_))
        norm = NORMS[self.kind]
        for size, given, is_used in zip(sizes, scores.shape, (norm.enrol, norm.test)):
            if is_used and size != given:
                raise DataError(
                    f"scores have shape {scores.shape}, but the cohort scores were of {sizes[0]}"
                    f" enrolments and {sizes[1]} tests"
                )
        if norm.crossed:
            return self._transform_cross(scores)
        enrol = (self.enrol_mean_[:, None], self.enrol_std_[:, None])
        return self._combine(scores, enrol, (self.test_mean_, self.test_std_))

    def transform_trials(self, scores: Any, i: Any, j: Any) -> np.ndarray:
        """Normalise the scores of listed trials.

        Parameters
        ----------
        scores : array_like (n_trials,)
        i, j : array_like of int (n_trials,)
            Row of each trial's enrolment and of its test in the cohort scores.

        Returns
        -------
        ndarray (n_trials,)
        """
        check_is_fitted(self)
        scores = check_vectors(np.atleast_2d(scores), "scores")[0]
        norm = NORMS[self.kind]
        i = self._rows(i, len(scores), self.enrol_mean_, "enrolment", norm.enrol)
        j = self._rows(j, len(scores), self.test_mean_, "test", norm.test)
        if norm.crossed:
            return self._transform_cross_trials(scores, i, j)
        enrol = (self.enrol_mean_[i], self.enrol_std_[i])
        return self._combine(scores, enrol, (self.test_mean_[j], self.test_std_[j]))

    def _rows(
        self, rows: Any, n_trials: int, of: np.ndarray, side: str, is_used: bool
    ) -> np.ndarray:
        rows = np.asarray(rows)
        if rows.shape != (n_trials,) or rows.dtype.kind not in "iu":
            raise DataError(f"{side} rows must be {n_trials} integers, got {rows.shape}")
        if not is_used:
            return np.zeros(n_trials, dtype=np.int64)
        if n_trials and (rows.min() < 0 or rows.max() >= len(of)):
            raise DataError(
                f"a trial names a {side} row outside the {len(of)} of the cohort scores"
            )
        return rows

    def _combine(self, scores: np.ndarray, enrol: _Statistics, test: _Statistics) -> np.ndarray:
        normalised = NORMS[self.kind].combine(scores, enrol, test)
        return normalised.astype(scores.dtype, copy=False)

    def _transform_cross(self, scores: np.ndarray) -> np.ndarray:
        """Sums over the other side's selection are products with its indicator matrix."""
        pick_test = _indicator(self._test_top, self._enrol_scores)
        pick_enrol = _indicator(self._enrol_top, self._test_scores)
        test_squares = self._test_scores**2
        out = np.empty_like(scores)
        step = max(1, _BLOCK_NUMBERS // max(scores.shape[1], pick_test.shape[1]))
        for start in range(0, len(scores), step):
            rows = slice(start, start + step)
            own = self._enrol_scores[rows]
            enrol = _moments(own @ pick_test.T, own**2 @ pick_test.T, self.enrol_std_[rows, None])
            pick = pick_enrol[rows]
            cross = _moments(pick @ self._test_scores.T, pick @ test_squares.T, self.test_std_)
            out[rows] = self._combine(
                scores[rows],
                (enrol[0] + self.enrol_mean_[rows, None], enrol[1]),
                (cross[0] + self.test_mean_, cross[1]),
            )
        return out

    def _transform_cross_trials(
        self, scores: np.ndarray, i: np.ndarray, j: np.ndarray
    ) -> np.ndarray:
        out = np.empty_like(scores)
        step = max(1, _BLOCK_NUMBERS // self._test_top.shape[1])
        for start in range(0, len(scores), step):
            part = slice(start, start + step)
            rows, columns = i[part], j[part]
            own = self._enrol_scores[rows[:, None], self._test_top[columns]]
            other = self._test_scores[columns[:, None], self._enrol_top[rows]]
            enrol = _moments(own.mean(1), (own**2).mean(1), self.enrol_std_[rows])
            test = _moments(other.mean(1), (other**2).mean(1), self.test_std_[columns])
            out[part] = self._combine(
                scores[part],
                (enrol[0] + self.enrol_mean_[rows], enrol[1]),
                (test[0] + self.test_mean_[columns], test[1]),
            )
        return out


def _one_of(scores: Any, named: Any, name: str, other: str) -> Any:
    if scores is not None and named is not None:
        raise UsageError(f"{name} and {other} are the same scores; give one of them")
    return named if scores is None else scores


def _indicator(top: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Rows (n, C) that average over the selected cohort entries (n, N) of scores `like`."""
    rows = np.zeros((len(top), like.shape[1]), like.dtype)
    np.put_along_axis(rows, top, 1 / top.shape[1], axis=1)
    return rows


def _moments(first: np.ndarray, second: np.ndarray, own_std: np.ndarray) -> _Statistics:
    """Mean and deviation of first and second moments, floored at 1/1000 of the own deviation."""
    return first, np.sqrt(np.maximum(second - first**2, (1e-3 * own_std) ** 2))


def _floor(std: np.ndarray, side: str) -> np.ndarray:
    """Floor standard deviations at 1/1000 of the median of those that are not zero."""
    positive = std[std > 0]
    if not len(positive):
        raise DataError(
            f"the cohort scores of all {len(std)} {side} are equal among themselves; use a cohort"
            " of different speakers"
        )
    floor = 1e-3 * np.median(positive)
    n_low = int(np.count_nonzero(std < floor))
    if n_low:
        warn_degenerate(
            f"{n_low} of {len(std)} {side} have cohort scores without spread, whose deviation was"
            f" floored at {floor:.3g}: use a larger or more varied cohort"
        )
    return np.maximum(std, floor)
