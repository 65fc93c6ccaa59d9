"""How often 95 % intervals hold the truth, and how often equal systems are told apart.

    python tests/benchmarks/coverage.py [--repetitions 500] [--scenario NAME...]

Draws worlds of speakers (tests/speaker_world.py) again and again, measures each, and counts the
intervals that hold the value of the population: by the bootstrap, by the analytic formula, and of
the difference to a system that is worse. The last rows count, for two systems that are equally
good and differ in noise, how often p < 0.05. In brackets: the error of the count, in per cent.
Where it is said that errors are too few, or that speakers cannot be told, nothing is counted; how
often that is stands below.
About 5 minutes a scenario on two cores.
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
from speaker_world import (  # noqa: E402
    SCENARIOS,
    Effects,
    Scenario,
    Trials,
    design,
    run_scenarios,
    strangers,
)

from fusion.formats.layouts import NONTARGET, TARGET  # noqa: E402
from fusion.formats.records import Origin  # noqa: E402
from fusion.formats.speakers import linked_speakers  # noqa: E402
from fusion.formats.tables import Trials as Table  # noqa: E402
from fusion.intervals import analytic_interval, bootstrap_interval, paired_bootstrap  # noqa: E402
from fusion.metrics import rates as metrics  # noqa: E402
from fusion.metrics.points import OperatingPoint  # noqa: E402

POINTS = [OperatingPoint(0.01), OperatingPoint(0.1)]
KEYS = [
    ("eer", 0), ("min_dcf", 0), ("min_dcf", 1), ("min_cllr", 0), ("cllr", 0), ("act_dcf", 0),
    ("act_dcf", 1),
]  # fmt: skip
HEAD = ["EER", "minDCF.01", "minDCF.1", "minCllr", "Cllr", "actDCF.01", "actDCF.1"]
WORSE = 0.9  # separation of the worse system


def measure(scores: np.ndarray, target: np.ndarray) -> list[float]:
    """All metrics, in the order of KEYS."""
    tar, non = scores[target], scores[~target]
    points = metrics.OperatingPoints(tar, non)
    least = [points.min_dcf(p.p_target) for p in POINTS]
    actual = [metrics.act_dcf(tar, non, p.p_target) for p in POINTS]
    return [points.eer(), *least, points.min_cllr(), metrics.cllr(tar, non), *actual]


def truth(scenario: Scenario, size: int, parts: int = 16) -> np.ndarray:
    """Metrics (2, 7) of the population: of the system and of the worse one."""
    found = []
    for part in range(parts):
        effects = Effects(scenario, strangers(size), np.random.default_rng([99, part]))
        target = effects.trials.enrol == effects.trials.test
        widths = (scenario.separation, WORSE * scenario.separation)
        found.append([measure(effects.scores(width), target) for width in widths])
    return np.mean(found, axis=0)


def linked(trials: Trials) -> tuple[np.ndarray, np.ndarray] | None:
    """Speakers (N,) of both sides as the target trials tell them; None if not to be trusted."""
    names = [
        f"r{n}" for n in range(1 + max(trials.enrol_recording.max(), trials.test_recording.max()))
    ]
    labels = np.where(trials.enrol == trials.test, TARGET, NONTARGET).astype(np.int8)
    sides = (side.astype(np.int32) for side in (trials.enrol_recording, trials.test_recording))
    found = linked_speakers(Table(*sides, labels, names, names, Origin()))
    return (found.enrol, found.test) if found.trusted else None


def repetition(scenario: Scenario, seed: int, n_bootstrap: int, true: np.ndarray) -> np.ndarray:
    """One world: below, above (2, 7) for each kind of interval, and p-values (7,); NaN untold."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng([seed, 1])
    trials = design(scenario, rng)
    effects = Effects(scenario, trials, rng)
    twin = effects.twin(rng)
    target = trials.enrol == trials.test
    sides = linked(trials) if scenario.linked else (trials.enrol, trials.test)
    if sides is None:
        return np.full((4, 2, len(KEYS)), np.nan)
    scores, options = effects.scores(), {"points": POINTS, "llr": True, "random_state": seed}
    draw = {**options, "n_bootstrap": n_bootstrap}
    boot = bootstrap_interval(scores, target, *sides, **draw)
    fast = analytic_interval(scores, target, *sides, **options)
    bad = twin.scores(WORSE * scenario.separation)
    worse = paired_bootstrap(scores, bad, target, *sides, **draw)
    equal = paired_bootstrap(scores, twin.scores(), target, *sides, **draw)

    def missed(intervals: list, truths: np.ndarray) -> list[list[float]]:
        return [
            [float(t < i.low) if i.enough else np.nan for i, t in zip(intervals, truths)],
            [float(t > i.high) if i.enough else np.nan for i, t in zip(intervals, truths)],
        ]

    def listed(result) -> list:
        return [result.eer, *result.min_dcf, result.min_cllr, result.cllr, *result.act_dcf]

    changes = [worse.differences[key].interval for key in KEYS]
    equals = [equal.differences[key] for key in KEYS]
    lower = [float(d.p_value < 0.05) if d.interval.enough else np.nan for d in equals]
    return np.array(
        [
            missed(listed(boot), true[0]),
            missed(listed(fast), true[0]),
            missed(changes, true[1] - true[0]),
            [lower, np.zeros(len(KEYS))],
        ]
    )


def run(name: str, seeds: range, n_bootstrap: int, jobs: int, size: int) -> None:
    """Print the table of one scenario."""
    scenario = SCENARIOS[name]
    true = truth(scenario, size)
    done = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(repetition)(scenario, seed, n_bootstrap, true) for seed in seeds
    )
    told = ~np.isnan(done)
    counts = told.sum(axis=0)
    rates = 100 * np.nansum(done, axis=0) / np.maximum(counts, 1)
    print(f"\n{name}: {scenario}")
    print(f"{'':26s}" + "".join(f"{h:>14s}" for h in HEAD))
    print(f"{'truth':26s}" + "".join(f"{t:14.4f}" for t in true[0]))
    labels = ("bootstrap", "analytic", "difference to a worse")
    for label, (low, high), (n, _) in zip(labels, rates, counts):
        held = np.where(n > 0, 100 - low - high, np.nan)
        error = np.sqrt(np.maximum(held * (100 - held), 50) / np.maximum(n, 1))
        print(f"{label + ' holds, %':26s}" + "".join(
            f"{h:8.1f} ({e:3.1f})" for h, e in zip(held, error)))  # fmt: skip
        print(f"{'  truth below / above':26s}" + "".join(
            f"{a:8.1f} /{b:4.1f}" for a, b in zip(low, high)))  # fmt: skip
        print(f"{'  too few to tell, %':26s}" + "".join(
            f"{100 - 100 * k / len(seeds):14.1f}" for k in n))  # fmt: skip
    spread = np.maximum(rates[3, 0] * (100 - rates[3, 0]), 50)
    error = np.sqrt(spread / np.maximum(counts[3, 0], 1))
    print(f"{'equal systems, p < 0.05, %':26s}" + "".join(
        f"{r:8.1f} ({e:3.1f})" for r, e in zip(rates[3, 0], error)), flush=True)  # fmt: skip


def main() -> None:
    """Parse and run."""
    run_scenarios(__doc__, run, repetitions=500, bootstrap=500, truth=4_000_000, parts=16)


if __name__ == "__main__":
    main()
