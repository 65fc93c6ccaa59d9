"""LDA size and smoothing by verification: trials of training speakers that were held out.

Speakers are cut into folds. For each fold, a back-end is trained on the speakers of the others, and
every pair of the fold's vectors is a trial. LDA's directions come in order, so that one LDA of
every fold serves all sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from ivector.base.errors import DataError
from ivector.base.log import progress
from plda.training.detection import Detection, detection
from plda.training.statistics import HeldVectors, fit_chain
from plda.transforms.discriminant import LDA

SMOOTHINGS = (0.0, 0.1, 0.3, 1.0)
N_FOLDS = 5
# Fewer speakers of two vectors or more leave folds of less than two of them.
LEAST_SPEAKERS = 2 * N_FOLDS
_MOST_TESTED = 1000  # vectors of a fold: their pairs are trials
_LEAST_SIZE = 4


class Candidate(NamedTuple):
    """A setting and its errors, averaged over folds; None for a step that the chain lacks."""

    lda: int | None
    smoothing: float | None
    errors: Detection


def choose(
    steps: Sequence[Any],
    X: np.ndarray,
    index: np.ndarray,
    lda: int | None,
    smoothing: float | None,
    seed: int,
) -> list[Candidate]:
    """Errors of all settings, the best first.

    Parameters
    ----------
    steps : sequence of estimators
        The chain; copies are fitted.
    X : ndarray (N, D)
    index : ndarray (N,)
        Speaker of each vector.
    lda : int, optional
        The only size to try; else sizes of steps of √2 below the largest possible.
    smoothing : float, optional
        The only one to try, else `SMOOTHINGS`.
    seed : int
        Of the folds.

    Raises
    ------
    DataError
        Too few speakers have two vectors.
    """
    fold_of = _folds(index, np.random.default_rng(seed))
    at = next((n for n, step in enumerate(steps) if isinstance(step, LDA)), None)
    has_smoothing = hasattr(steps[-1], "smooth")
    n_least = min(len(np.unique(index[fold_of[index] != fold])) for fold in range(N_FOLDS))
    sizes = [None] if at is None else [lda] if lda else _sizes(min(X.shape[1], n_least - 1))
    smoothings = [None] if not has_smoothing else SMOOTHINGS if smoothing is None else [smoothing]
    found: dict[tuple[int | None, float | None], list[Detection]] = {}
    for fold in progress(range(N_FOLDS), desc="choosing", unit="fold"):
        tested = _tested(np.flatnonzero(fold_of[index] == fold), index, seed + fold)
        trained = np.flatnonzero(fold_of[index] != fold)
        data = (X[trained], index[trained], X[tested])
        for size, model, Z in _fitted(steps, at, sizes, *data):
            for amount in smoothings:
                scored = model if not amount else model.smooth(amount)
                errors = _errors(scored, Z, index[tested])
                found.setdefault((size, amount), []).append(errors)
    candidates = [
        Candidate(*key, Detection(*np.mean(errors, axis=0).tolist()))
        for key, errors in found.items()
    ]
    # Of equals the simplest: fewer dimensions, less smoothing.
    return sorted(candidates, key=lambda one: (one.errors, one.lda or 0, one.smoothing or 0))


def _folds(index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fold of each speaker; those of several vectors, who have target trials, are dealt evenly."""
    counts = np.bincount(index)
    n_several = int(np.count_nonzero(counts > 1))
    if n_several < LEAST_SPEAKERS:
        raise DataError(
            f"{n_several} speakers have two vectors or more, and {LEAST_SPEAKERS} are needed to "
            "choose by them; give `lda` and `smoothing`"
        )
    order = rng.permutation(len(counts))
    order = order[np.argsort(counts[order] < 2, kind="stable")]
    fold_of = np.empty(len(counts), np.int64)
    fold_of[order] = np.arange(len(counts)) % N_FOLDS
    return fold_of


def _tested(rows: np.ndarray, index: np.ndarray, seed: int) -> np.ndarray:
    """At most so many vectors of a fold, of whole speakers."""
    speakers = np.random.default_rng(seed).permutation(np.unique(index[rows]))
    counts = np.bincount(index)[speakers]
    n_kept = max(2, int(np.searchsorted(np.cumsum(counts), _MOST_TESTED, side="right")))
    return rows[np.isin(index[rows], speakers[:n_kept])]


def _sizes(most: int) -> list[int]:
    sizes = {round(most * 2 ** (-half / 2)) for half in range(7)}
    return sorted(size for size in sizes if size >= min(most, _LEAST_SIZE))


def _fitted(
    steps: Sequence[Any],
    at: int | None,
    sizes: Sequence[int | None],
    X: np.ndarray,
    index: np.ndarray,
    X_tested: np.ndarray,
) -> Iterator[tuple[int | None, Any, np.ndarray]]:
    """Yield, for every size of LDA, the model and what it compares of the vectors held out."""
    index = np.unique(index, return_inverse=True)[1]
    if at is None:
        backend = fit_chain([clone(step) for step in steps], HeldVectors(X, index))
        yield None, backend[-1], _through(backend.steps[:-1], X_tested)
        return
    largest = max(size for size in sizes if size is not None)
    head = [clone(step) for step in steps[: at + 1]]
    head[-1].set_params(n_components=largest)
    projected = fit_chain(head, HeldVectors(X, index))
    Z, Z_tested = (_through(projected.steps, vectors) for vectors in (X, X_tested))
    for size in sizes:
        tail = fit_chain([clone(step) for step in steps[at + 1 :]], HeldVectors(Z[:, :size], index))
        yield size, tail[-1], _through(tail.steps[:-1], Z_tested[:, :size])


def _through(steps: Sequence[tuple[str, Any]], X: np.ndarray) -> np.ndarray:
    for _, step in steps:
        X = step.transform(X)
    return X


def _errors(model: Any, Z: np.ndarray, speakers: np.ndarray) -> Detection:
    """Errors of all pairs of vectors (n, k)."""
    scores = model.scorer(Z, Z).matrix()
    i, j = np.triu_indices(len(Z), 1)
    is_target = speakers[i] == speakers[j]
    pairs = scores[i, j]
    return detection(pairs[is_target], pairs[~is_target])
