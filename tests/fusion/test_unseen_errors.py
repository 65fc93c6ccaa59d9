"""Costs whose dear kind of error was not seen: their intervals say so, or are not given."""

import numpy as np
import pytest

from fusion import compare, compare_systems, evaluate
from fusion.formats.files import write_scores
from fusion.intervals.analytic import analytic_interval
from fusion.intervals.bootstrap import bootstrap_interval
from fusion.intervals.paired import paired_bootstrap
from fusion.metrics.points import OperatingPoint
from ivector.base.cli import run

RARE, FREQUENT = OperatingPoint(0.01), OperatingPoint(0.999)
N = 40


def world(n_nontargets, seed=0, systems=1):
    """Calibrated llr of 4 recordings of each of 40 speakers; all targets, some nontargets."""
    rng = np.random.default_rng(seed)
    one, two = np.triu_indices(4 * N, 1)
    target = one // 4 == two // 4
    some = rng.permutation(np.flatnonzero(~target))[:n_nontargets]
    rows = np.concatenate([np.flatnonzero(target), some])
    target = target[rows]
    llr = [np.where(target, 4.5, -4.5) + 3 * rng.normal(size=len(rows)) for _ in range(systems)]
    return (*llr, target, one[rows] // 4, two[rows] // 4)


@pytest.mark.parametrize("find", [bootstrap_interval, analytic_interval])
@pytest.mark.parametrize(
    ("n_nontargets", "point", "enough"),
    [(6, RARE, False), (60, RARE, False), (12_000, RARE, True), (12_000, FREQUENT, False)],
)
def test_one_error_of_a_kind_that_would_change_everything(find, n_nontargets, point, enough):
    found = find(*world(n_nontargets), points=[point], llr=True)
    assert found.act_dcf[0].enough is found.min_dcf[0].enough is enough


@pytest.mark.parametrize("find", [bootstrap_interval, analytic_interval])
def test_an_interval_reaches_what_was_not_seen(find):
    """Without one false alarm of 2,000, 2.3 are possible, of which each costs 0.05."""
    llr, target, *sides = world(2000)
    llr = np.where(target, llr, np.minimum(llr, 4))
    act = find(llr, target, *sides, points=[RARE], llr=True).act_dcf[0]
    assert act.enough and act.estimate + 2.3 * 99 / 2000 < act.high < act.estimate + 0.3


def test_costs_of_the_population_are_held():
    truth = 0.6330  # of llr of N(±4.5, 9), at P_tar 0.01
    held = []
    for seed in range(40):
        act = analytic_interval(*world(600, seed), points=[RARE], llr=True).act_dcf[0]
        held.append(act.low <= truth <= act.high)
    assert np.mean(held) >= 0.9


def test_targets_of_one_speaker_are_too_few():
    llr, target, enrol, test = world(2000)
    keep = ~target | (enrol == 3)
    llr = np.where(target, np.where(np.arange(len(llr)) % 2, llr, -3.0), llr)
    trials = (values[keep] for values in (llr, target, enrol, test))
    found = bootstrap_interval(*trials, points=[RARE], llr=True, n_bootstrap=50)
    assert not found.eer.enough and not found.act_dcf[0].enough


def test_differences_of_what_was_not_seen_are_not_told():
    trials = world(6, systems=2)
    found = paired_bootstrap(*trials, points=[RARE], llr=True, n_bootstrap=100)
    assert not found.differences["act_dcf", 0].interval.enough
    many = paired_bootstrap(*world(12_000, systems=2), points=[RARE], llr=True, n_bootstrap=100)
    assert many.differences["act_dcf", 0].interval.enough


def test_both_systems_have_the_intervals_of_the_bootstrap():
    one, two, *trials = world(2000, systems=2)
    options = {"points": [RARE], "llr": True, "n_bootstrap": 50, "random_state": 3}
    found = paired_bootstrap(one, two, *trials, **options).systems
    for llr, intervals in zip((one, two), found):
        assert intervals.intervals == bootstrap_interval(llr, *trials, **options).intervals


def test_evaluate_and_compare_say_the_same_of_costs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    one, two, target, enrol, test = world(6, systems=2)
    models, tests = [f"m{n}" for n in enrol], [f"u{n}_{k}" for k, n in enumerate(test)]
    words = np.where(target, "target", "nontarget")
    (tmp_path / "trials").write_text(
        "".join(f"{m} {t} {word}\n" for m, t, word in zip(models, tests, words))
    )
    utt2spk = {t: n for t, n in zip(tests, test)} | {f"m{n}": n for n in enrol}
    (tmp_path / "map").write_text("".join(f"{utt} {n}\n" for utt, n in utt2spk.items()))
    write_scores("a", models, tests, one)
    write_scores("b", models, tests, two)
    options = ["--llr", "--utt2spk", "map", "--bootstrap", "100"]
    found = []
    for command, given in (
        (evaluate, ["a", "b", "trials", *options]),
        (compare, ["a", "b", "trials", *options]),
    ):
        assert run(command.make_parser(), command.main, given) == 0
        out = capsys.readouterr().out
        found.append([line for line in out.splitlines() if line.startswith("At P_tar 0.01")])
        assert "better in actDCF" not in out
    assert found[0] == found[1] and "not shown to cost less" in found[0][0]
    result = compare_systems({"a": one, "b": two}, target, enrol, test, llr=True, n_bootstrap=50)
    assert {grade.costs for grade in result.grades.values()} == {("unseen",)}
