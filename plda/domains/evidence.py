"""Whether to adapt a back-end: does it fit vectors better that it was not adapted to?

N vectors, D dimensions. The vectors of the new domain are cut into folds; each fold's are judged
by a back-end adapted to the others, and by the one there was. What decides is the mean difference
of their log-likelihoods, which know nothing of speakers: above 0 adaptation is worth it. It tells
whether, not how: shares of W and B leave the likelihood as it is.

The likelihood is N(m, W + B) of what PLDA gets. Length normalisation x → x / r, r = |x|, brings all
vectors onto one sphere, also those far from a wrong mean; so the density is that of x, with all
log r as likely:

    log p(x) = log N(x √D / r; m, W + B) − D log r + constant                                  (1)

Without speakers their vectors may be in several folds, which flatters adaptation to few speakers.
Folds are runs of the vectors in their order, in which those of a speaker often stand together.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivector.base.errors import DataError, DegenerateDataWarning
from plda.checks import check_input, check_vectors
from plda.domains.methods import adapt_backend, check_method, parts
from plda.transforms.length import LengthNorm


@dataclass(frozen=True)
class Evidence:
    """Mean log-likelihoods per vector, in nats.

    Parameters
    ----------
    before, after : float
        Of the back-end as it was, and adapted to other vectors of the domain.
    error : float
        Standard error of the difference.
    n_vectors, n_folds : int
    """

    before: float
    after: float
    error: float
    n_vectors: int
    n_folds: int

    @property
    def gain(self) -> float:
        """Of adaptation."""
        return self.after - self.before

    @property
    def adapts(self) -> bool:
        """Whether adaptation is worth it."""
        return self.gain > 0


def log_likelihood(backend: Any, X: Any) -> np.ndarray:
    """Log-likelihood (N,) of vectors (N, n_dims) without speakers: equation (1) of the module.

    The constant is of the back-end's projections, which no method changes.
    """
    steps, model = parts(backend)
    vectors = check_vectors(X)
    log_lengths = np.zeros(len(vectors))
    for _, step in steps:
        if isinstance(step, LengthNorm):
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
            log_lengths += vectors.shape[1] * np.log(np.maximum(lengths, np.finfo(float).tiny))
        vectors = step.transform(vectors)
    vectors = check_input(model, vectors)
    # T (W + B) T' is diagonal: 1 + ψ.
    projected = (vectors - model.mean_) @ model.transform_.T
    variance = 1 + model.psi_
    log_volume = np.linalg.slogdet(model.transform_)[1] - np.log(2 * np.pi * variance).sum() / 2
    return log_volume - np.square(projected) @ (0.5 / variance) - log_lengths


def cross_fit(
    backend: Any,
    X: Any,
    method: str = "kaldi",
    y: Any = None,
    *,
    n_folds: int = 5,
    **parameters: float,
) -> Iterator[tuple[np.ndarray, Any]]:
    """Adapt to all folds but one: rows of the fold left out, and the back-end for them.

    Parameters
    ----------
    backend, X, method, y, **parameters
        As of `adapt_backend`; where there are speakers, each is in one fold only.
    n_folds : int
        At most one for each vector or speaker.

    Raises
    ------
    DataError
        Fewer than two vectors or speakers; and as of `adapt_backend`.

    Examples
    --------
    >>> import numpy as np
    >>> from plda import PLDA, cross_fit
    >>> model = PLDA.from_covariances(np.zeros(2), np.eye(2), np.eye(2))
    >>> X = np.random.default_rng(0).normal(3, 1, size=(100, 2))
    >>> [(len(rows), adapted.mean_.round().tolist()) for rows, adapted in cross_fit(model, X)][:2]
    [(20, [3.0, 3.0]), (20, [3.0, 3.0])]
    """
    X = check_vectors(X)
    groups = np.arange(len(X)) if y is None else np.unique(y, return_inverse=True)[1]
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        what = "vector" if y is None else "speaker"
        raise DataError(f"{n_groups} {what} to adapt to cannot be told to be enough; give more")
    n_folds = min(n_folds, n_groups)
    fold = (np.arange(n_groups) * n_folds // n_groups)[groups]
    for number in range(n_folds):
        rest = fold != number
        with warnings.catch_warnings():  # told of all vectors, where these are adapted to
            warnings.simplefilter("ignore", DegenerateDataWarning)
            labels = None if y is None else np.asarray(y)[rest]
            adapted = adapt_backend(backend, X[rest], method, labels, **parameters)
        yield np.flatnonzero(~rest), adapted


def evidence(
    backend: Any,
    X: Any,
    method: str = "kaldi",
    y: Any = None,
    *,
    n_folds: int = 5,
    **parameters: float,
) -> Evidence:
    """Judge an adaptation by vectors that were held out of it.

    Parameters and errors are those of `cross_fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from plda import PLDA
    >>> from plda.domains.evidence import evidence
    >>> model = PLDA.from_covariances(np.zeros(2), np.eye(2), np.eye(2))
    >>> X = np.random.default_rng(0).normal(size=(100, 2)) * 2**0.5
    >>> evidence(model, X).adapts, evidence(model, X + 3).adapts
    (False, True)
    """
    check_method(method, y is not None, parameters)
    X = check_vectors(X)
    before, after, n_done = log_likelihood(backend, X), np.empty(len(X)), 0
    for rows, adapted in cross_fit(backend, X, method, y, n_folds=n_folds, **parameters):
        after[rows] = log_likelihood(adapted, X[rows])
        n_done += 1
    gains = after - before
    error = float(gains.std() / np.sqrt(len(gains)))
    return Evidence(float(before.mean()), float(after.mean()), error, len(X), n_done)
