"""How often 95 % intervals of single llr hold the llr of a calibration learnt on very many trials.

    python tests/benchmarks/llr_coverage.py [--repetitions 2000] [--scenario NAME...]

Draws worlds of speakers (tests/speaker_world.py) again and again, learns a logistic calibration
from each with its uncertainty (`fusion.forensic.calibration_uncertainty`), and asks for the llr of
six scores: quantiles 0.05, 0.5 and 0.95 of the nontarget and of the target scores of the
population. The right llr is that of a calibration of 8 million trials that share no speaker. In
brackets: the error of the count. The last row counts worlds in which no interval was given, for
want of errors. About 4 minutes a scenario on two cores.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import joblib  # noqa: E402
import numpy as np  # noqa: E402
from speaker_world import SCENARIOS, Effects, Scenario, design, run_scenarios, strangers  # noqa: E402

from fusion.calibration.logistic import fit_logistic  # noqa: E402
from fusion.forensic import calibration_uncertainty  # noqa: E402
from ivector.base.errors import DataError  # noqa: E402

QUANTILES = (0.05, 0.5, 0.95)
KINDS = ("resampled", "Bayesian")


def truth(scenario: Scenario, size: int, parts: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Scores (6,) to ask for, and their llr by a calibration of the population."""
    asked, found = [], []
    for part in range(parts):
        effects = Effects(scenario, strangers(size), np.random.default_rng([99, part]))
        scores, target = effects.scores(), effects.trials.enrol == effects.trials.test
        classes = scores[~target], scores[target]
        asked.append(np.concatenate([np.quantile(values, QUANTILES) for values in classes]))
        fit = fit_logistic(scores, target)
        found.append([fit.weights[0], fit.offset])
    at, (weight, offset) = np.mean(asked, axis=0), np.mean(found, axis=0)
    return at, weight * at + offset


def repetition(
    scenario: Scenario, seed: int, n_bootstrap: int, asked: np.ndarray, right: np.ndarray
) -> np.ndarray | None:
    """Whether the right llr is below and above (2, 6) the interval of either kind, in one world."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng([seed, 1])
    trials = design(scenario, rng)
    scores, target = Effects(scenario, trials, rng).scores(), trials.enrol == trials.test
    try:
        found = calibration_uncertainty(
            scores, target, trials.enrol, trials.test, n_bootstrap=n_bootstrap, random_state=seed
        )
    except DataError:
        return None
    ends = (found.interval(asked), found.credible(asked))
    return np.array([[right < low, right > high] for low, high in (one.T for one in ends)])


def run(name: str, seeds: range, n_bootstrap: int, jobs: int, size: int) -> None:
    """Print the table of one scenario."""
    scenario = SCENARIOS[name]
    asked, right = truth(scenario, size)
    done = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(repetition)(scenario, seed, n_bootstrap, asked, right) for seed in seeds
    )
    told = [one for one in done if one is not None]
    print(f"\n{name}: {scenario}")
    print(f"{'right llr':24s}" + "".join(f"{value:13.2f}" for value in right))
    for kind, (below, above) in zip(KINDS, 100 * np.mean(told, axis=0)):
        held = 100 - below - above
        error = np.sqrt(np.maximum(held * (100 - held), 50) / len(told))
        print(f"{kind + ' holds, %':24s}" + "".join(
            f"{h:7.1f} ({e:3.1f})" for h, e in zip(held, error)))  # fmt: skip
        print(f"{'  right below / above':24s}" + "".join(
            f"{a:8.1f}/{b:4.1f}" for a, b in zip(below, above)))  # fmt: skip
    print(f"{'no interval':24s}{len(done) - len(told):7d} of {len(done)}", flush=True)


def main() -> None:
    """Parse and run."""
    run_scenarios(__doc__, run, repetitions=2000, bootstrap=200, truth=1_000_000, parts=8)


if __name__ == "__main__":
    main()
