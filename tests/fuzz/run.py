"""Hostile inputs through every reader and every command: no traceback, no hang, no memory.

``python tests/fuzz/run.py --n 100000 [--seed 0] [--kind npz ...] [--processes 2000]``. A case is a
whole file that was changed (`mutators`) or hostile values of options (`options`); it depends on the
seed and its number alone. Cases run in forks of a process that has imported everything. A case is a
fault if anything but a UserError comes out of a reader, if a command ends with another status than
those of `ivector.base.errors.Exit` or with 70, says more than a line, if it takes more memory than
the limit and 200 MiB, or longer than 10 s, or leaves a temporary file. Inputs of faults are kept.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import io
import itertools
import logging
import multiprocessing
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fuzz_scores

from fuzz import audio, options, seeds
from fuzz.mutators import mutate
from ivector.base.budget import set_memory_limit
from ivector.base.errors import Exit, UserError
from ivector.features.audio import audio_info, read_audio

HERE = Path(__file__).resolve().parent
LIMIT_MB, MORE_MB, LONGEST_S = 256, 200, 10.0
WAITED = 6  # so many times as long by the clock, where others share the machine
STATUSES = {*map(int, Exit)} - {Exit.FAULT}
BATCH = 200
PROCESS_S = 120.0  # which imports, compiles and shares the machine
KINDS = ("kaldi", "npz", "json", "network", "tar", "text", "config", "commands", "scores",
         "options", "audio")  # fmt: skip


class Result(NamedTuple):
    """What became of a case: accepted, refused or a fault, and what is wrong."""

    number: int
    kind: str
    outcome: str
    wrong: str = ""


class Fuzzer:
    """Runs cases by number in this folder, which holds the world of `seeds`."""

    def __init__(self, seed: int, kinds: list[str], keep: Path):
        self.seed, self.kinds, self.keep = seed, kinds, keep
        self.uses = [use for use in seeds.uses() if use.kind in kinds]
        self.by_kind = {kind: [u for u in self.uses if u.kind == kind] for kind in kinds}
        self.files = sorted(path for path in Path().rglob("*") if path.is_file())
        self.whole = {path: path.read_bytes() for path in self.files}

    def check_seeds(self) -> None:
        """Whole files are accepted, and all kernels are compiled before the first fork."""
        if "audio" in self.kinds:
            audio.wholes()
        for use in self.uses:
            outcome, wrong = judged(use.call)
            if outcome != "accepted":
                raise SystemExit(f"{use.name}: a whole file is {outcome}: {wrong}")
            self.clean()

    def run(self, number: int) -> Result:
        """One case."""
        rng = random.Random(f"{self.seed}-{number}")
        kind = self.kinds[number % len(self.kinds)]
        if kind == "scores":
            return self._scores(number)
        if kind == "audio":
            return self._audio(number, rng)
        if kind == "options":
            words = options.make(rng)
            outcome, wrong = limited(lambda: judged(words))
            told = [word[:60] for word in words]
            return self._result(number, kind, outcome, wrong, str(told), {})
        use = rng.choice(self.by_kind[kind])
        data = self.whole[Path(use.file)]
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            data = mutate(rng, data, use.form)
        Path(use.file).write_bytes(data)
        outcome, wrong = limited(lambda: judged(use.call, use.file))
        return self._result(number, kind, outcome, wrong, use.name, {use.file: data})

    def _result(
        self, number: int, kind: str, outcome: str, wrong: str, what: str, files: dict[str, bytes]
    ) -> Result:
        left = self.clean()
        if left and outcome != "fault":
            outcome, wrong = "fault", f"left {left[0]}"
        if outcome == "fault":
            wrong = f"case {number}, {what}: {wrong}"
            for name, data in files.items():
                path = self.keep / f"{number}-{Path(name).name}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return Result(number, kind, outcome, wrong)

    def clean(self) -> list[str]:
        """Make the folder what it was; names of temporary files that were left in it."""
        left = []
        for path in [p for p in Path().rglob("*") if p.is_file() or p.is_symlink()]:
            if path not in self.whole:
                if ".tmp" in path.name:
                    left.append(str(path))
                path.unlink()
        for path, data in self.whole.items():
            if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return left

    def _scores(self, number: int) -> Result:
        folder = Path("scores.case")
        folder.mkdir(exist_ok=True)
        before = Path.cwd()
        os.chdir(folder)
        try:
            _, wrong, _ = fuzz_scores.run_case(self.seed, number, fuzz_scores.commands(), Path())
        finally:
            os.chdir(before)
            shutil.rmtree(folder)
        return Result(number, "scores", "fault" if wrong else "checked", wrong)

    def _audio(self, number: int, rng: random.Random) -> Result:
        case = next(iter(audio.cases(rng)))
        path = Path(f"case.{case.suffix}")
        path.write_bytes(case.data)
        found: list[Any] = []

        def read() -> None:
            found.append(read_audio(path, channel=0)[0])

        outcome, wrong = limited(lambda: judged(read, path.name))
        others: set[int] = set()
        if found and case.samples is None:
            _, rate, n_channels = audio_info(path)
            others = audio.by_others(path, case.suffix, n_channels, rate)
        if outcome != "fault" and (fault := case.fault(found[0] if found else None, others)):
            outcome, wrong = "fault", fault
        return self._result(number, "audio", outcome, wrong, case.what, {path.name: case.data})


def judged(call: Callable[[], Any] | list[str], file: str = "") -> tuple[str, str]:
    """Call a reader or run a command; what came of it, and what is wrong."""
    if isinstance(call, list):
        return _judged_command(call)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            call()
    except UserError as error:
        named = "cannot be read" in str(error)  # what a list leads to
        if file and not (named or any(name in str(error) for name in _names(file))):
            return "fault", f"names no file: {error}"
        return "refused", str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "fault", _where(error)
    return "accepted", ""


def _names(file: str) -> Iterator[str]:
    """Names that a message about a file may have: its own, and those of what it leads to."""
    yield from (Path(file).parts[0], Path(file).stem)
    yield from (path.name for path in Path(file).parent.glob("*"))


def _judged_command(words: list[str]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = seeds.command(words)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "fault", _where(error)
    return _of_status(status, err.getvalue())


def _of_status(status: int, said: str) -> tuple[str, str]:
    lines = said.strip().splitlines()
    last = next((line for line in reversed(lines) if "error: " in line), "")
    if status not in STATUSES or "Traceback" in said:
        return "fault", f"status {status}: {said[-500:]}"
    if status == Exit.FINE:
        return "accepted", ""
    if status in (Exit.DATA, Exit.USAGE) and sum("error: " in line for line in lines) > 1:
        return "fault", f"more than one line: {said[-300:]}"
    return "refused", last


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/tests/" not in f.filename]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-4:]))
    return f"{type(error).__name__}: {str(error)[:200]} ({places})"


def limited(call: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """What a call returns; a fault if it takes too much memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _memory("VmRSS")
    outcome, wrong = call()
    taken = _memory("VmHWM") - before
    if taken > LIMIT_MB + MORE_MB:
        return "fault", f"takes {taken:.0f} MiB, {outcome} {wrong}"
    return outcome, wrong


def _memory(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def work(fuzzer: Fuzzer, numbers: range, folder: Path, answers: Connection) -> None:
    """Run cases in a fork, in a folder of its own; tell when each begins and what came of it."""
    faulthandler.enable()
    target = folder / f"{numbers.start}" / "a" / "b" / "c"  # options write to ../..
    shutil.copytree(Path.cwd(), target)
    os.chdir(target)
    sys.stdin = open(os.devnull)
    os.environ["HOME"] = os.environ["TMPDIR"] = tempfile.tempdir = str(target.parent)
    set_memory_limit(LIMIT_MB)
    for number in numbers:
        answers.send(number)
        answers.send(fuzzer.run(number))
    answers.close()


class Worker(NamedTuple):
    process: Any
    answers: Connection
    numbers: range
    state: dict[str, Any]


def run_all(fuzzer: Fuzzer, n: int, jobs: int) -> Iterator[Result]:
    """Results of cases 0 to n, as they come; a fork that hangs or dies is a fault of its case."""
    context = multiprocessing.get_context("fork")
    waiting = collections.deque(range(a, min(a + BATCH, n)) for a in range(0, n, BATCH))
    workers: list[Worker] = []
    again: set[int] = set()  # hung once
    with tempfile.TemporaryDirectory() as name:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                numbers = waiting.popleft()
                mine, theirs = context.Pipe(duplex=False)
                process = context.Process(target=work, args=(fuzzer, numbers, Path(name), theirs))
                process.start()
                theirs.close()
                now = time.monotonic()
                state = {"case": numbers.start, "since": now, "spent": 0.0, "done": False}
                workers.append(Worker(process, mine, numbers, state))
            wait([worker.answers for worker in workers], 1.0)
            for worker in list(workers):
                yield from _received(worker)
                over = _is_over(worker)
                if not (over or worker.state["done"]):
                    continue
                worker.process.kill()
                worker.process.join()
                workers.remove(worker)
                shutil.rmtree(Path(name) / f"{worker.numbers.start}", ignore_errors=True)
                case = worker.state["case"]
                if over and case not in again:  # the machine may have been busy
                    again.add(case)
                    waiting.appendleft(range(case, worker.numbers.stop))
                elif case < worker.numbers.stop:
                    kind = fuzzer.kinds[case % len(fuzzer.kinds)]
                    what = f"takes more than {LONGEST_S} s" if over else "the process died"
                    yield Result(case, kind, "fault", f"case {case}: {what}")
                    if case + 1 < worker.numbers.stop:
                        waiting.appendleft(range(case + 1, worker.numbers.stop))


def _is_over(worker: Worker) -> bool:
    """Whether a case takes too long: of the processor, which others use too, or of the clock."""
    waited = time.monotonic() - worker.state["since"]
    if waited < LONGEST_S:
        return False
    return waited > WAITED * LONGEST_S or _spent(worker) - worker.state["spent"] > LONGEST_S


def _spent(worker: Worker) -> float:
    """Seconds of the processor that a worker has taken."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _received(worker: Worker) -> Iterator[Result]:
    try:
        while worker.answers.poll():
            answer = worker.answers.recv()
            worker.state.update(since=time.monotonic(), spent=_spent(worker))
            if isinstance(answer, Result):
                worker.state["case"] = answer.number + 1
                yield answer
    except EOFError:
        worker.state["done"] = True


def run_processes(n: int, seed: int, jobs: int) -> Iterator[Result]:
    """Cases of commands as processes of their own, as users start them."""
    found = [use for use in seeds.uses() if isinstance(use.call, list)]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for job in range(jobs):
            folders.put(Path(shutil.copytree(Path.cwd(), Path(name) / f"{job}" / "a" / "b")))

        def one(number: int) -> Result:
            folder = folders.get()
            try:
                return _process(number, random.Random(f"process-{seed}-{number}"), found, folder)
            finally:
                folders.put(folder)

        yield from pool.map(one, range(n))


def _process(number: int, rng: random.Random, found: list[seeds.Use], folder: Path) -> Result:
    words, whole = options.make(rng), {}
    if rng.random() < 0.7:
        use = rng.choice(found)
        assert isinstance(use.call, list)
        words, path = list(use.call), folder / use.file
        whole[path] = path.read_bytes()
        path.write_bytes(mutate(rng, whole[path], use.form))
    words = [word.replace("\0", "")[:100_000] for word in words]  # as the system has it
    start = [f"{words[0]}.steps", *words[2:]] if words[1] == "steps" else words
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "TMPDIR": str(folder.parent)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", *start], env=environment, stdin=subprocess.DEVNULL, cwd=folder,
            capture_output=True, timeout=PROCESS_S,
        )  # fmt: skip
        outcome, wrong = _of_status(done.returncode, done.stderr.decode("utf-8", "replace"))
    except subprocess.TimeoutExpired:
        outcome, wrong = "fault", f"takes more than {PROCESS_S} s"
    for path, data in whole.items():
        path.write_bytes(data)
    told = [word[:60] for word in words]
    return Result(number, "processes", outcome, f"process {number}, {told}: {wrong}")


@contextlib.contextmanager
def world() -> Iterator[None]:
    """A folder with whole files of every format, as the folder that is worked in."""
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    before = Path.cwd()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        os.chdir(name)
        try:
            seeds.write_world()
            yield
        finally:
            os.chdir(before)


def table(counts: collections.Counter) -> str:
    """Numbers of cases by kind and outcome."""
    names = ("accepted", "refused", "checked", "fault")
    rows = [f"{'kind':10} {'cases':>8}" + "".join(f"{name:>10}" for name in names)]
    kinds = sorted({kind for kind, _ in counts})
    for kind in [*kinds, "all"]:
        some = [sum(v for (k, o), v in counts.items() if kind in (k, "all") and o == name)
                for name in names]  # fmt: skip
        rows.append(f"{kind:10} {sum(some):8}" + "".join(f"{number:10}" for number in some))
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000, help="cases in forks")
    parser.add_argument("--processes", type=int, default=0, help="cases in processes of their own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz.faults")
    given = parser.parse_args()
    counts: collections.Counter = collections.Counter()
    faults, start = collections.Counter(), time.monotonic()
    with world():
        fuzzer = Fuzzer(given.seed, given.kind, given.keep.resolve())
        fuzzer.check_seeds()
        results = run_all(fuzzer, given.n, given.jobs)
        processes = run_processes(given.processes, given.seed, given.jobs)
        for result in itertools.chain(results, processes):
            counts[result.kind, result.outcome] += 1
            if not sum(counts.values()) % 5000:
                print(f"{sum(counts.values())} cases, {sum(faults.values())} faults", flush=True)
            if result.outcome == "fault":
                faults[result.wrong.partition(": ")[2][:160]] += 1
                print(result.wrong, flush=True)
    print(table(counts))
    where = f", inputs in {given.keep}" if faults else ""
    spent = time.monotonic() - start
    print(f"{sum(counts.values())} cases in {spent:.0f} s; {len(faults)} sorts of faults{where}")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
