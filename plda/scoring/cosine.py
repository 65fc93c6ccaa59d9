"""Cosine scores of vectors and Kaldi's ``ivector-compute-dot-products``.

N enrolment vectors, M test vectors, D dimensions. Centre the vectors first: a cosine depends on
where the origin is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from plda.checks import check_vectors
from plda.scoring.pairs import PairScorer
from plda.transforms.length import length_norm


class Cosine(BaseEstimator):
    """Cosines as a back-end like the others; nothing is learnt.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.eye(2)
    >>> Cosine().fit(X, [0, 1]).scorer(X, X).matrix()
    array([[1., 0.],
           [0., 1.]])
    """

    def fit(self, X: Any, y: Any = None) -> Cosine:
        """Nothing to learn."""
        return self

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
    """
    return cosine_scorer(enrol, test).matrix(out)


def cosine_trials(
    enrol: Any, test: Any, i: Any, j: Any, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Cosines of listed trials, row i[t] of `enrol` with row j[t] of `test`, (n_trials,)."""
    return cosine_scorer(enrol, test).trials(i, j, out)


def dot_products(
    enrol: Any, test: Any, i: Any, j: Any, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Inner products of listed trials (Kaldi's ``ivector-compute-dot-products``), (n_trials,)."""
    return cosine_scorer(enrol, test, normalize_length=False).trials(i, j, out)
