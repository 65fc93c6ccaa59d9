"""Back-end transformers: Kaldi's numbers, one set of behaviours for all, degenerate data named."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.kaldi import KaldiReader, read_vectors
from plda import LDA, PLDA, WCCN, Affine, Center, LengthNorm, Whiten

FITTED = [Center(), Center(per_class=True), Whiten(), Whiten(method="zca"), LDA(), WCCN(), PLDA()]
names = [repr(estimator) for estimator in FITTED]
needs_rank = pytest.mark.parametrize("estimator", FITTED[2:], ids=names[2:])


def speakers_and_vectors(rng, n_classes=20, per_class=10, n_dims=6, spread=2.0):
    y = np.repeat(np.arange(n_classes), per_class)
    X = spread * rng.normal(size=(n_classes, n_dims))[y] + rng.normal(size=(len(y), n_dims))
    return X + 5, y


@pytest.mark.parametrize("estimator", [*FITTED, LengthNorm()], ids=[*names, "LengthNorm"])
def test_precision_of_vectors_is_kept(estimator):
    X, y = speakers_and_vectors(np.random.default_rng(0))
    double = clone(estimator).fit(X, y).transform(X)
    single = clone(estimator).fit(X.astype("f4"), y).transform(X.astype("f4"))
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-3)


def _cases(rng):
    """Data without full rank: (vectors, labels, rank of the total covariance)."""
    X, y = speakers_and_vectors(rng)
    constant = X.copy()
    constant[:, 2] = 7.25
    collinear = X.copy()
    collinear[:, 0] = 2 * collinear[:, 1] - collinear[:, 3]
    return {
        "constant dimension": (constant, y, 5),
        "linear dependence": (collinear, y, 5),
        "dependence in float32": (collinear.astype("f4"), y, 5),
        "fewer vectors than dimensions": (X[5:15, :], y[5:15], 6),
        "four vectors": (X[[0, 1, 10, 11]], y[[0, 1, 10, 11]], 3),
        "one vector a speaker": (X[::10], y[::10], 6),
        "duplicated vectors": (np.repeat(X[::50], 5, axis=0), np.repeat(np.arange(4), 5), 3),
        "two vectors": (X[[0, 10]], np.array([0, 1]), 1),
    }


@needs_rank
@pytest.mark.parametrize("case", _cases(np.random.default_rng(1)))
def test_data_without_full_rank_are_named_and_survived(estimator, case):
    X, y, rank = _cases(np.random.default_rng(1))[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = clone(estimator).fit(X, y)
        out = fitted.transform(X)
    assert np.isfinite(out).all()
    assert all(issubclass(w.category, DegenerateDataWarning) for w in caught)
    if rank < 6:
        assert any("rank" in str(w.message) for w in caught)
    if rank < 6 and isinstance(estimator, (Whiten, PLDA)):
        assert any(f"rank {rank} of 6 dimensions" in str(w.message) for w in caught)
    if case == "one vector a speaker" and not isinstance(estimator, (Whiten, PLDA)):
        assert any("rank 0 of 6" in str(w.message) for w in caught)


@needs_rank
def test_clean_data_give_no_warning(estimator):
    X, y = speakers_and_vectors(np.random.default_rng(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(estimator).fit(X, y).transform(X)


@needs_rank
def test_equal_vectors_are_refused(estimator):
    with pytest.raises(DataError, match="equal"):
        clone(estimator).fit(np.full((6, 3), 0.1), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("estimator", [LDA(), WCCN(), PLDA()], ids=["LDA", "WCCN", "PLDA"])
@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0] * 10, "holds 1 class"),
        ([0, 1], "one speaker label each"),
        (None, "requires y"),
        ([0.0, np.nan] * 5, "NaN"),
        (np.array(["a", 1] * 5, dtype=object), "mixes types"),
    ],
)
def test_labels_that_do_not_fit_are_named(estimator, labels, text):
    with pytest.raises(DataError, match=text):
        clone(estimator).fit(np.random.default_rng(0).normal(size=(10, 3)), labels)


@pytest.mark.parametrize(
    ("X", "text"),
    [
        ([[1.0, np.nan], [0, 1]], "row 0"),
        ([[1.0, 2], [np.inf, 1]], "row 1"),
        (np.zeros(3), "2D"),
        (np.zeros((0, 3)), "0 sample"),
        ([["a", "b"]], "not an array of numbers"),
    ],
)
def test_vectors_that_cannot_be_used_are_named(X, text):
    with pytest.raises(DataError, match=text):
        Center().fit(X)


def test_options_out_of_range_are_usage_errors():
    X, y = speakers_and_vectors(np.random.default_rng(0))
    for estimator in (
        LDA(7), LDA(0), LDA(2.5), LDA(covariance_floor=-1), LDA(total_covariance_factor=2),
        Whiten(method="qr"), Whiten(3, method="zca"), WCCN("small"), PLDA(0), PLDA(n_iter=1.5),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            estimator.fit(X, y)


def test_center_subtracts_the_mean_asked_for():
    X, y = np.array([[0.0, 0], [2, 2], [7, 1]]), [0, 0, 1]
    np.testing.assert_allclose(Center().fit(X).mean_, [3, 1])
    np.testing.assert_allclose(Center(per_class=True).fit(X, y).mean_, [4, 1])
    np.testing.assert_array_equal(Center([1, 1]).fit(X).transform(X), X - 1)
    with pytest.raises(DataError, match="mean has 3 features"):
        Center([1, 1, 1]).fit(X)


def test_whitening_gives_identity_covariance():
    X, _ = speakers_and_vectors(np.random.default_rng(3))
    for whiten in (Whiten(), Whiten(method="zca"), Whiten(3)):
        out = whiten.fit_transform(X)
        np.testing.assert_allclose(np.cov(out.T, bias=True), np.eye(out.shape[1]), atol=1e-9)
    zca = Whiten(method="zca").fit(X).projection_
    np.testing.assert_allclose(zca, zca.T, atol=1e-12)


def test_lda_normalises_within_and_diagonalises_between():
    X, y = speakers_and_vectors(np.random.default_rng(4))
    lda = LDA(4).fit(X, y)
    out = lda.transform(X)
    means = np.stack([out[y == c].mean(axis=0) for c in np.unique(y)])
    residual = out - means[y]
    np.testing.assert_allclose(residual.T @ residual / len(X), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(
        np.cov(means.T, bias=True), np.diag(lda.between_variance_), atol=1e-9
    )
    assert (np.diff(lda.between_variance_) <= 0).all()


def test_lda_spans_the_subspace_of_scikit_learn():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y = speakers_and_vectors(np.random.default_rng(5), n_classes=4)
    ours = LDA().fit(X, y).projection_
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(X, y).scalings_[:, :3].T
    cosines = (
        np.sum(ours * theirs, 1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    )
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-6)


def test_more_lda_components_than_classes_determine_is_warned_of():
    X, y = speakers_and_vectors(np.random.default_rng(6), n_classes=3)
    assert LDA().fit(X, y).projection_.shape == (2, 6)
    with pytest.warns(DegenerateDataWarning, match="rank 2 at most"):
        assert np.isfinite(LDA(5).fit(X, y).transform(X)).all()


def test_wccn_weighs_classes_the_same():
    X, y = speakers_and_vectors(np.random.default_rng(7))
    keep = (y > 3) | (np.arange(len(y)) % 3 == 0)
    X, y = X[keep], y[keep]
    out = WCCN().fit(X, y).transform(X)
    covariances = [np.cov(out[y == c].T, bias=True) for c in np.unique(y)]
    np.testing.assert_allclose(np.mean(covariances, axis=0), np.eye(6), atol=1e-9)


def test_length_norm():
    X, _ = speakers_and_vectors(np.random.default_rng(8))
    np.testing.assert_allclose(np.linalg.norm(LengthNorm().fit_transform(X), axis=1), np.sqrt(6))
    np.testing.assert_allclose(np.linalg.norm(LengthNorm(scale=False).transform(X), axis=1), 1)
    extreme = np.array([[3e-30, 4e-30], [3e30, 4e30]], dtype=np.float32)
    np.testing.assert_allclose(LengthNorm(False).transform(extreme), [[0.6, 0.8]] * 2, rtol=1e-6)
    with pytest.warns(DegenerateDataWarning, match="1 of 2 vectors"):
        np.testing.assert_array_equal(LengthNorm().transform(np.eye(2) * [1, 0])[1], 0)


@needs_rank
def test_a_warning_points_at_the_caller(estimator):
    X, y = speakers_and_vectors(np.random.default_rng(0))
    X = np.hstack([X, X[:, :1]])
    for fit in (estimator.fit, make_pipeline(estimator).fit):
        with pytest.warns(DegenerateDataWarning) as caught:
            fit(X, y)
        assert {w.filename for w in caught} == {__file__}


def test_affine_matrix_does_what_the_transformer_does():
    X, y = speakers_and_vectors(np.random.default_rng(9))
    for transformer in (Center(), Whiten(3), LDA(2), WCCN()):
        transformer.fit(X, y)
        np.testing.assert_allclose(
            Affine(transformer.affine()).fit(X).transform(X), transformer.transform(X), atol=1e-9
        )
    np.testing.assert_allclose(Affine(np.ones((1, 6))).transform(X)[:, 0], X.sum(axis=1))
    with pytest.raises(DataError, match="features"):
        Affine(np.ones((2, 4))).fit(X)


def test_pipeline_separates_speakers_and_clones():
    X, y = speakers_and_vectors(np.random.default_rng(10), n_classes=30, n_dims=12)
    backend = clone(make_pipeline(Center(), LDA(8), LengthNorm(), PLDA(n_iter=5)))
    backend.fit(X, y)
    project, plda = backend[:-1], backend[-1]
    scores = plda.score_matrix(project.transform(X[::10]), project.transform(X[1::10]))
    assert (np.diag(scores) > np.median(scores)).all()
    assert backend.transform(X).shape == (300, 8)
    assert backend.score(X, y) > 0.9


@pytest.fixture(scope="module")
def vectors(golden):
    table = read_vectors(golden / "ie/ivectors.txt")
    return np.stack(list(table.values())), [key[:3] for key in table]


def _archive(path):
    return np.stack(list(read_vectors(path).values()))


@pytest.mark.golden
def test_mean_and_lengths_as_kaldi(golden, vectors):
    X, _ = vectors
    center = Center().fit(X)
    np.testing.assert_allclose(
        center.mean_, KaldiReader(golden / "plda/mean.txt").vector(), atol=1e-6
    )
    centred = center.transform(X)
    for name, out in {
        "iv_centered": centred,
        "iv_centered_ln": LengthNorm().transform(centred),
        "iv_centered_unit": LengthNorm(scale=False).transform(centred),
    }.items():
        np.testing.assert_allclose(out, _archive(golden / f"plda/{name}.txt"), atol=2e-6)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lda4", {}),
        ("lda4_tcf0.5", {"total_covariance_factor": 0.5}),
        ("lda4_tcf1_floor0.1", {"total_covariance_factor": 1.0, "covariance_floor": 0.1}),
    ],
)
@pytest.mark.filterwarnings("ignore::ivector.base.errors.DegenerateDataWarning")
def test_lda_as_kaldi(golden, vectors, name, options):
    X, y = vectors
    lda = LDA(4, **options).fit(X, y)
    ours, kaldis = lda.affine(), KaldiReader(golden / f"plda/{name}.txt").matrix()
    signs = np.sign((ours * kaldis).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(signs * ours, kaldis, atol=5e-6)
    if name == "lda4":
        projected = _archive(golden / "plda/iv_lda4.txt")
        np.testing.assert_allclose(lda.transform(X), signs.T * projected, atol=2e-5)
        np.testing.assert_allclose(Affine(kaldis).transform(X), projected, atol=2e-5)
