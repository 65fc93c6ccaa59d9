"""Bounded logistic regression against its definition, and against outliers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, logit
from sklearn.base import clone

from fusion.calibration.bounded import bound, bounds, fit_bounded, unbound
from fusion.calibration.kernels import bounded_pass
from fusion.calibration.linear import LinearFusion
from fusion.calibration.logistic import fit_logistic
from fusion.calibration.one_system import Calibration
from fusion.calibration.saving import load_model, save_model
from fusion.metrics.rates import cllr, min_cllr


def reference_bound(z, a, c, lean=0.0):
    """Equation (1) with outliers that lean towards their own class, as the text says it."""
    e, f, h = expit(a), expit(c), lean * np.arcsinh(z)
    targets = (1 - e) * np.exp(z) + e * np.exp(h)
    return np.log(targets) - np.log((1 - f) + f * np.exp(z - h))


def reference_cost(point, X, y, prior, ridge):
    """Cost of trials and one more in each class, as the text says it."""
    d = X.shape[1]
    shift = logit(prior)
    a, c = point[d + 1 :]
    llr = reference_bound(X @ point[:d] + point[d], a, c)
    low, high = bounds(a, c)
    tar = np.append(llr[y], low) + shift
    non = np.append(llr[~y], high) + shift
    cost = prior * np.logaddexp(0, -tar).mean() + (1 - prior) * np.logaddexp(0, non).mean()
    return cost + ridge / 2 * np.sum((point[:d] * X.std(axis=0)) ** 2)


def with_outliers(rng, n_tar=600, n_non=2000, share=0.03):
    y = np.arange(n_tar + n_non) < n_tar
    z = np.where(y, 4, -4) + np.sqrt(8) * rng.normal(size=len(y))
    flipped = rng.random(len(y)) < share
    return np.where(flipped, -z, z), y


def test_bound_is_its_definition_and_has_an_inverse():
    z = np.linspace(-40, 40, 161)
    for a, c in ((-4.0, -6.0), (-1.0, -9.0), (0.0, 0.0)):
        assert_allclose(bound(z, a, c), reference_bound(z, a, c, 1e-4), atol=1e-12)
    low, high = bounds(-4.0, -6.0)
    assert_allclose([low, high], [logit(expit(-4)) - np.log(1 - expit(-6)) + np.log1p(-expit(-4)),
                                  np.log(1 - expit(-4)) - np.log(expit(-6))])  # fmt: skip
    for llr in (low - 1e-3, -3.5, -1, 0, 2, 5.5, high + 1e-3):
        assert_allclose(bound(unbound(llr, -4.0, -6.0), -4.0, -6.0), llr, atol=1e-12)
    assert unbound(high + 0.1, -4.0, -6.0) == np.inf
    assert unbound(low - 0.1, -4.0, -6.0) == -np.inf


@pytest.mark.parametrize("a, c", [(-4.0, -6.0), (-0.1, -30.0), (0.0, 0.0)])
def test_rises_everywhere_and_passes_its_bounds_by_little(a, c):
    far = np.logspace(-9, 50, 5000)
    llr = bound(np.concatenate([-far[::-1], [0.0], far]), a, c)
    assert (np.diff(llr) > 0).all()
    low, high = bounds(a, c)
    assert low - 0.012 < llr[0] and llr[-1] < high + 0.012
    assert low - 1e-3 <= bound(-1e4, a, c) and bound(1e4, a, c) <= high + 1e-3
    assert np.isfinite(bound([-np.inf, np.inf], a, c)).all()


def test_kernel_is_the_cost_and_its_gradient():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 2)), np.arange(50) < 20
    point, prior = np.array([0.7, -0.4, 0.3, -2.0, -3.0]), 0.2
    signed = np.where(y, prior / 21, (prior - 1) / 31)
    columns, gradient = np.ascontiguousarray(X.T), np.empty(5)

    def cost(p, gradient=gradient):
        extra = prior / 21, (1 - prior) / 31
        return bounded_pass(columns, signed, p, logit(prior), *extra, gradient)

    assert_allclose(cost(point), reference_cost(point, X, y, prior, 0.0), rtol=1e-12)
    numeric = approx_fprime(point, lambda p: cost(p, np.empty(5)), 1e-7)
    cost(point)
    assert_allclose(gradient, numeric, atol=1e-6)


@pytest.mark.parametrize("prior, ridge", [(0.5, 0.0), (0.05, 1e-3)])
def test_fit_is_the_minimum(prior, ridge):
    rng = np.random.default_rng(1)
    scores, y = with_outliers(rng)
    X = np.column_stack([scores, scores + 2 * rng.normal(size=len(scores))])
    fit = fit_bounded(X, y, prior=prior, ridge=ridge)
    point = np.concatenate([fit.weights, [fit.offset], fit.outlier_log_odds])
    weight = np.where(y, prior / y.sum(), (1 - prior) / (~y).sum())
    scale = np.sqrt(np.average((X - weight @ X) ** 2, axis=0, weights=weight)) / X.std(axis=0)

    def cost(p):
        penalty = np.sum((p[:2] * X.std(axis=0) * scale) ** 2)
        return reference_cost(p, X, y, prior, 0.0) + ridge / 2 * penalty

    assert_allclose(fit.objective[-1], cost(point), rtol=1e-9)
    best = minimize(cost, point, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13})
    assert cost(point) <= best.fun + 1e-9
    assert np.all(np.diff(fit.objective) <= 1e-12)


def test_finds_the_share_of_outliers_and_the_slope_that_they_hide():
    scores, y = with_outliers(np.random.default_rng(2), 20_000, 60_000)
    fit = fit_bounded(scores, y)
    assert_allclose(fit.weights, 1, atol=0.05)
    assert_allclose(expit(fit.outlier_log_odds), 0.03, atol=0.004)
    assert fit_logistic(scores, y).weights[0] < 0.7
    llr = Calibration(bounded=True).fit(scores, y).transform(scores)
    assert cllr(llr[y], llr[~y]) < 1.01 * min_cllr(llr[y], llr[~y])


def test_claims_no_more_than_the_number_of_trials_shows():
    rng = np.random.default_rng(3)
    y = np.arange(300) < 100
    with pytest.warns(UserWarning, match="separate"):
        model = Calibration(bounded=True).fit(np.where(y, 5, -5) + rng.random(300), y)
    low, high = model.transform(np.array([-1e6, 1e6]))
    assert -np.log(101) - 0.1 < low < -2 and 2 < high < np.log(201) + 0.1


def test_calibration_threshold_and_file(tmp_path):
    from fusion.metrics.points import OperatingPoint

    scores, y = with_outliers(np.random.default_rng(4))
    model = clone(Calibration(bounded=True, prior=0.1)).fit(scores, y)
    point = OperatingPoint(0.05)
    assert_allclose(model.transform(np.array([model.threshold(point)])), point.threshold)
    assert model.threshold(OperatingPoint(1e-9)) == np.inf
    save_model(tmp_path / "m.json", model)
    same = load_model(tmp_path / "m.json")
    assert np.array_equal(same.transform(scores), model.transform(scores))
    assert model.parameters()["upper level of llr"] > 0


def test_fusion_with_outliers(tmp_path):
    rng = np.random.default_rng(5)
    scores, y = with_outliers(rng)
    X = np.column_stack([scores + rng.normal(size=len(y)), scores + rng.normal(size=len(y))])
    plain, model = (LinearFusion(bounded=b, missing="fallback").fit(X, y) for b in (False, True))
    costs = [cllr(m.transform(X)[y], m.transform(X)[~y]) for m in (plain, model)]
    assert costs[1] < 0.97 * costs[0]
    fit = fit_bounded(X, y)
    assert_allclose(model.transform(X), bound(X @ fit.weights + fit.offset, *fit.outlier_log_odds))
    X[::7, 1] = np.nan
    assert np.isfinite(model.transform(X)).all()
    save_model(tmp_path / "m.json", model)
    assert np.array_equal(load_model(tmp_path / "m.json").transform(X), model.transform(X))
