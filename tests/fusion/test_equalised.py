"""C_primary equalised over partitions: NIST's numbers, the definition written out, the command."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from fusion import PRESETS, align, read_scores, read_trials
from fusion.evaluate import main, make_parser
from fusion.metrics import EqualisedPoints, OperatingPoint, act_dcf, min_dcf
from ivector.base.cli import run
from ivector.base.errors import DataError

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "sre_equalised"
POINT = OperatingPoint(0.1)


def call(*arguments):
    return run(make_parser(), main, [str(a) for a in arguments])


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A key with the columns of SRE 2018, and scores (N,); both classes in most partitions."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    n = 2000
    target = rng.random(n) < 0.3
    table = {
        "num_enroll_segs": rng.choice(["1", "3"], n, p=[0.8, 0.2]),
        "phone_num_match": rng.choice(["Y", "N"], n),
        "gender": rng.choice(["male", "female"], n),
        "source_type": rng.choice(["pstn", "voip"], n, p=[0.9, 0.1]),
    }
    scores = np.round(rng.normal(2.0 * target + 0.5 * (table["gender"] == "male")), 2)
    lines = [
        "\t".join([f"m{k % 30}", f"u{k}", "target" if target[k] else "nontarget", *cells])
        for k, cells in enumerate(zip(*table.values()))
    ]
    head = "\t".join(["modelid", "segmentid", "targettype", *table])
    Path("key.tsv").write_text("\n".join([head, *lines]) + "\n")
    Path("s").write_text("".join(f"m{k % 30} u{k} {scores[k]}\n" for k in range(n)))
    return scores, target, table


def written_out(scores, target, masks, point):
    """Least and actual cost of mean error rates over masks, by their definition."""

    def cost(threshold):
        miss = [np.mean(scores[m & target] < threshold) for m in masks if (m & target).any()]
        accept = [np.mean(scores[m & ~target] >= threshold) for m in masks if (m & ~target).any()]
        return np.mean(miss) + (1 / point.p_target - 1) * np.mean(accept)

    return min(map(cost, [*np.unique(scores), np.inf])), cost(point.threshold)


def test_nist_numbers():
    trials = read_trials(GOLDEN / "key.tsv.gz")
    values = align(read_scores(GOLDEN / "scores.tsv.gz"), trials).values
    with gzip.open(GOLDEN / "key.tsv.gz", "rt") as file:
        cells = [line.split("\t")[4:] for line in file.read().splitlines()[1:]]
    _, codes = np.unique([language + number for language, number in cells], return_inverse=True)
    expected = json.loads((GOLDEN / "expected.json").read_text())
    for name, partition in (("equalised", codes), ("pooled", np.zeros(len(codes), int))):
        found = EqualisedPoints(values, trials.labels == 1, partition, PRESETS["sre16"])
        assert found.least().mean() == pytest.approx(expected[name]["min_c_primary"], abs=1e-9)
        assert found.actual().mean() == pytest.approx(expected[name]["act_c_primary"], abs=1e-9)


def test_nist_numbers_of_the_command(tmp_path, capsys):
    options = ("--points", "sre16", "--llr", "--bootstrap", 20, "--json", tmp_path / "o")
    files = (GOLDEN / "scores.tsv.gz", GOLDEN / "key.tsv.gz")
    assert call(*files, *options, "--partitions", "language", "num_enroll_segs") == 0
    (row,) = json.loads((tmp_path / "o").read_text())["systems"]
    expected = json.loads((GOLDEN / "expected.json").read_text())
    for name, (found,) in ((n, row[n]) for n in ("min_c_primary", "act_c_primary")):
        assert found["c_primary"] == pytest.approx(expected["pooled"][name], abs=1e-9)
        even = found["equalised"]
        assert even["c_primary"] == pytest.approx(expected["equalised"][name], abs=1e-9)
        assert even["interval"][0] < even["c_primary"] < even["interval"][1]
        assert even["n_partitions"] == 4
    out = capsys.readouterr().out
    assert "act C_primary(sre16) equalised" in out and "0.7185 [" in out
    assert "equalised over 4 partitions (language, num_enroll_segs)" in out


def test_definition(key):
    scores, target, table = key
    _, codes = np.unique(table["gender"] + table["num_enroll_segs"], return_inverse=True)
    codes[target & (codes == 1)] = -1  # a partition without targets, and trials that do not count
    masks = [codes == k for k in range(4)]
    found = EqualisedPoints(scores, target, codes, [POINT])
    least, actual = written_out(scores, target, masks, POINT)
    assert found.least() == pytest.approx(least, abs=1e-12)
    assert found.actual() == pytest.approx(actual, abs=1e-12)
    # One partition: the costs of all trials alike.
    alone = EqualisedPoints(scores, target, np.full(len(scores), 7), [POINT])
    tar, non = scores[target], scores[~target]
    assert alone.least() == pytest.approx(min_dcf(tar, non, 0.1), abs=1e-12)
    assert alone.actual() == pytest.approx(act_dcf(tar, non, 0.1), abs=1e-12)


def test_partitions_of_a_preset_without_nontargets_of_the_same_telephone(key, capsys):
    scores, target, table = key
    options = ("--points", "sre18", "--llr", "--bootstrap", 0, "--json", "o")
    assert call("s", "key.tsv", *options) == 0
    assert "equalised over 16 partitions (gender, num_enroll_segs" in capsys.readouterr().out
    (row,) = json.loads(Path("o").read_text())["systems"]
    words = np.array([" ".join(cells) for cells in zip(*table.values())])
    counts = target | (table["phone_num_match"] == "N")
    masks = [(words == word) & counts for word in np.unique(words)]
    costs = [written_out(scores, target, masks, point) for point in PRESETS["sre18"]]
    for name, expected in zip(("min_c_primary", "act_c_primary"), np.mean(costs, axis=0)):
        assert row[name][0]["equalised"]["c_primary"] == pytest.approx(expected, abs=1e-9)
        assert row[name][0]["equalised"]["interval"] is None


def test_columns_of_tables(key, capsys):
    _, _, table = key
    lines = [f"u{k},{word}\n" for k, word in enumerate(table["gender"])]
    Path("t.csv").write_text("id,sex\n" + "".join(lines))
    options = ("--points", "sre16", "--bootstrap", 0, "--json", "o")
    found = []
    for more in (("--columns", "t.csv", "--partitions", "test_sex"), ("--partitions", "Gender")):
        assert call("s", "key.tsv", *options, *more) == 0
        (row,) = json.loads(Path("o").read_text())["systems"]
        found.append(row["min_c_primary"][0]["equalised"]["c_primary"])
    assert found[0] == found[1]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--points", "sre16", "--partitions", "age"), "has a column 'age'"),
        (("--points", "sre10", "--partitions", "gender"), "that has a C_primary"),
        (("--points", "sre16", "--columns", "t.csv"), "--columns: needs --partitions"),
    ],
)
def test_refused_options(key, capsys, options, message):
    assert call("s", "key.tsv", "--bootstrap", 0, *options) == 2
    assert message in capsys.readouterr().err


def test_what_was_not_checked_is_said(key, capsys):
    assert call("s", "key.tsv", "--points", "sre12", "sre16", "sre18", "--bootstrap", 0) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("C_primary")]
    assert "C_primary(sre12): not checked against a scorer's code" in notes[0]
    assert "of all trials alike" in notes[1] and "language" in notes[1]
    assert "equalised" in notes[2] and "checked" not in notes[1] + notes[2]


@pytest.mark.parametrize(
    ("scores", "target", "partition"),
    [
        ([1.0, 2.0], [True, False], [0]),
        ([1.0, 2.0], [True, False], [0.0, 1.0]),
        ([1.0, np.nan], [True, False], [0, 0]),
        ([1.0, 2.0], [True, False], [0, -1]),
        ([1.0, 2.0], [True, True], [0, 0]),
    ],
)
def test_refused_arrays(scores, target, partition):
    with pytest.raises(DataError):
        EqualisedPoints(scores, target, partition, [POINT])
