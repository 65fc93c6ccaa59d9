"""Back-ends: how vectors of enrolment and test are compared, by name.

An entry of `BACKENDS` says how a model is trained on normalised vectors and stored in the folder of
a fold, read back, and made a scorer of pairs. ``--scoring`` takes the names; a new back-end is an
entry here, and a model in `plda.models`. Modules are imported when one is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from plda.scoring.pairs import PairScorer


@dataclass(frozen=True)
class Backend:
    """A way to compare vectors.

    Parameters
    ----------
    about : str
    train : callable
        Of normalised vectors (n_vectors, n_dims), their speakers, the options of the system and
        the folder to write to; returns the objective at the end, or None.
    load : callable
        Reads the model of such a folder.
    scorer : callable
        Of the model, enrolment (n_enrol, n_dims), tests (n_test, n_dims) and either the number of
        vectors that each enrolment is the mean of, or (`by_the_book`) the model of each vector.
    by_the_book : bool
        Takes every enrolment vector on its own.
    """

    about: str
    train: Callable[[np.ndarray, np.ndarray, SimpleNamespace, Path], float | None]
    load: Callable[[Path], Any]
    scorer: Callable[..., PairScorer]
    by_the_book: bool = False


def _train_plda(X: np.ndarray, y: np.ndarray, values: SimpleNamespace, work: Path) -> float:
    from ivector.base.files import write_text
    from plda.formats.models import save_model, write_plda
    from plda.models.plda import PLDA

    model = PLDA(n_iter=values.plda_iters).fit(X, y)
    objective = [float(value) for value in model.objective_]
    if values.plda_smoothing:
        model = model.smooth(values.plda_smoothing)
    save_model(model, work / "plda.npz")
    write_plda(model, work / "plda")
    write_text(work / "objective.json", json.dumps(objective) + "\n")
    return objective[-1]


def _load_plda(folder: Path) -> Any:
    from plda.formats.models import load_model

    return load_model(folder / "plda.npz")


def _plda_scorer(model: Any, enrol: np.ndarray, test: np.ndarray, **options: Any) -> PairScorer:
    return model.scorer(enrol, test, **options)


def _cosine_scorer(_: Any, enrol: np.ndarray, test: np.ndarray, **options: Any) -> PairScorer:
    from plda.scoring.cosine import cosine_scorer

    return cosine_scorer(enrol, test)


BACKENDS: dict[str, Backend] = {
    "plda": Backend(
        "probabilistic linear discriminant analysis: a log-likelihood ratio",
        _train_plda,
        _load_plda,
        _plda_scorer,
        by_the_book=True,
    ),
    "cosine": Backend(
        "the cosine of the angle between them", lambda *_: None, lambda _: None, _cosine_scorer
    ),
}
