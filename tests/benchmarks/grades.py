"""How often exact llr are called badly calibrated, and llr that are off are called well.

    python tests/benchmarks/grades.py [--repetitions 200] [--size 360x14000 ...] [--crossed]

Draws sets of Gaussian llr that are perfectly calibrated, or scaled or shifted, at several EER and
numbers of targets and nontargets, and counts their grades, in per cent. With --crossed every
speaker has a model that meets all test recordings, and speakers are alike on either side;
otherwise the trials of 40 speakers are independent. About 10 minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import numpy as np  # noqa: E402
from speaker_world import Effects, Scenario, design  # noqa: E402

from fusion.calibration.grades import grade_calibration  # noqa: E402
from fusion.metrics.points import OperatingPoint  # noqa: E402

# Separation of the llr by EER: -2 times the normal quantile.
SEPARATIONS = {0.05: 3.2897, 0.02: 4.1075, 0.005: 5.1517}
SIZES = ("100x4000", "360x14000", "2000x20000")
KINDS = {
    "exact": lambda llr: llr,
    "x 1.5": lambda llr: 1.5 * llr,
    "/ 1.5": lambda llr: llr / 1.5,
    "+ 1": lambda llr: llr + 1,
    "- 1": lambda llr: llr - 1,
}
WORDS = ("well", "fairly", "poorly", "too few", "nothing", "misleading")
POINTS = [OperatingPoint(0.01)]


def independent(separation: float, targets: int, nontargets: int, rng: np.random.Generator):
    """Llr, classes and speakers of trials that share nothing but the speakers' numbers."""
    target = np.arange(targets + nontargets) < targets
    llr = np.where(target, 0.5, -0.5) * separation**2 + separation * rng.normal(size=len(target))
    enrol = rng.integers(40, size=len(target))
    return llr, target, enrol, np.where(target, enrol, (enrol + rng.integers(1, 40)) % 40)


def crossed(separation: float, targets: int, _: int, rng: np.random.Generator):
    """The same of speakers with 6 test recordings each, which make a part of the spread."""
    world = Scenario(True, max(targets // 6, 20), 6, separation=separation)
    trials = design(world, rng)
    return Effects(world, trials, rng).scores(), trials.enrol == trials.test, *trials[:2]


def graded(make, kind: str, eer: float, size: str, seed: int) -> str:
    """The grade of one set."""
    llr, *trials = make(
        SEPARATIONS[eer], *map(int, size.split("x")), np.random.default_rng([seed, 7])
    )
    return grade_calibration(KINDS[kind](llr), *trials, points=POINTS, random_state=seed).word


def main() -> None:
    """Parse, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=SIZES)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--crossed", action="store_true")
    arguments = parser.parse_args()
    make = crossed if arguments.crossed else independent
    print(f"{'EER %':>6s}{'size':>12s}{'llr':>7s}" + "".join(f"{word:>12s}" for word in WORDS))
    for eer in SEPARATIONS:
        for size in arguments.size:
            for kind in arguments.kind:
                found = Counter(
                    graded(make, kind, eer, size, seed) for seed in range(arguments.repetitions)
                )
                shares = "".join(f"{100 * found[w] / arguments.repetitions:12.1f}" for w in WORDS)
                print(f"{100 * eer:6g}{size:>12s}{kind:>7s}{shares}", flush=True)


if __name__ == "__main__":
    main()
