"""Error rates against definitions written out: random, tied, separable and degenerate scores."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve

from fusion.metrics import rates as metrics
from fusion.metrics.kernels import add_to_hull, count_sorted, crossing, lower_hull, merge_counts
from ivector.base.errors import DataError, UsageError

# Few distinct values make ties; floats make none.
SCORES = st.one_of(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25),
    st.lists(st.floats(-5, 5), min_size=1, max_size=25),
)
CASES = settings(max_examples=150, deadline=None)


def rates_by_definition(tar, non):
    """(P_miss, P_fa) for every threshold at which something changes."""
    tar, non = np.asarray(tar), np.asarray(non)
    thresholds = [*sorted({*tar, *non}), np.inf]
    return [(np.mean(tar < t), np.mean(non >= t)) for t in thresholds]


def eer_by_minimax(tar, non):
    """Largest, over priors, of the least Bayes error: tried at every prior where two points tie."""
    points = rates_by_definition(tar, non)
    priors = {0.0, 1.0}
    for (m1, f1), (m2, f2) in itertools.combinations(points, 2):
        if (m1 - m2) * (f2 - f1) > 0:
            priors.add((f2 - f1) / ((m1 - m2) + (f2 - f1)))
    return max(min(p * m + (1 - p) * f for m, f in points) for p in priors)


def eer_by_interpolation(tar, non):
    points = rates_by_definition(tar, non)
    for (m1, f1), (m2, f2) in itertools.pairwise(points):
        if m2 >= f2:
            part = (f1 - m1) / ((m2 - m1) + (f1 - f2))
            return m1 + part * (m2 - m1)
    raise AssertionError("the last point misses everything")


@CASES
@given(SCORES, SCORES)
def test_equal_to_definitions(tar, non):
    points = rates_by_definition(tar, non)
    curve = metrics.det_curve(tar, non)
    np.testing.assert_array_equal(np.column_stack([curve.p_miss, curve.p_fa]), points)
    np.testing.assert_array_equal(curve.thresholds, [*sorted({*tar, *non}), np.inf])
    assert metrics.eer(tar, non) == pytest.approx(eer_by_minimax(tar, non), abs=1e-9)
    interpolated = metrics.eer_interpolated(tar, non)
    assert interpolated == pytest.approx(eer_by_interpolation(tar, non), abs=1e-9)
    assert metrics.eer(tar, non) <= interpolated + 1e-12
    for prior, c_miss, c_fa in ((0.01, 1, 1), (0.5, 1, 1), (0.01, 10, 1), (0.9, 2, 0.5)):
        costs = [c_miss * prior * m + c_fa * (1 - prior) * f for m, f in points]
        plain = metrics.min_dcf(tar, non, prior, c_miss, c_fa, normalised=False)
        assert plain == pytest.approx(min(costs), abs=1e-9)
        scale = min(c_miss * prior, c_fa * (1 - prior))
        normalised = metrics.min_dcf(tar, non, prior, c_miss, c_fa)
        assert normalised == pytest.approx(min(costs) / scale, abs=1e-9)
        assert normalised <= 1 + 1e-12


@CASES
@given(SCORES, SCORES)
def test_same_as_scikit_learn(tar, non):
    labels = np.repeat([1, 0], [len(tar), len(non)])
    fpr, tpr, _ = roc_curve(labels, np.concatenate([tar, non]), drop_intermediate=False)
    curve = metrics.det_curve(tar, non)
    np.testing.assert_allclose(curve.p_fa[::-1], fpr, atol=1e-12)
    np.testing.assert_allclose(1 - curve.p_miss[::-1], tpr, atol=1e-12)


@CASES
@given(SCORES, SCORES)
def test_pav_is_isotonic_regression(tar, non):
    """LLRs from PAV equal the posteriors of scikit-learn's isotonic fit, less the prior."""
    scores = np.concatenate([tar, non])
    labels = np.repeat([1.0, 0.0], [len(tar), len(non)])
    # Ranks, as scikit-learn takes scores that nearly agree for equal.
    ranks = np.unique(scores, return_inverse=True)[1]
    posterior = IsotonicRegression(y_min=0, y_max=1).fit_transform(ranks, labels)
    llr = np.concatenate(metrics.pav(tar, non))
    prior = np.log(len(tar) / len(non))
    np.testing.assert_allclose(1 / (1 + np.exp(-(llr + prior))), posterior, atol=1e-9)
    best = metrics.min_cllr(tar, non)
    assert best == pytest.approx(metrics.cllr(*metrics.pav(tar, non)), abs=1e-9)
    assert best <= 1 + 1e-12


@CASES
@given(SCORES, SCORES)
def test_hull_is_convex_and_below(tar, non):
    hull, curve = metrics.rocch(tar, non), metrics.det_curve(tar, non)
    assert (hull.p_miss[0], hull.p_fa[0]) == (0, 1) and (hull.p_miss[-1], hull.p_fa[-1]) == (1, 0)
    below = np.interp(curve.p_fa, hull.p_fa[::-1], hull.p_miss[::-1])
    strictly = (curve.p_fa > 0) & (curve.p_fa < 1)
    assert (below[strictly] <= curve.p_miss[strictly] + 1e-12).all()
    edges = np.diff(np.column_stack([hull.p_fa, hull.p_miss]), axis=0)
    turns = edges[:-1, 0] * edges[1:, 1] - edges[:-1, 1] * edges[1:, 0]
    assert (turns < 0).all()


@pytest.mark.parametrize(
    ("tar", "non", "hull", "interpolated"),
    [
        ([1.0], [0.0], 0, 0),
        ([0.0], [1.0], 0.5, 1),
        ([1.0], [1.0], 0.5, 0.5),
        ([1, 1, 1], [1, 1], 0.5, 0.5),
        ([0.0, -0.0], [0.0], 0.5, 0.5),
        ([1, 2, 3], [0, 1, 2], 1 / 3, 1 / 3),
        ([np.inf, 1], [-np.inf, 1], 0.25, 0.25),
    ],
)
def test_known_values(tar, non, hull, interpolated):
    assert metrics.eer(tar, non) == pytest.approx(hull, abs=1e-12)
    assert metrics.eer_interpolated(tar, non) == pytest.approx(interpolated, abs=1e-12)


def test_invariant_to_monotone_maps_and_order():
    rng = np.random.default_rng(5)
    tar, non = rng.normal(2, 1, 300), rng.normal(0, 1.5, 2000)
    for function in (metrics.eer, metrics.eer_interpolated, metrics.min_cllr):
        assert function(np.exp(tar), np.exp(non)) == function(tar, non)
        assert function(tar[::-1], rng.permutation(non)) == function(tar, non)
        assert function(-non, -tar) == pytest.approx(function(tar, non), abs=1e-12)


def test_gaussian_scores_give_the_theoretical_rates():
    """Equal-variance Gaussians of distance d: EER Φ(-d/2); Cllr of true LLRs is near its least."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    d = 3.0
    tar, non = rng.normal(d / 2, 1, 200_000), rng.normal(-d / 2, 1, 200_000)
    assert metrics.eer(tar, non) == pytest.approx(norm.cdf(-d / 2), abs=2e-3)
    llr = d * tar, d * non
    assert metrics.cllr(*llr) == pytest.approx(metrics.min_cllr(*llr), abs=2e-3)
    for prior in (0.01, 0.5):
        act, least = metrics.act_dcf(*llr, prior), metrics.min_dcf(*llr, prior)
        assert least <= act <= least + 0.02


def test_act_dcf_threshold():
    # ln((1 - 0.2) / 0.2) = ln 4 = 1.386...; a score at the threshold is accepted
    threshold = np.log(0.8) - np.log(0.2)
    assert metrics.act_dcf([threshold, 0], [1, 2], 0.2) == pytest.approx(0.5 + 4 * 0.5)
    assert metrics.act_dcf([9.0], [-9.0], 0.01) == 0
    assert metrics.act_dcf([9.0], [9.0], 0.1, normalised=False) == pytest.approx(0.9)
    assert metrics.act_dcf([0.0], [0.0], 0.1, 9, 1) == pytest.approx(1.0)
    assert metrics.cllr([0.0], [0.0]) == pytest.approx(1.0)


def test_kernels_equal_readable_numpy():
    rng = np.random.default_rng(1)
    tar, non = np.sort(rng.integers(0, 40, 60) / 4), np.sort(rng.integers(-20, 30, 300) / 4)
    size = len(tar) + len(non) + 1
    thresholds, misses = np.empty(size), np.empty(size, np.int64)
    rejections = np.empty(size, np.int64)
    k = merge_counts(tar, non, thresholds, misses, rejections)
    expected = np.append(np.unique(np.concatenate([tar, non])), np.inf)
    np.testing.assert_array_equal(thresholds[:k], expected)
    np.testing.assert_array_equal(misses[:k], np.searchsorted(tar, expected))
    np.testing.assert_array_equal(rejections[:k], np.searchsorted(non, expected))
    both = np.concatenate([tar, non])
    order, again = np.argsort(both), [np.empty_like(a) for a in (thresholds, misses, rejections)]
    assert count_sorted(both[order], order < len(tar), *again) == k
    for one, two in zip((thresholds, misses, rejections), again):
        np.testing.assert_array_equal(one[:k], two[:k])
    x, y, vertices = rejections[:k], misses[:k], np.empty(k, np.int64)
    m = lower_hull(x, y, k, vertices)
    hull, n = np.empty((2, k), np.int64), 0
    for point in zip(x, y):
        n = add_to_hull(*hull, n, *point)
    np.testing.assert_array_equal(hull[:, :n], [x[vertices[:m]], y[vertices[:m]]])
    # A vertex of the lower hull lies strictly below every chord around it.
    convex = [
        b for b in range(k)
        if all(
            (x[b] - x[a]) * (y[c] - y[a]) > (y[b] - y[a]) * (x[c] - x[a])
            for a in range(b) for c in range(b + 1, k)
        )
    ]  # fmt: skip
    assert vertices[:m].tolist() == convex
    tilt = np.interp(0, y / 60 + x / 300 - 1, np.arange(k))
    assert crossing(x, y, np.arange(k), k) == pytest.approx(np.interp(tilt, np.arange(k), y) / 60)


@pytest.mark.parametrize(
    ("tar", "non", "message"),
    [
        ([], [1.0], "target scores of shape"),
        ([1.0], [], "nontarget scores of shape"),
        ([[1.0]], [1.0], "shape"),
        ([1.0, np.nan], [1.0], "1 of 2 target scores are NaN, first at 1"),
        (["x"], [1.0], "not numbers"),
    ],
)
def test_bad_scores(tar, non, message):
    for function in (metrics.eer, metrics.det_curve, metrics.cllr, metrics.pav, metrics.rocch):
        with pytest.raises(DataError, match=message):
            function(tar, non)


@pytest.mark.parametrize("options", [{"p_target": 0}, {"p_target": 1.5}, {"p_target": np.nan},
                                     {"p_target": 0.5, "c_miss": 0}])  # fmt: skip
def test_bad_costs(options):
    for function in (metrics.min_dcf, metrics.act_dcf):
        with pytest.raises(UsageError):
            function([1.0], [0.0], **options)


@pytest.mark.golden
def test_compatible_with_kaldi(golden):
    """Kaldi's compute-eer steps through the targets; ours lies within a step of it."""
    pairs = [line.split() for line in open(golden / "plda" / "scores_for_eer.txt")]
    tar = np.sort([float(score) for score, label in pairs if label == "target"])
    non = np.sort([float(score) for score, label in pairs if label == "nontarget"])
    kaldi = float((golden / "plda" / "eer.txt").read_text())
    step = 100 / len(tar)
    # The coarse value itself, from its definition.
    coarse = next(
        k for k in range(len(tar)) if non[len(non) - 1 - len(non) * k // len(tar)] < tar[k]
    )
    assert 100 * coarse / len(tar) == pytest.approx(kaldi, abs=1e-6)
    assert kaldi - step <= 100 * metrics.eer_interpolated(tar, non) <= kaldi + 1e-9
    assert kaldi - step <= 100 * metrics.eer(tar, non) <= kaldi + 1e-9
