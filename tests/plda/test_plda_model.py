"""PLDA: recovers a model it is drawn from, the objective rises, Kaldi's numbers."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from ivector.base.errors import DataError, DegenerateDataWarning, ObjectiveWarning, UsageError
from ivector.base.kaldi import read_vectors
from plda import PLDA, mean_per_class, read_plda


def random_covariance(rng, n_dims, scale=1.0):
    factor = rng.normal(size=(n_dims, 2 * n_dims))
    return scale * factor @ factor.T / (2 * n_dims)


def sample(rng, within, between, counts, mean=0.0):
    """Draw vectors of a two-covariance model, counts[k] for class k."""
    y = np.repeat(np.arange(len(counts)), counts)
    zero = np.zeros(len(within))
    X = rng.multivariate_normal(zero, between, len(counts))[y]
    return X + rng.multivariate_normal(zero, within, len(y)) + mean, y


def kaldi_em(X, y, n_iter):
    """Kaldi's loops over classes, with an inverse for each; the readable reference."""
    labels = np.unique(y)
    counts = np.array([np.sum(y == c) for c in labels])
    means = np.stack([X[y == c].mean(axis=0) for c in labels])
    scatter = sum((X[y == c] - m).T @ (X[y == c] - m) for c, m in zip(labels, means))
    within = between = np.eye(X.shape[1])
    for _ in range(n_iter):
        between_stats, within_stats = np.zeros_like(scatter), scatter.copy()
        for n, m in zip(counts, means - means.mean(axis=0)):
            mixed = np.linalg.inv(np.linalg.inv(between) + n * np.linalg.inv(within))
            w = mixed @ (n * np.linalg.inv(within) @ m)
            between_stats += mixed + np.outer(w, w)
            within_stats += n * (mixed + np.outer(m - w, m - w))
        within, between = within_stats / counts.sum(), between_stats / len(labels)
    return means.mean(axis=0), within, between


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    within, between = random_covariance(rng, 5, 0.5), random_covariance(rng, 5, 2.0)
    X, y = sample(rng, within, between, rng.integers(2, 15, size=3000), mean=3.0)
    return within, between, X, y


def test_refit_recovers_the_model(truth):
    within, between, X, y = truth
    model = PLDA(n_iter=30).fit(X, y)
    np.testing.assert_allclose(model.mean_, 3.0, atol=0.1)
    np.testing.assert_allclose(model.within_covariance_, within, atol=0.02)
    np.testing.assert_allclose(model.between_covariance_, between, atol=0.15)


def test_equals_the_loop_over_classes(truth):
    _, _, X, y = truth
    X, y = X[:300], y[:300]
    mean, within, between = kaldi_em(X, y, n_iter=4)
    model = PLDA(n_iter=4).fit(X, y)
    np.testing.assert_allclose(model.mean_, mean, atol=1e-12)
    np.testing.assert_allclose(model.within_covariance_, within, atol=1e-10)
    np.testing.assert_allclose(model.between_covariance_, between, atol=1e-10)


def test_transform_diagonalises_both_covariances(truth):
    within, between, _, _ = truth
    model = PLDA.from_covariances(np.zeros(5), within, between)
    T = model.transform_
    np.testing.assert_allclose(T @ within @ T.T, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(T @ between @ T.T, np.diag(model.psi_), atol=1e-10)
    assert (np.diff(model.psi_) <= 0).all()
    np.testing.assert_allclose(model.between_covariance_, between, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 30), st.sampled_from([0.1, 1, 10]))
def test_objective_rises_on_any_data(seed, n_dims, n_classes, scale):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, size=n_classes)
    X, y = sample(rng, scale * np.eye(n_dims), random_covariance(rng, n_dims), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DegenerateDataWarning)
        model = PLDA(n_iter=15).fit(X, y)
    assert len(model.objective_) == 15
    assert np.isfinite(model.transform_).all()


def test_the_objective_is_the_likelihood_short_of_a_constant(truth):
    _, _, X, y = truth
    X, y = X[:60], y[:60]
    model = PLDA(n_iter=3).fit(X, y)
    assert model.objective(X, y) == pytest.approx(model.objective_[-1])
    total, log_counts = 0.0, 0.0
    for label in np.unique(y):
        vectors = X[y == label]
        n = len(vectors)
        covariance = np.kron(np.ones((n, n)), model.between_covariance_)
        covariance += np.kron(np.eye(n), model.within_covariance_)
        total += multivariate_normal.logpdf(vectors.ravel(), np.tile(model.mean_, n), covariance)
        log_counts += np.log(n)
    assert model.objective(X, y) * len(X) == pytest.approx(total + 2.5 * log_counts, rel=1e-9)


def test_same_data_in_any_order_of_classes(truth):
    _, _, X, y = truth
    X, y = X[:200], y[:200]
    model = PLDA(n_iter=3).fit(X, y)
    again = PLDA(n_iter=3).fit(X, y)
    renamed = PLDA(n_iter=3).fit(X, np.array([f"speaker {c:03}" for c in y]))
    for other in (again, renamed):
        assert model.transform_.tobytes() == other.transform_.tobytes()
    order = np.random.default_rng(1).permutation(200)
    shuffled = PLDA(n_iter=3).fit(X[order], y[order])
    np.testing.assert_allclose(shuffled.transform_, model.transform_, atol=1e-9)


def test_floor_leaves_data_of_full_rank_alone(truth):
    _, _, X, y = truth
    floored, free = PLDA(n_iter=3).fit(X, y), PLDA(n_iter=3, covariance_floor=0.0).fit(X, y)
    np.testing.assert_array_equal(floored.transform_, free.transform_)


def test_objective_rises_under_the_floor():
    rng = np.random.default_rng(3)
    X, y = sample(rng, np.eye(4), np.eye(4), [10] * 20)
    X[:, 3] = X[:, 2]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PLDA(n_iter=40).fit(X, y)
    assert [w.category for w in caught] == [DegenerateDataWarning]
    assert "rank 3 of 4" in str(caught[0].message)
    assert (np.diff(model.objective_) > -1e-9).all()
    assert np.isfinite(model.score_matrix(X, X)).all()


def test_a_fall_of_the_objective_is_warned_of(truth, monkeypatch):
    values = iter([-3.0, -2.0, -2.5])
    monkeypatch.setattr("plda.models.plda.objective", lambda *_: next(values))
    with pytest.warns(ObjectiveWarning, match="from -2 to -2.5 in iteration 2"):
        PLDA(n_iter=3).fit(*truth[2:])


def test_length_norm_of_means(truth):
    within, between, X, _ = truth
    model = PLDA.from_covariances(np.zeros(5), within, between)
    counts = np.arange(1, 11)
    latent = model.transform(X[:10], counts)
    squares = (latent**2 / (model.psi_ + 1 / counts[:, None])).sum(axis=1)
    np.testing.assert_allclose(squares, 5)
    simple = model.transform(X[:10], simple_length_norm=True)
    np.testing.assert_allclose(np.linalg.norm(simple, axis=1), np.sqrt(5))
    raw = model.transform(X[:10], normalize_length=False)
    np.testing.assert_allclose(raw, X[:10] @ model.transform_.T)
    assert not model.transform(model.mean_[None]).any()


def test_smoothing_adds_between_to_within(truth):
    within, between, _, _ = truth
    model = PLDA.from_covariances(np.zeros(5), within, between)
    smooth = model.smooth(0.3)
    np.testing.assert_allclose(smooth.within_covariance_, within + 0.3 * between, atol=1e-10)
    np.testing.assert_allclose(smooth.between_covariance_, between, atol=1e-10)
    with pytest.raises(UsageError):
        model.smooth(1.5)


def test_projected_model_has_projected_covariances(truth):
    within, between, _, _ = truth
    P = np.random.default_rng(2).normal(size=(2, 5))
    model = PLDA.from_covariances(np.ones(5), within, between).project(P)
    np.testing.assert_allclose(model.mean_, P.sum(axis=1))
    np.testing.assert_allclose(model.within_covariance_, P @ within @ P.T, atol=1e-10)
    with pytest.raises(DataError, match="rank 1 of 2"):
        PLDA.from_covariances(np.ones(5), within, between).project(np.vstack([P[0], P[0]]))


def test_models_that_cannot_be_are_refused():
    eye = np.eye(3)
    for mean, transform, psi in (
        (np.zeros(2), eye, np.ones(3)),
        (np.zeros(3), eye, np.ones(2)),
        (np.zeros(3), eye, [1, -1, 1]),
        (np.zeros(3), eye, [1, np.nan, 1]),
        (np.zeros(3), np.ones((3, 3)), np.ones(3)),
        (np.full(3, np.inf), eye, np.ones(3)),
    ):
        with pytest.raises(DataError, match="PLDA"):
            PLDA.from_diagonal(mean, transform, psi)
    with pytest.raises(DataError, match="rank 2 of 3"):
        PLDA.from_covariances(np.zeros(3), np.diag([1.0, 1, 0]), eye)
    with pytest.raises(DataError, match="like the mean"):
        PLDA.from_covariances(np.zeros(3), np.eye(2), np.eye(2))


def test_means_per_class():
    X = np.arange(8, dtype=np.float32).reshape(4, 2)
    classes, means, counts = mean_per_class(X, ["b", "a", "b", "b"])
    assert classes.tolist() == ["a", "b"] and counts.tolist() == [1, 3]
    np.testing.assert_allclose(means, [[2, 3], X[[0, 2, 3]].mean(axis=0)])
    assert means.dtype == np.float32


@pytest.mark.golden
@pytest.mark.parametrize(("name", "n_iter"), [("plda", 10), ("plda_1iter.txt", 1)])
def test_training_as_kaldi(golden, name, n_iter):
    table = read_vectors(golden / "plda/iv_centered_ln.txt")
    X, y = np.stack(list(table.values())), [key[:3] for key in table]
    kaldi, ours = read_plda(golden / "plda" / name), PLDA(n_iter).fit(X, y)
    for attribute in ("mean_", "within_covariance_", "between_covariance_", "psi_"):
        np.testing.assert_allclose(
            getattr(ours, attribute), getattr(kaldi, attribute), atol=2e-6, err_msg=attribute
        )
    assert ours.objective_[-1] == pytest.approx(kaldi.objective(X, y), rel=1e-6)


@pytest.mark.golden
def test_smoothing_as_kaldi(golden):
    ours = read_plda(golden / "plda/plda").smooth(0.1)
    kaldi = read_plda(golden / "plda/plda_smoothing0.1")
    np.testing.assert_allclose(ours.transform_, kaldi.transform_, atol=1e-7)
    np.testing.assert_allclose(ours.psi_, kaldi.psi_, atol=1e-6)
