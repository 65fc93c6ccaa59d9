"""The bootstrap over speakers: weights, repeatability, coverage, and how speakers are told."""

import warnings

import numpy as np
import pytest
from scipy.stats import norm

from fusion.formats.files import read_trials
from fusion.formats.speakers import linked_speakers, mapped_speakers, read_enrolments, read_map
from fusion.intervals.analytic import analytic_interval
from fusion.intervals.bootstrap import bootstrap_interval, corrected
from fusion.intervals.kernels import bootstrap_block
from fusion.intervals.paired import paired_bootstrap
from fusion.metrics import rates as metrics
from fusion.metrics.points import OperatingPoint
from ivector.base.errors import DataError, DegenerateDataWarning, UsageError


def draw_world(rng, n_speakers, n_tests, speaker=0.6):
    """All models against all tests; scores share effects of speakers on both sides."""
    effect = rng.normal(size=n_speakers) * speaker
    enrol = np.repeat(np.arange(n_speakers), n_speakers * n_tests)
    test = np.tile(np.repeat(np.arange(n_speakers), n_tests), n_speakers)
    scores = effect[enrol] + effect[test] + rng.normal(size=enrol.size)
    is_target = enrol == test
    own = 3 + rng.normal(size=n_speakers) * speaker
    scores[is_target] += own[enrol[is_target]]
    return scores, is_target, enrol, test


def run_kernel(scores, is_target, enrol, test, shared, weights, priors=(0.01, 0.3), grid=()):
    order = np.argsort(scores, kind="stable")
    scores, is_target = scores[order], is_target[order]
    last = np.append(scores[1:] != scores[:-1], True)
    n, p = len(weights[0]), len(priors)
    costs = np.array([metrics.cost_weights(p) for p in priors])
    bars = np.searchsorted(scores[last], np.log(costs[:, 1] / costs[:, 0]))
    bits = np.where(is_target, np.log2(1 + np.exp(-scores)), np.log2(1 + np.exp(scores)))
    out, miss = np.empty((n, 3 + 2 * p)), np.empty((n, len(grid)))
    sides = [side[order].astype(np.int32) for side in (enrol, test)]
    weights = [np.asarray(w, np.int64) for w in weights]
    grid = np.asarray(grid, float)
    bootstrap_block(*sides, is_target, last, shared, *weights, costs, bars, bits, grid, out, miss)
    return out, miss


def plain(tar, non, priors=(0.01, 0.3)):
    """All statistics, by the functions of metrics."""
    least = [metrics.min_dcf(tar, non, p) for p in priors]
    actual = [metrics.act_dcf(tar, non, p) for p in priors]
    return [
        metrics.eer(tar, non),
        *least,
        metrics.min_cllr(tar, non),
        metrics.cllr(tar, non),
        *actual,
    ]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_of_one_are_the_plain_rates(shared, tied):
    scores, is_target, enrol, test = draw_world(np.random.default_rng(0), 8, 3)
    if tied:
        scores = np.round(scores)
    ones = np.ones((1, 8))
    grid = [0.0, 0.05, 0.3, 0.7, 1.0]
    out, miss = run_kernel(scores, is_target, enrol, test, shared, (ones, ones), grid=grid)
    tar, non = scores[is_target], scores[~is_target]
    assert out[0] == pytest.approx(plain(tar, non), abs=1e-12)
    curve = metrics.det_curve(tar, non)
    assert miss[0] == pytest.approx([curve.p_miss[curve.p_fa <= g + 1e-12].min() for g in grid])


@pytest.mark.parametrize("shared", [True, False])
def test_weights_are_copies(shared):
    """A replicate equals the plain rates of trials that are copied as often as they weigh."""
    rng = np.random.default_rng(1)
    scores, is_target, enrol, test = draw_world(rng, 6, 2)
    scores = np.round(scores, 1)
    one, two = rng.integers(0, 4, (5, 6)), rng.integers(0, 4, (5, 6))
    one[0] = 0
    two = one if shared else two
    out, _ = run_kernel(scores, is_target, enrol, test, shared, (one, two))
    assert np.isnan(out[0]).all()
    for r in range(1, 5):
        copies = np.where((enrol == test) & shared, one[r, enrol], one[r, enrol] * two[r, test])
        many, labels = np.repeat(scores, copies), np.repeat(is_target, copies)
        assert out[r] == pytest.approx(plain(many[labels], many[~labels]), abs=1e-12)


def test_same_seed_same_interval():
    world = draw_world(np.random.default_rng(2), 20, 3)
    first, again, other = (
        bootstrap_interval(*world, p_target=[0.01], n_bootstrap=200, random_state=seed)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.replicates, again.replicates)
    assert first.eer == again.eer and first.min_dcf == again.min_dcf
    assert not np.array_equal(first.replicates, other.replicates)
    scores, is_target, enrol, test = world
    shuffled = np.random.default_rng(0).permutation(len(scores))
    rearranged = bootstrap_interval(
        *(a[shuffled] for a in world), p_target=[0.01], n_bootstrap=200, random_state=3
    )
    assert rearranged.eer == first.eer
    gaps = bootstrap_interval(
        scores, is_target, 7 * enrol, 7 * test, p_target=[0.01], n_bootstrap=200, random_state=3
    )
    assert gaps.eer == first.eer
    tar, non = scores[is_target], scores[~is_target]
    assert first.eer.estimate == metrics.eer(tar, non)
    assert first.min_dcf[0].estimate == metrics.min_dcf(tar, non, 0.01)


def test_blocks_of_replicates_do_not_matter(monkeypatch):
    world = draw_world(np.random.default_rng(2), 12, 2)
    for shared in (True, False):
        whole = bootstrap_interval(*world, n_bootstrap=50, shared=shared)
        monkeypatch.setattr("fusion.intervals.replicates._BLOCK_NUMBERS", 60)
        parts = bootstrap_interval(*world, n_bootstrap=50, shared=shared)
        np.testing.assert_array_equal(whole.replicates, parts.replicates)
        monkeypatch.undo()


def test_coverage_over_worlds():
    """95 % intervals hold the rates of the population in about 95 % of drawn worlds."""
    rng = np.random.default_rng(7)
    big = [draw_world(rng, 250, 2) for _ in range(6)]
    true_eer = np.mean([metrics.eer(s[t], s[~t]) for s, t, *_ in big])
    true_dcf = np.mean([metrics.min_dcf(s[t], s[~t], 0.1) for s, t, *_ in big])
    held, width, narrow = [], [], []
    for seed in range(150):
        scores, is_target, enrol, test = draw_world(rng, 40, 3)
        options = {"p_target": [0.1], "n_bootstrap": 200, "random_state": seed}
        found = bootstrap_interval(scores, is_target, enrol, test, **options)
        one, two = found.eer, found.min_dcf[0]
        held.append([one.low <= true_eer <= one.high, two.low <= true_dcf <= two.high])
        width.append(one.high - one.low)
        if seed < 10:
            # Every trial its own speaker: what a bootstrap over trials would say.
            number = np.arange(len(scores))
            naive = bootstrap_interval(scores, is_target, number, number, **options).eer
            narrow.append(naive.high - naive.low)
    coverage = np.mean(held, axis=0)
    assert (coverage >= 0.88).all() and (coverage <= 0.995).all(), coverage
    assert np.mean(narrow) < 0.9 * np.mean(width[:10])


def test_mean_of_points_has_an_interval_like_its_parts():
    scores, *trials = draw_world(np.random.default_rng(4), 30, 3)
    points = [OperatingPoint(0.1), OperatingPoint(0.01)]
    found = bootstrap_interval(scores, *trials, points=points, llr=True, n_bootstrap=300)
    for name in ("min_dcf", "act_dcf"):
        one, two = (found.intervals[name, k] for k in (0, 1))
        twice = found.mean([(name, 0), (name, 0)])
        assert (twice.low, twice.high) == pytest.approx((one.low, one.high), abs=1e-9)
        both = found.mean([(name, 0), (name, 1)])
        assert both.estimate == pytest.approx((one.estimate + two.estimate) / 2)
        drawn = (found.column((name, 0)) + found.column((name, 1))) / 2
        spread = np.percentile(drawn, [2.5, 97.5])
        assert both.high - both.low > 0.8 * (spread[1] - spread[0])
        assert both.high - both.low < (one.high - one.low + two.high - two.low) / 2


def test_corrected_percentiles():
    values = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    assert corrected(values, 0.0, 0.95) == pytest.approx((-1.96, 1.96), abs=2e-3)
    # Replicates that lie low by 0.1 give an interval that is moved up by twice that.
    assert corrected(values - 0.1, 0.0, 0.95) == pytest.approx((-1.86, 2.06), abs=5e-3)
    assert corrected(np.zeros(50), 0.0, 0.95) == (0, 0)
    low, high = corrected(np.zeros(50), 0.2, 0.95)
    assert low == 0 and high == 0.2


def test_band_holds_the_curve():
    scores, is_target, enrol, test = draw_world(np.random.default_rng(2), 20, 3)
    grid = np.array([0.01, 0.05, 0.2, 0.5])
    found = bootstrap_interval(scores, is_target, enrol, test, band=grid, n_bootstrap=200)
    curve = metrics.det_curve(scores[is_target], scores[~is_target])
    at = [curve.p_miss[curve.p_fa <= g].min() for g in grid]
    assert (found.p_miss_low <= at).all() and (at <= found.p_miss_high).all()
    assert (found.p_miss_low < found.p_miss_high)[:2].all()


def test_refusals():
    scores, is_target, enrol, test = draw_world(np.random.default_rng(0), 12, 1)
    for options in ({"n_bootstrap": 5}, {"level": 1.0}, {"p_target": [2]}, {"band": [-0.1]}):
        with pytest.raises(UsageError):
            bootstrap_interval(scores, is_target, enrol, test, **options)
    for arrays, message in [
        ((scores, is_target, enrol, test[1:]), "shapes"),
        ((scores * np.nan, is_target, enrol, test), "NaN"),
        ((scores, is_target, enrol - 1, test), "numbers from 0"),
        ((scores, is_target, enrol * 0.5, test), "numbers from 0"),
        ((scores, is_target, enrol * 0, test * 0), "at least 2 speakers"),
        ((scores, is_target | True, enrol, test), "nontarget scores"),
    ]:
        with pytest.raises(DataError, match=message):
            bootstrap_interval(*arrays)
    few = draw_world(np.random.default_rng(0), 5, 4)
    with pytest.warns(DegenerateDataWarning, match="only 5 speakers"):
        bootstrap_interval(*few, n_bootstrap=50)
    lone = np.array([1.0, 0.0]), np.array([True, False]), np.array([0, 1]), np.array([0, 2])
    with warnings.catch_warnings(), pytest.raises(DataError, match="use more speakers"):
        warnings.simplefilter("ignore")
        bootstrap_interval(*lone)


@pytest.fixture
def put(tmp_path):
    def write(text, name):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


TRIALS = """m1 u1 target
m1 u2 target
m2 u2 target
m3 u3 target
m1 u3 nontarget
m3 u4 nontarget
u3 u5 target
"""


def test_speakers_from_target_trials(put):
    found = linked_speakers(read_trials(put(TRIALS, "trials")))
    # m1 and m2 share u2; u3 is a model and an utterance, and so joins m3, u5; u4 is alone.
    a, b, c = found.enrol[0], found.enrol[3], found.test[5]
    assert len({a, b, c}) == 3 == found.n_speakers
    assert found.enrol.tolist() == [a, a, a, b, a, b, b]
    assert found.test.tolist() == [a, a, a, b, b, c, b]
    assert "1 test utterances" in found.source


def test_speakers_from_maps(put):
    trials = read_trials(put(TRIALS, "trials"))
    utt2spk = read_map(put("u1 A\nu2 A\nu3 B\nu4 C\nu5 B\ne1 A\ne3 B\n", "utt2spk"))
    models = read_enrolments(put("m1 e1 u1\nm2 e1\nm3 e3\n", "enroll"), utt2spk)
    assert models == {"m1": "A", "m2": "A", "m3": "B"}
    found = mapped_speakers(trials, utt2spk, models)
    assert found.n_speakers == 3
    linked = linked_speakers(trials)
    np.testing.assert_array_equal(
        found.enrol[:, None] == found.test, linked.enrol[:, None] == linked.test
    )
    with pytest.raises(DataError, match=r"3 of 4 ids of .*, first 'm1'; name its utt.*`models`"):
        mapped_speakers(trials, utt2spk)
    with pytest.raises(DataError, match=r"1 of 5 ids .*'u4'; add it to `utt2spk`"):
        mapped_speakers(trials, {k: v for k, v in utt2spk.items() if k != "u4"}, models)
    with pytest.raises(DataError, match=r"1 labels .* contradict utt2spk, .*'m3 u4' \(.*line 6"):
        mapped_speakers(trials, {**utt2spk, "u4": "B"}, models)
    named = read_trials(put("A u1 target\nB u1 nontarget\n", "named"))
    assert mapped_speakers(named, utt2spk).enrol.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n", "line 1: expected 'utterance speaker', found 1"),
        ("a s\n\na t\n", "line 3: 'a' has another speaker above"),
        ("\n", "is empty"),
    ],
)
def test_bad_utt2spk(put, text, message):
    with pytest.raises(DataError, match=message):
        read_map(put(text, "utt2spk"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m\n", "line 1: expected"),
        ("m a\nn x\n", "line 2: utt2spk lacks the utterance 'x'"),
        ("m a b\n", "line 1: the model 'm' has utterances of several speakers"),
        ("m a\nm b\n", "line 2: the model 'm'"),
        ("", "is empty"),
    ],
)
def test_bad_enrolments(put, text, message):
    with pytest.raises(DataError, match=message):
        read_enrolments(put(text, "enroll"), {"a": "s", "b": "t"})


def few_errors(n_missed, n_targets=400, n_nontargets=4000):
    """Trials of 40 speakers with some missed targets and many false alarms."""
    rng = np.random.default_rng(5)
    target = np.arange(n_targets + n_nontargets) < n_targets
    scores = np.where(target, 6.0, -6.0) + rng.normal(size=len(target))
    scores[:n_missed] = -8 - rng.random(n_missed)
    enrol = np.arange(len(target)) % 40
    return (
        scores,
        target,
        enrol,
        np.where(target, enrol, (enrol + 1 + np.arange(len(target)) // 40 % 39) % 40),
    )


@pytest.mark.parametrize(("n_missed", "enough"), [(0, False), (1, False), (40, True)])
def test_too_few_errors_are_told(n_missed, enough):
    trials = few_errors(n_missed)
    points = [OperatingPoint(0.1)]
    for find in (bootstrap_interval, analytic_interval):
        found = find(*trials, points=points, llr=True)
        assert {interval.enough for interval in found.intervals.values()} == {enough}
        assert found.eer.low <= found.eer.estimate <= found.eer.high
    worse = few_errors(40)[0]
    change = paired_bootstrap(worse, trials[0], *trials[1:], points=points).differences
    assert all(difference.interval.enough for difference in change.values())
    change = paired_bootstrap(trials[0], trials[0], *trials[1:], points=points).differences
    assert all(difference.interval.enough == enough for difference in change.values())


def test_cheap_errors_may_be_few():
    """Where misses make nearly all of the cost, a false alarm or two do not matter."""
    scores, target, *sides = few_errors(200)
    found = bootstrap_interval(scores, target, *sides, points=[OperatingPoint(0.5)])
    assert found.min_dcf[0].enough
