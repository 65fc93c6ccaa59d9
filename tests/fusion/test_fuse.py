"""``python -m fusion.fuse``: learnt from development files, applied to others, guarded."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion import LinearFusion, fuse
from fusion.calibration.saving import load_model
from fusion.calibration.worth import Contest, guard, offer, paired
from fusion.formats.files import read_scores, write_scores
from fusion.formats.speakers import TrialSpeakers
from fusion.formats.systems import all_trials
from fusion.formats.tables import Scores
from fusion.metrics import rates as metrics
from fusion.metrics.points import parse_points
from ivector.base.cli import run
from ivector.base.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
N_SPEAKERS, N_TESTS = 16, 5
SHIFTS = {"plda": 2.0, "cosine": 1.5, "gmm": 1.0}


def write_part(folder, seed):
    """Score files of three systems, in rows of different orders, and their trials."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    pairs = [
        (f"{folder.name}m{i}", f"{folder.name}u{j}_{k}", i == j)
        for i in range(N_SPEAKERS)
        for j in range(N_SPEAKERS)
        for k in range(N_TESTS)
    ]
    lines = [f"{m} {u} {'target' if same else 'nontarget'}\n" for m, u, same in pairs]
    (folder / "trials").write_text("".join(lines))
    for name, shift in SHIFTS.items():
        rows = [(m, u, 5 * rng.normal() + 5 * shift * same) for m, u, same in pairs]
        write_scores(
            folder / f"{name}.scores", *zip(*[rows[i] for i in rng.permutation(len(rows))])
        )


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Development and evaluation parts; the test stands in their folder."""
    monkeypatch.chdir(tmp_path)
    for seed, part in enumerate(("dev", "eval")):
        write_part(tmp_path / part, seed)
    return tmp_path


def files(part, *names):
    return [f"{part}/{name}.scores" for name in names or SHIFTS]


def call(*arguments):
    return run(fuse.make_parser(), fuse.main, [str(a) for a in arguments])


def drop(path, name):
    """Remove the first `name` lines of a file; the pairs that were in them."""
    lines = Path(path).read_text().splitlines(keepends=True)
    Path(path).write_text("".join(lines[name:]))
    return [tuple(line.split()[:2]) for line in lines[:name]]


def measured(path, trials):
    """EER and Cllr of a score file."""
    from fusion.formats.files import align, read_trials

    tar, non = align(read_scores(path), read_trials(trials)).split()
    return metrics.eer(tar, non), metrics.cllr(tar, non)


QUICK = ("--bootstrap", 50)


def test_learns_and_applies(corpus, capsys):
    assert call(
        *files("dev"), "dev/trials", "--apply", *files("eval"), "--out", "out/fused.scores",
        "--model", "out/fusion.json", "--json", "out/numbers.json", *QUICK,
    ) == 0  # fmt: skip
    text = capsys.readouterr().out
    fused = measured("out/fused.scores", "eval/trials")
    parts = [measured(path, "eval/trials") for path in files("eval")]
    assert fused[0] < min(eer for eer, _ in parts)
    fusion = load_model("out/fusion.json")
    ideal = np.array(list(SHIFTS.values())) / 5
    np.testing.assert_allclose(fusion.weights_, ideal, atol=0.15)
    for name, weight in zip(SHIFTS, fusion.weights_):
        assert f"{name} " in text and f"{weight:.6g}" in text
        assert f"{name} alone" in text and f"without {name}" in text
    assert "fusion of 3 systems, learnt from 1280 trials (80 targets)" in text
    assert "5 folds of 16 speakers" in text
    assert re.search(r"what each system brings: without plda EER \+\d", text)
    numbers = json.loads(Path("out/numbers.json").read_text())
    table = numbers["cross_validation"]
    assert table["fused"]["cllr"] < min(row["cllr"] for row in table["without"].values())
    assert list(table["alone"]) == list(table["without"]) == list(SHIFTS)
    assert numbers["applied"] == {"trials": 1280, "missing": {}, "guard": []}
    rows = read_scores("out/fused.scores")
    assert [rows.enrol_ids[i] for i in rows.enrol[:2]] == [
        line.split()[0] for line in Path("eval/plda.scores").read_text().splitlines()[:2]
    ]


def test_model_is_applied_later_with_the_same_bytes(corpus, capsys):
    learn = (*files("dev"), "dev/trials", *QUICK)
    assert call(*learn, "--apply", *files("eval"), "--out", "one.gz", "--model", "one.json") == 0
    assert call(*learn, "--apply", *files("eval"), "--out", "two.gz", "--model", "two.json") == 0
    assert Path("one.gz").read_bytes() == Path("two.gz").read_bytes()
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()
    capsys.readouterr()
    assert call("--model", "one.json", "--apply", *files("eval"), "--out", "three.gz") == 0
    assert Path("one.gz").read_bytes() == Path("three.gz").read_bytes()
    assert "fused 1280 trials of plda, cosine, gmm" in capsys.readouterr().out


def test_apply_by_name_and_by_position(corpus, capsys):
    learn = (*files("dev"), "dev/trials", "--folds", 0)
    assert call(*learn, "--model", "m.json") == 0
    use = ("--model", "m.json", "--apply-trials", "eval/trials", "--out")
    assert call(*use, "a", "--apply", *files("eval")) == 0
    assert call(*use, "b", "--apply", *files("eval", "gmm", "plda", "cosine")) == 0
    for name in SHIFTS:
        os.rename(f"eval/{name}.scores", f"eval/my_{name}.scores")
    renamed = [f"eval/my_{name}.scores" for name in SHIFTS]
    assert call(*use, "c", "--apply", *renamed) == 0
    named = [f"{name}=eval/my_{name}.scores" for name in reversed(SHIFTS)]
    assert call(*use, "d", "--apply", *named) == 0
    assert len({Path(name).read_bytes() for name in "abcd"}) == 1
    trials = [line.split()[:2] for line in Path("eval/trials").read_text().splitlines()]
    assert [line.split()[:2] for line in Path("a").read_text().splitlines()] == trials
    capsys.readouterr()
    assert call(*use, "e", "--apply", *renamed[:2]) == 2
    assert "takes one score file for each of plda, cosine, gmm" in capsys.readouterr().err
    assert call(*use, "e", "--apply", *renamed, "eval/trials") == 2
    assert "give a trial list with --apply-trials" in capsys.readouterr().err
    assert call(*use, "e", "--apply", "gmm=" + renamed[2], *renamed[:2]) == 2
    assert call(*use, "e", "--apply", *("x" + text for text in named)) == 2
    assert call(*use, "e", "--apply", "gmm=" + renamed[2], "plda=" + renamed[0]) == 2
    assert "lacks the system 'cosine'" in capsys.readouterr().err


def test_labelled_trials_of_apply_are_measured(corpus, capsys):
    drop("eval/gmm.scores", 10)
    learn = (*files("dev"), "dev/trials", "--folds", 0, "--missing", "fallback")
    use = ("--apply", *files("eval"), "--apply-trials", "eval/trials", "--out", "f", "--json", "j")
    assert call(*learn, *use) == 0
    text = capsys.readouterr().out
    applied = json.loads(Path("j").read_text())["applied"]
    eer, cllr = measured("f", "eval/trials")
    assert applied["fused"]["eer"] == pytest.approx(eer, abs=1e-6)
    assert applied["fused"]["cllr"] == pytest.approx(cllr, abs=1e-6)
    assert applied["alone"]["plda"]["eer"] == measured("eval/plda.scores", "eval/trials")[0]
    assert applied["alone"]["plda"]["cllr"] is None and applied["alone"]["gmm"]["missing"] == 10
    assert "gmm as it is" in text and "all fused" in text and "missing" in text


def test_bounded(corpus, capsys):
    learn = (*files("dev"), "dev/trials", "--bounded", *QUICK)
    assert call(*learn, "--apply", *files("eval"), "--out", "f", "--model", "m.json") == 0
    low, high = re.search(r"the llr level off at (\S+) and (\S+)", capsys.readouterr().out).groups()
    llr = read_scores("f").values
    assert float(low) - 1e-3 < llr.min() < 0 < llr.max() < float(high) + 1e-3
    assert call("--model", "m.json", "--apply", *files("eval"), "--out", "g") == 0
    assert Path("f").read_bytes() == Path("g").read_bytes()


def test_folds_are_pooled(corpus, capsys):
    lines = Path("dev/trials").read_text().splitlines(keepends=True)
    parts = {"one": lines[:500], "two": lines[500:]}
    for part, mine in parts.items():
        Path(f"trials.{part}").write_text("".join(mine))
        pairs = {tuple(line.split()[:2]) for line in mine}
        for name in SHIFTS:
            rows = Path(f"dev/{name}.scores").read_text().splitlines(keepends=True)
            kept = [row for row in rows if tuple(row.split()[:2]) in pairs]
            Path(f"{name}.{part}").write_text("".join(kept))
    folds = [f"{name}={name}.{part}" for part in parts for name in SHIFTS]
    lists = ("trials.one", "--trials", "trials.two")
    assert call(*folds, *lists, "--pool", "--model", "m.json", "--folds", 0) == 0
    assert call(*files("dev"), "dev/trials", "--model", "n.json", "--folds", 0) == 0
    assert Path("m.json").read_bytes() == Path("n.json").read_bytes()
    assert call("plda.one", "plda.two", *lists, "--pool") == 2
    assert "all score files are of one system" in capsys.readouterr().err


def test_out_without_apply_is_cross_validated(corpus, capsys):
    assert call(*files("dev"), "dev/trials", "--out", "cv", "--json", "j", *QUICK) == 0
    row = json.loads(Path("j").read_text())["cross_validation"]["fused"]
    eer, cllr = measured("cv", "dev/trials")
    assert eer == pytest.approx(row["eer"], abs=1e-6)
    assert cllr == pytest.approx(row["cllr"], abs=1e-6)
    assert call(*files("dev"), "dev/trials", "--out", "cv", "--folds", 0) == 2


def test_missing_scores(corpus, capsys):
    dev = drop("dev/cosine.scores", 40)
    gone = drop("eval/cosine.scores", 30) + drop("eval/gmm.scores", 20)
    learn = (*files("dev"), "dev/trials", *QUICK)
    assert call(*learn, "--model", "m.json") == 1
    error = capsys.readouterr().err
    assert "of 1280 trials of dev/trials 40 lack cosine (first 'devm" in error
    assert "--missing fallback" in error and "Traceback" not in error
    assert call(*learn, "--missing", "fallback", "--model", "m.json", "--json", "j",
                "--apply", *files("eval"), "--out", "f") == 0  # fmt: skip
    text = capsys.readouterr().out
    assert "missing scores: of 1280 trials 40 lack cosine" in text
    assert "missing scores: of 1280 trials 30 lack cosine, 20 lack gmm" in text
    numbers = json.loads(Path("j").read_text())
    assert numbers["applied"]["missing"] == {"cosine": 30, "gmm": 20}
    assert numbers["cross_validation"]["alone"]["cosine"]["missing"] == len(dev)
    fused = {tuple(line.split()[:2]) for line in Path("f").read_text().splitlines()}
    assert len(fused) == 1280 and set(gone) <= fused
    eer, _ = measured("f", "eval/trials")
    assert eer < measured("eval/plda.scores", "eval/trials")[0]
    named = [f"{name}=eval/{name}.scores" for name in ("plda",)]
    assert call("--model", "m.json", "--apply", *named, "--out", "g") == 0
    assert len(Path("g").read_text().splitlines()) == 1280


def harmful(n_speakers=40, n_tests=3, seed=0, harm=True):
    """A good system, and one that helps but for wild scores of a few nontargets, or helps."""
    rng = np.random.default_rng(seed)
    i, j, _ = (a.ravel() for a in np.indices((n_speakers, n_speakers, n_tests)))
    target = i == j
    good = rng.normal(size=len(i)) + 3.0 * target
    other = rng.normal(size=len(i)) + 2.0 * target
    if harm:
        wild = ~target & (rng.random(len(i)) < 0.005)
        other[wild] += 10
    speakers = TrialSpeakers(i.astype(np.int32), j.astype(np.int32), n_speakers, "told")
    return np.column_stack([good, other]), target, speakers


def contest_of(points=("0.01", "0.5"), **options):
    scores, target, speakers = harmful(**options)
    names = ["good", "other"]
    return Contest(LinearFusion(names=names), scores, target, speakers, parse_points(points))


def test_guard_names_where_a_system_harms():
    contest = contest_of()
    findings = guard(contest, paired(contest, 100, 0))
    assert [f.label for f in findings] == ["minDCF(P_tar 0.01)", "actDCF(P_tar 0.01)"]
    for worse in findings:
        assert worse.certain and worse.part.name == "good"
        assert 0 < worse.difference.low <= worse.fused - worse.best <= worse.difference.high
    chosen, remaining = offer(contest, findings)
    assert chosen.name == "good" and not remaining
    # Everywhere else it helps, so that a glance at EER or Cllr would not show it.
    good, fused = contest.parts()[0], contest.fused()
    assert fused.eer < 0.7 * good.eer and fused.cllr < 0.8 * good.cllr


def test_guard_is_silent_where_every_system_helps():
    contest = contest_of(harm=False)
    assert not [f for f in guard(contest, paired(contest, 100, 0)) if f.certain]
    fused = contest.fused()
    assert fused.cllr < min(part.cllr for part in contest.parts())


def test_guard_does_not_cry_at_noise():
    rng = np.random.default_rng(5)
    scores, target, speakers = harmful(harm=False, n_speakers=20)
    scores = np.column_stack([scores[:, 0], rng.normal(size=len(scores))])
    contest = Contest(
        LinearFusion(names=["good", "noise"]), scores, target, speakers, parse_points(["0.01"])
    )
    findings = guard(contest, paired(contest, 100, 0))
    assert findings and not [finding for finding in findings if finding.certain]


def write_harm(folder):
    folder.mkdir()
    scores, target, speakers = harmful()
    models = [f"m{i}" for i in speakers.enrol]
    tests = [f"u{j}_{k % 3}" for k, j in enumerate(speakers.test)]
    labels = ["target" if t else "nontarget" for t in target]
    (folder / "trials").write_text(
        "".join(f"{m} {u} {c}\n" for m, u, c in zip(models, tests, labels))
    )
    for name, column in zip(("good", "other"), scores.T):
        write_scores(folder / f"{name}.scores", models, tests, column)


def test_guard_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_harm(tmp_path / "bad")
    learn = (*files("bad", "good", "other"), "bad/trials", "--bootstrap", 60, "--model", "m.json")
    assert call(*learn) == 0
    text = capsys.readouterr().out
    assert "guard: fused" in text and "good alone" in text and "95 % interval" in text
    assert "guard: good has EER" in text
    assert "and is the best part there; --guard best takes it" in text
    assert len(load_model("m.json").weights_) == 2
    Path("m.json").unlink()
    assert call(*learn, "--guard", "refuse") == 1
    assert "worse than its best part at" in capsys.readouterr().err
    assert not Path("m.json").exists()
    assert (
        call(*learn, "--guard", "best", "--apply", *files("bad", "good", "other"), "--out", "f")
        == 0
    )
    text = capsys.readouterr().out
    assert "and is the best part there\ntaken: good" in text
    assert list(load_model("m.json").names) == ["good"]
    assert call("--model", "m.json", "--apply", *files("bad", "good"), "--out", "g") == 0
    assert Path("f").read_bytes() == Path("g").read_bytes()


MISTAKES = [
    (["dev/plda.scores", "dev/trials"], 2, "at least two score files"),
    ([], 2, "give SCORES... TRIALS"),
    (["--model", "m.json"], 2, "give SCORES... TRIALS"),
    ([*files("dev"), "dev/trials", "--apply", *files("eval")], 2, "--apply: needs --out"),
    ([*files("dev"), "dev/trials", "--apply-trials", "eval/trials"], 2, "needs --apply"),
    ([*files("dev"), "dev/trials", "--prior", "1"], 2, "--prior"),
    ([*files("dev"), "dev/trials", "--ridge", "-1"], 2, "--ridge"),
    ([*files("dev"), "dev/trials", "--folds", "1"], 2, "--folds"),
    ([*files("dev"), "dev/trials", "--bootstrap", "3"], 2, "--bootstrap"),
    ([*files("dev"), "dev/trials", "--p-target", "sre99"], 2, "sre99"),
    ([*files("dev"), "dev/trials", "--enroll", "e"], 2, "--utt2spk"),
    ([*files("dev"), "eval/plda.scores", "dev/trials"], 2, "are named 'plda'"),
    ([*files("dev"), "eval/trials"], 1, "none of the 1280 trials"),
    ([*files("dev"), "nowhere"], 1, "nowhere"),
    ([*files("dev"), "dev/plda.scores"], 1, "dev/plda.scores"),
    (["--model", "none.json", "--apply", *files("eval"), "--out", "f"], 1, "none.json"),
    (["--model", "dev/trials", "--apply", *files("eval"), "--out", "f"], 1, "dev/trials"),
    (["--model", "m", "--apply", *files("eval"), "--out", "f", "--ridge", "1"], 2, "--ridge"),
]  # fmt: skip


@pytest.mark.parametrize("arguments,code,message", MISTAKES)
def test_mistakes_are_told_in_one_line(corpus, capsys, arguments, code, message):
    try:
        found = call(*arguments)
    except SystemExit as error:
        found = error.code
    error = capsys.readouterr().err
    assert found == code and message in error
    assert error.count("\n") == 1 and "Traceback" not in error


def test_damaged_scores_are_named(corpus, capsys):
    rows = Path("dev/gmm.scores").read_text().splitlines()
    spoil = {
        "all 1280 scores of gmm are 2 and tell nothing": [
            r.rsplit(" ", 1)[0] + " 2.0" for r in rows
        ],
        "gmm.scores, line 1": [rows[0].rsplit(" ", 1)[0] + " nan", *rows[1:]],
        "repeat an earlier line": [*rows, rows[0]],
    }
    for message, lines in spoil.items():
        Path("dev/gmm.scores").write_text("\n".join(lines) + "\n")
        assert call(*files("dev"), "dev/trials", *QUICK) == 1
        assert message in capsys.readouterr().err
    Path("dev/gmm.scores").write_text("\n".join(rows) + "\n")
    labels = Path("dev/trials").read_text()
    Path("dev/trials").write_text(labels.replace("nontarget", "target"))
    assert call(*files("dev"), "dev/trials", *QUICK) == 1
    assert "has no nontarget trials" in capsys.readouterr().err
    Path("dev/trials").write_text(labels)
    lines = Path("dev/gmm.scores").read_text().splitlines()
    same = {f"devm{i} devu{i}_{k}" for i in range(N_SPEAKERS) for k in range(N_TESTS)}
    lines = [
        f"{r.rsplit(' ', 1)[0]} {100.0 * (r.rsplit(' ', 1)[0] in same) + n % 7}"
        for n, r in enumerate(lines)
    ]
    Path("dev/gmm.scores").write_text("\n".join(lines) + "\n")
    assert call(*files("dev"), "dev/trials", *QUICK, "--model", "s.json") == 0
    assert np.isfinite(load_model("s.json").weights_).all()


def test_the_same_file_twice(corpus, capsys):
    assert call("a=dev/plda.scores", "b=dev/plda.scores", "dev/trials", "--model", "m", *QUICK) == 0
    first, second = load_model("m").weights_
    assert first == pytest.approx(second) and first > 0


def scores_of(*rows):
    """Scores from (enrol, test, value) rows, through a file."""
    write_scores("some", *zip(*rows))
    return read_scores("some")


def test_all_trials_joins_the_pairs_of_every_system(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one: Scores = scores_of(("b", "x", 1), ("a", "y", 2))
    two: Scores = scores_of(("a", "y", 3), ("c", "x", 4), ("b", "z", 5))
    trials = all_trials({"one": one, "two": two})
    pairs = [(trials.enrol_ids[i], trials.test_ids[j]) for i, j in zip(trials.enrol, trials.test)]
    assert pairs == [("b", "x"), ("a", "y"), ("c", "x"), ("b", "z")]
    assert trials.origin.where(2) == "some, line 2"


def test_unfit_numbers_of_speakers(corpus, capsys):
    scores, target, speakers = harmful(n_speakers=2)
    contest = Contest(
        LinearFusion(names=["a", "b"]), scores, target, speakers, parse_points(["0.5"])
    )
    with pytest.raises(DataError):
        contest.fused()


def test_help_is_quick_and_imports_little():
    code = (
        "import sys, fusion.fuse as f; f.make_parser(); print({'numpy', 'numba'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n"
