"""Baum-Welch statistics: sums, their algebra, and Kaldi's numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from golden_ie import read_case, read_matrices, read_triangles, utterance_statistics

from ivector import FullGMM
from ivector.base.errors import DataError, UsageError
from ivector.base.kaldi import read_vectors
from ivector.formats.gmm import read_full_gmm
from ivector.statistics import (
    BaumWelchStatistics,
    accumulate,
    accumulate_second,
    baum_welch,
)
from ivector.statistics.kernels import scatter_statistics

C, D, K = 5, 3, 2


def frames(n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    indices = np.stack([rng.permutation(C)[:K] for _ in range(n)]).reshape(n, K).astype(np.int32)
    posts = rng.dirichlet(np.ones(K), n).astype(np.float32)
    posts[rng.random((n, K)) < 0.2] = 0
    return indices, posts, rng.normal(2.0, 1.0, (n, D)).astype(np.float32)


def dense(indices, posts):
    gamma = np.zeros((len(indices), C))
    np.add.at(gamma, (np.arange(len(indices))[:, None], indices), posts.astype(float))
    return gamma


def one(n: int, seed: int = 0, centre=None) -> BaumWelchStatistics:
    indices, posts, X = frames(n, seed)
    zeroth, first = accumulate(indices, posts, X, C, centre=centre)
    return BaumWelchStatistics(
        zeroth[None], first[None], accumulate_second(indices, posts, X, C, centre), centre
    )


def assert_same(a: BaumWelchStatistics, b: BaumWelchStatistics, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(a.zeroth, b.zeroth, rtol)
    np.testing.assert_allclose(a.first, b.first, rtol, atol=1e-9)
    assert (a.second is None) == (b.second is None)
    if a.second is not None and b.second is not None:
        np.testing.assert_allclose(a.second, b.second, rtol, atol=1e-8)


def test_kernel_equals_readable_sums():
    indices, posts, X = frames(200)
    centre = np.random.default_rng(1).normal(size=(C, D))
    zeroth, first = np.ones(C), np.ones((C, D))
    scatter_statistics(indices, posts, X, centre, zeroth, first)
    gamma = dense(indices, posts)
    np.testing.assert_allclose(zeroth, 1 + gamma.sum(0))
    np.testing.assert_allclose(
        first, 1 + np.einsum("tc,tcd->cd", gamma, X[:, None].astype(float) - centre)
    )


def test_second_order_equals_readable_sums():
    indices, posts, X = frames(100)
    centre = np.random.default_rng(1).normal(size=(C, D))
    centred = X[:, None].astype(float) - centre
    expected = np.einsum("tc,tcd,tce->cde", dense(indices, posts), centred, centred)
    np.testing.assert_allclose(accumulate_second(indices, posts, X, C, centre), expected)


def test_index_of_a_pruned_posterior_is_ignored():
    indices, posts, X = frames(10)
    expected = accumulate(indices, posts, X, C)
    indices[posts == 0] = 99
    for got, want in zip(accumulate(indices, posts, X, C), expected):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("split", [0, 1, 37, 100])
def test_any_split_of_the_frames_gives_the_same_sum(split):
    indices, posts, X = frames(100)
    parts = [slice(0, split), slice(split, 100)]
    batch = BaumWelchStatistics.concatenate(
        [
            BaumWelchStatistics(
                *(a[None] for a in accumulate(indices[p], posts[p], X[p], C)),
                accumulate_second(indices[p], posts[p], X[p], C),
            )
            for p in parts
        ]
    )
    assert_same(batch.pool([[0, 1]]), one(100))


def test_addition_keeps_utterances_and_adds_second_order():
    a, b = one(30, 1), one(40, 2)
    both = a + b
    assert len(both) == 2 and both.n_frames == pytest.approx(a.n_frames + b.n_frames)
    np.testing.assert_array_equal(both.zeroth, np.vstack([a.zeroth, b.zeroth]))
    np.testing.assert_allclose(both.second, a.second + b.second)


def test_pooling_some_utterances_drops_second_order():
    batch = one(30, 1) + one(40, 2) + one(10, 3)
    pooled = batch.pool([[2, 0], [1]])
    np.testing.assert_allclose(pooled.first[0], batch.first[2] + batch.first[0])
    np.testing.assert_allclose(pooled.second, batch.second)
    assert batch.pool([[0, 1]]).second is None
    for groups in ([[]], [[3]], [[-1]]):
        with pytest.raises(DataError, match="group 0"):
            batch.pool(groups)


def test_recentring_equals_accumulating_about_the_centre():
    centre = np.random.default_rng(5).normal(size=(C, D))
    raw, centred = one(80), one(80, centre=centre)
    assert raw.about(centre).centred and not raw.centred
    assert_same(raw.about(centre), centred)
    assert_same(centred.about(None), raw)
    assert centred.about(centre) is centred
    with pytest.raises(DataError, match="centre has shape"):
        raw.about(np.zeros((2, 2)))


@pytest.mark.parametrize("scale, max_count", [(0.3, 0.0), (1.0, 20.0), (0.3, 5.0), (0.3, 1000.0)])
def test_scaling_follows_ivector_extract(scale, max_count):
    stats = one(60) + one(6, 1)
    frames_ = scale * stats.zeroth.sum(1)
    limit = np.minimum(1, max_count / frames_) if max_count else np.ones(2)
    scaled = stats.scaled(scale, max_count)
    np.testing.assert_allclose(scaled.zeroth, stats.zeroth * (scale * limit)[:, None])
    np.testing.assert_allclose(scaled.first, stats.first * (scale * limit)[:, None, None])
    indices, posts, X = frames(60)
    zeroth, first = accumulate(indices, posts, X, C, scale, max_count)
    np.testing.assert_allclose(zeroth, scaled.zeroth[0])
    np.testing.assert_allclose(first, scaled.first[0])
    for bad in ((0.0, 0.0), (1.0, -1.0)):
        with pytest.raises(UsageError, match="posterior_scale"):
            stats.scaled(*bad)


def test_slices_and_masks():
    batch = one(30, 1) + one(40, 2) + one(10, 3)
    np.testing.assert_array_equal(batch[1].zeroth, batch.zeroth[1:2])
    np.testing.assert_array_equal(batch[[2, 0]].first, batch.first[[2, 0]])
    assert len(batch[np.array([True, False, True])]) == 2
    assert batch[:2].second is None and batch[:].second is batch.second
    with pytest.raises(DataError, match="3 utterances"):
        batch[7]


def test_arrays_and_back():
    centre = np.ones((C, D))
    batch = one(30, 1, centre) + one(40, 2, centre)
    arrays = list(batch.to_arrays())
    assert arrays[0].shape == (C, 1 + D)
    back = BaumWelchStatistics.from_arrays(arrays, batch.second, centre)
    np.testing.assert_array_equal(back.first, batch.first)
    np.testing.assert_array_equal(back.zeroth, batch.zeroth)
    with pytest.raises(DataError, match="array 1 has shape"):
        BaumWelchStatistics.from_arrays([arrays[0], arrays[1][:2]])
    with pytest.raises(DataError, match="empty"):
        BaumWelchStatistics.from_arrays([])


def test_mixtures_of_statistics_are_refused():
    a = one(10)
    with pytest.raises(DataError, match="different UBMs"):
        a + BaumWelchStatistics(np.ones((1, 2)), np.ones((1, 2, D)))
    with pytest.raises(DataError, match="centred differently"):
        a + one(10, centre=np.ones((C, D)))
    with pytest.raises(DataError, match="`second_order`=True"):
        a + BaumWelchStatistics(a.zeroth, a.first)
    with pytest.raises(DataError, match="list is empty"):
        BaumWelchStatistics.concatenate([])
    with pytest.raises(TypeError):
        a + 1


def test_bad_values_name_the_utterance():
    zeroth, first = np.ones((3, C)), np.ones((3, C, D))
    first[1, 2, 0] = np.nan
    with pytest.raises(DataError, match=r"utterance 1 contain NaN"):
        BaumWelchStatistics(zeroth, first)
    first[1, 2, 0] = 1
    zeroth[2, 1] = -1
    with pytest.raises(DataError, match="utterance 2 have a negative"):
        BaumWelchStatistics(zeroth, first)
    zeroth[2, 1] = 1
    second = np.zeros((C, D, D))
    second[3, 0, 0] = np.inf
    with pytest.raises(DataError, match="component 3"):
        BaumWelchStatistics(zeroth, first, second)


@pytest.mark.parametrize(
    "zeroth, first, second, centre",
    [
        ((3, C), (2, C, D), None, None),
        ((3, C), (3, C), None, None),
        ((3,), (3, C, D), None, None),
        ((3, C), (3, C, D), (C, D), None),
        ((3, C), (3, C, D), None, (D, C)),
    ],
)
def test_contradicting_shapes_are_named(zeroth, first, second, centre):
    arrays = [None if s is None else np.ones(s) for s in (zeroth, first, second, centre)]
    with pytest.raises(DataError, match=r"shape|match"):
        BaumWelchStatistics(*arrays)


def test_bad_posteriors_are_named():
    indices, posts, X = frames(10)
    with pytest.raises(DataError, match="do not match"):
        accumulate(indices[:5], posts, X, C)
    with pytest.raises(DataError, match=f"model with {C - 2}"):
        accumulate(indices, posts, X, C - 2)
    with pytest.raises(DataError, match="expected"):
        accumulate(indices, posts, X[0], C)
    with pytest.raises(DataError, match="centre has shape"):
        accumulate(indices, posts, X, C, centre=np.zeros((C, 1)))
    with pytest.raises(DataError, match="frame 3 are negative"):
        accumulate_second(indices, np.where(np.arange(10)[:, None] == 3, -1, posts), X, C)
    X[4, 1] = np.nan
    with pytest.raises(DataError, match="features of frame 4"):
        accumulate(indices, posts, X, C)


def test_baum_welch_is_centred_and_scaled():
    indices, posts, X = frames(50)
    means = np.random.default_rng(3).normal(size=(C, D))
    ubm = SimpleNamespace(means_=means, posteriors=lambda X, **options: (indices, posts))
    stats = baum_welch(ubm, X, posterior_scale=0.5, max_count=10, second_order=True)
    expected = one(50).about(means)
    scale = 10 / expected.n_frames
    np.testing.assert_allclose(stats.zeroth, scale * expected.zeroth, 1e-6)
    np.testing.assert_allclose(stats.first, scale * expected.first, 1e-5, atol=1e-6)
    np.testing.assert_allclose(stats.second, scale * expected.second, 1e-6)
    assert stats.first.dtype == np.float32 and "centred" in repr(stats)


def real_ubm(rng) -> FullGMM:
    root = rng.normal(size=(C, D, D)) + 2 * np.eye(D)
    return FullGMM(C).set_parameters(
        np.full(C, 1 / C), rng.normal(size=(C, D)), root @ root.transpose(0, 2, 1)
    )


def test_an_utterance_without_frames_has_zero_statistics():
    ubm = SimpleNamespace(means_=np.zeros((C, D)))
    stats = baum_welch(ubm, np.empty((0, D)), second_order=True)
    assert stats.n_frames == 0 and not stats.first.any() and not stats.second.any()
    assert stats.n_components == C and stats.n_features == D


@pytest.mark.parametrize("block_frames", [1, 60, 20000])
def test_many_utterances_equal_one_at_a_time(monkeypatch, block_frames):
    monkeypatch.setattr("ivector.statistics.extraction._BLOCK_FRAMES", block_frames)
    rng = np.random.default_rng(0)
    ubm = real_ubm(rng)
    utterances = [rng.normal(size=(n, D)).astype(np.float32) for n in (50, 0, 20, 70)]
    options = {"max_count": 30, "second_order": True, "dtype": "float64", "num_gselect": 3}
    together = baum_welch(ubm, iter(utterances), **options)
    assert_same(
        together,
        BaumWelchStatistics.concatenate([baum_welch(ubm, one, **options) for one in utterances]),
        rtol=1e-5,
    )
    np.testing.assert_allclose(together.zeroth.sum(1), [30, 0, 20, 30], rtol=1e-6)


def test_what_is_no_trained_ubm_and_no_precision_is_said():
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="not a trained mixture but FullGMM"):
        baum_welch(FullGMM(2), rng.normal(size=(9, D)))
    with pytest.raises(UsageError, match="'float32' or 'float64'"):
        baum_welch(real_ubm(rng), rng.normal(size=(9, D)), dtype="int16")
    with pytest.raises(DataError, match="by utterances alone"):
        one(9)[0, 1]


def test_bad_features_name_the_utterance():
    ubm = real_ubm(np.random.default_rng(0))
    good, bad = np.ones((5, D)), np.full((5, D), np.inf)
    with pytest.raises(DataError, match="utterance 1: features contain NaN"):
        baum_welch(ubm, [good, bad])
    with pytest.raises(DataError, match="utterance 0: features have shape"):
        baum_welch(ubm, np.empty((0, D + 1)))
    with pytest.raises(DataError, match="list is empty"):
        baum_welch(ubm, [])


@pytest.mark.golden
def test_statistics_from_the_ubm_itself(golden):
    """Features and Kaldi's UBM straight to statistics, against Kaldi's posteriors."""
    case = read_case(golden)
    ubm = read_full_gmm(golden / "ubm" / "final.ubm")
    stats = baum_welch(ubm, (X for _, _, X in case.values()), num_gselect=8, min_post=0.025)
    counts = np.stack(list(read_vectors(golden / "ie" / "bw_gamma.txt").values()))
    np.testing.assert_allclose(stats.zeroth, counts, atol=2e-3)
    sums = np.stack(list(read_matrices(golden / "ie" / "bw_X.txt").values()))
    raw = stats.about(None).first
    assert np.abs(raw - sums).max() < 1e-4 * np.abs(sums).max()


@pytest.mark.golden
def test_kaldi_statistics(golden):
    folder = golden / "ie"
    case = read_case(golden)
    counts = read_vectors(folder / "bw_gamma.txt")
    sums, scatters = read_matrices(folder / "bw_X.txt"), read_triangles(folder / "bw_S_gauss0.txt")
    for key, (indices, posts, X) in case.items():
        stats = utterance_statistics(indices, posts, X)
        np.testing.assert_allclose(stats.zeroth[0], counts[key], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(stats.first[0], sums[key], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(stats.second[0], scatters[key], rtol=1e-5, atol=1e-3)
