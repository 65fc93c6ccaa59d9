"""UBM, statistics and total variability by torch: the numbers of the CPU path, on torch's CPU."""

import pickle
import threading
import time
from types import SimpleNamespace

import gmm_cases
import numpy as np
import pytest

from ivector import BaumWelchStatistics, DiagonalGMM, FullGMM, TotalVariability
from ivector.base.errors import DataError, UsageError
from ivector.base.parallel.checkpoint import Checkpoint
from ivector.formats.statistics import StatisticsFile, StatisticsWriter
from ivector.statistics import baum_welch
from ivector.statistics.sparse import SparseStatistics

torch = pytest.importorskip("torch")

from ivector.gpu import e_step, mixture, pairs  # noqa: E402
from ivector.gpu.device import full_precision, open_device  # noqa: E402
from ivector.gpu.streaming import ahead  # noqa: E402

C, D, R = 40, 6, 5
RTOL = 1e-5
KINDS = [DiagonalGMM, FullGMM]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
both = pytest.mark.parametrize("kind", KINDS)
on = pytest.mark.parametrize("device", DEVICES)


def apart(a, b):
    """‖a − b‖ / ‖b‖."""
    return np.linalg.norm(np.asarray(a, float) - b) / np.linalg.norm(b)


@pytest.fixture(scope="module", params=KINDS)
def ubm(request):
    return gmm_cases.truth(request.param, C, D)


@pytest.fixture(scope="module")
def utterances(ubm):
    # One is empty; others are longer than a small block.
    X = ubm.sample(4000)[0].astype(np.float32)
    return np.split(X, [700, 700, 900, 1000, 2900])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(mixture, "BLOCK_FRAMES", 512)
    monkeypatch.setattr(pairs, "TILE", 16)


@on
def test_posteriors_are_those_of_the_cpu(ubm, utterances, small_blocks, device):
    X = np.concatenate(utterances)
    expected = ubm.posteriors(X, num_gselect=10)
    indices, posts = (
        ubm.with_parameters(*ubm.parameters())
        .set_params(device=device)
        .posteriors(X, num_gselect=10)
    )
    assert indices.dtype == np.int32 and posts.dtype == np.float32
    # Components of equal score may change places far down, where posteriors are zero.
    np.testing.assert_array_equal(indices[:, 0], expected[0][:, 0])
    assert apart(dense(indices, posts), dense(*expected)) < RTOL


def dense(indices, posts):
    out = np.zeros((len(indices), C))
    np.put_along_axis(out, indices.astype(int), posts, 1)
    return out


@on
@pytest.mark.parametrize("max_count", [0, 500])
def test_statistics_are_those_of_the_cpu(ubm, utterances, small_blocks, device, max_count):
    options = {"num_gselect": 10, "posterior_scale": 0.5, "max_count": max_count}
    options["second_order"] = True
    expected = baum_welch(ubm, utterances, dtype="float64", **options)
    got = baum_welch(ubm, utterances, dtype="float64", device=device, **options)
    assert len(got) == len(utterances) and not got.zeroth[1].any()
    for name in ("zeroth", "first", "second"):
        assert apart(getattr(got, name), getattr(expected, name)) < RTOL
    again = baum_welch(ubm, utterances, dtype="float64", device=device, **options)
    assert got.first.tobytes() == again.first.tobytes()
    assert got.second.tobytes() == again.second.tobytes()


@on
def test_statistics_come_in_the_precision_asked_for(ubm, utterances, device):
    stats = baum_welch(ubm, utterances, device=device)
    assert stats.zeroth.dtype == stats.first.dtype == np.float32 and stats.second is None


@on
@pytest.mark.parametrize("given", [False, True])
def test_sums_of_em_are_those_of_the_cpu(ubm, utterances, small_blocks, device, given):
    X = np.concatenate(utterances)
    selected = ubm.gselect(X, 8) if given else None
    expected = ubm.accumulate(X, selected)
    there = ubm.with_parameters(*ubm.parameters()).set_params(device=device)
    got = there.accumulate(X, selected)
    for name in ("zeroth", "first", "second", "log_likelihood"):
        assert apart(getattr(got, name), getattr(expected, name)) < RTOL
    assert got.n_frames == expected.n_frames
    assert got.second.tobytes() == there.accumulate(X, selected).second.tobytes()


@on
@both
def test_em_ends_where_that_of_the_cpu_does(kind, device):
    X = gmm_cases.truth(kind, 4, 3).sample(3000)[0]
    start = DiagonalGMM(4, random_state=0).fit(X)
    options = {"init": start, "n_iter": 3, "tol": 0.0}
    expected = kind(4, **options).fit(X)
    shards = [gmm_cases.Block(X[:1000]), gmm_cases.Block(X[1000:])]
    got = kind(4, **options, device=device, n_jobs=2).fit(shards)
    np.testing.assert_allclose(got.means_, expected.means_, rtol=1e-4)
    np.testing.assert_allclose(got.log_likelihood_, expected.log_likelihood_, rtol=RTOL)


@on
def test_unusable_frames_are_named(ubm, device):
    X = ubm.sample(50)[0]
    X[7, 2] = np.nan
    there = ubm.with_parameters(*ubm.parameters()).set_params(device=device)
    with pytest.raises(DataError, match="NaN or infinity, first in frame 7"):
        there.posteriors(X)


@on
def test_a_mixture_travels_without_its_device(ubm, utterances, device):
    there = ubm.with_parameters(*ubm.parameters()).set_params(device=device)
    before = there.posteriors(utterances[0])
    data = pickle.dumps(there)
    assert b"torch" not in data
    np.testing.assert_array_equal(pickle.loads(data).posteriors(utterances[0])[1], before[1])


def test_all_posteriors_may_be_pruned():
    posts = torch.tensor([[0.3, 0.7], [0.5, 0.5], [0.1, 0.9]])
    expected = [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert mixture.pruned(posts, 0.8).tolist() == expected
    assert torch.equal(mixture.pruned(posts, 0.0), posts)


def test_tiles_hold_every_pair_once(small_blocks):
    components = torch.from_numpy(np.random.default_rng(0).integers(0, 5, 300) ** 2)
    which, block = pairs.tiles(components, 17)
    mine = block < len(components)
    assert (components[block[mine]] == which[:, None].expand_as(block)[mine]).all()
    assert sorted(block[mine].tolist()) == list(range(300))
    sums = torch.zeros(17, 1, dtype=torch.float64)
    pairs.add_tiles(sums, which, mine.sum(1, keepdim=True))
    assert torch.equal(sums[:, 0].long(), torch.bincount(components, minlength=17))
    which, block = pairs.tiles(components[:0], 17)
    assert which.shape == (0,) and block.shape == (0, 16)
    pairs.add_tiles(sums, which, block)


def test_triangular_matrices_are_inverted_by_halves(monkeypatch):
    monkeypatch.setattr(e_step, "SMALLEST", 3)
    lower = torch.tril(torch.rand(4, 11, 11, dtype=torch.float64)) + torch.eye(11).double()
    assert torch.allclose(e_step._inverse(lower) @ lower, torch.eye(11).double())


# ---- total variability ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    """A UBM and statistics with second order of 150 utterances."""
    rng = np.random.default_rng(3)
    means = rng.normal(size=(C, D))
    ubm = FullGMM(C).set_parameters(np.full(C, 1 / C), means, np.broadcast_to(np.eye(D), (C, D, D)))
    latent, subspace = rng.normal(size=(150, R)), 0.5 * rng.normal(size=(R, C, D))
    zeroth = rng.gamma(1.0, 20.0, (150, C))
    first = zeroth[:, :, None] * np.tensordot(latent, subspace, 1)
    first += np.sqrt(zeroth)[:, :, None] * rng.normal(size=first.shape)
    second = 1.5 * np.einsum("uc,de->cde", zeroth, np.eye(D))
    second += np.einsum("ucd,uce,uc->cde", first, first, 1 / np.maximum(zeroth, 1e-9))
    return ubm, BaumWelchStatistics(zeroth, first, second, means)


def loaders(stats):
    """Statistics as two shards: of one block, and of two, the last with the second-order sum."""
    blocks = [stats[:50], stats[50:80], stats[80:]]
    blocks[0].second, blocks[2].second = 0.4 * stats.second, 0.6 * stats.second
    return [lambda: blocks[0], lambda: iter(blocks[1:])]


@on
@pytest.mark.parametrize("form", ["kaldi", "classical"])
@pytest.mark.parametrize("batch", [7, 64])
def test_e_step_is_that_of_the_cpu(world, monkeypatch, device, form, batch):
    ubm, stats = world
    monkeypatch.setattr(e_step, "FLUSH", batch)  # of batches, too
    model = TotalVariability(R, n_iter=1, parametrisation=form, random_state=0).fit(stats, ubm=ubm)
    shards = loaders(stats)
    expected = model._expectation(shards, None)
    got = model.set_params(device=device, n_jobs=2)._expectation(shards, None)
    assert got.n_utterances == 150
    for name in ("zeroth", "first", "latent", "cross", "moment", "latent_sum", "latent_moment",
                 "evidence", "second"):  # fmt: skip
        assert apart(getattr(got, name), getattr(expected, name)) < RTOL, name
    again = model._expectation(shards, None)
    assert got.moment.tobytes() == again.moment.tobytes()


@on
def test_i_vectors_are_those_of_the_cpu(world, monkeypatch, device):
    ubm, stats = world
    monkeypatch.setattr(e_step, "FLUSH", 40)
    expected = TotalVariability(R, n_iter=3, random_state=0).fit(stats, ubm=ubm)
    got = TotalVariability(R, n_iter=3, random_state=0, device=device).fit(stats, ubm=ubm)
    np.testing.assert_allclose(got.objective_, expected.objective_, rtol=RTOL)
    # One model on either device; and each with its own, whose rounding EM has carried on.
    on_cpu, cov_on_cpu = expected.transform(stats, return_cov=True)
    own = got.transform(stats)
    ivectors, covariances = expected.set_params(device=device).transform(stats, return_cov=True)
    assert ivectors.dtype == covariances.dtype == np.float32
    assert apart(ivectors, on_cpu) < RTOL and apart(covariances, cov_on_cpu) < RTOL
    signs = np.sign((own * on_cpu).sum(0))  # Rounding may decide where an axis points.
    assert apart(own * signs, on_cpu) < 1e-3
    expected.set_params(device=None)


@on
def test_stored_statistics_stay_sparse_until_they_are_there(world, tmp_path, device):
    ubm, stats = world
    stats = BaumWelchStatistics(
        np.where(stats.zeroth > 5, stats.zeroth, 0), stats.first * (stats.zeroth > 5)[:, :, None],
        stats.second, stats.centre,
    )  # fmt: skip
    files = []
    for storage in ("float16", "float32"):
        files.append(StatisticsFile(tmp_path / storage))
        with StatisticsWriter(tmp_path / storage, storage) as writer:
            writer.write(stats[:70])
            last = stats[70:]
            last.second = stats.second
            writer.write(last)
    assert {type(block) for block in files[0].sparse()} == {SparseStatistics}
    model = TotalVariability(R, n_iter=1, random_state=0).fit(files, ubm=ubm)
    expected, vectors = model._expectation(files, None), model.transform(files)
    model.set_params(device=device)
    got = model._expectation(files, None)
    assert apart(got.moment, expected.moment) < RTOL and apart(got.second, expected.second) < RTOL
    assert apart(got.cross, expected.cross) < RTOL
    assert apart(model.transform(files), vectors) < RTOL
    other = TotalVariability(R, n_iter=0, device=device).fit(
        one_block(3),
        ubm=FullGMM(3).set_parameters(np.ones(3), np.eye(3), np.stack([np.eye(3)] * 3)),
    )
    with pytest.raises(DataError, match="come from another UBM"):
        other.transform(files)


def one_block(n):
    return BaumWelchStatistics(np.ones((4, n)), np.ones((4, n, n)), np.ones((n, n, n)))


@on
def test_utterances_of_different_centres_go_together(world, device):
    ubm, stats = world
    model = TotalVariability(R, n_iter=1, random_state=0).fit(stats, ubm=ubm)
    first, second = stats[:60], stats[60:].about(None)
    first.second = second.second = stats.second
    expected = model._expectation([first, second], None)
    got = model.set_params(device=device)._expectation([first, second], None)
    assert apart(got.first, expected.first) < RTOL and apart(got.second, expected.second) < RTOL
    assert apart(got.cross, expected.cross) < RTOL


def test_missing_second_order_is_refused(world):
    ubm, stats = world
    with pytest.raises(UsageError, match="second-order"):
        TotalVariability(R, device="cpu").fit(stats[1:], ubm=ubm)


def test_an_utterance_beyond_float32_is_named(world):
    ubm, stats = world
    model = TotalVariability(R, n_iter=1, random_state=0).fit(stats, ubm=ubm)
    zeroth, first = stats.zeroth[:3].copy(), stats.first[:3].copy()
    zeroth[1] = 1e39
    with pytest.raises(DataError, match="utterance 1 of its shard"):
        model.set_params(device="cpu").transform(
            BaumWelchStatistics(zeroth, first, None, ubm.means_)
        )


def test_files_and_checkpoints_know_no_device(world, tmp_path):
    ubm, stats = world
    model = TotalVariability(R, n_iter=1, random_state=0).fit(stats, ubm=ubm)
    model.save(tmp_path / "a.npz")
    model.set_params(device="cpu").save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert TotalVariability.load(tmp_path / "b.npz").device is None
    for device in (None, "cpu"):
        folder = tmp_path / str(device)
        X = np.random.default_rng(0).normal(size=(100, 2))
        DiagonalGMM(2, random_state=0, device=device).fit(X, checkpoint=Checkpoint(folder))
        assert ("device" in (folder / "training.json").read_text()) is (device is not None)


# ---- devices and threads -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tpu9", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UsageError, match=f"device`? .*{name}"):
        open_device(name)


def test_a_device_is_refused_before_data_are_read(world):
    def never():
        raise AssertionError

    start = gmm_cases.truth(DiagonalGMM, 2, 3)
    with pytest.raises(UsageError, match="cuda:99"):
        DiagonalGMM(2, init=start, device="cuda:99").fit([never])
    with pytest.raises(UsageError, match="DiagonalGMM or FullGMM"):
        baum_welch(SimpleNamespace(means_=np.ones((2, 3))), [], device="cpu")


def test_products_are_not_shortened(monkeypatch):
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(former)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_what_is_read_ahead_keeps_its_order(n_threads):
    def maker(i):
        def make():
            for j in range(4):
                time.sleep(0.001 * (5 - i))
                yield i, j

        return make

    items = list(ahead([maker(i) for i in range(5)], n_threads))
    assert items == [(i, j) for i in range(5) for j in range(4)]
    assert list(ahead([], n_threads)) == []


def test_errors_of_reading_reach_the_reader_and_threads_end():
    def fails():
        yield 1
        raise DataError("damaged")

    def endless():
        while True:
            yield 0

    before = threading.active_count()
    items = ahead([fails, endless], 2)
    assert next(items) == 1
    with pytest.raises(DataError, match="damaged"):
        next(items)
    for _ in range(100):
        if threading.active_count() == before:
            return
        time.sleep(0.05)
    raise AssertionError("a thread goes on reading for nobody")
