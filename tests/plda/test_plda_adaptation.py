"""Unsupervised adaptation: Kaldi's numbers, and what they mean."""

import numpy as np
import pytest

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.kaldi import read_vectors
from plda import PLDA, adapt_plda, read_plda

PARAMETERS = ("mean_", "within_covariance_", "between_covariance_", "psi_")


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(2, 3, 6))
    within, between = factors @ factors.transpose(0, 2, 1) / 6
    return PLDA.from_covariances(np.ones(3), within, between)


def drawn_from(model, rng, n, scale=1.0, shift=0.0):
    total = scale * (model.within_covariance_ + model.between_covariance_)
    return rng.multivariate_normal(model.mean_ + shift, total, n)


def kaldi_adaptation(model, X, within_scale, between_scale, mean_scale):
    """PldaUnsupervisedAdaptor::UpdatePlda step by step, to W and B; the readable reference."""
    mean = X.mean(axis=0)
    variance = np.cov(X.T, bias=True)
    variance += mean_scale * np.outer(mean - model.mean_, mean - model.mean_)
    to_unit = np.diag(1 / np.sqrt(1 + model.psi_)) @ model.transform_
    values, P = np.linalg.eigh(to_unit @ variance @ to_unit.T)
    W = P.T @ np.diag(1 / (1 + model.psi_)) @ P
    B = P.T @ np.diag(model.psi_ / (1 + model.psi_)) @ P
    for d, value in enumerate(values):
        if value > 1:
            W[d, d] += (value - 1) * within_scale
            B[d, d] += (value - 1) * between_scale
    back = np.linalg.inv(P.T @ to_unit)
    return mean, back @ W @ back.T, back @ B @ back.T


@pytest.mark.parametrize("scales", [(0.3, 0.7, 1.0), (0.75, 0.25, 0.5), (1.0, 0.0, 0.0)])
def test_equals_the_reference(model, scales):
    X = drawn_from(model, np.random.default_rng(1), 50, scale=2.0, shift=[1, 0, -1])
    adapted = adapt_plda(model, X, *scales)
    mean, within, between = kaldi_adaptation(model, X, *scales)
    np.testing.assert_allclose(adapted.mean_, mean)
    np.testing.assert_allclose(adapted.within_covariance_, within, atol=1e-10)
    np.testing.assert_allclose(adapted.between_covariance_, between, atol=1e-10)


def test_scales_of_one_give_the_new_total_covariance(model):
    X = drawn_from(model, np.random.default_rng(2), 5000, scale=4.0)
    adapted = adapt_plda(model, X, 0.5, 0.5, 0.0)
    total = adapted.within_covariance_ + adapted.between_covariance_
    np.testing.assert_allclose(total, np.cov(X.T, bias=True), atol=1e-9)


def test_less_variance_than_expected_changes_the_mean_only(model):
    X = drawn_from(model, np.random.default_rng(3), 500, scale=0.1, shift=2.0)
    adapted = adapt_plda(model, X, mean_diff_scale=0.0)
    np.testing.assert_allclose(adapted.mean_, X.mean(axis=0))
    np.testing.assert_allclose(adapted.within_covariance_, model.within_covariance_, atol=1e-10)
    np.testing.assert_allclose(adapted.between_covariance_, model.between_covariance_, atol=1e-10)
    np.testing.assert_allclose(model.mean_, 1.0)


@pytest.mark.parametrize(("n", "rank"), [(1, 0), (3, 2), (2, 1)])
def test_few_vectors_are_warned_of(model, n, rank):
    X = drawn_from(model, np.random.default_rng(4), n, scale=3.0)
    with pytest.warns(DegenerateDataWarning, match=f"rank {rank} of 3"):
        adapted = adapt_plda(model, X)
    assert np.isfinite(adapted.score_matrix(X, X)).all()


def test_bad_input_is_named(model):
    X = np.zeros((4, 3))
    with pytest.raises(UsageError, match="within_covar_scale"):
        adapt_plda(model, X, within_covar_scale=-1)
    with pytest.raises(DataError, match="features"):
        adapt_plda(model, X[:, :2])
    with pytest.raises(DataError, match="NaN"):
        adapt_plda(model, X * np.nan)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "scales"),
    [("plda_adapted", ()), ("plda_adapted_w0.75_b0.25_m0.5.txt", (0.75, 0.25, 0.5))],
)
def test_adaptation_as_kaldi(golden, name, scales):
    table = read_vectors(golden / "plda/adapt_ivectors.txt")
    X = np.stack(list(table.values()))
    adapted = adapt_plda(read_plda(golden / "plda/plda"), X, *scales)
    kaldi = read_plda(golden / "plda" / name)
    for parameter in PARAMETERS:
        np.testing.assert_allclose(
            getattr(adapted, parameter), getattr(kaldi, parameter), atol=2e-6, err_msg=parameter
        )
    if not scales:
        rows = {key: row for row, key in enumerate(table)}
        lines = (golden / "plda/scores_utt_adapted.txt").read_text().splitlines()
        trials = [line.split() for line in lines]
        i, j = [rows[t[0]] for t in trials], [rows[t[1]] for t in trials]
        scores = [float(t[2]) for t in trials]
        np.testing.assert_allclose(adapted.score_trials(X, X, i, j), scores, atol=5e-5)
