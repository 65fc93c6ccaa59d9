"""Jobs of a stage side by side: the same bytes for any number; losses, mistakes, an early end."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from step_cases import CORPUS, ROOT, SMALL, own_process, places, results, run_stages

from ivector.base import budget
from ivector.base.errors import DataError, UsageError
from ivector.base.parallel.shards import map_shards
from recipes.engine import jobs
from recipes.engine.console import Console
from recipes.engine.jobs import run_jobs, side_by_side
from recipes.engine.run import Job
from recipes.engine.stage import resume_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")
PATIENCE_S = 60.0
STOPPED = "stopped; the same command goes on from there"


available_memory = jobs.available_memory


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch):
    monkeypatch.setattr(jobs, "available_memory", lambda: 1e6)


# Jobs that are made up


def write(name: str, work: Path, nj: int) -> None:
    (work / "result").write_text(f"{name} {nj}")


def make_jobs(folder: Path, bodies: dict[str, Callable[[Path, int], None]]) -> list[Job]:
    return [Job(folder / name, {"name": name}, {}, body) for name, body in bodies.items()]


def run_all(made: list[Job], nj: int) -> Console:
    """Do jobs that are not done, as a stage does; its console."""
    with own_process():
        console = Console(2, 10, [2])
        todo = [job for job in made if jobs.reasons_of(job, False)]
        if todo:
            console.open(todo[0].target.parent / "stage.log")
            console.begin(len(todo), nj)
            run_jobs(todo, console, nj)
        return console


def of(*names: str) -> dict[str, Callable[[Path, int], None]]:
    return {name: functools.partial(write, name) for name in names}


@pytest.mark.parametrize("nj", [1, 2, 3, 8])
def test_all_jobs_are_done(tmp_path, nj):
    """However many at once; what processes are left over is the jobs' own."""
    console = run_all(make_jobs(tmp_path, of("a", "b", "c")), nj)
    assert console.done == 3
    shares = {1: 1, 2: 1, 3: 1, 8: 2}
    for name in "abc":
        assert (tmp_path / name / "result").read_text() == f"{name} {shares[nj]}"
        assert json.loads((tmp_path / name / "done.json").read_text())["warnings"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "stage.log"]


def place(shard: list[int]) -> tuple[int, bool]:
    """Parent of the process that does a shard, and whether that is a fork."""
    return os.getppid(), multiprocessing.current_process().name.startswith("ForkProcess")


def test_shards_of_a_job_are_forks_that_end_with_it(tmp_path):
    """Those of joblib would wait for more work, for five minutes behind the end of the recipe."""

    def body(work: Path, nj: int) -> None:
        made = set(map_shards(place, [[1], [2], [3]], nj))
        (work / "result").write_text(str(made == {(os.getpid(), True)}))

    for nj, names in ((2, "a"), (4, "bc")):  # in this process; side by side
        run_all(make_jobs(tmp_path, {name: body for name in names}), nj)
        assert {(tmp_path / name / "result").read_text() for name in names} == {"True"}


def test_as_many_at_once_as_there_are_processes_and_memory_for(monkeypatch):
    assert side_by_side(10, 4, "loky", 2048) == 4
    assert side_by_side(3, 4, "loky", 2048) == 3
    assert side_by_side(10, 1, "loky", 2048) == side_by_side(1, 4, "loky", 2048) == 1
    assert side_by_side(10, 4, "dask", 2048) == side_by_side(10, 4, "threading", 2048) == 1
    monkeypatch.setattr(jobs, "available_memory", lambda: 5000.0)
    assert side_by_side(10, 4, "loky", 2048) == 2
    assert side_by_side(10, 4, "loky", 6000) == 1


def test_memory_is_that_of_the_machine_and_of_the_container(monkeypatch, tmp_path):
    """Files that the container's processes have read fill its memory, and give way."""
    monkeypatch.setattr(budget, "CGROUP", tmp_path)
    machine = available_memory()
    assert machine == pytest.approx(psutil.virtual_memory().available / 2**20, rel=0.2)
    (tmp_path / "memory.current").write_text(f"{48 * 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\nfile 6\ninactive_file {8 * 2**20}\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == pytest.approx(machine, rel=0.2)
    (tmp_path / "memory.max").write_text(f"{64 * 2**20}\n")
    assert available_memory() == 24


def test_what_is_said_in_a_worker_is_heard(tmp_path, caplog, capsys):
    import logging
    import warnings

    def speak(name: str, work: Path, nj: int) -> None:
        logging.getLogger("recipe").info("%s: %d vectors", name, 3)
        warnings.warn(f"{name} is degenerate", RuntimeWarning, stacklevel=1)
        warnings.warn("all are few", RuntimeWarning, stacklevel=1)
        write(name, work, nj)

    caplog.set_level("INFO")
    bodies = {name: functools.partial(speak, name) for name in "ab"}
    run_all(make_jobs(tmp_path, bodies), 2)
    shown = capsys.readouterr().err.splitlines()
    assert sorted(line for line in shown if "warning" in line) == [
        "warning: a is degenerate", "warning: all are few", "warning: b is degenerate"
    ]  # fmt: skip
    for name in "ab":
        assert f"{name}: 3 vectors" in caplog.messages
        assert f"{name}: 3 vectors" in (tmp_path / "stage.log").read_text()
        mark = json.loads((tmp_path / name / "done.json").read_text())
        assert mark["warnings"] == [f"{name} is degenerate", "all are few"]
        assert f"{name}: 3 vectors" in (tmp_path / name / "log").read_text()


def test_warnings_are_in_every_mark_by_one_process_too(tmp_path):
    import warnings

    def warn(work: Path, nj: int) -> None:
        warnings.warn("all are few", RuntimeWarning, stacklevel=1)

    run_all(make_jobs(tmp_path, {"a": warn, "b": warn}), 1)
    for name in "ab":
        assert json.loads((tmp_path / name / "done.json").read_text())["warnings"] == [
            "all are few"
        ]


def die(times: int, name: str, work: Path, nj: int) -> None:
    """Leave a shard at each try, and lose the process so many times."""
    kept = resume_folder(work)
    kept.mkdir(exist_ok=True)
    tries = len(list(kept.glob("shard.*")))
    (kept / f"shard.{tries}").write_text("whole")
    if tries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    (work / "tries").write_text(str(tries))
    write(name, work, nj)


def test_a_lost_worker_is_replaced_and_goes_on(tmp_path, caplog):
    bodies = {**of("a", "c"), "b": functools.partial(die, 2, "b")}
    console = run_all(make_jobs(tmp_path, bodies), 2)
    assert console.done == 3
    assert (tmp_path / "b/tries").read_text() == "2"  # what the lost ones left was found
    assert (tmp_path / "b/result").read_text() == "b 1"
    assert (
        caplog.messages.count(f"{tmp_path / 'b'}: its process was killed; it is begun again") == 2
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "stage.log"]


def test_a_worker_that_is_lost_three_times_names_its_folder(tmp_path):
    bodies = {**of("a"), "b": functools.partial(die, 3, "b")}
    with pytest.raises(
        DataError, match=rf"{tmp_path / 'b'}: its process was killed 3 times"
    ) as told:
        run_all(make_jobs(tmp_path, bodies), 2)
    assert "--nj" in str(told.value) and "--memory" in str(told.value)
    assert not (tmp_path / "b").exists()
    assert len(list(tmp_path.glob(".b.partial/*/.resume/shard.*"))) == 3
    # Once the machine has the memory, it goes on.
    run_all(make_jobs(tmp_path, bodies), 2)
    assert (tmp_path / "b/tries").read_text() == "3"


class Begun:
    """A job that leaves a shard and waits, unless it finds it."""

    def __init__(self, flag: Path):
        self.flag = flag

    def __call__(self, work: Path, nj: int) -> None:
        shard = resume_folder(work) / "shard"
        if not shard.exists():
            shard.parent.mkdir()
            shard.write_text("whole")
            self.flag.touch()
            time.sleep(PATIENCE_S)
        write("b", work, nj)


def wait_for(path: Path) -> None:
    begun = time.monotonic()
    while not path.exists():
        assert time.monotonic() < begun + PATIENCE_S, f"{path} did not come"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("--rank 8: more than there are vectors"), DataError("wav.scp:3: no such file"),
        OSError(28, "No space left on device", "/a/b"), MemoryError("149 GiB"),
    ],
    ids=["usage", "data", "disk", "memory"],
)  # fmt: skip
def test_a_users_mistake_ends_all_and_leaves_what_was_begun(tmp_path, error):
    flag = tmp_path / "flag"

    def fail(work: Path, nj: int) -> None:
        wait_for(flag)
        raise error

    begun = Begun(flag)
    start = time.monotonic()
    with pytest.raises(type(error)) as told:
        run_all(make_jobs(tmp_path, {"a": fail, "b": begun, **of("c")}), 2)
    assert str(told.value) == str(error)
    assert time.monotonic() - start < jobs.PATIENCE_S / 2  # the others are ended, not waited for
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"flag", "stage.log", ".b.partial"}
    # With the mistake mended, the one that was stopped goes on with its shard.
    console = run_all(make_jobs(tmp_path, {**of("a"), "b": begun, **of("c")}), 2)
    assert console.done == 3 and (tmp_path / "b/result").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"flag", "stage.log", "a", "b", "c"}


def test_an_error_of_the_toolkit_comes_with_its_trace(tmp_path):
    def fail(work: Path, nj: int) -> None:
        raise ZeroDivisionError("of the toolkit")

    with pytest.raises(RuntimeError, match=r"in fail\n(.|\n)*ZeroDivisionError: of the toolkit"):
        run_all(make_jobs(tmp_path, {"a": fail, **of("b")}), 2)


def test_a_job_that_needs_all_has_all_processes(tmp_path):
    lone = Job(tmp_path / "b", {}, {}, functools.partial(write, "b"), alone=True)
    run_all([*make_jobs(tmp_path, of("a", "c")), lone], 4)
    assert (tmp_path / "b/result").read_text() == "b 4"
    assert (tmp_path / "a/result").read_text() == "a 2"


# Stages of an experiment


@pytest.fixture
def begun(copy) -> Path:
    """The experiment with what stages 2 to 9 made of it removed."""
    for path in (copy / "exp").iterdir():
        if path.name != "features":
            shutil.rmtree(path)
    shutil.copytree(copy / "data", copy / "kept", symlinks=True)
    return copy


@pytest.mark.parametrize("nj", ["2", "3"])
def test_stages_make_the_same_bytes_side_by_side(finished, begun, nj, capsys):
    options = (*CORPUS, *SMALL, "--dev-folds", "2", "--nj", nj)
    run_stages(begun, (0, 1, 2, 3, 4, 5, 6, 9), *options)
    assert f"stage  2/10  UBM: 12 to make, {nj} side by side" in capsys.readouterr().err
    for name in ("ivector", "cosine", "gmm-ubm", "fusion", "development"):
        expected = results(finished / "exp" / name)
        assert results(begun / "exp" / name) == expected and len(expected) > 6
    assert not list((begun / "exp").rglob(".*"))


# The program of a stage whose jobs take long: the M-step of UBMs waits.
SLOW = """
import sys, time
from pathlib import Path
import ivector.base.parallel.checkpoint as checkpoint
import recipes.engine.jobs
from recipes.steps.__main__ import cli

flags, pause = Path(sys.argv[1]), float(sys.argv[2])
checkpoint.WORTH_S = 0.0
save = checkpoint.Checkpoint.save

def slowly(self, *arguments):
    save(self, *arguments)
    (flags / self.folder.parents[3].name).mkdir(parents=True, exist_ok=True)
    (flags / self.folder.parents[2].name).touch()
    time.sleep(pause)

checkpoint.Checkpoint.save = slowly
recipes.engine.jobs.available_memory = lambda: 1e6
raise SystemExit(cli(sys.argv[3:]))
"""
UBM = (*CORPUS, *SMALL, "--system", "gmm-ubm", "--dev-folds", "0")


def slow_stage(folder: Path, nj: str, pause: float = 60.0) -> subprocess.Popen:
    """Stage 2 as a process that waits after the first iterations; both folds are at work."""
    words = [sys.executable, "-c", SLOW, str(folder / "flags"), str(pause), "2", *places(folder)]
    process = subprocess.Popen(
        [*words, *UBM, "--nj", nj], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    for fold in ("fold0", "fold1")[: int(nj)]:
        wait_for(folder / f"flags/.{fold}.partial")
    return process


@pytest.mark.parametrize(
    ("nj", "sent", "status", "to_group"),
    [
        ("2", signal.SIGINT, 130, True), ("2", signal.SIGTERM, 75, False),
        ("2", signal.SIGTERM, 75, True), ("1", signal.SIGINT, 130, False),
    ],
    ids=["INT to the group", "TERM", "TERM to the group", "INT, one process"],
)  # fmt: skip
def test_a_stage_that_is_told_to_end_is_continued(begun, finished, nj, sent, status, to_group):
    process = slow_stage(begun, nj)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == (2 if nj == "2" else 0)
    os.killpg(process.pid, sent) if to_group else process.send_signal(sent)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status
    assert [line for line in told.splitlines() if STOPPED in line] == told.splitlines()[-1:]
    assert "Traceback" not in told
    assert not any(worker.is_running() for worker in workers)
    left = sorted(path.name for path in (begun / "exp/gmm-ubm/ubm").iterdir())
    assert left == [".fold0.partial", ".fold1.partial"][: int(nj)]
    run_stages(begun, [2], *UBM, "--nj", nj)
    assert results(begun / "exp/gmm-ubm/ubm") == results(finished / "exp/gmm-ubm/ubm")
    log = (begun / "exp/log/stage2.log").read_text()
    assert ".fold0.partial: goes on from an unfinished run" in log
    assert not list((begun / "exp").rglob(".*"))


def have_ended(processes: list[psutil.Process]) -> bool:
    """Whether processes end soon; a container may have nobody to take note of their end."""
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def test_workers_die_with_a_parent_that_was_killed(begun):
    process = slow_stage(begun, "2")
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    assert have_ended(workers)
    run_stages(begun, [2], *UBM, "--nj", "2")


def test_run_sh_passes_signals_on_and_its_status(begun, finished):
    """A scheduler signals the script alone, a terminal its whole group."""
    command = ["bash", str(ROOT / "recipes/run.sh"), *places(begun), *UBM, "--stop-stage", "2"]
    # So many iterations that they end tomorrow.
    slow = [*command, "--num-iters-diag", "9999", "--nj", "2"]
    ubm = begun / "exp/gmm-ubm/ubm"
    for sent, status, send in (
        (signal.SIGTERM, 75, os.kill), (signal.SIGINT, 130, os.killpg), (signal.SIGKILL, 137, None)
    ):  # fmt: skip
        process = subprocess.Popen(
            slow, env={**os.environ, "PYTHON": sys.executable}, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        begin = time.monotonic()
        while len(list(ubm.glob(".fold*.partial/*/options.json"))) < 2:
            assert time.monotonic() < begin + PATIENCE_S and process.poll() is None
            time.sleep(0.05)
        forks = psutil.Process(process.pid).children(recursive=True)
        server = next(fork for fork in forks if fork.ppid() == process.pid)
        if send:
            send(process.pid, sent)
        else:  # the stage's process alone, as the system does that has no memory left
            (stage_process,) = server.children()
            assert stage_process.name() == "stage 2"
            stage_process.kill()
        _, told = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == status
        last = told.splitlines()[-1]
        assert STOPPED in last if send else "stage 2 was killed (SIGKILL)" in last
        assert told.count(last) == 1 and "Traceback" not in told
        assert have_ended(forks)
        shutil.rmtree(ubm)
    done = subprocess.run(
        [*command, "--nj", "2"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True
    )
    assert done.returncode == 0
    assert results(ubm) == results(finished / "exp/gmm-ubm/ubm")


@contextlib.contextmanager
def killer(process: subprocess.Popen):
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_worker_of_a_stage_that_is_killed_changes_no_byte(begun, finished):
    process = slow_stage(begun, "2", pause=0.3)
    with killer(process):
        victim = psutil.Process(process.pid).children()[0]
        victim.kill()
        _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert told.count("its process was killed; it is begun again") == 1
    assert results(begun / "exp/gmm-ubm/ubm") == results(finished / "exp/gmm-ubm/ubm")
    assert not list((begun / "exp").rglob(".*"))
