"""Back-ends of the recipe: models of `plda.models.BACKENDS`, trained, kept, read back."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from plda.models import BACKENDS

if TYPE_CHECKING:
    import numpy as np

# Parameters of models, by the options of run.sh that give them.
PARAMETERS = {"n_iter": "plda_iters"}


def make(scoring: str, **parameters: Any) -> Any:
    """An untrained model."""
    entry = BACKENDS[scoring]
    return getattr(importlib.import_module(entry.module), entry.name)(**parameters)


def training_options(scoring: str, values: SimpleNamespace) -> dict[str, Any]:
    """Options of run.sh that change what is learnt, by their names."""
    model = make(scoring)
    mine = [option for name, option in PARAMETERS.items() if hasattr(model, name)]
    mine += ["plda_smoothing"] * hasattr(model, "smooth")
    return {option: getattr(values, option) for option in mine}


def train(
    scoring: str, X: np.ndarray, y: np.ndarray, values: SimpleNamespace, work: Path
) -> float | None:
    """Train on normalised vectors (n_vectors, n_dims) into a folder; the objective, if any."""
    from ivector.base.files import write_text
    from plda.formats.models import kept, save_model, write_plda
    from plda.models.two_covariance import TwoCovariance

    untrained = make(scoring)
    given = {n: getattr(values, o) for n, o in PARAMETERS.items() if hasattr(untrained, n)}
    model = untrained.set_params(**given).fit(X, y)
    if kept(model).keys() <= {"n_features_in_"}:
        return None  # nothing is learnt
    objective = [float(value) for value in getattr(model, "objective_", ())]
    if values.plda_smoothing and hasattr(model, "smooth"):
        model = model.smooth(values.plda_smoothing)
    save_model(model, work / f"{scoring}.npz")
    if isinstance(model, TwoCovariance):
        write_plda(model, work / "plda")
    write_text(work / "objective.json", json.dumps(objective) + "\n")
    return objective[-1] if objective else None


def load(folder: Path, scoring: str) -> Any:
    """The model of a folder; one that learns nothing leaves no file."""
    from plda.formats.models import load_model

    path = folder / f"{scoring}.npz"
    return load_model(path) if path.exists() else make(scoring)


def is_by_the_book(model: Any) -> bool:
    """Whether it takes every enrolment vector on its own."""
    return "enrol_labels" in inspect.signature(model.scorer).parameters
