"""Both mixtures on input that is not well, or only unusual."""

import warnings

import numpy as np
import pytest
from gmm_cases import Block, all_starts, both, truth
from sklearn.base import clone

from ivector import DiagonalGMM, FullGMM
from ivector.base.errors import (
    DataError,
    DegenerateDataWarning,
    ObjectiveWarning,
    UsageError,
)
from ivector.gmm import engine


@pytest.fixture(scope="module")
def small():
    return np.random.default_rng(0).standard_normal((600, 3)) @ np.diag([1, 2, 3.0]) + 5


@both
@pytest.mark.parametrize(
    "X, what",
    [
        (np.zeros(5), "n_frames, n_features. must be a matrix"),
        (np.zeros((5, 4)), "has 4 features, but .* is expecting 3"),
        (np.full((5, 3), np.nan), "NaN or infinity, first in frame 0"),
        (np.diag([1, 1, np.inf]), "NaN or infinity, first in frame 2"),
        (np.full((2, 3), 1e300), "too large"),
        (np.zeros((5, 3), complex), "real numbers"),
        (np.array([["a"] * 3] * 5), "real numbers"),
    ],
)
def test_unusable_frames_are_named(kind, X, what):
    model = truth(kind)
    for use in (model.accumulate, model.score_samples, model.posteriors, model.gselect):
        with pytest.raises(DataError, match=what):
            use(X)
    if "expecting" not in what and "large" not in what:
        with pytest.raises(DataError):
            kind(2).fit(X)


@both
def test_any_array_of_numbers_is_taken(kind):
    model = truth(kind)
    X = np.round(model.sample(200)[0]).astype(np.float32)
    read_only = np.asfortranarray(X)
    read_only.flags.writeable = False
    swapped, strided = X.astype(X.dtype.newbyteorder()), np.repeat(X, 2, axis=0)[::2]
    expected = model.accumulate(X).second
    for same in (read_only, swapped, strided, X.astype(int), X.astype(np.longdouble), X.tolist()):
        np.testing.assert_allclose(model.accumulate(same).second, expected, rtol=1e-5)


@both
@pytest.mark.parametrize("C, D", [(1, 1), (1, 20), (2, 1)])
def test_the_smallest_models(kind, C, D):
    X = np.random.default_rng(0).standard_normal((400, D)) + 3 * np.arange(400)[:, None] % 2
    model = kind(C, min_occupancy=5, random_state=0).fit(X)
    np.testing.assert_allclose(model.weights_ @ model.means_, X.mean(axis=0), atol=1e-4)
    if C == 1:
        covariance = np.cov(X.T, bias=True) if kind is FullGMM else X.var(axis=0)
        np.testing.assert_allclose(np.squeeze(model.covariances_), covariance, rtol=1e-4, atol=1e-4)
    indices, posts = model.posteriors(X, num_gselect=5)
    assert indices.shape == (400, C) and np.allclose(posts.sum(axis=1), 1)


@both
@pytest.mark.parametrize("size", [1e5, 1e10, 1e14, 1e16, 1e18])
@pytest.mark.parametrize("wide", [False, True])
def test_frames_out_of_all_range_select_components_or_are_refused(kind, size, wide, monkeypatch):
    """Never padding, and never what lay in memory before."""
    monkeypatch.setattr(engine, "WIDE", wide)
    rng = np.random.default_rng(0)
    means = rng.standard_normal((40, 3))
    model = DiagonalGMM(40).set_parameters(np.full(40, 1 / 40), means, np.full((40, 3), 0.5))
    if kind is FullGMM:
        model = FullGMM.from_diagonal(model)
    X = size * rng.standard_normal((50, 3))
    if size > 1e6:
        with pytest.raises(DataError, match="frame 0 of the block"):
            model.accumulate(X)
        return
    statistics = model.accumulate(X)
    np.testing.assert_allclose(statistics.zeroth.sum(), 50, rtol=1e-5)
    assert model.gselect(X, 39).max() < 40


@both
def test_unusable_training_data_are_named(kind):
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="loaders is empty"):
        kind(2).fit([])
    with pytest.raises(DataError, match="list of loaders, got Block"):
        kind(2).fit(Block(np.ones((50, 3))))
    with pytest.raises(DataError, match="no frames"):
        kind(2).fit([Block(np.empty((0, 3)))])
    with pytest.raises(DataError, match="distinct frames, got 1 in 50"):
        kind(2).fit(np.ones((50, 3)))
    with pytest.raises(DataError, match="3 and 4 features"):
        kind(2).fit([Block(rng.random((30, 3))), Block(rng.random((30, 4)))])
    with pytest.raises(DataError, match=r"0 feature\(s\)"):
        kind(2).fit(np.empty((30, 0)))
    with pytest.warns(DegenerateDataWarning), pytest.raises(DataError, match="min_occupancy"):
        kind(20, min_occupancy=1000).fit(rng.random((100, 3)))


@both
@all_starts
def test_constant_and_duplicate_features_train_with_a_warning(kind, init):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 1))
    X = np.hstack([x, rng.standard_normal((3000, 1)), x, np.full((3000, 1), 7.0)])
    with pytest.warns(DegenerateDataWarning) as warned:
        model = kind(3, init=init, n_iter=3, random_state=0).fit(X)
    texts = [str(warning.message) for warning in warned]
    assert any("constant, first number 3" in text for text in texts)
    assert kind is DiagonalGMM or any("rank 2 of 4" in text for text in texts)
    assert np.isfinite(model.score(X))
    assert np.isfinite(model.covariances_).all()


@both
def test_starved_components_are_removed_or_kept_and_said(kind):
    model = truth(kind)
    statistics = model.accumulate(model.sample(4000)[0])
    statistics.zeroth[1] = 1.0
    with pytest.warns(DegenerateDataWarning, match="1 of 4 components .* removed"):
        removed = clone(model).set_parameters(*model.parameters()).update(statistics)
    assert len(removed.weights_) == 3 and removed.weights_.sum() == pytest.approx(1)
    with pytest.warns(DegenerateDataWarning, match="left as they were"):
        kept = clone(model).set_params(remove_starved=False)
        kept.set_parameters(*model.parameters()).update(statistics)
    assert (kept.means_[1] == model.means_[1]).all()
    assert kept.weights_.sum() == pytest.approx(1)


@both
def test_a_falling_objective_is_said(kind):
    model = truth(kind)
    model.log_likelihood_ = [-10.0]
    with pytest.warns(ObjectiveWarning, match=r"fell from -10\.00000 to -11"):
        model._note_objective(-11.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model._note_objective(-11.00001)


@both
@pytest.mark.parametrize(
    "options",
    [
        {"n_components": 0}, {"n_iter": -1}, {"n_jobs": 0}, {"tol": -1.0}, {"min_weight": 1.0},
        {"variance_floor": -1e-3}, {"min_occupancy": float("nan")}, {"init": "best"},
        {"init": 3},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(kind, options, small):
    with pytest.raises(UsageError, match=next(iter(options))):
        kind(**{"n_components": 2, **options}).fit(small)


@both
def test_calls_before_fit_and_bad_arguments_are_refused(kind, small):
    with pytest.raises(UsageError, match="no parameters yet"):
        kind(2).score(small)
    model = truth(kind)
    for use in (model.score, model.score_samples, model.log_prob, model.predict_proba):
        with pytest.raises(DataError, match="must be"):
            use(None)
    with pytest.raises(DataError, match="at least one a frame"):
        model.accumulate(small, np.empty((len(small), 0), int))
    with pytest.raises(DataError, match="occur twice"):
        model.accumulate(small, np.zeros((len(small), 2), int))
    with pytest.raises(UsageError, match="num_gselect"):
        model.posteriors(small, num_gselect=0)
    with pytest.raises(UsageError, match="min_post"):
        model.posteriors(small, min_post=1.0)
    weights, means, covariances = model.parameters()
    for bad, what in [
        ((weights[1:], means, covariances), "shapes"),
        ((weights, means * np.nan, covariances), "NaN"),
        ((-weights, means, covariances), "negative weight"),
        ((weights, means, -covariances), "variance that is not positive"),
    ]:
        with pytest.raises(DataError, match=what):
            kind(4).set_parameters(*bad)
