"""Log-likelihood ratios of the two-covariance model, a block of trials as one matrix product.

N enrolment vectors, M test vectors, D dimensions, both in the space where the within-class
covariance is the identity and the between-class covariance diag(ψ) (`PLDA.transform`).

With e the mean of n enrolment vectors and t the test vector, Kaldi's
``Plda::LogLikelihoodRatio`` (after Ioffe, "Probabilistic linear discriminant analysis",
ECCV 2006) compares N(t; g e, v) with N(t; 0, 1 + ψ), where g = nψ/(nψ + 1) and
v = 1 + ψ/(nψ + 1). Multiplied out,

    llr = Σ_d ½ log((1 + ψ)/v) − ½ (g²/v) e²      … depends on the enrolment alone
        + Σ_d (g/v) e t                           … an inner product
        + Σ_d ½ (1/(1 + ψ) − 1/v) t²              … a test's number for each distinct n

so every score is the inner product of one row made from the enrolment with one made from the
test, and all trials are one matrix product. Scores are natural logarithms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from plda.checks import check_counts, check_vectors
from plda.scoring.pairs import PairScorer


def llr_scorer(psi: np.ndarray, enrol: Any, test: Any, n_enrol: Any = 1) -> PairScorer:
    """Prepare log-likelihood ratios of transformed vectors.

    Parameters
    ----------
    psi : ndarray (D,)
        Between-class variances.
    enrol : array_like (N, D)
        Means of `n_enrol` vectors each, transformed.
    test : array_like (M, D)
        Transformed.
    n_enrol : number or array_like (N,)
        Utterances behind each enrolment vector.

    Returns
    -------
    PairScorer
        Of float32 if both sides are float32, else float64.

    Notes
    -----
    U distinct counts add min(U, D) columns to the product: the t² terms either enter as one
    number per count, picked by an indicator in the enrolment's row, or as t² itself.
    """
    psi = np.asarray(psi, dtype=np.float64)
    enrol = check_vectors(enrol, "enrol", len(psi))
    test = check_vectors(test, "test", len(psi))
    dtype = np.result_type(enrol, test)
    counts, group = np.unique(check_counts(n_enrol, len(enrol)), return_inverse=True)
    gain, variance = _posterior(psi, counts[:, None])
    on_test = (1 / (1 + psi) - 1 / variance) / 2
    constant = np.log((1 + psi) / variance).sum(axis=1) / 2

    n_dims, n_counts = len(psi), len(counts)
    extra = min(n_counts, n_dims)
    left = np.empty((len(enrol), n_dims + 1 + extra), dtype)
    right = np.empty((len(test), n_dims + 1 + extra), dtype)
    left[:, :n_dims] = (gain / variance)[group] * enrol
    left[:, n_dims] = constant[group] - ((gain**2 / variance)[group] * _square(enrol)).sum(1) / 2
    right[:, :n_dims] = test
    right[:, n_dims] = 1
    if n_counts <= n_dims:
        left[:, n_dims + 1 :] = np.eye(n_counts)[group]
        right[:, n_dims + 1 :] = _square(test) @ on_test.T
    else:
        left[:, n_dims + 1 :] = on_test[group]
        right[:, n_dims + 1 :] = _square(test)
    return PairScorer(left, right)


def _posterior(psi: np.ndarray, n: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gain g on the enrolment mean and predictive variance v, given counts broadcast with ψ."""
    return n * psi / (n * psi + 1), 1 + psi / (n * psi + 1)


def _square(X: np.ndarray) -> np.ndarray:
    return np.square(X, dtype=np.float64)


def log_likelihood_ratio(
    psi: np.ndarray, enrol: np.ndarray, test: np.ndarray, n_enrol: Any = 1
) -> np.ndarray:
    """Kaldi's ``Plda::LogLikelihoodRatio`` as written there, in float64, pair by pair.

    The readable form of what `llr_scorer` prepares; use that for many trials.

    Parameters
    ----------
    psi : ndarray (D,)
    enrol, test : ndarray (..., D)
        Transformed; broadcast against each other.
    n_enrol : number or ndarray (...)

    Returns
    -------
    ndarray (...)
    """
    n = np.asarray(n_enrol, dtype=np.float64)[..., None]
    gain, variance = _posterior(psi, n)
    log2pi = np.log(2 * np.pi)
    given_class = np.log(variance) + log2pi + (test - gain * enrol) ** 2 / variance
    without_class = np.log(1 + psi) + log2pi + np.square(test) / (1 + psi)
    return (without_class - given_class).sum(axis=-1) / 2
