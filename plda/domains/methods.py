"""Adaptation of back-ends to vectors of another domain: one table of methods.

N vectors, D dimensions. A method sees a PLDA model with mean m, within- and between-class
covariance W and B, C = W + B, and N vectors of the new domain with mean m' and covariance S, as the
model gets them: behind the steps before it. `adapt_backend` has these subtract the new means first.

    centring       m'
    kaldi          m'; of what S has more than C shares go to W and B
                   (`plda.models.adaptation`, Kaldi's ``ivector-adapt-plda``)
    coral          m', A W A', A B A' with A = S^½ C^-½, symmetric roots          Sun 2016
    coral+         m'; of what A W A' has more than W a share is added to W,      Lee 2019
                   and likewise to B
    interpolation  means and covariances between the model's and those of a       Garcia-Romero 2014
                   PLDA that is trained on labelled vectors of the new domain

Shares by default: "kaldi" has 0.1 for W and 0.5 for B, which did best in the pairs of domains of
`plda.domains.evidence`: few vectors overestimate the excess, so that not all of it is given away.
Kaldi's own are 0.3 and 0.7 (`plda.models.adaptation.adapt_plda` and ``python -m plda.kaldi`` keep
them), those of its SRE16 recipe 0.75 and 0.25. "coral+" has the paper's, 0.8 and 0.8, which nothing
here confirms: in the same pairs it gained 0.9 of what "kaldi" does of log EER from 20 vectors, 0.7
from 50, 0.5 from 200.

Few vectors do not make a covariance: CORAL takes (N S + D C) / (N + D) as S, as if D vectors had
come from the old domain.

References
----------
B. Sun, J. Feng, K. Saenko, "Return of frustratingly easy domain adaptation", AAAI 2016.
K. A. Lee, Q. Wang, T. Koshinaka, "The CORAL+ algorithm for unsupervised domain adaptation of PLDA",
ICASSP 2019.
D. Garcia-Romero, A. McCree, "Supervised domain adaptation for i-vector based speaker recognition",
ICASSP 2014.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ivector.base.errors import DataError, UsageError
from ivector.base.parallel.workers import one_thread
from plda.checks import check_input, check_range, check_vectors
from plda.linalg import diagonalise, eigh_descending, floored_eigh, total_covariance
from plda.models.adaptation import adapt_plda
from plda.models.plda import PLDA

_FLOOR = 1e-10  # of variances, relative to the greatest


@dataclass(frozen=True)
class Method:
    """A way to adapt a PLDA model.

    Parameters
    ----------
    adapt : callable
        The new model, of a model, vectors (N, D), their speakers (N,) or None, and `parameters`.
    about : str
    parameters : mapping of str to float
        Names and defaults of what one may choose, each a share from 0 to 1.
    labelled : bool
        Needs speakers.
    """

    adapt: Callable[..., PLDA]
    about: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    labelled: bool = False


def _centring(model: PLDA, X: np.ndarray, y: Any) -> PLDA:
    return model.with_parameters(X.mean(axis=0, dtype=np.float64), model.transform_, model.psi_)


def _kaldi(model: PLDA, X: np.ndarray, y: Any, within: float, between: float) -> PLDA:
    return adapt_plda(model, X, within, between)


def _coral(model: PLDA, X: np.ndarray, y: Any) -> PLDA:
    mean, within, between = _recoloured(model, X)
    return model.with_parameters(mean, *diagonalise(within, between))


def _coral_plus(model: PLDA, X: np.ndarray, y: Any, within: float, between: float) -> PLDA:
    mean, *recoloured = _recoloured(model, X)
    old = model.within_covariance_, model.between_covariance_
    shares = within, between
    new = [c + share * _excess(c, other) for c, other, share in zip(old, recoloured, shares)]
    return model.with_parameters(mean, *diagonalise(*new))


def _interpolation(model: PLDA, X: np.ndarray, y: Any, weight: float) -> PLDA:
    mine = PLDA(model.n_iter, model.covariance_floor).fit(X, y)
    pairs = (
        (model.mean_, mine.mean_),
        (model.within_covariance_, mine.within_covariance_),
        (model.between_covariance_, mine.between_covariance_),
    )
    mean, within, between = ((1 - weight) * old + weight * new for old, new in pairs)
    return model.with_parameters(mean, *diagonalise(within, between))


# Whoever lists or checks methods asks here; a new one is an entry.
METHODS = {
    "centring": Method(_centring, "the mean of the new vectors, nothing else"),
    "kaldi": Method(
        _kaldi,
        "variance that the model lacks, in part, as in ivector-adapt-plda",
        {"within": 0.1, "between": 0.5},
    ),
    "coral": Method(_coral, "the covariance of the new vectors, by CORAL"),
    "coral+": Method(
        _coral_plus,
        "what CORAL adds to either covariance, in part",
        {"within": 0.8, "between": 0.8},
    ),
    "interpolation": Method(
        _interpolation,
        "between the model and one trained on labelled vectors",
        {"weight": 0.5},
        labelled=True,
    ),
}


def check_method(method: str, has_labels: bool, given: Mapping[str, float]) -> dict[str, float]:
    """Parameters of a method: those given, else its defaults.

    Raises
    ------
    UsageError
        An unknown method, one that lacks labels, a parameter that it has not or that is no share.
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    entry = METHODS[method]
    if entry.labelled and not has_labels:
        raise UsageError(
            f"{method} needs the speakers of the vectors; give them, or choose another"
        )
    if unknown := [name for name in given if name not in entry.parameters]:
        takes = " and ".join(entry.parameters) or "no parameters"
        raise UsageError(f"{method} takes {takes}, not {unknown[0]}")
    chosen = {**entry.parameters, **given}
    return {name: check_range(name, value, 0.0, 1.0) for name, value in chosen.items()}


@one_thread()
def adapt_backend(
    backend: Any, X: Any, method: str = "kaldi", y: Any = None, **parameters: float
) -> Any:
    """Adapt a back-end to vectors of another domain.

    Whether that is wise is told by `plda.domains.evidence.evidence`.

    Parameters
    ----------
    backend : PLDA, or Pipeline that ends in one
        Left as it is.
    X : array_like (N, n_dims)
        In-domain vectors, as the back-end takes them. Those that it is adapted to should not be
        scored by it: `plda.domains.evidence.cross_fit` gives each a model that has not seen it.
    method : {"centring", "kaldi", "coral", "coral+", "interpolation"}
    y : array_like (N,), optional
        Speakers, for "interpolation".
    **parameters : float
        Of the method, see `METHODS`.

    Returns
    -------
    PLDA or Pipeline
        Steps before PLDA that subtract a mean subtract that of `X`. Speakers are to be enrolled
        anew.

    Raises
    ------
    DataError
        NaN, vectors of another dimension, or a back-end that does not end in PLDA.
    UsageError
        As of `check_method`.

    Examples
    --------
    >>> import numpy as np
    >>> from plda import PLDA, adapt_backend
    >>> model = PLDA.from_covariances(np.zeros(2), np.eye(2), np.eye(2))
    >>> X = 1 + 3 * np.random.default_rng(0).normal(size=(2000, 2))
    >>> adapted = adapt_backend(model, X, "coral")
    >>> total = adapted.within_covariance_ + adapted.between_covariance_
    >>> adapted.mean_.round().tolist(), total.diagonal().round().tolist()
    ([1.0, 1.0], [9.0, 9.0])
    """
    chosen = check_method(method, y is not None, parameters)
    steps, model = parts(backend)
    vectors = check_vectors(X)
    centred = []
    for name, step in steps:
        if hasattr(step, "mean_"):
            step = copy.copy(step)
            step.transform(vectors[:1])  # refuses another dimension
            step.mean_ = vectors.mean(axis=0, dtype=np.float64)
        vectors = step.transform(vectors)
        centred.append((name, step))
    adapted = METHODS[method].adapt(model, check_input(model, vectors), y, **chosen)
    if not isinstance(backend, Pipeline):
        return adapted
    return Pipeline([*centred, (backend.steps[-1][0], adapted)])


def parts(backend: Any) -> tuple[list[tuple[str, Any]], PLDA]:
    """Named steps before the PLDA of a back-end, and the PLDA.

    Raises
    ------
    DataError
        It does not end in one.
    """
    steps = list(backend.steps) if isinstance(backend, Pipeline) else [("plda", backend)]
    if not isinstance(steps[-1][1], PLDA):
        raise DataError(f"the back-end ends in {type(steps[-1][1]).__name__}, not in PLDA")
    check_is_fitted(steps[-1][1])
    return steps[:-1], steps[-1][1]


def _recoloured(model: PLDA, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean m' (D,) of X and CORAL's A W A' and A B A' (D, D)."""
    mean, new = total_covariance(X)
    within, between = model.within_covariance_, model.between_covariance_
    n_vectors, n_dims = X.shape
    total = within + between
    new = (n_vectors * new + n_dims * total) / (n_vectors + n_dims)
    A = _power(new, 0.5) @ _power(total, -0.5)
    return mean, A @ within @ A.T, A @ between @ A.T


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    """Symmetric power of a covariance (D, D)."""
    values, vectors, _ = floored_eigh(covariance, _FLOOR)
    return (vectors * values**exponent) @ vectors.T


def _excess(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """What `new` has more than `old` in the directions that diagonalise both, (D, D)."""
    values, vectors, _ = floored_eigh(old, _FLOOR)
    root = vectors * np.sqrt(values)  # old = root root'
    whiten = (vectors / np.sqrt(values)).T
    ratios, directions = eigh_descending(whiten @ new @ whiten.T)
    back = root @ directions
    return (back * np.maximum(ratios - 1, 0.0)) @ back.T
