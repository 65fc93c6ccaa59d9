"""Two-covariance PLDA trained by EM, with the numbers of Kaldi's.

N vectors, D dimensions, K classes (speakers), n_k vectors in class k; the model is that of
`plda.models.two_covariance`. Follows ``ivector/plda.cc`` of Kaldi (commit f4007661), after
S. Ioffe, "Probabilistic linear discriminant analysis", ECCV 2006.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ivector.base.errors import ObjectiveWarning, UsageError, warn_caller
from ivector.base.foreign.schema import Field, Schema
from ivector.base.parallel.workers import one_thread
from plda.checks import check_input, check_labels, check_range, check_training
from plda.linalg import ClassStatistics, class_statistics, diagonalise
from plda.models.em import absolute_floor, em_step, floor_eigenvalues, objective
from plda.models.two_covariance import TwoCovariance, smoothed


class PLDA(TwoCovariance):
    """Probabilistic linear discriminant analysis, with the numbers of Kaldi's.

    Parameters
    ----------
    n_iter : int
        EM iterations (Kaldi's ``--num-em-iters``). EM starts at W = B = I, so vectors should be
        of about unit variance: apply `LengthNorm` first, as Kaldi does.
    covariance_floor : float
        W's eigenvalues are floored at this fraction of the total covariance's greatest; of no
        effect on data of full rank, it keeps the model usable on others.
    smoothing : float
        Share of B that is added to W after training, as `smooth` does: 0 to 1. Raise it where
        there are few speakers or utterances.
    priors : array_like (K,), optional
        Prior probabilities of the speakers that `predict` chooses from, in the order of
        ``classes_``; equal by default.

    Attributes
    ----------
    mean_ : ndarray (D,)
        Unweighted average of the class means.
    transform_ : ndarray (D, D)
        T; rows in order of ψ, defined up to sign.
    psi_ : ndarray (D,)
        Between-class variances ψ in the transformed space, greatest first.
    within_covariance_, between_covariance_ : ndarray (D, D)
        W and B.
    objective_ : list of float
        Kaldi's objective per vector after each iteration: the log-likelihood of the training
        vectors, short of the constant −½ D Σ_k log n_k; before smoothing.
    classes_ : ndarray (K,)
        Speakers that `predict` chooses from: those of training, until `enrol` sets others. A
        model that was read from a file or made from another one has none.
    class_means_ : ndarray (K, D)
        Means of their length-normalised utterances, in the transformed space.
    class_counts_ : ndarray (K,) of int
        Numbers of their utterances.
    n_features_in_ : int
    feature_names_in_ : ndarray (D,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> speakers = np.repeat(np.arange(50), 8)
    >>> X = 2 * rng.normal(size=(50, 20))[speakers] + rng.normal(size=(400, 20))
    >>> plda = PLDA().fit(X, speakers)
    >>> scores = plda.score_matrix(X[:3], X[[1, 100]])
    >>> scores.shape, bool(scores[0, 0] > scores[0, 1])
    ((3, 2), True)
    >>> plda.predict(X[[1, 100]]).tolist(), plda.predict_proba(X[[1, 100]]).shape
    ([0, 12], (2, 50))
    """

    learnt: ClassVar[Schema] = {
        "mean_": Field(("D",)),
        "transform_": Field(("D", "D")),
        "psi_": Field(("D",), least=0),
    }

    def __init__(
        self,
        n_iter: int = 10,
        covariance_floor: float = 1e-6,
        smoothing: float = 0.0,
        priors: Any = None,
    ):
        self.n_iter = n_iter
        self.covariance_floor = covariance_floor
        self.smoothing = smoothing
        self.priors = priors

    @one_thread()
    def fit(self, X: Any, y: Any = None) -> PLDA:
        """Train by EM (Kaldi's ``PldaEstimator``) and enrol the speakers of training.

        Parameters
        ----------
        X : array_like (N, D)
        y : array_like (N,)
            Speaker of each vector.

        Raises
        ------
        DataError
            NaN, one class only, or labels that do not fit.

        Notes
        -----
        Every iteration works in the space where W = I and B is diagonal. Posteriors of the class
        means are then diagonal for any n_k, so a time of O(K D² + D³) does not depend on how
        many distinct counts there are, where Kaldi inverts a matrix for each.
        """
        self._check_options()
        X = check_training(self, X)
        classes, index = check_labels(y, len(X), self)
        self.fit_statistics(class_statistics(X, index, len(classes)))
        return self._set_speakers(X, classes, index)

    def _check_options(self) -> None:
        if not isinstance(self.n_iter, (int, np.integer)) or self.n_iter < 1:
            raise UsageError(f"n_iter must be an integer of at least 1, got {self.n_iter!r}")
        check_range("covariance_floor", self.covariance_floor, 0.0, 1.0)
        check_range("smoothing", self.smoothing, 0.0, 1.0)

    @one_thread()
    def fit_statistics(self, stats: ClassStatistics) -> PLDA:
        """Train on statistics of vectors that need not be in memory; no speakers are enrolled."""
        self._check_options()
        relative_floor, smoothing = float(self.covariance_floor), float(self.smoothing)
        floor = absolute_floor(stats, relative_floor)
        mean = stats.means.mean(axis=0)
        centred = stats.means - mean

        within = np.eye(len(mean))
        transform, psi = within, np.ones(len(mean))
        self.objective_ = []
        for iteration in range(self.n_iter):
            within, between = em_step(stats, centred, within, transform, psi)
            within = floor_eigenvalues(within, floor)
            transform, psi = diagonalise(within, between)
            self.objective_.append(objective(stats, centred, transform, psi))
            self._warn_of_fall(iteration)
        self.set_diagonal(mean, *smoothed(transform, psi, smoothing))
        return self

    def _warn_of_fall(self, iteration: int) -> None:
        if iteration == 0:
            return
        before, after = self.objective_[-2:]
        if after < before - 1e-9 * max(1.0, abs(before)):
            warn_caller(
                f"the objective fell from {before:.10g} to {after:.10g} in iteration {iteration};"
                " the vectors' scale may be extreme: apply LengthNorm first",
                ObjectiveWarning,
            )

    def objective(self, X: Any, y: Any) -> float:
        """Kaldi's objective of labelled vectors per vector, as in `objective_`.

        Tells models of the same vectors apart by speakers that they were not trained on; `score`
        is the share of vectors whose speaker is predicted.

        Parameters
        ----------
        X : array_like (N, D)
        y : array_like (N,)
        """
        check_is_fitted(self)
        X = check_input(self, X)
        classes, index = check_labels(y, len(X), self, min_classes=1)
        stats = class_statistics(X, index, len(classes))
        return objective(stats, stats.means - self.mean_, self.transform_, self.psi_)
