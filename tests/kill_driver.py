"""Kill the recipe at random moments in every stage, give the same command again, compare the bytes.

Run ``python tests/kill_driver.py [--kills 50] [--hyke FOLDER] [RECIPE OPTION...]``. Without
options for ``recipes/run.sh`` three small runs on the synthetic corpus cover stages 0 to 10:
i-vectors, two systems with their fusion, and the x-vector network, by two processes each; with
--hyke they get half of the kills, and a run over that corpus the others. Each is run undisturbed
once. Then each stage is told to end at a random moment, by SIGINT to the group, as a terminal does,
and by SIGTERM to the script, as a scheduler does: the statuses must be 130 and 75, and no stage
may be left out. These do not count among the kills, --kills 0 does no more; then it is killed in
three ways until its share of them is reached:

* at a random moment of a stage, the stages in turn so that none is left out: SIGKILL to the whole
  process group, and every fourth time to the stage's process alone, whose workers end with it;
* right before a random change of a file (see ``kill_hook/sitecustomize.py``), as no clock hits the
  moments between two renames;
* a fork of a stage alone, at a random moment: it is replaced, and the run must go on to its end.

After every kill, files outside of hidden folders must be whole: those of the undisturbed run, and
those in their stage's mark. At the end all of them must be there, with the same bytes, and no
temporary ones.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))
from kill_cases import (
    SMALL,
    Recipe,
    Step,
    compare,
    defects,
    kinds,
    leftovers,
    marked,
    profile,
    results,
    table,
)

HOOK = Path(__file__).resolve().parent / "kill_hook"
CORPUS = "--prepare-options=--speakers 12 --sessions 4"
SETS = (
    ("i-vectors", 0.4, ["--nj", "2", "--system", "ivector", "--stop-stage", "4"]),
    ("fusion", 0.4, ["--nj", "2", "--systems", "ivector gmm-ubm", "--dev-folds", "2",
                     "--dev-folds-used", "1"]),
    ("x-vectors", 0.2, ["--nj", "2", "--system", "xvector", "--dev-folds", "0",
                        "--xvector-steps", "5", "--xvector-frames", "60 80"]),
)  # fmt: skip
POLL = 0.02
HYKE = ["--corpus", "hyke", "--nj", "2", "--systems", "ivector cosine gmm-ubm gmm-ubm-s",
        "--fusion-systems", "ivector gmm-ubm-s"]  # fmt: skip
GROUP, ALONE, CHANGE, WORKER = "group", "stage alone", "before a change", "worker alone"
INT, TERM = "SIGINT", "SIGTERM"
STATUSES = {INT: 130, TERM: 75}
TRIES = 5  # to hit a stage, or a fork of one; the last three as soon as it is seen


@dataclass
class Undisturbed:
    """What a run leaves that nobody disturbs."""

    seconds: float
    steps: dict[Step, float]
    results: dict[str, str]
    homes: list[str]
    changes: int


@dataclass
class Tally:
    """Kills done so far, and what was found wrong."""

    kills: list[tuple[str, str, Step]] = field(default_factory=list)  # set, how, step
    wrong: list[str] = field(default_factory=list)


def watched(folder: Path, counter: Path, limit: int = 0) -> dict[str, str]:
    """Variables that make a run count its changes of files, and end at one."""
    counter.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
    told = {"KILL_FOLDER": str(folder), "KILL_COUNTER": str(counter), "KILL_AT": str(limit)}
    return {**told, "PYTHONPATH": path}


def undisturbed(folder: Path, options: Sequence[str], log: Path) -> Undisturbed:
    """Run once and move the results away, as their paths are in some of the files."""
    counter = log.parent / "changes"
    recipe = Recipe(folder, options, log, watched(folder, counter))
    try:
        steps = profile(recipe)
    finally:
        recipe.kill()
    if recipe.wait():
        raise SystemExit(f"the undisturbed run failed:\n{log.read_text()[-3000:]}")
    found = Undisturbed(
        sum(steps.values()),
        steps,
        results(folder),
        marked(folder),
        counter.stat().st_size,
    )
    shutil.rmtree(folder)
    return found


def plan(steps: dict[Step, float], count: int, rng: np.random.Generator) -> list[Step]:
    """Stages to kill in, in order: each of them, then by their length."""
    order = list(steps)
    chosen = [order[i] for i in rng.permutation(len(order))][:count]
    lengths = np.array([steps[step] for step in order])
    more = rng.choice(len(order), count - len(chosen), p=lengths / lengths.sum())
    return sorted([*chosen, *(order[i] for i in more)], key=order.index)


def strike(recipe: Recipe, target: Step, moment: float, order: list[Step], how: str) -> Step | None:
    """Kill a run `moment` seconds into a stage; where it was, None if it ended before."""
    begun = None
    now = None
    while not recipe.ended():
        now = recipe.running() or now
        if begun is None and now and now[0] in order[order.index(target) :]:
            begun = time.perf_counter()
        if begun is not None and time.perf_counter() - begun >= moment:
            break
        time.sleep(POLL)
    if recipe.ended() or now is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        if how == ALONE:  # the script ends by itself, and workers by and by
            os.kill(now[1], signal.SIGKILL)
        elif how == INT:
            os.killpg(recipe.process.pid, signal.SIGINT)
        elif how == TERM:
            os.kill(recipe.process.pid, signal.SIGTERM)
    if how == GROUP:
        recipe.kill()
    # A run that was at its end may have ended well.
    return None if recipe.wait() == 0 else now[0]


class Round:
    """One set of options, killed until its share is reached."""

    def __init__(
        self, name: str, folder: Path, options: Sequence[str], truth: Undisturbed, tally: Tally
    ):
        self.name, self.folder, self.options = name, folder, options
        self.truth, self.tally = truth, tally
        self.log = folder.parent / "killed.log"
        self.launched: list[Recipe] = []

    def by_moments(self, count: int, rng: np.random.Generator) -> int:
        """Kill in every stage at a random moment; return how many runs ended before theirs."""
        targets = plan(self.truth.steps, count, rng)
        ways = [ALONE if number % 4 == 3 else GROUP for number in range(count)]
        return self._strike_all(list(zip(targets, ways)), rng)

    def by_signals(self, rng: np.random.Generator) -> None:
        """Tell every stage to end, by both signals."""
        self._strike_all([(step, how) for step in self.truth.steps for how in STATUSES], rng)

    def _strike_all(self, targets: list[tuple[Step, str]], rng: np.random.Generator) -> int:
        """Strike stages, in order; those that were missed, again. How many runs ended before."""
        early = 0
        pace = 1.0  # of this machine, against that of the undisturbed run
        for last in (False,) * (TRIES - 3) + (True,) * 3:
            # By signals each stage has to be hit by each; by kills, by any.
            missed = {(target, STATUSES.get(how)): (target, how) for target, how in targets}
            for target, how in targets:
                moment = pace * float(rng.uniform(0, self.truth.steps[target])) * (not last)
                recipe = self._launch()
                step = strike(recipe, target, moment, list(self.truth.steps), how)
                early += not self._account(step, how, recipe)
                pace *= 1.0 if step == target else 0.7
                if step is not None:
                    missed.pop((step, STATUSES.get(how)), None)
            self._end()
            targets = list(missed.values())
            if not targets:
                break
        for target, how in targets:
            told = f"{self.name}: {target} was too short to be hit by {how}"
            print(f"      {told}", flush=True)
            self.tally.wrong += [told] * (how in STATUSES)
        return early

    def by_changes(self, count: int, rng: np.random.Generator) -> None:
        """Kill right before a random change of a file."""
        counter = self.folder.parent / "changes"
        stride = max(2, 2 * self.truth.changes // count)
        while count > 0:
            limit = int(rng.integers(1, stride + 1))
            recipe = self._launch(watched(self.folder, counter, limit))
            step = next(iter(self.truth.steps))
            while not recipe.ended():
                if now := recipe.running():
                    step = now[0]
                time.sleep(POLL)
            killed = recipe.wait() == -signal.SIGKILL
            recipe.kill()
            if self._account(step if killed else None, CHANGE, recipe):
                count -= 1
            else:
                self._end()
        self._end()

    def by_workers(self, count: int, rng: np.random.Generator) -> None:
        """Kill a fork of every stage in turn; the run must go on, to the same bytes."""
        for _ in range(TRIES * (1 + count)):  # in some runs none is at work when it is due
            if count <= 0:
                break
            recipe, killed = self._launch(), 0
            due: dict[Step, float] = {}
            while not recipe.ended():
                time.sleep(POLL)
                if (now := recipe.running()) is None:
                    continue
                moment = rng.uniform(0, 0.7 * self.truth.steps.get(now[0], 0))
                begun = due.setdefault(now[0], time.perf_counter() + moment)
                if killed == count or time.perf_counter() < begun:
                    continue
                if workers := recipe.workers():
                    with contextlib.suppress(psutil.Error):
                        workers[int(rng.integers(len(workers)))].kill()
                        killed += self._account(now[0], WORKER, recipe)
                        due[now[0]] = math.inf
            if recipe.wait():
                self.tally.wrong.append(
                    f"status {recipe.wait()} of a run whose workers were killed"
                )
                self._blame()
            count -= killed
            self._end()
        if count > 0:
            self.tally.wrong.append(f"{self.name}: no fork of a stage was there to be killed")

    def clear(self) -> None:
        """End what was orphaned."""
        for former in self.launched:
            former.kill()
        self.launched.clear()

    def _launch(self, environment: dict[str, str] | None = None) -> Recipe:
        self.launched.append(Recipe(self.folder, self.options, self.log, environment))
        return self.launched[-1]

    def _account(self, step: Step | None, how: str, recipe: Recipe) -> bool:
        """Note a kill and look at what it left; False if there was none."""
        if step is None:
            if recipe.wait() != 0:
                self.tally.wrong.append(f"status {recipe.wait()} of a run that nobody killed")
                self._blame()
            return False
        self.tally.kills.append((self.name, how, step))
        found = defects(self.folder, self.truth.results, self.truth.homes)
        if how in STATUSES and recipe.wait() != STATUSES[how]:
            found.append(f"ended with {recipe.wait()}, not {STATUSES[how]}")
            self._blame()
        self.tally.wrong += [f"after the kill in {step} ({how}): {t}" for t in found]
        number = len(self.tally.kills)
        print(f"{number:4d}  {self.name}  {step}  {how}  {'; '.join(found) or 'ok'}", flush=True)
        return True

    def _end(self) -> None:
        """Let the run end, compare all that it leaves, and clear the table for another."""
        start = time.perf_counter()
        recipe = self._launch()
        if status := recipe.wait():
            self.tally.wrong.append(f"{self.name}: the last run ended with status {status}")
            self._blame()
        self.clear()
        found = results(self.folder)
        told = compare(self.truth.results, found)
        told += [f"{name}: is left over" for name in leftovers(self.folder)]
        told += [t for t in defects(self.folder, found, self.truth.homes) if t not in told]
        self.tally.wrong += [f"{self.name}: {t}" for t in told]
        seconds = time.perf_counter() - start
        print(f"      {self.name}: ended after {seconds:.0f} s: {kinds(list(found))}: ", end="")
        print("; ".join(told[:10]) or "identical", flush=True)
        shutil.rmtree(self.folder)

    def _blame(self) -> None:
        print(self.log.read_text(errors="replace")[-3000:], flush=True)


def run_set(
    name: str, options: Sequence[str], kills: int, folder: Path, rng: np.random.Generator,
    tally: Tally,
) -> None:  # fmt: skip
    """Kill one set of options `kills` times."""
    folder.mkdir(parents=True)
    truth = undisturbed(folder / "run", options, folder / "undisturbed.log")
    print(
        f"{name}: undisturbed {truth.seconds:.0f} s, {len(truth.steps)} stages, "
        f"{truth.changes} changes of files, {kinds(list(truth.results))}",
        flush=True,
    )
    turns = Round(name, folder / "run", options, truth, tally)
    try:
        turns.by_signals(rng)
        share = kills // 4
        early = turns.by_moments(kills - 2 * share, rng)
        if share + early:
            turns.by_changes(share + early, rng)
        turns.by_workers(share, rng)
    finally:
        turns.clear()


def summary(tally: Tally) -> str:
    """Kills by stage and way."""
    ways = (GROUP, ALONE, CHANGE, WORKER, INT, TERM)
    counts = Counter((str(step), how) for _, how, step in tally.kills)
    steps = sorted({str(step) for _, _, step in tally.kills})
    rows = [[step, *(counts[step, way] for way in ways)] for step in steps]
    rows.append(["all", *(sum(counts[step, way] for step in steps) for way in ways)])
    return table(rows, ("stage", *ways))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--hyke", type=Path, help="the corpus, which gets half of the kills")
    parser.add_argument("--kill-seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work, instead of a temporary folder")
    arguments, options = parser.parse_known_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending what it started
    sets = [(name, share, [*SMALL, CORPUS, *words]) for name, share, words in SETS]
    if options:
        sets = [("given", 1.0, options)]
    if not options and find_spec("torch") is None:
        print("x-vectors: skipped, as torch is not installed")
        sets = [(name, share / 0.8, words) for name, share, words in sets[:2]]
    if arguments.hyke:
        sets = [(name, share / 2, words) for name, share, words in sets]
        words = [*HYKE, "--corpus-dir", str(arguments.hyke.resolve())]
        sets.append(("hyke", 1 - sum(share for _, share, _ in sets), words))
    rng = np.random.default_rng(arguments.kill_seed)
    tally = Tally()
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, share, words in sets:
            run_set(name, words, round(arguments.kills * share), folder / name, rng, tally)
    print(f"\n{summary(tally)}\n")
    for line in tally.wrong:
        print(f"WRONG: {line}")
    verdict = "DIFFERENT" if tally.wrong else "OK"
    seconds = time.perf_counter() - start
    signals = sum(how in STATUSES for _, how, _ in tally.kills)
    kills = len(tally.kills) - signals
    print(f"{kills} kills and {signals} signals in {seconds:.0f} s: {verdict}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
