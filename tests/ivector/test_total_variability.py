"""Total variability: one set of behaviours over Kaldi's and the classical form."""

import pickle
import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import tv_reference as reference
from scipy.linalg import subspace_angles
from sklearn.base import clone

from ivector.base.errors import DataError, DegenerateDataWarning, ObjectiveWarning, UsageError
from ivector.gmm.diagonal import DiagonalGMM
from ivector.statistics import BaumWelchStatistics
from ivector.total_variability.model import TotalVariability

C, D, R = 6, 4, 3
FORMS = ["kaldi", "classical"]


def make_ubm(seed: int = 0, diagonal: bool = False) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(C, D, D)) * 0.3 + np.eye(D)
    covariances = root @ root.transpose(0, 2, 1)
    if diagonal:
        covariances = np.array([np.diag(one) for one in covariances])
    return SimpleNamespace(
        weights_=np.full(C, 1 / C), means_=3 * rng.normal(size=(C, D)), covariances_=covariances
    )


def sample(ubm, n_utterances: int, n_frames: int, seed: int = 1, loading: float = 0.7):
    """Statistics of utterances drawn from a classical model, and its (C, D, R) subspace."""
    rng = np.random.default_rng(seed)
    subspace = loading * rng.normal(size=(C, D, R))
    roots = np.linalg.cholesky(ubm.covariances_) if ubm.covariances_.ndim == 3 else None
    zeroth, first = np.zeros((n_utterances, C)), np.zeros((n_utterances, C, D))
    second = np.zeros((C, D, D))
    for u in range(n_utterances):
        means = subspace @ rng.normal(size=R)
        for c, count in enumerate(rng.multinomial(n_frames, ubm.weights_)):
            noise = rng.normal(size=(count, D))
            noise = noise @ roots[c].T if roots is not None else noise * ubm.covariances_[c] ** 0.5
            x = means[c] + noise
            zeroth[u, c], first[u, c] = count, x.sum(0)
            second[c] += x.T @ x
    return BaumWelchStatistics(zeroth, first, second, ubm.means_), subspace


@pytest.fixture(scope="module")
def ubm():
    return make_ubm()


@pytest.fixture(scope="module")
def data(ubm):
    return sample(ubm, 400, 200)


def extractor(form: str, **options) -> TotalVariability:
    return TotalVariability(**{"rank": R + (form == "kaldi"), "parametrisation": form, **options})


def reference_view(tv: TotalVariability, stats: BaumWelchStatistics) -> tuple:
    """Arguments of the reference: raw statistics for Kaldi's form, centred for the classical."""
    classical = tv.parametrisation == "classical"
    about = stats.about(tv.means_ if classical else None)
    return (tv.projections_, tv.precisions_, tv.prior_offset_, about), about


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("init", ["pca", "random"])
def test_extraction_equals_the_equations(ubm, data, form, init):
    stats, _ = data
    tv = extractor(form, n_iter=1, init=init, random_state=0).fit(stats, ubm=ubm)
    (T, P, p, _), about = reference_view(tv, stats)
    ivectors, covariances = tv.transform(stats, return_cov=True)
    assert ivectors.dtype == covariances.dtype == np.float32
    for u in range(0, 400, 40):
        mean, covariance = reference.posterior(T, P, p, about.zeroth[u], about.first[u])
        mean[0] -= p
        np.testing.assert_allclose(ivectors[u], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(covariances[u], covariance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_objective_equals_the_equations(ubm, data, form):
    stats, _ = data
    tv = extractor(form, n_iter=2).fit(stats, ubm=ubm)
    (T, P, p, _), about = reference_view(tv, stats)
    expected = reference.log_likelihood(tv.weights_, T, P, p, about) / stats.n_frames
    assert tv.score(stats) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_an_iteration_equals_the_equations(ubm, data, form):
    stats, _ = data
    start = extractor(form, n_iter=1, init="random", random_state=3, min_divergence=False)
    start.fit(stats, ubm=ubm)
    arguments, _ = reference_view(start, stats)
    projection, covariance, mean, moment = reference.em_iteration(*arguments)
    after = pickle.loads(pickle.dumps(start)).set_params(warm_start=True, covariance_floor=1e-9)
    after.fit(stats)
    scale = np.abs(projection).max()
    np.testing.assert_allclose(after.projections_, projection, atol=2e-5 * scale)
    np.testing.assert_allclose(after.covariances_, covariance, rtol=2e-4, atol=1e-5)
    # The same step with minimum divergence is the same model seen through another prior.
    moved = pickle.loads(pickle.dumps(start))
    moved.set_params(warm_start=True, covariance_floor=1e-9, min_divergence=True).fit(stats)
    spread = moment - np.outer(mean, mean) if form == "kaldi" else moment
    np.testing.assert_allclose(
        moved.projections_.reshape(C * D, -1) @ moved.projections_.reshape(C * D, -1).T,
        projection.reshape(C * D, -1) @ spread @ projection.reshape(C * D, -1).T,
        atol=1e-4 * scale**2,
    )
    expected_means = projection @ mean if form == "kaldi" else ubm.means_
    np.testing.assert_allclose(moved.means_, expected_means, atol=1e-4 * np.abs(ubm.means_).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("options", [{}, {"min_divergence": False}, {"update_covariance": False}])
def test_objective_rises(ubm, data, form, init, options):
    stats, _ = data
    with warnings.catch_warnings():
        warnings.simplefilter("error", ObjectiveWarning)
        tv = extractor(form, n_iter=6, init=init, random_state=0, **options).fit(stats, ubm=ubm)
    assert len(tv.objective_) == 6
    assert np.all(np.diff([*tv.objective_, tv.score(stats)]) > -1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_subspace_of_a_known_model_is_found(ubm, data, form):
    stats, subspace = data
    tv = extractor(form, n_iter=10).fit(stats, ubm=ubm)
    found = tv.projections_[:, :, 1 if form == "kaldi" else 0 :].reshape(C * D, R)
    assert np.degrees(subspace_angles(found, subspace.reshape(C * D, R)).max()) < 6
    assert np.abs(tv.covariances_ - ubm.covariances_).max() < 0.15
    assert np.abs(tv.means_ - ubm.means_).max() < 0.15


@pytest.mark.parametrize("form", FORMS)
def test_principal_axes_start_ahead_of_chance(ubm, data, form):
    stats, _ = data
    scores = [
        extractor(form, n_iter=2, init=init, random_state=0).fit(stats, ubm=ubm).score(stats)
        for init in ("pca", "random")
    ]
    assert scores[0] > scores[1]


@pytest.mark.parametrize("form", FORMS)
def test_minimum_divergence_makes_the_prior_fit(ubm, data, form):
    stats, _ = data
    tv = extractor(form, n_iter=8).fit(stats, ubm=ubm)
    ivectors, covariances = tv.transform(stats, return_cov=True)
    moment = covariances.mean(0) + ivectors.T @ ivectors / len(stats)
    # The offset's own element is slow: the data hardly tell it from the mean.
    np.testing.assert_allclose(moment, np.eye(tv.rank), atol=0.05)


@pytest.mark.parametrize("form", FORMS)
def test_diagonalisation_orders_without_changing_the_model(ubm, data, form):
    stats, _ = data
    plain = extractor(form, diagonalise=False, random_state=0).fit(stats, ubm=ubm)
    sorted_ = extractor(form, random_state=0).fit(stats, ubm=ubm)
    assert sorted_.score(stats) == pytest.approx(plain.score(stats), rel=1e-6)
    first = 1 if form == "kaldi" else 0
    average = sum(
        w * T.T @ P @ T
        for w, T, P in zip(sorted_.weights_, sorted_.projections_, sorted_.precisions_)
    )[first:, first:]
    assert np.all(np.diff(np.diag(average)) < 0)
    assert np.abs(average - np.diag(np.diag(average))).max() < 1e-3 * average.max()


@pytest.mark.parametrize("form", FORMS)
def test_pickled_models_are_the_same(ubm, data, form):
    stats, _ = data
    tv = extractor(form, n_iter=1).fit(stats, ubm=ubm)
    again = pickle.loads(pickle.dumps(tv))
    np.testing.assert_array_equal(again.transform(stats), tv.transform(stats))


class Loader:
    """A shard read when called; pickles."""

    def __init__(self, seed: int, n_utterances: int):
        self.seed, self.n_utterances = seed, n_utterances

    def __call__(self) -> BaumWelchStatistics:
        return sample(make_ubm(), self.n_utterances, 100, seed=self.seed)[0]


@pytest.mark.parametrize("form", FORMS)
def test_any_number_of_jobs_gives_the_same_bytes(ubm, form):
    loaders = [Loader(seed, 20) for seed in range(4)]
    models = [extractor(form, n_iter=2, n_jobs=n).fit(loaders, ubm=ubm) for n in (1, 2)]
    np.testing.assert_array_equal(models[0].projections_, models[1].projections_)
    np.testing.assert_array_equal(models[0].precisions_, models[1].precisions_)
    assert models[0].objective_ == models[1].objective_
    np.testing.assert_array_equal(models[0].transform(loaders), models[1].transform(loaders))


@pytest.mark.parametrize("form", FORMS)
def test_shards_sum_to_the_whole(ubm, form):
    shards = [Loader(seed, 30)() for seed in range(3)]
    whole = BaumWelchStatistics.concatenate(shards)
    options = {"n_iter": 2, "init": "random", "random_state": 0}
    one, parts = (extractor(form, **options).fit(X, ubm=ubm) for X in (whole, shards))
    np.testing.assert_allclose(one.objective_, parts.objective_, rtol=1e-6)
    np.testing.assert_allclose(one.projections_, parts.projections_, atol=1e-3)
    assert parts.n_utterances_ == 90
    np.testing.assert_allclose(one.transform(whole), parts.transform(shards), atol=2e-3)


def test_large_batches_are_cut_into_shards_with_one_second_order_sum(ubm):
    stats, _ = sample(ubm, 2300, 30)
    tv = extractor("classical", n_iter=1, init="random", random_state=0).fit(stats, ubm=ubm)
    (T, P, p, _), about = reference_view(tv, stats)
    expected = reference.log_likelihood(tv.weights_, T, P, p, about) / stats.n_frames
    assert tv.score(stats) == pytest.approx(expected, rel=1e-6)


def test_memory_does_not_grow_with_the_number_of_shards(ubm):
    peaks = []
    for n_shards in (2, 10):
        loaders = [Loader(seed, 200) for seed in range(n_shards)]
        tracemalloc.start()
        extractor("classical", n_iter=1, init="random").fit(loaders, ubm=ubm)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_same_seed_same_bytes(ubm, data):
    stats, _ = data
    fits = [
        extractor("kaldi", n_iter=1, init="random", random_state=seed).fit(stats, ubm=ubm)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(fits[0].projections_, fits[1].projections_)
    assert not np.array_equal(fits[0].projections_, fits[2].projections_)


@pytest.mark.parametrize("form", FORMS)
def test_statistics_may_be_raw_or_centred_in_either_precision(ubm, data, form):
    stats, _ = data
    tv = extractor(form, n_iter=1).fit(stats, ubm=ubm)
    expected = tv.transform(stats)
    raw = stats.about(None)
    single = BaumWelchStatistics(raw.zeroth.astype("f4"), raw.first.astype("f4"))
    np.testing.assert_allclose(tv.transform(raw), expected, atol=1e-5)
    np.testing.assert_allclose(tv.transform(single), expected, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_an_utterance_without_frames_gets_the_prior(ubm, data, form):
    stats, _ = data
    tv = extractor(form, n_iter=1).fit(stats, ubm=ubm)
    empty = BaumWelchStatistics(np.zeros((1, C)), np.zeros((1, C, D)))
    ivector, covariance = tv.transform(empty, return_cov=True)
    np.testing.assert_array_equal(ivector, np.zeros((1, tv.rank)))
    np.testing.assert_array_equal(covariance[0], np.eye(tv.rank))
    assert np.isfinite(
        extractor(form, n_iter=2).fit([stats, empty + empty][:1], ubm=ubm).objective_
    ).all()


@pytest.mark.parametrize("form", FORMS)
def test_too_few_utterances_are_noticed(ubm, form):
    stats, _ = sample(ubm, 4, 200)
    with pytest.warns(DegenerateDataWarning, match=r"for 4 training utterances.*rank ≤ 2"):
        extractor(form, n_iter=1).fit(stats, ubm=ubm)


def test_too_few_frames_are_noticed(ubm):
    stats, _ = sample(ubm, 30, 1)
    with pytest.warns(DegenerateDataWarning) as caught:
        extractor("kaldi", rank=10, n_iter=1).fit(stats, ubm=ubm)
    texts = [str(one.message) for one in caught]
    assert any("30 frames for 6 components of rank 10" in text for text in texts)
    assert any("6 of 6 components have fewer than 100 frames" in text for text in texts)


@pytest.mark.parametrize("form", FORMS)
def test_starved_components_keep_their_parameters(ubm, data, form):
    stats, _ = data
    zeroth, first, second = stats.zeroth.copy(), stats.first.copy(), stats.second.copy()
    zeroth[:, 2] *= 1e-4
    first[:, 2] *= 1e-4
    second[2] *= 1e-4
    starved = BaumWelchStatistics(zeroth, first, second, stats.centre)
    before = extractor(form, n_iter=0, random_state=0).fit(starved, ubm=ubm)
    after = extractor(form, n_iter=1, random_state=0, min_divergence=False)
    with pytest.warns(DegenerateDataWarning, match=r"1 of 6 components.*component 2"):
        after.fit(starved, ubm=ubm)
    np.testing.assert_array_equal(after.projections_[2], before.projections_[2])
    np.testing.assert_array_equal(after.precisions_[2], before.precisions_[2])
    assert not np.array_equal(after.projections_[1], before.projections_[1])


def test_a_fall_of_the_objective_is_warned_of(ubm, data):
    stats, _ = data
    with pytest.warns(ObjectiveWarning, match="objective fell"):
        extractor("classical", n_iter=3, covariance_floor=1.0).fit(stats, ubm=ubm)


def test_an_objective_without_scatter_may_fall_where_means_move(ubm, data, recwarn):
    stats, _ = data
    bare = BaumWelchStatistics(stats.zeroth, stats.first + 0.3 * stats.zeroth[:, :, None])
    tv = extractor("kaldi", n_iter=3, update_covariance=False).fit(bare.about(None), ubm=ubm)
    assert tv.objective_[1] < tv.objective_[0]
    assert not [warning for warning in recwarn if warning.category is ObjectiveWarning]


def test_a_diagonal_ubm_keeps_diagonal_covariances():
    ubm = make_ubm(diagonal=True)
    stats, _ = sample(ubm, 100, 200)
    for form in FORMS:
        tv = extractor(form, n_iter=2).fit(stats, ubm=ubm)
        off = tv.covariances_ * (1 - np.eye(D))
        np.testing.assert_array_equal(off, 0)


def test_bad_options_are_refused(ubm, data):
    with pytest.raises(UsageError, match="not a trained mixture but DiagonalGMM"):
        TotalVariability(3).fit(data[0], ubm=DiagonalGMM(2))
    stats, _ = data
    bad = [
        {"parametrisation": "jfa"}, {"rank": 0}, {"n_iter": -1}, {"prior_offset": 0.0},
        {"rank": 1}, {"covariance_floor": 0.0}, {"gaussian_min_count": 0.0}, {"init": "zero"},
    ]  # fmt: skip
    for options in bad:
        with pytest.raises(UsageError):
            TotalVariability(**{"rank": 3, **options}).fit(stats, ubm=ubm)
    with pytest.raises(UsageError, match="ubm=ubm"):
        TotalVariability(3).fit(stats)
    fitted = TotalVariability(3, n_iter=0, warm_start=True).fit(stats, ubm=ubm)
    with pytest.raises(UsageError, match="kaldi of rank 3, the options ask for kaldi of rank 4"):
        fitted.set_params(rank=4).fit(stats)
    with pytest.raises(UsageError, match="not trained"):
        TotalVariability(3).transform(stats)
    with pytest.raises(UsageError, match="`second_order`"):
        TotalVariability(3).fit(BaumWelchStatistics(stats.zeroth, stats.first), ubm=ubm)


def test_a_component_without_weight_does_not_spoil_the_objective(ubm, data):
    stats, _ = data
    dead = SimpleNamespace(
        weights_=np.append(ubm.weights_, 0),
        means_=np.vstack([ubm.means_, np.ones(D)]),
        covariances_=np.concatenate([ubm.covariances_, np.eye(D)[None]]),
    )
    first = np.pad(stats.first, ((0, 0), (0, 1), (0, 0)))
    second = np.concatenate([stats.second, np.zeros((1, D, D))])
    padded = BaumWelchStatistics(np.pad(stats.zeroth, ((0, 0), (0, 1))), first, second, dead.means_)
    tv = extractor("kaldi", n_iter=2, init="random")
    with pytest.warns(DegenerateDataWarning, match="1 of 7 components"):
        assert np.isfinite(tv.fit(padded, ubm=dead).objective_).all()


def test_bad_data_are_named(ubm, data):
    stats, _ = data
    other = BaumWelchStatistics(np.ones((9, C)), np.ones((9, C, D + 1)))
    fit = extractor("kaldi", n_iter=1).fit(stats, ubm=ubm)
    with pytest.raises(DataError, match="another UBM"):
        fit.transform(other)
    with pytest.raises(DataError, match="another UBM"):
        extractor("kaldi").fit(other, ubm=ubm)
    with pytest.raises(DataError, match="no utterances"):
        fit.transform(stats[:0])
    with pytest.raises(DataError, match="list of shards is empty"):
        fit.transform([])
    with pytest.raises(UsageError, match="expected BaumWelchStatistics, got ndarray"):
        fit.transform([np.ones(3)])
    empty = BaumWelchStatistics(np.zeros((9, C)), np.zeros((9, C, D)), np.zeros((C, D, D)))
    with pytest.raises(DataError, match="no frames"):
        extractor("kaldi", init="random").fit(empty, ubm=ubm)


@pytest.mark.filterwarnings("ignore::ivector.base.errors.ObjectiveWarning")
def test_constant_features_are_survived(ubm, data):
    stats, _ = data
    first, second = stats.first.copy(), stats.second.copy()
    first[:, :, 1] = 0
    second[:, 1] = second[:, :, 1] = 0
    constant = BaumWelchStatistics(stats.zeroth, first, second, stats.centre)
    tv = extractor("classical", n_iter=3).fit(constant, ubm=ubm)
    assert np.isfinite(tv.precisions_).all() and np.isfinite(tv.transform(constant)).all()


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_counts_beyond_single_precision_name_the_utterance(ubm, data):
    stats, _ = data
    tv = extractor("kaldi", n_iter=1).fit(stats, ubm=ubm)
    huge = BaumWelchStatistics(np.full((2, C), [[1.0], [1e38]]), np.ones((2, C, D)))
    with pytest.raises(DataError, match=r"utterance 1 of .*not positive definite"):
        tv.transform(huge)


@pytest.mark.parametrize("form", FORMS)
def test_saved_and_loaded_models_are_the_same(ubm, data, form, tmp_path):
    stats, _ = data
    tv = extractor(form, n_iter=1, random_state=np.random.RandomState(0)).fit(stats, ubm=ubm)
    tv.save(tmp_path / "tv.npz")
    back = TotalVariability.load(tmp_path / "tv.npz")
    np.testing.assert_array_equal(back.transform(stats), tv.transform(stats))
    assert back.objective_ == tv.objective_ and back.parametrisation == form
    back.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "tv.npz").read_bytes()


def test_scikit_learn_conventions(ubm, data):
    stats, _ = data
    tv = extractor("classical", n_iter=1)
    copy = clone(tv)
    assert copy.get_params() == tv.get_params()
    np.testing.assert_array_equal(
        copy.fit_transform(stats, ubm=ubm), tv.fit(stats, ubm=ubm).transform(stats)
    )
    assert not tv.__getstate__()["_cache"]
