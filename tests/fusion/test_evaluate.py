"""``python -m fusion.evaluate`` from files to table, JSON and plots; mistakes in one line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion import evaluate
from fusion.formats.files import write_scores
from fusion.metrics import rates as metrics
from ivector.base.cli import run

ROOT = Path(__file__).resolve().parents[2]
N_SPEAKERS, N_TESTS = 12, 3


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Two folds of scores, trials, and maps; the test stands in their folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    everything = {}
    for fold in (0, 1):
        models = [f"m{fold}{i}" for i in range(N_SPEAKERS)]
        tests = [(f"u{fold}{i}_{k}", i) for i in range(N_SPEAKERS) for k in range(N_TESTS)]
        rows = [
            (model, utt, rng.normal() + 2 * (i == j))
            for i, model in enumerate(models)
            for utt, j in tests
        ]
        write_scores(f"fold{fold}.scores", *zip(*rows))
        write_scores(f"other{fold}.scores", *zip(*[(m, u, s + rng.normal()) for m, u, s in rows]))
        labels = ["target" if m[1:] == u[1:].split("_")[0] else "nontarget" for m, u, _ in rows]
        lines = [f"{m} {u} {label}\n" for (m, u, _), label in zip(rows, labels)]
        Path(f"trials{fold}").write_text("".join(reversed(lines)))
        everything[fold] = [(s, label) for (_, _, s), label in zip(rows, labels)]
        with open("utt2spk", "a") as utt2spk, open("enroll", "a") as enroll:
            utt2spk.writelines(f"{u} s{fold}{j:02d}\n" for u, j in tests)
            utt2spk.writelines(f"e{fold}{i} s{fold}{i:02d}\n" for i in range(N_SPEAKERS))
            enroll.writelines(f"m{fold}{i} e{fold}{i}\n" for i in range(N_SPEAKERS))
    return everything


def call(*arguments):
    return run(evaluate.make_parser(), evaluate.main, [str(a) for a in arguments])


def classes(pairs):
    return [[s for s, label in pairs if label == kind] for kind in ("target", "nontarget")]


def test_table_and_json(corpus, capsys):
    assert call("fold0.scores", "trials0", "--p-target", 0.05, 0.5, "--json", "out/o.json") == 0
    tar, non = classes(corpus[0])
    (row,) = json.loads(Path("out/o.json").read_text())["systems"]
    assert row["system"] == "fold0"
    assert (row["targets"], row["nontargets"], row["trials"]) == (36, 396, 432)
    assert row["eer"] == metrics.eer(tar, non)
    assert row["eer_interpolated"] == metrics.eer_interpolated(tar, non)
    assert [c["min_dcf"] for c in row["min_dcf"]] == [
        metrics.min_dcf(tar, non, p) for p in (0.05, 0.5)
    ]
    low, high = row["eer_interval"]
    assert 0 < low < row["eer"] < high < 0.5
    head, line, *notes = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["system", "trials", "targets", "nontargets"]
    assert "minDCF(0.05)" in head and "minDCF(0.5)" in head
    assert line.split()[:4] == ["fold0", "432", "36", "396"]
    assert f"{100 * row['eer']:.2f} [{100 * low:.2f}, {100 * high:.2f}]" in line
    assert "12 speakers (from the target trials" in notes[-1]


def test_points_and_presets(corpus, capsys):
    points = ("--p-target", 0.5, "--points", "0.01:10:1", "SRE16", "voxsrc")
    assert call("fold0.scores", "trials0", *points, "--bootstrap", 50, "--json", "o") == 0
    tar, non = classes(corpus[0])
    (row,) = json.loads(Path("o").read_text())["systems"]
    words = [(c["p_target"], c["c_miss"], c["c_fa"]) for c in row["min_dcf"]]
    assert words == [(0.5, 1, 1), (0.01, 10, 1), (0.01, 1, 1), (0.005, 1, 1), (0.05, 1, 1)]
    assert [c["min_dcf"] for c in row["min_dcf"]] == [metrics.min_dcf(tar, non, *w) for w in words]
    (primary,) = row["min_c_primary"]
    assert primary["preset"] == "sre16"
    assert primary["c_primary"] == metrics.c_primary(tar, non, "sre16", minimum=True)
    low, high = primary["interval"]
    assert low <= primary["c_primary"] <= high
    assert row["min_cllr"] == metrics.min_cllr(tar, non)
    assert row["min_cllr_interval"][0] < row["min_cllr"] < row["min_cllr_interval"][1]
    assert "cllr" not in row and "act_dcf" not in row
    head, line, *_ = capsys.readouterr().out.splitlines()
    assert "minDCF(0.01:10:1)" in head and "min C_primary(sre16)" in head
    assert f"{primary['c_primary']:.4f} [{low:.4f}, {high:.4f}]" in line
    # --points alone: the default prior is not there
    assert call("fold0.scores", "trials0", "--points", "voxsrc", "--bootstrap", 0) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert "minDCF(0.05)" in head and "0.01" not in head and "C_primary" not in head


def test_log_likelihood_ratios(corpus, capsys):
    options = ("--points", "sre21", "--llr", "--json", "o", "--det", "d.svg")
    assert call("fold0.scores", "other0.scores", "trials0", *options, "--bootstrap", 100) == 0
    tar, non = classes(corpus[0])
    row, other = json.loads(Path("o").read_text())["systems"]
    assert row["cllr"] == pytest.approx(metrics.cllr(tar, non), rel=1e-12)
    assert row["cllr"] != other["cllr"]
    assert [c["act_dcf"] for c in row["act_dcf"]] == [
        metrics.act_dcf(tar, non, p) for p in (0.01, 0.05)
    ]
    assert row["act_dcf"][0]["threshold"] == pytest.approx(np.log(99))
    (primary,) = row["act_c_primary"]
    assert primary["c_primary"] == pytest.approx(metrics.c_primary(tar, non, "sre21"))
    for value, ends in [
        (row["cllr"], row["cllr_interval"]),
        (primary["c_primary"], primary["interval"]),
        *((c["act_dcf"], c["interval"]) for c in row["act_dcf"]),
    ]:
        assert ends[0] <= value <= ends[1]
    out = capsys.readouterr().out
    first, second = (out.index("fold0", at) for at in (0, out.index("as log-likelihood ratios")))
    assert (
        f"{row['cllr']:.4f} [" in out[second:] and f"{row['cllr']:.4f} [" not in out[first:second]
    )
    assert "P_tar 0.01: accept from llr 4.595 on" in out and "act C_primary(sre21)" in out
    assert call("fold0.scores", "trials0", *options, "--bootstrap", 0) == 0
    (row,) = json.loads(Path("o").read_text())["systems"]
    assert row["cllr_interval"] is None and row["act_c_primary"][0]["interval"] is None
    capsys.readouterr()


def test_speakers_told_by_files_agree(corpus, capsys):
    options = ("--bootstrap", 100, "--json")
    assert call("fold0.scores", "trials0", *options, "a") == 0
    maps = ("--utt2spk", "utt2spk", "--enroll", "enroll")
    assert call("fold0.scores", "trials0", *options, "b", *maps) == 0
    one, two = (json.loads(Path(name).read_text())["bootstrap"] for name in "ab")
    assert one["speakers"] == two["speakers"] == 12
    assert two["speakers_from"] == "from utt2spk"
    assert call("fold0.scores", "trials0", *options, "c") == 0
    assert Path("a").read_bytes() == Path("c").read_bytes()
    assert call("fold0.scores", "trials0", *options, "d", "--seed", 1) == 0
    assert Path("a").read_bytes() != Path("d").read_bytes()
    capsys.readouterr()


def test_pooled_folds(corpus, capsys):
    trials = ("trials0", "--trials", "trials1", "--bootstrap", 0)
    assert call("--pool", "fold1.scores", "fold0.scores", *trials, "--json", "o") == 0
    (row,) = json.loads(Path("o").read_text())["systems"]
    assert row["system"] == "pooled" and row["eer_interval"] is None
    assert row["eer"] == metrics.eer(*classes(corpus[0] + corpus[1]))
    named = [f"{name}={file}{fold}.scores" for fold in (0, 1)
             for name, file in (("one", "fold"), ("two", "other"))]  # fmt: skip
    assert call(*named, *trials, "--pool", "--json", "o") == 0
    one, two = json.loads(Path("o").read_text())["systems"]
    assert (one["system"], two["system"]) == ("one", "two")
    assert one["eer"] == row["eer"] < two["eer"]
    assert "95 %" not in capsys.readouterr().out


def test_plots(corpus, capsys):
    plots = ("--det", "p/det.png", "--roc", "p/roc.svg", "--histogram", "p/h.svg")
    assert call("fold0.scores", "trials0", *plots, "--bootstrap", 50) == 0
    assert sorted(os.listdir("p")) == ["det.png", "h.svg", "roc.svg"]
    systems = ("a/b=fold0.scores", "other0.scores")
    assert call(*systems, "trials0", "--histogram", "q/h.png", "--bootstrap", 0) == 0
    assert sorted(os.listdir("q")) == ["h-a_b.png", "h-other0.png"]
    capsys.readouterr()


def test_subset_duplicates_and_order(corpus, capsys):
    lines = Path("trials0").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "_2" not in line]
    Path("part").write_text("".join([*kept, kept[0]]))
    fast = ("--bootstrap", 0)
    assert call("fold0.scores", "part", *fast) == 1
    assert call("fold0.scores", "part", *fast, "--allow-duplicates") == 1
    assert call("fold0.scores", "part", *fast, "--subset", "--allow-duplicates") == 0
    swapped = [f"{s} {m} {u}\n" for m, u, s in map(str.split, open("fold0.scores"))]
    Path("swapped").write_text("".join(swapped))
    assert call("swapped", "trials0", *fast, "--score-column", "first") == 0
    assert call("swapped", "trials0", *fast) == 0
    assert call("swapped", "trials0", *fast, "--score-column", "last") == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    for error, cure in zip(errors, ("--allow-duplicates", "--subset", "not a number")):
        assert cure in error


BAD = {
    "no file": (["absent", "trials0"], 1, "absent: cannot be read"),
    "no trials": (["fold0.scores", "absent"], 1, "absent: cannot be read"),
    "other fold": (["fold0.scores", "trials1"], 1, "have no score"),
    "scores for trials": (["fold0.scores", "fold0.scores"], 1, "could be the label"),
    "directory": ([".", "trials0"], 1, "cannot be read"),
    "same name": (["fold0.scores", "./fold0.scores", "trials0"], 2, "NAME=FILE"),
    "no file in name": (["x=", "trials0"], 2, "NAME=FILE"),
    "prior": (["fold0.scores", "trials0", "--p-target", "1"], 2, "between 0 and 1"),
    "preset": (["fold0.scores", "trials0", "--points", "sre99"], 2, "one of sre08"),
    "costs": (["fold0.scores", "trials0", "--points", ".1:0:1"], 2, "costs are positive"),
    "prior twice": (["fold0.scores", "trials0", "--p-target", ".1", ".1"], 2, "twice"),
    "replicates": (["fold0.scores", "trials0", "--bootstrap", "3"], 2, "at least 20"),
    "seed": (["fold0.scores", "trials0", "--seed", "-1"], 2, "--seed: takes whole numbers"),
    "many": (["fold0.scores", "trials0", "--bootstrap", "9" * 20], 2, "at most 1000000, not"),
    "enrolment alone": (["fold0.scores", "trials0", "--enroll", "enroll"], 2, "needs --utt2spk"),
    "models unknown": (["fold0.scores", "trials0", "--utt2spk", "utt2spk"], 1, "--enroll"),
    "pdf": (["fold0.scores", "trials0", "--det", "x.pdf"], 2, ".png or .svg"),
    "output is a folder": (["fold0.scores", "trials0", "--json", "."], 1, "cannot be written"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), BAD.values(), ids=BAD)
def test_mistakes_are_told_in_one_line(corpus, capsys, arguments, code, message):
    try:
        assert call(*arguments) == code
    except SystemExit as end:  # by argparse
        assert end.code == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert error.startswith("python -m fusion.evaluate: error: ")


@pytest.mark.parametrize("arguments", [[], ["one"], ["a", "b", "--nonsense"], ["a", "--p-t", "1"]])
def test_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    assert caught.value.code == 2


def test_help_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "fusion.evaluate", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "SCORES... TRIALS" in done.stdout
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    heavy = {"numba", "scipy", "matplotlib", "sklearn", "torch", "numpy", "tqdm"}
    assert "argparse" in loaded and not loaded & heavy


def test_command_line_from_files_to_table(corpus):
    command = [sys.executable, "-m", "fusion.evaluate", "fold0.scores", "trials0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("system") and not done.stderr
    done = subprocess.run([*command, "--bootstrap", "1"], env=environment, capture_output=True)
    assert done.returncode == 2 and not done.stdout


def test_too_few_errors_are_said(corpus, capsys):
    lines = Path("trials0").read_text().splitlines()
    Path("clear").write_text(
        "".join(f"{a} {b} {9 + k % 7 / 10 if label == 'target' else -9 + k % 5}\n"
                for k, (a, b, label) in enumerate(map(str.split, lines)))
    )  # fmt: skip
    options = ("--bootstrap", 50, "--points", "sre16", "--json", "o")
    assert call("clear", "trials0", *options) == 0
    (row,) = json.loads(Path("o").read_text())["systems"]
    assert row["eer"] == 0 and row["eer_interval"] == "too few errors"
    assert row["min_c_primary"][0]["interval"] == "too few errors"
    assert "0.00 [too few errors]" in capsys.readouterr().out


def test_a_turned_sign_and_another_logarithm_are_hinted_at(corpus, capsys):
    lines = [line.rsplit(" ", 1) for line in Path("fold0.scores").read_text().splitlines()]
    Path("turned").write_text("".join(f"{pair} {-float(score):.6f}\n" for pair, score in lines))
    # Of classes 2 apart: llr are 2 (s - 1).
    decimal = [f"{pair} {2 * (float(score) - 1) / np.log(10):.6f}\n" for pair, score in lines]
    Path("decimal").write_text("".join(decimal))
    assert call("fold0.scores", "turned", "trials0", "--bootstrap", 0) == 0
    out = capsys.readouterr().out
    assert "turned: the sign seems turned: a target trial scores higher" in out
    assert "fold0: the sign" not in out
    assert call("decimal", "trials0", "--llr", "--bootstrap", 50) == 0
    assert "decimal: The llr are 2." in capsys.readouterr().out
