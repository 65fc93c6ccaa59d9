"""The shard map: one set of behaviours over all backends."""

import contextlib
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from shard_jobs import die, die_once, fail, here, scaled, threads

import ivector
from ivector import DiagonalGMM
from ivector.base.errors import DataError, UsageError
from ivector.base.parallel import shards
from ivector.base.parallel.shards import map_shards, use_backend
from ivector.base.parallel.workers import Backend, one_thread
from ivector.base.portable import MARK

NO_DASK = pytest.mark.skipif(not find_spec("distributed"), reason="Dask is not installed (scale)")
BACKENDS = ["loky", "threading", pytest.param("dask", marks=NO_DASK)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    former = use_backend(request.param)
    yield request.param
    use_backend(former.name, former.scheduler)


@pytest.fixture(scope="module", autouse=True)
def closed():
    yield
    if find_spec("distributed"):
        from ivector.base.parallel.cluster import disconnect

        disconnect()


def test_results_come_in_order(backend, monkeypatch):
    monkeypatch.setattr(shards, "WINDOW", 3)
    assert list(map_shards(scaled, range(40), nj=2, factor=3)) == [3 * x for x in range(40)]
    assert list(map_shards(scaled, [], nj=2)) == []
    with pytest.raises(UsageError, match="at least 1"):
        next(map_shards(scaled, [1], nj=0))


def kind(x):
    """What `x` is, where joblib maps arrays from files, and its length."""
    (found,) = (c.__name__ for c in (tuple, dict, np.ndarray, list) if isinstance(x, c))
    return found, len(x)


@pytest.mark.filterwarnings("error:Sending large graph")
def test_shards_of_any_kind_come_as_they_are(backend):
    """What looks like a task or is large, too."""
    jobs = [(len, [1, 2]), {"key": (len, "text")}, np.zeros(3 << 20), ["call", "shard"]]
    expected = [("tuple", 2), ("dict", 1), ("ndarray", 3 << 20), ("list", 2)]
    assert list(map_shards(kind, jobs, nj=2)) == expected


@pytest.mark.filterwarnings("ignore:.*have been cancelled")
def test_errors_of_a_shard_come_as_themselves(backend):
    for number, error in ((3, DataError("the third shard is bad")), (4, OSError("no such disk"))):
        results = map_shards(fail, [0, number] + 30 * [0], nj=2)
        with pytest.raises(type(error), match=str(error)):
            list(results)
    assert list(map_shards(fail, [1, 2], nj=2)) == [1, 2]  # and harm nothing


@pytest.mark.filterwarnings("ignore:.*have been cancelled")
def test_a_map_may_be_left_before_its_end(backend):
    results = map_shards(scaled, range(40), nj=2)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert list(map_shards(scaled, range(5), nj=2)) == list(range(5))


def test_products_take_one_thread(backend):
    assert list(map_shards(threads, range(6), nj=2)) == [1] * 6


def test_training_has_the_same_bytes(backend):
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(300, 5)).astype(np.float32) for _ in range(5)]
    here = DiagonalGMM(3, n_iter=2, random_state=0)
    former = use_backend("loky")
    expected = here.fit(blocks).means_
    use_backend(former.name)
    there = DiagonalGMM(3, n_iter=2, random_state=0, n_jobs=2).fit(blocks)
    np.testing.assert_array_equal(there.means_, expected)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_killed_workers_are_replaced(backend, tmp_path):
    if backend == "threading":
        pytest.skip("a thread dies with its process")
    assert list(map_shards(die_once, range(10), nj=2, folder=tmp_path)) == list(range(10))


@NO_DASK
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_shard_that_always_kills_its_worker_is_given_up(monkeypatch):
    monkeypatch.setattr(shards, "MOST_CLUSTER_LOSSES", 0)
    monkeypatch.setattr(shards, "PATIENCE_S", 0.0)
    former = use_backend("dask")
    try:
        with pytest.raises(DataError, match=r"lost.* in 1 trials.*workers' memory.*continues"):
            list(map_shards(die, [1], nj=2))
    finally:
        use_backend(former.name)


FORKED = """\
import os, time
from ivector.base.parallel.forks import run_forked

def slow(shard):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(100)

list(run_forked(slow, {}, range(8), 2, 8))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="shards are forked on Linux alone")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_forks_end_with_the_process_that_they_are_of(sent):
    """Else they go on with the shards that were handed out, and hold the locks of the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    forks = [psutil.Process(int(process.stdout.readline())) for _ in range(2)]
    os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
    assert process.wait(30) != 0
    for fork in forks:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            fork.wait(10)
        # A container may have nobody to take note of their end.
        assert not fork.is_running() or fork.status() == psutil.STATUS_ZOMBIE
    process.stdout.close()


EACH = """\
import os, sys
from pathlib import Path
from ivector.base.errors import DataError
from ivector.base.parallel.forks import each, forked_processes

def once():
    killed = Path(sys.argv[1]) / "killed"
    if not killed.exists():
        killed.touch()
        os.kill(os.getpid(), 9)
    return 2

with forked_processes():
    print(each([lambda: 1, once, lambda: 3]))
    try:
        each([lambda: 1, lambda: os.kill(os.getpid(), 9)])
    except DataError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="shards are forked on Linux alone")
def test_what_a_killed_fork_did_is_begun_again(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", EACH, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert found.stdout.startswith("[1, 2, 3]\na process was killed again and again"), found
    # What came before the next one was killed counts anew.
    assert 3 <= found.stderr.count("begun again") <= 5 and "Traceback" not in found.stderr


@NO_DASK
def test_a_scheduler_that_stays_away_is_given_up(monkeypatch):
    from ivector.base.parallel import cluster

    monkeypatch.setattr(cluster, "CONNECT_S", 0.2)
    monkeypatch.setattr(shards, "MOST_CLUSTER_LOSSES", 1)
    monkeypatch.setattr(shards, "PATIENCE_S", 0.0)
    monkeypatch.setattr(shards, "BACK_OFF_S", (0.01, 0.01))
    for address in ("tcp://127.0.0.1:1", "/nowhere/scheduler.json"):
        former = use_backend("dask", address)
        try:
            with pytest.raises(DataError, match=r"no Dask scheduler answers at .* in 2 trials"):
                list(map_shards(scaled, [1, 2]))
        finally:
            use_backend(former.name)


def test_backends_are_checked():
    with pytest.raises(UsageError, match="one of loky, threading, dask"):
        use_backend("slurm")
    with pytest.raises(UsageError, match="`scheduler` is of `backend` dask"):
        use_backend("loky", "tcp://host:1")
    assert use_backend() == Backend("loky")


def test_limits_of_threads_end_with_the_last_holder():
    before = threads(0)
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads(0) == 1
    second.__exit__(None, None, None)
    assert threads(0) == before


@NO_DASK
def test_workers_of_a_cluster_are_as_their_driver(tmp_path, monkeypatch):
    from ivector.base.parallel import cluster

    former = use_backend("dask")
    try:
        list(map_shards(here, [0], nj=2))
        monkeypatch.chdir(tmp_path)
        assert list(map_shards(here, [0], nj=2)) == [str(tmp_path)]
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        monkeypatch.setattr(os, "getcwd", lambda: "/nowhere")
        with pytest.raises(DataError, match=r"/nowhere: No such file.*need the disk of the data"):
            list(map_shards(here, [0], nj=2))
        monkeypatch.undo()
        monkeypatch.setattr(cluster, "SOURCES", "edited")
        with pytest.raises(DataError, match="runs another version of the toolkit"):
            list(map_shards(here, [0], nj=2))
        monkeypatch.undo()
        monkeypatch.setenv(MARK, "1")
        with pytest.raises(DataError, match=r"was started without the variables of .*portable"):
            list(map_shards(here, [0], nj=2))
    finally:
        use_backend(former.name)


@NO_DASK
def test_sources_of_workers_are_those_of_all_rooms(tmp_path):
    from ivector.base.parallel import cluster

    assert Path(ivector.__file__).parent == cluster.PACKAGE
    (tmp_path / "gmm").mkdir()
    (tmp_path / "gmm" / "em.py").write_text("1")
    before = cluster.digest_of(tmp_path)
    (tmp_path / "gmm" / "em.py").write_text("2")
    assert cluster.digest_of(tmp_path) != before


def test_progress_tells_the_rate_of_frames(caplog, monkeypatch):
    from ivector.base import log

    monkeypatch.setattr(log, "LOG_EVERY_S", 0.0)
    caplog.set_level("INFO", "progress")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr.isatty", lambda: False, raising=False)
        assert list(log.progress([200, 300], 2, "x", frames=lambda n: n, shift=0.01)) == [200, 300]
    assert "frames/s (" in caplog.text and "x real time)" in caplog.text and "ETA" in caplog.text
