"""The report: its numbers are those of the metrics, its page is whole and fetches nothing."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from report_cases import HOSTILE, NAMES, report, simulated

from fusion.comparison.conditions import MISSING, MOST_CATEGORIES, OTHERS, groups
from fusion.intervals.bootstrap import bootstrap_interval
from fusion.intervals.paired import paired_bootstrap
from fusion.metrics import rates as metrics
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint, parse_points
from fusion.metrics.table import METRICS
from fusion.report.figures import _quantile
from fusion.report.make import make_report
from fusion.report.page import _DARK, _LIGHT, STYLE
from fusion.report.tables import told_digits
from ivector.base.errors import DataError, UsageError


@pytest.fixture(scope="module")
def made():
    return report()


@pytest.fixture(scope="module")
def html(made):
    return made.html()


def test_numbers_are_those_of_the_metrics(made):
    target, enrol, test, scores, _ = simulated()
    points = parse_points(["0.01", "0.05:10:1"])
    for row in made.content["systems"]:
        values = scores[row["system"]]
        tar, non = values[target], values[~target]
        options = {"points": points, "n_bootstrap": 60, "llr": row["llr"]}
        found = bootstrap_interval(values, target, enrol, test, **options)
        assert row["eer"] == {
            "estimate": metrics.eer(tar, non), "low": found.eer.low, "high": found.eer.high,
            "enough": True,
        }  # fmt: skip
        assert row["min_cllr"]["estimate"] == metrics.min_cllr(tar, non)
        for i, point in enumerate(points):
            costs = (point.p_target, point.c_miss, point.c_fa)
            assert row["min_dcf"][i]["estimate"] == metrics.min_dcf(tar, non, *costs)
            if row["llr"]:
                assert row["act_dcf"][i]["estimate"] == metrics.act_dcf(tar, non, *costs)
                assert row["act_dcf"][i]["high"] == found.act_dcf[i].high
        if row["llr"]:
            assert row["cllr"]["estimate"] == metrics.cllr(tar, non)
            assert row["cllr"]["low"] == found.cllr.low
            loss = metrics.cllr(tar, non) - metrics.min_cllr(tar, non)
            assert row["calibration_loss"] == pytest.approx(loss, rel=1e-12)
        else:
            assert row["cllr"] is row["act_dcf"] is row["calibration_loss"] is None


def test_differences_are_those_of_the_paired_bootstrap(made):
    target, enrol, test, scores, _ = simulated()
    compared = made.content["comparison"]
    assert compared["best"] == NAMES[2]  # orders as NAMES[1], and is better calibrated
    assert [row["system"] for row in compared["systems"]] == [
        name for name in NAMES if name != compared["best"]
    ]
    for row in compared["systems"]:
        llr = row["system"] in NAMES[1:]
        wanted = paired_bootstrap(
            scores[compared["best"]], scores[row["system"]], target, enrol, test,
            points=parse_points(["0.01", "0.05:10:1"]), llr=llr, n_bootstrap=60,
        ).differences  # fmt: skip
        assert len(row["metrics"]) == len(wanted)
        for entry in row["metrics"]:
            other = wanted[entry["metric"], entry["point"] or 0]
            for key, value in (
                ("difference", other.interval.estimate), ("low", other.interval.low),
                ("high", other.interval.high), ("p_value", other.p_value),
            ):  # fmt: skip
                assert entry[key] == pytest.approx(value, rel=1e-9, abs=1e-12), entry["metric"]


def test_conditions_are_measured_apart(made):
    target, _, _, scores, conditions = simulated()
    gender, duration = made.content["conditions"]
    assert [part["value"] for part in gender["parts"]] == ["female & co", "male"]
    assert len(duration["parts"]) == 4
    for found in (gender, duration):
        assert sum(part["trials"] for part in found["parts"]) == len(target)
        assert sum(part["targets"] for part in found["parts"]) == target.sum()
    chosen = conditions["gender <i>"] == "male"
    values = scores["fused"]
    row = gender["parts"][1]["systems"][2]
    assert row["eer"]["estimate"] == metrics.eer(values[chosen & target], values[chosen & ~target])
    # Two errors of a kind: the record says so, and the page.
    assert row["eer"]["enough"] is False and row["eer"]["low"] is None
    assert "too few errors" in made.markdown().partition("## Conditions")[2]


def test_same_input_same_bytes(made, html):
    again = report()
    assert again.html() == html
    assert again.markdown() == made.markdown()
    assert again.record() == made.record()
    assert "2026" not in html and "11 May" in report(date="11 May", n_bootstrap=0).html()


def test_record_is_json_without_extras(made, tmp_path):
    made.write(tmp_path / "new" / "r.html")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"r.html", "r.md", "r.json"}
    text = (tmp_path / "new" / "r.json").read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=pytest.fail)
    assert record == made.record() and record["title"] == HOSTILE
    assert record["bootstrap"] == {"replicates": 60, "level": 0.95, "seed": 0}
    assert record["trials"]["speakers"] == 24


VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """A strict reading: tags match, ids are unique, headings step by one."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.headings = [], [], []
        self.tags, self.links, self.labels, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.labels += attributes.get("aria-labelledby", "").split()
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            self.links += re.findall(r"url\(([^)]*)\)", value or "")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_page_is_whole_and_fetches_nothing(html):
    page = Page(html)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert len(set(page.ids)) == len(page.ids)
    assert all(link == "data:," or link[1:] in page.ids for link in page.links), page.links
    assert all(link.startswith("#") for link in page.links if link != "data:,")
    assert set(page.labels) <= set(page.ids)
    assert "http:" not in html and "https:" not in html and "@import" not in html
    names = [tag for tag, _ in page.tags]
    assert "script" not in names and "i" not in names
    for landmark in ("header", "nav", "main", "footer", "title"):
        assert landmark in names
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:]))


def test_names_and_notes_are_shown_as_they_are(html):
    page = Page(html)
    texts = "".join(page.texts)
    assert texts.count(HOSTILE) >= 4
    for name in NAMES:
        assert name in page.texts
    assert "<script" not in html and "GMM <b>" not in html


def test_tables_and_figures_are_accessible(html):
    page = Page(html)
    tables = [n for n, (tag, _) in enumerate(page.tags) if tag == "table"]
    assert len(tables) == 5
    for n in tables:
        box = page.tags[n - 1][1]
        assert box["tabindex"] == "0" and box["role"] == "region" and box["aria-labelledby"]
        assert page.tags[n + 1][0] == "caption"
    headers = [attributes for tag, attributes in page.tags if tag == "th"]
    assert all(cell["scope"] in ("col", "row", "rowgroup") for cell in headers)
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    plots = [attributes for attributes in figures if attributes.get("role") == "img"]
    assert len(plots) == 9  # DET, ROC, four of likelihood ratios, three histograms
    assert all(a.get("aria-hidden") == "true" for a in figures if a not in plots)
    words = re.findall(r"<desc [^>]*>([^<]*)</desc>", html)
    assert len(words) == 9 and all(re.search(r"\d", text) for text in words)
    assert "% misses at 1 % false alarms" in words[0]


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, two):
    """WCAG 2.2, relative luminance."""
    dark, light = sorted([luminance(one), luminance(two)])
    return (light + 0.05) / (dark + 0.05)


def test_contrast_on_light_and_dark():
    light, dark = re.findall(r"--ground:[^}]*", STYLE)[:2]
    assert light != dark
    for declared, series in ((light, _LIGHT), (dark, _DARK)):
        colours = dict(re.findall(r"--(\w+):(#\w{6})", declared))
        for ground in (colours["ground"], colours["tint"]):
            for name in ("text", "soft", "link"):
                assert contrast(colours[name], ground) >= 4.5, (name, ground)
        assert all(contrast(colour, colours["ground"]) >= 3 for colour in series)
        assert contrast(colours["faint"], colours["ground"]) >= 3


def test_markdown_has_the_tables_and_no_markup(made):
    text = made.markdown()
    assert text.startswith("# \\<script\\>") and text.endswith("\n") and "<b>" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = {}
    for line in rows:
        widths.setdefault(len(re.findall(r"(?<!\\)\|", line)), []).append(line)
    assert len(widths) == 3  # metrics, and differences, at the first point and at the others
    assert "i-vector \\| PLDA" in text and "## Cautions" in text


def test_summary_says_what_was_found(made):
    first, best, second, *calibration = made.content["summary"]
    assert "2,304 trials between 24 speakers; in 96 of them" in first
    assert f"{made.content['comparison']['best']} makes no more errors than any other" in best
    assert "95 % interval" in best and second == f"{NAMES[1]} has the same EER."
    assert any("calibrated" in sentence for sentence in calibration)


def test_summary_of_what_may_be_chance():
    rng = np.random.default_rng(5)
    target, enrol, test, scores, _ = simulated()
    values = scores["fused"]
    systems = {"a": values, "b": values + 0.5 * rng.normal(size=values.size)}
    found = make_report(target, enrol, test, systems, n_bootstrap=100)
    assert any("which may be chance" in text for text in found.content["summary"])


def test_summary_of_a_clear_winner():
    rng = np.random.default_rng(0)
    target, enrol, test, scores, _ = simulated()
    good = scores["fused"]
    systems = {"good": good, "bad": good + 20 * rng.normal(size=good.size)}
    found = make_report(target, enrol, test, systems, n_bootstrap=100)
    assert any("good is better than bad, the next, by" in text for text in found.content["summary"])


def test_calibration_is_graded():
    rng = np.random.default_rng(1)
    target, enrol, test, _, _ = simulated()
    right = rng.normal(size=target.size) * 2.5 + np.where(target, 1, -1) * 3.125
    systems = {"right": right, "off": 0.25 * right, "wrong": right + 15}
    points = [OperatingPoint(0.5), OperatingPoint(0.001)]
    options = {"llr": list(systems), "points": points, "n_bootstrap": 0}
    found = make_report(target, enrol, test, systems, **options)
    text = " ".join(found.content["summary"])
    assert "At P_tar 0.001 decisions by the likelihood ratios of wrong cost more" in text
    assert re.search(
        r"right \(Cllr 0\.\d+, of which 0\.\d+ is lost, and 0\.\d+ would be by chance\) is well",
        text,
    )
    assert re.search(r"off \([^)]*\) is poorly calibrated", text)
    assert re.search(r"wrong \([^)]*\) is worse than saying nothing", text)


def test_a_bad_threshold_is_bad_calibration():
    """Cllr hides what goes wrong far from even odds; the operating point does not."""
    rng = np.random.default_rng(2)
    target = np.arange(40_000) < 4000
    llr = rng.normal(size=target.size) * 2.5 + np.where(target, 1, -1) * 3.125
    llr[np.flatnonzero(~target)[:100]] += 8
    speakers = np.zeros(target.size, int), np.zeros(target.size, int)
    for points, word in (([], "well"), ([OperatingPoint(0.001)], "poorly")):
        options = {"llr": ["x"], "points": points, "n_bootstrap": 0}
        found = make_report(target, *speakers, {"x": llr}, **options)
        assert any(f"is {word} calibrated" in text for text in found.content["summary"])


def test_cautions_of_the_numbers(made):
    text = " ".join(made.content["cautions"])
    assert "fewer than 30" in text and "are not given as likelihood ratios" in text
    assert "flatters" in text and "Simulated scores." in text
    bare = report(n_bootstrap=0, notes=())
    assert any("No intervals" in caution for caution in bare.content["cautions"])
    assert bare.content["bootstrap"] is None


def test_one_system_without_anything():
    target, enrol, test, scores, _ = simulated()
    found = make_report(target, enrol, test, {"x": scores["fused"]}, points=(), n_bootstrap=0)
    page = Page(found.html())
    assert found.content["comparison"] is None and found.content["conditions"] == []
    assert "Comparison" not in page.texts and "Likelihood ratios" not in page.texts
    assert "x reaches an EER" in found.content["summary"][1]
    assert found.markdown().count("| :---") == 1


@pytest.mark.parametrize(
    "scores",
    [
        np.where(simulated()[0], 1.0, -1.0),
        np.where(simulated()[0], -1.0, 1.0),
        np.zeros(2304),
        np.where(simulated()[0], np.inf, -np.inf),
    ],
    ids=["separable", "reversed", "constant", "infinite"],
)
def test_degenerate_scores_are_reported(scores, tmp_path):
    target, enrol, test, _, _ = simulated()
    found = make_report(target, enrol, test, {"x": scores}, llr=["x"], n_bootstrap=20)
    found.write(tmp_path / "x.html")
    Page((tmp_path / "x.html").read_text(encoding="utf-8"))


def test_infinite_cost_is_a_word():
    target, enrol, test, scores, _ = simulated()
    values = scores["fused"].copy()
    values[np.flatnonzero(target)[0]] = -np.inf
    found = make_report(target, enrol, test, {"x": values}, llr=["x"], n_bootstrap=0)
    assert found.record()["systems"][0]["cllr"]["estimate"] == "inf"
    assert "∞" in found.html() and "∞" in found.markdown()


def test_sides_of_other_populations():
    target, enrol, test, scores, _ = simulated()
    found = make_report(target, enrol, test, {"x": scores["fused"]}, shared=False, n_bootstrap=20)
    assert found.content["trials"]["speakers"] is None
    assert "Speakers enrolled" in found.html()


def test_page_of_many_trials_and_systems_is_small():
    rng = np.random.default_rng(3)
    n, n_speakers = 200_000, 400
    enrol, test = rng.integers(0, n_speakers, (2, n))
    test[: n // 50] = enrol[: n // 50]
    target = enrol == test
    systems = {
        f"system {k}": rng.normal(size=n) * (2 + k / 5) + np.where(target, 3, -3) for k in range(10)
    }
    found = make_report(target, enrol, test, systems, llr=list(systems), n_bootstrap=0)
    assert len(found.html().encode()) < 1_500_000


REFUSED = {
    "no systems": ({"systems": {}}, UsageError, "no systems"),
    "unknown llr": ({"llr": ["y"]}, UsageError, "'y'"),
    "llr of text": ({"llr": "x"}, UsageError, "list of names"),
    "point twice": ({"points": [OperatingPoint(0.1)] * 2}, UsageError, "twice"),
    "few draws": ({"n_bootstrap": 5}, UsageError, "at least 20"),
    "NaN": ({"systems": {"x": [np.nan] * 4}}, DataError, "NaN"),
    "text": ({"systems": {"x": ["a"] * 4}}, DataError, "not numbers"),
    "lengths": ({"systems": {"x": [1.0]}}, DataError, "4 trials"),
    "condition": ({"conditions": {"c": [1]}}, DataError, "'c'"),
    "one class": ({"labels": [1, 1, 1, 1]}, DataError, "no nontarget"),
    "no targets": ({"labels": [0, 0, 0, 0]}, DataError, "no target"),
    "labels": ({"labels": [1, 0, -1, 1]}, DataError, "unknowns"),
}


@pytest.mark.parametrize(("changes", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_refusals(changes, error, text):
    given = {
        "labels": [1, 0, 1, 0], "enrol_speaker": [0, 0, 1, 1], "test_speaker": [0, 1, 1, 0],
        "systems": {"x": [1.0, 0.0, 2.0, -1.0]}, "n_bootstrap": 0,
    }  # fmt: skip
    with pytest.raises(error, match=text):
        make_report(**{**given, **changes})


def test_only_pages_are_written(made, tmp_path):
    with pytest.raises(UsageError, match=r"\.html"):
        made.write(tmp_path / "x.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        made.write(tmp_path / "file" / "x.html")


def test_groups_of_columns():
    values = np.array(["b", "a", None, "b"], object)
    assert [(n, list(c)) for n, c in groups(values)] == [("a", [1]), ("b", [0, 3]), (MISSING, [2])]
    few = np.array([3.0, 1.0, 3.0, np.nan])
    assert [(n, list(c)) for n, c in groups(few)] == [("1", [1]), ("3", [0, 2]), (MISSING, [3])]
    many = np.arange(101.0)
    parts = list(groups(many))
    assert [name for name, _ in parts] == ["0 to 24", "25 to 49", "50 to 74", "75 to 100"]
    assert sorted(np.concatenate([chosen for _, chosen in parts])) == list(range(101))
    tied = np.append(np.zeros(90), np.arange(1.0, 11))
    assert [len(c) for _, c in groups(tied)] == [100] or sum(len(c) for _, c in groups(tied)) == 100
    texts = np.array([f"c{n:02d}" for n in range(30)] + ["c29"] * 5, object)
    parts = dict(groups(texts))
    assert len(parts) == MOST_CATEGORIES and len(parts["c29"]) == 6
    assert sum(map(len, parts.values())) == 35 and len(parts[OTHERS]) == 30 - 11
    assert [n for n, _ in groups(np.array([True, False]))] == ["False", "True"]
    assert [n for n, _ in groups(np.array([np.nan, np.nan]))] == [MISSING]


def test_words_give_quantiles():
    points = OperatingPoints(np.arange(1.0, 101), [0.0])
    assert _quantile(points, points.misses, 100, 0.5) == 50


def test_as_many_digits_as_intervals_bear_out():
    eer, cost = METRICS["eer"], METRICS["min_dcf"]
    wide = {"estimate": 0.1058, "low": 0.0890, "high": 0.1372}
    narrow = {"estimate": 0.01234, "low": 0.0120, "high": 0.0126}
    assert told_digits(eer, [wide]) == 1 and told_digits(eer, [wide, narrow, None]) == 2
    assert told_digits(cost, [{"estimate": 0.97, "low": 0.92, "high": 1.0}]) == 3
    assert told_digits(cost, [{"estimate": 1.0, "low": 1.0, "high": 1.0}]) == cost.digits
    assert told_digits(cost, [{"estimate": 1.0, "low": None, "high": None}]) == cost.digits


def test_eer_has_the_same_digits_in_legend_table_and_sentence():
    """Those that the narrowest interval bears out, so that no order is turned by rounding."""
    target, enrol, test, scores, _ = simulated()
    wide = np.where(enrol == 0, -5 * scores["fused"], scores["fused"])
    found = make_report(
        target, enrol, test, {"a": scores["fused"], "b": wide}, n_bootstrap=50, title="x"
    )
    rows = [row["eer"] for row in found.content["systems"]]
    digits = told_digits(METRICS["eer"], rows)
    assert digits > told_digits(METRICS["eer"], rows[1:])
    rates = [METRICS["eer"].text(row["estimate"], digits) for row in rows]
    page = found.html()
    assert all(f"{name}, EER {rate} %" in page for name, rate in zip("ab", rates))
    assert f"an EER of {rates[0]} %" in found.content["summary"][1]
