"""Kill workers and the scheduler of a Dask cluster under the recipe, and compare the bytes.

Run ``python tests/kill_workers.py [--kills 30] [--scheduler-restarts 2] [RECIPE OPTION...]``, for
example with ``--corpus hyke --corpus-dir DIR``; without options it takes a small synthetic corpus.
Stages 0 to 6 are run undisturbed on this machine's processes first. Then a scheduler and workers
of one thread are started, and the i-vector system is run on them: while stages 1 to 4 are at work,
random workers get SIGKILL at random moments and new ones take their places, and so does the
scheduler. That one command must end with status 0 and leave the bytes of the undisturbed run. If
it ends before all kills are done, the same is done again from the start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from kill_cases import (
    ROOT,
    SMALL,
    Recipe,
    compare,
    defects,
    kinds,
    leftovers,
    marked,
    results,
    table,
)

CORPUS = [*SMALL, "--prepare-options=--speakers 40 --sessions 6 --rate 8000"]
STAGES = range(1, 5)  # in which workers are killed
POLL = 0.1
DOWN_S = (0.5, 4.0)  # how long the scheduler is away


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A Dask scheduler and workers as processes, each of which may be killed and replaced.

    Parameters
    ----------
    folder : Path
        For logs and the workers' own files.
    n_workers : int
    """

    def __init__(self, folder: Path, n_workers: int):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.started = 0
        self.scheduler = self._start_scheduler()
        self.workers = [self._start_worker() for _ in range(n_workers)]

    def tend(self) -> None:
        """Replace workers that are gone, as they also are after their scheduler's end."""
        for i, (process, _) in enumerate(self.workers):
            if process.poll() is not None:
                self.workers[i] = self._start_worker()

    def at_work(self) -> bool:
        """Whether shards are out."""
        return any((self._processing() or {}).values())

    def kill_worker(self, rng: np.random.Generator) -> str | None:
        """Kill a random worker while shards are out: "busy" or "idle"; None if none are."""
        known = self._processing() or {}
        there = [i for i, (_, address) in enumerate(self.workers) if address in known]
        if not there or not any(known.values()):
            return None
        process, address = self.workers[int(rng.choice(there))]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return "busy" if known[address] else "idle"

    def restart_scheduler(self, pause: float) -> None:
        """Kill the scheduler and start another at the same address a while later."""
        self.scheduler.kill()
        self.scheduler.wait()
        time.sleep(pause)
        self.scheduler = self._start_scheduler()

    def close(self) -> None:
        """End all processes."""
        for process in [self.scheduler, *(process for process, _ in self.workers)]:
            process.kill()
            process.wait()

    def _processing(self) -> dict[str, tuple[str, ...]] | None:
        """What every worker is at, as the scheduler knows it; None if it does not answer."""
        from distributed import rpc

        async def ask() -> dict[str, tuple[str, ...]]:
            async with rpc(self.address, timeout=2) as scheduler:
                return await asyncio.wait_for(scheduler.processing(), 2)

        with contextlib.suppress(OSError, asyncio.TimeoutError):
            return asyncio.run(ask())
        return None

    def _start_scheduler(self) -> subprocess.Popen:
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        return self._start("scheduler", [*words, "--dashboard-address", ":0"])

    def _start_worker(self) -> tuple[subprocess.Popen, str]:
        # Without a nanny the process that is killed is the one that computes.
        self.started += 1
        port = free_port()
        words = [
            self.address, "--host", "127.0.0.1", "--worker-port", str(port), "--nthreads", "1",
            "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--name", f"w{self.started}",
            "--local-directory", str(self.folder), "--death-timeout", "60",
        ]  # fmt: skip
        return self._start("worker", words), f"tcp://127.0.0.1:{port}"

    def _start(self, kind: str, words: list[str]) -> subprocess.Popen:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        variables |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
        with open(self.folder / f"{kind}.log", "ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=variables, stdout=log, stderr=subprocess.STDOUT
            )


@dataclass
class Tally:
    """What was killed, when and where, and what was found wrong."""

    rows: list[tuple[object, ...]] = field(default_factory=list)
    stages: Counter = field(default_factory=Counter)  # of the workers' kills
    restarts: int = 0
    runs: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Number of workers killed."""
        return self.stages.total()


@dataclass(frozen=True)
class Plan:
    """How much is to be killed, how often, and where the run ends."""

    kills: int
    restarts: int
    interval: float
    stop_stage: int = 6

    def is_restart(self, tally: Tally) -> bool:
        """Whether it is the scheduler's turn: evenly among the kills of workers."""
        due = (tally.restarts + 1) * self.kills / (self.restarts + 1)
        return tally.restarts < self.restarts and tally.kills >= due

    def is_enough(self, tally: Tally, stage: int) -> bool:
        """Whether a stage had its share, so that no stage takes all kills of a run."""
        share = math.ceil(self.kills / min(self.stop_stage, len(STAGES)))
        return tally.stages[stage] >= share * tally.runs

    def is_done(self, tally: Tally) -> bool:
        return tally.kills >= self.kills and tally.restarts >= self.restarts


def disturb(
    recipe: Recipe, cluster: Cluster, plan: Plan, tally: Tally, rng: np.random.Generator
) -> None:
    """Kill workers, and the scheduler in between, until the run ends."""
    due = time.perf_counter() + rng.uniform(0, plan.interval)
    while not recipe.ended():
        time.sleep(POLL)
        cluster.tend()
        if time.perf_counter() < due or plan.is_done(tally):
            continue
        now = recipe.running()
        if now is None or (stage := now[0].stage) not in STAGES:
            continue
        seconds = f"{time.perf_counter() - recipe.started:.1f}"
        if plan.is_restart(tally):
            if not cluster.at_work():
                continue
            pause = float(rng.uniform(*DOWN_S))
            cluster.restart_scheduler(pause)
            tally.restarts += 1
            what = f"scheduler, away {pause:.1f} s"
        elif not plan.is_enough(tally, stage) and (state := cluster.kill_worker(rng)):
            tally.stages[stage] += 1
            what = f"worker, {state}"
        else:
            continue
        tally.rows.append((len(tally.rows) + 1, seconds, now[0], what))
        print(f"  {'  '.join(map(str, tally.rows[-1]))}", flush=True)
        due = time.perf_counter() + rng.uniform(0.3, 1.7) * plan.interval


def end_within(recipe: Recipe, log: Path) -> float:
    """Wall-clock seconds of a run that must succeed."""
    if recipe.wait():
        raise SystemExit(f"the undisturbed run failed:\n{log.read_text()[-3000:]}")
    return time.perf_counter() - recipe.started


def run(options: Sequence[str], n_workers: int, plan: Plan, folder: Path, seed: int) -> Tally:
    """Disturb runs until all kills are done; prints a table."""
    rng = np.random.default_rng(seed)
    tally = Tally()
    here, log = folder / "run", folder / "log"
    whole = [*options, "--system", "ivector", "--dev-folds", "0"]
    whole += ["--stop-stage", str(plan.stop_stage)]
    seconds = end_within(Recipe(here, [*whole, "--nj", str(n_workers)], log), log)
    expected, homes = results(here), marked(here)
    print(f"undisturbed on loky: {seconds:.0f} s; {kinds(list(expected))}", flush=True)
    runs: list[tuple[object, ...]] = []
    cluster = Cluster(folder / "dask", n_workers)
    try:
        while not plan.is_done(tally):
            shutil.rmtree(here / "exp")
            before = tally.kills, tally.restarts
            tally.runs += 1
            log.unlink()
            recipe = Recipe(
                here, [*whole, "--backend", "dask", "--scheduler", cluster.address], log
            )
            try:
                disturb(recipe, cluster, plan, tally, rng)
            finally:
                recipe.kill()
            told = _told(recipe, here, expected, homes)
            if told:
                tally.wrong += told
                print(log.read_text(errors="replace")[-3000:], flush=True)
            done = tally.kills - before[0], tally.restarts - before[1]
            seconds = time.perf_counter() - recipe.started
            row = (tally.runs, *done, f"{seconds:.0f}", "DIFFERENT" if told else "OK")
            runs.append(row)
            print(f"run {row[0]} ended after {row[3]} s: {row[4]}", flush=True)
            if told:
                break
    finally:
        cluster.close()
    print(f"\n{table(tally.rows, ('#', 's', 'stage', 'killed'))}\n")
    print(table(runs, ("run", "workers killed", "scheduler killed", "wall s", "bytes")))
    return tally


def _told(recipe: Recipe, folder: Path, expected: dict[str, str], homes: list[str]) -> list[str]:
    """What is wrong with a run that ended."""
    if status := recipe.wait():
        return [f"it ended with status {status}"]
    told = compare(expected, results(folder)) + defects(folder, expected, homes)
    return list(dict.fromkeys(told)) + [f"{name}: is left over" for name in leftovers(folder)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of workers")
    parser.add_argument("--scheduler-restarts", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--interval", type=float, default=3.0, help="mean seconds between kills; a worker's "
        "start must fit in often enough for shards to be finished"
    )  # fmt: skip
    parser.add_argument("--kill-seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work, instead of a temporary folder")
    arguments, options = parser.parse_known_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending what it started
    plan = Plan(arguments.kills, arguments.scheduler_restarts, arguments.interval)
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tally = run(options or CORPUS, arguments.workers, plan, folder, arguments.kill_seed)
    for line in tally.wrong:
        print(f"WRONG: {line}")
    verdict = "DIFFERENT" if tally.wrong else "OK"
    print(f"{tally.kills} workers killed, scheduler killed {tally.restarts} times: {verdict}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
