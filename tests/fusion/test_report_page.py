"""``python -m fusion.report`` from files to pages, and the pages in a browser."""

import json
import subprocess
import sys
from pathlib import Path

import chromium
import numpy as np
import pytest
from report_cases import NAMES, report, simulated

from fusion.formats.files import write_scores
from fusion.report import __main__ as command
from ivector.base.cli import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not chromium.find():
        pytest.skip("Chromium is not installed, so that pages cannot be looked at")
    with chromium.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report().write(path)
    return path


BOXES = "[...document.querySelectorAll('.scroll')]"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_opens_without_a_word(browser, page, dark):
    browser.open(page, dark=dark)
    assert browser.said() == []
    assert browser.fetched() == [page.resolve().as_uri()]
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    assert browser.run("document.querySelectorAll('table').length") == 5
    assert browser.run("document.querySelectorAll('tbody tr').length") == 3 + 2 * 2 + 8 + 16
    assert browser.run("document.title").startswith("<script>")
    grounds = {True: "rgb(20, 24, 28)", False: "rgb(255, 255, 255)"}
    style = "getComputedStyle(document.body)"
    assert browser.run(f"{style}.backgroundColor") == grounds[dark]
    ink = browser.run(f"{style}.color")
    text = "document.querySelector('figure svg text')"
    assert browser.run(f"getComputedStyle({text}).fill") == ink
    curve = "[...document.querySelectorAll('figure svg path')].map(p=>getComputedStyle(p).stroke)"
    series = {True: "rgb(79, 163, 224)", False: "rgb(0, 114, 178)"}
    assert series[dark] in browser.run(curve)


def test_page_fits_a_phone(browser, page):
    browser.open(page, width=360, height=780)
    assert browser.run("document.documentElement.scrollWidth") == 360
    assert browser.run(f"{BOXES}.every(b=>b.getBoundingClientRect().right<=360)")
    assert browser.run(f"{BOXES}.every(b=>b.scrollWidth>b.clientWidth)")
    # Keys move a box that has the focus.
    browser.run(f"{BOXES}[0].focus()")
    assert browser.run(f"document.activeElement==={BOXES}[0]")
    scale = "(s=>s.getBoundingClientRect().width/s.viewBox.baseVal.width)"
    font = "parseFloat(getComputedStyle(document.querySelector('figure svg text')).fontSize)"
    assert browser.run(f"{scale}(document.querySelector('figure svg'))*{font}") >= 10
    inside = "r.left>=0&&r.right<=360"
    texts = "[...document.querySelectorAll('figure svg text')].map(t=>t.getBoundingClientRect())"
    assert browser.run(f"{texts}.every(r=>{inside})")


def test_labels_of_axes_do_not_overlap(browser, page):
    browser.open(page, width=360)
    overlaps = """[...document.querySelectorAll('figure>svg')].flatMap(svg => {
      const boxes = [...svg.querySelectorAll('text')].map(t => [t, t.getBoundingClientRect()]);
      return boxes.flatMap(([t, a], i) => boxes.slice(i + 1).filter(([u, b]) =>
        a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom
      ).map(([u]) => svg.getAttribute('aria-labelledby') + ': ' + t.textContent + '|'
        + u.textContent));
    })"""
    assert browser.run(overlaps) == []


def test_browser_hears_what_goes_wrong(browser, tmp_path):
    """The silence of the tests above is not deafness."""
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('heard'); nowhere()</script><img src='missing.png'>")
    browser.open(bad)
    text = json.dumps(browser.said())
    assert "heard" in text and "nowhere is not defined" in text
    assert len(browser.fetched()) >= 2


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Score files of two systems, trials, speakers and a table; the test stands in their folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report", "typed words"])
    target, enrol, test, scores, conditions = simulated(12, 3)
    models = [f"m{i:02d}" for i in enrol]
    utterances = [f"u{j:02d}_{n % 3}" for n, j in enumerate(test)]
    write_scores("a.scores", models, utterances, scores[NAMES[0]])
    write_scores("b.scores", models, utterances, scores[NAMES[2]])
    label = np.where(target, "target", "nontarget")
    lines = [f"{m} {u} {t}\n" for m, u, t in zip(models, utterances, label)]
    Path("trials").write_text("".join(reversed(lines)))
    Path("utt2spk").write_text("".join(sorted({f"{u} m{u[1:3]}\n" for u in utterances})))
    rows = {u: d for u, d in zip(utterances, conditions["test_duration"])}
    table = "".join(f"{u},{d:.3f},{'f' if int(u[1:3]) % 2 else 'm'}\n" for u, d in rows.items())
    Path("table.csv").write_text("id,duration,gender\n" + table)
    return target, scores


def call(*arguments):
    return run(command.make_parser(), command.main, [str(a) for a in arguments])


def test_command(corpus, capsys):
    options = [
        "--out", "r.html", "--utt2spk", "utt2spk", "--points", "0.01", "sre08", "--llr", "fused",
        "--columns", "table.csv", "--by", "test_gender", "--bootstrap", 40, "--title", "A title",
        "--note", "Minded.", "--command", "made by hand",
    ]  # fmt: skip
    assert call("GMM=a.scores", "fused=b.scores", "trials", *options) == 0
    out = capsys.readouterr().out
    assert "fused makes the fewest errors" in out and "r.html" in out
    record = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert [row["system"] for row in record["systems"]] == ["GMM", "fused"]
    assert [row["llr"] for row in record["systems"]] == [False, True]
    assert [point["p_target"] for point in record["points"]] == [0.01, 0.01]
    assert [part["value"] for part in record["conditions"][0]["parts"]] == ["f", "m"]
    assert record["trials"]["speakers"] == 12
    assert record["trials"]["speakers_from"] == "from utt2spk"
    assert record["commands"] == ["made by hand", "python -m fusion.report 'typed words'"]
    assert "Minded." in record["cautions"]
    first = Path("r.html").read_bytes()
    assert call("GMM=a.scores", "fused=b.scores", "trials", *options) == 0
    assert Path("r.html").read_bytes() == first


def test_all_systems_are_llrs(corpus):
    assert call("a.scores", "b.scores", "trials", "--out", "x.html", "--llr") == 0
    record = json.loads(Path("x.json").read_text(encoding="utf-8"))
    assert [(row["system"], row["llr"]) for row in record["systems"]] == [("a", True), ("b", True)]
    assert "from the target trials" in record["trials"]["speakers_from"]


WRONG = {
    "no page": (["--out", "x.pdf"], 2, ".html"),
    "unknown llr": (["--out", "x.html", "--llr", "c"], 2, "'c'"),
    "by alone": (["--out", "x.html", "--by", "gender"], 2, "--columns"),
    "unknown by": (
        ["--out", "x.html", "--columns", "table.csv", "--by", "sex"], 2, "test_gender"
    ),
    "few draws": (["--out", "x.html", "--bootstrap", "7"], 2, "at least 20"),
    "enroll alone": (["--out", "x.html", "--enroll", "utt2spk"], 2, "--utt2spk"),
    "point": (["--out", "x.html", "--points", "sre99"], 2, "sre99"),
    "no map": (["--out", "x.html", "--utt2spk", "none"], 1, "none"),
    "no table": (["--out", "x.html", "--columns", "none"], 1, "none"),
    "no folder": (["--out", "trials/x.html", "--bootstrap", "0"], 1, "cannot be written"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "code", "text"), WRONG.values(), ids=WRONG)
def test_mistakes_are_told_in_a_line(corpus, capsys, options, code, text):
    assert call("a.scores", "trials", *options) == code
    error = capsys.readouterr().err.strip()
    assert text in error and len(error.splitlines()) == 1
    assert not Path("x.html").exists()


def test_unlabelled_trials_are_refused(corpus, capsys):
    lines = Path("trials").read_text().splitlines()
    Path("plain").write_text("".join(line.rsplit(" ", 1)[0] + "\n" for line in lines))
    assert call("a.scores", "plain", "--out", "x.html") == 1
    assert "unknown label" in capsys.readouterr().err


def test_as_a_program(corpus):
    words = ["a.scores", "trials", "--out", "x.html", "--bootstrap", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "fusion.report", *words],
        capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(Path("x.json").read_text(encoding="utf-8"))
    assert record["commands"] == ["python -m fusion.report " + " ".join(words)]
