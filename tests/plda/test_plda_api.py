"""Back-ends as scikit-learn estimators: its checks, prediction, model choice, metadata."""

import pickle

import numpy as np
import pytest
import sklearn
from estimator_checks import parametrize
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from ivector.base.errors import DataError, UsageError
from plda import (
    LDA,
    PLDA,
    WCCN,
    Affine,
    Center,
    LengthNorm,
    ScoreNorm,
    Whiten,
    adapt_plda,
    load_model,
    read_plda,
    save_model,
    write_plda,
)
from plda.scoring.cosine import Cosine

_ROWS = "a row is an enrolment, known by its place: transform takes all, in the order of fit"
_COLUMNS = "the features of fit are the cohort, the columns of transform any number of tests"
# Kinds of ScoreNorm other than "z" need a second matrix as y, where the checks give labels;
# Whiten(method="zca") keeps all components, where they ask for one.
CASES = [
    *(
        (estimator, {})
        for estimator in (
            Center(), Center(per_class=True), Whiten(), LDA(), WCCN(), LengthNorm(), Affine(),
            PLDA(), PLDA(smoothing=0.3), Cosine(),
        )
    ),
    (
        ScoreNorm("z"),
        {
            "check_methods_sample_order_invariance": _ROWS,
            "check_methods_subset_invariance": _ROWS,
            "check_fit_idempotent": _ROWS,
            "check_n_features_in_after_fitting": _COLUMNS,
            "check_transformer_general": _COLUMNS,
        },
    ),
]  # fmt: skip


@parametrize(CASES)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture
def data():
    """Vectors of 12 speakers in 5 sessions each: X, speakers, sessions."""
    rng = np.random.default_rng(0)
    y = np.repeat([f"s{k:02}" for k in range(12)], 10)
    X = 4 * rng.normal(size=(12, 6)).repeat(10, axis=0) + rng.normal(size=(120, 6))
    return X + 3, y, np.tile(np.arange(5), 24)


@pytest.fixture
def model():
    rng = np.random.default_rng(1)
    within, between = (a @ a.T / 6 for a in rng.normal(size=(2, 3, 6)))
    return PLDA.from_covariances(rng.normal(size=3), within, 2 * between)


def brute_force(model, enrol, labels, test, priors):
    """Log posteriors from the joint densities of a speaker's vectors, stacked."""

    def log_density(vectors):
        n = len(vectors)
        covariance = np.kron(np.ones((n, n)), model.between_covariance_)
        covariance += np.kron(np.eye(n), model.within_covariance_)
        return multivariate_normal.logpdf(vectors.ravel(), np.tile(model.mean_, n), covariance)

    joint = np.empty((len(test), len(priors)))
    for k, label in enumerate(np.unique(labels)):
        own = enrol[labels == label]
        for t, x in enumerate(test):
            joint[t, k] = log_density(np.vstack([own, x])) - log_density(own) + np.log(priors[k])
    return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


@pytest.mark.parametrize("priors", [None, [0.1, 0.2, 0.3, 0.4]])
@pytest.mark.parametrize("normalize_length", [False, True])
def test_posteriors_are_those_of_the_joint_gaussians(model, priors, normalize_length):
    rng = np.random.default_rng(2)
    enrol, test = 2 * rng.normal(size=(10, 3)), 2 * rng.normal(size=(20, 3))
    labels = np.repeat(["d", "a", "c", "b"], [1, 2, 3, 4])
    model.set_params(priors=priors).enrol(enrol, labels, normalize_length)
    found = model.predict_log_proba(test)
    if normalize_length:
        # The same of the vectors that the normalised latent ones come from.
        back = np.linalg.inv(model.transform_).T
        enrol, test = (model.transform(X) @ back + model.mean_ for X in (enrol, test))
    expected = brute_force(model, enrol, labels, test, priors or [0.25] * 4)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(np.exp(found), model.enrol(enrol, labels, False).predict_proba(test))
    assert model.predict(test).tolist() == np.array(list("abcd"))[expected.argmax(1)].tolist()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_decisions_are_scores_by_the_book(data, dtype):
    X, y, _ = data
    X = X.astype(dtype)
    plda = PLDA(3).fit(X, y)
    scores = plda.score_matrix(X, X, enrol_labels=y).T
    tolerance = {"atol": 1e-9 if dtype == "f8" else 1e-3}
    np.testing.assert_allclose(plda.decision_function(X), scores, **tolerance)
    assert plda.score(X, y) == np.mean(plda.classes_[scores.argmax(1)] == y) > 0.9
    plda.enrol(X[:20], y[:20])
    ratio = plda.decision_function(X)
    np.testing.assert_allclose(
        ratio, plda.score_matrix(X[10:20], X, enrol_labels=y[10:20])[0]
        - plda.score_matrix(X[:10], X, enrol_labels=y[:10])[0], **tolerance,
    )  # fmt: skip
    np.testing.assert_allclose(plda.predict_proba(X)[:, 1], 1 / (1 + np.exp(-ratio)), rtol=1e-6)
    assert plda.enrol(X[:10], y[:10]).predict_proba(X[:2]).tolist() == [[1.0], [1.0]]


def test_speakers_unknown_to_training_may_be_enrolled(data):
    X, y, _ = data
    plda = PLDA().fit(X[:60], y[:60])
    assert plda.enrol(X[60::2], y[60::2]) is plda
    assert plda.score(X[61::2], y[61::2]) > 0.8
    assert plda.class_counts_.tolist() == [5] * 6


def test_a_model_without_speakers_says_so(data, tmp_path):
    X, y, _ = data
    plda = PLDA(2).fit(X, y)
    write_plda(plda, tmp_path / "plda")
    for without in (
        read_plda(tmp_path / "plda"), plda.smooth(0.1), adapt_plda(plda, X), Cosine().fit(X),
        plda.project(np.eye(6)), Cosine().fit(X, y).fit(X),
    ):  # fmt: skip
        for method in (without.predict, without.decision_function):
            with pytest.raises(NotFittedError, match=r"no speakers .* call enrol\(X, speakers\)"):
                method(X)
        assert without.enrol(X, y).score(X, y) > 0.5
    with pytest.raises(NotFittedError):
        PLDA().enrol(X, y)


def test_what_cannot_be_is_named(data):
    X, y, _ = data
    for priors in ([0.5, 0.5], [1 / 11] * 12, [0.0] + [1 / 11] * 11):
        with pytest.raises(UsageError, match="priors must be 12 positive"):
            PLDA(1, priors=priors).fit(X, y).predict(X)
    with pytest.raises(DataError, match="fractions"):
        LDA().fit(X, np.linspace(0, 1, 120))
    with pytest.raises(UsageError, match="y and test_cohort are the same"):
        ScoreNorm("s").fit(X, X, test_cohort=X)
    with pytest.raises(UsageError, match="smoothing must be"):
        PLDA(smoothing=2).fit(X, y)


def test_smoothing_in_training_is_smoothing_afterwards(data):
    X, y, _ = data
    within, after = PLDA(3, smoothing=0.3).fit(X, y), PLDA(3).fit(X, y).smooth(0.3)
    for name in ("mean_", "transform_", "psi_", "objective_"):
        np.testing.assert_array_equal(getattr(within, name), getattr(after, name))


def test_cosine_takes_the_nearest_mean():
    cosine = Cosine().fit([[2.0, 0], [4, 0], [0, 1], [-1, -1]], ["a", "a", "b", "c"])
    assert cosine.predict([[3, 2], [1, 9], [-5, -4]]).tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(cosine.decision_function([[3, 4]]), [[0.6, 0.8, -1.4 / 2**0.5]])


@pytest.mark.parametrize("back_end", [PLDA(3, smoothing=0.1), Cosine()], ids=repr)
@pytest.mark.parametrize("labels", ["U", "O", "int"])
def test_files_keep_speakers_if_asked_to(data, tmp_path, back_end, labels):
    X, y, _ = data
    y = np.unique(y, return_inverse=True)[1] if labels == "int" else y.astype(labels)
    fitted = make_pipeline(Center(), clone(back_end)).fit(X, y)
    save_model(fitted, tmp_path / "with", speakers=True)
    save_model(fitted, tmp_path / "without")
    with np.load(tmp_path / "without") as file:
        assert not [name for name in file if "class" in name or "normalize" in name]
    back, without = load_model(tmp_path / "with"), load_model(tmp_path / "without")
    assert back.predict(X).tolist() == fitted.predict(X).tolist()
    np.testing.assert_array_equal(back.decision_function(X), fitted.decision_function(X))
    with pytest.raises(NotFittedError, match="enrol"):
        without.predict(X)
    assert without[-1].get_params() == back[-1].get_params() == back_end.get_params()


def test_labels_that_no_file_keeps_are_refused(data, tmp_path):
    pairs = np.empty(2, dtype=object)
    pairs[:] = [frozenset("a"), frozenset("ab")]
    with pytest.raises(UsageError, match="classes_ holds neither strings"):
        save_model(Cosine().fit(np.eye(2), pairs), tmp_path / "a.npz", speakers=True)


def test_pipeline_predicts_clones_and_pickles(data):
    X, y, _ = data
    backend = clone(make_pipeline(Center(), LDA(4), LengthNorm(), PLDA())).fit(X, y)
    assert backend.score(X, y) > 0.9
    np.testing.assert_allclose(backend.predict_proba(X).sum(axis=1), 1)
    again = pickle.loads(pickle.dumps(backend))
    np.testing.assert_array_equal(again.decision_function(X), backend.decision_function(X))


def likelihood_of_new_speakers(backend, X, y):
    return backend[-1].objective(backend[:-1].transform(X), y)


@pytest.mark.parametrize("routing", [False, True])
def test_model_choice(data, routing):
    X, y, sessions = data
    backend = make_pipeline(Center(), LDA(), LengthNorm(), PLDA(n_iter=2))
    grid = {"lda__n_components": [2, 4], "plda__smoothing": [0.0, 0.5]}
    with sklearn.config_context(enable_metadata_routing=routing):
        # Speakers in other sessions: which of them is it?
        search = GridSearchCV(backend, grid, cv=GroupKFold(5), error_score="raise")
        search.fit(X, y, groups=sessions)
        assert search.best_params_["lda__n_components"] == 4
        assert search.best_score_ > 0.7 and search.predict(X).shape == y.shape
        # Other speakers: how likely are their vectors?
        search = GridSearchCV(
            backend, {"plda__smoothing": [0.0, 1.0]}, scoring=likelihood_of_new_speakers,
            cv=GroupKFold(4), error_score="raise",
        )  # fmt: skip
        search.fit(X, y, groups=y)
        assert search.best_params_ == {"plda__smoothing": 0.0}
    accuracy = cross_val_score(backend, X, y, groups=sessions, cv=GroupKFold(5), scoring="accuracy")
    assert accuracy.mean() > 0.7
    losses = cross_val_score(backend, X, y, cv=3, scoring="neg_log_loss", error_score="raise")
    assert np.isfinite(losses).all()


def test_metadata_is_routed(data):
    X, y, _ = data
    counts = np.arange(1, 121)
    with sklearn.config_context(enable_metadata_routing=True):
        backend = make_pipeline(Center(), PLDA(2).set_transform_request(n_utts=True)).fit(X, y)
        direct = backend[-1].transform(backend[0].transform(X), counts)
        np.testing.assert_array_equal(backend.transform(X, n_utts=counts), direct)
        scores = np.random.default_rng(0).normal(size=(3, 5, 5))
        norm = ScoreNorm("zt").set_fit_request(cohort_cohort=True)
        routed = make_pipeline(norm).fit(scores[0], scores[1], cohort_cohort=scores[2])
        direct = ScoreNorm("zt").fit(*scores)
        np.testing.assert_array_equal(routed.transform(scores[0]), direct.transform(scores[0]))


def test_scores_against_the_cohort_have_two_names():
    scores = np.random.default_rng(0).normal(size=(2, 4, 6))
    named = ScoreNorm("s").fit(enrol_cohort=scores[0], test_cohort=scores[1])
    np.testing.assert_array_equal(named.test_mean_, ScoreNorm("s").fit(*scores).test_mean_)
    assert ScoreNorm("t").fit(test_cohort=scores[1]).n_features_in_ == 6


def test_names_of_features_out(data):
    X, y, _ = data
    for estimator, names in (
        (Center(), ["x0", "x1"]), (LengthNorm(), ["x0", "x1"]), (Whiten(2), ["whiten0", "whiten1"]),
        (LDA(2), ["lda0", "lda1"]), (WCCN(), ["wccn0", "wccn1"]), (PLDA(), ["plda0", "plda1"]),
        (Affine(np.eye(6)[:2]), ["affine0", "affine1"]), (Affine(), ["affine0", "affine1"]),
    ):  # fmt: skip
        fitted = estimator.fit(X, y)
        out = fitted.get_feature_names_out()
        assert out[:2].tolist() == names
        assert len(out) == fitted.transform(X).shape[1]


def test_data_frames(data, tmp_path):
    pandas = pytest.importorskip("pandas")
    X, y, _ = data
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    backend = make_pipeline(Center(), LDA(4), LengthNorm(), PLDA(2))
    backend.set_output(transform="pandas").fit(frame, pandas.Series(y))
    assert list(backend.transform(frame)) == ["plda0", "plda1", "plda2", "plda3"]
    assert backend[0].feature_names_in_.tolist() == list("abcdef")
    plain = make_pipeline(Center(), LDA(4), LengthNorm(), PLDA(2)).fit(X, y)
    np.testing.assert_allclose(backend.decision_function(frame), plain.decision_function(X))
    latent = backend[:-1].transform(frame)
    assert isinstance(backend[-1].score_matrix(latent, latent), np.ndarray)
    with pytest.raises(ValueError, match="feature names should match"):
        backend.predict(frame[list("bacdef")])
    with pytest.warns(UserWarning, match="valid feature names"):
        backend.predict(X)
    save_model(backend, tmp_path / "a.npz", speakers=True)
    back = load_model(tmp_path / "a.npz")
    assert back.predict(frame).tolist() == plain.predict(X).tolist()
