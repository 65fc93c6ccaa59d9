"""Back-end models on disk: Kaldi's files (``plda``, ``transform.mat``, ``mean.vec``) and ``.npz``.

Kaldi's binary and text forms are told apart by their content. A model read from Kaldi's file
and written again gives the same bytes.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from ivector.base import files
from ivector.base.errors import DataError, UsageError, named
from ivector.base.files import atomic_write
from ivector.base.foreign.boundary import check_types, foreign, parse_json
from ivector.base.foreign.schema import Field, Schema
from ivector.base.kaldi import KaldiReader, KaldiWriter
from plda.checks import check_diagonal_model
from plda.models import BACKENDS
from plda.models.plda import PLDA
from plda.scoring.identification import SPEAKERS
from plda.transforms.affine import Affine
from plda.transforms.centring import Center, Whiten
from plda.transforms.discriminant import LDA, WCCN
from plda.transforms.length import LengthNorm

_KIND, _WHAT = "back-end", "a back-end of this toolkit"
# Options that came later are left out at their defaults, so that earlier versions read the file.
_LATER: dict[str, Any] = {"smoothing": 0.0, "priors": None}
_TRANSFORMS = {cls.__name__: cls for cls in (Affine, Center, LDA, LengthNorm, WCCN, Whiten)}

# What files may hold beside what a class has learnt: options that are arrays, and of S enrolled
# speakers.
_OTHERS: Schema = {
    "matrix": Field(("K", "E")),
    "mean": Field(("D",)),
    "priors": Field(("S",), least=0),
    "n_features_in_": Field((), "whole", least=1),
    "feature_names_in_": Field(("D",), "text"),
    "objective_": Field(("iterations",)),
    **SPEAKERS,
}
_STEP = {"name": str, "class": str, "options": dict}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def _classes() -> dict[str, type]:
    """What a file may hold, by the name of its class."""
    models = (getattr(importlib.import_module(one.module), one.name) for one in BACKENDS.values())
    return _TRANSFORMS | {cls.__name__: cls for cls in models}


def _learnt(cls: type) -> Schema:
    """What a class learns, by the name of its attributes; nothing, if it does not say."""
    return getattr(cls, "learnt", {})


def read_plda(path: str | os.PathLike) -> PLDA:
    """Read a PLDA model in Kaldi's format, binary or text.

    Raises
    ------
    DataError
        Missing, cut, not a PLDA model, of dimensions that do not fit, or with negative ψ.

    Examples
    --------
    >>> from pathlib import Path
    >>> text = "<Plda>  [ 1 2 ]\\n [\\n 1 0\\n 0 1 ]\\n [ 3 0.5 ]\\n</Plda> "
    >>> _ = Path("plda.txt").write_text(text)
    >>> model = read_plda("plda.txt")
    >>> model.mean_.tolist(), model.psi_.tolist()
    ([1.0, 2.0], [3.0, 0.5])
    """
    with foreign(path, "a PLDA model of Kaldi"):
        reader = KaldiReader(path)
        reader.expect("<Plda>")
        mean, transform, psi = reader.vector(), reader.matrix(), reader.vector()
        reader.expect("</Plda>")
        reader.end()
        with named(str(path)):
            return PLDA.from_diagonal(mean, transform, psi)


def write_plda(model: PLDA, path: str | os.PathLike, binary: bool = True) -> None:
    """Write a PLDA model in Kaldi's format (double precision).

    Parameters
    ----------
    model : PLDA
        Fitted.
    path : path-like
    binary : bool
        Kaldi's binary form, else text.

    Examples
    --------
    >>> model = PLDA.from_diagonal([1, 2], [[1, 0], [0, 1]], [3, 0.5])
    >>> write_plda(model, "plda")
    >>> read_plda("plda").psi_.tolist()
    [3.0, 0.5]
    """

    def write(out: KaldiWriter) -> None:
        out.token("<Plda>")
        out.vector(model.mean_)
        out.matrix(model.transform_)
        out.vector(model.psi_)
        out.token("</Plda>")

    _write(path, write, binary, "f8")


def read_transform(path: str | os.PathLike) -> Affine:
    """Read a matrix (k, D) or affine matrix (k, D + 1) of Kaldi, such as ``transform.mat``.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("transform.txt").write_text(" [\\n  1 1 10 ]\\n")
    >>> read_transform("transform.txt").transform([[2.0, 3.0]]).tolist()
    [[15.0]]
    """
    with foreign(path, "a matrix of Kaldi"):
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

    Examples
    --------
    >>> write_transform(Center().fit([[0.0, 2], [2, 6]]), "transform.mat")
    >>> read_transform("transform.mat").affine().tolist()
    [[1.0, 0.0, -1.0], [0.0, 1.0, -4.0]]
    """
    if not hasattr(transform, "affine"):
        raise UsageError(f"{type(transform).__name__} is not affine; Kaldi has no file for it")
    matrix = transform.affine()
    double = isinstance(transform, Affine) and matrix.dtype == np.float64
    _write(path, lambda out: out.matrix(matrix), binary, "f8" if double else "f4")


def read_mean(path: str | os.PathLike) -> Center:
    """Read Kaldi's ``mean.vec`` as a transformer that subtracts it.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("mean.txt").write_text(" [ 1 4 ]\\n")
    >>> read_mean("mean.txt").transform([[1.0, 5.0]]).tolist()
    [[0.0, 1.0]]
    """
    with foreign(path, "a vector of Kaldi"):
        mean = KaldiReader(path).vector()
        if mean.size == 0 or not np.isfinite(mean).all():
            raise DataError(f"{path}: an empty vector, or one that is not finite")
        return Center(mean).fit(mean[None])


def write_mean(center: Center, path: str | os.PathLike, binary: bool = True) -> None:
    """Write the mean that `center` subtracts as Kaldi's ``mean.vec`` (float32 in binary).

    Examples
    --------
    >>> write_mean(Center().fit([[0.0, 2], [2, 6]]), "mean.vec")
    >>> read_mean("mean.vec").mean_.tolist()
    [1.0, 4.0]
    """
    given = getattr(center.mean, "dtype", None)
    dtype = "f8" if given == np.float64 else "f4"
    _write(path, lambda out: out.vector(center.mean_), binary, dtype)


def _write(
    path: str | os.PathLike, write: Callable[[KaldiWriter], None], binary: bool, dtype: str
) -> None:
    with atomic_write(path) as file:
        write(KaldiWriter(file, binary, dtype))


def save_model(model: Any, path: str | os.PathLike, speakers: bool = False) -> None:
    """Save a fitted transformer, a PLDA model or a pipeline of them as ``.npz``.

    Parameters
    ----------
    model : estimator of this package, or sklearn Pipeline of such
    path : path-like
    speakers : bool
        Keep the enrolled speakers, so that what is loaded can ``predict``: a vector for each
        speaker of training, more than the model itself where they are many, and their names.

    Raises
    ------
    UsageError
        An estimator that is none of this package's, or labels that are neither strings nor
        numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from plda import Center, load_model
    >>> save_model(Center().fit([[0.0, 2], [2, 6]]), "center.npz")
    >>> load_model("center.npz").mean_.tolist()
    [1.0, 4.0]
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
            elif key not in _LATER or value != _LATER[key]:
                plain[key] = value.item() if isinstance(value, np.generic) else value
        declared = {**_OTHERS, **_learnt(type(estimator))}
        for key, value in kept(estimator, speakers).items():
            if key not in declared:
                raise UsageError(
                    f"{type(estimator).__name__}.{key} is not declared, so that a file of it could "
                    "not be checked; name it in the class's `learnt`"
                )
            arrays[f"{name}/{key}"] = _plain_array(key, value)
        described.append({"name": name, "class": type(estimator).__name__, "options": plain})
    options = {"pipeline": isinstance(model, Pipeline), "steps": json.dumps(described)}
    files.save_model(path, _KIND, arrays, options)


def kept(estimator: BaseEstimator, speakers: bool = False) -> dict[str, Any]:
    """What a file keeps of a fitted estimator, by attribute: what was learnt, not of whom."""
    learnt = {key: value for key, value in vars(estimator).items() if key.endswith("_")}
    return {key: learnt[key] for key in learnt if speakers or key not in SPEAKERS}


def _plain_array(key: str, value: Any) -> np.ndarray:
    """As an array without pickles: strings of a data frame are objects, and become strings."""
    array = np.asarray(value)
    if array.dtype == object:
        array = np.asarray(array.tolist())
    if array.dtype == object:
        raise UsageError(f"{key} holds neither strings nor numbers, which a file cannot keep")
    return array


def load_model(path: str | os.PathLike) -> Any:
    """Load what `save_model` wrote.

    Raises
    ------
    DataError
        Missing, damaged, or of another kind.

    Examples
    --------
    >>> from plda import LengthNorm, save_model
    >>> save_model(LengthNorm(scale=False), "norm.npz")
    >>> load_model("norm.npz")
    LengthNorm(scale=False)
    """
    arrays, options = files.load_model(path, _KIND, lambda options: _schema(path, options))
    known = _classes()
    with foreign(path, _WHAT):
        steps = [
            (step["name"], _restored(path, known[step["class"]], step, arrays))
            for step in _steps(path, options)
        ]
        return Pipeline(steps) if options["pipeline"] else steps[0][1]


def _steps(path: str | os.PathLike, options: dict[str, Any]) -> list[dict[str, Any]]:
    """What a file says of its steps: name, class and options of each."""
    check_types(path, options, {"pipeline": bool, "steps": str}, _WHAT)
    described = parse_json(path, f'{{"steps": {options["steps"]}}}', _WHAT, True)["steps"]
    if not isinstance(described, list) or not described:
        raise DataError(f"{path}: holds no steps; is it a back-end?")
    for step in described:
        check_types(path, step if isinstance(step, dict) else {}, _STEP, _WHAT)
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
    known = _classes()
    for number, step in enumerate(_steps(path, options)):
        for name, field in {**_OTHERS, **_learnt(known[step["class"]])}.items():
            assert field.shape is not None
            shape = tuple(f"{n}{number}" for n in field.shape)
            schema[f"{step['name']}/{name}"] = field._replace(shape=shape, optional=True)
    return schema


def _restored(
    path: str | os.PathLike, cls: type, step: dict[str, Any], arrays: dict[str, np.ndarray]
) -> Any:
    prefix = step["name"] + "/"
    held = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
    given = {key: value for key, value in held.items() if not key.endswith("_")}
    learnt = _learnt(cls)
    if lacking := [key for key in learnt if key not in held]:
        # An estimator that was not fitted has none of them, nor seen any features.
        if len(lacking) < len(learnt) or "n_features_in_" in held:
            raise DataError(f"{path}: lacks {prefix}{lacking[0]}; save the model again")
    estimator: BaseEstimator = cls(**step["options"], **given)
    for key, value in held.items():
        if key.endswith("_"):
            setattr(estimator, key, _plain(key, value))
    mean = held.get("mean_")
    if mean is not None and held.get("n_features_in_", len(mean)) != len(mean):
        raise DataError(f"{path}: {prefix}mean_ has another length than its features")
    if hasattr(estimator, "psi_"):
        with named(str(path)):
            check_diagonal_model(estimator.mean_, estimator.transform_, estimator.psi_)
    return estimator


def _plain(key: str, value: np.ndarray) -> Any:
    if value.ndim == 0:
        return value.item()
    return value.tolist() if key == "objective_" else value
