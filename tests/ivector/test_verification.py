"""MAP adaptation and GMM-UBM scoring against definitions written out."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone

from ivector.base.errors import DataError, UsageError
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.kernels_verifier import llr_per_model
from ivector.gmm.map_adaptation import map_adapt
from ivector.gmm.verifier import GMMVerifier

C, D = 5, 3


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(3)
    centres = rng.normal(scale=3, size=(C, D))
    return (centres[rng.integers(C, size=900)] + rng.normal(size=(900, D))).astype(np.float32)


@pytest.fixture(scope="module")
def ubm(frames):
    return DiagonalGMM(C, n_iter=10, random_state=0).fit(frames)


def joint(weights, means, covariances, X):
    """Log w_c N(x | c), written out."""
    return np.log(weights) + norm.logpdf(X[:, None], means, np.sqrt(covariances)).sum(axis=2)


def test_map_equals_reynolds_equations(ubm, frames):
    X, r = frames[:60], 7.0
    log_joint = joint(ubm.weights_, ubm.means_, ubm.covariances_, X)
    posterior = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    adapted = map_adapt(ubm, ubm.accumulate(X), r, "mvw")
    for c in range(C):
        n = posterior[:, c].sum()
        alpha = n / (n + r)
        mean = posterior[:, c] @ X / n
        square = posterior[:, c] @ X**2 / n
        expected = alpha * mean + (1 - alpha) * ubm.means_[c]
        np.testing.assert_allclose(adapted.means_[c], expected, rtol=1e-4, atol=1e-4)
        prior = ubm.covariances_[c] + ubm.means_[c] ** 2
        variance = alpha * square + (1 - alpha) * prior - expected**2
        np.testing.assert_allclose(adapted.covariances_[c], variance, rtol=1e-3)
    assert adapted.weights_.sum() == pytest.approx(1)


def test_relevance_runs_from_data_to_prior(ubm, frames):
    statistics = ubm.accumulate(frames)
    near = map_adapt(ubm, statistics, 1e-9)
    mean = statistics.first / statistics.zeroth[:, None]
    np.testing.assert_allclose(near.means_, mean, rtol=1e-6)
    np.testing.assert_allclose(map_adapt(ubm, statistics, 1e12).means_, ubm.means_, rtol=1e-6)
    with pytest.raises(UsageError, match="relevance must be positive"):
        map_adapt(ubm, statistics, 0)
    with pytest.raises(UsageError, match="letters of"):
        map_adapt(ubm, statistics, 16, "x")


def test_score_is_the_mean_log_likelihood_ratio(ubm, frames):
    verifier = GMMVerifier(ubm, relevance=4, top_n=C)
    models = np.stack([verifier.enrol(frames[:50]), verifier.enrol([frames[50:90], frames[90:99]])])
    X = frames[100:180]
    background = logsumexp(joint(ubm.weights_, ubm.means_, ubm.covariances_, X), axis=1)
    expected = [
        np.mean(logsumexp(joint(ubm.weights_, m, ubm.covariances_, X), axis=1) - background)
        for m in models
    ]
    np.testing.assert_allclose(verifier.score_models(models, X), expected, atol=1e-4)


def test_frames_far_from_everything_count_finitely(ubm, frames):
    models = ubm.means_[None] + 3
    X = frames[:20].copy()
    X[0] = 1e4
    background = logsumexp(joint(ubm.weights_, ubm.means_, ubm.covariances_, X), axis=1)
    adapted = logsumexp(joint(ubm.weights_, models[0], ubm.covariances_, X), axis=1)
    got = GMMVerifier(ubm, top_n=C).score_models(models, X)
    np.testing.assert_allclose(got, np.mean(adapted - background), rtol=1e-3)
    assert GMMVerifier(ubm).score_models(models.tolist(), X.tolist()).shape == (1,)


def test_a_clone_keeps_its_background_model(ubm):
    assert clone(GMMVerifier(ubm, top_n=3)).ubm is ubm


def test_top_n_is_near_the_full_score(ubm, frames):
    models = np.stack([GMMVerifier(ubm).enrol(frames[:200])])
    full = GMMVerifier(ubm, top_n=C).score_models(models, frames[200:400])
    fast = GMMVerifier(ubm, top_n=2).score_models(models, frames[200:400])
    assert abs(full - fast)[0] < 0.02


def test_kernel_equals_numpy():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, D)).astype(np.float32)
    selected = np.stack([rng.permutation(C)[:2] for _ in X]).astype(np.int32)
    base = -rng.random((20, 2)).astype(np.float32)
    shifts = rng.normal(size=(4, C, D)).astype(np.float32)
    penalties = rng.normal(size=(4, C)).astype(np.float32)
    moved = np.einsum("mnkd,nd->mnk", shifts[:, selected], X) - penalties[:, selected]
    expected = (logsumexp(base + moved, axis=2) - logsumexp(base, axis=1)).mean(axis=1)
    got = llr_per_model(X, selected, base, shifts, penalties)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_bad_input_is_named(ubm, frames):
    verifier = GMMVerifier(ubm)
    empty = np.zeros((0, D), np.float32)
    with pytest.raises(DataError, match="without a single frame"):
        verifier.enrol(empty)
    assert verifier.score_models(ubm.means_[None].astype(np.float32), empty) == [0]
    with pytest.raises(DataError, match="enrol with the same UBM"):
        verifier.score_models(np.zeros((2, C + 1, D), np.float32), frames[:5])
    with pytest.raises(UsageError, match="top_n"):
        GMMVerifier(ubm, top_n=0).score_models(ubm.means_[None], frames[:5])
    with pytest.raises(DataError, match="NaN or infinity; enrol"):
        verifier.score_models(ubm.means_[None] * np.nan, frames[:5])
    with pytest.raises(DataError, match=r"ubm\.accumulate"):
        map_adapt(ubm, DiagonalGMM(1, random_state=0).fit(frames).accumulate(frames))
