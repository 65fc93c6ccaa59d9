"""Calibration and fusion as scikit-learn estimators: its checks, decisions, pipelines, searches."""

import pickle

import numpy as np
import pytest
from estimator_checks import parametrize
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion import Calibration, LinearFusion, load_model, save_model
from fusion.metrics.points import OperatingPoint
from ivector.base.errors import DataError

ONE_AXIS = {
    "check_fit1d": "the scores of one system are a list; a table is not asked for",
}
FOR_TARGETS = {
    "check_classifiers_train": "high values of its columns speak for the first class, which "
    "weights of at least 0 exclude",
}
CASES = [
    (Calibration(), ONE_AXIS),
    (Calibration(bounded=True), ONE_AXIS),
    (Calibration(interactions=True, ridge=1e-3), ONE_AXIS),
    (LinearFusion(), {}),
    (LinearFusion(missing="fallback"), {}),
    (LinearFusion(non_negative=True), FOR_TARGETS),
    (LinearFusion(bounded=True), {}),
]
MODELS = [
    Calibration(),
    Calibration("isotonic", prior=0.1),
    Calibration("bigaussian", prior=0.1),
    Calibration("gaussian", prior=0.1),
    LinearFusion(prior=0.1),
]


@parametrize(CASES)
def test_scikit_learn(estimator, check):
    check(estimator)


def trials(n=600, n_columns=1, seed=0):
    """Scores (n, n_columns) of Gaussian systems, and whether each trial is a target."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.3
    return 1.5 * y[:, None] + rng.standard_normal((n, n_columns)), y


@pytest.mark.parametrize("model", MODELS)
def test_decisions_follow_from_the_llr_and_the_prior(model):
    X, y = trials()
    model = clone(model).fit(X, y)
    llr = model.transform(X)
    assert llr.shape == (len(X),) and np.array_equal(llr, model.decision_function(X))
    odds = np.exp(llr) * model.prior / (1 - model.prior)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], odds / (1 + odds))
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    accepted = llr > OperatingPoint(model.prior).threshold
    assert np.array_equal(model.predict(X), accepted) and 0 < accepted.sum() < len(X)
    assert model.score(X, y) == np.mean(accepted == y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.transform(X), llr)
    assert list(model.get_feature_names_out()) == ["llr"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (False, True), ("nontarget", "target")])
def test_any_two_labels_will_do(model, labels):
    X, y = trials()
    found = clone(model).fit(X, np.array(labels)[y.astype(int)])
    assert tuple(found.classes_) == labels and set(found.predict(X)) == set(labels)
    assert np.array_equal(found.transform(X), clone(model).fit(X, y).transform(X))
    found.fit(X, y.astype(object))
    assert np.array_equal(found.predict(X).astype(bool), clone(model).fit(X, y).predict(X))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "labels, what",
    [
        ((-1, 0), "-1 .unknown. and 0 .nontarget., but no target"),
        ((-1, 0, 1), "y has 3 classes.*take unknown ones out"),
        (("one", "one"), "all labels are of one class, one"),
        ((0.5, 0.7), "continuous"),
    ],
)
def test_labels_that_tell_no_two_classes_are_named(model, labels, what):
    X, _ = trials()
    with pytest.raises(DataError, match=what):
        clone(model).fit(X, np.resize(labels, len(X)))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_from_a_file_decides_too(model, tmp_path):
    X, y = trials()
    model = clone(model).fit(X, y)
    save_model(tmp_path / "model.json", model)
    again = load_model(tmp_path / "model.json")
    assert again.n_features_in_ == 1
    for method in ("transform", "predict", "predict_proba"):
        assert np.array_equal(getattr(again, method)(X), getattr(model, method)(X))


@pytest.mark.parametrize("interactions", [False, True])
def test_measures_beside_the_score_are_as_measures_given_apart(interactions, tmp_path):
    X, y = trials(n_columns=3)
    beside = Calibration(interactions=interactions).fit(X, y)
    apart = Calibration(interactions=interactions).fit(X[:, 0], y, X[:, 1:])
    assert beside.to_dict() == apart.to_dict() and beside.n_features_in_ == 3
    save_model(tmp_path / "model.json", apart)
    for model in (beside, apart, load_model(tmp_path / "model.json")):
        for method in ("decision_function", "predict", "predict_proba", "predict_log_proba"):
            call = getattr(model, method)
            assert np.array_equal(call(X), call(X[:, 0], X[:, 1:]))
    with pytest.raises(DataError, match="given twice"):
        beside.transform(X, X[:, 1:])
    with pytest.raises(DataError, match=r"expecting 3 features.*quality 1, quality 2. Reshape"):
        beside.transform(X[:, 0])


def test_cross_validated_llr_of_a_list_of_scores():
    X, y = trials()
    llr = cross_val_predict(Calibration(), X[:, 0], y, method="decision_function")
    assert llr.shape == y.shape and np.corrcoef(llr, X[:, 0])[0, 1] > 0.99
    assert not np.allclose(llr, Calibration().fit_transform(X[:, 0], y))


def test_search_for_the_ridge_of_a_fusion_in_a_pipeline():
    X, y = trials(n=200, n_columns=4)
    speakers = np.arange(len(X)) // 5
    ridges = [0.0, 0.01, 100.0]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LinearFusion()),
        {"linearfusion__ridge": ridges},
        scoring="neg_log_loss",
        cv=GroupKFold(4),
    ).fit(X, y, groups=speakers)
    loss = -search.cv_results_["mean_test_score"]
    assert loss[2] > 1.2 * loss[0] and search.best_params_["linearfusion__ridge"] < 100
    assert np.array_equal(search.decision_function(X), search.transform(X))
    assert set(search.predict(X)) == {False, True}


def test_measures_are_routed_through_a_pipeline():
    X, y = trials(n_columns=2)
    score, quality = X[:, :1], X[:, 1]
    with config_context(enable_metadata_routing=True):
        calibration = (
            Calibration().set_fit_request(quality=True).set_transform_request(quality=True)
        )
        pipeline = make_pipeline(calibration.set_predict_request(quality=True))
        pipeline.fit(score, y, quality=quality)
        llr = pipeline.transform(score, quality=quality)
        decided = pipeline.predict(score, quality=quality)
        with pytest.raises(ValueError, match="quality"):
            make_pipeline(Calibration()).fit(score, y, quality=quality)
    peer = Calibration().fit(score, y, quality)
    assert np.array_equal(llr, peer.transform(score, quality))
    assert np.array_equal(decided, peer.predict(score, quality))
    assert not np.allclose(llr, Calibration().fit(score, y).transform(score))


def test_data_frames_name_systems_and_keep_their_index(tmp_path):
    pandas = pytest.importorskip("pandas")
    X, y = trials(n_columns=2)
    table = pandas.DataFrame(X, columns=["plda", "cosine"], index=[f"t{k}" for k in range(len(X))])
    calibrated = ColumnTransformer([(name, Calibration(), [name]) for name in table])
    model = make_pipeline(calibrated, LinearFusion()).set_output(transform="pandas").fit(table, y)
    llr = model.transform(table)
    assert [*llr.columns] == ["llr"] and [*llr.index] == [*table.index]
    assert [*model[-1].feature_names_in_] == ["plda__llr", "cosine__llr"]
    assert model[-1].to_dict()["options"]["names"] == ["plda__llr", "cosine__llr"]
    np.testing.assert_allclose(llr["llr"], LinearFusion().fit(X, y).transform(X), atol=1e-6)
    assert isinstance(model.decision_function(table), np.ndarray)
    with_quality = Calibration().fit(table, y)
    assert [*with_quality.parameters()] == ["score", "cosine", "offset"]
    save_model(tmp_path / "model.json", with_quality)
    assert load_model(tmp_path / "model.json").names == ["cosine"]
    with pytest.raises(ValueError, match="feature names should match"):
        with_quality.transform(table[["cosine", "plda"]])
