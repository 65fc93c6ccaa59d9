"""What was decided of ``--adapt``, as the console and the report say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ivector.base.foreign.boundary import read_json
from recipes.engine.run import Run
from recipes.experiment.protocol import folds

NAME, _WHAT = "adaptation.json", "what was decided of adaptation"


def told(system: str, fold: str, record: Mapping[str, Any]) -> str:
    """What was decided of a fold, with the numbers, in a line."""
    adapted = "adapted" if record["adapts"] else "not adapted"
    above = "above" if record["centring_gain_per_dimension"] > record["threshold"] else "not above"
    inside = record["trials_are_like_training"] and above == "above"
    but = ", but the recordings on trial are like those of training" if inside else ""
    gain, error = record["centring_gain_per_dimension"], record["centring_gain_error"]
    return (
        f"{system}, {fold}: {adapted} to {record['n_vectors']} recordings of --adapt: centring "
        f"gains {gain:+.4f} ± {error:.4f} nats a dimension, {above} {record['threshold']:g}{but}"
    )


def decisions(run: Run) -> list[str]:
    """What was decided of every system's folds, where ``--adapt`` is given."""
    if run.settings.common.adapt is None:
        return []
    found = (
        (run.exp / system / "adapted" / fold.name / NAME, system, fold.name)
        for system in run.systems if run.settings.adapts(system)
        for fold in folds(run.data)
    )  # fmt: skip
    return [told(one, fold, read_json(path, _WHAT)) for path, one, fold in found if path.exists()]
