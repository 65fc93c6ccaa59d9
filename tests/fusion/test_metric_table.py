"""One table of metrics: a metric that is added to it appears everywhere, with its interval."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from fusion import calibrate, compare, evaluate, fuse
from fusion.calibration.worth import Finding
from fusion.formats.files import align, read_scores, read_trials
from fusion.formats.layouts import TARGET
from fusion.formats.speakers import linked_speakers
from fusion.intervals import analytic_interval, bootstrap_interval, paired_bootstrap
from fusion.intervals.ends import Scale, interval
from fusion.intervals.influence import unit_sums, variances
from fusion.intervals.optimism import optimism
from fusion.intervals.replicates import System, number_units
from fusion.intervals.results import Interval
from fusion.metrics.curve import OperatingPoints
from fusion.metrics.points import OperatingPoint
from fusion.metrics.table import METRICS, Choice, Metric, add, columns, points_last, statistics
from fusion.metrics.trial_costs import Costs, cost_of_neighbours
from fusion.report import __main__ as report
from fusion.report.tables import told_digits
from ivector.base.cli import run
from recipes.steps.report import P_TARGET, Row, llr_table, table

ROOT = Path(__file__).resolve().parents[2]
POINTS = [OperatingPoint(0.01), OperatingPoint(0.3, 2, 1)]


def area(points):
    """Area under the ROC, ties counting half."""
    p_miss, p_fa, _ = points.rates()
    return float((2 - p_miss[1:] - p_miss[:-1]) @ -np.diff(p_fa) / 2)


def placements(points):
    """Influence function of the area: which part of the other class each trial beats."""
    low, high = points.rejections[:-1], points.rejections[1:]
    of_target = (low + high) / 2 / points.n_nontargets
    low, high = points.misses[:-1], points.misses[1:]
    of_nontarget = 1 - (low + high) / 2 / points.n_targets
    return Costs(
        np.repeat(of_target, np.diff(points.misses)),
        np.repeat(of_nontarget, np.diff(points.rejections)),
    )


def doubted(points, p_target, c_miss, c_fa):
    """Part of the target trials that the operating point rejects."""
    at = points.bayes_point(p_target, c_miss, c_fa)
    return float(points.misses[at] / points.n_targets)


AREA = Metric(
    "area", "AUC", area, "area under the ROC", lower_is_better=False, least=0.0, most=1.0,
    note="AUC: 1 is perfect.",
)  # fmt: skip
DOUBTED = Metric(
    "doubted", "doubted", doubted, "target trials that are rejected", unit="%", digits=1,
    needs_llr=True, per_point=True, least=0.0, most=1.0,
)  # fmt: skip


@pytest.fixture
def added():
    """Two made-up metrics, in the table while a test runs."""
    for metric in (AREA, DOUBTED):
        add(metric)
    yield
    for metric in (AREA, DOUBTED):
        del METRICS[metric.name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scores of two systems; the second has the order of the first but for noise at its top."""
    folder = tmp_path_factory.mktemp("metric")
    rng = np.random.default_rng(3)
    speakers = [f"spk{i:02d}" for i in range(20)]
    pairs = [(m, f"{s}-{k}") for m in speakers for s in speakers for k in range(3)]
    target = np.array([m == u[:5] for m, u in pairs])
    one = np.where(target, 2.0, -3.0) + 1.6 * rng.normal(size=len(pairs))
    # Every second speaker's trials are worth nothing to it.
    two = np.where(one > 0, 6 * rng.normal(size=len(pairs)), one)
    lines = {"trials": [("nontarget", "target")[int(t)] for t in target]}
    lines |= {"one.scores": [f"{v:.6f}" for v in one], "two.scores": [f"{v:.6f}" for v in two]}
    for name, values in lines.items():
        text = "".join(f"{m} {u} {value}\n" for (m, u), value in zip(pairs, values))
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Run a command in the folder; returns what it printed."""
    monkeypatch.chdir(folder)

    def call(module, *arguments):
        words = [str(a) for a in arguments]
        assert run(module.make_parser(), module.main, words) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def world(folder):
    """Scores, classes and speakers as arrays."""
    trials = read_trials([folder / "trials"])
    scores = align(read_scores([folder / "one.scores"]), trials).values
    told = linked_speakers(trials)
    return scores, trials.labels == TARGET, told.enrol, told.test


def holds(low, value, high):
    return low < value < high


def test_evaluate_shows_an_added_metric(added, call):
    options = ("--llr", "--points", "0.01", "0.3:2:1", "--bootstrap", 60, "--json", "e.json")
    out = call(evaluate, "one.scores", "two.scores", "trials", *options)
    errors, ratios = out.split("\n\n")
    head, first = errors.splitlines()[:2]
    assert head.split()[-1] == "AUC" and first.endswith("]")
    assert (
        "doubted(0.01) %" in ratios
        and "doubted(0.3:2:1) %" in ratios
        and "AUC: 1 is perfect." in ratios
    )
    row = json.loads(Path("e.json").read_text())["systems"][0]
    assert holds(row["area_interval"][0], row["area"], row["area_interval"][1])
    for entry in row["doubted"]:
        assert holds(entry["interval"][0], entry["doubted"], entry["interval"][1])
    plain = call(evaluate, "one.scores", "trials", "--bootstrap", 0)
    assert "AUC" in plain and "doubted" not in plain


def test_compare_shows_an_added_metric(added, call):
    options = ("--bootstrap", 60, "--json", "c.json", "--markdown", "c.md", "--llr")
    out = call(compare, "A=one.scores", "B=two.scores", "--trials", "trials", *options)
    line = next(line for line in out.splitlines() if line.split()[0] == "AUC")
    assert " to " in line and "doubted (P_tar 0.01)" in out
    assert "| AUC |" in Path("c.md").read_text()
    (system,) = json.loads(Path("c.json").read_text())["systems"]
    found = {entry["metric"]: entry for entry in system["metrics"]}
    assert holds(found["area"]["low"], found["area"]["difference"], found["area"]["high"])
    assert found["area"]["point"] is None and found["doubted"]["point"] == 0
    # More is better: the first has the larger area, and is called the better.
    assert found["area"]["difference"] < 0 and found["area"]["p_value"] < 0.05
    better = next(line for line in out.splitlines() if line.startswith("A is better in"))
    assert "AUC" in better


def test_fuse_and_calibrate_show_and_guard_an_added_metric(added, call):
    options = ("--bootstrap", 60, "--json", "f.json", "--points", "0.5")
    out = call(fuse, "one.scores", "two.scores", "trials", *options)
    head = next(line for line in out.splitlines() if line.startswith("on unseen speakers"))
    assert "AUC" in head and "doubted(P_tar 0.5) %" in head
    record = json.loads(Path("f.json").read_text())
    values = record["cross_validation"]
    assert values["fused"]["area"] < values["alone"]["one"]["area"]
    finding = next(one for one in record["guard"] if one["metric"] == "AUC")
    low, high = finding["interval"]
    assert finding["best_part"] == "one" and holds(low, finding["fused"] - finding["best"], high)
    assert "fused AUC" in out and "worse by 0." in out
    out = call(calibrate, "one.scores", "trials", "--json", "k.json")
    assert "AUC" in out and "doubted(P_tar 0.01) %" in out
    record = json.loads(Path("k.json").read_text())["cross_validation"]
    assert record["before"]["area"] > 0.9 and len(record["calibrated"]["doubted"]) == 1


def test_guard_is_certain_of_what_is_less_where_more_is_better(added):
    def found(name, low, high):
        return Finding((name, 0), "", 0.0, None, Interval((low + high) / 2, low, high, 0.95))

    assert found("area", -0.2, -0.1).certain and not found("area", -0.2, 0.1).certain
    assert not found("area", 0.1, 0.2).certain and found("eer", 0.1, 0.2).certain
    assert found("eer", np.float64(0.1), np.float64(0.2)).certain is True  # as JSON has it


def test_report_shows_an_added_metric(added, call):
    call(
        report, "one.scores", "two.scores", "trials", "--llr", "--bootstrap", 60, "--out", "r.html"
    )
    page, text = Path("r.html").read_text(), Path("r.md").read_text()
    assert ">AUC<" in page and "<dt>AUC</dt>" in page
    assert "| AUC |" in text and "- **AUC**: area under the ROC." in text
    assert "above zero is worse, but better in AUC" in text
    content = json.loads(Path("r.json").read_text())
    first, second = (row["area"] for row in content["systems"])
    assert holds(first["low"], first["estimate"], first["high"])
    digits = told_digits(METRICS["area"], [first, second])
    assert f"**{first['estimate']:.{digits}f}**" in text and first["estimate"] > second["estimate"]
    assert content["systems"][0]["doubted"][0]["low"] is not None
    differences = content["comparison"]["systems"][0]["metrics"]
    assert {"area", "doubted"} <= {entry["metric"] for entry in differences}


def test_recipe_shows_an_added_metric(added, world, folder):
    scores, target, *sides = world
    trials = read_trials([folder / "trials"])
    scored = align(read_scores([folder / "one.scores"]), trials)
    result = bootstrap_interval(scores, target, *sides, p_target=P_TARGET, n_bootstrap=60)
    row = Row("one", "all", scored, result)
    head, _, line = table([row]).splitlines()[:3]
    assert head.split("|")[-2].strip() == "AUC" and "[" in line.split("|")[-2]
    record = row.record()
    assert holds(record["area_interval"][0], record["area"], record["area_interval"][1])
    from fusion.report.make import make_report

    made = make_report(
        target, *sides, {"one": scores}, llr=["one"], n_bootstrap=60,
        points=[OperatingPoint(p) for p in P_TARGET],
    )  # fmt: skip
    head = llr_table(made).splitlines()[0]
    assert "AUC" in head and "doubted(0.001) %" in head


def test_intervals_of_an_added_metric(added, world):
    """Bootstrap, analytic and DeLong's interval of the area are of one width."""
    found = bootstrap_interval(*world, points=POINTS, llr=True, n_bootstrap=300)
    fast = analytic_interval(*world, points=POINTS, llr=True)
    assert found.area.estimate == fast.area.estimate
    width, other = (one.area.high - one.area.low for one in (found, fast))
    assert width == pytest.approx(other, rel=0.3)
    assert found.column(("area", 0)).mean() == pytest.approx(found.area.estimate, abs=0.005)
    assert len(found.doubted) == len(fast.doubted) == 2
    same = paired_bootstrap(world[0], world[0] + 1, *world[1:], n_bootstrap=60)
    assert same.differences["area", 0].p_value == 1.0


def test_the_table_as_it_is_stays_first(world):
    """What is added comes last, and moves no number of today's metrics."""
    before = bootstrap_interval(*world, points=POINTS, llr=True, n_bootstrap=60)
    add(AREA)
    try:
        after = bootstrap_interval(*world, points=POINTS, llr=True, n_bootstrap=60)
    finally:
        del METRICS["area"]
    for key, one in before.intervals.items():
        assert after.intervals[key] == one


@pytest.mark.parametrize("shared", [True, False])
def test_weighted_trials_are_copies(added, world, shared):
    scores, target, enrol, test = world
    scores = np.round(scores, 1)
    system = System(scores, target, number_units(enrol, test, shared), POINTS, True)
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, 3, (3, n)) for n in system.units.sizes]
    draws[0][2], draws[-1][2] = 0, 0
    values, _ = system.weighted(draws)
    assert np.isnan(values[2]).all()
    for r in range(2):
        copies = draws[0][r, enrol] * draws[-1][r, test]
        if shared:
            copies = np.where(enrol == test, draws[0][r, enrol], copies)
        many, labels = np.repeat(scores, copies), np.repeat(target, copies)
        points = OperatingPoints(many[labels], many[~labels])
        for value, (metric, at) in zip(values[r], system.asked):
            assert value == pytest.approx(metric.measure(points, at), abs=1e-12)


def test_numerical_influence_is_that_of_the_formula(world):
    scores, target, *sides = world
    points = OperatingPoints(scores[target], scores[~target])
    exact, found = placements(points), cost_of_neighbours(area, points)
    for one, two in zip(exact, found):
        assert len(one) == len(two) and np.std(one - two) < 0.2 * np.std(one)
    # Of metrics that have a formula in the table, too, though they jump at a threshold.
    for metric in (METRICS["cllr"], METRICS["act_dcf"], METRICS["eer"]):
        bare = Metric("bare", "bare", metric.function, "", per_point=metric.per_point)
        add(bare)
        try:
            system = System(scores, target, number_units(*sides, True), POINTS[1:], True)
            found = dict(zip(system.keys, variances(unit_sums(system))))
        finally:
            del METRICS["bare"]
        assert found["bare", 0] == pytest.approx(found[metric.name, 0], rel=0.15)


def test_scores_of_one_value_have_no_influence():
    points = OperatingPoints(np.zeros(5), np.zeros(7))
    costs = cost_of_neighbours(area, points)
    assert not costs.tar.any() and not costs.non.any()
    assert (len(costs.tar), len(costs.non)) == (5, 7)


def test_optimism_of_what_is_better_when_more(world):
    """A metric that is largest over thresholds is too large."""
    scores, target, enrol, test = world

    def right(points):
        p_miss, p_fa, _ = points.rates()
        return float(1 - np.min(p_miss + p_fa) / 2)

    best = Metric(
        "right", "right", right, "", lower_is_better=False, choice=Choice(lambda _: (1, 1))
    )
    add(best)
    try:
        system = System(scores, target, number_units(enrol, test, True), [], False)
        gained = optimism(system, 20, np.random.default_rng(0))
    finally:
        del METRICS["right"]
    assert gained[system.keys.index(("right", 0))] < 0 < gained[system.keys.index(("eer", 0))]


def test_plain_scale(added):
    scale = Scale("area", 1e-3, 0.0, 10)
    assert scale.to(0.7) == scale.back(0.7) == 0.7 and scale.back(1.2) == 1.0
    found = interval(scale, 0.9, 0.0, 0.02, 1e6, 0.95)
    assert (found.low, found.high) == pytest.approx((0.9 - 0.0392, 0.9 + 0.0392), abs=1e-4)


def test_orders_and_refusals():
    assert statistics(2, False) == [("eer", 0), ("min_dcf", 0), ("min_dcf", 1), ("min_cllr", 0)]
    llr = [("cllr", 0), ("act_dcf", 0), ("act_dcf", 1)]
    assert statistics(2, True) == statistics(2, False) + llr
    assert [key[0] for key in columns(1)] == ["eer", "min_dcf", "act_dcf", "cllr", "min_cllr"]
    assert [key[0] for key in points_last(1)] == ["eer", "cllr", "min_cllr", "min_dcf", "act_dcf"]
    with pytest.raises(ValueError, match="is no identifier"):
        add(Metric("two words", "2", area, ""))
    with pytest.raises(ValueError, match="there is a metric eer"):
        add(Metric("eer", "other", area, ""))
    with pytest.raises(ValueError, match=r"there is a metric eer \(EER\)"):
        add(Metric("other", "EER", area, ""))


# Where a metric of the table is named nevertheless, and why.
NAMED = {
    "fusion/metrics/table.py": "the table",
    "fusion/metrics/rates.py": "the functions",
    "fusion/metrics/curve.py": "the functions, of one sort",
    "fusion/intervals/kernels.py": "which metrics the kernel computes, by column",
    "fusion/plots/det.py": "a DET plot marks the EER",
    "fusion/report/figures.py": "a DET plot marks the EER",
    "fusion/forensic/validation.py": "measures of a forensic validation",
    "fusion/forensic/words.py": "measures of a forensic validation",
    "fusion/calibration/grades.py": "calibration is graded by its loss, which is of Cllr",
    "fusion/calibration/wording.py": "calibration is graded by its loss, which is of Cllr",
    "fusion/terminal/fuse_guard.py": "a training is chosen by Cllr",
    "fusion/terminal/fuse_text.py": "a training is chosen by Cllr",
    "fusion/report/make.py": "how many errors the EER rests on",
}


def test_metrics_are_named_in_the_table_alone():
    """Names and symbols stand as literals, attributes or arguments only where stated above."""
    words = {word for m in METRICS.values() for word in (m.name, m.symbol, m.heading())}
    where = set()
    for path in [*(ROOT / "fusion").rglob("*.py"), ROOT / "recipes/steps/report.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = (
                (isinstance(node, ast.Constant) and node.value in words)
                or (isinstance(node, ast.Attribute) and node.attr in METRICS)
                or (isinstance(node, ast.keyword) and node.arg in METRICS)
            )
            if named:
                where.add(path.relative_to(ROOT).as_posix())
    assert where == set(NAMED)
