"""``python -m fusion.calibrate``: what a user does, and what a user may do wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion import Calibration, load_model, read_scores
from fusion.calibrate import main, make_parser
from fusion.calibration.one_system import METHODS
from ivector.base.cli import run

ROOT = Path(__file__).resolve().parents[2]


def write_world(folder, name, seed, n_speakers=30, per_speaker=4):
    """Scores of every pair of recordings, whose classes lie apart as their durations allow."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(n_speakers), per_speaker)
    ids = [f"{name}{s:03d}-{n}" for n, s in enumerate(speaker)]
    duration = rng.uniform(1, 20, len(ids))
    scores, trials = [], []
    for a, b in zip(*np.triu_indices(len(ids), 1)):
        target, distance = speaker[a] == speaker[b], 1 + np.log(duration[b])
        llr = (1 if target else -1) * distance**2 / 2 + distance * rng.standard_normal()
        scores.append(f"{ids[a]} {ids[b]} {0.3 * llr - 2 - 0.2 * distance:.6f}\n")
        trials.append(f"{ids[a]} {ids[b]} {'target' if target else 'nontarget'}\n")
    (folder / f"{name}.scores").write_text("".join(scores))
    (folder / f"{name}.trials").write_text("".join(trials))
    (folder / f"{name}.utt2spk").write_text(
        "".join(f"{utt} {name}{s:03d}\n" for utt, s in zip(ids, speaker))
    )
    rows = [f"{utt},{d:.3f},{'fm'[s % 2]}\n" for utt, d, s in zip(ids, duration, speaker)]
    (folder / f"{name}.csv").write_text("id,duration,gender\n" + "".join(rows))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    write_world(folder, "dev", 0)
    write_world(folder, "eval", 1)
    return folder


@pytest.fixture
def calibrate(world, tmp_path, monkeypatch, capsys):
    """Runs the command where the world is; gives the exit code, the output and the errors."""

    def call(*words):
        with monkeypatch.context() as patch:
            patch.chdir(world)
            try:
                code: object = run(make_parser(), main, [str(word) for word in words])
            except SystemExit as error:
                code = error.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_help_is_quick_and_light():
    code = "import sys, fusion.calibrate as c; c.make_parser().format_help(); print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()
    assert not {"numba", "scipy", "sklearn", "matplotlib"} & set(out)


def test_trains_on_one_pair_and_applies_to_another(calibrate, world, tmp_path):
    out, model, record = tmp_path / "llr", tmp_path / "model.json", tmp_path / "record.json"
    code, text, _ = calibrate(
        "dev.scores", "dev.trials", "--apply", "eval.scores", "--apply-trials", "eval.trials",
        "--out", out, "--model", model, "--p-target", "0.01", "0.05:10:1", "--json", record,
    )  # fmt: skip
    assert code == 0
    for word in ("llr = ", "on unseen speakers", "of --apply", "accept from an llr of 4.595"):
        assert word in text
    assert "more probable if one person spoke both than if two did" in text
    content = json.loads(record.read_text())
    cross, applied = content["cross_validation"], content["applied"]
    for rows in (cross, applied):
        assert rows["calibrated"]["cllr"] < rows["before"]["cllr"] / 2
        assert rows["calibrated"]["cllr"] < 1.25 * rows["calibrated"]["min_cllr"]
        assert rows["calibrated"]["act_dcf"][1] < rows["before"]["act_dcf"][1] / 2
    assert applied["calibrated"]["eer"] == applied["before"]["eer"]
    assert content["training"]["speakers"] == 30
    scores, llr = read_scores(world / "eval.scores"), read_scores(out)
    calibration = load_model(model)
    np.testing.assert_allclose(llr.values, calibration.transform(scores.values), atol=1e-6)
    threshold = content["thresholds"][0]
    assert calibration.transform([threshold["score"]])[0] == pytest.approx(threshold["llr"])


def test_a_saved_model_gives_the_same_bytes(calibrate, tmp_path):
    options = ("--quality", "dev.csv", "--use", "log:duration", "--interactions")
    for n in (1, 2):
        code, text, _ = calibrate(
            "dev.scores", "dev.trials", "--utt2spk", "dev.utt2spk", *options, "--apply",
            "eval.scores", "--apply-quality", "eval.csv", "--out", tmp_path / f"llr{n}",
            "--model", tmp_path / f"{n}.json",
        )  # fmt: skip
        assert code == 0 and "score x log:test_duration" in text
    code, _, _ = calibrate(
        "--model", tmp_path / "1.json", "--apply", "eval.scores", "--apply-quality", "eval.csv",
        "--out", tmp_path / "llr3",
    )  # fmt: skip
    assert code == 0
    llr = [(tmp_path / f"llr{n}").read_bytes() for n in (1, 2, 3)]
    assert llr[0] == llr[1] == llr[2]
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert load_model(tmp_path / "1.json").names == ["log:enrol_duration", "log:test_duration"]


@pytest.mark.parametrize("method", ["isotonic", "bigaussian", "gaussian"])
def test_other_methods_and_cross_validated_output(calibrate, world, tmp_path, method):
    code, text, _ = calibrate(
        "dev.scores", "dev.trials", "--method", method, "--out", tmp_path / "llr"
    )
    assert code == 0 and f"{method} calibration, learnt from 7140 trials" in text
    scores, llr = read_scores(world / "dev.scores").values, read_scores(tmp_path / "llr").values
    # Several models, and the blocks of PAV, so that the order is only nearly the same.
    assert np.corrcoef(scores, llr)[0, 1] > 0.7
    assert np.isfinite(llr).all() and llr.min() < -2 and llr.max() > 2


def test_score_files_in_parts_and_in_another_order(calibrate, world, tmp_path):
    lines = (world / "dev.scores").read_text().splitlines(keepends=True)
    (tmp_path / "a").write_text("".join(lines[:3000]))
    (tmp_path / "b").write_text("".join(lines[:2999:-1]))
    whole = calibrate("dev.scores", "dev.trials", "--out", tmp_path / "1")
    parts = calibrate(tmp_path / "b", tmp_path / "a", "dev.trials", "--out", tmp_path / "2")
    assert whole == parts and (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_the_command_offers_every_method():
    (offered,) = (a.choices for a in make_parser()._actions if a.dest == "method")
    assert set(offered) == set(METHODS)


def test_bounded_and_without_folds(calibrate):
    code, text, _ = calibrate("dev.scores", "dev.trials", "--bounded", "--folds", 0)
    assert code == 0 and "upper level of llr" in text and "on unseen speakers" not in text


def test_separable_scores_are_stated(calibrate, tmp_path):
    (tmp_path / "s").write_text("a x 1\na y 0\nb x 0.1\nb y 2\n")
    (tmp_path / "t").write_text("a x target\na y nontarget\nb x nontarget\nb y target\n")
    code, text, _ = calibrate(tmp_path / "s", tmp_path / "t", "--folds", 0)
    assert code == 0 and "the classes did not overlap" in text


def test_reversed_scores_are_stated(calibrate, world, tmp_path):
    lines = (line.split() for line in (world / "dev.scores").read_text().splitlines())
    (tmp_path / "s").write_text("".join(f"{a} {b} {-float(s)}\n" for a, b, s in lines))
    code, text, _ = calibrate(tmp_path / "s", "dev.trials", "--folds", 0)
    assert code == 0 and "turn the sign of the scores" in text


def test_explains(calibrate):
    code, text, _ = calibrate("--explain", "2.3", "-1")
    assert code == 0 and "llr 2.3: these recordings are ten times more probable" in text
    assert "now" not in text and "not the probability" in text
    code, text, _ = calibrate("--explain", "2.3", "--p-target", "0.01", "0.5")
    assert code == 0 and "it has 0.092 now" in text and "it has 0.909 now" in text


@pytest.mark.parametrize(
    "words, what",
    [
        ((), "give SCORES TRIALS"),
        (("dev.scores",), "give its trial list"),
        (("--model", "m.json", "--apply", "eval.scores"), "give SCORES TRIALS"),
        (("dev.scores", "dev.trials", "--apply", "eval.scores"), "needs --out"),
        (("dev.scores", "dev.trials", "--apply-trials", "eval.trials"), "needs --apply"),
        (("dev.scores", "dev.trials", "--prior", "0"), "between 0 and 1"),
        (("dev.scores", "dev.trials", "--folds", "2"), "at least 3"),
        (("dev.scores", "dev.trials", "--folds", "0", "--out", "x"), "needs --apply"),
        (("dev.scores", "dev.trials", "--use", "snr"), "needs --quality"),
        (("dev.scores", "dev.trials", "--interactions"), "needs --quality"),
        (("dev.scores", "dev.trials", "--quality", "dev.csv", "--use", "snr"), "no column 'snr'"),
        (("dev.scores", "dev.trials", "--quality", "dev.csv", "--use", "gender"), "words"),
        (("dev.scores", "dev.trials", "--quality", "dev.csv", "--method", "isotonic"), "logistic"),
        (("dev.scores", "dev.trials", "--bounded", "--method", "isotonic"), "logistic"),
        (("dev.scores", "dev.trials", "--p-target", "2"), "priors"),
        (("dev.scores", "dev.trials", "--method", "magic"), "invalid choice"),
        (("--model", "m", "--apply", "a", "--out", "b", "--ridge", "1"), "--ridge: has no effect"),
        (("--explain", "2", "--model", "m"), "--explain"),
        (("--explain", "two"), "is no number"),
        (("dev.scores", "dev.trials", "--enroll", "x"), "needs --utt2spk"),
    ],
)
def test_wrong_usage(calibrate, words, what):
    code, _, errors = calibrate(*words)
    assert code == 2 and what in errors and "Traceback" not in errors


def test_wrong_data(calibrate, world, tmp_path):
    trials = (world / "dev.trials").read_text()
    (tmp_path / "one").write_text(trials.replace("nontarget", "target"))
    (tmp_path / "lack").write_text(trials + "new utterance target\n")
    (tmp_path / "nan").write_text("a x nan\n")
    (tmp_path / "model").write_text("{}")
    rows = (world / "dev.csv").read_text().replace("id,duration", "id,d").splitlines()
    rows[1] = rows[1].replace(rows[1].split(",")[1], "0")
    (tmp_path / "zero.csv").write_text("\n".join(rows) + "\n")
    cases = [
        (("dev.scores", tmp_path / "one"), "no nontarget"),
        (("dev.scores", tmp_path / "lack"), "have no score"),
        ((tmp_path / "nan", "dev.trials"), "line 1"),
        (("dev.scores", "none"), "none: cannot be read"),
        (("dev.scores", "dev.trials", "--folds", 31), "30 speakers cannot be dealt"),
        (("dev.scores", "dev.trials", "--quality", "eval.csv"), "has no id of"),
        (("dev.scores", "dev.trials", "--quality", tmp_path / "zero.csv", "--use", "log:d"),
         "not positive"),
        (("--model", tmp_path / "model", "--apply", "eval.scores", "--out", "x"), "not a calib"),
    ]  # fmt: skip
    for words, what in cases:
        code, _, errors = calibrate(*words)
        assert (code, what in errors) == (1, True), (words, errors)


def test_a_model_that_needs_measures_says_so(calibrate, world, tmp_path):
    path = tmp_path / "model.json"
    calibrate("dev.scores", "dev.trials", "--quality", "dev.csv", "--model", path, "--folds", 0)
    assert isinstance(load_model(path), Calibration)
    out = ("--model", path, "--apply", "eval.scores", "--out", tmp_path / "x")
    code, _, errors = calibrate(*out)
    assert code == 2 and "needs enrol_duration, test_duration; give --apply-quality" in errors


def test_scores_far_out_and_turned_signs_are_told(calibrate, world, tmp_path):
    pairs, scores = [], []
    for line in (world / "dev.scores").read_text().splitlines():
        pair, score = line.rsplit(" ", 1)
        pairs.append(pair)
        scores.append(float(score))
    target = [line.endswith(" target") for line in (world / "dev.trials").read_text().splitlines()]

    def told(values):
        lines = [f"{pair} {value:.6g}\n" for pair, value in zip(pairs, values)]
        (tmp_path / "s").write_text("".join(lines))
        return calibrate(tmp_path / "s", "dev.trials", "--utt2spk", "dev.utt2spk")[1]

    text = told(scores)
    assert "seems turned" not in text and "--bounded" not in text
    turned = "the sign seems turned: a target trial scores higher than a nontarget trial in"
    assert turned in told(-np.array(scores))
    wild = np.array(scores)
    outliers = np.flatnonzero(~np.array(target))[::900]
    wild[outliers] = 20
    assert "a few scores far out rule the calibration: with --bounded Cllr is 0." in told(wild)
    wild[outliers] = 1e4
    text = told(wild)
    assert "a few scores far out have turned the slope" in text and turned not in text


def test_columns_of_words_are_said_to_be_left_out(calibrate):
    told = "columns of words are no quality measures, and not used: enrol_gender, test_gender"
    given = ("dev.scores", "dev.trials", "--quality", "dev.csv", "--folds", 0)
    assert told in calibrate(*given)[1]
    assert told not in calibrate(*given, "--use", "duration")[1]
