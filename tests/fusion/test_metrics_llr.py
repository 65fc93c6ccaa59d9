"""Metrics of log-likelihood ratios, and hull and PAV, against definitions written out."""

import itertools
import math

import metric_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from fusion.metrics import rates as metrics
from fusion.metrics.kernels import softplus_sum
from fusion.metrics.points import PRESETS, OperatingPoint
from ivector.base.errors import DataError, UsageError

CASES = settings(max_examples=120, deadline=None)
POINTS = (OperatingPoint(0.5), OperatingPoint(0.01, 10, 1), OperatingPoint(0.9, 2, 0.5),
          OperatingPoint(0.001))  # fmt: skip
# Whole numbers, so that thresholds hit scores.
ODDS = np.array([-6.0, -2.0, -1.0, -0.3, 0.0, 1.0, 3.0, 5.5])
CLOSE = {"rel": 1e-9, "abs": 1e-9}


def eer_by_pairs(tar, non):
    """Lowest crossing of the diagonal by a chord between any two points of the ROC."""
    points = cases.rates(tar, non)
    found = [m for m, f in points if m == f]
    for (m1, f1), (m2, f2) in itertools.combinations(points, 2):
        if (m1 - f1) * (m2 - f2) < 0:
            part = (f1 - m1) / ((m2 - m1) + (f1 - f2))
            found.append(m1 + part * (m2 - m1))
    return min(found)


def information(llr, odds):
    """-log2 of the posterior of a target."""
    total = llr + odds
    return (math.log1p(math.exp(-total)) if total > 0 else math.log1p(math.exp(total)) - total) / (
        math.log(2)
    )


def cross_entropy(tar_llr, non_llr, odds):
    prior = 1 / (1 + math.exp(-odds))
    miss = sum(information(x, odds) for x in tar_llr) / len(tar_llr)
    accept = sum(information(-x, -odds) for x in non_llr) / len(non_llr)
    return prior * miss + (1 - prior) * accept


def act_cost(tar, non, point):
    miss, accept = point.c_miss * point.p_target, point.c_fa * (1 - point.p_target)
    threshold = math.log(accept) - math.log(miss)
    p_miss = sum(x < threshold for x in tar) / len(tar)
    p_fa = sum(x >= threshold for x in non) / len(non)
    return (miss * p_miss + accept * p_fa) / min(miss, accept)


def min_cost(tar, non, point):
    miss, accept = point.c_miss * point.p_target, point.c_fa * (1 - point.p_target)
    return min(miss * m + accept * f for m, f in cases.rates(tar, non)) / min(miss, accept)


@CASES
@given(cases.ANY)
def test_hull_and_eer_are_those_of_brute_force(pair):
    tar, non = pair
    assert metrics.eer(tar, non) == pytest.approx(eer_by_pairs(tar, non), **CLOSE)
    hull = metrics.rocch(tar, non)
    expected = cases.hull_of(tar, non)
    np.testing.assert_allclose(np.column_stack([hull.p_miss, hull.p_fa]), expected, atol=1e-12)


@CASES
@given(cases.ANY)
def test_costs(pair):
    tar, non = pair
    points = metrics.OperatingPoints(tar, non)
    for point in POINTS:
        words = point.p_target, point.c_miss, point.c_fa
        act, least = act_cost(tar, non, point), min_cost(tar, non, point)
        assert metrics.act_dcf(tar, non, *words) == pytest.approx(act, **CLOSE)
        assert points.act_dcf(*words) == pytest.approx(act, **CLOSE)
        assert metrics.min_dcf(tar, non, *words) == pytest.approx(least, **CLOSE)
        scale = min(point.c_miss * point.p_target, point.c_fa * (1 - point.p_target))
        plain = points.act_dcf(*words, normalised=False)
        assert plain == pytest.approx(act * scale, **CLOSE)
    for preset in ("sre16", "sre08", POINTS):
        chosen = PRESETS[preset] if isinstance(preset, str) else preset
        for minimum, cost in ((False, act_cost), (True, min_cost)):
            mean = sum(cost(tar, non, p) for p in chosen) / len(chosen)
            found = metrics.c_primary(tar, non, preset, minimum)
            assert found == pytest.approx(mean, **CLOSE)


@CASES
@given(cases.FINITE)
def test_cllr_and_cross_entropy(pair):
    tar, non = pair
    found = metrics.ece(tar, non, ODDS)
    expected = [cross_entropy(tar, non, odds) for odds in ODDS]
    np.testing.assert_allclose(found.actual, expected, rtol=1e-9, atol=1e-12)
    default = [cross_entropy([0.0], [0.0], odds) for odds in ODDS]
    np.testing.assert_allclose(found.default, default, rtol=1e-9)
    assert (found.minimum <= np.minimum(found.actual, found.default) + 1e-12).all()
    value = pytest.approx(expected[4], rel=1e-9, abs=1e-12)
    assert metrics.cllr(tar, non) == value
    assert metrics.OperatingPoints(tar, non).cllr() == value


@CASES
@given(cases.ANY)
def test_pav_is_the_max_min_formula(pair):
    tar, non = pair
    groups, posterior, n_tar, n_non = cases.isotonic_means(tar, non)
    odds = [math.inf if p == 1 else p / (1 - p) for p in posterior]
    # The likelihood ratio is the posterior odds less those of the trials.
    ratio = np.array(odds) * len(non) / len(tar)
    with np.errstate(divide="ignore"):
        llr = np.log(ratio)
    for scores, got in zip((tar, non), metrics.pav(tar, non)):
        expected = [llr[groups.index(s)] for s in scores]
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    tar_llr, non_llr = (np.repeat(llr, n) for n in (n_tar, n_non))

    def entropy(odds):
        prior = 1 / (1 + math.exp(-odds))
        miss, accept = np.logaddexp(0, -tar_llr - odds), np.logaddexp(0, non_llr + odds)
        return (prior * miss.mean() + (1 - prior) * accept.mean()) / math.log(2)

    assert metrics.min_cllr(tar, non) == pytest.approx(entropy(0), **CLOSE)
    least = metrics.OperatingPoints(tar, non).ece(ODDS).minimum
    np.testing.assert_allclose(least, [entropy(odds) for odds in ODDS], rtol=1e-9, atol=1e-9)


@CASES
@given(cases.ANY)
def test_bayes_error(pair):
    tar, non = pair
    points = cases.rates(tar, non)
    for normalised in (True, False):
        found = metrics.bayes_error(tar, non, ODDS, normalised)
        for i, odds in enumerate(ODDS):
            prior = 1 / (1 + math.exp(-odds))
            scale = min(prior, 1 - prior) if normalised else 1
            miss, fa = np.mean(np.less(tar, -odds)), np.mean(np.greater_equal(non, -odds))
            actual = prior * miss + (1 - prior) * fa
            least = min(prior * m + (1 - prior) * f for m, f in points)
            assert found.actual[i] == pytest.approx(actual / scale, **CLOSE)
            assert found.minimum[i] == pytest.approx(least / scale, **CLOSE)
            assert found.default[i] == pytest.approx(min(prior, 1 - prior) / scale, **CLOSE)
    assert metrics.eer(tar, non) == pytest.approx(
        max(metrics.bayes_error(tar, non, np.linspace(-9, 9, 721), False).minimum), abs=0.01
    )


@CASES
@given(cases.FINITE, st.sampled_from([-2.0, 0.0, 1.5]))
def test_cross_entropy_is_scikit_learns_weighted_log_loss(pair, odds):
    tar, non = (np.clip(side, -30, 30) for side in pair)  # which its own clipping leaves alone
    llr = np.concatenate([tar, non])
    labels = np.repeat([1, 0], [len(tar), len(non)])
    prior = 1 / (1 + np.exp(-odds))
    weights = np.where(labels, prior / len(tar), (1 - prior) / len(non))
    loss = log_loss(labels, 1 / (1 + np.exp(-(llr + odds))), sample_weight=weights, labels=[0, 1])
    assert metrics.ece(tar, non, odds).actual[0] == pytest.approx(loss / np.log(2), **CLOSE)


@pytest.mark.parametrize(
    ("tar", "non", "actual", "least"),
    [
        ([np.inf, 1], [-np.inf, -1], math.log2(1 + math.exp(-1)) / 2, 0),
        ([-np.inf, 1], [0], math.inf, None),
        ([1], [0, np.inf], math.inf, None),
        ([np.inf], [-np.inf], 0, 0),
        ([-np.inf], [np.inf], math.inf, 1),
        ([np.inf], [np.inf], math.inf, 1),
    ],
)
def test_infinite_llr(tar, non, actual, least):
    """An infinite llr on the wrong side costs infinitely much, but never NaN."""
    points = metrics.OperatingPoints(tar, non)
    assert metrics.cllr(tar, non) == pytest.approx(actual)
    assert points.cllr() == pytest.approx(actual)
    assert least is None or points.min_cllr() == pytest.approx(least)
    curve = points.ece([-700, -3, 0, 3, 700])
    assert not np.isnan(np.concatenate(curve)).any() and (curve.minimum <= 1).all()
    assert not np.isnan(np.concatenate(points.bayes_error([-700, 0, 700]))).any()


def test_small_costs_keep_their_digits():
    """Of llrs so good that 1 + exp(-llr) is 1 in float64."""
    assert metrics.cllr([50.0], [-50.0]) == pytest.approx(math.exp(-50) / math.log(2), rel=1e-12)
    assert metrics.cllr([30.0] * 9, [-30.0]) == pytest.approx(math.exp(-30) / math.log(2))


def test_float32_and_views_are_taken_as_they_are():
    rng = np.random.default_rng(0)
    tar, non = rng.normal(2, 1, 200).astype("f4"), rng.normal(0, 1, 3000).astype("f4")
    wide = tar.astype(float), non.astype(float)
    strided = np.repeat(wide[0], 2)[::2], wide[1][::-1]
    strided[0].flags.writeable = False
    kept = tar.copy()
    for function in (metrics.eer, metrics.cllr, metrics.min_cllr, metrics.eer_interpolated):
        expected = function(*wide)
        assert function(tar, non) == expected
        assert function(*strided) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(tar, kept)


def test_softplus_kernel_equals_readable_numpy():
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(0, 8, 3000), [0.0, 800.0, -800.0, 18.0, 19.0]])
    below = np.append(0, np.cumsum(rng.integers(0, 4, len(x))))
    for sign, shift in ((1.0, 0.0), (-1.0, 2.5)):
        terms = np.logaddexp(0, sign * x + shift)
        once = softplus_sum(x, np.empty(0, np.int64), sign, shift)
        assert once == pytest.approx(terms.sum(), rel=1e-12)
        counted = softplus_sum(x, below, sign, shift)
        assert counted == pytest.approx(np.diff(below) @ terms, rel=1e-12)


def test_nan_is_refused_everywhere():
    bad = [1.0, np.nan]
    for function in (metrics.eer, metrics.cllr, metrics.min_cllr, metrics.eer_interpolated,
                     lambda t, n: metrics.ece(t, n, 0), lambda t, n: metrics.bayes_error(t, n, 0),
                     lambda t, n: metrics.c_primary(t, n, "sre16"),
                     lambda t, n: metrics.act_dcf(t, n, 0.5)):  # fmt: skip
        for dtype in ("f4", "f8"):
            with pytest.raises(DataError, match="1 of 2 target scores are NaN, first at 1"):
                function(np.array(bad, dtype), [0.0])
            with pytest.raises(DataError, match="nontarget scores are NaN"):
                function([0.0], np.array(bad, dtype))
    with pytest.raises(DataError, match="NaN"):
        metrics.OperatingPoints([1.0], [0.0]).pav(bad)


def test_impossible_priors_and_points():
    for odds in (np.nan, np.inf, 701, [[0.0]]):
        for function in (metrics.ece, metrics.bayes_error):
            with pytest.raises(UsageError, match="log-odds"):
                function([1.0], [0.0], odds)
    with pytest.raises(UsageError, match="no preset 'sre99'"):
        metrics.c_primary([1.0], [0.0], "sre99")
    with pytest.raises(UsageError, match="at least one operating point"):
        metrics.c_primary([1.0], [0.0], [])
