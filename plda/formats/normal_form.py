"""A back-end as affine maps between length norms and a model: what other toolkits' files hold.

D features, k dimensions behind a map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ivector.base.errors import UsageError
from plda.models.plda import PLDA
from plda.transforms.affine import Affine
from plda.transforms.centring import Center
from plda.transforms.length import LengthNorm


class NormalForm(NamedTuple):
    """Maps x → A x + b, a length norm behind each of them, and PLDA.

    Parameters
    ----------
    maps : list of list of estimators
        Before each norm, one after the other; none for the identity.
    scales : list of bool
        Whether that norm's length is the square root of the dimension, not 1.
    model : PLDA
    """

    maps: list[list[Any]]
    scales: list[bool]
    model: PLDA


def normal_form(pipeline: Pipeline, n_norms: int, who: str, cure: str) -> NormalForm:
    """Split a chain at its length norms.

    Parameters
    ----------
    pipeline : Pipeline
    n_norms : int
        How many there have to be.
    who, cure : str
        Whose files it is for, and what to do about another chain.

    Raises
    ------
    UsageError
        It is another chain.
    """
    *steps, model = [step for _, step in pipeline.steps]
    maps: list[list[Any]] = [[]]
    scales = []
    for step in steps:
        if isinstance(step, LengthNorm):
            scales.append(step.scale)
            maps.append([])
        elif hasattr(step, "affine"):
            maps[-1].append(step)
    n_known = len(scales) + sum(map(len, maps))
    if not isinstance(model, PLDA) or len(scales) != n_norms or maps.pop() or n_known < len(steps):
        chain = " ".join(type(step).__name__ for step in [*steps, model])
        raise UsageError(f"files of {who} cannot hold the chain {chain}: {cure}")
    return NormalForm(maps, scales, model)


def subtracted(steps: list[Any], who: str, cure: str) -> np.ndarray | None:
    """The mean (D,) that maps subtract, in its own precision; None if there are no maps.

    Raises
    ------
    UsageError
        They do something else.
    """
    if not steps:
        return None
    if len(steps) > 1 or not isinstance(steps[0], Center):
        chain = " ".join(type(step).__name__ for step in steps)
        raise UsageError(f"files of {who} begin with a mean to subtract, not with {chain}: {cure}")
    check_is_fitted(steps[0])
    given = getattr(steps[0].mean, "dtype", None)
    return steps[0].mean_.astype(np.float32) if given == np.float32 else steps[0].mean_


def composed(steps: list[Any], n_dims: int | None = None) -> np.ndarray:
    """Matrix (k, D + 1) of affine maps one after the other, the last column their offset.

    Parameters
    ----------
    steps : list of estimators
        At least one.
    n_dims : int, optional
        D; a matrix that was read from a file does not say whether it has an offset. Without it,
        it has.
    """
    total: np.ndarray | None = None
    for step in steps:
        matrix = step.affine()
        n_dims = getattr(step, "n_features_in_", n_dims)
        if matrix.shape[1] == n_dims:
            matrix = np.hstack([matrix, np.zeros((len(matrix), 1), matrix.dtype)])
        if total is not None:
            linear = matrix[:, :-1] @ total
            linear[:, -1] += matrix[:, -1]
            matrix = linear
        total, n_dims = matrix, len(matrix)
    assert total is not None
    return total


def scaled_input(matrix: np.ndarray, factor: float) -> np.ndarray:
    """The affine matrix (k, D + 1) that does for x what `matrix` does for `factor` x."""
    if factor == 1:
        return matrix
    return np.hstack([matrix[:, :-1] * factor, matrix[:, -1:]])


def scaled_model(model: PLDA, factor: float) -> PLDA:
    """The model that has the latent vector for x that `model` has for `factor` x."""
    if factor == 1:
        return model
    return model.with_parameters(model.mean_ / factor, model.transform_ * factor, model.psi_)


def length(scale: bool, n_dims: int) -> float:
    """What `LengthNorm` makes of a vector's length."""
    return float(np.sqrt(n_dims)) if scale else 1.0


def as_affine(steps: list[Any], n_dims: int | None = None) -> Affine | None:
    """Affine maps as one, None for the identity; one that is a matrix already stays as it is."""
    if len(steps) == 1 and isinstance(steps[0], Affine) and steps[0].matrix is not None:
        return steps[0]
    return Affine(composed(steps, n_dims)) if steps else None
