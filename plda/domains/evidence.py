"""Whether to adapt a back-end: does centring fit vectors better that it was not centred on?

N vectors, D dimensions. The vectors of the new domain are cut into folds; each fold's are judged
by a back-end centred on the others, and by the one there was. What decides is the mean difference
of their log-likelihoods per dimension, which know nothing of speakers: above `THRESHOLD` adaptation
is worth it, by whichever method. The gain of the method itself is told, too, but decides nothing:
models of few training speakers expect too little variance of others, so that more of it is likelier
where no domain has changed; and shares of W and B leave the likelihood as it is.

The likelihood is N(m, W + B) of what PLDA gets. Length normalisation x → x / r, r = |x|, brings all
vectors onto one sphere, also those far from a wrong mean; so the density is that of x, with all
log r as likely:

    log p(x) = log N(x √D / r; m, W + B) − D log r + constant                                  (1)

Without speakers their vectors may be in several folds, which flatters adaptation to few speakers.
Folds are runs of the vectors in their order, in which those of a speaker often stand together.
Where they do not, as in names drawn at random, few speakers gain up to 0.03 more per dimension.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivector.base.errors import DataError, DegenerateDataWarning
from plda.checks import check_input, check_vectors, warn_degenerate
from plda.domains.methods import adapt_backend, check_method, parts
from plda.linalg import total_covariance
from plda.models.plda import PLDA
from plda.transforms.length import LengthNorm

# Nats per dimension. In 25 pairs of domains (telephone digits, sentences read by learners,
# LibriSpeech; as they are, noisy, reverberant, of another band, codec or speed; i-vectors of 80 and
# 120 dimensions; three draws of 20, 50 and 200 vectors) centring gained -0.07 to -0.01 where the
# domain was the same, -0.03 to 0.01 where only codec or speed were others, which adaptation harms,
# and mostly 0.02 to 0.12 where it helps. With 50 and 200 vectors no EER rose, and 92 and 95 % of
# what "kaldi" can gain (of log EER) was gained; with 20 vectors 68 %.
THRESHOLD = 0.02
FEWEST = 20  # vectors, to be told that they are of another domain
_LOOKED_AT = 2000  # of them, at most


@dataclass(frozen=True)
class Evidence:
    """Mean log-likelihoods per vector, in nats.

    Parameters
    ----------
    before, centred, after : float
        Of the back-end as it was, centred on other vectors of the domain, and adapted to them.
    error, centring_error : float
        Standard errors of the gains of adaptation and of centring.
    n_vectors, n_folds : int
    n_dims : int
        Of what PLDA gets.
    """

    before: float
    centred: float
    after: float
    error: float
    centring_error: float
    n_vectors: int
    n_folds: int
    n_dims: int

    @property
    def gain(self) -> float:
        """Of adaptation, in nats per vector; for information."""
        return self.after - self.before

    @property
    def shift(self) -> float:
        """Gain of centring alone, in nats per dimension: what decides."""
        return (self.centred - self.before) / self.n_dims

    @property
    def shift_error(self) -> float:
        """Standard error of `shift`."""
        return self.centring_error / self.n_dims

    @property
    def adapts(self) -> bool:
        """Whether adaptation is worth it."""
        return self.shift > THRESHOLD


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
    chosen = check_method(method, y is not None, parameters)
    X = check_vectors(X)
    before = log_likelihood(backend, X)

    def gains(method: str, **parameters: float) -> tuple[np.ndarray, int]:
        after, n_done = np.empty(len(X)), 0
        for rows, adapted in cross_fit(backend, X, method, y, n_folds=n_folds, **parameters):
            after[rows] = log_likelihood(adapted, X[rows])
            n_done += 1
        return after - before, n_done

    centring, n_done = gains("centring")
    adapting = centring if method == "centring" else gains(method, **chosen)[0]
    return Evidence(
        before=float(before.mean()),
        centred=float((before + centring).mean()),
        after=float((before + adapting).mean()),
        error=float(adapting.std() / np.sqrt(len(X))),
        centring_error=float(centring.std() / np.sqrt(len(X))),
        n_vectors=len(X),
        n_folds=n_done,
        n_dims=len(parts(backend)[1].psi_),
    )


def in_order(ids: Sequence[str]) -> np.ndarray:
    """Rows (N,) of vectors in the order of their ids, in which folds part speakers best.

    Ids often begin with the speaker's.
    """
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)


def warn_of_another_domain(backend: Any, X: Any, ids: Sequence[str], name: str) -> None:
    """Warn where vectors to be scored lie outside of what a back-end was trained on.

    That is, where centring on some of them makes the others likelier by more than `THRESHOLD`: the
    evidence that adaptation is judged by, of the vectors themselves. Some are looked at if there
    are very many, and none where there are fewer than `FEWEST`.

    Parameters
    ----------
    backend, X
        As of `evidence`.
    ids : sequence of str
        Of the vectors; their order parts them.
    name : str
        Where they are from.
    """
    if len(ids) < FEWEST:
        return
    places = np.linspace(0, len(ids) - 1, min(len(ids), _LOOKED_AT)).astype(int)
    found = evidence(backend, X[in_order(ids)[places]], "centring")
    if found.adapts:
        warn_degenerate(
            f"{name}: its vectors are not like those that the back-end was trained on: centring on "
            f"them gains {found.shift:.3f} ± {found.shift_error:.3f} nats a dimension, more than "
            f"{THRESHOLD:g}; scores may rank worse than they could, and a calibration of the "
            "training domain does not hold: see python -m plda.adapt"
        )


def gaussian(X: Any) -> PLDA:
    """Gaussian of vectors (N, D) without speakers, as a PLDA model, to judge where there is none.

    Few vectors do not make a covariance: as if D more had come from one that is the same in all
    directions. W and B are half of it each, which tells nothing of them.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> model = gaussian(X + 5)
    >>> evidence(model, X[:50] + 5).adapts, evidence(model, X[:50]).adapts
    (False, True)
    """
    X = check_vectors(X)
    mean, covariance = total_covariance(X)
    n_vectors, n_dims = X.shape
    alike = np.trace(covariance) / n_dims * np.eye(n_dims)
    half = (n_vectors * covariance + n_dims * alike) / (n_vectors + n_dims) / 2
    return PLDA.from_covariances(mean, half, half)
