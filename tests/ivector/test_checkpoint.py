"""A training that is stopped again and again ends with the bytes of one that was not."""

import numpy as np
import pytest

from ivector import DiagonalGMM, FullGMM, TotalVariability
from ivector.base.errors import DataError
from ivector.base.parallel import checkpoint as checkpoints
from ivector.base.parallel.checkpoint import Checkpoint
from ivector.statistics import baum_welch


class Stop(Exception):
    pass


class Loader:
    """Gives a block, but stops the process's work each time a budget is spent."""

    left = 10**9

    def __init__(self, block):
        self.block = block

    def __call__(self):
        Loader.left -= 1
        if Loader.left < 0:
            raise Stop
        return self.block


@pytest.fixture(autouse=True)
def few_groups(monkeypatch):
    monkeypatch.setattr(checkpoints, "MOST_GROUPS", 4)  # of two shards each
    monkeypatch.setattr(checkpoints, "WORTH_S", 0)  # nothing is too little to keep
    monkeypatch.setattr(Loader, "left", 10**9)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 6, 6))
    X = np.concatenate([rng.normal(size=(800, 6)) @ m + 3 * rng.normal(size=6) for m in mixing])
    return rng.permutation(X).astype(np.float32)


def fit_stopping(make, X, folder, loads, **options):
    """Fit with a checkpoint, `loads` blocks at a time; the model and how often it was stopped."""
    for stops in range(200):
        Loader.left = loads
        try:
            return make().fit(X, checkpoint=Checkpoint(folder), **options), stops
        except Stop:
            continue
    raise AssertionError("no progress is kept")


def equal(one, other, names):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("kind", [DiagonalGMM, FullGMM])
def test_mixtures(frames, tmp_path, kind):
    X = [Loader(block) for block in np.array_split(frames, 7)]
    start = DiagonalGMM(4, n_iter=2, random_state=0).fit(X)

    def make():
        if kind is FullGMM:
            return FullGMM(init=start, n_iter=4, tol=0, num_gselect=3, min_occupancy=5)
        return DiagonalGMM(4, n_iter=4, tol=0, random_state=0)

    whole = make().fit(X)
    stopped, stops = fit_stopping(make, X, tmp_path / "c", 7)
    assert stops >= 3
    equal(stopped, whole, ["weights_", "means_", "covariances_", "log_likelihood_", "n_iter_"])
    # A finished one is answered without data; another training is refused.
    Loader.left = 0
    equal(make().fit(X, checkpoint=Checkpoint(tmp_path / "c")), whole, ["means_"])
    with pytest.raises(DataError, match=r"another training \(n_iter 4, now 5"):
        make().set_params(n_iter=5).fit(X, checkpoint=Checkpoint(tmp_path / "c"))
    Checkpoint(tmp_path / "c").clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")  # of few data
@pytest.mark.parametrize("parametrisation", ["kaldi", "classical"])
@pytest.mark.parametrize("nj", [1, 2])
def test_total_variability(frames, tmp_path, parametrisation, nj):
    ubm = FullGMM(4, n_iter=1, random_state=0).fit(frames)
    parts = np.array_split(frames, 70)
    X = [
        Loader(baum_welch(ubm, parts[i : i + 10], second_order=True))
        for i in range(0, len(parts), 10)
    ]

    def make():
        return TotalVariability(
            5, n_iter=3, parametrisation=parametrisation, random_state=1, init="pca", n_jobs=nj
        )

    whole = make().fit(X, ubm=ubm)
    loads = 7 if nj == 1 else 10**9  # other processes have budgets of their own
    stopped, stops = fit_stopping(make, X, tmp_path / "c", loads, ubm=ubm)
    assert stops >= 3 or nj == 2
    names = ["projections_", "precisions_", "means_", "objective_", "prior_offset_", "n_frames_"]
    equal(stopped, whole, names)


def test_sums_of_a_stopped_iteration_are_used(frames, tmp_path):
    X = [Loader(block) for block in np.array_split(frames, 8)]

    def make():
        return DiagonalGMM(4, n_iter=1, random_state=0)

    whole = make().fit(X)
    Loader.left = 8 + 5  # the start, and two groups of the first iteration
    with pytest.raises(Stop):
        make().fit(X, checkpoint=Checkpoint(tmp_path))
    assert sorted(p.name for p in (tmp_path / "sums.1").iterdir()) == ["0.npz", "1.npz"]
    Loader.left = 4
    equal(make().fit(X, checkpoint=Checkpoint(tmp_path)), whole, ["means_", "covariances_"])
    assert not (tmp_path / "sums.1").exists()


def test_what_takes_a_moment_is_not_written(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "WORTH_S", 60)
    folder = tmp_path / "short"
    DiagonalGMM(4, n_iter=3, random_state=0).fit(frames, checkpoint=Checkpoint(folder))
    assert [path.name for path in folder.iterdir()] == ["training.json"]
