"""Statistics on disk: exact and compressed storage, error bounds, blocks, training from files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivector.base.errors import DataError, UsageError
from ivector.base.files import save_model
from ivector.formats.statistics import (
    StatisticsFile,
    StatisticsWriter,
    iterate_statistics,
    read_statistics,
    write_statistics,
)
from ivector.gmm.full import FullGMM
from ivector.statistics import BaumWelchStatistics, baum_welch
from ivector.total_variability.model import TotalVariability
from ivector.total_variability.shards import merged

C, D = 8, 5


@pytest.fixture(scope="module")
def ubm():
    rng = np.random.default_rng(0)
    model = FullGMM(C)
    means = 3 * rng.normal(size=(C, D)) + 20
    covariances = np.stack([np.diag(rng.uniform(0.5, 2, D)) for _ in range(C)])
    model.set_parameters(rng.dirichlet(np.full(C, 3.0)), means, covariances)
    return model


def utterances(ubm, n, seed=0):
    """Frames of `n` utterances, each with a shift of the means of its own."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(2, C, D))
    for _ in range(n):
        means = ubm.means_ + np.tensordot(rng.normal(size=2), directions, 1)
        component = rng.choice(C, size=int(rng.integers(20, 120)), p=ubm.weights_)
        yield (means[component] + rng.normal(size=(len(component), D))).astype(np.float32)


def block(ubm, n, seed=0):
    return baum_welch(ubm, utterances(ubm, n, seed), num_gselect=4, second_order=True)


def same(a, b):
    np.testing.assert_array_equal(a.zeroth, b.zeroth)
    np.testing.assert_array_equal(a.first, b.first)
    np.testing.assert_array_equal(a.second, b.second)
    np.testing.assert_array_equal(a.centre, b.centre)


def test_float32_is_exact(ubm, tmp_path):
    stats = block(ubm, 5)
    write_statistics(tmp_path / "s.npz", stats)
    same(read_statistics(tmp_path / "s.npz"), stats)
    raw = BaumWelchStatistics(stats.zeroth, stats.first)
    write_statistics(tmp_path / "s.npz", raw)
    again = read_statistics(tmp_path / "s.npz")
    assert again.second is None
    assert not again.centred
    np.testing.assert_array_equal(again.first, raw.first)


def test_second_order_that_is_not_symmetric_is_exact_too(tmp_path):
    stats = BaumWelchStatistics(
        np.ones((1, 2)), np.ones((1, 2, 2)), np.arange(8.0).reshape(2, 2, 2)
    )
    write_statistics(tmp_path / "s.npz", stats)
    np.testing.assert_array_equal(read_statistics(tmp_path / "s.npz").second, stats.second)


def test_files_of_the_first_format_are_read(ubm, tmp_path):
    stats = block(ubm, 3)
    arrays = {name: getattr(stats, name) for name in ("zeroth", "first", "second", "centre")}
    save_model(tmp_path / "s.npz", "Baum-Welch statistics", arrays, {})
    same(read_statistics(tmp_path / "s.npz"), stats)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e4), st.sampled_from([0.0, 0.01, 0.3]))
def test_float16_keeps_its_error_bound(tmp_path_factory, seed, scale, prune):
    """|error of F| ≤ N (2⁻¹¹ |offset| + 2⁻²⁵ unit) where kept; pruned frames within the share."""
    rng = np.random.default_rng(seed)
    counts = rng.gamma(0.3, 20, (6, C)) * (rng.random((6, C)) > 0.2) * rng.choice([1, 1e5], C)
    offsets = scale * rng.standard_t(3, (6, C, D)) * 10.0 ** rng.integers(-2, 3, D)
    centre = rng.normal(size=(C, D))
    exact = BaumWelchStatistics(
        counts.astype(np.float32), (counts[:, :, None] * offsets).astype(np.float32), None, centre
    )
    path = tmp_path_factory.mktemp("bound") / "s.npz"
    with StatisticsWriter(path, "float16", prune) as writer:
        writer.write(exact)
    found = read_statistics(path)
    kept = found.zeroth > 0
    np.testing.assert_array_equal(found.zeroth[kept], exact.zeroth[kept])
    assert not found.first[~kept].any()
    lost = (exact.zeroth - found.zeroth).sum(1, dtype=np.float64)
    assert (lost <= prune * exact.zeroth.sum(1, dtype=np.float64) * (1 + 1e-6) + 1e-25).all()
    assert writer.dropped <= prune * writer.frames * (1 + 1e-6) + 1e-6 * writer.frames
    unit = np.load(path)["0.unit"]
    bound = np.abs(exact.first) * 2.0**-11 + exact.zeroth[:, :, None] * unit * 2.0**-25
    error = np.abs(found.first.astype(float) - exact.first)
    assert (error <= bound * 1.01 + 1e-37)[kept].all()


def test_float16_of_large_counts_and_outliers_does_not_overflow(tmp_path):
    counts = np.array([[3e9, 1e-6]], np.float32)
    offsets = np.array([[[1e7, -2.0], [1e-9, 1e12]]], np.float32)
    stats = BaumWelchStatistics(counts, counts[:, :, None] * offsets, None, np.zeros((2, 2)))
    write_statistics(tmp_path / "s.npz", stats, "float16")
    found = read_statistics(tmp_path / "s.npz")
    assert np.isfinite(found.first).all()
    np.testing.assert_allclose(found.first[0, 0, 0], stats.first[0, 0, 0], rtol=1e-3)
    np.testing.assert_allclose(found.first[0, 1, 1], stats.first[0, 1, 1], rtol=1e-3)


def test_second_order_of_float16_is_rounded_to_single_precision(ubm, tmp_path):
    stats = block(ubm, 5)
    write_statistics(tmp_path / "s.npz", stats, "float16")
    np.testing.assert_allclose(
        read_statistics(tmp_path / "s.npz").second, stats.second, rtol=2**-23
    )


def test_an_utterance_without_frames(ubm, tmp_path):
    stats = baum_welch(ubm, [np.empty((0, D)), next(utterances(ubm, 1))])
    write_statistics(tmp_path / "s.npz", stats, "float16", 0.1)
    found = read_statistics(tmp_path / "s.npz")
    assert not found.zeroth[0].any()
    assert found.zeroth[1].any()
    write_statistics(tmp_path / "s.npz", stats[:1], "float16")
    assert not read_statistics(tmp_path / "s.npz").zeroth.any()


def test_blocks_are_read_one_by_one_and_second_order_adds(ubm, tmp_path):
    parts = [block(ubm, n, seed=n) for n in (3, 1, 4)]
    for storage in ("float32", "float16"):
        with StatisticsWriter(tmp_path / "s.npz", storage) as writer:
            for part in parts:
                writer.write(part)
        found = list(iterate_statistics(tmp_path / "s.npz"))
        assert [len(part) for part in found] == [3, 1, 4]
        assert [part.second is None for part in found] == [True, True, False]
        whole = BaumWelchStatistics.concatenate(parts)
        np.testing.assert_allclose(found[-1].second, whole.second, rtol=1e-6)
        np.testing.assert_allclose(read_statistics(tmp_path / "s.npz").first, whole.first, atol=0.1)
    same(read_statistics(tmp_path / "s.npz"), read_statistics(tmp_path / "s.npz"))


def test_same_statistics_same_bytes(ubm, tmp_path):
    for name in "ab":
        write_statistics(tmp_path / name, block(ubm, 4), "float16", 0.01)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_sparse_statistics_take_a_fraction(tmp_path):
    """Of 512 components an utterance uses a quarter: less than 0.16 of the bytes of float32."""
    rng = np.random.default_rng(0)
    zeroth = (rng.gamma(1, 3, (64, 512)) * (rng.random((64, 512)) < 0.25)).astype(np.float32)
    first = zeroth[:, :, None] * rng.normal(size=(64, 512, 60)).astype(np.float32)
    stats = BaumWelchStatistics(zeroth, first, None, np.zeros((512, 60)))
    sizes = []
    for storage in ("float32", "float16"):
        write_statistics(tmp_path / storage, stats, storage)
        sizes.append((tmp_path / storage).stat().st_size)
    assert sizes[1] < 0.16 * sizes[0]


def trained(shards, ubm, **options):
    options = {"n_iter": 3, "random_state": 0, "init": "pca", **options}
    return TotalVariability(2, **options).fit(shards, ubm=ubm)


@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
@pytest.mark.parametrize("parametrisation", ["kaldi", "classical"])
def test_training_from_files(ubm, tmp_path, parametrisation):
    """A file of one block trains the same bytes as the block; of several, the same model."""
    parts = [block(ubm, 40, seed=n) for n in range(4)]
    options = {"parametrisation": parametrisation}
    direct = trained(parts, ubm, **options)
    for number, part in enumerate(parts):
        write_statistics(tmp_path / f"{number}", part)
    one = trained([StatisticsFile(tmp_path / f"{n}") for n in range(4)], ubm, **options)
    np.testing.assert_array_equal(one.projections_, direct.projections_)
    np.testing.assert_array_equal(one.precisions_, direct.precisions_)

    files = []
    for storage, n in (("float32", 0), ("float32", 2)):
        files.append(StatisticsFile(tmp_path / f"{storage}{n}"))
        with StatisticsWriter(files[-1].path, storage) as writer:
            for part in parts[n : n + 2]:
                writer.write(part)
    grouped = trained(files, ubm, init="random", **options)
    again = trained(parts, ubm, init="random", **options)
    np.testing.assert_allclose(grouped.objective_, again.objective_, rtol=1e-6)
    np.testing.assert_allclose(grouped.covariances_, again.covariances_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        grouped.transform(files), np.concatenate([grouped.transform(p) for p in parts]), atol=1e-6
    )
    vectors, covariances = grouped.transform(files, return_cov=True)
    assert covariances.shape == (*vectors.shape, 2)
    assert grouped.score(files) == pytest.approx(grouped.score(parts), rel=1e-9)


@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
def test_compressed_statistics_train_nearly_the_same_model(ubm, tmp_path):
    parts = [block(ubm, 40, seed=n) for n in range(2)]
    for number, part in enumerate(parts):
        write_statistics(tmp_path / f"{number}", part, "float16", 0.005)
    files = [StatisticsFile(tmp_path / f"{number}") for number in range(2)]
    exact, close = trained(parts, ubm), trained(files, ubm)
    assert close.objective_[-1] == pytest.approx(exact.objective_[-1], rel=1e-3)
    cosine = np.sum(exact.transform(parts) * close.transform(parts), axis=1)
    cosine /= np.linalg.norm(exact.transform(parts), axis=1)
    cosine /= np.linalg.norm(close.transform(parts), axis=1)
    assert np.abs(cosine).min() > 0.99


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"storage": "float8"}, "float32 or float16"),
        ({"storage": "float16", "prune": 1.0}, "share of the frames"),
        ({"prune": 0.1}, "stored whole"),
    ],
)
def test_refuses_options(tmp_path, options, match):
    with pytest.raises(UsageError, match=match):
        StatisticsWriter(tmp_path / "s", **options)


def test_refuses_statistics(ubm, tmp_path):
    stats = block(ubm, 2)
    raw = BaumWelchStatistics(stats.zeroth, stats.first)
    with pytest.raises(UsageError, match="about\\(means\\)"):
        write_statistics(tmp_path / "s", raw, "float16")
    with (
        pytest.raises(DataError, match="block 1 comes from another UBM"),
        StatisticsWriter(tmp_path / "s") as writer,
    ):
        writer.write(stats)
        writer.write(raw)
    with pytest.raises(DataError, match="no statistics to write"), StatisticsWriter(tmp_path / "s"):
        pass
    assert not list(tmp_path.iterdir())


def test_names_damage(ubm, tmp_path):
    path = tmp_path / "s"
    with pytest.raises(DataError, match="cannot be read"):
        read_statistics(path)
    write_statistics(path, block(ubm, 2))
    content = path.read_bytes()
    for damaged in (content[:-50], content[: len(content) // 2], b"", b"PK"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            read_statistics(path)
    save_model(path, "other", {}, {})
    with pytest.raises(DataError, match="holds a other model"):
        read_statistics(path)


def test_second_order_follows_what_was_pruned(ubm, tmp_path):
    """So that covariances, scatter over count, are not inflated where much was dropped."""
    stats = block(ubm, 60)
    write_statistics(tmp_path / "s", stats, "float16", 0.2)
    found = read_statistics(tmp_path / "s")
    assert found.n_frames < 0.95 * stats.n_frames
    before = stats.second / stats.zeroth.sum(0)[:, None, None]
    after = found.second / found.zeroth.sum(0)[:, None, None]
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_blocks_are_joined_to_batches(ubm):
    parts = [block(ubm, n, seed=n) for n in (3, 4, 2, 9, 1)]
    assert [len(stats) for stats in merged(parts, 7)] == [7, 2, 9, 1]
    parts[1] = parts[1].about(None)
    assert [len(stats) for stats in merged(parts, 7)] == [3, 4, 2, 9, 1]
    (one,) = merged(parts[:1], 1)
    assert one is parts[0]
