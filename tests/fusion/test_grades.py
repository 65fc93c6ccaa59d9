"""Grades of calibration: exact llr are not blamed, others are, and what is useless is called so."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from speaker_world import Effects, Scenario, design

from fusion import compare, evaluate, grade_calibration
from fusion.calibration.wording import calibration_sentences
from fusion.formats.files import write_scores
from fusion.metrics.points import OperatingPoint
from ivector.base.cli import run
from ivector.base.errors import DataError

POINTS = [OperatingPoint(0.01)]
SEPARATIONS = {0.05: 3.2897, 0.02: 4.1075, 0.005: 5.1517}


def exact(eer, n_targets, n_nontargets, seed):
    """Perfectly calibrated llr of independent trials of 40 speakers."""
    rng, width = np.random.default_rng(seed), SEPARATIONS[eer]
    target = np.arange(n_targets + n_nontargets) < n_targets
    llr = np.where(target, 0.5, -0.5) * width**2 + width * rng.normal(size=len(target))
    enrol = rng.integers(40, size=len(target))
    return llr, target, enrol, np.where(target, enrol, (enrol + rng.integers(1, 40)) % 40)


def words(change, eer, sizes, n_sets=25):
    """How many sets have each grade."""
    found = Counter()
    for seed in range(n_sets):
        llr, *trials = exact(eer, *sizes, seed)
        options = {"points": POINTS, "random_state": seed, "n_sets": 400}
        found[grade_calibration(change(llr), *trials, **options).word] += 1
    return found


@pytest.mark.parametrize("eer", SEPARATIONS)
@pytest.mark.parametrize("sizes", [(100, 4000), (360, 14000)])
def test_exact_llr_are_not_blamed(eer, sizes):
    found = words(lambda llr: llr, eer, sizes)
    assert found["poorly"] <= 1 and found["poorly"] + found["fairly"] <= 3
    if sizes[0] >= 360 and eer >= 0.02:
        assert found["too few"] <= 1
    if sizes[0] * eer < 1:
        assert found["too few"] > 20


@pytest.mark.parametrize("eer", SEPARATIONS)
def test_what_is_off_is_not_called_well(eer):
    for change in (lambda llr: 1.5 * llr, lambda llr: llr + 1):
        assert words(change, eer, (2000, 20_000), n_sets=12)["well"] == 0


def test_trials_of_one_speaker_are_no_evidence_of_their_own():
    """Sets of few speakers who are alike lose more by chance than as many strangers."""
    world = Scenario(True, 20, 20, separation=3.3, speaker=0.3)
    blamed = Counter()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        trials = design(world, rng)
        llr, target = Effects(world, trials, rng).scores(), trials.enrol == trials.test
        for told in ((), trials[:2]):
            options = {"n_sets": 300, "random_state": seed}
            grade = grade_calibration(llr, target, *told, **options)
            blamed[len(told)] += grade.word not in ("well", "too few")
    assert blamed[2] <= 3 < 8 <= blamed[0]


def test_repeated_trials_tell_nothing_new():
    llr, target, enrol, test = exact(0.05, 360, 6000, 0)
    once = grade_calibration(llr, target, enrol, test, points=POINTS)
    speakers = np.arange(len(llr)), np.where(target, np.arange(len(llr)), -1) + len(llr)
    speakers = speakers[0], np.where(target, speakers[0], speakers[1] + 1 + np.arange(len(llr)))
    four = [np.tile(values, 4) for values in (llr, target, *speakers)]
    again = grade_calibration(*four, points=POINTS)
    assert again.cllr == pytest.approx(once.cllr, rel=1e-3)
    assert again.by_chance == pytest.approx(once.by_chance, rel=0.35)
    alone = grade_calibration(*four[:2], points=POINTS)
    assert alone.by_chance < 0.5 * once.by_chance


def test_the_same_seed_gives_the_same_grade():
    trials = exact(0.02, 100, 4000, 1)
    assert grade_calibration(*trials, points=POINTS) == grade_calibration(*trials, points=POINTS)


def test_what_is_no_better_than_rejecting_everything_is_called_that():
    llr, *trials = exact(0.05, 360, 14_000, 0)
    cases = {
        "rejects": (np.full(len(llr), -6.0), "misleading", "no less"),
        "silent": (np.zeros(len(llr)), "nothing", "no less"),
        "wild": (llr + 8, "misleading", "more"),
        "wrong": (np.where(trials[0], -np.inf, 3.0), "misleading", "no less"),
    }
    grades = {
        name: grade_calibration(values, *trials, points=POINTS)
        for name, (values, _, _) in cases.items()
    }
    for name, (_, word, cost) in cases.items():
        assert (grades[name].word, grades[name].costs) == (word, (cost,)), name
    text = " ".join(calibration_sentences(grades, POINTS))
    assert "of wild cost more than rejecting every trial" in text
    assert "of rejects, silent and wrong cost no less than rejecting every trial" in text
    assert "silent (Cllr 1.0000, of which 0.0000 is lost" in text and "no better than" in text
    often = [OperatingPoint(0.9)]
    text = calibration_sentences({"x": grade_calibration(llr * 0, *trials, points=often)}, often)
    assert text[-1].endswith("cost no less than accepting every trial.")


def test_a_cost_that_may_be_that_of_rejecting_everything():
    """Few errors of both kinds, or of one that is dear; in bits the llr are worth something."""
    llr, target, *sides = exact(0.05, 100, 4000, 0)
    few = [OperatingPoint(0.0002)]
    grade = grade_calibration(llr, target, *sides, points=few)
    text = calibration_sentences({"x": grade}, few)[-1]
    assert grade.costs == ("unseen",) and text == (
        "At P_tar 0.0002 decisions by the likelihood ratios of x are not shown to cost less than "
        "rejecting every trial, as there are too few errors to tell."
    )
    llr = np.where(target, llr - 3.5, np.minimum(llr, 4))
    llr[np.flatnonzero(~target)[:10]] = 5
    grade = grade_calibration(llr, target, points=POINTS)
    assert grade.costs == ("unsure",)
    text = calibration_sentences({"x": grade}, POINTS)[-1]
    assert text.endswith("not shown to cost less than rejecting every trial.")


def test_the_point_that_decides_is_named():
    llr, *trials = exact(0.05, 2000, 20_000, 1)
    llr = np.where(llr > 3, llr + 2, llr)  # wrong only where a rare target is decided
    points = [OperatingPoint(0.5), *POINTS]
    grade = grade_calibration(llr, *trials, points=points)
    assert grade.word in ("fairly", "poorly") and grade.where == 1
    text = calibration_sentences({"x": grade}, points)[0]
    assert text.endswith(", as the cost at P_tar 0.01 shows most.")
    scaled = grade_calibration(2 * llr, *trials, points=[])
    assert scaled.where == -1 and "shows most" not in calibration_sentences({"x": scaled})[0]


@pytest.mark.parametrize(
    "change", [{"llr": [1.0, np.nan]}, {"is_target": [True, True]}, {"enrol_speaker": [0]}]
)
def test_impossible_trials(change):
    given = {"llr": [1.0, 2.0], "is_target": [True, False], "enrol_speaker": [0, 1]}
    with pytest.raises(DataError):
        grade_calibration(**(given | {"test_speaker": [0, 1]} | change))


def test_one_rule_in_evaluate_compare_and_report(tmp_path, monkeypatch, capsys):
    from fusion.report import build_parser, main

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    world = Scenario(True, 20, 3)
    trials = design(world, rng)
    llr, target = Effects(world, trials, rng).scores(), trials.enrol == trials.test
    models = [f"m{k}" for k in trials.enrol]
    tests = [f"u{k}_{r}" for k, r in zip(trials.test, trials.test_recording)]
    labels = np.where(target, "target", "nontarget")
    (tmp_path / "trials").write_text(
        "".join(f"{m} {u} {word}\n" for m, u, word in zip(models, tests, labels))
    )
    write_scores("right", models, tests, llr)
    write_scores("off", models, tests, 2.5 * llr + 1)
    options = ["--llr", "--bootstrap", "50"]
    assert run(evaluate.make_parser(), evaluate.main, ["right", "off", "trials", *options]) == 0
    texts = [capsys.readouterr().out]
    words = ["right", "off", "--trials", "trials", *options]
    assert run(compare.make_parser(), compare.main, words) == 0
    texts.append(capsys.readouterr().out)
    main(build_parser().parse_args(["right", "off", "trials", *options, "--out", "r.html"]))
    texts.append(capsys.readouterr().out)
    said = r".* is (?:(?:well|fairly|poorly) calibrated|not shown to be off).*"
    found = [re.findall(said, text) for text in texts]
    assert found[0] == found[1] == found[2]
    assert [sentence.split()[0] for sentence in found[0]] == ["right", "off"]


def test_face_value_is_said_only_where_a_shift_would_have_been_seen():
    some = (grade_calibration(*exact(0.05, 30, 12_000, seed)) for seed in range(20))
    grades = {
        "many": grade_calibration(*exact(0.05, 2000, 20_000, 0), points=POINTS),
        "few": next(grade for grade in some if grade.word == "well"),
    }
    assert grades["many"].word == grades["few"].word == "well"
    assert grades["many"].power > 0.99 and grades["few"].power < 0.8
    texts = dict(zip(("many", "few"), calibration_sentences(grades)))
    assert "many" in texts["many"] and texts["many"].endswith("can be taken at face value.")
    assert texts["few"].endswith("need not show a shift of its llr by 1.")
    doubted = replace(grades["many"], p_value=0.05, added=0.1)
    (text,) = calibration_sentences({"x": doubted})
    assert text.endswith("is not shown to be off, though more is lost than chance usually loses.")
    (text,) = calibration_sentences({"x": replace(doubted, added=0.01)})
    assert text.endswith("can be taken at face value.")


def test_power_is_how_often_a_shift_is_noticed():
    noticed = 0
    for seed in range(20):
        llr, *trials = exact(0.05, 100, 4000, seed)
        found = grade_calibration(llr + 1, *trials, n_sets=300, random_state=seed)
        noticed += found.word in ("fairly", "poorly")
    assert found.power > 0.85 and noticed >= 15


def test_what_one_llr_loses_is_not_by_chance():
    llr, *trials = exact(0.05, 360, 14_000, 0)
    (text,) = calibration_sentences({"x": grade_calibration(np.full(len(llr), 3.0), *trials)})
    assert "by chance" not in text and "of which 1." in text
