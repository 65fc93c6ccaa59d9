"""Mixtures as scikit-learn's users know them: its checks, GaussianMixture's numbers, searches."""

import pickle
import warnings

import numpy as np
import pytest
from estimator_checks import parametrize
from gmm_cases import Block, both, truth
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ivector import DiagonalGMM, FullGMM, GMMVerifier
from ivector.base.errors import DataError, UsageError

# The checks fit on 1 to 80 frames, of which no component sees the 10 that it needs by default.
CASES = [
    (DiagonalGMM(2, min_occupancy=0, random_state=0), {}),
    (FullGMM(2, min_occupancy=0, random_state=0), {}),
    (GMMVerifier(DiagonalGMM(1, min_occupancy=0, random_state=0)), {}),
]

pytestmark = pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")


@parametrize(CASES)
def test_scikit_learn(estimator, check):
    check(estimator)


@both
def test_numbers_are_those_of_gaussian_mixture(kind):
    model = truth(kind)
    X, _ = model.sample(500)
    full = kind is FullGMM
    theirs = GaussianMixture(len(model.weights_), covariance_type="full" if full else "diag")
    theirs.weights_, theirs.means_, theirs.covariances_ = model.parameters()
    precisions = np.linalg.inv(theirs.covariances_) if full else 1 / theirs.covariances_
    # Its factors U have U U' = Σ⁻¹.
    theirs.precisions_cholesky_ = np.linalg.cholesky(precisions) if full else np.sqrt(precisions)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(model.score_samples(X), theirs.score_samples(X), atol=1e-3)
    for criterion in ("score", "bic", "aic"):
        expected = getattr(theirs, criterion)(X)
        assert getattr(model, criterion)(X) == pytest.approx(expected, rel=1e-5)
    assert model.n_parameters() == theirs._n_parameters()


@both
def test_fit_predict_is_fit_and_predict(kind):
    X, _ = truth(kind).sample(2000)
    X = X.astype(np.float32)
    model = kind(3, random_state=0)
    labels = model.fit_predict(X)
    np.testing.assert_array_equal(labels, model.predict(X))
    blocks = [Block(X[:900]), Block(X[900:])]
    again = clone(model)
    np.testing.assert_array_equal(again.fit_predict(blocks), again.predict(X))
    assert again.n_features_in_ == model.n_features_in_ == X.shape[1]


@both
def test_a_criterion_finds_the_number_of_components(kind):
    X = StandardScaler().fit_transform(truth(kind, spread=6, seed=6).sample(4000)[0])
    found = {n: kind(n, random_state=0).fit(X).bic(X) for n in (2, 4, 8)}
    assert min(found, key=found.__getitem__) == 4
    search = GridSearchCV(kind(random_state=0), {"n_components": [1, 2, 4]}, cv=3).fit(X)
    assert search.best_params_ == {"n_components": 4}
    assert set(search.best_estimator_.predict(X)) == set(range(4))


@both
def test_columns_keep_their_names(kind):
    pandas = pytest.importorskip("pandas")
    X, _ = truth(kind).sample(400)
    table = pandas.DataFrame(X, columns=["c1", "c2", "c3"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = kind(2, random_state=0).fit(table)
    assert model.feature_names_in_.tolist() == ["c1", "c2", "c3"]
    np.testing.assert_array_equal(model.fit_predict(table), model.predict(table))
    with pytest.raises(ValueError, match="feature names should match"):
        model.score(table.rename(columns={"c1": "energy"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.score(X)
    assert not hasattr(model.fit([Block(X)]), "feature_names_in_")


@both
def test_what_is_not_fitted_says_so_in_both_languages(kind):
    for error in (NotFittedError, UsageError, AttributeError):
        with pytest.raises(error, match="no parameters yet"):
            kind(2).predict(np.zeros((3, 2)))
    assert not hasattr(kind(2), "n_features")
    with pytest.raises(TypeError, match="must be real numbers"):
        truth(kind).score(np.array([[{}] * 3]))


def test_a_mixture_within_another_is_searched_without_touching_the_given_one():
    X, _ = truth(DiagonalGMM).sample(3000)
    start = DiagonalGMM(2, n_iter=2, random_state=0)
    full = FullGMM(init=start, min_occupancy=10, random_state=0)
    search = GridSearchCV(full, {"init__n_components": [1, 3]}, cv=2).fit(X)
    assert len(search.best_estimator_.weights_) == 3
    assert start.n_components == 2 and not hasattr(start, "means_")


# ---- the verifier as a classifier of recordings ----------------------------------------------


@pytest.fixture(scope="module")
def world():
    """Frames of 30 recordings, 6 of each of 5 speakers, and whose they are."""
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{i}" for i in range(5)], 6)
    places = np.repeat(1.5 * rng.normal(size=(5, 3)), 6, axis=0)
    lengths = rng.integers(20, 60, size=30)
    return [p + rng.normal(size=(n, 3)) for p, n in zip(places, lengths)], speakers


def test_the_verifier_identifies_recordings(world):
    X, speakers = world
    ubm = DiagonalGMM(4, random_state=0).fit(np.concatenate(X))
    verifier = GMMVerifier(ubm, top_n=4).fit(X[::2], speakers[::2])
    assert verifier.score(X[1::2], speakers[1::2]) > 0.9 and verifier.ubm_ is ubm
    scores = verifier.decision_function(X[1::2])
    assert scores.shape == (15, 5) and verifier.classes_.tolist() == sorted(set(speakers))
    np.testing.assert_array_equal(verifier.classes_[scores.argmax(1)], verifier.predict(X[1::2]))
    model = verifier.enrol([X[0], X[2], X[4]])
    np.testing.assert_array_equal(verifier.models_[0], model)
    np.testing.assert_array_equal(scores[0], verifier.score_models(verifier.models_, X[1]))
    stacked = np.stack([one[:20] for one in X])
    assert verifier.predict(stacked).tolist() == verifier.predict(list(stacked)).tolist()
    assert verifier.fit(stacked, speakers).n_features_in_ == 3
    verifier.fit(X[::2], speakers[::2])
    again = pickle.loads(pickle.dumps(verifier))
    np.testing.assert_array_equal(again.decision_function(X[1::2]), scores)
    two = verifier.fit(X[:12], speakers[:12])
    first, second = two.score_models(two.models_, X[0])
    assert two.decision_function(X[:1]) == second - first < 0


def test_the_verifier_in_a_search(world):
    X, speakers = world
    verifier = GMMVerifier(DiagonalGMM(2, random_state=0))
    grid = {"ubm__n_components": [1, 4], "relevance": [4.0, 1e6]}
    search = GridSearchCV(verifier, grid, cv=3).fit(X, speakers)
    assert search.best_params_["relevance"] == 4.0 and search.best_score_ > 0.9
    assert verifier.ubm.n_components == 2 and not hasattr(verifier.ubm, "means_")
    # What is trained is an option as it is.
    trained = GMMVerifier(DiagonalGMM(4, random_state=0).fit(np.concatenate(X)))
    search = GridSearchCV(trained, {"top_n": [1, 4]}, cv=3).fit(X, speakers)
    assert search.best_estimator_.ubm_ is trained.ubm


def test_trained_background_models_are_searched_frozen(world):
    frozen = pytest.importorskip("sklearn.frozen").FrozenEstimator
    X, speakers = world
    ubms = [frozen(DiagonalGMM(n, random_state=0).fit(np.concatenate(X))) for n in (1, 4)]
    search = GridSearchCV(GMMVerifier(ubms[0]), {"ubm": ubms}, cv=3).fit(X, speakers)
    assert search.best_score_ > 0.9
    assert search.best_estimator_.ubm_ in ubms


def test_frames_are_labelled_in_a_pipeline(world):
    X, speakers = world
    frames, owners = np.concatenate(X), np.repeat(speakers, [len(one) for one in X])
    model = make_pipeline(StandardScaler(), GMMVerifier(DiagonalGMM(2, random_state=0)))
    assert model.fit(frames, owners).score(frames, owners) > 0.5  # 0.2 by chance
    assert model[-1].n_features_in_ == 3


def test_the_verifier_names_what_is_wrong(world):
    X, speakers = world
    verifier = GMMVerifier(DiagonalGMM(2, random_state=0))
    with pytest.raises(NotFittedError, match="no speakers yet"):
        verifier.predict(X)
    with pytest.raises(DataError, match="each recording's speaker"):
        verifier.fit(X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        verifier.fit(X, speakers[:-1])
    with pytest.raises(DataError, match="without a single frame"):
        verifier.fit([*X, np.empty((0, 3))], [*speakers, "silent"])
    with pytest.raises(DataError, match="4 features, but GMMVerifier is expecting 3"):
        verifier.fit(X, speakers).predict([np.ones((5, 4))])
