"""Prior-weighted logistic regression against scikit-learn, SciPy and its definition."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from fusion.calibration.kernels import BLOCK, logistic_pass, standardise
from fusion.calibration.logistic import fit_logistic
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError


def trials(n=2000, d=1, share=0.2, distance=1.5, seed=0):
    """Columns (n, d) of different scales and overlapping classes."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < share
    y[:2] = True, False
    mixing = np.eye(d) + 0.5 * np.tril(rng.standard_normal((d, d)), -1)
    X = rng.standard_normal((n, d)) @ mixing + distance * y[:, None] * rng.uniform(0.2, 1, d)
    return X * 10.0 ** rng.uniform(-3, 3, d) + rng.normal(0, 5, d), y


def class_weights(y, prior, weight=None):
    """The weights of equation (1)."""
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    share = np.where(y, prior, 1 - prior)
    return weight * share / np.where(y, weight[y].sum(), weight[~y].sum())


def cost(weights, offset, X, y, prior, ridge=0.0, weight=None):
    """Equation (1), written down."""
    v = class_weights(y, prior, weight)
    s = X @ weights + offset + np.log(prior / (1 - prior))
    mean = v @ X
    sigma = np.sqrt(v @ (X - mean) ** 2)
    return v @ np.logaddexp(0, np.where(y, -s, s)) + ridge / 2 * np.sum((sigma * weights) ** 2)


def peer(X, y, prior, ridge, weight=None):
    """scikit-learn's weights and offset of the same cost."""
    v = class_weights(y, prior, weight)
    mean = v @ X
    sigma = np.sqrt(v @ (X - mean) ** 2)
    model = LogisticRegression(
        C=1 / ridge if ridge else np.inf, solver="newton-cholesky", tol=1e-13, max_iter=1000
    ).fit((X - mean) / sigma, y, sample_weight=v)
    weights = model.coef_[0] / sigma
    return weights, model.intercept_[0] - np.log(prior / (1 - prior)) - mean @ weights


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("n", [3, BLOCK, 2 * BLOCK + 37])
def test_kernel_equals_its_definition(d, n):
    rng = np.random.default_rng(n + d)
    Z, w, b, shift = rng.standard_normal((d, n)), 3 * rng.standard_normal(d), 0.3, -2.0
    y = np.arange(n) % 3 == 0
    v = rng.random(n) + 0.1
    gradient, hessian = np.full(d + 1, np.nan), np.full((d + 1, d + 1), np.nan)
    found = logistic_pass(Z, np.where(y, v, -v), w, b, shift, gradient, hessian)
    z = w @ Z + b
    p, X = expit(z + shift), np.vstack([Z, np.ones(n)])
    loss = v @ np.logaddexp(0, np.where(y, -1, 1) * (z + shift))
    assert found == pytest.approx((loss, z[y].min(), z[~y].max()), rel=1e-14)
    np.testing.assert_allclose(gradient, X @ (v * (p - y)), rtol=1e-12, atol=1e-13 * v.sum())
    np.testing.assert_allclose(hessian, (X * v * p * (1 - p)) @ X.T, rtol=1e-12, atol=1e-13)


def test_kernel_at_extreme_scores():
    """The written-out exponential and logarithm, to the ends of their ranges."""
    z = np.concatenate([-np.logspace(-320, 5, 300), [0.0], np.logspace(-320, 5, 300)])
    gradient, hessian = np.empty(2), np.empty((2, 2))
    for value in z:
        one = np.array([[value]])
        loss, _, _ = logistic_pass(one, np.ones(1), np.ones(1), 0.0, 0.0, gradient, hessian)
        assert loss == pytest.approx(np.logaddexp(0, -value), rel=1e-15, abs=1e-260)
        assert gradient[1] == pytest.approx(-expit(-value), rel=1e-15, abs=1e-260)


@pytest.mark.parametrize("n", [2, 2 * BLOCK + 37])
def test_standardising_equals_its_definition(n):
    rng = np.random.default_rng(n)
    table, weight = rng.normal(5, 3, (n, 3)), rng.dirichlet(np.ones(n))
    signed, unit = weight * rng.choice([-1, 1], n), np.array([1.0, 10.0, 1e100])
    columns, mean, spread = np.empty((3, n)), np.empty(3), np.empty(3)
    standardise(table, signed, unit, columns, mean, spread)
    scaled = table / unit
    np.testing.assert_allclose(mean, weight @ scaled, rtol=1e-13)
    np.testing.assert_allclose(spread, np.sqrt(weight @ (scaled - mean) ** 2), rtol=1e-11)
    np.testing.assert_allclose(columns, ((scaled - mean) / spread).T, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("prior", [0.5, 0.01])
@pytest.mark.parametrize("ridge", [0.0, 0.01])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(d, prior, ridge, weighted):
    X, y = trials(d=d, seed=d)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    fit = fit_logistic(X, y, prior=prior, ridge=ridge, sample_weight=weight)
    weights, offset = peer(X, y, prior, ridge, weight)
    np.testing.assert_allclose(fit.weights * X.std(axis=0), weights * X.std(axis=0), atol=1e-6)
    assert fit.offset == pytest.approx(offset, rel=1e-6, abs=1e-6)
    assert not fit.separable and fit.ridge == ridge
    assert fit.objective[-1] == pytest.approx(
        cost(weights, offset, X, y, prior, ridge, weight), rel=1e-12
    )
    assert (np.diff(fit.objective) <= 1e-14).all()
    assert fit.n_iter == len(fit.objective) - 1


def test_many_trials_start_from_few():
    X, y = trials(n=100_000, d=2)
    fit = fit_logistic(X, y, prior=0.1)
    weights, offset = peer(X, y, 0.1, 0.0)
    np.testing.assert_allclose(fit.weights, weights, rtol=1e-6)
    assert fit.offset == pytest.approx(offset, abs=1e-6)
    assert fit.n_iter <= 4
    again = fit_logistic(X, y, prior=0.1)
    assert np.array_equal(fit.weights, again.weights) and fit.offset == again.offset


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.floats(0.001, 0.999), st.floats(1e-4, 10), st.integers(1, 4),
    st.booleans(),
)  # fmt: skip
def test_no_other_point_is_better(seed, prior, ridge, d, non_negative):
    rng = np.random.default_rng(seed)
    X, y = trials(n=int(rng.integers(4, 60)), d=d, seed=seed)
    fit = fit_logistic(X, y, prior=prior, ridge=ridge, non_negative=non_negative)
    sigma = X.std(axis=0)
    for _ in range(30):
        step = rng.standard_normal(d + 1) * 10.0 ** rng.uniform(-6, 1)
        weights = fit.weights + step[:-1] / sigma
        if non_negative:
            weights = np.maximum(weights, 0)
        other = cost(weights, fit.offset + step[-1], X, y, prior, ridge)
        assert other >= fit.objective[-1] * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_non_negative_weights_equal_bounded_search(seed):
    X, y = trials(n=400, d=4, seed=seed)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    X[:, :2] *= -1
    fit = fit_logistic(X, y, prior=0.2, non_negative=True)
    found = minimize(
        lambda p: cost(p[:-1], p[-1], X, y, 0.2), np.zeros(5), method="L-BFGS-B",
        bounds=[(0, None)] * 4 + [(None, None)], options={"ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    assert (fit.weights >= 0).all() and (fit.weights == 0).any()
    np.testing.assert_allclose([*fit.weights, fit.offset], found.x, atol=2e-4)
    assert fit.objective[-1] <= found.fun + 1e-12


def test_scale_and_shift_of_scores_do_not_matter():
    X, y = trials(d=2)
    fit = fit_logistic(X, y, ridge=0.01)
    scaled = fit_logistic(X * [1e150, 1e-150] + [1e150, 0], y, ridge=0.01)
    np.testing.assert_allclose(scaled.weights * [1e150, 1e-150], fit.weights, rtol=1e-9)


def test_weights_of_trials_are_repetitions():
    X, y = trials(n=100, d=2)
    times = np.random.default_rng(0).integers(0, 4, len(y))
    fit = fit_logistic(X, y, sample_weight=times)
    again = fit_logistic(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(fit.weights, again.weights, rtol=1e-9)


# --- separable scores --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tar, non",
    [
        ([2.0, 3.0], [0.0, 1.0]),
        ([1.0, 2.0], [0.0, 1.0]),  # They touch: the weight has no bound either.
        ([0.0, 1.0], [2.0, 3.0]),
        ([1.0], [0.0]),
        ([1e-9, 2e-9], [0.0]),
        ([1e9], [0.0, -1e9, 1.0]),
    ],
)
def test_separable_scores_have_finite_weights(tar, non):
    X, y = np.array(tar + non), np.arange(len(tar) + len(non)) < len(tar)
    with pytest.warns(DegenerateDataWarning, match="separate"):
        fit = fit_logistic(X, y, prior=0.1)
    assert fit.separable and np.isfinite(fit.weights).all() and np.isfinite(fit.offset)
    assert fit.ridge == 1 / min(len(tar), len(non))
    assert np.sign(fit.weights[0]) == np.sign(np.mean(tar) - np.mean(non))


def test_one_overlapping_trial_is_not_separable():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.uniform(1, 2, 50_000), rng.uniform(-2, -1, 50_000), [-1.001]])
    y = np.arange(len(X)) < 50_000
    y[-1] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_logistic(X, y)
    assert not fit.separable
    weights, offset = peer(X[:, None], y, 0.5, 0.0)
    np.testing.assert_allclose([*fit.weights, fit.offset], [*weights, offset], rtol=1e-5, atol=1e-6)


def test_separable_in_two_columns_together():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 300))
    y = a + b > 0
    with pytest.warns(DegenerateDataWarning, match="separate"):
        fit = fit_logistic(np.column_stack([a, b]), y)
    assert fit.separable and (fit.weights > 0).all()


@pytest.mark.parametrize("n_marked", [1, 40])
def test_a_column_that_marks_targets_alone(n_marked):
    """No threshold divides the classes, yet one weight has no bound."""
    X, y = trials(n=500, d=1)
    mark = np.zeros(len(y))
    mark[np.flatnonzero(y)[:n_marked]] = 1
    with pytest.warns(DegenerateDataWarning, match="separate"):
        fit = fit_logistic(np.column_stack([X, mark]), y)
    assert fit.separable and np.isfinite(fit.weights).all() and fit.weights[1] > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12))
@example([(0, False), (1, True), (-3, True), (2, True)])  # equal means: no weight but rounding
def test_separable_exactly_if_the_extremes_say_so(pairs):
    X, y = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    if y.all() or not y.any() or not np.ptp(X):
        with pytest.raises(DataError):
            fit_logistic(X, y)
        return
    apart = X[y].min() >= X[~y].max() or X[y].max() <= X[~y].min()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = fit_logistic(X, y, prior=0.3)
    assert fit.separable == apart
    assert np.isfinite([*fit.weights, fit.offset]).all()


# --- bad input ---------------------------------------------------------------------------------


def test_equal_columns_share_their_weight():
    X, y = trials()
    alone = fit_logistic(X, y)
    with pytest.warns(DegenerateDataWarning, match="only 1 of 2 columns"):
        fit = fit_logistic(np.hstack([X, X]), y)
    np.testing.assert_allclose(fit.weights, alone.weights[[0, 0]] / 2, rtol=1e-6)
    assert fit.offset == pytest.approx(alone.offset, abs=1e-6)


@pytest.mark.parametrize(
    "X, y, what",
    [
        ([1.0, 2.0], [True, True], "no nontarget"),
        ([1.0, 2.0], [0, 0], "no target"),
        ([1.0, np.nan], [1, 0], "NaN or infinite.*trial 1, column 0"),
        ([np.inf, 1.0], [1, 0], "NaN or infinite"),
        ([5.0, 5.0], [1, 0], "all scores are 5"),
        ([[1.0, 2.0], [1.0, 3.0]], [1, 0], "column 0 is 1"),
        ([1.0, 2.0, 3.0], [1, 0], "3 trials but labels"),
        ([1.0, 2.0], [1, -1], "1 .target. or 0"),
        (["a", "b"], [1, 0], "not numbers"),
        ([], [], "shape"),
    ],
)
def test_bad_data_is_named(X, y, what):
    with pytest.raises(DataError, match=what):
        fit_logistic(X, y)


def test_bad_weights_and_options_are_named():
    X, y = trials(n=20)
    for weight, what in (([1.0], "shape"), (-np.ones(20), "negative"), (1.0 * y, "no nontarget")):
        with pytest.raises(DataError, match=what):
            fit_logistic(X, y, sample_weight=weight)
    for options in ({"prior": 0.0}, {"prior": 1.0}, {"ridge": -1.0}, {"ridge": np.nan}):
        with pytest.raises(UsageError):
            fit_logistic(X, y, **options)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [56, 700])
def test_no_digit_depends_on_where_arrays_lie(n, order):
    """LLVM looks whether arrays may overlap; side by side, small ones once seemed to."""
    rng = np.random.default_rng(0)
    X, signed, weights = rng.normal(size=(n, 2)), rng.choice([-1, 1], n) / n, rng.normal(size=2)
    shapes = {"X": (2 * n,), "signed": (n,), "columns": (2, n), "unit": (2,), "mean": (2,),
              "spread": (2,), "gradient": (3,), "hessian": (3, 3)}  # fmt: skip
    memory, found = np.empty(10 * n + 2000), set()
    for trial in range(200):
        at, used = {}, int(rng.integers(8))
        for name in rng.permutation(list(shapes)):
            size = math.prod(shapes[name])
            at[name] = memory[used : used + size].reshape(shapes[name])
            used += size + 2 * int(rng.integers(0, 100 if trial % 2 else 3))
        table = at["X"].reshape((n, 2), order=order)
        table[:], at["signed"][:], at["unit"][:] = X, signed, 1.0
        standardise(table, at["signed"], at["unit"], at["columns"], at["mean"], at["spread"])
        results = logistic_pass(
            at["columns"], at["signed"], weights, 0.3, 0.1, at["gradient"], at["hessian"]
        )
        names = ("columns", "mean", "spread", "gradient", "hessian")
        found.add((*results, *(at[name].tobytes() for name in names)))
    assert len(found) == 1
