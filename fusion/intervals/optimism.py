"""How much too good error rates look that are least over thresholds, from half the speakers.

The least cost over thresholds, the convex hull's EER and min Cllr choose their thresholds on the
trials that they measure. What that gains is noise near the best threshold: the error counts there
walk at random with a variance per step that falls like 1 / N, against a parabola, so that the gain
falls like N^(-2/3) (cube-root asymptotics: J. Kim, D. Pollard, Annals of Statistics 18, 1990). A
bootstrap sees only about half of it, since its replicates repeat the same few trials; what half of
the speakers gain in addition shows it (subsampling is consistent there: D. Politis, J. Romano,
Annals of Statistics 22, 1994).

The variance per step has a part from targets, 1 / N_target times the cost of a miss, and one from
nontargets, likewise with the cost of a false alarm; halving the speakers doubles the first and
quadruples the second, whose trials are pairs.

Dimension legend: M statistics.
"""

from __future__ import annotations

import numpy as np

from fusion.intervals.replicates import System

RATE = 2 / 3
SPLITS = 50  # of a bootstrap: its middle varies by 2 % of the width


def optimism(system: System, n_splits: int, rng: np.random.Generator) -> np.ndarray:
    """How far each statistic (M,) is below what it would be without a choice.

    0 for those that choose nothing; negative where more is better.

    Parameters
    ----------
    system : System
    n_splits : int
        Random splits of the units into halves; both are measured.
    """
    units = system.units
    sides = [np.empty((2 * n_splits, n), np.int64) for n in units.sizes]
    for split in range(n_splits):
        for side, n in zip(sides, units.sizes):
            side[2 * split] = rng.permutation(n) < n // 2
            side[2 * split + 1] = 1 - side[2 * split]
    halves = system.weighted(sides)[0]
    # A pair of halves counts if both hold both classes: then what is linear in speakers cancels.
    lacks = np.isnan(halves[:, 0]).reshape(-1, 2).any(axis=1).repeat(2)
    return np.zeros(len(system.keys)) if lacks.all() else _gain(system, halves[~lacks])


def _gain(system: System, halves: np.ndarray) -> np.ndarray:
    gained = np.zeros(len(system.keys))
    fewer = [_times_fewer(system, which) for which in (system.target, ~system.target)]
    n_tar, n_non = system.operating.n_targets, system.operating.n_nontargets
    for i, (metric, at) in enumerate(system.asked):
        if metric.choice:
            miss, accept = metric.choice.costs(system.operating, *metric.arguments(at))
            noise = miss / n_tar, accept / n_non
            more = (noise[0] * fewer[0] + noise[1] * fewer[1]) / sum(noise)
            gain = (system.estimates[i] - halves[:, i].mean()) / (more**RATE - 1)
            gained[i] = metric.sign * max(metric.sign * gain, 0.0)
    return gained


def _times_fewer(system: System, which: np.ndarray) -> float:
    """How many times fewer trials of a class there are with half the units, on average."""
    if not system.units.shared:
        return 4.0
    n = system.units.sizes[0]
    small, large = n // 2, n - n // 2
    pairs = (small * (small - 1) + large * (large - 1)) / (2 * n * (n - 1))
    single = np.mean(system.enrol[which] == system.test[which])
    return 1 / (single / 2 + (1 - single) * max(pairs, 1 / (2 * n)))
