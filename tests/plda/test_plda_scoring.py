"""Scores: exact against a joint Gaussian, blocks and trial lists as the whole, Kaldi's numbers."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.kaldi import read_vectors
from plda import (
    PLDA,
    cosine_scores,
    cosine_trials,
    dot_products,
    mean_per_class,
    read_plda,
    score_recording,
)
from plda.scoring.kernels import row_products
from plda.scoring.likelihood_ratio import llr_scorer, log_likelihood_ratio
from plda.scoring.pairs import PairScorer


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(2, 4, 8))
    within, between = factors @ factors.transpose(0, 2, 1) / 8
    return PLDA.from_covariances(rng.normal(size=4), within, 2 * between)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def joint_llr(model, enrol, test):
    """Brute force: the stacked vectors of one speaker against two speakers."""

    def log_density(vectors):
        n = len(vectors)
        covariance = np.kron(np.ones((n, n)), model.between_covariance_)
        covariance += np.kron(np.eye(n), model.within_covariance_)
        return multivariate_normal.logpdf(vectors.ravel(), np.tile(model.mean_, n), covariance)

    return log_density(np.vstack([enrol, test])) - log_density(enrol) - log_density(test)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_book_scores_are_joint_gaussian_ratios(model, rng, n):
    enrol, test = rng.normal(size=(3 * n, 4)), rng.normal(size=(2, 4))
    labels = np.repeat(["a", "b", "c"], n)
    raw = {"normalize_length": False}
    scores = model.score_matrix(enrol, test, enrol_labels=labels, **raw)
    expected = [
        [joint_llr(model, enrol[labels == who], t[None]) for t in test] for who in ("a", "b", "c")
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    _, means, counts = mean_per_class(enrol, labels)
    np.testing.assert_allclose(model.score_matrix(means, test, counts, **raw), scores, atol=1e-9)


def test_book_normalises_each_utterance_and_kaldi_the_mean(model, rng):
    enrol, test, labels = rng.normal(size=(6, 4)), rng.normal(size=(2, 4)), [0, 0, 0, 1, 1, 1]
    book = model.score_matrix(enrol, test, enrol_labels=labels)
    latent, latent_test = model.transform(enrol), model.transform(test)
    means = np.stack([latent[:3].mean(axis=0), latent[3:].mean(axis=0)])
    expected = log_likelihood_ratio(model.psi_, means[:, None], latent_test, [[3], [3]])
    np.testing.assert_allclose(book, expected, atol=1e-10)
    _, averages, counts = mean_per_class(enrol, labels)
    assert np.abs(model.score_matrix(averages, test, counts) - book).max() > 1e-3
    with pytest.raises(UsageError, match="`n_enrol` at 1"):
        model.score_matrix(enrol, test, 3, enrol_labels=labels)


@pytest.mark.parametrize("counts", [1, 3, [1, 2, 2, 7, 1, 2], [1, 2, 3, 4, 5, 6], [0.5] * 6])
def test_one_product_equals_the_formula_for_any_counts(rng, counts):
    psi = np.array([3.0, 1.0, 0.2, 0.0])
    enrol, test = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    n = np.broadcast_to(np.asarray(counts, float), 6)
    expected = log_likelihood_ratio(psi, enrol[:, None], test, n[:, None])
    np.testing.assert_allclose(llr_scorer(psi, enrol, test, counts).matrix(), expected, atol=1e-12)
    single = llr_scorer(psi, enrol.astype("f4"), test.astype("f4"), counts).matrix()
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-5)


def test_pairwise_ratio_is_the_diagonal(model, rng):
    enrol, test = (model.transform(rng.normal(size=(5, 4))) for _ in range(2))
    pairs = model.log_likelihood_ratio(enrol, test, [1, 2, 3, 4, 5])
    matrix = llr_scorer(model.psi_, enrol, test, [1, 2, 3, 4, 5]).matrix()
    np.testing.assert_allclose(pairs, np.diag(matrix), atol=1e-12)
    with pytest.raises(DataError, match="give pairs"):
        model.log_likelihood_ratio(enrol, test[:2])


def test_a_dimension_without_between_variance_says_nothing():
    scores = llr_scorer(np.zeros(3), np.ones((2, 3)), np.ones((2, 3)), [1, 4]).matrix()
    np.testing.assert_allclose(scores, 0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_kernel_equals_numpy(rng, dtype):
    left, right = rng.normal(size=(7, 203)).astype(dtype), rng.normal(size=(9, 203)).astype(dtype)
    i, j = rng.integers(0, 7, 500), rng.integers(0, 9, 500)
    out = np.empty(500, dtype)
    row_products(left, right, i, j, out)
    expected = np.einsum("td,td->t", left[i].astype("f8"), right[j].astype("f8"))
    np.testing.assert_allclose(out, expected, atol=1e-4 if dtype == "f4" else 1e-12)


def test_lists_blocks_and_out_give_the_whole(model, rng, tmp_path, monkeypatch):
    monkeypatch.setattr("plda.scoring.pairs._TRIALS_PER_BLOCK", 64)
    enrol, test = rng.normal(size=(13, 4)).astype("f4"), rng.normal(size=(17, 4)).astype("f4")
    counts = rng.integers(1, 4, 13)
    scorer = model.scorer(enrol, test, counts)
    whole = scorer.matrix()
    assert whole.dtype == np.float32 and whole.shape == scorer.shape == (13, 17)
    parts = list(scorer.blocks(memory=17 * 4 * 5))
    assert [rows for rows, _ in parts] == [slice(0, 5), slice(5, 10), slice(10, 13)]
    np.testing.assert_allclose(np.vstack([block for _, block in parts]), whole, atol=1e-5)
    for dtype in ("f4", "f8"):
        mapped = np.memmap(tmp_path / dtype, dtype, "w+", shape=(13, 17))
        assert model.score_matrix(enrol, test, counts, out=mapped) is mapped
        np.testing.assert_allclose(mapped, whole, atol=1e-5)
    i, j = rng.integers(0, 13, 1000), rng.integers(0, 17, 1000, dtype=np.uint16)
    picked = model.score_trials(enrol, test, i, j, counts)
    np.testing.assert_allclose(picked, whole[i, j], atol=1e-5)
    out = np.empty(1000)
    assert scorer.trials(i, j, out) is out
    np.testing.assert_allclose(out, whole[i, j], atol=1e-5)
    assert len(scorer.trials([], [])) == 0


def test_trials_that_cannot_be_scored_are_named(model, rng):
    scorer = model.scorer(rng.normal(size=(3, 4)), rng.normal(size=(2, 4)))
    for i, j, text in (
        ([0, 3], [0, 0], "trial 1 names enrolment row 3"),
        ([0], [-1], "test row -1"),
        ([0, 1], [0], "give pairs"),
        ([0.5], [0], "integers"),
        ([[0]], [[0]], "integers"),
    ):
        with pytest.raises(DataError, match=text):
            scorer.trials(i, j)
    for out in (np.empty((2, 3)), np.empty((3, 2), int)):
        with pytest.raises(DataError, match="out must be"):
            scorer.matrix(out)
    with pytest.raises(UsageError, match="memory"):
        list(scorer.blocks(memory=3))


def test_vectors_and_counts_that_do_not_fit_are_named(model, rng):
    X = rng.normal(size=(3, 4))
    with pytest.raises(DataError, match="5 features, but PLDA is expecting 4"):
        model.score_matrix(X, rng.normal(size=(3, 5)))
    for counts in (0, -1, [1, 2], np.nan, "two"):
        with pytest.raises(DataError):
            model.score_matrix(X, X, counts)


def test_cosines(rng):
    enrol, test = rng.normal(size=(4, 5)), rng.normal(size=(6, 5))
    norms = np.outer(np.linalg.norm(enrol, axis=1), np.linalg.norm(test, axis=1))
    np.testing.assert_allclose(cosine_scores(enrol, test), enrol @ test.T / norms)
    i, j = [3, 0], [5, 5]
    np.testing.assert_allclose(cosine_trials(enrol, test, i, j), (enrol @ test.T / norms)[i, j])
    np.testing.assert_allclose(dot_products(enrol, test, i, j), (enrol @ test.T)[i, j])
    assert cosine_scores(enrol.astype("f4"), test.astype("f4")).dtype == np.float32
    with pytest.warns(DegenerateDataWarning, match="length zero"):
        assert not cosine_scores(np.zeros((1, 5)), test).any()
    with pytest.raises(DataError, match="features"):
        cosine_scores(enrol, test[:, :4])


def test_recordings_are_projected_on_their_own_components(model, rng):
    X = rng.normal(size=(20, 4)) * [5, 3, 1, 0.5]
    covariance = np.cov(X.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    # The first component holds less than 0.9 of the variance, the second passes it: one more.
    assert values[-1] < 0.9 * values.sum() < values[-2:].sum()
    P = vectors[:, :0:-1].T
    expected = model.project(P).score_matrix(X @ P.T, X @ P.T)
    np.testing.assert_allclose(score_recording(model, X, 0.9), expected, atol=1e-9)
    np.testing.assert_allclose(score_recording(model, X, 1.0), model.score_matrix(X, X), atol=1e-9)
    for few in (X[:1], X[:2], X[:3], np.repeat(X[:1], 3, axis=0)):
        for dtype in ("f4", "f8"):
            assert np.isfinite(score_recording(model, few.astype(dtype))).all()
    np.testing.assert_allclose(score_recording(model, X[:1]), model.score_matrix(X[:1], X[:1]))


def test_scorer_takes_rows_of_any_layout(rng):
    left, right = np.asfortranarray(rng.normal(size=(3, 4))), rng.normal(size=(8, 4))[::2]
    np.testing.assert_allclose(PairScorer(left, right).trials([2], [3]), left[2] @ right[3])


def read_archive(path):
    table = read_vectors(path)
    return {key: row for row, key in enumerate(table)}, np.stack(list(table.values()))


def compare_with_kaldi(path, scorer, enrol_rows, test_rows):
    trials = [line.split() for line in path.read_text().splitlines()]
    i = [enrol_rows[enrol] for enrol, _, _ in trials]
    j = [test_rows[test] for _, test, _ in trials]
    kaldi = np.array([float(score) for _, _, score in trials])
    # Kaldi reads and scores float32; 1e-3 is the contract, 5e-5 what is reached.
    np.testing.assert_allclose(scorer.trials(i, j), kaldi, atol=5e-5)
    single = PairScorer(scorer.left.astype("f4"), scorer.right.astype("f4"))
    np.testing.assert_allclose(single.trials(i, j), kaldi, atol=1e-4)
    return len(trials)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scores_utt", {}),
        ("scores_utt_nonorm", {"normalize_length": False}),
        ("scores_utt_simple", {"simple_length_norm": True}),
        ("scores_utt_smoothing0.1", {}),
    ],
)
def test_utterance_scores_as_kaldi(golden, name, options):
    rows, X = read_archive(golden / "plda/iv_centered_ln.txt")
    model = read_plda(golden / "plda/plda")
    model = model.smooth(0.1) if "smoothing" in name else model
    scorer = model.scorer(X, X, **options)
    assert compare_with_kaldi(golden / f"plda/{name}.txt", scorer, rows, rows) == 900


@pytest.mark.golden
@pytest.mark.parametrize("name", ["scores_spk_numutts", "scores_spk_n1"])
def test_speaker_scores_as_kaldi(golden, name):
    rows, X = read_archive(golden / "plda/iv_centered_ln.txt")
    speakers, means, counts = mean_per_class(X, [key[:3] for key in rows])
    enrol_rows, kaldi_means = read_archive(golden / "plda/spk_enrol.txt")
    np.testing.assert_allclose(means, kaldi_means, atol=1e-6)
    assert list(enrol_rows) == speakers.tolist()
    n_enrol = counts if name.endswith("numutts") else 1
    scorer = read_plda(golden / "plda/plda").scorer(means, X, n_enrol)
    assert compare_with_kaldi(golden / f"plda/{name}.txt", scorer, enrol_rows, rows) == 300


@pytest.mark.golden
def test_training_and_scoring_as_kaldi(golden):
    rows, X = read_archive(golden / "plda/iv_centered_ln.txt")
    model = PLDA().fit(X, [key[:3] for key in rows])
    compare_with_kaldi(golden / "plda/scores_utt.txt", model.scorer(X, X), rows, rows)


@pytest.mark.golden
def test_cosines_as_kaldi(golden):
    rows, X = read_archive(golden / "plda/iv_centered_unit.txt")
    trials = [line.split() for line in (golden / "plda/cosine_utt.txt").read_text().splitlines()]
    i, j = [rows[t[0]] for t in trials], [rows[t[1]] for t in trials]
    kaldi = [float(t[2]) for t in trials]
    np.testing.assert_allclose(dot_products(X, X, i, j), kaldi, atol=1e-6)
    np.testing.assert_allclose(cosine_trials(X, X, i, j), kaldi, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("recording", ["s00", "s05"])
def test_recording_scores_as_kaldi(golden, recording):
    # The other recordings have too few segments for the components Kaldi keeps: it takes
    # directions of the null space, which are rounding errors.
    rows, X = read_archive(golden / "plda/iv_centered_ln.txt")
    text = (golden / "plda/dense_scores_te0.9.txt").read_text()
    body = text.split(f"{recording}  [")[1].split("]")[0]
    kaldi = np.array([line.split() for line in body.strip().splitlines()], dtype=float)
    segments = X[[row for key, row in rows.items() if key.startswith(recording)]]
    ours = score_recording(read_plda(golden / "plda/plda"), segments, target_energy=0.9)
    np.testing.assert_allclose(ours, kaldi, atol=1e-5)
