"""Back-end models on disk: Kaldi's files (``plda``, ``transform.mat``, ``mean.vec``) and ``.npz``.

Kaldi's binary and text forms are told apart by their content. A model read from Kaldi's file
and written again gives the same bytes.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from ivector.base import files
from ivector.base.errors import DataError, UsageError
from ivector.base.files import atomic_write
from ivector.base.kaldi import KaldiReader, KaldiWriter
from plda.models import BACKENDS
from plda.models.plda import PLDA
from plda.transforms.affine import Affine
from plda.transforms.centring import Center, Whiten
from plda.transforms.discriminant import LDA, WCCN
from plda.transforms.length import LengthNorm

_KIND = "back-end"
_TRANSFORMS = {cls.__name__: cls for cls in (Affine, Center, LDA, LengthNorm, WCCN, Whiten)}


def _classes() -> dict[str, type]:
    """What a file may hold, by the name of its class."""
    models = (getattr(importlib.import_module(one.module), one.name) for one in BACKENDS.values())
    return _TRANSFORMS | {cls.__name__: cls for cls in models}


def read_plda(path: str | os.PathLike) -> PLDA:
    """Read a PLDA model in Kaldi's format, binary or text.

    Raises
    ------
    DataError
        Missing, cut, not a PLDA model, of dimensions that do not fit, or with negative ψ.
    """
    reader = KaldiReader(path)
    reader.expect("<Plda>")
    mean, transform, psi = reader.vector(), reader.matrix(), reader.vector()
    reader.expect("</Plda>")
    reader.end()
    try:
        return PLDA.from_diagonal(mean, transform, psi)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def write_plda(model: PLDA, path: str | os.PathLike, binary: bool = True) -> None:
    """Write a PLDA model in Kaldi's format (double precision).

    Parameters
    ----------
    model : PLDA
        Fitted.
    path : path-like
    binary : bool
        Kaldi's binary form, else text.
    """

    def write(out: KaldiWriter) -> None:
        out.token("<Plda>")
        out.vector(model.mean_)
        out.matrix(model.transform_)
        out.vector(model.psi_)
        out.token("</Plda>")

    _write(path, write, binary, "f8")


def read_transform(path: str | os.PathLike) -> Affine:
    """Read a matrix (k, D) or affine matrix (k, D + 1) of Kaldi, such as ``transform.mat``."""
    matrix = KaldiReader(path).matrix()
    if matrix.size == 0 or not np.isfinite(matrix).all():
        raise DataError(f"{path}: an empty matrix, or one that is not finite")
    return Affine(matrix)


def write_transform(transform: Any, path: str | os.PathLike, binary: bool = True) -> None:
    """Write a fitted transformer as Kaldi's affine matrix, as ``ivector-compute-lda`` does.

    Parameters
    ----------
    transform : LDA, Whiten, WCCN, Center or Affine
        An `Affine` is written in its own precision, others in float32 as by Kaldi.
    path : path-like
    binary : bool
    """
    if not hasattr(transform, "affine"):
        raise UsageError(f"{type(transform).__name__} is not affine; Kaldi has no file for it")
    matrix = transform.affine()
    double = isinstance(transform, Affine) and matrix.dtype == np.float64
    _write(path, lambda out: out.matrix(matrix), binary, "f8" if double else "f4")


def read_mean(path: str | os.PathLike) -> Center:
    """Read Kaldi's ``mean.vec`` as a transformer that subtracts it."""
    mean = KaldiReader(path).vector()
    if mean.size == 0 or not np.isfinite(mean).all():
        raise DataError(f"{path}: an empty vector, or one that is not finite")
    return Center(mean).fit(mean[None])


def write_mean(center: Center, path: str | os.PathLike, binary: bool = True) -> None:
    """Write the mean that `center` subtracts as Kaldi's ``mean.vec`` (float32 in binary)."""
    given = getattr(center.mean, "dtype", None)
    dtype = "f8" if given == np.float64 else "f4"
    _write(path, lambda out: out.vector(center.mean_), binary, dtype)


def _write(
    path: str | os.PathLike, write: Callable[[KaldiWriter], None], binary: bool, dtype: str
) -> None:
    with atomic_write(path) as file:
        write(KaldiWriter(file, binary, dtype))


def save_model(model: Any, path: str | os.PathLike) -> None:
    """Save a fitted transformer, a PLDA model or a pipeline of them as ``.npz``.

    Parameters
    ----------
    model : estimator of this package, or sklearn Pipeline of such
    path : path-like
    """
    steps = model.steps if isinstance(model, Pipeline) else [("model", model)]
    arrays: dict[str, np.ndarray] = {}
    described, known = [], _classes()
    for name, estimator in steps:
        if type(estimator).__name__ not in known:
            raise UsageError(f"{type(estimator).__name__} is not one of {', '.join(known)}")
        plain = {}
        for key, value in estimator.get_params(deep=False).items():
            if isinstance(value, (np.ndarray, list, tuple)):
                arrays[f"{name}/{key}"] = np.asarray(value)
            else:
                plain[key] = value.item() if isinstance(value, np.generic) else value
        for key, value in vars(estimator).items():
            if key.endswith("_"):
                arrays[f"{name}/{key}"] = np.asarray(value)
        described.append({"name": name, "class": type(estimator).__name__, "options": plain})
    options = {"pipeline": isinstance(model, Pipeline), "steps": json.dumps(described)}
    files.save_model(path, _KIND, arrays, options)


def load_model(path: str | os.PathLike) -> Any:
    """Load what `save_model` wrote.

    Raises
    ------
    DataError
        Missing, damaged, or of another kind.
    """
    arrays, options = files.load_model(path, _KIND, lambda options: _schema(path, options))
    known = _classes()
    with foreign(path, "a back-end of this toolkit"):
        steps = [
            (step["name"], _restored(path, known[step["class"]], step, arrays))
            for step in _steps(path, options)
        ]
        return Pipeline(steps) if options["pipeline"] else steps[0][1]


def _steps(path: str | os.PathLike, options: dict[str, Any]) -> list[dict[str, Any]]:
    """What a file says of its steps: name, class and options of each."""
    check_types(path, options, {"pipeline": bool, "steps": str})
    described = parse_json(path, f'{{"steps": {options["steps"]}}}', "a back-end", True)["steps"]
    if not isinstance(described, list) or not described:
        raise DataError(f"{path}: holds no steps; is it a back-end?")
    for step in described:
        check_types(path, step if isinstance(step, dict) else {}, _STEP)
        if not _NAME.fullmatch(step["name"]):
            raise DataError(f"{path}: a step cannot be named {step['name'][:60]!r}")
        if step["class"] not in _classes():
            raise DataError(
                f"{path}: holds a {step['class'][:60]}, unknown to this version; upgrade"
            )
    if len({step["name"] for step in described}) < len(described):
        raise DataError(f"{path}: two of its steps have one name")
    return described


def _schema(path: str | os.PathLike, options: dict[str, Any]) -> Schema:
    """What the arrays of a back-end are, ``NAME/ATTRIBUTE``; sizes are those of one step alone."""
    schema: dict[str, Field] = {}
    for number, step in enumerate(_steps(path, options)):
        own = {**_NUMBERS, **_ARRAYS.get(step["class"], {})}
        for name, field in own.items():
            assert field.shape is not None
            shape = tuple(f"{n}{number}".upper() for n in field.shape)
            schema[f"{step['name']}/{name}"] = field._replace(shape=shape)
    return schema


def _restored(
    path: str | os.PathLike, cls: type, step: dict[str, Any], arrays: dict[str, np.ndarray]
) -> Any:
    prefix = step["name"] + "/"
    held = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
    given = {key: value for key, value in held.items() if not key.endswith("_")}
    estimator: BaseEstimator = cls(**step["options"], **given)
    for key, value in held.items():
        if key.endswith("_"):
            setattr(estimator, key, _plain(key, value))
    if hasattr(estimator, "psi_"):
        try:
            check_diagonal_model(estimator.mean_, estimator.transform_, estimator.psi_)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return estimator


def _plain(key: str, value: np.ndarray) -> Any:
    if value.ndim == 0:
        return value.item()
    return value.tolist() if key == "objective_" else value
