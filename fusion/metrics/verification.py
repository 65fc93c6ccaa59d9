"""Scorers for scikit-learn's model selection: what an estimator is worth in verification.

``scoring=VerificationScorer("eer")`` lets `GridSearchCV`, `cross_val_score` and others choose by
the trials between the recordings that are held out, instead of by the accuracy of naming training
speakers, which rewards what verification does not need. Hold speakers out, not recordings of
them: ``cv=GroupKFold(), groups=y``.

Dimension legend: N recordings, T trials.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import METRICS, PRIMARY
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller


class VerificationScorer:
    """A metric of verification between held-out recordings; greater is better.

    Every recording meets every other one. The last step of a pipeline scores the pairs, with
    ``score_trials(X, X, i, j)`` or ``scorer(X, X).trials(i, j)``; the steps before transform the
    vectors. A scorer holds nothing but its parameters, so that it may be pickled and shared.

    Parameters
    ----------
    metric : str
        Name of a metric of `fusion.metrics.METRICS`, such as "eer", "min_dcf", "cllr", "min_cllr"
        and "act_dcf". Those that need log-likelihood ratios take the scores for such.
    p_target, c_miss, c_fa : float
        Operating point of a metric that has one.
    max_nontargets : int
        Nontarget pairs to take at most, drawn with equal chances; target pairs are all taken. Raise
        it where false alarms are few, at 40 bytes a pair.

    Raises
    ------
    UsageError
        No such metric, an impossible operating point or number of pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion import VerificationScorer
    >>> class Products:
    ...     def score_trials(self, enrol, test, i, j):
    ...         return np.sum(enrol[i] * test[j], axis=1)
    >>> X, y = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]]), ["ann", "ann", "ben", "ben"]
    >>> VerificationScorer("eer")(Products(), X, y) == 0
    True
    >>> VerificationScorer("min_dcf", p_target=0.05)
    VerificationScorer('min_dcf', p_target=0.05, c_miss=1.0, c_fa=1.0)
    """

    def __init__(
        self,
        metric: str = PRIMARY.name,
        *,
        p_target: float = 0.01,
        c_miss: float = 1.0,
        c_fa: float = 1.0,
        max_nontargets: int = 10_000_000,
    ):
        if metric not in METRICS:
            raise UsageError(f"`metric` is {metric!r}; there are {', '.join(METRICS)}")
        if max_nontargets < 1:
            raise UsageError(f"`max_nontargets` must be at least 1, got {max_nontargets}")
        self.metric, self.max_nontargets = metric, max_nontargets
        self.point = OperatingPoint(p_target, c_miss, c_fa)

    def __repr__(self) -> str:
        point = ""
        if METRICS[self.metric].per_point:
            p_target, c_miss, c_fa = METRICS[self.metric].arguments(self.point)
            point = f", {p_target=}, {c_miss=}, {c_fa=}"
        return f"VerificationScorer({self.metric!r}{point})"

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """The metric of an estimator on recordings X (N, D) of speakers y (N,), greater is better.

        Raises
        ------
        DataError
            No two recordings of one speaker, or of two speakers.
        UsageError
            The estimator scores no trials.
        """
        speakers = np.unique(np.asarray(y), return_inverse=True)[1].reshape(-1)
        _warn_of_known(estimator, y)
        i, j = self._pairs(speakers)
        scores = _scored(estimator, X, i, j)
        same = speakers[i] == speakers[j]
        metric = METRICS[self.metric]
        value = metric.measure(OperatingPoints(scores[same], scores[~same]), self.point)
        return -metric.sign * value

    def _pairs(self, speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (T,) of both sides: all target pairs, and all or some nontarget pairs."""
        n = len(speakers)
        order = np.argsort(speakers, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(speakers))[:-1])
        inner = [np.triu_indices(len(group), 1) for group in groups]
        targets = [(group[i], group[j]) for group, (i, j) in zip(groups, inner)]
        n_targets = sum(len(i) for i, _ in targets)
        n_nontargets = n * (n - 1) // 2 - n_targets
        if not n_targets or not n_nontargets:
            raise DataError(
                f"{n} held-out recordings of {len(groups)} speakers give no "
                f"{'nontarget' if n_targets else 'target'} trials; hold out at least two speakers, "
                "with several recordings each"
            )
        if n_nontargets <= self.max_nontargets:
            one, two = np.triu_indices(n, 1)
        else:
            rng = np.random.default_rng(0)
            one, two = rng.integers(n, size=(2, self.max_nontargets + n_targets))
        differ = speakers[one] != speakers[two]
        one, two = one[differ][: self.max_nontargets], two[differ][: self.max_nontargets]
        return tuple(  # type: ignore[return-value]
            np.concatenate([*side, other]) for side, other in zip(zip(*targets), (one, two))
        )


def _scored(estimator: Any, X: Any, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Scores (T,) of pairs of rows of X by the last step of an estimator."""
    while hasattr(estimator, "steps"):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator[-1]
    if hasattr(estimator, "score_trials"):
        return np.asarray(estimator.score_trials(X, X, i, j))
    if hasattr(estimator, "scorer"):
        return np.asarray(estimator.scorer(X, X).trials(i, j))
    raise UsageError(
        f"{type(estimator).__name__} scores no trials; give an estimator, or a pipeline that ends "
        "with one, that scores pairs, such as PLDA"
    )


def _warn_of_known(estimator: Any, y: Any) -> None:
    """Warn if speakers that are held out were trained on."""
    known = np.isin(np.unique(np.asarray(y)), getattr(estimator, "classes_", ())).sum()
    if known:
        warn_caller(
            f"{known} speakers that are held out are also those of training, so that errors look "
            "too few; split by speakers, with GroupKFold and their labels as groups",
            DegenerateDataWarning,
        )
