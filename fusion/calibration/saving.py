"""Calibrations and fusions as small JSON files that can be read by eye.

A file has the format's version, the kind of the model, the model itself, and what is known of its
training. The same model gives the same bytes; numbers come back exactly as they were.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ivector.base.errors import DataError, UsageError
from ivector.base.files import write_text
from ivector.base.foreign.boundary import check_types, foreign, read_json

FORMAT_VERSION = 1
_WHAT = "a calibration or fusion of this toolkit"
_TYPES = {"format": int, "kind": str, "model": dict, "training": (dict, type(None))}
# Kind of a model in files: the module and class that know it by to_dict and from_dict.
KINDS = {
    "calibration": ("fusion.calibration.one_system", "Calibration"),
    "fusion": ("fusion.calibration.linear", "LinearFusion"),
}


def save_model(
    path: str | os.PathLike, model: Any, training: Mapping[str, Any] | None = None
) -> None:
    """Write a trained calibration or fusion.

    Parameters
    ----------
    path : path-like
    model : Calibration or LinearFusion
    training : mapping, optional
        What to keep of its training, such as the number of speakers; plain numbers and texts.

    Raises
    ------
    DataError
        The file cannot be written.
    UsageError
        The model is of no known kind, or has numbers that are not finite.

    Examples
    --------
    >>> from fusion import LinearFusion, load_model, save_model
    >>> S, y = [[-2, -1], [1, -1], [-1, 2], [2, 1], [1, 1], [-1, 0]], [0, 0, 0, 1, 1, 1]
    >>> fusion = LinearFusion(names=["plda", "cosine"]).fit(S, y)
    >>> save_model("fusion.json", fusion, {"speakers": 3})
    >>> load_model("fusion.json").names
    ['plda', 'cosine']
    """
    names = {names: kind for kind, names in KINDS.items()}
    kind = names.get((type(model).__module__, type(model).__name__))
    if kind is None:
        raise UsageError(f"a {type(model).__name__} cannot be saved; give a calibration or fusion")
    content = {"format": FORMAT_VERSION, "kind": kind, "model": model.to_dict()}
    content["training"] = dict(training or {})
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise UsageError(f"{path}: the model has a number that is not finite: {error}") from None
    write_text(path, text + "\n")


def load_model(path: str | os.PathLike) -> Any:
    """Read what `save_model` wrote: a Calibration or a LinearFusion; raises as `read_model`.

    Examples
    --------
    >>> from fusion import Calibration, load_model, save_model
    >>> calibration = Calibration().fit([-2.0, -1.0, 0.5, -0.5, 1.0, 2.0], [0, 0, 0, 1, 1, 1])
    >>> save_model("calibration.json", calibration)
    >>> load_model("calibration.json").parameters() == calibration.parameters()
    True
    """
    return read_model(path)[0]


def read_model(path: str | os.PathLike) -> tuple[Any, dict[str, Any]]:
    """Read what `save_model` wrote.

    Returns
    -------
    model : Calibration or LinearFusion
    training : dict

    Raises
    ------
    DataError
        The file cannot be read, is damaged, or of an unknown kind or a newer version.
    """
    content = read_json(path, _WHAT)
    check_types(path, content, _TYPES, _WHAT)
    version, kind = content["format"], content["kind"]
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: format {version} is not known to this version, which reads {FORMAT_VERSION}; "
            "upgrade"
        )
    if kind not in KINDS:
        raise DataError(
            f"{path}: holds a {kind!r} model; this version knows {', '.join(sorted(KINDS))}"
        )
    module, name = KINDS[kind]
    with foreign(path, _WHAT):
        try:
            model = getattr(import_module(module), name).from_dict(content["model"])
        except (DataError, UsageError) as error:
            raise DataError(f"{path}: {error}") from None
    return model, content.get("training") or {}
