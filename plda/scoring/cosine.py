"""Cosine scores of vectors and Kaldi's ``ivector-compute-dot-products``.

N enrolment vectors, M test vectors, D dimensions. Centre the vectors first: a cosine depends on
where the origin is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from plda.checks import check_input, check_labels, check_training, check_vectors
from plda.linalg import ClassStatistics, class_means
from plda.scoring.identification import Identifier
from plda.scoring.pairs import PairScorer
from plda.transforms.length import length_norm


class Cosine(Identifier, BaseEstimator):
    """Cosines as a back-end like the others; nothing is learnt but who the speakers are.

    Attributes
    ----------
    classes_ : ndarray (K,)
        Speakers that `predict` chooses from, of training or of `enrol`.
    class_means_ : ndarray (K, D)
        Means of their vectors.
    n_features_in_ : int
    feature_names_in_ : ndarray (D,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.eye(2)
    >>> cosine = Cosine().fit(X, ["ann", "bob"])
    >>> cosine.scorer(X, X).matrix()
    array([[1., 0.],
           [0., 1.]])
    >>> cosine.predict([[3, 1]]).tolist()
    ['ann']
    """

    class_means_: np.ndarray

    def fit(self, X: Any, y: Any = None) -> Cosine:
        """Enrol the speakers of training, if labels are given; scores need nothing else."""
        check_training(self, X)
        self.forget_speakers()
        return self if y is None else self.enrol(X, y)

    def fit_statistics(self, stats: ClassStatistics) -> Cosine:
        """Note the dimension of vectors that need not be in memory; no speakers are enrolled."""
        self.n_features_in_ = stats.means.shape[1]
        return self

    def enrol(self, X: Any, y: Any) -> Cosine:
        """Set the speakers that `predict` chooses from, of vectors (N, D) and labels (N,)."""
        X = check_input(self, X)
        self.classes_, index = check_labels(y, len(X), self, min_classes=1)
        self.class_means_ = class_means(X, index, len(self.classes_))[1]
        return self

    def class_scores(self, X: Any) -> np.ndarray:
        """Cosines (N, K) of vectors (N, D) with the mean of every enrolled speaker."""
        self.check_enrolled()
        return cosine_scores(check_input(self, X), self.class_means_)

    def scorer(self, enrol: Any, test: Any, n_enrol: Any = 1) -> PairScorer:
        """Prepare the cosines of enrolment (N, D), each a mean of vectors, and test (M, D)."""
        return cosine_scorer(enrol, test)


def cosine_scorer(enrol: Any, test: Any, normalize_length: bool = True) -> PairScorer:
    """Prepare cosine scores, or plain inner products.

    Parameters
    ----------
    enrol : array_like (N, D)
    test : array_like (M, D)
    normalize_length : bool
        False gives inner products of the vectors as they are (Kaldi's
        ``ivector-compute-dot-products``).

    Returns
    -------
    PairScorer
        With ``matrix()``, ``blocks()`` and ``trials(i, j)``.

    Examples
    --------
    >>> import numpy as np
    >>> scorer = cosine_scorer(2 * np.eye(2), np.eye(2))
    >>> scorer.shape, scorer.trials([0, 0], [0, 1]).tolist()
    ((2, 2), [1.0, 0.0])
    """
    enrol = check_vectors(enrol, "enrol")
    test = check_vectors(test, "test", enrol.shape[1])
    if normalize_length:
        enrol, test = length_norm(enrol, scale=False), length_norm(test, scale=False)
    dtype = np.result_type(enrol, test)
    return PairScorer(enrol.astype(dtype, copy=False), test.astype(dtype, copy=False))


def cosine_scores(enrol: Any, test: Any, *, out: np.ndarray | None = None) -> np.ndarray:
    """Cosines of every enrolment with every test vector.

    Parameters
    ----------
    enrol : array_like (N, D)
    test : array_like (M, D)
    out : ndarray (N, M), optional
        Filled and returned.

    Returns
    -------
    ndarray (N, M)
        float32 if both sides are, else float64; 0 for a vector of length zero.

    Examples
    --------
    >>> cosine_scores([[3, 4]], [[1, 0], [0, 1]]).round(3).tolist()
    [[0.6, 0.8]]
    """
    return cosine_scorer(enrol, test).matrix(out)


def cosine_trials(
    enrol: Any, test: Any, i: Any, j: Any, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Cosines of listed trials, row i[t] of `enrol` with row j[t] of `test`, (n_trials,).

    Examples
    --------
    >>> cosine_trials([[3, 4], [1, 0]], [[1, 0]], i=[0, 1], j=[0, 0]).round(3).tolist()
    [0.6, 1.0]
    """
    return cosine_scorer(enrol, test).trials(i, j, out)


def dot_products(
    enrol: Any, test: Any, i: Any, j: Any, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Inner products of listed trials (Kaldi's ``ivector-compute-dot-products``), (n_trials,).

    Examples
    --------
    >>> dot_products([[3, 4], [1, 0]], [[1, 0]], i=[0, 1], j=[0, 0]).tolist()
    [3.0, 1.0]
    """
    return cosine_scorer(enrol, test, normalize_length=False).trials(i, j, out)
