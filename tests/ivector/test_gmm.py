"""Both mixtures, every start: one set of behaviours."""

import pickle
import warnings
from copy import deepcopy

import numpy as np
import pytest
from gmm_cases import STARTS, Block, all_starts, both, dense, truth
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

from ivector import DiagonalGMM, FullGMM
from ivector.base.errors import (
    DataError,
    DegenerateDataWarning,
)
from ivector.gmm import engine
from ivector.gmm.init import hash_frames, kmeans, nearest, summarise
from ivector.gmm.statistics import GMMStatistics, as_shards


@pytest.fixture(params=[False, True], ids=["blas", "wide"])
def wide(request, monkeypatch):
    """Both ways of taking the products, whatever this processor would choose."""
    monkeypatch.setattr(engine, "WIDE", request.param)


@pytest.fixture(scope="module")
def small():
    return np.random.default_rng(0).standard_normal((600, 3)) @ np.diag([1, 2, 3.0]) + 5


# ---- behaviours ----------------------------------------------------------------------------


@both
@all_starts
def test_refit_of_a_sample_finds_the_model(kind, init):
    model = truth(kind, spread=6, seed=6)  # EM finds the global optimum from every start.
    X, labels = model.sample(20_000)
    assert set(labels) == set(range(4))
    fitted = clone(model).set_params(init=init, n_iter=60, random_state=0, tol=1e-5).fit(X)
    assert fitted.score(X) >= model.score(X)
    place = np.abs(fitted.means_[:, None, 0] - model.means_[:, 0]).argmin(axis=0)
    covariances = model.covariances_
    if kind is FullGMM:
        deviations = np.sqrt(np.einsum("cdd->cd", covariances))
        scale = deviations[:, :, None] * deviations[:, None]
    else:
        deviations, scale = np.sqrt(covariances), covariances
    assert (np.abs(fitted.means_[place] - model.means_) < 0.1 * deviations).all()
    np.testing.assert_allclose(fitted.weights_[place], model.weights_, atol=0.02)
    assert (np.abs(fitted.covariances_[place] - covariances) < 0.15 * scale).all()


@both
@all_starts
def test_likelihood_rises_and_training_converges(kind, init):
    start = truth(kind, 3)
    X, _ = start.sample(4000)
    start.set_params(n_components=6, n_iter=60, init=init, tol=1e-3, min_occupancy=10)
    model = clone(start).fit(X)
    history = np.array(model.log_likelihood_)
    assert (np.diff(history) > -1e-4).all()
    assert model.converged_ and model.n_iter_ == len(history) < 60
    assert model.score(X) >= history[-1] - 1e-3


@both
def test_likelihoods_and_posteriors_equal_the_formula(kind):
    model = truth(kind)
    X, _ = model.sample(500)
    expected = dense(model)(X)
    np.testing.assert_allclose(model.log_prob(X), expected, atol=2e-4)
    np.testing.assert_allclose(
        model.score_samples(X), np.logaddexp.reduce(expected, axis=1), atol=2e-4
    )
    posts = np.exp(expected - np.logaddexp.reduce(expected, axis=1)[:, None])
    np.testing.assert_allclose(model.predict_proba(X), posts, atol=2e-4)
    assert (model.predict(X) == posts.argmax(axis=1)).all()
    assert model.log_prob(X).dtype == model.predict_proba(X).dtype == np.float32
    np.testing.assert_allclose(model.score(X), model.score_samples(X).mean())


@both
def test_statistics_equal_the_definition(kind):
    model = truth(kind)
    X, _ = model.sample(1500)
    statistics = model.accumulate(X)
    logs = dense(model)(X)
    posts = np.exp(logs - np.logaddexp.reduce(logs, axis=1)[:, None])
    np.testing.assert_allclose(statistics.zeroth, posts.sum(axis=0), rtol=1e-4)
    np.testing.assert_allclose(statistics.first, posts.T @ X, rtol=1e-4)
    second = posts.T @ X**2 if kind is DiagonalGMM else np.einsum("nc,nd,ne->cde", posts, X, X)
    np.testing.assert_allclose(statistics.second, second, rtol=1e-4)
    assert statistics.n_frames == 1500
    np.testing.assert_allclose(
        statistics.log_likelihood, np.logaddexp.reduce(logs, axis=1).sum(), rtol=1e-5
    )


@both
def test_statistics_of_parts_add(kind):
    model = truth(kind)
    X, _ = model.sample(1000)
    whole, parts = model.accumulate(X), [model.accumulate(part) for part in np.split(X, 5)]
    total = sum(parts)
    for name in ("zeroth", "first", "second", "log_likelihood", "n_frames"):
        np.testing.assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-5)
    assert parts[0].n_frames == 200, "adding leaves its terms alone"
    other = GMMStatistics(np.ones(2), np.ones((2, 3)), np.ones((2, 3)), 0.0, 1)
    with pytest.raises(DataError, match="do not add"):
        whole + other


@both
def test_any_number_of_jobs_gives_the_same_bytes(kind, small):
    loaders = [Block(part) for part in np.array_split(small, 3)]
    options = {"n_iter": 3, "random_state": 3, "min_occupancy": 5, "tol": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        one = kind(4, **options, n_jobs=1).fit(loaders)
        two = kind(4, **options, n_jobs=2).fit(loaders)
        again = kind(4, **options, n_jobs=1).fit(loaders)
    for name in ("weights_", "means_", "covariances_", "log_likelihood_"):
        expected = np.asarray(getattr(one, name)).tobytes()
        assert np.asarray(getattr(two, name)).tobytes() == expected
        assert np.asarray(getattr(again, name)).tobytes() == expected


@both
@all_starts
def test_loaders_and_array_agree(kind, init, small):
    options = {"n_iter": 3, "random_state": 3, "min_occupancy": 5, "init": init}
    loaders = [Block(part) for part in np.array_split(small, 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        whole = kind(3, **options).fit(small)
        parts = kind(3, **options).fit(loaders)
        listed = kind(3, **options).fit([loader() for loader in loaders])
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-4)
    np.testing.assert_allclose(parts.covariances_, whole.covariances_, rtol=1e-3, atol=1e-3)
    assert (listed.means_ == parts.means_).all()


@pytest.mark.parametrize("kind, name", [(DiagonalGMM, "diag"), (FullGMM, "full")])
def test_em_from_the_same_start_agrees_with_scikit_learn(kind, name):
    rng = np.random.default_rng(2)
    X = np.concatenate([rng.standard_normal((800, 3)) * s + m for s, m in [(1, 0), (2, 4)]])
    start = kind(2).set_parameters([0.5, 0.5], X[:2], np.ones((2, 3)))if kind is DiagonalGMM else (
        FullGMM.from_diagonal(DiagonalGMM(2).set_parameters([0.5, 0.5], X[:2], np.ones((2, 3))))
    )  # fmt: skip
    precisions = np.ones((2, 3)) if kind is DiagonalGMM else np.tile(np.eye(3), (2, 1, 1))
    peer = GaussianMixture(
        2, covariance_type=name, max_iter=5, tol=0, reg_covar=0, weights_init=[0.5, 0.5],
        means_init=X[:2], precisions_init=precisions,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.fit(X)
        ours = kind(2, n_iter=5, tol=0, init=start).fit(X)
    np.testing.assert_allclose(ours.weights_, peer.weights_, rtol=1e-4)
    np.testing.assert_allclose(ours.means_, peer.means_, atol=1e-3)
    np.testing.assert_allclose(ours.covariances_, peer.covariances_, atol=1e-3)
    np.testing.assert_allclose(ours.score(X), peer.score(X), rtol=1e-5)


@both
def test_gselect_and_posteriors(kind):
    model = truth(kind, 40, 5)
    X, _ = model.sample(300)
    selector = model if kind is DiagonalGMM else model.to_diagonal()
    order = np.argsort(-dense(selector)(X), axis=1, kind="stable")[:, :7]
    indices, posts = model.posteriors(X, num_gselect=7, min_post=0)
    assert (indices == order).all() and (model.gselect(X, 7) == order).all()
    assert indices.dtype == np.int32 and posts.dtype == np.float32
    logs = np.take_along_axis(dense(model)(X), order, axis=1)
    expected = np.exp(logs - np.logaddexp.reduce(logs, axis=1)[:, None])
    np.testing.assert_allclose(posts, expected, atol=5e-4)
    _, pruned = model.posteriors(X, num_gselect=7, min_post=0.3)
    np.testing.assert_allclose(pruned.sum(axis=1), 1, rtol=1e-6)
    assert ((pruned == 0) | (pruned >= 0.3)).all()
    assert (pruned[posts > 0.301] > 0).all()
    everything, _ = model.posteriors(X, num_gselect=99)
    assert everything.shape == (300, 40)


@both
def test_few_frames_and_none(kind):
    model = truth(kind)
    for n in (0, 1):
        X = np.zeros((n, 3)) + model.means_[0]
        assert model.log_prob(X).shape == model.predict_proba(X).shape == (n, 4)
        assert model.posteriors(X, 2)[0].shape == (n, 2)
        assert model.accumulate(X).zeroth.sum() == pytest.approx(n)
    with pytest.raises(DataError, match="no frames"):
        model.score(np.empty((0, 3)))
    with pytest.raises(DataError, match="no frames"):
        model.update(model.accumulate(np.empty((0, 3))))


@both
def test_selected_components_alone_get_posteriors(kind):
    model = truth(kind)
    X, _ = model.sample(50)
    statistics = model.accumulate(X, selected=np.full((50, 1), 2))
    np.testing.assert_allclose(statistics.zeroth, [0, 0, 50, 0], atol=1e-4)
    for bad, what in [
        (np.zeros((50, 2)), "integers"),
        (np.zeros((49, 2), int), "integers"),
        (np.full((50, 1), 4), "lie in"),
    ]:
        with pytest.raises(DataError, match=what):
            model.accumulate(X, selected=bad)


@both
def test_result_does_not_depend_on_blocks_or_precision(kind):
    model = truth(kind)
    X, _ = model.sample(3000)
    np.testing.assert_allclose(model.score_samples(X)[1100:1110], model.score_samples(X[1100:1110]))
    np.testing.assert_allclose(
        model.score_samples(X.astype(np.float32)), model.score_samples(X), atol=1e-2
    )
    assert (model.score_samples(np.asfortranarray(X)) == model.score_samples(X)).all()
    integers = np.rint(X).astype(np.int64)
    assert (model.score_samples(integers) == model.score_samples(integers.astype(float))).all()


@both
@pytest.mark.parametrize("n_components, dim", [(40, 5), (70, 16), (128, 1)])
def test_products_of_any_shape(kind, n_components, dim, wide):
    model = truth(kind, n_components, dim)
    X, _ = model.sample(700)
    expected = dense(model)(X)
    np.testing.assert_allclose(model.log_prob(X), expected, rtol=1e-4, atol=5e-3)
    posts = np.exp(expected - np.logaddexp.reduce(expected, axis=1)[:, None])
    statistics = model.set_params(**({"num_gselect": 99} if kind is FullGMM else {})).accumulate(X)
    np.testing.assert_allclose(statistics.zeroth, posts.sum(axis=0), rtol=3e-3, atol=1e-2)
    assert (model.posteriors(X, 99)[0].max(axis=0) < n_components).all()
    diagonal = model if kind is DiagonalGMM else model.to_diagonal()
    best = np.argsort(-dense(diagonal)(X), axis=1)[:, :2]
    assert (model.gselect(X, 2) == best).mean() > 0.999


@both
def test_parameters_are_replaced_not_changed(kind):
    model = truth(kind)
    X, _ = model.sample(10)
    before = model.score_samples(X)
    with pytest.raises(ValueError, match="read-only"):
        model.means_ += 1
    model.means_ = model.means_ + 1
    assert (model.score_samples(X) != before).all(), "what was derived is made anew"
    other = model.with_parameters(model.weights_, model.means_ - 1, model.covariances_)
    np.testing.assert_allclose(other.score_samples(X), before, atol=1e-3)
    assert other.get_params() == model.get_params()


@both
def test_start_may_be_a_model(kind, small):
    trained = DiagonalGMM(2, n_iter=2, random_state=0).fit(small)
    model = kind(99, init=trained, n_iter=0).fit(small)
    assert (model.means_ == trained.means_).all() and len(model.weights_) == 2
    untrained = DiagonalGMM(3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        model = kind(init=untrained, n_iter=1, min_occupancy=5).fit(small)
    assert model.means_.shape == (3, 3)
    assert not hasattr(untrained, "means_"), "an option is not changed by fit"
    assert clone(kind(init=trained)).init is trained and not hasattr(clone(model), "means_")


@both
@pytest.mark.parametrize("copy", [deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_what_is_derived_in_step(kind, copy, small):
    model = truth(kind)
    model.score(small)
    twin = copy(model)
    with pytest.raises(ValueError, match="read-only"):
        twin.means_[0] += 1
    assert twin.score(small) == model.score(small)


@pytest.mark.parametrize("init", STARTS)
def test_variances_may_be_floored_one_by_one(init, small):
    floor = [1.5, 0.0, 10.0]
    model = DiagonalGMM(3, init=init, variance_floor=floor, n_iter=3, random_state=0).fit(small)
    assert (model.covariances_ >= np.array(floor)).all()
    assert (model.covariances_[:, 0] > 1.5).any() or (model.covariances_[:, 0] == 1.5).all()
    assert (model.covariances_[:, 2] == 10).all()


def test_sample_does_not_depend_on_sharding(small):
    one = summarise(as_shards(small), 100, seed=5)
    many = summarise([Block(part) for part in np.array_split(small, 7)], 100, seed=5)
    assert (one.sample == many.sample).all() and len(one.sample) == 100
    np.testing.assert_allclose(many.mean, small.mean(axis=0))
    np.testing.assert_allclose(many.variance, small.var(axis=0))
    assert one.n_frames == many.n_frames == 600
    other = summarise(as_shards(small), 100, seed=6)
    assert not np.isin(one.sample[:, 0], other.sample[:, 0]).all()
    doubled = summarise(as_shards(np.vstack([small, small])), 10_000, seed=5)
    assert len(doubled.sample) == 600, "equal frames count once"


def test_hash_spreads(small):
    keys = hash_frames(small, 1)
    assert len(np.unique(keys)) == 600
    bits = (keys[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.1


def test_kmeans_finds_clusters_and_fills_empty_ones():
    rng = np.random.default_rng(0)
    middles = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    frames = (middles[rng.integers(3, size=900)] + rng.standard_normal((900, 2))).astype("f4")
    centres = kmeans(frames, 3, np.random.default_rng(1))
    assert sorted(nearest(middles, centres)) == [0, 1, 2]
    repeated = np.repeat(middles, 5, axis=0)
    assert np.isfinite(kmeans(repeated, 3, np.random.default_rng(0))).all()


def test_verbose_reports_progress(small, caplog):
    with caplog.at_level("INFO"):
        DiagonalGMM(2, n_iter=2, verbose=True, random_state=0, tol=0).fit([Block(small)] * 2)
    assert "EM 2/2" in caplog.text and "nats per frame" in caplog.text
