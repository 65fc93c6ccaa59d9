"""Faults of the system, as a user without rights: a line and an exit status each, nothing lost.

Run ``python tests/faults.py [--python PYTHON] [--job JOB ...] [--fault FAULT ...]`` as root, with
setpriv (util-linux), and a Python that user 65534 may read. A recipe, commands of fusion and a
training of a network are run undisturbed once and then under each fault. Such a run must end with
the status that the fault deserves: 1, when one line, its last, says under the program's name what
is wrong, or 0 with the same bytes; it must leave files that are whole or none. Once the fault is
gone, the same command must end with the same bytes. What a fault needs and is not there is skipped,
and said.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from glob import glob
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parent / "dnn"))
import fuzz_cases
from kill_cases import ROOT, SMALL, compare, defects, leftovers, marked, results, table

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
MOUNTED = 4 << 30
CLOCK = Path(__file__).resolve().parent / "clock_hook"
# Lint tells of all files and ends with the count.
OURS = re.compile(r"(?:run\.sh|python -m [\w.]+): error: .|1 error, 0 warnings, ")


class Job(NamedTuple):
    """Commands that write into ``exp`` what they read in ``data``."""

    prepare: Callable[[Path], None]
    commands: Callable[[Path], list[list[str]]]
    hidden: str  # what the fault of an unreadable file hides
    begun: list[str]  # options that have the first command end early


class Fault(NamedTuple):
    """What is wrong with the system while a job runs."""

    meet: Callable[[Path, Job], AbstractContextManager]  # in its folder
    status: int = 0  # that it deserves: 1 where the job cannot end well
    around: Sequence[str] = ()  # words before each command
    variables: Mapping[str, str] = MappingProxyType({})
    needs: Callable[[], str] = str  # what is missing here, if something is


# Jobs


def nothing(folder: Path) -> None:
    """A recipe makes its own corpus."""


def recipe(folder: Path) -> list[list[str]]:
    words = ["bash", f"{ROOT}/recipes/run.sh", "--data", f"{folder}/data", "--exp", f"{folder}/exp"]
    more = ["--prepare-options=--speakers 8 --sessions 4", "--nj", "2", "--system", "ivector"]
    return [[*words, *SMALL, *more]]


def write_scores(folder: Path) -> None:
    for n in range(2):
        scores, trials = fuzz_cases.pairs(random.Random(7))
        noise = random.Random(n)
        for row in scores:
            row[2] = repr(float(row[2]) + noise.gauss(0, 0.5))
        (folder / f"data/{'ab'[n]}.scores").write_bytes(fuzz_cases.house(scores))
        (folder / "data/trials").write_bytes(fuzz_cases.house(trials))


def fusion(folder: Path) -> list[list[str]]:
    given = [f"{folder}/data/a.scores", f"{folder}/data/b.scores", f"{folder}/data/trials"]
    out = f"{folder}/exp"
    commands = [
        ["lint", *given],
        ["evaluate", *given, "--bootstrap", "50", "--json", f"{out}/evaluate.json"],
        ["calibrate", *given[1:], "--out", f"{out}/b.llr", "--model", f"{out}/b.json"],
        ["fuse", *given, "--out", f"{out}/fused.llr", "--model", f"{out}/fusion.json"],
        ["report", *given, "--bootstrap", "50", "--out", f"{out}/report/page.html"],
    ]
    return [["$PYTHON", "-m", "fusion", *words] for words in commands]


def write_features(folder: Path) -> None:
    from training_cases import write_features

    write_features(folder / "data")


def training(folder: Path) -> list[list[str]]:
    from training_cases import command

    words = command(folder / "data")
    words[words.index("--out") + 1] = f"{folder}/exp"
    return [["$PYTHON", *words]]


JOBS = {
    "recipe": Job(nothing, recipe, "exp/**/*.ark", ["--stop-stage", "1"]),
    "fusion": Job(write_scores, fusion, "data/b.scores", []),
    "training": Job(write_features, training, "data/feats.ark", []),
}


# Faults


@contextlib.contextmanager
def none(folder: Path, job: Job) -> Iterator[None]:
    """All of the fault is in the command's words and variables."""
    yield


@contextlib.contextmanager
def unreadable(folder: Path, job: Job) -> Iterator[None]:
    """An input belongs to somebody else."""
    found = [Path(p) for p in glob(f"{folder}/{job.hidden}", recursive=True)]
    for path in found:
        os.chown(path, 0, 0)
        path.chmod(0)
    yield
    for path in found:
        path.chmod(0o644)
        os.chown(path, NOBODY, NOBODY)


@contextlib.contextmanager
def read_only(folder: Path, job: Job) -> Iterator[None]:
    """``exp`` belongs to somebody else."""
    own(folder / "exp", 0)
    yield
    own(folder / "exp", NOBODY)


@contextlib.contextmanager
def full(folder: Path, job: Job, n_bytes: int) -> Iterator[None]:
    """``exp`` is on a disk that takes no more than so many bytes than it holds."""
    mount("-o", f"remount,size={used(folder) + n_bytes}", folder)
    yield
    mount("-o", f"remount,size={MOUNTED}", folder)


def no_turkish() -> str:
    done = subprocess.run(["locale", "-a"], capture_output=True, text=True)
    return "" if "tr_TR.utf8" in done.stdout.split() else "there is no locale tr_TR.UTF-8"


def faults(folder: Path, size: int) -> dict[str, Fault]:
    """Every fault, for a job that writes `size` bytes into a folder."""
    limit = ["bash", "-c", 'ulimit -v 3145728; exec "$@"', "limited"]
    nowhere = {"HOME": "/nowhere", "NUMBA_CACHE_DIR": "/nowhere", "MPLCONFIGDIR": "/nowhere"}
    return {
        "unreadable": Fault(unreadable, status=1),
        "read-only": Fault(read_only, status=1),
        **{f"full at {share:.0%}": Fault(partial(full, n_bytes=int(share * size)), status=1)
           for share in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9)},
        "no home": Fault(none, variables={"HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}),
        "no cache": Fault(none, variables=nowhere),
        "3 GiB": Fault(none, around=limit),
        "Turkish": Fault(none, variables={"LC_ALL": "tr_TR.UTF-8"}, needs=no_turkish),
        "clock": Fault(none, variables={"PYTHONPATH": f"{CLOCK}:{ROOT}"}),
    }  # fmt: skip


# Runs


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def used(disk: Path) -> int:
    """Bytes taken of a disk."""
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def own(folder: Path, user: int) -> None:
    """Give a folder and all in it to a user."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, user, user)


def lacking(python: str) -> str:
    """What keeps these faults from being made here; nothing if they can be."""
    if os.getuid() or not shutil.which("setpriv"):
        return "root and setpriv are needed, to become another user"
    starts = subprocess.run([*AS_NOBODY, "env", python, "-c", "import numpy"], capture_output=True)
    if starts.returncode:
        return f"another user cannot run {python}"
    with tempfile.TemporaryDirectory() as name:
        words = ["-t", "tmpfs", "tmpfs", name]
        if subprocess.run(["mount", *words], capture_output=True).returncode:
            return "no disk can be mounted here"
        subprocess.run(["umount", name], check=True)
    return ""


class Runner:
    """Runs jobs as nobody in a folder that is a disk of its own."""

    def __init__(self, folder: Path, python: str):
        self.folder, self.python = folder, python

    @contextlib.contextmanager
    def disk(self, job: Job) -> Iterator[None]:
        """The folder with the job's inputs."""
        self.folder.mkdir()
        mount("-t", "tmpfs", "-o", f"size={MOUNTED}", "tmpfs", self.folder)
        try:
            for part in ("data", "exp", "home", "tmp"):
                (self.folder / part).mkdir()
            job.prepare(self.folder)
            own(self.folder, NOBODY)
            yield
        finally:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
            self.folder.rmdir()

    def run(self, commands: Sequence[Sequence[str]], fault: Fault) -> tuple[int, str]:
        """Exit status of the first command that fails, or 0, and what the last one said."""
        variables = {
            "PATH": os.environ["PATH"], "PYTHON": self.python, "PYTHONPATH": str(ROOT),
            "HOME": f"{self.folder}/home", "TMPDIR": f"{self.folder}/tmp",
            "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        for words in commands:
            words = [self.python if word == "$PYTHON" else word for word in words]
            done = subprocess.run(
                [*AS_NOBODY, *fault.around, *words], env={**variables, **fault.variables}, cwd="/",
                capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if done.returncode:
                break
        return done.returncode, done.stdout + done.stderr

    def truth(self, job: Job) -> tuple[dict[str, str], list[str], int]:
        """What an undisturbed run leaves: checksums, folders of its stages, bytes in all."""
        with self.disk(job):
            before = used(self.folder)
            status, said = self.run(job.commands(self.folder), Fault(none))
            if status:
                raise SystemExit(f"the undisturbed run ended with {status}:\n{said[-3000:]}")
            size = used(self.folder) - before
            return results(self.folder), marked(self.folder), size

    def judge(
        self, job: Job, fault: Fault, truth: dict[str, str], homes: list[str]
    ) -> tuple[int, str, list[str]]:
        """Status and last line under a fault, and all that is wrong."""
        commands = job.commands(self.folder)
        with self.disk(job):
            if job.begun and fault.meet in (unreadable, read_only):
                self.run([[*commands[0], *job.begun]], Fault(none))
            with fault.meet(self.folder, job):
                status, said = self.run(commands, fault)
            last = (said.strip().splitlines() or [""])[-1]
            wrong = [] if status == fault.status else [f"status {status}, not {fault.status}"]
            ours = [line for line in said.splitlines() if OURS.match(line)]
            if "Traceback" in said or ours != [last] * bool(status):
                wrong.append(f"said: {said[-1500:]}")
            wrong += defects(self.folder, truth, homes)
            if status == 0:
                wrong += compare(truth, results(self.folder))
            again, said = self.run(commands, Fault(none))
            if again:
                wrong.append(f"status {again} without the fault: {said[-1500:]}")
            wrong += [f"at the end, {text}" for text in compare(truth, results(self.folder))]
            wrong += [f"{name}: is left over" for name in leftovers(self.folder)]
        return status, last, wrong


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="that user 65534 may read")
    parser.add_argument("--job", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--fault", nargs="+", default=[], help="names begin so; default all")
    given = parser.parse_args(argv)
    if lack := lacking(given.python):
        raise SystemExit(f"faults.py: error: {lack}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without its disk taken down
    rows, bad = [], False
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        for job_name in given.job:
            job, runner = JOBS[job_name], Runner(Path(name) / job_name, given.python)
            truth, homes, size = runner.truth(job)
            for fault_name, fault in faults(runner.folder, size).items():
                if given.fault and not fault_name.startswith(tuple(given.fault)):
                    continue
                if lack := fault.needs():
                    rows.append([job_name, fault_name, "skipped", lack])
                    continue
                status, last, wrong = runner.judge(job, fault, truth, homes)
                rows.append([job_name, fault_name, status, last[:200] if status else ""])
                print(*rows[-1], *(f"\n  WRONG: {text}" for text in wrong), flush=True)
                bad |= bool(wrong)
    print(f"\n{table(rows, ('job', 'fault', 'status', 'last line'))}")
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main())
