"""Random score sets and the ways of calibrating them, for the order that calibration must keep.

Run as a program it tries many: ``python tests/order_cases.py [--sets 10000]``.

Dimension legend: N trials.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # else tests/fusion is taken for the package
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np

from fusion.calibration.one_system import Calibration
from fusion.formats.files import read_scores, write_scores
from fusion.metrics.rates import eer, min_dcf
from ivector.base.errors import DataError

POINTS = [0.5, 0.01, 0.001]  # priors of a target
CLOSE = 1e-9

# Calibrations that rise strictly wherever they are applied. PAV rises in steps, on purpose.
STRICT: dict[str, Callable[[], Any]] = {
    "bounded": lambda: Calibration(bounded=True),
    "bounded at a low prior": lambda: Calibration(bounded=True, prior=0.01),
    "logistic": Calibration,
    "bi-Gaussian": lambda: Calibration("bigaussian"),
    "Gaussian of one width": lambda: _OneWidth("gaussian"),
}


class _OneWidth(Calibration):
    """Gaussians that share a variance, as others fall somewhere."""

    def fit(self, X, y, quality=None):
        super().fit(X, y, quality)
        self.variances_ = np.full(2, self.variances_.mean())
        return self


Classes = tuple[np.ndarray, np.ndarray]


def score_set(rng: np.random.Generator) -> Classes:
    """Scores (N,) of one random system, and which are of targets."""
    n_tar, n_non = (int(10 ** rng.uniform(*ends)) for ends in ((1, 2.7), (1.5, 3.5)))
    y = np.arange(n_tar + n_non) < n_tar
    tails = rng.choice([1.0, 2.0, 8.0, 100.0])  # degrees of freedom
    values = np.where(y, rng.uniform(0.5, 6), 0) + rng.standard_t(tails, len(y))
    if rng.random() < 0.3:  # wrong labels
        y = np.where(rng.random(len(y)) < 0.02, ~y, y)
    values = values * 10 ** rng.uniform(-3, 3) + rng.choice([0.0, 1.0, -50.0])
    if rng.random() < 0.3:  # as another program wrote them, with ties
        step = np.ptp(values) / 10 ** rng.integers(2, 7)
        values = np.round(values / step) * step
    if rng.random() < 0.2:
        values = values.astype(np.float32).astype(np.float64)
    return values, y


def elsewhere(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """The same scores as another domain might spread and move them."""
    spread = np.std(values)
    return values * 10 ** rng.uniform(-1, 2) + spread * rng.normal() * 10 ** rng.uniform(-1, 2)


def metrics(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """EER and minDCF at `POINTS`."""
    classes = values[y], values[~y]
    return np.array([eer(*classes), *(min_dcf(*classes, point) for point in POINTS)])


def written(path: Path, llr: np.ndarray) -> np.ndarray:
    """Llr that were written to a score file and read from it."""
    ids = [f"t{n}" for n in range(len(llr))]
    write_scores(path, ids, ids, llr)
    return read_scores(path).values


def changes(rng: np.random.Generator, values: np.ndarray, y: np.ndarray) -> Iterator[str]:
    """Names of the calibrations that change a metric of a score set, and by how much."""
    folder = tempfile.TemporaryDirectory()
    path, other = Path(folder.name) / "scores", elsewhere(rng, values)
    with folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, make in STRICT.items():
            try:
                model = make().fit(values, y)
            except DataError:
                continue  # scores that mean nothing, or the reverse
            if not rising(model, values):
                continue
            for scores in (values, other):
                llr = written(path, model.transform(scores))
                worst = np.abs(metrics(llr, y) - metrics(scores, y)).max()
                if worst > CLOSE or ties(llr) < ties(scores):
                    yield f"{name}: {worst:.3g}, {ties(scores)} scores tied, {ties(llr)} llr"


def rising(model: Any, values: np.ndarray) -> bool:
    """Whether higher scores speak for the same speaker, as they should."""
    low, high = model.transform(np.array([values.min(), values.max()]))
    return bool(low < high)


def ties(values: np.ndarray) -> int:
    """Scores that equal another."""
    return len(values) - len(np.unique(values))


def main() -> int:
    """Try many sets; exit 1 if any metric changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    n_wrong = 0
    for number in range(arguments.sets):
        rng = np.random.default_rng([arguments.seed, number])
        for text in changes(rng, *score_set(rng)):
            print(f"set {number}: {text}")
            n_wrong += 1
    print(f"{arguments.sets} score sets, {n_wrong} changes of EER or minDCF above {CLOSE:g}")
    return int(n_wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
