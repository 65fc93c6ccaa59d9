"""``python -m fusion.validate`` from files to tables, conclusions, JSON; mistakes in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from fusion import validate
from fusion.example import simulate, write_part
from fusion.forensic import calibration_uncertainty, elub
from fusion.formats.files import write_scores
from fusion.report import __main__ as report
from ivector.base.cli import run

QUICK = ("--bootstrap", "30")


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A simulated part and llr of its system plda; the test stands in the folder of its files."""
    monkeypatch.chdir(tmp_path)
    part = simulate(n_speakers=20)
    write_part(Path("."), part)
    llr = part.scores["plda"] / 5 + 3
    ids = [part.ids[n] for n in part.enrol], [part.ids[n] for n in part.test]
    write_scores("llr", *ids, llr)
    write_scores("decimal", *ids, llr / np.log(10))
    return part, llr


def call(*arguments):
    return run(validate.make_parser(), validate.main, [str(a) for a in arguments])


def test_tables_and_json(part, capsys):
    data, llr = part
    given = ("llr", "trials", "--utt2spk", "utt2spk", *QUICK)
    columns = ("--columns", "columns.csv", "--by", "test_gender")
    assert call(*given, *columns, "--tippett", "t.svg", "--json", "out/v.json") == 0
    out = capsys.readouterr().out
    told = json.loads(Path("out/v.json").read_text())
    found = told["systems"]["llr"]
    written = np.round(llr, 6)
    expected = elub(written[data.target], written[~data.target])
    np.testing.assert_allclose(found["elub"], expected, atol=1e-5)
    assert told["unit"] == "natural logarithm" and told["speakers"] == 20
    low, high = found["metrics"]["cllr"]["low"], found["metrics"]["cllr"]["high"]
    assert low < found["metrics"]["cllr"]["estimate"] < high
    assert [p["value"] for p in found["conditions"][0]["parts"]] == ["f", "m"]
    assert [row["calibration"] for row in found["calibrations"]] == [
        "as given", "logistic", "bi-Gaussianised",
    ]  # fmt: skip
    assert f"[{low:.4f}, {high:.4f}]" in out and "Rates of misleading evidence" in out
    assert "read as natural logarithms; --log10" in out
    assert Path("t.svg").read_text().startswith("<?xml")


def test_decimal_logarithms_are_made_natural(part, capsys):
    assert call("llr", "trials", "--bootstrap", 0, "--folds", 0, "--json", "natural") == 0
    assert call(
        "llr=decimal", "trials", "--bootstrap", 0, "--folds", 0, "--log10", "--json", "decimal.json"
    ) == 0  # fmt: skip
    assert "read as decimal logarithms and made natural" in capsys.readouterr().out
    one, two = (json.loads(Path(name).read_text()) for name in ("natural", "decimal.json"))
    np.testing.assert_allclose(
        one["systems"]["llr"]["elub"], two["systems"]["llr"]["elub"], atol=1e-4
    )


def test_a_case_has_intervals_and_conclusions(part, capsys):
    data, llr = part
    Path("case").write_text("a b 2.5\na c -60\n")
    given = ("llr", "trials", "--utt2spk", "utt2spk", *QUICK, "--case", "case")
    assert call(*given, "--scale", "nfc", "--out", "out.txt", "--json", "v.json") == 0
    head, *lines = Path("out.txt").read_text().splitlines()
    assert head == "enrol test given llr low high bayes_low bayes_high"
    rows = np.array([[float(cell) for cell in line.split()[2:]] for line in lines])
    learnt = calibration_uncertainty(np.round(llr, 6), data.target, *data.sides, n_bootstrap=30)
    np.testing.assert_allclose(rows[:, 1], learnt.llr([2.5, -60]), rtol=1e-3)
    np.testing.assert_allclose(rows[:, 2:4], learnt.interval([2.5, -60]), rtol=1e-3)
    np.testing.assert_allclose(rows[:, 4:], learnt.credible([2.5, -60]), rtol=1e-3)
    out = capsys.readouterr().out
    told = json.loads(Path("v.json").read_text())["case"]
    assert "Swedish National Forensic Centre" in out and len(told["trials"]) == 2
    for trial in told["trials"]:
        assert f"{trial['enrol']} {trial['test']}: {trial['conclusion']}" in out
        assert trial["conclusion"].startswith("LR ")
    # An LR beyond what the trials support is taken for what they do.
    assert "of which the validation supports 1/" in told["trials"][1]["conclusion"]


def test_out_without_a_case_has_the_trials(part):
    _, llr = part
    assert call("llr", "trials", "--utt2spk", "utt2spk", *QUICK, "--out", "all") == 0
    lines = Path("all").read_text().splitlines()[1:]
    assert len(lines) == len(llr)
    rows = np.array([line.split()[3:6] for line in lines], float)
    assert ((rows[:, 1] <= rows[:, 0]) & (rows[:, 0] <= rows[:, 2])).all()


def test_the_report_has_the_chapter_when_asked(part):
    words = ["llr", "trials", "--utt2spk", "utt2spk", *QUICK, "--llr", "--out", "page.html"]
    assert run(report.make_parser(), report.main, words) == 0
    plain = Path("page.html").read_text()
    assert "Forensic" not in plain and "forensic" not in json.loads(Path("page.json").read_text())
    assert run(report.make_parser(), report.main, [*words, "--forensic"]) == 0
    page, text = Path("page.html").read_text(), Path("page.md").read_text()
    assert '<h2 id="forensic">Forensic validation</h2>' in page and "<dt>ELUB</dt>" in page
    assert "## Forensic validation" in text and "Rates of misleading evidence" in text
    record = json.loads(Path("page.json").read_text())["forensic"]["llr"]
    assert record["elub"][0] < 0 < record["elub"][1]


@pytest.mark.parametrize(("arguments", "status", "what"), [
    (("a=llr", "b=decimal", "trials", "--case", "llr"), 2, "--case: is of one system, but 2"),
    (("llr", "trials", "--case", "llr", "--folds", 0), 2, "--case: needs intervals"),
    (("llr", "trials", "--folds", 2), 2, "--folds: give at least 3"),
    (("llr", "trials", "--bootstrap", 5), 2, "--bootstrap: give at least 20 or 0"),
    (("llr", "trials", "--tippett", "t.pdf"), 2, "--tippett: give a name that ends in .png"),
    (("llr", "trials", "--by", "x"), 2, "--by: needs --columns"),
    (("infinite", "trials"), 1, "infinite, line 1: the score 'inf' is not finite"),
    (("llr", "one-class", "--subset"), 1, "has no nontarget trials"),
    (("llr", "few", "--subset"), 1, "llr: bounds of llr need at least 10 trials of either class"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(part, capsys, arguments, status, what):
    lines = Path("trials").read_text().splitlines(keepends=True)
    targets = [line for line in lines if " target" in line]
    others = [line for line in lines if " nontarget" in line]
    Path("one-class").write_text("".join(targets))
    Path("few").write_text("".join(targets[:5] + others))
    first, *rest = Path("llr").read_text().splitlines(keepends=True)
    Path("infinite").write_text("".join([" ".join([*first.split()[:2], "inf\n"]), *rest]))
    assert call(*arguments) == status
    error = capsys.readouterr().err
    assert what in error and len(error.splitlines()) == 1
