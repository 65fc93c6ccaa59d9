"""Total variability as scikit-learn's users know estimators: checks, matrices, searches."""

import numpy as np
import pytest
import sklearn
from estimator_checks import parametrize
from sklearn.base import clone
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from ivector import BaumWelchStatistics, DiagonalGMM, TotalVariability
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.statistics import baum_welch
from plda import LDA, PLDA, Center, LengthNorm

CASES = [
    (TotalVariability(2), {}),
    (TotalVariability(2, parametrisation="classical"), {}),
]
pytestmark = pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")


@parametrize(CASES)
def test_scikit_learn(estimator, check):
    check(estimator)


# ---- supervectors ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def supervectors():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(500, 8)) * rng.uniform(0.5, 2, 8)
    return 5 + rng.normal(size=(500, 2)) @ rng.normal(size=(2, 8)) + noise


def test_supervectors_are_factor_analysed(supervectors):
    theirs = FactorAnalysis(2, tol=1e-9, max_iter=5000).fit(supervectors)
    tv = TotalVariability(2, parametrisation="classical", n_iter=300, covariance_floor=1e-6)
    ours = tv.fit_transform(supervectors)
    T, covariance = tv.projections_[0], tv.covariances_[0]
    np.testing.assert_array_equal(covariance, np.diag(np.diag(covariance)))
    np.testing.assert_allclose(T @ T.T + covariance, theirs.get_covariance(), atol=1e-3)
    assert tv.score(supervectors) == pytest.approx(theirs.score(supervectors), abs=1e-4)
    one = supervectors[:1]
    assert tv.score(one) == pytest.approx(theirs.score(one), abs=1e-3)
    # Up to a rotation, the factors are the same.
    factors = theirs.transform(supervectors)
    np.testing.assert_allclose(ours @ ours.T, factors @ factors.T, atol=0.02)


def test_a_ubm_cuts_supervectors_into_components(supervectors):
    ubm = DiagonalGMM(4).set_parameters(np.ones(4), np.full((4, 2), 5.0), np.ones((4, 2)))
    tv = TotalVariability(3).fit(supervectors, ubm=ubm)
    assert tv.projections_.shape == (4, 2, 3) and tv.n_features_in_ == 8
    first = supervectors.reshape(-1, 4, 2)
    second = np.einsum("ucd,uce->cde", first, first)
    stats = BaumWelchStatistics(np.ones((500, 4)), first, second)
    same = TotalVariability(3, gaussian_min_count=1.0).fit(stats, ubm=ubm)
    np.testing.assert_allclose(tv.projections_, same.projections_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(tv.transform(supervectors), tv.transform(stats), atol=1e-5)
    further = tv.set_params(warm_start=True).fit(supervectors)
    assert further.objective_[0] > same.objective_[-1]


def test_bad_supervectors_are_named(supervectors):
    tv = TotalVariability(2).fit(supervectors)
    with pytest.raises(DataError, match=r"7 features, but .* 8 .* 1 components of 8"):
        tv.transform(supervectors[:, :7])
    with pytest.raises(DataError, match="statistics of utterance 3 contain NaN"):
        tv.fit(np.where(np.arange(500)[:, None] == 3, np.nan, supervectors))
    with pytest.raises(DataError, match=r"all 9 sample\(s\) in X are equal"):
        tv.fit(np.ones((9, 4)))
    with pytest.raises(DataError, match="Reshape your data"):
        tv.fit([1.0, 2.0])
    with pytest.warns(DegenerateDataWarning, match="1 of 8 columns are constant, first number 2"):
        tv.fit(np.where(np.arange(8) == 2, 1.0, supervectors))
    # Refused before n_features² numbers are taken.
    with pytest.raises(UsageError, match="1 components of 100000 features at rank 2 needs"):
        TotalVariability(2, memory=1000).fit(np.zeros((2, 100_000), np.float32))


def test_output_has_names(supervectors):
    tv = TotalVariability(2)
    with pytest.raises(NotFittedError):
        tv.get_feature_names_out()
    assert not hasattr(tv, "n_features_in_") and not hasattr(tv, "weights_")
    tv.fit(supervectors)
    names = tv.get_feature_names_out().tolist()
    assert names == ["totalvariability0", "totalvariability1"]


def test_tables_come_in_and_out(supervectors):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(supervectors, columns=list("abcdefgh"))
    tv = TotalVariability(2).set_output(transform="pandas").fit(table)
    out = tv.transform(table)
    assert out.columns.tolist() == ["totalvariability0", "totalvariability1"]
    with pytest.raises(ValueError, match="feature names should match"):
        tv.transform(table[list("hgfedcba")])


# ---- statistics in pipelines and searches ----------------------------------------------------


@pytest.fixture(scope="module")
def world():
    """Statistics of 72 recordings, 6 of each of 12 speakers; whose they are; the UBM."""
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{i:02}" for i in range(12)], 6)
    places = 6.0 * rng.normal(size=(2, 3))
    voices = np.repeat(rng.normal(size=(12, 2, 3)), 6, axis=0)
    recordings = []
    for voice in voices:
        component = rng.integers(2, size=80)
        recordings.append((places + voice)[component] + rng.normal(size=(80, 3)))
    ubm = DiagonalGMM(2, random_state=0).fit(np.concatenate(recordings))
    return baum_welch(ubm, recordings), speakers, ubm


def backend():
    extractor = TotalVariability(3, parametrisation="classical", update_covariance=False)
    return make_pipeline(extractor, Center(), LDA(2), LengthNorm(), PLDA())


def test_statistics_are_indexed_as_rows(world):
    stats, _, _ = world
    assert stats.shape == (72, 2, 3) and len(stats) == 72
    rows = np.array([3, 1, 70])
    mask = np.isin(np.arange(72), rows)
    for key in (rows, rows.tolist(), (rows, Ellipsis)):
        np.testing.assert_array_equal(stats[key].first, stats.first[rows])
    for key in (mask, (mask, Ellipsis)):
        np.testing.assert_array_equal(stats[key].first, stats.first[np.sort(rows)])
    np.testing.assert_array_equal(stats[3:9].zeroth, stats.zeroth[3:9])
    with pytest.raises(DataError, match="indexed by utterances alone"):
        stats[rows, 0]


def test_a_back_end_is_searched_over_rank(world):
    stats, speakers, ubm = world
    search = GridSearchCV(
        backend(), {"totalvariability__rank": [2, 4]}, cv=KFold(3, shuffle=True, random_state=0)
    )
    search.fit(stats, speakers, totalvariability__ubm=ubm)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    project, plda = search.best_estimator_[:-1], search.best_estimator_[-1]
    vectors = project.transform(stats)
    scores = plda.score_matrix(vectors, vectors)
    same = speakers[:, None] == speakers
    assert scores[same].mean() > scores[~same].mean() + 1


def test_speakers_stay_together_where_they_are_groups(world):
    stats, speakers, ubm = world
    scores = cross_val_score(
        backend()[0], stats, groups=speakers, cv=GroupKFold(4),
        params={"ubm": ubm}, error_score="raise",
    )  # fmt: skip
    assert scores.shape == (4,) and np.isfinite(scores).all()


def objective(model, X, y):
    """As the pipeline's own score, whose way scikit-learn leads by sample weights."""
    return model[-1].score(model[:-1].transform(X), y)


def test_the_ubm_is_routed_as_metadata(world):
    stats, speakers, ubm = world
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = backend()
        pipeline[0].set_params(rank=4).set_fit_request(ubm=True)
        routed = clone(pipeline).fit(stats, speakers, ubm=ubm)
        search = GridSearchCV(pipeline, {"plda__n_iter": [1, 5]}, cv=3, scoring=objective)
        search.fit(stats, speakers, ubm=ubm)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    plain = backend().set_params(totalvariability__rank=4)
    plain.fit(stats, speakers, totalvariability__ubm=ubm)
    expected = plain[:-1].transform(stats)
    np.testing.assert_array_equal(routed[:-1].transform(stats), expected)
    np.testing.assert_array_equal(search.best_estimator_[:-1].transform(stats), expected)
