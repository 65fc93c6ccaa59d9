"""Influence of speakers, the optimism of thresholds, and intervals made of them, by brute force."""

import dataclasses

import numpy as np
import pytest
from speaker_world import SCENARIOS, Effects, Scenario, design, strangers

from fusion.intervals import analytic_interval, bootstrap_interval, influence, paired_bootstrap
from fusion.intervals.ends import Scale, difference, interval
from fusion.intervals.influence import degrees, unit_sums, variances
from fusion.intervals.kernels import class_sums
from fusion.intervals.optimism import optimism
from fusion.intervals.replicates import System, Units, number_units
from fusion.metrics import rates as metrics
from fusion.metrics.points import OperatingPoint
from ivector.base.errors import DataError, UsageError

POINTS = [OperatingPoint(0.01), OperatingPoint(0.3, 2, 1)]


def draw(seed, scenario=None):
    rng = np.random.default_rng(seed)
    scenario = scenario or Scenario(False, 12, 3, separation=2.5)
    trials = design(scenario, rng)
    scores = Effects(scenario, trials, rng).scores()
    return scores, trials.enrol == trials.test, trials.enrol, trials.test


def statistics(scores, target, weights):
    """All statistics of weighted trials, by sums over trials at every threshold."""
    thresholds = [*np.unique(scores), np.inf]
    tar, non = weights * target, weights * ~target
    miss = np.array([tar[scores < t].sum() for t in thresholds]) / tar.sum()
    accept = np.array([non[scores >= t].sum() for t in thresholds]) / non.sum()
    priors = np.linspace(0, 1, 20001)
    bayes = np.min(priors[:, None] * miss + (1 - priors[:, None]) * accept, axis=1)
    costs = [metrics.cost_weights(p.p_target, p.c_miss, p.c_fa) for p in POINTS]
    found = [bayes.max(), *(np.min(a * miss + b * accept) for a, b in costs)]
    odds = pool(scores, tar / tar.sum(), non / non.sum())
    bits = (tar @ np.log2(1 + 1 / np.maximum(odds, 1e-300))) / tar.sum()
    bits += (non @ np.log2(1 + np.minimum(odds, 1e300))) / non.sum()
    found.append(bits / 2)
    found.append(
        tar @ np.log2(1 + np.exp(-scores)) / tar.sum() / 2
        + non @ np.log2(1 + np.exp(scores)) / non.sum() / 2
    )
    for (a, b), point in zip(costs, POINTS):
        low = scores < point.threshold
        found.append(a * tar[low].sum() / tar.sum() + b * non[~low].sum() / non.sum())
    return np.array(found)


def pool(scores, tar, non):
    """Likelihood ratios by pooling adjacent violators, as in a textbook."""
    blocks = []
    for score in np.unique(scores):
        same = scores == score
        blocks.append([tar[same].sum(), non[same].sum(), [score]])
        while len(blocks) > 1 and (blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]):
            a, b, members = blocks.pop()
            blocks[-1] = [blocks[-1][0] + a, blocks[-1][1] + b, blocks[-1][2] + members]
    odds = {s: (a / b if b else np.inf) for a, b, members in blocks for s in members}
    return np.array([odds[s] for s in scores])


@pytest.mark.parametrize("shared", [True, False])
def test_replicates_are_sums_over_trials(shared):
    """A replicate of the kernel equals the definitions, evaluated with weights."""
    scores, target, enrol, test = draw(0)
    scores = np.round(scores, 1)
    units = number_units(enrol, test, shared)
    system = System(scores, target, units, POINTS, True)
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, 3, (4, n)) for n in units.sizes]
    found, _ = system.weighted([d.astype(np.int64) for d in draws])
    for r in range(4):
        weights = draws[0][r, enrol] * draws[-1][r, test]
        if shared:
            weights = np.where(enrol == test, draws[0][r, enrol], weights)
        expected = statistics(scores, target, weights.astype(float))
        assert found[r, 1:] == pytest.approx(expected[1:], abs=1e-12)
        assert found[r, 0] == pytest.approx(expected[0], abs=1e-4)  # by a grid of priors


def trial_influence(scores, target, shared, enrol, test):
    """Derivative (M, N) of every statistic by the weight of each trial, numerically."""
    system = System(scores, target, Units(*trial_units(len(scores))), POINTS, True)
    many = 1000
    weights = np.full((len(scores) + 1, len(scores)), many, np.int64)
    weights[np.arange(len(scores)), np.arange(len(scores))] += 1
    found, _ = system.weighted([weights])
    return (found[:-1] - found[-1]).T * many


def trial_units(n):
    return np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32), [n]


@pytest.mark.parametrize("shared", [True, False])
def test_variance_is_the_double_sum_over_pairs_of_trials(shared):
    """Over all pairs of trials, once for each speaker that a pair shares."""
    scores, target, enrol, test = draw(3, Scenario(False, 6, 3, separation=2.0))
    influence = trial_influence(scores, target, shared, enrol, test)
    sums = unit_sums(System(scores, target, number_units(enrol, test, shared), POINTS, True))
    brute = np.zeros(len(influence))
    for i in range(len(scores)):
        for j in range(len(scores)):
            if shared:
                common = len({enrol[i], test[i]} & {enrol[j], test[j]})
            else:
                common = int(enrol[i] == enrol[j]) + int(test[i] == test[j])
            brute += common * influence[:, i] * influence[:, j]
    n = [side.shape[1] for side in sums]
    assert set(n) == {6}
    assert variances(sums) * 5 / 6 == pytest.approx(brute, rel=2e-3)


def test_degrees_of_freedom():
    rng = np.random.default_rng(0)
    even = [rng.normal(size=(3, 4000))]
    assert degrees(even) == pytest.approx(4000, rel=0.1)
    few = np.zeros((1, 50))
    few[0, 0] = 1
    assert degrees([few]) == pytest.approx(4)
    assert degrees([np.zeros((1, 9)), np.zeros((1, 5))]) == pytest.approx(4)
    both = degrees([np.ones((1, 30)), np.ones((1, 30))])
    assert both == pytest.approx(58)


@pytest.mark.parametrize("name", ["models-100", "skewed-100"])
def test_optimism_is_what_the_truth_is_above(name):
    """On average over worlds, estimates and their optimism add up to the population's value."""
    scenario = SCENARIOS[name]
    effects = Effects(scenario, strangers(2_000_000), np.random.default_rng(0))
    target = effects.trials.enrol == effects.trials.test
    scores = effects.scores()
    points = metrics.OperatingPoints(scores[target], scores[~target])
    points_of = [OperatingPoint(0.1)]
    truth = np.array([points.eer(), points.min_dcf(0.1), points.min_cllr()])
    found = []
    for seed in range(60):
        values, is_target, *sides = draw(seed, scenario)
        system = System(values, is_target, number_units(*sides, True), points_of, True)
        gained = optimism(system, 5, np.random.default_rng(seed))
        assert (gained >= 0).all() and (gained[3:] == 0).all()
        found.append((system.estimates[:3], gained[:3]))
    plain, gained = np.array(found).transpose(1, 0, 2)
    error = plain.std(axis=0) / np.sqrt(60)
    assert (plain.mean(axis=0) < truth).all()
    assert abs(plain.mean(axis=0) + gained.mean(axis=0) - truth).max() <= 3.5 * error.max()
    assert (abs((plain + gained).mean(axis=0) - truth) <= 3.5 * error).all()


def test_scales_invert():
    for name in ("eer", "cllr"):
        scale = Scale(name, 1e-3, 1.0, 10)
        for value in (0.0, 0.01, 0.3, 0.5):
            assert scale.back(scale.to(value)) == pytest.approx(value, abs=1e-12)
            step = 1e-6
            if 0 < value < 0.5:
                slope = (scale.to(value + step) - scale.to(value - step)) / (2 * step)
                assert scale.slope(value) == pytest.approx(slope, rel=1e-6)


def test_ends():
    scale = Scale("min_dcf", 1e-3, 1.0, 40)
    found = interval(scale, 0.0, 0.0, 0.0, 39, 0.95)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 40)) and found.low == 0
    assert interval(Scale("cllr", 1e-3, 0.0, 9), np.inf, 0.0, np.nan, 9, 0.95).high == np.inf
    assert interval(scale, 0.9, 0.05, 0.5, 39, 0.95).high == 1.0
    assert difference(scale, 0.0, 0.0, 0.0, 10, 0.95)[1] == 1.0
    change, p_value = difference(scale, 0.2, 0.0, 0.1, 1e6, 0.95)
    assert p_value == pytest.approx(0.0455, abs=1e-4)
    assert (change.low, change.high) == pytest.approx((0.2 - 0.196, 0.2 + 0.196), abs=1e-4)
    # No normalised least cost changes by more than 1, and no EER by more than a half.
    for name, most in (("min_dcf", 1.0), ("eer", 0.5), ("cllr", np.inf)):
        change, _ = difference(Scale(name, 1e-3, 1.0, 40), -0.4, 0.0, 0.5, 10, 0.95)
        assert change.low == pytest.approx(max(-0.4 - 0.5 * 2.2281, -most), abs=1e-4)
        assert change.high == pytest.approx(min(-0.4 + 0.5 * 2.2281, most), abs=1e-4)
    assert difference(scale, np.inf, 0.0, np.nan, 10, 0.95)[1] == 1.0


@pytest.mark.parametrize("shared", [True, False])
def test_analytic_and_bootstrap_agree(shared):
    world = draw(1, Scenario(True, 60, 3, separation=2.5))
    options = {"points": POINTS, "llr": True, "shared": shared}
    fast = analytic_interval(*world, **options)
    slow = bootstrap_interval(*world, **options, n_bootstrap=400)
    for name in ("eer", "min_cllr", "cllr"):
        one, two = getattr(fast, name), getattr(slow, name)
        assert one.estimate == two.estimate
        assert (one.high - one.low) == pytest.approx(two.high - two.low, rel=0.35)
        assert one.low <= one.estimate <= one.high
    for name in ("min_dcf", "act_dcf"):
        for one, two in zip(getattr(fast, name), getattr(slow, name)):
            assert one.estimate == two.estimate and one.low < two.high and two.low < one.high


def test_results_repeat_and_do_not_depend_on_order():
    world = draw(2)
    shuffled = np.random.default_rng(0).permutation(len(world[0]))
    again = [a[shuffled] for a in world]
    assert analytic_interval(*world, llr=True) == analytic_interval(*world, llr=True)
    one, two = (analytic_interval(*w, points=POINTS) for w in (world, again))
    assert one.eer.low == pytest.approx(two.eer.low) and one.cllr is None and not one.act_dcf
    p_values = [
        paired_bootstrap(world[0], world[0][::-1], *world[1:], n_bootstrap=50).differences
        for _ in range(2)
    ]
    assert p_values[0] == p_values[1]


def test_bootstrap_with_points_and_llr():
    world = draw(4)
    found = bootstrap_interval(*world, p_target=[0.01], points=POINTS, llr=True, n_bootstrap=50)
    scores, target = world[:2]
    tar, non = scores[target], scores[~target]
    assert len(found.min_dcf) == len(found.act_dcf) == 3
    assert found.replicates.shape[1] == 3 + 2 * 3
    assert found.min_dcf[2].estimate == metrics.min_dcf(tar, non, 0.3, 2, 1)
    assert found.act_dcf[0].estimate == metrics.act_dcf(tar, non, 0.01)
    assert found.cllr.estimate == pytest.approx(metrics.cllr(tar, non), abs=1e-12)
    plain = bootstrap_interval(*world, n_bootstrap=50)
    assert plain.cllr is None and plain.act_dcf == [] and plain.min_cllr == found.min_cllr


def test_infinite_and_separable():
    scores, target, enrol, test = draw(5)
    apart = np.where(target, 5.0, -5.0)
    for found in (
        bootstrap_interval(apart, target, enrol, test, points=POINTS, llr=True, n_bootstrap=50),
        analytic_interval(apart, target, enrol, test, points=POINTS, llr=True),
    ):
        assert found.eer.low == found.eer.estimate == 0 < found.eer.high < 0.5
        assert found.min_cllr.high == 0 and np.isfinite(found.cllr.high)
    apart[np.argmax(target)] = -np.inf
    found = bootstrap_interval(apart, target, enrol, test, llr=True, n_bootstrap=50)
    assert found.cllr.low == found.cllr.high == np.inf and np.isfinite(found.eer.high)
    assert analytic_interval(apart, target, enrol, test, llr=True).cllr.high == np.inf
    paired = paired_bootstrap(apart, scores, target, enrol, test, llr=True, n_bootstrap=50)
    assert paired.differences["cllr", 0].p_value == 1.0


def test_refusals():
    world = draw(0)
    with pytest.raises(UsageError, match="level"):
        analytic_interval(*world, level=1.5)
    with pytest.raises(DataError, match="NaN"):
        analytic_interval(world[0] * np.nan, *world[1:])
    with pytest.raises(DataError, match="shapes"):
        paired_bootstrap(world[0], world[0][1:], *world[1:])
    with pytest.raises(UsageError, match="20 replicates"):
        paired_bootstrap(world[0], *world, n_bootstrap=3)


def test_coverage_in_short():
    """Of 60 worlds, most intervals hold the truth, and few equal systems are told apart.

    The full count, over more scenarios, is tests/benchmarks/coverage.py.
    """
    scenario = Scenario(True, 50, 3)
    effects = Effects(scenario, strangers(2_000_000), np.random.default_rng(0))
    target = effects.trials.enrol == effects.trials.test
    scores, points = effects.scores(), [OperatingPoint(0.1)]
    tar, non = scores[target], scores[~target]
    least = metrics.OperatingPoints(tar, non)
    truth = [
        least.eer(), least.min_dcf(0.1), least.min_cllr(), metrics.cllr(tar, non),
        metrics.act_dcf(tar, non, 0.1),
    ]  # fmt: skip
    held, told = np.zeros((2, 5)), np.zeros(5)
    n = 60
    for seed in range(n):
        rng = np.random.default_rng([7, seed])
        trials = design(scenario, rng)
        world = Effects(scenario, trials, rng)
        is_target, sides = trials.enrol == trials.test, (trials.enrol, trials.test)
        options = {"points": points, "llr": True, "random_state": seed}
        values = world.scores()
        boot = bootstrap_interval(values, is_target, *sides, **options, n_bootstrap=100)
        fast = analytic_interval(values, is_target, *sides, **options)
        for kind, found in enumerate((boot, fast)):
            listed = (found.eer, found.min_dcf[0], found.min_cllr, found.cllr, found.act_dcf[0])
            held[kind] += [i.low <= t <= i.high for i, t in zip(listed, truth)]
        other = world.twin(rng).scores()
        paired = paired_bootstrap(values, other, is_target, *sides, **options, n_bootstrap=100)
        told += [difference.p_value < 0.05 for difference in paired.differences.values()]
    # 0.95 and 0.05, less and plus four standard errors.
    assert (held / n >= 0.95 - 4 * 0.028).all(), held / n
    assert (told / n <= 0.05 + 4 * 0.028).all(), told / n


@pytest.mark.parametrize("part", [slice(None), slice(2, None), slice(0, 3)])
def test_sums_over_units_are_those_of_bincount(part):
    rng = np.random.default_rng(0)
    codes, other = rng.integers(0, 4, (2, 60), np.uint16)
    target, weights = rng.random(60) < 0.3, rng.normal(size=60)
    for wanted in (True, False):
        mine = np.flatnonzero(target == wanted)
        start, stop, _ = part.indices(len(mine))
        own, left = weights[: len(mine)], codes[mine][part] != other[mine][part]
        for skip, used in ((other, left), (other[:0], np.ones(len(left), bool))):
            out = np.zeros(4)
            class_sums(codes, skip, target, wanted, start, stop, own, out)
            expected = np.bincount(codes[mine][part][used], own[part][used], 4)
            np.testing.assert_array_equal(out, expected)


def test_pairs_are_numbered_alike_in_small_and_large_grids(monkeypatch):
    rng = np.random.default_rng(1)
    scores, target = rng.normal(size=400), rng.random(400) < 0.3
    sides = rng.integers(0, 12, (2, 400))
    for shared in (True, False):
        system = System(scores, target, number_units(*sides, shared), POINTS, True)
        dense = list(influence.pair_rows(system))
        # As if there were too many pairs for a table of them.
        wide = dataclasses.replace(system.units, sizes=[1000] * len(system.units.sizes))
        monkeypatch.setattr(system, "units", wide)
        for one, two in zip(dense, influence.pair_rows(system), strict=True):
            np.testing.assert_array_equal(one, two)
