"""Comparing systems: differences, tests of decisions, parts, disagreements, and what is told."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import binom
from speaker_world import Effects, Scenario, design

from fusion.comparison.systems import compare_systems, holm
from fusion.intervals.paired import mcnemar, paired_bootstrap
from fusion.metrics import rates as metrics
from fusion.metrics.points import OperatingPoint
from ivector.base.errors import DataError, UsageError

POINTS = [OperatingPoint(0.05), OperatingPoint(0.01, 10, 1)]


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)
    scenario = Scenario(True, 30, 3, separation=3.0)
    trials = design(scenario, rng)
    effects = Effects(scenario, trials, rng)
    systems = {
        "good": effects.scores(),
        "twin": effects.twin(rng, 0.7).scores(),
        "bad": effects.twin(rng, 0.7).scores(1.2),
    }
    return systems, (trials.enrol == trials.test, trials.enrol, trials.test)


@pytest.fixture(scope="module")
def found(world):
    systems, trials = world
    lengths = np.random.default_rng(0).gamma(2.0, 5.0, len(trials[0]))
    genders = np.where(trials[1] % 2 & trials[2] % 2, "f", "m").astype(object)
    return compare_systems(
        systems, *trials, llr=True, points=POINTS, n_bootstrap=200, top=5,
        conditions={"length": lengths, "gender": genders},
        ids=lambda n: (f"m{trials[1][n]}", f"u{n}"),
    )  # fmt: skip


def test_differences_are_of_the_metrics(world, found):
    systems, (target, *sides) = world
    for versus in found.versus:
        one, two = (
            (systems[name][target], systems[name][~target]) for name in ("good", versus.name)
        )
        change = versus.differences["eer", 0]
        assert change.a == metrics.eer(*one) and change.b == metrics.eer(*two)
        assert change.interval.estimate == change.b - change.a
        assert versus.differences["min_dcf", 1].b == metrics.min_dcf(*two, 0.01, 10, 1)
        assert versus.differences["cllr", 0].b == pytest.approx(metrics.cllr(*two))
        assert versus.differences["act_dcf", 0].a == metrics.act_dcf(*one, 0.05)
        alone = paired_bootstrap(
            systems["good"], systems[versus.name], target, *sides, points=POINTS, llr=True,
            n_bootstrap=200,
        )  # fmt: skip
        assert alone.differences == versus.differences
    twin, bad = found.versus
    assert bad.p_values["eer", 0] < 0.01 < twin.p_values["eer", 0]
    assert bad.differences["eer", 0].interval.low > 0


def test_signs_turn_with_the_order(world):
    systems, trials = world
    one = paired_bootstrap(systems["good"], systems["bad"], *trials, llr=True, n_bootstrap=50)
    two = paired_bootstrap(systems["bad"], systems["good"], *trials, llr=True, n_bootstrap=50)
    for key, change in one.differences.items():
        other = two.differences[key]
        assert other.interval.low == pytest.approx(-change.interval.high)
        assert other.p_value == pytest.approx(change.p_value)
    np.testing.assert_allclose(one.replicates, -two.replicates)


def test_a_system_against_itself(world):
    systems, trials = world
    same = compare_systems({"a": systems["good"], "b": systems["good"]}, *trials, n_bootstrap=50)
    change = same.versus[0].differences["eer", 0]
    assert change.p_value == 1 and change.interval.low == change.interval.high == 0
    assert same.versus[0].tests["all"].p_exact == same.versus[0].tests["all"].p_speakers == 1
    assert same.versus[0].disagreements == []
    assert "No difference in EER between a and b can be told" in same.text()


def test_holm():
    values = [0.01, 0.04, 0.03, 0.005]
    assert holm(values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1, 1]
    # By definition: what every closed set of hypotheses gives to Bonferroni's test.
    for i in range(4):
        sets = [s for r in range(1, 5) for s in itertools.combinations(range(4), r) if i in s]
        worst = max(min(1, len(s) * min(values[k] for k in s)) for s in sets)
        assert holm(values)[i] == pytest.approx(worst)


def test_p_values_are_corrected_for_the_number_of_systems(found):
    for key in found.versus[0].differences:
        plain = [versus.differences[key].p_value for versus in found.versus]
        assert [versus.p_values[key] for versus in found.versus] == holm(plain)
    assert "Holm-corrected for 2 comparisons" in found.conclusions()[0]


@pytest.mark.parametrize("shared", [True, False])
def test_mcnemar_by_brute_force(shared):
    rng = np.random.default_rng(0)
    n = 300
    enrol, test = rng.integers(0, 12, n), rng.integers(0, 12, n)
    a, b = rng.random(n) < 0.2, rng.random(n) < 0.3
    found = mcnemar(a, b, enrol, test, shared=shared)
    only_a, only_b = (a & ~b).sum(), (b & ~a).sum()
    assert (found.only_a, found.only_b) == (only_a, only_b)
    fewer, total = min(only_a, only_b), only_a + only_b
    assert found.p_exact == pytest.approx(min(1, 2 * binom.cdf(fewer, total, 0.5)))
    more = b.astype(int) - a
    spread = 0.0
    for i in range(n):
        for j in range(n):
            if shared:
                common = len({enrol[i], test[i]} & {enrol[j], test[j]})
            else:
                common = int(enrol[i] == enrol[j]) + int(test[i] == test[j])
            spread += common * more[i] * more[j]
    from scipy.stats import t

    expected = 2 * t.sf(abs(more.sum()) / math.sqrt(spread), 11)
    assert found.p_speakers == pytest.approx(expected)


def test_mcnemar_holds_its_level_where_the_exact_test_does_not():
    """Errors of a speaker go together: the exact test then finds differences in half of worlds."""
    rng = np.random.default_rng(1)
    told = []
    for _ in range(200):
        hard = rng.random((2, 25)) < 0.5
        speaker = np.repeat(np.arange(25), 10)
        a, b = (h[speaker] & (rng.random(250) < 0.8) for h in hard)
        found = mcnemar(a, b, speaker, speaker)
        told.append((found.p_exact < 0.05, found.p_speakers < 0.05))
    exact, clustered = np.mean(told, axis=0)
    assert exact > 0.3 and clustered < 0.1


def test_mcnemar_of_one_speaker_tells_nothing():
    zero = np.zeros(9, int)
    found = mcnemar(zero == 1, zero == 0, zero, zero)
    assert found.only_b == 9 and found.p_exact < 0.01 and found.p_speakers == 1


def test_decisions_at_thresholds(world, found):
    systems, (target, *sides) = world
    assert found.versus[0].thresholds == (POINTS[0].threshold,) * 2
    wrong = [(systems[name] >= POINTS[0].threshold) != target for name in ("good", "bad")]
    assert found.versus[1].tests["all"] == mcnemar(*wrong, *sides)
    parts = found.versus[1].tests
    assert parts["all"].only_a == parts["targets"].only_a + parts["nontargets"].only_a
    own = compare_systems(systems, target, *sides, points=POINTS, n_bootstrap=20, top=0)
    assert "own best threshold" in own.at and own.versus[0].scale == ""
    cut = own.versus[0].thresholds[0]
    least = metrics.min_dcf(systems["good"][target], systems["good"][~target], 0.05)
    weights = metrics.cost_weights(0.05)
    accept = systems["good"] >= cut
    cost = weights[0] * (~accept)[target].mean() + weights[1] * accept[~target].mean()
    assert cost == pytest.approx(least)
    given = compare_systems(systems, target, *sides, threshold=1.5, n_bootstrap=20, top=0)
    assert given.versus[0].thresholds == (1.5, 1.5) and given.at == "the threshold 1.5"


def test_parts_are_comparisons_of_their_own(world, found):
    systems, (target, *sides) = world
    parts = found.versus[1].parts
    assert [p.name for p in parts if p.condition == "gender"] == ["f", "m"]
    assert len([p for p in parts if p.condition == "length"]) == 4
    assert sum(p.n_targets + p.n_nontargets for p in parts) == 2 * len(target)
    part = next(p for p in parts if p.name == "f")
    chosen = (sides[0] % 2 == 1) & (sides[1] % 2 == 1)
    assert part.n_speakers == 15 and part.n_targets == (target & chosen).sum()
    change = part.differences["eer", 0]
    scores = systems["bad"][chosen]
    assert change.b == metrics.eer(scores[target[chosen]], scores[~target[chosen]])
    whole = {"all": np.zeros(len(target)), "class": target.astype(float)}
    odd = compare_systems(systems, target, *sides, conditions=whole, n_bootstrap=50, top=0)
    everything, non, tar = odd.versus[0].parts
    assert everything.differences == odd.versus[0].differences
    assert not non.differences and not tar.differences and tar.n_nontargets == 0
    assert "-" in odd.text()


def test_disagreements_are_the_largest(world, found):
    systems, (target, *_) = world
    costs = [np.logaddexp(0, np.where(target, -1, 1) * systems[n]) for n in ("good", "bad")]
    apart = np.abs(costs[1] - costs[0])
    rows = found.versus[1].disagreements
    assert [row.trial for row in rows] == np.argsort(-apart, kind="stable")[:5].tolist()
    assert rows[0].a == systems["good"][rows[0].trial] and found.versus[1].scale == "llr as given"


def test_disagreements_on_different_scales(world):
    """Scores on other scales are calibrated first, on other speakers if there are enough."""
    systems, (target, enrol, test) = world
    scaled = {"good": systems["good"], "same": 20 * systems["good"] + 7}
    found = compare_systems(scaled, target, enrol, test, n_bootstrap=20)
    assert "from other speakers" in found.versus[0].scale.replace("learnt ", "")
    assert all(row.a == pytest.approx(row.b, abs=1e-2) for row in found.versus[0].disagreements)
    few = (enrol < 3) & (test < 3)
    part = {name: values[few] for name, values in systems.items()}
    with pytest.warns(UserWarning, match="3 speakers"):
        found = compare_systems(part, target[few], enrol[few], test[few], n_bootstrap=50)
    assert "for want of speakers" in found.versus[0].scale


def test_infinite_ratios_do_not_disagree(world):
    systems, (target, *sides) = world
    one = systems["good"].copy()
    one[np.argmin(target)] = -np.inf
    two = one.copy()
    two[np.argmax(target)] = -np.inf
    found = compare_systems({"a": one, "b": two}, target, *sides, llr=True, n_bootstrap=50)
    assert [row.trial for row in found.versus[0].disagreements] == [np.argmax(target)]
    json.dumps(found.record(), allow_nan=False)
    assert "inf" in found.text()


def test_conclusions(found):
    assert len(found.conclusions()) >= 4
    bad = next(s for s in found.conclusions() if "bad" in s)
    change = found.versus[1].differences["eer", 0]
    assert bad.startswith(
        f"good is better than bad by {100 * change.interval.estimate:.2f} % EER, 95 % interval "
        f"{100 * change.interval.low:.2f} to {100 * change.interval.high:.2f} (p < 0.001"
    )
    assert (
        "No difference in EER between good and twin can be told with these 30 speakers"
        in (found.conclusions()[0])
    )


def test_conclusion_when_the_second_is_better(world):
    systems, trials = world
    found = compare_systems(
        {"bad": systems["bad"], "good": systems["good"]}, *trials, n_bootstrap=100, top=0
    )
    (first, *_) = found.conclusions()
    low, high = (float(word) for word in first.split("interval ")[1].split(" (")[0].split(" to "))
    assert first.startswith("good is better than bad by ") and 0 < low < high


def test_outputs(found):
    text, page, record = found.text(), found.markdown(), found.record()
    json.dumps(record, allow_nan=False)
    assert record["systems"][1]["metrics"][0]["metric"] == "eer"
    assert record["systems"][0]["disagreements"]["trials"][0]["enrol"].startswith("m")
    assert record["conclusions"] == found.conclusions()
    for word in ("good", "twin", "bad", "minDCF (P_tar 0.05)", "length", "McNemar", "p (Holm)"):
        assert word in text and word in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    tables = [
        list(group)
        for kind, group in itertools.groupby(page.splitlines(), lambda x: x.startswith("|"))
        if kind
    ]
    assert rows and all(len({row.count("|") for row in table}) == 1 for table in tables)


def test_refusals(world):
    systems, trials = world
    with pytest.raises(UsageError, match="two systems"):
        compare_systems({"a": systems["good"]}, *trials)
    with pytest.raises(UsageError, match="operating point"):
        compare_systems(systems, *trials, points=[])
    with pytest.raises(DataError, match="column 'x'"):
        compare_systems(systems, *trials, conditions={"x": [1, 2]})
    with pytest.raises(DataError, match="shapes"):
        compare_systems({"a": systems["good"], "b": systems["bad"][1:]}, *trials)
    with pytest.raises(DataError, match="no trials"):
        compare_systems({"a": [], "b": []}, [], [], [])
    with pytest.raises(DataError, match="NaN"):
        compare_systems({"a": systems["good"], "b": systems["bad"] * np.nan}, *trials)
