"""Damaged score files and trial lists by the thousand, through every command that reads them.

``python tests/fuzz_scores.py [--cases 100000] [--jobs 2] [--seed 0]``. A case is a small faultless
set of scores and trials in one of the known formats, to which something is done: nothing that
matters (exit status 0 is expected), something that must be refused (1), or anything at all (0 or
1). No case may end in a traceback, in another status, or in a message that names no file. Cases
depend on the seed and their number alone; those that fail are kept with their files.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import io
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz_cases import Case, house, make, pairs, plain_files

import fusion.commands
import fusion.formats.parsing
from ivector.base.commands import run_command

SLOW_S = 30.0

_CALIBRATE = ["scores", "trials", "--folds", "0"]
COMMANDS = {
    "evaluate": (["scores", "trials", "--bootstrap", "0", "--p-target", "0.1"], 40),
    "evaluate, bootstrap": (["scores", "trials", "--bootstrap", "20", "--llr"], 5),
    "evaluate, utt2spk": (
        ["scores", "trials", "--bootstrap", "20", "--utt2spk", "utt2spk"], 1
    ),
    "lint": (["scores", "trials"], 35),
    "lint, utt2spk": (["scores", "trials", "--utt2spk", "utt2spk"], 1),
    "calibrate": ([*_CALIBRATE, "--model", "out/model.json"], 5),
    "calibrate, apply": ([*_CALIBRATE, "--apply", "scores", "--out", "out/llr"], 5),
    "calibrate, quality": ([*_CALIBRATE, "--quality", "table"], 2),
    "calibrate, isotonic": ([*_CALIBRATE, "--method", "isotonic"], 1),
    "fuse": (["A=scores", "B=whole", "trials", "--folds", "0", "--bootstrap", "0"], 6),
    "compare": (["A=scores", "B=whole", "--trials", "trials", "--bootstrap", "20"], 3),
    "validate": (["scores", "trials", "--bootstrap", "0", "--folds", "0"], 2),
    "report": (["scores", "trials", "--bootstrap", "0", "--out", "out/page.html"], 0.2),
}  # fmt: skip
USES = {
    "table": ["calibrate, quality"],
    "utt2spk": ["evaluate, utt2spk", "lint, utt2spk"],
}
NAMED = ("scores", "trials", "whole", "table", "utt2spk", "out/")


def commands() -> dict[str, tuple[list[str], float]]:
    """Commands that there are."""
    found = {}
    for name, entry in COMMANDS.items():
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"fusion.{name.partition(',')[0]}")
            found[name] = entry
    return found


def check(case: Case, name: str, arguments: list[str], folder: Path) -> str:
    """Run a command on a case in a folder; "" or what is wrong."""
    command = name.partition(",")[0]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run_command("fusion", fusion.commands.COMMANDS, [command, *arguments])
    except SystemExit as error:
        return f"exits with {error.code}: {err.getvalue()[-300:]}"
    except BaseException:
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            raise
        return f"traceback\n{traceback.format_exc()}"
    linting = name.startswith("lint")
    expected = case.linted if linting else case.measured
    said = err.getvalue().strip()
    if status not in (0, 1):
        return f"status {status}: {said[-300:]}"
    if expected is not None and status != expected:
        return f"status {status}, expected {expected}: {said[-300:]}{out.getvalue()[-300:]}"
    if status == 1 and not (linting and out.getvalue()):
        if "\n" in said or not said.startswith(f"python -m fusion.{command}: error"):
            return f"message is not one line: {said[-300:]}"
        if not any(file in said.partition("error: ")[2] for file in NAMED):
            return f"message names no file: {said}"
    if linting and out.getvalue() and ("error: " in out.getvalue()) != (status == 1):
        return f"status {status}, but: {out.getvalue()[-300:]}"
    return ""


def run_case(seed: int, number: int, available: dict, folder: Path) -> tuple[str, str, float]:
    """Command, what is wrong ("" for nothing) and seconds of one case."""
    case, rng = make(seed, number)
    # Large files are read by other code, which must be as careful.
    fusion.formats.parsing.FAST_BYTES = (1 << 60) * (number % 2)
    beside = [name for name in ("table", "utt2spk") if name in case.files]
    names = [name for name in available if not beside or name in USES[beside[0]]]
    (command,) = rng.choices(names, [available[name][1] for name in names])
    arguments = available[command][0]
    whole = pairs(random.Random(f"{seed}-{number}"))[0]
    files = {"B=whole": house(whole), **plain_files(whole), **case.files}
    for name, content in files.items():
        if name not in case.files and name not in arguments:
            continue
        path = folder / name.removeprefix("B=")
        if path.is_dir():
            path.rmdir()
        if content is None:
            path.unlink(missing_ok=True)
            path.mkdir()
        else:
            path.write_bytes(content)
    start = time.process_time()  # others use the machine too
    wrong = check(case, command, arguments, folder)
    spent = time.process_time() - start
    if not wrong and spent > SLOW_S:
        wrong = f"takes {spent:.0f} s"
    if wrong:
        wrong = f"case {number} ({', '.join(case.what)}), fusion.{command}: {wrong}"
    return command, wrong, spent


def run_cases(
    seed: int, numbers: range, keep: Path | None = None
) -> tuple[collections.Counter, list[str], float]:
    """Cases by command, failures, and seconds of the slowest; failing files go to `keep`."""
    # Log lines of other libraries must not reach the standard error that is looked at.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    counts: collections.Counter = collections.Counter()
    failures, slowest = [], 0.0
    available, before = commands(), Path.cwd()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        os.chdir(name)
        try:
            for number in numbers:
                command, wrong, spent = run_case(seed, number, available, Path())
                counts[command] += 1
                slowest = max(slowest, spent)
                if wrong:
                    failures.append(wrong)
                    if keep and len(failures) <= 50:
                        shutil.copytree(name, keep / str(number), dirs_exist_ok=True)
        finally:
            os.chdir(before)
    return counts, failures, slowest


def worker(job: tuple[int, range, Path]) -> tuple[collections.Counter, list[str], float]:
    return run_cases(*job)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_scores")
    arguments = parser.parse_args()
    start = time.perf_counter()
    last = arguments.first + arguments.cases
    blocks = [range(n, min(n + 500, last)) for n in range(arguments.first, last, 500)]
    jobs = [(arguments.seed, block, arguments.keep.resolve()) for block in blocks]
    counts: collections.Counter = collections.Counter()
    failures, slowest = [], 0.0
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for done, (some, wrong, spent) in enumerate(pool.imap_unordered(worker, jobs), 1):
            counts += some
            slowest = max(slowest, spent)
            failures += wrong
            for line in wrong:
                print(line, flush=True)
            if done % 20 == 0:
                print(f"{sum(counts.values())} cases, {len(failures)} failures", flush=True)
    spent = time.perf_counter() - start
    print(", ".join(f"{name}: {n}" for name, n in sorted(counts.items())))
    print(f"{sum(counts.values())} cases in {spent:.0f} s, slowest {slowest:.2f} s")
    print(f"{len(failures)} failures" + (f", files in {arguments.keep}" if failures else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
