"""The guard over what a fusion is applied to: planted faults are noticed, healthy parts are not."""

import copy
import json
import re
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from guard_cases import (
    DEVELOPMENT,
    FLIPS,
    HEALTHY,
    KINDS,
    NAMES,
    OUTLIERS,
    POINTS,
    SHIFTS,
    Learnt,
    world,
)

from fusion import fuse
from fusion.calibration import reference as references
from fusion.calibration.applied import _is_worse, labelled
from fusion.calibration.notices import Notice, notices
from fusion.calibration.reference import Reference, enough
from fusion.calibration.saving import load_model
from fusion.calibration.worth import Finding, at_least
from fusion.formats.files import read_scores, write_scores
from fusion.intervals.results import Interval
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import METRICS
from fusion.terminal.fuse_guard import _others
from fusion.terminal.fuse_text import sentence
from ivector.base.cli import run
from ivector.base.errors import DataError

# The full count, over 50 repetitions, is tests/benchmarks/guard.py.
SEEDS = (0, 1)
BLATANT = ("shift of all by 1", "the best flipped", "all flipped", "one score of 1e6",
           "the best shuffled", "the best stuck", "noise on the best")  # fmt: skip


@cache
def learnt(seed):
    """Worlds of development and application, and the fusion of the former."""
    dev, part = (world(50, [seed, which]) for which in (0, 1))
    return Learnt(dev, seed, n_bootstrap=50), dev, part


def told(one, part, seed=0):
    """What is noticed by the labels."""
    trials = part.target, part.enrol, part.test
    llr = one.fusion.transform(part.scores)
    return labelled(one.reference, llr, part.scores, trials, POINTS, n_bootstrap=100)


def seen(one, part):
    """What is noticed without labels."""
    return notices(one.reference, part.scores, part.n_recordings)


@pytest.mark.parametrize("kind", HEALTHY)
def test_other_speakers_of_the_same_population_are_no_alarm(kind):
    for seed in SEEDS:
        one, _, part = learnt(seed)
        same = HEALTHY[kind](part, np.random.default_rng(seed))
        assert not seen(one, same) and not told(one, same)
        assert not one.noticed


def test_shifts_flips_and_outliers_are_noticed_without_labels():
    faults = {**SHIFTS, **FLIPS, **OUTLIERS}
    found = {
        (kind, seed): bool(
            seen(learnt(seed)[0], plant(learnt(seed)[2], np.random.default_rng(seed)))
        )
        for kind, plant in faults.items()
        for seed in SEEDS
    }
    assert np.mean(list(found.values())) >= 0.9, found


def test_a_constant_is_called_a_shift_where_the_share_of_targets_is_known():
    """Without labels it may be one of other trials, and so changes what the spread should be."""
    one, _, part = learnt(0)
    spread = one.reference.spread
    for by in (2.0, -3.0, 6.0):
        moved = part.scores + by * spread
        found = notices(one.reference, moved, part.n_recordings, part.target.mean())
        found = [notice for notice in found if notice.kind != "outliers"]
        assert {notice.kind for notice in found} == {"shift"}
        assert {notice.systems for notice in found} == {(k,) for k in range(len(spread))}
        assert all(("above" if by > 0 else "below") in notice.text for notice in found)
    guessed = seen(one, replace(part, scores=part.scores + 2 * spread))
    assert guessed and all("which fits best" in n.text for n in guessed if n.kind != "outliers")


@pytest.mark.parametrize("kind", BLATANT)
def test_damage_is_noticed_with_labels(kind):
    for seed in SEEDS:
        one, _, part = learnt(seed)
        found = told(one, KINDS[kind](part, np.random.default_rng(seed)))
        assert found
        if kind in ("the best flipped", "the best shuffled"):
            assert any(notice.harms == "ranking" for notice in found)
        if kind == "shift of all by 1":
            assert {notice.harms for notice in found} == {"calibration"}


@pytest.mark.parametrize(
    "kind", ["one 1e6 in development", "gaps in development", "outliers in development"]
)
def test_faults_of_development_are_noticed_there(kind):
    _, dev, part = learnt(0)
    bad = DEVELOPMENT[kind](dev, np.random.default_rng(0))
    one = Learnt(bad, 0, n_bootstrap=50)
    assert one.noticed or told(one, part)


def test_the_kind_and_the_system_are_named():
    one, _, part = learnt(0)
    wanted = {
        "the best flipped": ("agreement", (0,)),
        "shift of the second by 1.5": ("shift", (1,)),
        "scale of the best by 1/2": ("scale", (0,)),
        "one score of 1e6": ("outliers", (0,)),
        "the best twice": ("copies", (0, 1)),
        "targets lack the best": ("gaps", (0,)),
    }
    for kind, expected in wanted.items():
        found = seen(one, KINDS[kind](part, np.random.default_rng(0)))
        assert expected in [(notice.kind, notice.systems) for notice in found], (kind, found)


def test_a_reference_comes_back_as_it_was():
    reference = learnt(0)[0].reference
    content = json.loads(json.dumps(reference.to_dict()))
    again = Reference.from_dict(content)
    assert again.to_dict() == reference.to_dict()
    part = learnt(0)[2]
    assert notices(again, part.scores, part.n_recordings) == []
    for name in ("quantiles", "noise", "names", "worth"):
        with pytest.raises(DataError):
            Reference.from_dict({k: v for k, v in content.items() if k != name})
    with pytest.raises(DataError, match="size"):
        Reference.from_dict(content | {"means": [[0.0], [0.0]]})
    for name, parts in content["worth"].items():
        for part in parts:
            for worse in (None, [], ["a"] * len(parts[part]), 1.0):
                worth = content["worth"] | {name: parts | {part: worse}}
                with pytest.raises(DataError, match=f"what {name} was worth on development"):
                    Reference.from_dict(content | {"worth": worth})


def _leaves(content, path=()):
    """Where the numbers of a record are."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from _leaves(value, (*path, key))
        elif not isinstance(value, str):
            yield (*path, key)


def test_any_number_of_a_kept_reference_may_be_damaged():
    one, _, part = learnt(0)
    content = json.loads(json.dumps(one.reference.to_dict()))
    leaves, rng = list(_leaves(content)), np.random.default_rng(0)
    numbers = [leaf for leaf in leaves if leaf[0] in ("speakers", "recordings", "worth")]
    some = [leaves[n] for n in rng.choice(len(leaves), 60, replace=False)]
    part = replace(part, scores=part.scores[:500], target=part.target[:500],
                   enrol=part.enrol[:500], test=part.test[:500])  # fmt: skip
    for leaf in [*numbers, *some]:
        for worse in (None, 0, -1, 1e308, -1e308, 5e-324, 10**400, "inf", "nan", "a", [], True):
            damaged = copy.deepcopy(content)
            holder = damaged
            for key in leaf[:-1]:
                holder = holder[key]
            holder[leaf[-1]] = worse
            try:
                again = Reference.from_dict(damaged)
            except DataError:
                continue
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                notices(again, part.scores, part.n_recordings)


def test_of_very_many_trials_about_a_million_of_either_class_are_looked_at(monkeypatch):
    monkeypatch.setattr(references, "_ENOUGH", 1000)
    target = np.random.default_rng(0).random(20_000) < 0.2
    assert enough(1000, target[:1000]) == slice(None)
    rows = enough(len(target), target, 1)
    assert (np.diff(rows) > 0).all()
    for of_class in (target, ~target):  # six deviations of what is drawn
        assert abs(of_class[rows].sum() - 1000) < 6 * np.sqrt(1000)
    few = np.arange(20_000) < 300
    assert set(range(300)) <= set(enough(20_000, few))
    assert abs(len(enough(20_000)) - 1000) < 6 * np.sqrt(1000)
    assert np.array_equal(rows, enough(len(target), target, 1))


# --- the command ------------------------------------------------------------------------------


def write(folder, part, labels=True):
    """Score files and a trial list of a world."""
    folder.mkdir()
    models = [f"{folder.name}m{k}" for k in part.enrol]
    tests = [f"{folder.name}u{k}_{n % 3}" for n, k in enumerate(part.test)]
    words = np.where(part.target, "target", "nontarget")
    lines = [f"{m} {u} {w}\n" for m, u, w in zip(models, tests, words)]
    (folder / "trials").write_text("".join(lines))
    (folder / "pairs").write_text("".join(f"{m} {u}\n" for m, u in zip(models, tests)))
    for name, scores in zip(NAMES, part.scores.T):
        here = np.flatnonzero(~np.isnan(scores))
        write_scores(
            folder / name, [models[n] for n in here], [tests[n] for n in here], scores[here]
        )


def files(part):
    return [f"{part}/{name}" for name in NAMES]


def call(*words):
    return run(fuse.make_parser(), fuse.main, [str(word) for word in words])


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A healthy part, and two that are not; the test stands in their folder."""
    monkeypatch.chdir(tmp_path)
    _, dev, part = learnt(0)
    write(tmp_path / "dev", dev)
    write(tmp_path / "good", part)
    write(tmp_path / "flipped", KINDS["the best flipped"](part, np.random.default_rng(0)))
    write(tmp_path / "wild", KINDS["one score of 1e6"](part, np.random.default_rng(0)))
    return tmp_path


LEARN = (*files("dev"), "dev/trials", "--bootstrap", 50, "--model", "m.json")


def applied(part, *more):
    return ("--apply", *files(part), "--out", "f", *more)


def test_what_is_healthy_is_said_to_be(parts, capsys):
    assert call(*LEARN, *applied("good"), "--guard", "refuse") == 0
    said = "guard: nothing shows that the scores of --apply are unlike those of development\n"
    assert said in capsys.readouterr().out
    Path("f").unlink()
    trials = ("--apply-trials", "good/trials")
    assert call(*LEARN, *applied("good", *trials), "--guard", "refuse") == 0
    assert "or the fusion worth less than there" in capsys.readouterr().out
    assert len(read_scores("f")) == 7500


@pytest.mark.parametrize("labels", [(), ("--apply-trials", "flipped/trials")])
def test_refuse_writes_nothing(parts, labels, capsys):
    assert call(*LEARN, *applied("flipped", *labels)) == 0
    text = capsys.readouterr().out
    assert re.search(r"guard: a agrees less with b and c than on development .*ranking|order", text)
    assert not labels or "a gives targets the lower scores: its sign is turned" in text
    Path("f").unlink()
    Path("m.json").unlink()
    assert call(*LEARN, *applied("flipped", *labels), "--guard", "refuse") == 1
    assert "mend the scores, or give --guard warn or best" in capsys.readouterr().err
    assert not Path("f").exists() and not Path("m.json").exists()


def test_best_takes_the_systems_that_are_not_to_blame(parts, capsys):
    assert call(*LEARN, *applied("flipped"), "--guard", "best") == 0
    taken = re.search(r"taken: (.*)", capsys.readouterr().out).group(1).split(" + ")
    assert "a" not in taken and list(load_model("m.json").names) == taken
    first = Path("f").read_bytes()
    use = [f"{name}=flipped/{name}" for name in taken]
    assert call("--model", "m.json", "--apply", *use, "--out", "f", "--guard", "refuse") == 0
    assert Path("f").read_bytes() == first


@pytest.mark.parametrize(
    ("blamed", "kept"),
    [
        ([(0, 1, 2), (1,)], [0, 2]),  # what is said of all of them tells none
        ([(0, 1), (1,)], [2]),
        ([(0, 1), (1, 2), (1,)], [0, 2]),  # all but for what is said of one alone
        ([(0, 1, 2)], None),
        ([(0, 1), (1, 2)], None),
    ],
)
def test_what_one_system_is_blamed_for_tells_most(blamed, kept):
    wrong = [Notice("agreement", systems, "wrong", "ranking") for systems in blamed]
    if kept:
        assert _others(wrong, NAMES) == kept
        return
    with pytest.raises(DataError, match="cannot be told"):
        _others(wrong, NAMES)


def test_what_is_blamed_by_labels_is_not_taken():
    """Only that a fusion is beaten by a part leaves open which of the others is to blame."""
    scale = Notice("scale", (2,), "wrong", "calibration")
    fallen, beaten = (Notice(kind, (0,), "less", "ranking") for kind in ("worth", "beaten"))
    assert _others([scale, fallen], NAMES) == [1]
    assert _others([scale, beaten], NAMES) == [0, 1]


def test_a_fall_is_judged_by_the_sides_of_intervals_that_face_each_other():
    before = [0.05, 0.045, 0.06]
    assert _is_worse([0.08, 0.075, 0.2], before, 1.0)
    assert not _is_worse([0.08, 0.05, 0.09], before, 1.0)
    assert not _is_worse([0.08, 0.075, 0.2], before, 3.0)  # that of before is not sure enough


def test_what_rests_on_few_trials_is_no_certain_harm():
    """One false alarm of 100 nontargets costs 0.99; one wild llr may cost hundreds."""
    target = np.arange(340) < 240
    llr = np.where(target, 8.0, -8.0)
    llr[-1], llr[:72] = 6.0, 0.0
    point = OperatingPoint(0.01)
    cost = at_least(llr, target, METRICS["act_dcf"], point)
    assert 0.02 < cost < 0.5  # and is 1.29
    wild = llr.copy()
    wild[-1] = 1e5
    assert at_least(wild, target, METRICS["cllr"]) > 1 > at_least(llr, target, METRICS["cllr"])
    part = SimpleNamespace(name="b", systems=(1,), value=lambda metric: 0.6)
    interval = Interval(0.69, -1.5, 2.9, 0.95)
    found = Finding(("act_dcf", 0), "actDCF", 1.29, part, interval, cost)
    assert not found.certain and sentence(found).endswith("which may be chance")
    assert replace(found, least=1.1).certain
    assert "worse than deciding without scores" in sentence(replace(found, least=1.1))
    few = replace(found, difference=Interval(0.69, 0.5, 0.9, 0.95, enough=False))
    assert not few.certain and "0.5000" not in sentence(few)
    assert sentence(few).endswith("there are too few errors to tell whether this is chance")


def test_outliers_are_named_by_trial(parts, capsys):
    row = int(
        np.argmax(KINDS["one score of 1e6"](learnt(0)[2], np.random.default_rng(0)).scores[:, 0])
    )
    name = Path("wild/trials").read_text().splitlines()[row].rsplit(" ", 1)[0]
    assert call(*LEARN, *applied("wild"), "--json", "j") == 0
    assert f"(1e+06); trials {name}: the llr are off" in capsys.readouterr().out
    found = json.loads(Path("j").read_text())["applied"]["guard"][0]
    assert found["kind"] == "outliers" and found["trials"] == [name]


def test_a_saved_fusion_knows_its_development(parts, capsys):
    assert call(*LEARN) == 0
    use = ("--model", "m.json", *applied("flipped"))
    assert call(*use) == 0
    assert "than on development" in capsys.readouterr().out
    fused = Path("f").read_bytes()
    assert call(*use, "--guard", "refuse") == 1
    assert call(*use, "--guard", "best") == 1
    assert "a saved fusion cannot be trained without a system" in capsys.readouterr().err
    # A file of before keeps nothing of development, and is applied as ever.
    content = json.loads(Path("m.json").read_text())
    del content["training"]["reference"]
    Path("m.json").write_text(json.dumps(content))
    Path("f").unlink()
    assert call(*use, "--guard", "refuse") == 0
    assert "nothing is kept of the development scores" in capsys.readouterr().out
    assert Path("f").read_bytes() == fused
    content["training"]["reference"] = {"names": ["a"]}
    Path("m.json").write_text(json.dumps(content))
    assert call(*use) == 1
    assert "train the fusion again" in capsys.readouterr().err


def test_outliers_of_development_propose_bounded_training(parts, capsys):
    bad = DEVELOPMENT["one 1e6 in development"](learnt(0)[1], np.random.default_rng(0))
    write(parts / "bad", bad)
    learn = (*files("bad"), "bad/trials", "--bootstrap", 50, "--model", "b.json")
    assert call(*learn) == 0
    text = capsys.readouterr().out
    assert "1 score of a is far outside the others (1e+06); trials badm" in text
    refused = call(*learn, "--guard", "refuse")
    assert refused == 1
    assert call(*learn, "--guard", "best") == 0
    assert "taken: " in capsys.readouterr().out
