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


def make(scoring: str, values: SimpleNamespace) -> Any:
    """An untrained model with the options that it has parameters for."""
    entry = BACKENDS[scoring]
    cls = getattr(importlib.import_module(entry.module), entry.name)
    known = inspect.signature(cls).parameters
    return cls(**{p: getattr(values, name) for p, name in PARAMETERS.items() if p in known})


def train(
    scoring: str, X: np.ndarray, y: np.ndarray, values: SimpleNamespace, work: Path
) -> float | None:
    """Train on normalised vectors (n_vectors, n_dims) into a folder; the objective, if any."""
    from ivector.base.files import write_text
    from plda.formats.models import save_model, write_plda
    from plda.models.two_covariance import TwoCovariance

    model = make(scoring, values).fit(X, y)
    if not any(name.endswith("_") for name in vars(model)):
        return None  # nothing is learnt
    objective = [float(value) for value in getattr(model, "objective_", ())]
    if values.plda_smoothing and hasattr(model, "smooth"):
        model = model.smooth(values.plda_smoothing)
    save_model(model, work / f"{scoring}.npz")
    if isinstance(model, TwoCovariance):
        write_plda(model, work / "plda")
    write_text(work / "objective.json", json.dumps(objective) + "\n")
    return objective[-1] if objective else None


def load(folder: Path, options: dict[str, Any]) -> Any:
    """The model of a folder, by the options that it was made with."""
    from plda.formats.models import load_model

    path = folder / f"{options['scoring']}.npz"
    if path.exists():
        return load_model(path)
    return make(options["scoring"], SimpleNamespace(plda_iters=options.get("num_iters", 10)))


def is_by_the_book(model: Any) -> bool:
    """Whether it takes every enrolment vector on its own."""
    return "enrol_labels" in inspect.signature(model.scorer).parameters
