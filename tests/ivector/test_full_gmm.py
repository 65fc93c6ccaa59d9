"""What is particular to the full-covariance mixture; the rest is in test_gmm.py."""

import warnings

import numpy as np
import pytest

from ivector import DiagonalGMM, FullGMM
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.gmm import engine
from ivector.gmm.full import limit_eigenvalues


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    factors = np.eye(4) + 0.3 * rng.standard_normal((30, 4, 4))
    full = FullGMM(30, num_gselect=6, random_state=0)
    return full.set_parameters(
        rng.dirichlet(np.full(30, 9.0)),
        2 * rng.standard_normal((30, 4)),
        factors @ factors.transpose(0, 2, 1),
    )


def test_diagonal_and_back(model):
    diagonal = model.to_diagonal()
    assert (diagonal.covariances_ == np.einsum("cdd->cd", model.covariances_)).all()
    assert model.to_diagonal() is diagonal, "kept"
    full = FullGMM.from_diagonal(diagonal, num_gselect=30)
    X, _ = model.sample(200)
    np.testing.assert_allclose(full.score_samples(X), diagonal.score_samples(X), rtol=1e-5)
    assert full.num_gselect == 30 and full.n_components == 30
    statistics, expected = full.accumulate(X), diagonal.accumulate(X)
    np.testing.assert_allclose(statistics.zeroth, expected.zeroth, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        np.einsum("cdd->cd", statistics.second), expected.second, rtol=1e-3, atol=1e-3
    )


def test_statistics_are_over_the_selected_components(model):
    X, _ = model.sample(700)
    selected = model.gselect(X, 6)
    own, given = model.accumulate(X), model.accumulate(X, selected)
    assert (own.second == given.second).all() and (own.zeroth == given.zeroth).all()
    indices, posts = model.posteriors(X, 6, 0.0)
    dense = np.zeros((700, 30))
    np.put_along_axis(dense, indices.astype(int), posts, axis=1)
    np.testing.assert_allclose(own.zeroth, dense.sum(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(own.first, dense.T @ X, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        own.second, np.einsum("nc,nd,ne->cde", dense, X, X), rtol=1e-3, atol=1e-3
    )
    assert (own.second == own.second.transpose(0, 2, 1)).all()


@pytest.mark.parametrize("per_component, flush", [(1, 1), (10**6, 10**6)])
def test_block_sizes_change_nothing(model, monkeypatch, per_component, flush):
    X, _ = model.sample(3000)
    expected, posts = model.accumulate(X), model.posteriors(X, 6, 0.0)
    monkeypatch.setattr(engine, "PAIRS_PER_COMPONENT", per_component)
    monkeypatch.setattr(engine, "FLUSH_FRAMES_FULL", flush)
    found = model.accumulate(X)
    np.testing.assert_allclose(found.second, expected.second, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-7)
    np.testing.assert_allclose(model.posteriors(X, 6, 0.0)[1], posts[1], atol=1e-5)


def test_training_selects_with_the_mixture_it_started_from(model):
    X, _ = model.sample(6000)
    start = DiagonalGMM(12, random_state=0, n_iter=3).fit(X)
    full = FullGMM(init=start, num_gselect=4, n_iter=3, tol=0).fit(X)
    by_hand = FullGMM.from_diagonal(start, num_gselect=4)
    selected = start.gselect(X, 4)
    for _ in range(3):
        by_hand.update(by_hand.accumulate(X, selected))
    np.testing.assert_allclose(full.means_, by_hand.means_, atol=1e-5)
    np.testing.assert_allclose(full.covariances_, by_hand.covariances_, atol=1e-4)


def test_removal_keeps_selection_in_step(model):
    X, _ = model.sample(4000)
    start = DiagonalGMM(12, random_state=0, n_iter=3).fit(X)
    with pytest.warns(DegenerateDataWarning, match="removed"):
        full = FullGMM(init=start, num_gselect=4, n_iter=4, tol=0, min_occupancy=250).fit(X)
    assert 1 <= len(full.weights_) < 12 and full.weights_.sum() == pytest.approx(1)
    assert len(full.log_likelihood_) == 4 and np.isfinite(full.score(X))


def test_eigenvalues_are_limited():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((3, 4, 4)))
    values = np.array([[1e-9, 0.5, 1, 100], [0.5, 1, 2, 3], [-1e-3, 0, 1e-5, 1e-4]])
    before = (basis * values[:, None]) @ basis.transpose(0, 2, 1)
    before = 0.5 * (before + before.transpose(0, 2, 1))
    after = limit_eigenvalues(before.copy(), 1e-6, 1e3)
    expected = np.maximum(values, np.maximum(1e-6, values[:, -1:] / 1e3))
    np.testing.assert_allclose(np.linalg.eigvalsh(after), expected, rtol=1e-6)
    assert (after[1] == before[1]).all(), "left as it was"
    assert (after == after.transpose(0, 2, 1)).all()


def test_few_frames_and_rank_are_named():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    with pytest.warns(DegenerateDataWarning) as warned:
        FullGMM(4, n_iter=1, random_state=0, min_occupancy=5).fit(np.hstack([X, X[:, :1]]))
    texts = " ".join(str(warning.message) for warning in warned)
    assert "rank 3 of 4" in texts and "want at least" not in texts
    with pytest.warns(DegenerateDataWarning, match="few for 20 full covariances"):
        FullGMM(20, n_iter=1, random_state=0, min_occupancy=5).fit(X)


def test_options_of_its_own_are_checked():
    X = np.random.default_rng(0).standard_normal((100, 2))
    for options in ({"num_gselect": 0}, {"max_condition": 1.0}):
        with pytest.raises(UsageError, match="num_gselect must be at least 1 and max_condition"):
            FullGMM(2, **options).fit(X)
    with pytest.raises(UsageError, match="one number"):
        FullGMM(2, variance_floor=[0.1, 0.2]).fit(X)


def test_a_covariance_that_is_none_is_named(model):
    covariances = model.covariances_.copy()
    covariances[7] = np.full((4, 4), 1.0)
    covariances[7, 0, 1] = covariances[7, 1, 0] = 2.0
    broken = FullGMM(30).set_parameters(model.weights_, model.means_, covariances)
    with pytest.raises(DataError, match="component 7 is not positive definite"):
        broken.score(np.zeros((1, 4)))


def test_selection_of_unused_components_leaves_them_out(model):
    weights = model.weights_.copy()
    weights[3] = 0
    without = model.with_parameters(weights, model.means_, model.covariances_)
    X, _ = model.sample(400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (without.predict_proba(X)[:, 3] == 0).all()
        assert not (without.gselect(X, 29) == 3).any()
