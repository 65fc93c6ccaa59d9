"""Linear logistic fusion: the scores of several systems become one log-likelihood ratio.

The fused llr is an offset and a weighted sum of the scores, with the weights of least logistic
cost when targets have a given prior (N. Brümmer, L. Burget et al., "Fusion of heterogeneous
speaker recognition systems in the STBU submission for the NIST Speaker Recognition Evaluation
2006", IEEE Trans. ASLP 15, 2007, section V; BOSARIS's ``linear_fusion``). Systems are not
calibrated first: the fusion does it.

Dimension legend: N trials, K systems, M patterns of systems that are present together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from fusion.calibration.bounded import BoundedFit, bound, fit_bounded
from fusion.calibration.estimator import LlrClassifier, number_table, stored_options
from fusion.calibration.logistic import LogisticFit, fit_logistic
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller
from ivector.base.estimators import check_columns

MISSING = ("refuse", "fallback")
# Directions of standardised scores with less of the variance than this are left without weight:
# what two all but equal systems differ in would get huge weights of opposite signs.
_COLLINEAR = 1e-6
# Shares the weight of equal systems where weights must not be negative, and is too small to
# change anything else.
_TIE_RIDGE = 1e-8


class LinearFusion(LlrClassifier):
    """Fuse systems to natural-log likelihood ratios, ``X @ weights_ + offset_``.

    As a scikit-learn classifier it tells targets from nontargets: `decision_function` and
    `transform` are the llr, `predict` and `predict_proba` decide at `prior`.

    Parameters
    ----------
    prior : float
        Prior probability of a target for which the logistic cost is least. It weighs the classes
        and does not shift the llr; low ones care more for false alarms. `predict` decides at it.
    ridge : float
        Penalty of the squared weights of standardised scores, as in `fit_logistic`; for few
        training trials or for systems that are much alike. 1e-3 is little.
    non_negative : bool
        Whether no system may get a weight below 0.
    missing : {"refuse", "fallback"}
        What to do with trials that lack the score (NaN) of a system: raise, or fuse the systems
        that are there with weights trained for them.
    names : sequence of str, optional
        Names of the systems, for messages and the saved model; those of the columns of a data
        frame by default.
    bounded : bool
        Whether to take some trials for outliers (`fusion.calibration.bounded`): they neither tilt
        the weights, nor is any llr larger than their share, found in training, allows.

    Attributes
    ----------
    weights_ : ndarray (K,) float64
        Of the fusion of all systems, per unit of their scores.
    offset_ : float
    patterns_ : ndarray (M, K) bool
        Sets of systems that have a fusion of their own: all systems, then those with fewer, so
        that a trial takes the first of which it has all scores. Only one with "refuse".
    pattern_weights_ : ndarray (M, K) float64
        0 where a system is not of the pattern.
    pattern_offsets_ : ndarray (M,) float64
    pattern_outlier_log_odds_ : ndarray (M, 2) float64, or (M, 0)
        If bounded: of outliers among targets and among nontargets, see `bound`.
    pattern_trials_ : ndarray (M,) int64
        Trials each was trained on: all that have the scores of its systems.
    separable_ : bool
        Whether a fusion without a penalty had no finite best weights: the classes do not overlap.
    rank_ : int
        Systems that are not combinations of others, of the K.
    objective_ : list of float
        Cost after each iteration of the training of all systems.
    classes_ : ndarray (2,)
        Labels of nontargets and targets.
    n_features_in_ : int
        K.
    feature_names_in_ : ndarray (K,) of str
        If it was trained on a data frame.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion import LinearFusion
    >>> rng = np.random.default_rng(0)
    >>> y = rng.random(2000) < 0.5
    >>> S = np.where(y, 2, 0)[:, None] + rng.standard_normal((2000, 2))  # two systems
    >>> fusion = LinearFusion().fit(S, y)
    >>> fusion.weights_.round().tolist()
    [2.0, 2.0]
    >>> fusion.transform([[2, 2], [0, 0]]).round().tolist()
    [4.0, -4.0]
    """

    def __init__(
        self,
        prior: float = 0.5,
        ridge: float = 0.0,
        non_negative: bool = False,
        missing: str = "refuse",
        names: Sequence[str] | None = None,
        bounded: bool = False,
    ):
        self.prior = prior
        self.ridge = ridge
        self.non_negative = non_negative
        self.missing = missing
        self.names = names
        self.bounded = bounded

    def fit(self, X: ArrayLike, y: ArrayLike) -> LinearFusion:
        """Train on scored trials.

        Parameters
        ----------
        X : array-like (N, K)
            Scores, in any units; NaN where a system has none.
        y : array-like (N,) bool
            Whether a trial is a target; or any two labels, of which the last is the targets'.

        Raises
        ------
        DataError
            A class has no trials, a system has the same score for all trials or none, a score is
            infinite or, unless with "fallback", missing; or arrays do not fit together.
        UsageError
            An impossible option.
        """
        self._check_options()
        self._check_names(X, reset=True)
        table = self._table(X)
        self._refuse_infinite(table)
        target, classes = self._targets(y, len(table))
        self._check_systems(table.shape[1])
        self._refuse_unusable(table)
        self.n_features_in_ = table.shape[1]
        present = ~np.isnan(table)
        everything = np.ones(table.shape[1], bool)
        fits = {everything.tobytes(): (everything, *self._fit_pattern(table, target, everything))}
        self.rank_ = fits[everything.tobytes()][3]
        self.objective_ = list(fits[everything.tobytes()][1].objective)
        if self.missing == "fallback":
            for pattern in _candidates(present):
                if pattern.tobytes() not in fits and self._trainable(table, target, pattern):
                    fits[pattern.tobytes()] = (
                        pattern, *self._fit_pattern(table, target, pattern),
                    )  # fmt: skip
        self._keep(sorted(fits.values(), key=lambda f: (-f[0].sum(), f[1].objective[-1])))
        self.classes_ = classes
        return self

    def _llr(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self, "classes_")
        self._check_names(X, reset=False)
        table = self._table(X)
        systems = f"give scores of {', '.join(self._names(self.n_features_in_))}"
        check_columns(table.shape[1], self.n_features_in_, "LinearFusion", systems)
        self._refuse_infinite(table)
        present = ~np.isnan(table)
        if present.all():
            return self._bound(table @ self.weights_ + self.offset_, 0)
        self._refuse_missing(present)
        llr = np.empty(len(table))
        for pattern, rows in _group(present):
            fitting = np.flatnonzero(~(self.patterns_ & ~pattern).any(axis=1))
            if not len(fitting):
                raise DataError(
                    f"{len(rows)} trials have scores of {self._list(pattern)} only, for which no "
                    "fusion could be trained; score them with the other systems"
                )
            m = fitting[0]
            # Picked, not multiplied by 0: the other systems' scores are NaN.
            used = self.patterns_[m]
            llr[rows] = table[np.ix_(rows, used)] @ self.pattern_weights_[m, used]
            llr[rows] = self._bound(llr[rows] + self.pattern_offsets_[m], m)
        return llr

    def _bound(self, llr: np.ndarray, m: int) -> np.ndarray:
        return bound(llr, *self.pattern_outlier_log_odds_[m]) if self.bounded else llr

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "fallback"
        return tags

    def to_dict(self) -> dict[str, Any]:
        """Options and learned numbers, fit for JSON."""
        check_is_fitted(self, "classes_")
        options = {**self.get_params(), "names": self._names(self.n_features_in_)}
        patterns = [
            {
                "systems": np.flatnonzero(pattern).tolist(),
                "weights": self.pattern_weights_[m, pattern].tolist(),
                "offset": float(self.pattern_offsets_[m]),
                "outlier_log_odds": self.pattern_outlier_log_odds_[m].tolist(),
                "trials": int(self.pattern_trials_[m]),
            }
            for m, pattern in enumerate(self.patterns_)
        ]
        return {
            "options": options,
            "separable": bool(self.separable_),
            "rank": int(self.rank_),
            "patterns": patterns,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LinearFusion:
        """The fusion that `to_dict` told of; all but `objective_`, with labels False and True.

        Raises
        ------
        DataError
            Something lacks or does not fit together.
        """
        try:
            fusion = stored_options(cls, content["options"])
            fusion._check_options()
            n_systems = len(fusion.names or ())
            fusion._check_systems(n_systems)
            patterns = list(content["patterns"])
            fusion.n_features_in_, fusion.classes_ = n_systems, np.array([False, True])
            fusion.patterns_ = np.zeros((len(patterns), n_systems), bool)
            fusion.pattern_weights_ = np.zeros(fusion.patterns_.shape)
            for m, pattern in enumerate(patterns):
                fusion.patterns_[m, pattern["systems"]] = True
                fusion.pattern_weights_[m, pattern["systems"]] = pattern["weights"]
            fusion.pattern_offsets_ = np.array([float(p["offset"]) for p in patterns])
            fusion.pattern_trials_ = np.array([int(p["trials"]) for p in patterns])
            odds = [pattern["outlier_log_odds"] for pattern in patterns]
            fusion.pattern_outlier_log_odds_ = np.array(odds, np.float64).reshape(len(odds), -1)
            fusion.separable_, fusion.rank_ = bool(content["separable"]), int(content["rank"])
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise DataError(f"not a fusion of this toolkit, or damaged ({error})") from None
        numbers = [fusion.pattern_weights_.ravel(), fusion.pattern_offsets_]
        numbers.append(fusion.pattern_outlier_log_odds_.ravel())
        if not len(patterns) or not fusion.patterns_[0].all():
            raise DataError("not a fusion of this toolkit: the weights of all systems lack")
        if fusion.pattern_outlier_log_odds_.shape[1] != 2 * bool(fusion.bounded):
            raise DataError("not a fusion of this toolkit: the bounds are impossible")
        if not np.isfinite(np.concatenate(numbers)).all():
            raise DataError("not a fusion of this toolkit: a weight is not a finite number")
        fusion.weights_ = fusion.pattern_weights_[0].copy()
        fusion.offset_ = float(fusion.pattern_offsets_[0])
        return fusion

    def _keep(
        self, fits: list[tuple[np.ndarray, LogisticFit | BoundedFit, np.ndarray, int, int]]
    ) -> None:
        self.patterns_ = np.array([fit[0] for fit in fits])
        self.pattern_weights_ = np.zeros(self.patterns_.shape)
        for m, (pattern, _, weights, _, _) in enumerate(fits):
            self.pattern_weights_[m, pattern] = weights
        self.pattern_offsets_ = np.array([fit[1].offset for fit in fits], np.float64)
        self.pattern_outlier_log_odds_ = np.array(
            [getattr(fit[1], "outlier_log_odds", ()) for fit in fits], np.float64
        )
        self.pattern_trials_ = np.array([fit[4] for fit in fits], np.int64)
        self.separable_ = bool(fits[0][1].separable)
        self.weights_ = self.pattern_weights_[0].copy()
        self.offset_ = float(self.pattern_offsets_[0])

    def _fit_pattern(
        self, table: np.ndarray, target: np.ndarray, pattern: np.ndarray
    ) -> tuple[LogisticFit | BoundedFit, np.ndarray, int, int]:
        """Fit on the trials with all scores of a pattern: the fit, weights, rank and trials."""
        rows = ~np.isnan(table[:, pattern]).any(axis=1)
        scores = table if rows.all() and pattern.all() else table[np.ix_(rows, pattern)]
        labels = target[rows]
        self._refuse_degenerate(scores, labels, pattern)
        learn: Callable[..., LogisticFit | BoundedFit] = (
            fit_bounded if self.bounded else fit_logistic
        )
        basis = _independent(scores)
        rank = len(basis)
        ridge = self.ridge
        if rank < scores.shape[1] and not ridge:
            self._tell_collinear(pattern, rank)
            if not self.non_negative:
                fit = learn(scores @ basis.T, labels, prior=self.prior)
                return fit, fit.weights @ basis, rank, len(scores)
            ridge = _TIE_RIDGE
        fit = learn(scores, labels, prior=self.prior, ridge=ridge, non_negative=self.non_negative)
        return fit, fit.weights, rank, len(scores)

    def _trainable(self, table: np.ndarray, target: np.ndarray, pattern: np.ndarray) -> bool:
        rows = ~np.isnan(table[:, pattern]).any(axis=1)
        if not (target[rows].any() and not target[rows].all()):
            return False
        return not _constant(table[np.ix_(rows, pattern)]).any()

    # --- checks -------------------------------------------------------------------------------

    def _check_options(self) -> None:
        if not 0 < self.prior < 1:
            raise UsageError(f"the prior of a target must be between 0 and 1, got {self.prior}")
        if not 0 <= self.ridge < np.inf:
            raise UsageError(f"the ridge must be at least 0 and finite, got {self.ridge}")
        if self.missing not in MISSING:
            raise UsageError(f"missing must be one of {', '.join(MISSING)}, got {self.missing!r}")

    def _check_systems(self, n_systems: int) -> None:
        if self.names is None:
            return
        if len(self.names) != n_systems:
            raise UsageError(f"{len(self.names)} names for {n_systems} systems; give one each")
        if len(set(self.names)) < n_systems:
            raise UsageError("a name is given to two systems; name them apart")

    def _names(self, n_systems: int) -> list[str]:
        names: Any = self.names or getattr(self, "feature_names_in_", ())
        return [str(name) for name in names] or [f"system {k + 1}" for k in range(n_systems)]

    def _list(self, pattern: np.ndarray) -> str:
        return ", ".join(name for name, here in zip(self._names(len(pattern)), pattern) if here)

    def _table(self, X: ArrayLike) -> np.ndarray:
        table = number_table(X)
        if table.ndim != 2 or not table.size:
            raise DataError(
                f"scores of shape {table.shape}; give (n_trials, n_systems). Reshape your data if "
                "it is one trial or one system"
            )
        # Sums of another order of the numbers in memory would differ in the last digit.
        return np.ascontiguousarray(table)

    def _refuse_infinite(self, table: np.ndarray) -> None:
        infinite = np.isinf(table).sum(axis=0)
        if infinite.any():
            k = int(np.argmax(infinite > 0))
            raise DataError(
                f"{infinite[k]} of {len(table)} scores of {self._names(table.shape[1])[k]} are "
                "infinite; mend the scoring"
            )

    def _refuse_unusable(self, table: np.ndarray) -> None:
        present = ~np.isnan(table)
        for name, count in zip(self._names(table.shape[1]), present.sum(axis=0)):
            if not count:
                raise DataError(f"{name} has no score of any trial; leave the system out")
        self._refuse_missing(present)

    def _refuse_missing(self, present: np.ndarray) -> None:
        """Raise for missing scores, or with "fallback" for trials without any score."""
        if present.all():
            return
        if self.missing == "fallback":
            nothing = np.flatnonzero(~present.any(axis=1))
            if len(nothing):
                raise DataError(
                    f"{len(nothing)} of {len(present)} trials have no score of any system, first "
                    f"at {nothing[0]}; take them out"
                )
            return
        lacking = (~present).sum(axis=0)
        counts = ", ".join(
            f"{count} lack {name}"
            for name, count in zip(self._names(present.shape[1]), lacking)
            if count
        )
        raise DataError(
            f"missing scores (NaN): of {len(present)} trials {counts}; score them, take them out, "
            'or fuse what is there with missing="fallback"'
        )

    def _refuse_degenerate(
        self, scores: np.ndarray, labels: np.ndarray, pattern: np.ndarray
    ) -> None:
        """Raise if a class lacks or a system always has the same score."""
        where = f"with scores of {self._list(pattern)}" if len(pattern) > 1 else "with scores"
        if not labels.any() or labels.all():
            raise DataError(
                f"no {'nontarget' if labels.any() else 'target'} trial {where}; a fusion "
                "needs both classes"
            )
        constant = np.flatnonzero(_constant(scores))
        if len(constant):
            name = np.array(self._names(len(pattern)))[pattern][constant[0]]
            raise DataError(
                f"all {len(scores)} scores of {name} are {scores[0, constant[0]]:g} and tell "
                "nothing; leave the system out or mend its scoring"
            )

    def _tell_collinear(self, pattern: np.ndarray, rank: int) -> None:
        warn_caller(
            f"of {self._list(pattern)} only {rank} of {pattern.sum()} systems tell something of "
            "their own (the same file twice?): what is common is weighed equally",
            DegenerateDataWarning,
        )


def _constant(scores: np.ndarray) -> np.ndarray:
    """Whether each system (K,) always has the same score, but for rounding."""
    low, high = scores.min(axis=0), scores.max(axis=0)
    return high - low <= 4 * np.finfo(np.float64).eps * np.maximum(np.abs(low), np.abs(high))


def _independent(scores: np.ndarray) -> np.ndarray:
    """Combinations (rank, K) of scores (N, K) that vary, by their correlations.

    Of all weights with the same fused score over standardised systems, those in the span of the
    principal directions are the smallest: equal systems share their weight equally.
    """
    if scores.shape[1] == 1:
        return np.ones((1, 1))
    peak = np.maximum(scores.max(axis=0), -scores.min(axis=0))
    centred = scores / peak  # so that no square overflows
    centred -= (middle := centred.mean(axis=0))
    scale = np.sqrt(np.mean(np.square(centred, out=centred), axis=0))
    np.divide(scores, peak, out=centred)  # again: their squares, as large, are in their place
    centred -= middle
    centred /= scale
    values, vectors = np.linalg.eigh(centred.T @ centred / len(scores))
    return vectors.T[values > _COLLINEAR] / scale / peak


def _candidates(present: np.ndarray) -> list[np.ndarray]:
    """Patterns worth a fusion: those that occur, all but one system, and each system alone.

    The last two are for trials that lack a system when none of the training trials does.
    """
    one = np.eye(present.shape[1], dtype=bool)
    found = [*(pattern for pattern, _ in _group(present)), *~one, *one]
    return [pattern for pattern in found if pattern.any()]


def _group(present: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of each pattern that occurs in (N, K), as pairs of pattern and rows."""
    code = np.zeros(len(present), np.int64)
    for column in present.T:
        # Renumbered at every system, so that codes stay below 2 N for any number of systems.
        _, code = np.unique(2 * code + column, return_inverse=True)
    order = np.argsort(code, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    return [(present[rows[0]], rows) for rows in groups]
