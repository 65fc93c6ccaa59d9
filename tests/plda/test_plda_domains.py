"""Back-ends adapted to another domain: every method, whether to, and the command."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from ivector.base.cli import run
from ivector.base.errors import DataError, UsageError
from plda import (
    LDA,
    PLDA,
    Center,
    LengthNorm,
    adapt_backend,
    adapt_plda,
    cross_fit,
    load_model,
    read_backend,
    read_plda,
    save_model,
    write_ids_vectors,
    write_plda,
)
from plda.commands.adapt import main, make_parser
from plda.domains.evidence import THRESHOLD, evidence, log_likelihood
from plda.domains.methods import METHODS

D = 8


def drawn(rng, n_speakers, n_each=5, shift=0.0, within=1.0, between=1.0):
    """Vectors and speakers of a domain; both covariances are turned and scaled."""
    y = np.repeat(np.arange(n_speakers), n_each)
    axes = np.linspace(0.5, 2, D)
    centres = between * axes * rng.normal(size=(n_speakers, D))
    return centres[y] + within * rng.normal(size=(len(y), D)) + shift, y


@pytest.fixture(scope="module")
def source():
    return drawn(np.random.default_rng(0), 150)


@pytest.fixture(scope="module")
def chain(source):
    return make_pipeline(Center(), LDA(6), LengthNorm(), PLDA()).fit(*source)


@pytest.fixture(scope="module")
def model(source):
    return PLDA().fit(*source)


def labels_for(method, y):
    return y if METHODS[method].labelled else None


def eer(backend, X, y):
    steps, plda = backend[:-1], backend[-1]
    vectors = steps.transform(X)
    scores = plda.score_matrix(vectors, vectors)
    rows, columns = np.triu_indices(len(X), 1)
    same, scores = (y[:, None] == y)[rows, columns], scores[rows, columns]
    thresholds = np.quantile(scores, np.linspace(0, 1, 400))
    miss = np.array([(scores[same] < t).mean() for t in thresholds])
    alarm = np.array([(scores[~same] >= t).mean() for t in thresholds])
    return np.maximum(miss, alarm).min()


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_is_worth_it_and_none_is_not(chain, method):
    rng = np.random.default_rng(1)
    moved, y = drawn(rng, 40, shift=3.0, within=1.5)
    control, z = drawn(rng, 12)
    found = evidence(chain, moved, method, labels_for(method, y))
    assert found.adapts and found.gain > 0.5
    assert not evidence(chain, control, method, labels_for(method, z)).adapts


def test_centring_alone_decides(model):
    """Wider speakers are likelier by Kaldi's method, but no reason to adapt to them."""
    wide, _ = drawn(np.random.default_rng(10), 40, between=1.5)
    found = evidence(model, wide)
    assert found.gain > 0.05 and found.shift < THRESHOLD and not found.adapts
    alone = evidence(model, wide, "centring")
    assert alone.gain == pytest.approx(D * alone.shift) and alone.shift == found.shift
    assert alone.error == D * alone.shift_error
    judged = log_likelihood(model, wide)
    np.testing.assert_allclose(found.before, judged.mean())
    after = np.empty(len(wide))
    for rows, adapted in cross_fit(model, wide, "centring"):
        after[rows] = log_likelihood(adapted, wide[rows])
    assert found.shift == pytest.approx((after - judged).mean() / D)


@pytest.mark.parametrize("method", METHODS)
def test_a_shift_is_mended_for_other_speakers(chain, method):
    rng = np.random.default_rng(2)
    X, y = drawn(rng, 80, shift=3.0, within=1.5)
    unseen = y >= 40
    adapted = adapt_backend(chain, X[~unseen], method, labels_for(method, y[~unseen]))
    assert eer(adapted, X[unseen], y[unseen]) < 0.9 * eer(chain, X[unseen], y[unseen])
    assert np.array_equal(
        chain[0].mean_, Center().fit(drawn(np.random.default_rng(0), 150)[0]).mean_
    )


def test_kaldis_is_kaldis(model):
    X, _ = drawn(np.random.default_rng(3), 30, shift=1.0, within=2.0)
    given, wanted = (
        adapt_backend(model, X, "kaldi", within=0.75, between=0.25),
        adapt_plda(model, X, 0.75, 0.25),
    )
    np.testing.assert_array_equal(given.transform_, wanted.transform_)
    np.testing.assert_array_equal(given.psi_, wanted.psi_)


def root(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**exponent) @ vectors.T


def recoloured(model, X):
    """CORAL as its paper has it, with the covariance that the text names."""
    W, B = model.within_covariance_, model.between_covariance_
    N, C = len(X), W + B
    S = (N * np.cov(X.T, bias=True) + D * C) / (N + D)
    A = root(S, 0.5) @ root(C, -0.5)
    return W, B, S, A @ W @ A.T, A @ B @ A.T


def test_coral_takes_the_new_covariance(model):
    X, _ = drawn(np.random.default_rng(4), 30, shift=1.0, within=2.0)
    _, _, S, W, B = recoloured(model, X)
    found = adapt_backend(model, X, "coral")
    np.testing.assert_allclose(found.within_covariance_, W, atol=1e-9)
    np.testing.assert_allclose(found.between_covariance_, B, atol=1e-9)
    np.testing.assert_allclose(W + B, S, atol=1e-9)
    np.testing.assert_allclose(found.mean_, X.mean(axis=0))


def test_coral_plus_only_adds(model):
    X, _ = drawn(np.random.default_rng(5), 30, within=2.0, between=0.2)
    W, B, _, new_w, new_b = recoloured(model, X)
    found = adapt_backend(model, X, "coral+", within=0.6, between=0.3)
    for old, new, share, given in (
        (W, new_w, 0.6, found.within_covariance_), (B, new_b, 0.3, found.between_covariance_),
    ):  # fmt: skip
        ratios, Q = np.linalg.eigh(root(old, -0.5) @ new @ root(old, -0.5))
        back = root(old, 0.5) @ Q
        wanted = old + share * back @ np.diag(np.maximum(0, ratios - 1)) @ back.T
        np.testing.assert_allclose(given, wanted, atol=1e-8)
        assert np.linalg.eigvalsh(given - old).min() > -1e-9


def test_interpolation_meets_both_ends(model):
    X, y = drawn(np.random.default_rng(6), 60, shift=2.0, within=2.0)
    mine = PLDA().fit(X, y)
    for weight, wanted in ((0.0, model), (1.0, mine)):
        found = adapt_backend(model, X, "interpolation", y, weight=weight)
        np.testing.assert_allclose(found.within_covariance_, wanted.within_covariance_, atol=1e-8)
        np.testing.assert_allclose(found.between_covariance_, wanted.between_covariance_, atol=1e-8)
        np.testing.assert_allclose(found.mean_, wanted.mean_)


def test_likelihood_is_that_of_the_gaussian(model, source):
    from scipy.stats import multivariate_normal

    total = model.within_covariance_ + model.between_covariance_
    wanted = multivariate_normal(model.mean_, total).logpdf(source[0][:20])
    np.testing.assert_allclose(log_likelihood(model, source[0][:20]), wanted)


@pytest.mark.parametrize("labelled", [False, True])
def test_no_vector_is_judged_by_a_model_that_has_seen_it_or_its_speaker(model, labelled):
    X, y = drawn(np.random.default_rng(7), 12, n_each=3)
    rows = []
    for left_out, adapted in cross_fit(model, X, "centring", y if labelled else None, n_folds=4):
        rest = np.setdiff1d(np.arange(len(X)), left_out)
        np.testing.assert_allclose(adapted.mean_, X[rest].mean(axis=0))
        assert not labelled or not set(y[rest]) & set(y[left_out])
        rows.extend(left_out)
    assert sorted(rows) == list(range(len(X)))


@pytest.mark.parametrize(
    "method, y, options, error, message",
    [
        ("corral", None, {}, UsageError, "method must be one of centring, kaldi"),
        ("interpolation", None, {}, UsageError, "needs the speakers"),
        ("coral", None, {"within": 0.5}, UsageError, "coral takes no parameters, not within"),
        ("kaldi", None, {"within": 1.5}, UsageError, "within must be a number from 0 to 1"),
        ("kaldi", [1] * 10, {}, DataError, "1 speaker to adapt to"),
    ],
)
def test_what_cannot_be_done_is_named(model, method, y, options, error, message):
    X, _ = drawn(np.random.default_rng(8), 2)
    with pytest.raises(error, match=message):
        evidence(model, X, method, y, **options)


@pytest.mark.parametrize("method", ["centring", "kaldi", "coral", "coral+"])
def test_other_vectors_and_backends_are_refused(chain, model, method):
    for backend in (chain, model):
        with pytest.raises(DataError, match="7 features, but"):
            adapt_backend(backend, np.ones((5, 7)), method)
    with pytest.raises(DataError, match="ends in Center, not in PLDA"):
        adapt_backend(Center().fit(np.eye(3)), np.eye(3), method)


# --- the command --------------------------------------------------------------------------------


def command(*words):
    return run(make_parser(), main, [str(word) for word in words])


@pytest.fixture
def here(tmp_path, monkeypatch, chain, model):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(9)
    for name, n_speakers, shift in (("moved", 40, 3.0), ("same", 12, 0.0)):
        X, y = drawn(rng, n_speakers, shift=shift)
        ids = [f"{name}{n:03d}" for n in range(len(X))]
        write_ids_vectors(f"{name}.ark", ids, X)
        (tmp_path / f"{name}.utt2spk").write_text(
            "".join(f"{one} s{speaker}\n" for one, speaker in zip(ids, y))
        )
    save_model(chain, "chain.npz")
    write_plda(model, "plda")
    return tmp_path


def test_the_command_adapts_or_says_why_not(here, capsys, chain):
    assert command("chain.npz", "moved.ark", "new.npz") == 0
    text = capsys.readouterr().out
    assert "kaldi: log-likelihood of 200 vectors" in text and text.endswith("adapted: new.npz\n")
    assert not np.allclose(load_model("new.npz")[0].mean_, chain[0].mean_, atol=1)
    assert command("chain.npz", "same.ark", "kept.npz") == 0
    text = capsys.readouterr().out
    assert (
        "centring alone gains -" in text and "above 0.02" in text and "not adapted, as too" in text
    )
    np.testing.assert_array_equal(load_model("kept.npz")[0].mean_, chain[0].mean_)
    assert command("chain.npz", "same.ark", "kept.npz", "--always", "--method", "centring") == 0
    assert "adapted all the same" in capsys.readouterr().out
    assert not np.array_equal(load_model("kept.npz")[0].mean_, chain[0].mean_)


def test_the_command_takes_kaldis_model_and_labels(here, capsys, model):
    words = ("--method", "interpolation", "--utt2spk", "moved.utt2spk", "--weight", "1")
    assert command("plda", "moved.ark", "new", *words) == 0
    assert "interpolation: log-likelihood of 200 vectors" in capsys.readouterr().out
    assert np.abs(read_plda("new").mean_ - model.mean_).max() > 2


@pytest.mark.parametrize(
    "words, status, message",
    [
        (("chain.npz", "moved.ark", "new"), 2, "new: a back-end with transforms is written as"),
        (("plda", "moved.ark", "n", "--method", "interpolation"), 2, "needs the speakers"),
        (("plda", "moved.ark", "n", "--utt2spk", "same.utt2spk"), 1, "no speaker for moved000"),
        (("plda", "moved.ark", "n", "--utt2spk", "twice"), 1, "line 2: moved0 is of b, and of a"),
        (("plda", "moved.ark", "n", "--method", "coral", "--between", "1"), 2, "takes no param"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(here, capsys, words, status, message):
    (here / "twice").write_text("moved0 a\nmoved0 b\n")
    assert command(*words) == status
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("backend", ["chain.npz", "plda"])
def test_scoring_warns_of_vectors_of_another_domain(here, caplog, backend):
    """By the evidence that adaptation takes; scores are written all the same."""
    from plda.commands import score

    for name, is_other in (("same", False), ("moved", True)):
        (here / "trials").write_text(f"{name}000 {name}001\n")
        words = (backend, f"{name}.ark", f"{name}.ark", "trials", "scores")
        assert run(score.make_parser(), score.main, list(words)) == 0
        assert ("moved.ark: its vectors are not like those" in caplog.text) == is_other
        assert (here / "scores").read_text().startswith(f"{name}000 {name}001 ")


def test_a_back_end_of_a_recipe_is_read_whole(here, chain, source):
    """Its folder also holds PLDA in Kaldi's form, which lacks what comes before it."""
    (here / "backend").mkdir()
    save_model(chain[:-1], "backend/transforms.npz")
    save_model(chain[-1], "backend/plda.npz")
    write_plda(chain[-1], "backend/plda")
    X = source[0][:50]
    np.testing.assert_array_equal(
        log_likelihood(read_backend("backend"), X), log_likelihood(chain, X)
    )
