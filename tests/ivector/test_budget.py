"""Limits of memory and disk: sizes of shards, refusals before work begins, what is measured."""

import re
import subprocess
import sys
import tracemalloc
import types

import numpy as np
import pytest

from ivector.base import budget
from ivector.base.errors import DataError, UsageError
from ivector.base.log import progress
from ivector.gmm.full import FullGMM
from ivector.statistics import BaumWelchStatistics
from ivector.total_variability.e_step import training_bytes
from ivector.total_variability.model import TotalVariability


def test_shards_are_few_of_large_corpora_and_many_enough_of_small_ones():
    assert [budget.shard_size(n) for n in (1, 64, 4096)] == [64, 64, 64]
    assert budget.shard_size(20_000) == 313
    assert budget.shard_size(1_100_000) == 1024
    assert budget.shard_size(100, 128) == 128


def test_disk_is_refused_before_it_is_written(tmp_path, monkeypatch):
    free = types.SimpleNamespace(free=300 * budget.MIB)
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda folder: free)
    place = tmp_path / "not" / "there"
    budget.require_disk(place, 200 * budget.MIB, 0, "features")
    budget.require_disk(place, 200 * budget.MIB, 200, "features")
    with pytest.raises(
        UsageError, match="up to 200 MiB of disk, the limit is 199: give `disk` 200"
    ):
        budget.require_disk(place, 199.5 * budget.MIB, 199, "features")
    with pytest.raises(DataError, match=r"301 MiB of disk and 300 are free: .*; store less"):
        budget.require_disk(place, 301 * budget.MIB, 0, "features", "store less")
    assert not place.exists()


MEASURE = """
import numpy as np
from ivector.base import budget

before = budget.peak_memory()
filled = np.ones(20 * budget.MIB)
assert before + 150 < budget.peak_memory() < before + 400, (before, budget.peak_memory())
assert budget.memory_share().endswith("MiB")
budget.set_memory_limit(100_000)
assert budget.memory_share().endswith(" of 100000 MiB (0 %)")
"""


def test_memory_is_measured_and_set_against_the_limit():
    # In a process of its own: the peak of this one was set by other tests.
    subprocess.run([sys.executable, "-c", MEASURE], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not list processes in /proc")
def test_memory_of_workers_counts():
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        pool.submit(_fill, budget.peak_memory()).result()
        assert budget.peak_memory() > 100 + budget._high_water(budget.os.getpid())


def _fill(base):
    return float(np.ones(int(base + 200) * budget.MIB // 8).sum())


def problem(C=32, D=10, R=40, U=200):
    rng = np.random.default_rng(0)
    ubm = FullGMM(C)
    ubm.set_parameters(np.full(C, 1 / C), rng.normal(size=(C, D)), np.stack([np.eye(D)] * C))
    zeroth = rng.gamma(2, 5, (U, C)).astype(np.float32)
    first = rng.normal(size=(U, C, D)).astype(np.float32) * np.sqrt(zeroth)[:, :, None]
    second = zeroth.sum(0)[:, None, None] * np.eye(D)
    return ubm, BaumWelchStatistics(zeroth, first, second, ubm.means_), (C, D, R)


@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
def test_training_that_cannot_fit_is_refused():
    model, stats, (*_, R) = problem()
    with pytest.raises(UsageError, match=r"needs .* MiB .* the limit is 1: give `memory` .* rank"):
        TotalVariability(R, memory=1).fit(stats, ubm=model)


@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
def test_what_training_needs_is_not_told_too_low():
    """Beside the statistics, a batch and the inverses of the largest step, 1.3 times at most."""
    ubm, stats, (C, D, R) = problem(C=64, D=20, R=150)
    needed = training_bytes(C, D, R)
    model = TotalVariability(R, n_iter=2, init="random", random_state=0, memory=100)
    tracemalloc.start()
    model.fit([stats], ubm=ubm)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    batch = min(model.derived().batch_bytes, 4 * len(stats) * (R * (R + 1) // 2 + 2 * C * D))
    print(peak / 1e6, needed / 1e6, batch / 1e6)
    assert peak < 1.3 * needed + batch + 2 * stats.first.nbytes


@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
def test_smaller_batches_give_the_same_vectors():
    ubm, stats, (*_, R) = problem(U=1500)
    model = TotalVariability(R, n_iter=1, init="random", random_state=0).fit(stats, ubm=ubm)
    small = TotalVariability.from_subspace(model.model_, memory=10)
    assert small.derived().batch_size < model.derived().batch_size
    np.testing.assert_allclose(small.transform(stats), model.transform(stats), atol=1e-4)


def test_progress_says_the_share_of_memory(monkeypatch, caplog):
    monkeypatch.setattr("ivector.base.log.LOG_EVERY_S", 0.0)
    monkeypatch.setattr(budget, "_limit_mb", 4096)
    with caplog.at_level("INFO"):
        assert list(progress(range(2), desc="work")) == [0, 1]
    assert re.search(r"work 1/2 utt, .* ETA \d+ s, memory \d+ of 4096 MiB \(\d+ %\)", caplog.text)


def test_what_is_free_is_not_asked_at_every_vector(monkeypatch):
    asked = []
    monkeypatch.setattr(budget, "_limit_mb", 0)
    monkeypatch.setattr(budget.Path, "read_text", lambda path: asked.append(path) or "")
    begun = budget.time.monotonic()
    for _ in range(1000):
        budget.room()
    assert len(asked) <= 10 * (budget.time.monotonic() - begun) + 2
    monkeypatch.setattr(budget, "_limit_mb", 3)
    assert budget.room() == 3 * budget.MIB
