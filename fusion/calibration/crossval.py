"""Cross-validation of calibrations and fusions over speakers, honest for every trial.

Leaving trials out is not enough: the speakers of a trial are in others too, and what was learned
from those knows them. Here the speakers are dealt into K blocks, and a trial between speakers of
the blocks a and b is scored by a model that was trained on the trials without a speaker of either:
K (K + 1) / 2 models.

Dimension legend: N trials, K blocks.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fusion.calibration.logistic import binary_labels
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError, warn_caller

_BLOCK = 1 << 20  # trials


def cross_validate(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    enrol_speaker: ArrayLike,
    test_speaker: ArrayLike,
    *,
    quality: ArrayLike | None = None,
    n_folds: int = 5,
    random_state: int | np.random.Generator | None = 0,
) -> np.ndarray:
    """Score every trial by a clone of an estimator that has seen neither of its speakers.

    Parameters
    ----------
    estimator : Calibration or LinearFusion
        Anything with ``fit(X, y)`` and ``transform(X)``; it is not changed.
    X : array-like (N,) or (N, n_columns)
    y : array-like (N,) bool
        Whether a trial is a target.
    enrol_speaker, test_speaker : array-like (N,)
        Speaker of either side, in one numbering or naming.
    quality : array-like (N, n_quality), optional
        Given to `fit` and `transform` as well, if there is any.
    n_folds : int
        Number K of blocks; more train on more and take longer, as K².
    random_state : int, numpy.random.Generator or None
        Decides which of the speakers with as many trials come into which block.

    Returns
    -------
    ndarray (N,) float64
        Log-likelihood ratios. They come from different models, so that they rank trials a little
        worse than one model would.

    Raises
    ------
    DataError
        Arrays that do not fit together, or too few speakers for every model to see both classes.
    UsageError
        Fewer than 3 blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion import LinearFusion, cross_validate
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> S = np.column_stack([part.scores["cosine"], part.scores["plda"]])
    >>> llr = cross_validate(LinearFusion(), S, part.target, *part.sides)
    >>> llr.shape == part.target.shape, bool(llr[part.target].mean() > 0 > llr[~part.target].mean())
    (True, True)
    """
    from sklearn.base import clone

    table = np.asarray(X)
    target = binary_labels(y, len(table))
    extra = None if quality is None else np.asarray(quality)
    sides = [np.asarray(side) for side in (enrol_speaker, test_speaker)]
    if any(len(a) != len(table) for a in (*sides, *([] if extra is None else [extra]))):
        raise DataError("scores, speakers and quality measures must be one for each trial")
    blocks = speaker_blocks(sides[0], sides[1], target, n_folds=n_folds, random_state=random_state)
    pairs = _pairs(*blocks, n_folds)
    del blocks
    llr = np.empty(len(table))
    with _told_together():
        for held_out, training in _parts(pairs, target, n_folds):
            model = clone(estimator)
            if extra is None:
                found = model.fit(table[training], target[training]).transform(table[held_out])
            else:
                model.fit(table[training], target[training], extra[training])
                found = model.transform(table[held_out], extra[held_out])
            llr[held_out] = np.ravel(found)  # which may be a data frame of one column
    return llr


@contextlib.contextmanager
def _told_together() -> Iterator[None]:
    """Say once that models were trained on degenerate data, and that they are those of folds."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    degenerate = [one for one in caught if issubclass(one.category, DegenerateDataWarning)]
    if degenerate:
        times = f"{len(degenerate)} times" if len(degenerate) > 1 else "once"
        text = f"in the folds of a cross-validation, {times}: {degenerate[0].message}"
        warn_caller(text, DegenerateDataWarning)
    for one in caught:
        if one not in degenerate:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def speaker_blocks(
    enrol_speaker: np.ndarray,
    test_speaker: np.ndarray,
    target: np.ndarray,
    *,
    n_folds: int = 5,
    random_state: int | np.random.Generator | None = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Block (N,) of either side's speaker; blocks have about as many trials of either class.

    Raises
    ------
    DataError
        Fewer speakers than blocks.
    UsageError
        Fewer than 3 blocks.
    """
    if n_folds < 3:
        raise UsageError(f"at least 3 folds are needed to leave two speakers out, got {n_folds}")
    sides = enrol_speaker, test_speaker
    names = np.unique(np.concatenate([np.unique(side) for side in sides]))
    if len(names) < n_folds:
        raise DataError(
            f"{len(names)} speakers cannot be dealt into {n_folds} folds; use more speakers, or "
            f"`n_folds` of {f'{len(names)} or ' if len(names) > 3 else ''}0 for no cross-validation"
        )
    # Speakers with many trials first, each into the block that has least; equals at random.
    of_target, of_nontarget = 1 / max(target.sum(), 1), 1 / max((~target).sum(), 1)
    load = np.zeros(len(names))
    for side in sides:
        for part in _slices(len(target)):
            share = np.where(target[part], of_target, of_nontarget)
            np.add.at(load, np.searchsorted(names, side[part]), share)
    shuffled = np.random.default_rng(random_state).permutation(len(names))
    order = shuffled[np.argsort(-np.round(load[shuffled], 12), kind="stable")]
    block, filled = np.empty(len(names), np.min_scalar_type(-n_folds)), np.zeros(n_folds)
    for speaker in order:
        block[speaker] = np.argmin(filled)
        filled[block[speaker]] += load[speaker]
    enrol, test = (np.empty(len(target), block.dtype) for _ in sides)
    for part in _slices(len(target)):
        enrol[part] = block[np.searchsorted(names, enrol_speaker[part])]
        test[part] = block[np.searchsorted(names, test_speaker[part])]
    return enrol, test


def _slices(n_trials: int) -> Iterator[slice]:
    """Parts of some trials, so that numbers of each are never there for all of them at once."""
    return (slice(start, start + _BLOCK) for start in range(0, n_trials, _BLOCK))


def _pairs(enrol: np.ndarray, test: np.ndarray, n_folds: int) -> np.ndarray:
    """Number (N,) of the pair of blocks of each trial, low * n_folds + high."""
    pairs = np.minimum(enrol, test).astype(np.min_scalar_type(n_folds**2))
    pairs *= n_folds
    np.add(pairs, np.maximum(enrol, test, out=test), out=pairs, casting="unsafe")  # both fit
    return pairs


def _parts(
    pairs: np.ndarray, target: np.ndarray, n_folds: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which trials (N,) to score and to train on, for every pair of blocks that has trials."""
    low, high = np.divmod(np.arange(n_folds**2), n_folds)
    for a in range(n_folds):
        for b in range(a, n_folds):
            held_out = pairs == a * n_folds + b
            if not held_out.any():
                continue
            training = np.zeros(len(pairs), bool)
            apart = (low != a) & (low != b) & (high != a) & (high != b)
            for part in _slices(len(pairs)):
                training[part] = apart[pairs[part]]
            n_targets = int(np.count_nonzero(target & training))
            if not n_targets or n_targets == np.count_nonzero(training):
                missing = "nontarget" if n_targets else "target"
                raise DataError(
                    f"without the speakers of two of {n_folds} folds no {missing} trials are left "
                    "to train on; use more speakers, or `n_folds` of 0 for no cross-validation"
                )
            yield held_out, training
