"""Forensic measures against another implementation, definitions written out, and known truths."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from metric_cases import FINITE, isotonic_means
from speaker_world import SCENARIOS, Effects, design

from fusion import Calibration, cllr, cross_validate, min_cllr
from fusion.calibration.methods import cllr_of_sigma, sigma_of_cllr
from fusion.example import simulate
from fusion.forensic import (
    SCALES,
    calibration_uncertainty,
    conclude,
    dev_pav,
    elub,
    invariance_bounds,
    llr_overestimation,
    misleading_rates,
    validate,
)
from fusion.forensic.measures import finite_points
from fusion.forensic.shares import share_interval
from fusion.forensic.verbal import ratio_text
from ivector.base.errors import DataError, UsageError

LN10 = np.log(10)
SETS = ("exact", "overconfident", "shifted", "small")


def perfect(n_tar, n_non, sigma=3.0, seed=0):
    """Llr of a perfectly calibrated Gaussian system."""
    rng = np.random.default_rng(seed)
    return rng.normal(sigma**2 / 2, sigma, n_tar), rng.normal(-(sigma**2) / 2, sigma, n_non)


def world(name="models-50", seed=0):
    """Scores of a world, classes, and speakers of both sides."""
    rng = np.random.default_rng([seed, 1])
    trials = design(SCENARIOS[name], rng)
    scores = Effects(SCENARIOS[name], trials, rng).scores()
    # The sides number one population here, so that a target trial is one of a speaker with herself.
    return scores, trials.enrol == trials.test, trials.enrol, trials.test


# --- the other implementation, and the definitions ----------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize("name", SETS)
def test_measures_are_those_of_the_other_implementation(golden, name):
    """lir 1.8 of the Netherlands Forensic Institute, whose bounds are on grids."""
    values, labels = np.loadtxt(golden / "lir" / f"{name}.txt").T
    tar, non = values[labels == 1], values[labels == 0]
    told = json.loads((golden / "lir" / "expected.json").read_text())["sets"][name]
    assert cllr(tar, non) == pytest.approx(told["cllr"], abs=1e-9)
    assert min_cllr(tar, non) == pytest.approx(told["cllr_min"], abs=1e-9)
    assert dev_pav(tar, non) / LN10 == pytest.approx(told["devpav_log10"], abs=1e-9)
    np.testing.assert_allclose(elub(tar, non), told["ELUBBounder"], rtol=0, atol=0.03)
    np.testing.assert_allclose(invariance_bounds(tar, non), told["IVBounder"], rtol=0, atol=0.005)
    over = llr_overestimation(tar, non).mean_absolute
    assert over == pytest.approx(told["overestimation_mean_ln"], abs=0.25)  # a guide, as told there


@settings(max_examples=60, deadline=None)
@given(FINITE)
def test_dev_pav_is_the_area_between_pav_and_the_identity(pair):
    tar, non = pair
    scores, share, _, _ = isotonic_means(tar, non)
    with np.errstate(divide="ignore"):
        found = np.log(share) - np.log1p(-share) - np.log(len(tar) / len(non))
    seen = np.isfinite(found)
    x, y = np.array(scores)[seen], found[seen]
    if len(x) < 2:
        assert np.isnan(dev_pav(tar, non))
        return
    u = (np.arange(2000)[:, None] + 0.5) / 2000  # along each segment, which may be one ulp long
    heights = np.abs((1 - u) * (y - x)[:-1] + u * (y - x)[1:]).mean(axis=0)
    assert dev_pav(tar, non) == pytest.approx(heights @ np.diff(x) / (x[-1] - x[0]), abs=1e-5)


def worse_than_none(tar, non, t):
    """Whether llr with one misleading trial more of each class cost more than none, at t."""
    missed = (np.sum(tar < t) + 1) / (len(tar) + 1)
    accepted = (np.sum(non >= t) + 1) / (len(non) + 1)
    return missed + np.exp(t) * accepted > min(1, np.exp(t)) + 1e-12


def too_large(tar, non, t):
    """Whether the tails at t say less than it."""
    one = (np.sum(tar >= t) + 0.5) / (len(tar) + 1)
    two = (np.sum(non >= t) + 0.5) / (len(non) + 1)
    if t > 0:
        return np.log(one / two) < t - 1e-12
    return np.log((1 - one) / (1 - two)) > t + 1e-12


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("bound", "beyond"), [(elub, worse_than_none),
                                              (invariance_bounds, too_large)])  # fmt: skip
def test_bounds_are_where_the_definition_first_fails(bound, beyond, seed):
    rng = np.random.default_rng(seed)
    scale, shift = rng.uniform(0.5, 2), rng.normal()
    tar, non = (scale * part + shift for part in perfect(10 + 20 * seed, 300, seed=seed))
    low, high = bound(tar, non)
    ends = (-np.log(len(tar) + 1), np.log(len(non) + 1)) if bound is elub else (-np.inf, np.inf)
    for end, sign, last in ((low, -1, ends[0]), (high, 1, ends[1])):
        inside = np.linspace(0, end, 4001)[1:-1]
        assert not any(beyond(tar, non, t) for t in inside)
        assert end == last or beyond(tar, non, end + sign * 1e-6)


def test_a_system_that_misleads_supports_no_llr():
    tar, non = perfect(100, 100)
    assert elub(-tar, -non) == (0, 0) and invariance_bounds(-tar, -non) == (0, 0)


def test_what_misleads_by_more_is_no_more_frequent():
    part = simulate(n_speakers=40)
    llr = 0.4 * part.scores["plda"] + 4
    rows = validate(llr, part.target, *part.sides, n_bootstrap=0)["misleading"]
    assert [row["nontargets"]["count"] for row in rows][2:] == [16, 0]
    for name in ("targets", "nontargets"):
        highs = [row[name]["high"] for row in rows]
        assert highs == sorted(highs, reverse=True)
        assert all(row[name]["low"] <= row[name]["estimate"] <= row[name]["high"] for row in rows)


def test_misleading_rates_are_counted():
    tar, non = perfect(500, 900)
    rates = misleading_rates(tar, non, [1, 7, 50])
    for factor, miss, accept in zip(*rates):
        assert miss == np.mean(np.exp(tar) < 1 / factor)
        assert accept == np.mean(np.exp(non) > factor)
    assert misleading_rates([0.0], [0.0], 1)[1:] == (0, 0)  # an LR of 1 misleads nobody
    with pytest.raises(UsageError, match="at least 1"):
        misleading_rates(tar, non, 0.5)


def test_a_million_llr_in_five_seconds():
    tar, non = perfect(50_000, 950_000)
    small = perfect(50, 950)
    for one, two in (small, (tar, non)):  # kernels compile on the small set
        start = time.process_time()
        cllr(one, two), min_cllr(one, two), dev_pav(one, two), elub(one, two)
        invariance_bounds(one, two), misleading_rates(one, two), llr_overestimation(one, two)
    assert time.process_time() - start < 5


# --- overestimation -----------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.5])
def test_overestimation_finds_a_shift(shift):
    tar, non = perfect(4000, 20_000)
    found = llr_overestimation(tar + shift, non + shift, random_state=1)
    middle = np.abs(found.llr) < 5  # where there are trials of both classes
    assert np.abs(found.estimate - shift)[middle].mean() < 0.25
    held = (found.low <= shift) & (shift <= found.high)
    assert held[middle].mean() > 0.8


def test_overestimation_is_less_sure_of_fewer_trials():
    wide = [np.median(np.subtract(f.high, f.low))
            for f in (llr_overestimation(*perfect(n, 4 * n)) for n in (50, 5000))]  # fmt: skip
    assert wide[0] > 3 * wide[1]


# --- bi-Gaussianised calibration ----------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_cllr_of_a_perfect_system(sigma):
    tar, non = perfect(400_000, 400_000, sigma)
    assert cllr_of_sigma(sigma) == pytest.approx(cllr(tar, non), abs=2e-3)
    assert sigma_of_cllr(cllr_of_sigma(sigma)) == pytest.approx(sigma, rel=1e-6)


def test_bigaussianised_llr_are_the_perfect_ones_whatever_the_scale():
    tar, non = perfect(4000, 16_000)
    y = np.repeat([True, False], [len(tar), len(non)])
    llr = np.concatenate([tar, non])
    model = Calibration("bigaussian").fit(np.sinh(llr / 6), y)  # any rising function of them
    assert model.sigma_ == pytest.approx(3, abs=0.25)
    middle = np.abs(llr) < 6
    assert np.abs(model.transform(np.sinh(llr / 6)) - llr)[middle].max() < 0.8


def test_bigaussianised_is_better_than_logistic_where_scores_are_warped():
    scores, target, enrol, test = world()
    warped = np.exp(scores / 8)
    found = validate(warped, target, enrol, test, n_bootstrap=100)
    assert found["difference"]["high"] < 0
    logistic, warm = (row["cllr"]["estimate"] for row in found["calibrations"][1:])
    assert warm - logistic == pytest.approx(found["difference"]["estimate"])
    llr = cross_validate(Calibration("bigaussian"), warped, target, enrol, test)
    assert cllr(llr[target], llr[~target]) == pytest.approx(warm)


@pytest.mark.parametrize(("scores", "what"), [
    ([3.0, 2.0, 1.0, 2.5, 1.5, 0.0], "scores higher than a nontarget trial in 0.0 %"),
    ([1.0, np.inf, 1.0, 2.0, 3.0, 4.0], "infinite"),
    ([1.0] * 6, "tells nothing"),
])  # fmt: skip
def test_scores_that_cannot_be_bigaussianised_are_named(scores, what):
    with pytest.raises(DataError, match=what):
        Calibration("bigaussian").fit(scores, [0, 0, 1, 0, 1, 1])


# --- how sure an llr is -------------------------------------------------------------------------


def test_intervals_hold_the_llr_of_a_large_sample():
    """A short form of tests/benchmarks/llr_coverage.py: of 60 worlds, 95 % of the intervals."""
    at = np.array([-10.0, -5.0, 0.0, 5.0, 10.0])  # perfect llr, so that each is its own truth
    held, credible = [], []
    for seed in range(60):
        found = calibration_uncertainty(*world(seed=seed), n_bootstrap=100, random_state=seed)
        for ends, kept in ((found.interval(at), held), (found.credible(at), credible)):
            kept.append((ends[:, 0] <= at) & (at <= ends[:, 1]))
    assert 0.88 < np.mean(held) < 0.995 and 0.8 < np.mean(credible) < 0.995


def test_intervals_are_of_speakers_and_not_of_trials():
    """Each trial ten times tells nothing new: intervals stay, and so do the Bayesian ones."""
    scores, target, enrol, test = world()
    once = calibration_uncertainty(scores, target, enrol, test, n_bootstrap=50)
    ten = calibration_uncertainty(
        *(np.tile(a, 10) for a in (scores, target, enrol, test)), n_bootstrap=50
    )
    at = [-8.0, 0.0, 8.0]
    np.testing.assert_allclose(once.interval(at), ten.interval(at), atol=1e-4)
    np.testing.assert_allclose(once.credible(at), ten.credible(at), atol=1e-4)


def test_many_intervals_are_those_of_single_llr():
    found = calibration_uncertainty(*world(), n_bootstrap=50)
    many = np.append(np.linspace(-20, 20, 5001), 1e6)
    some = [0, 1234, 5001]
    np.testing.assert_allclose(found.interval(many)[some], found.interval(many[some]), rtol=1e-4)
    assert found.interval([]).shape == (0, 2)


def test_sides_of_different_speakers_are_drawn_apart():
    scores, target, enrol, test = world()
    apart = calibration_uncertainty(
        scores, target, enrol, test, shared=False, n_bootstrap=100
    ).interval([8.0])
    together = calibration_uncertainty(scores, target, enrol, test, n_bootstrap=100).interval([8.0])
    assert np.all(np.isfinite(apart)) and np.ptp(apart) != np.ptp(together)


def test_a_prior_draws_llr_to_zero_where_trials_are_few():
    scores, target, enrol, test = world()
    few = np.isin(enrol, range(12)) & np.isin(test, range(12))
    shrunk = calibration_uncertainty(
        scores[few], target[few], enrol[few], test[few], n_bootstrap=50
    )
    middle = shrunk.credible([12.0]).mean()
    assert 0 < middle < shrunk.llr([12.0])[0]


@pytest.mark.filterwarnings("ignore:the scores separate")
@pytest.mark.parametrize("gap", [7.0, 1000.0])  # few errors, of few speakers; and none at all
def test_classes_that_hardly_overlap_give_no_interval(gap):
    scores, target, enrol, test = world()
    with pytest.raises(DataError, match="too few errors for an interval of llr"):
        calibration_uncertainty(scores + gap * target, target, enrol, test, n_bootstrap=50)


def test_a_share_that_is_none_has_an_upper_end():
    enrol = np.repeat(np.arange(20), 10)
    none = share_interval(np.zeros(200, bool), enrol, enrol, True, 0.95)
    assert none.low == 0 and none.high == pytest.approx(1 - 0.025 ** (1 / 20))
    hit = np.arange(200) % 10 == 0
    some = share_interval(hit, enrol, enrol, True, 0.95)
    one_speaker = share_interval(enrol < 2, enrol, enrol, True, 0.95)
    assert some.estimate == one_speaker.estimate == 0.1
    # Two speakers in whom all is wrong tell less than one trial of each.
    assert one_speaker.high - one_speaker.low > 4 * (some.high - some.low)


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_every_step_of_a_scale_begins_at_its_ratio(scale):
    steps = SCALES[scale].steps
    assert [least for least, _ in steps] == sorted({least for least, _ in steps})
    for least, word in steps:
        for sign in (-1, 1):
            assert f": {word}" in conclude(sign * np.log(least) if least > 1 else 0.0, scale=scale)
        if least > 1:
            assert f": {word} " not in conclude(np.log(least) - 0.01, scale=scale)


def test_conclusions_turn_with_the_sign_and_always_have_numbers():
    assert conclude(6.0).endswith("that one person spoke both rather than that two people spoke "
                                  "them.")  # fmt: skip
    assert conclude(-6.0).endswith("that two people spoke them rather than that one person spoke "
                                   "both.")  # fmt: skip
    for llr in (-20.0, -1.0, 0.0, 0.4, 7.0, 30.0):
        assert conclude(llr).startswith(f"LR {ratio_text(llr)} (log10 {llr / LN10:.2f})")
    assert "may speak for the other side" in conclude(2.0, interval=(-1, 5))
    text = conclude(9.0, interval=(6, 12), bounds=(-3, 5))
    assert "supports 150 (log10 2.17): moderately strong support that" in text


@pytest.mark.parametrize(("llr", "text"), [
    (0.0, "1"), (np.log(2.5), "2.5"), (-np.log(350), "1/350"), (np.log(123_456), "120,000"),
    (16.6, "10^7.2"), (-16.6, "10^-7.2"),
])  # fmt: skip
def test_ratios_are_written_in_two_digits(llr, text):
    assert ratio_text(llr) == text


def test_a_number_does_not_read_like_the_next_word():
    for ratio, text in ((99.7, "99.7"), (0.9999e6, "999,900"), (1.998, "1.998"), (9.96, "9.96")):
        for sign, form in ((1, text), (-1, f"1/{text}")):
            said = conclude(sign * np.log(ratio))
            assert said.startswith(f"LR {form} (log10"), said


def test_conclusions_that_cannot_be_drawn_are_refused():
    with pytest.raises(DataError, match="no conclusion"):
        conclude(np.inf)
    with pytest.raises(DataError, match=r"interval .* finite"):
        conclude(1.0, interval=(0, np.inf))
    with pytest.raises(UsageError, match="ascend"):
        conclude(1.0, bounds=(2, 1))
    with pytest.raises(UsageError, match="no verbal scale 'x'; there are enfsi"):
        conclude(1.0, scale="x")


# --- all of it ----------------------------------------------------------------------------------


def test_validation_of_parts_is_that_of_their_trials():
    scores, target, enrol, test = world()
    half = np.where(test % 2, "odd", "even").astype(object)
    lone = np.where(np.arange(len(scores)) < 12, "few", "many").astype(object)
    found = validate(
        scores, target, enrol, test, conditions={"half": half, "lone": lone}, n_bootstrap=0
    )
    assert found["unit"] == "natural logarithm" and not found["cautions"]
    odd = found["conditions"][0]["parts"][1]
    chosen = half == "odd"
    assert odd["value"] == "odd" and odd["trials"] == chosen.sum()
    assert odd["measures"]["dev_pav"] == dev_pav(scores[chosen & target], scores[chosen & ~target])
    few, many = found["conditions"][1]["parts"]
    assert few["measures"] is None and many["measures"]["cllr"]["estimate"] > 0
    json.dumps(found)


@pytest.mark.parametrize(("change", "what"), [
    (lambda llr: llr / LN10, "times too small, as decimal logarithms taken for natural"),
    (lambda llr: llr * LN10, "times too large, as natural logarithms taken for decimal"),
    (lambda llr: -llr, "turn their sign"),
    (lambda llr: llr + 9, "worth less than none"),
])  # fmt: skip
def test_llr_of_another_kind_are_noticed(change, what):
    rng = np.random.default_rng(0)
    tar, non = perfect(3000, 9000)
    target = np.repeat([True, False], [3000, 9000])
    sides = rng.integers(0, 100, (2, 12_000))
    llr = change(np.concatenate([tar, non]))
    found = validate(llr, target, *sides, n_bootstrap=0, n_folds=0)
    assert any(what in text for text in found["cautions"]), found["cautions"]


@pytest.mark.parametrize(("tar", "non", "what"), [
    ([1.0] * 9, [0.0] * 20, "at least 10 trials of either class, there are 9 target"),
    ([1.0] * 20, [0.0] * 9, "there are 9 nontarget trials; take more"),
    ([], [0.0] * 20, "target scores of shape"),
    ([1.0] * 20, [-np.inf] + [0.0] * 20, "1 of 21 llr of nontarget trials are not finite"),
    ([np.nan] * 2, [0.0], "NaN"),
])  # fmt: skip
@pytest.mark.parametrize("bound", [elub, invariance_bounds])
def test_llr_that_no_bound_can_be_found_of_are_named(bound, tar, non, what):
    with pytest.raises(DataError, match=what) as error:
        bound(tar, non)
    assert "\n" not in str(error.value)


def test_points_of_finite_llr_give_cllr_to_the_last_digit():
    tar, non = perfect(100, 100)
    assert finite_points(tar, non).cllr() == cllr(tar, non)
