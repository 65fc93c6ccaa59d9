"""The command that compares score files."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fusion.compare import main, make_parser
from ivector.base.cli import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(0)
    speakers = [f"spk{i:02d}" for i in range(16)]
    pairs = [(m, f"{s}-{k}") for m in speakers for s in speakers for k in range(2)]
    target = np.array([m == u[:5] for m, u in pairs])
    one = np.where(target, 2.5, -2.5) + rng.normal(size=len(pairs))
    two = one + 2.0 * rng.normal(size=len(pairs))
    bad = two + 4.0 * rng.normal(size=len(pairs))

    def write(name, lines):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))

    kinds = ("nontarget", "target")
    write("trials", [f"{m} {u} {kinds[int(t)]}" for (m, u), t in zip(pairs, target)])
    for name, values in (("one", one), ("two", two), ("three", two + 1), ("bad", bad)):
        write(f"{name}.scores", [f"{m} {u} {v:.6f}" for (m, u), v in zip(pairs, values)])
    write("short.scores", [f"{m} {u} {v:.6f}" for (m, u), v in list(zip(pairs, one))[1:]])
    write("utt2spk", [f"{u} {u[:5]}" for u in sorted({u for _, u in pairs})])
    write("info.csv", ["id,gender,dur"] + [
        f"{s}-{k},{'fm'[i % 2]},{3 + i + k}" for i, s in enumerate(speakers) for k in range(2)
    ])  # fmt: skip
    return folder


@pytest.fixture
def call(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def call(*arguments):
        return run(make_parser(), main, [str(a) for a in arguments])

    return call


QUICK = ("--trials", "trials", "--bootstrap", 60)


def test_two_systems(call, capsys):
    assert call("A=one.scores", "B=two.scores", *QUICK, "--llr", "--json", "c.json") == 0
    out = capsys.readouterr().out
    # Where errors are few, there is neither an interval nor a verdict.
    assert "There are too few errors to tell whether A or B is better in EER." in out
    assert "too few errors" in out and "B - A" in out and "minDCF (P_tar 0.01)" in out
    assert "Speakers: from the target trials" in out
    record = json.loads(open("c.json").read())
    assert record["first"] == "A" and record["speakers"] == 16 and record["seed"] == 0
    kinds = [m["metric"] for m in record["systems"][0]["metrics"]]
    assert kinds == ["eer", "min_dcf", "min_cllr", "cllr", "act_dcf"]
    assert record["systems"][0]["metrics"][0]["enough_errors"] is False
    trial = record["systems"][0]["disagreements"]["trials"][0]
    assert trial["enrol"].startswith("spk") and trial["test"][5] == "-"


def test_three_systems_parts_and_markdown(call, capsys):
    files = ("one.scores", "two.scores", "three.scores")
    options = ("--columns", "info.csv", "--by", "test_gender", "test_dur", "--top", 2)
    options += ("--utt2spk", "utt2spk", "--points", "0.05", "sre08", "--markdown", "c.md")
    assert call(*files, *QUICK, *options) == 0
    out, page = capsys.readouterr().out, open("c.md").read()
    for text in (out, page):
        assert "test_gender f" in text and "test_dur 3 to" in text and "Holm" in text
        assert "minDCF (P_tar 0.01, C_miss 10, C_fa 1)" in text and "from utt2spk" in text
    assert page.startswith("# Comparison") and "| metric | one | three |" in page
    assert "Decisions at each system's own best threshold at P_tar 0.05" in out


def test_same_seed_same_bytes(call, capsys):
    texts = []
    for seed in (1, 1, 2):
        # Of these errors are enough for intervals, which draws change.
        assert call("two.scores", "bad.scores", *QUICK, "--seed", seed, "--top", 0) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert "disagreement" not in texts[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["one.scores", *QUICK], 2, "at least two systems"),
        (["one.scores", "x/one.scores", *QUICK], 2, "named 'one'"),
        (["one.scores", "two.scores"], 2, "and their trial list"),
        (["one.scores", "two.scores", *QUICK, "--by", "gender"], 2, "--by: needs --columns"),
        (["one.scores", "two.scores", *QUICK, "--columns", "info.csv", "--by", "snr"], 2,
         "no table has a column 'snr'; there are test_gender, test_dur"),
        (["one.scores", "two.scores", *QUICK, "--points", "2"], 2, "between 0 and 1"),
        (["one.scores", "two.scores", *QUICK, "--threshold", "nan"], 2, "finite number"),
        (["one.scores", "two.scores", "--trials", "trials", "--bootstrap", "3"], 2, "at least 20"),
        (["one.scores", "two.scores", *QUICK, "--enroll", "e"], 2, "--enroll: needs --utt2spk"),
        (["one.scores", "short.scores", *QUICK], 1, "1 of 512 trials"),
        (["one.scores", "none.scores", *QUICK], 1, "none.scores"),
    ],
)  # fmt: skip
def test_mistakes(call, capsys, arguments, code, message):
    try:
        found = call(*arguments)
    except SystemExit as stop:
        found = stop.code
    err = capsys.readouterr().err
    assert found == code and message in err and "Traceback" not in err


def test_as_a_module(folder):
    command = [sys.executable, "-m", "fusion.compare", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "A B [C...] TRIALS" in done.stdout
