"""What the guard over a fusion notices of planted faults, with and without labels.

    python tests/benchmarks/guard.py [--repetitions 50] [--speakers 60] [--kind NAME...]

Three systems of different scales score worlds of speakers (tests/speaker_world.py): a development
world, where they are fused, and one of other speakers, where the fusion is applied. A fault is
planted in the one or the other. Counted, in per cent: what is noticed without labels, what with
labels (which also give the share of targets), and what the guard over development notices; how many
fusions are damaged beyond the interval, that is, have a Cllr above the 95 % interval of the healthy
fusion of the same worlds, or are worse than their best part beyond the interval of the difference;
and how many of those are noticed. The first rows are healthy: what is noticed there is a false
alarm. About 20 minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import numpy as np  # noqa: E402
from guard_cases import (  # noqa: E402
    DEVELOPMENT,
    HEALTHY,
    KINDS,
    NAMES,
    POINTS,
    Learnt,
    World,
    world,
)

from fusion.calibration.applied import labelled  # noqa: E402
from fusion.calibration.notices import notices  # noqa: E402
from fusion.intervals import analytic_interval, paired_bootstrap  # noqa: E402


class Noticed(NamedTuple):
    """What was noticed of one planted fault, and whether it does damage."""

    unlabelled: bool
    labelled: bool
    development: bool
    damaged: bool


def noticed(
    learnt: Learnt, healthy: Learnt, part: World, right: World, n_bootstrap: int = 200
) -> Noticed:
    """What the guard notices of a fusion applied to a part, which would be `right` if healthy."""
    reference, trials = learnt.reference, (part.target, part.enrol, part.test)
    llr = learnt.fusion.transform(part.scores)
    given = reference, part.scores, part.n_recordings
    by_labels = labelled(reference, llr, part.scores, trials, POINTS, n_bootstrap=n_bootstrap)
    by_labels += notices(*given, float(part.target.mean()))
    return Noticed(
        bool(notices(*given)), bool(by_labels), learnt.noticed,
        _damaged(learnt, healthy, llr, part, right, n_bootstrap),
    )  # fmt: skip


def _damaged(
    learnt: Learnt, healthy: Learnt, llr: np.ndarray, part: World, right: World, n_bootstrap: int
) -> bool:
    trials = part.target, part.enrol, part.test
    good = healthy.fusion.transform(right.scores)
    most = analytic_interval(good, right.target, right.enrol, right.test, llr=True).cllr.high
    if analytic_interval(llr, *trials, llr=True).cllr.estimate > most:
        return True
    for k, name in enumerate(NAMES):
        weight, offset = learnt.reference.worth[name]["calibration"]
        alone = np.nan_to_num(weight * part.scores[:, k] + offset)
        change = paired_bootstrap(alone, llr, *trials, llr=True, n_bootstrap=n_bootstrap)
        if change.differences["cllr", 0].interval.low > 0:
            return True
    return False


def repetition(kinds: list[str], n_speakers: int, seed: int) -> dict[str, Noticed]:
    """Every kind once, in the worlds of a seed."""
    warnings.simplefilter("ignore")
    dev, part = (world(n_speakers, [seed, which]) for which in (0, 1))
    healthy = Learnt(dev, seed)
    found = {}
    for kind in kinds:
        rng = np.random.default_rng([seed, 2])
        if kind in DEVELOPMENT:
            learnt = Learnt(DEVELOPMENT[kind](dev, rng), seed)
            found[kind] = noticed(learnt, healthy, part, part)
        else:
            planted = {**HEALTHY, **KINDS}[kind](part, rng)
            right = planted if kind in HEALTHY else part
            found[kind] = noticed(healthy, healthy, planted, right)
    return found


def main() -> None:
    """Parse, count and print."""
    kinds = [*HEALTHY, *KINDS, *DEVELOPMENT]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the first repetition")
    parser.add_argument("--speakers", type=int, default=60)
    parser.add_argument("--kind", nargs="+", choices=kinds, default=kinds)
    arguments = parser.parse_args()
    rows = [
        repetition(arguments.kind, arguments.speakers, seed)
        for seed in range(arguments.seed, arguments.seed + arguments.repetitions)
    ]
    heads = "without labels", "with labels", "development", "damaged", "of them noticed"
    print(f"{'fault':28s}" + "".join(f"{head:>16s}" for head in heads))
    for kind in arguments.kind:
        found = [row[kind] for row in rows]
        damaged = [one for one in found if one.damaged]
        shares = [np.mean([getattr(one, name) for one in found]) for name in Noticed._fields]
        shares.append(np.mean([one.labelled or one.development for one in damaged] or [np.nan]))
        print(f"{kind:28s}" + "".join(f"{100 * share:16.1f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
