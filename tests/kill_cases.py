"""What the kill tests share: runs of ``run.sh``, the stage they are in, their results and defects.

Nothing here knows how the stages work. A run is a command with a process group of its own; where
it is, its processes' names tell; what it left, its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for programs, which may be run from anywhere

from step_cases import SMALL  # noqa: E402

from recipes.systems import STAGES  # noqa: E402

__all__ = [
    "ROOT", "SMALL", "Recipe", "Step", "compare", "defects", "kinds", "leftovers", "marked",
    "profile", "results", "table",
]  # fmt: skip
# Hold times, and the training's own records; a report holds its date and command.
UNLIKE = {"log", "done.json", "options.json", "scalars.jsonl", "curves.png", "last.pt",
          "results.md"}  # fmt: skip
REPORTS = {"results.json"}
POLL = 0.05  # s


@dataclass(frozen=True)
class Step:
    """A stage of a run, which is a process, by its number in ``run.sh``."""

    stage: int

    def __str__(self) -> str:
        return f"{self.stage:2d} {STAGES[self.stage].name}"


class Recipe:
    """A ``run.sh`` in a process group of its own.

    Parameters
    ----------
    folder : Path
        Gets ``data``, ``exp`` and joblib's temporary files.
    options : sequence of str
    log : Path
        What it prints is appended here.
    environment : dict, optional
        More variables.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str],
        log: Path,
        environment: dict[str, str] | None = None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        command = ["bash", str(ROOT / "recipes/run.sh"), "--data", str(folder / "data")]
        command += ["--exp", str(folder / "exp"), *options]
        temporary = log.parent / "joblib"
        temporary.mkdir(exist_ok=True)
        self._temporary = str(temporary)
        variables = {**os.environ, "PYTHON": sys.executable, "JOBLIB_TEMP_FOLDER": self._temporary}
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            variables[name] = "1"
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**variables, **(environment or {})}, stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._seen = psutil.Process(self.process.pid)
        self._now: tuple[Step, psutil.Process] | None = None
        self.started = time.perf_counter()

    def running(self) -> tuple[Step, int] | None:
        """Which stage runs now, and its process; None between two."""
        if self._now and self._now[1].is_running():
            return self._now[0], self._now[1].pid
        self._now = None
        with contextlib.suppress(psutil.Error):
            for child in self._seen.children(recursive=True):  # parents before their children
                with contextlib.suppress(psutil.Error):
                    if step := _step(child):
                        self._now = step, child
                        return step, child.pid
        return None

    def workers(self) -> list[psutil.Process]:
        """Forks of the stage that runs now."""
        now = self.running()
        if now is None:
            return []
        with contextlib.suppress(psutil.Error):
            return [child for child in psutil.Process(now[1]).children() if _step(child) == now[0]]
        return []

    def ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL to everything that it started, and wait for all of it to be gone."""
        if not self.ended():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while left := self._left():
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)

    def _left(self) -> list[psutil.Process]:
        """Members of its group that live; numbers are used again, so each must be known as ours."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.Error):
                if (
                    os.getpgid(process.pid) == self.process.pid
                    and process.status() != psutil.STATUS_ZOMBIE
                    and process.environ().get("JOBLIB_TEMP_FOLDER") == self._temporary
                ):
                    found.append(process)
        return found

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait()


def _step(process: psutil.Process) -> Step | None:
    """The stage that a process runs, or is a fork of, if it does."""
    words = process.cmdline()
    if "recipes.steps" not in words or process.status() == psutil.STATUS_ZOMBIE:
        return None
    # Forked stages have a name, others stand in the command.
    name = process.name().split()
    number = name[1] if name[0] == "stage" else words[words.index("recipes.steps") + 1]
    return Step(int(number)) if number.isdigit() else None


def profile(recipe: Recipe) -> dict[Step, float]:
    """Let a run end; its steps in order with the seconds each took."""
    times: dict[Step, list[float]] = {}
    while not recipe.ended():
        if now := recipe.running():
            moment = time.perf_counter()
            times.setdefault(now[0], [moment, moment])[1] = moment
        time.sleep(POLL)
    return {step: last - first + POLL for step, (first, last) in times.items()}


# Results


def files(folder: Path) -> Iterator[Path]:
    """Every file that is not in a hidden folder and not hidden itself."""
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(top, name) for name in names if not name.startswith("."))


def results(folder: Path) -> dict[str, str]:
    """SHA-1 of every file that must be the same in every run: models, vectors, scores, others."""
    found = {}
    for part in ("data", "exp"):
        for path in files(folder / part):
            if path.name in UNLIKE or path.parent.name == "log":
                continue
            if path.parent.name == "report" and path.name not in REPORTS:
                continue
            name = path.relative_to(folder).as_posix()
            with contextlib.suppress(FileNotFoundError):  # by a run that is at work
                found[name] = hashlib.sha1(path.read_bytes()).hexdigest()
    return found


def kinds(names: Sequence[str]) -> str:
    """Count files by kind, to show what was compared."""
    kind: Counter[str] = Counter()
    for name in names:
        path = Path(name)
        if path.name in ("scores", "trials") or path.suffix == ".scores":
            kind["scores" if path.name != "trials" else "trial lists"] += 1
        elif path.name == "ivectors.npz":
            kind["vector files"] += 1
        elif path.name.startswith(("final.", "plda", "transform", "network.")) or (
            "llr" in path.parts and path.suffix == ".json"
        ):
            kind["models"] += 1
        elif path.suffix in (".ark", ".flac", ".wav"):
            kind["archives and recordings"] += 1
        else:
            kind["others"] += 1
    return ", ".join(f"{count} {what}" for what, count in sorted(kind.items()))


def compare(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Say which files differ, are missing or too many."""
    told = [f"{n}: is missing" for n in expected if n not in found]
    told += [f"{n}: DIFFERENT" for n in expected if n in found and found[n] != expected[n]]
    return told + [f"{n}: is in no undisturbed run" for n in found if n not in expected]


# Defects


def defects(folder: Path, expected: dict[str, str], homes: Sequence[str]) -> list[str]:
    """What is wrong with a run that was killed: files that are not hidden must be whole.

    Parameters
    ----------
    folder : Path
    expected : dict
        `results` of the undisturbed run.
    homes : sequence of str
        `marked` of the undisturbed run: folders that stand only when their stage has finished.
    """
    told = [t for t in compare(expected, results(folder)) if not t.endswith("is missing")]
    for name in homes:
        home = folder / name
        if home.exists() and not (home / "done.json").is_file():
            told.append(f"{name}: stands there without its mark")
    for mark in files(folder):
        if mark.name == "done.json":
            told += [f"{mark.parent.relative_to(folder)}: {t}" for t in _unlike_mark(mark)]
    return told


def marked(folder: Path) -> list[str]:
    """Folders of finished stages, but the corpus's, which is made in its place."""
    marks = (path for path in files(folder / "exp") if path.name == "done.json")
    return sorted(mark.parent.relative_to(folder).as_posix() for mark in marks)


def _unlike_mark(mark: Path) -> list[str]:
    """How a finished stage's files differ from the list in its mark."""
    try:
        listed = json.loads(mark.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError):
        return ["done.json is not whole"]
    told = []
    for name, (size, checksum) in listed.items():
        path = mark.parent / name
        content = path.read_bytes() if path.is_file() else None
        if content is None:
            told.append(f"{name} is missing")
        elif len(content) != size or (checksum and zlib.crc32(content) != checksum):
            told.append(f"{name} is not as its stage left it")
    return told


def leftovers(folder: Path) -> list[str]:
    """Hidden files and folders, which a run that ended leaves none of."""
    return sorted(
        p.relative_to(folder).as_posix()
        for part in ("data", "exp")
        for p in (folder / part).rglob(".*")
    )


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Rows as aligned text."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
