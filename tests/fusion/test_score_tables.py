"""Tables of scores of any make: read right or refused, and nothing is chosen silently."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion import calibrate, compare, evaluate, fuse, lint, report
from fusion.formats import parsing
from fusion.formats.files import align, read_scores, read_trials
from fusion.formats.headers import ENROL, LABEL, SCORE, TEST, TEST_SIDE, plain
from ivector.base.cli import run
from ivector.base.errors import DataError, UserError

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "scores"
LABELS = {"m0 s0": 1, "m0 s1": 0, "m1 s0": 0, "m1 s1": 1, "m2 s0": 0, "m2 s1": 0}
ANYTHING = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=["plain code", "kernels"])
def speed(request, monkeypatch):
    monkeypatch.setattr(parsing, "FAST_BYTES", 0 if request.param == "kernels" else 1 << 60)


def dressed(name, draw):
    """A name of a column as somebody else writes it."""
    name = draw(st.sampled_from([str.upper, str.title, str.lower]))(name)
    return draw(st.sampled_from(["{}", " {} ", "{}_"])).format(name).strip()


@st.composite
def tables(draw):
    """Text of a table of scores with a header, what was right, and what makes it unclear."""
    roles = {
        "enrol": sorted(ENROL), "test": sorted(TEST), "score": sorted(SCORE),
        "side": sorted(TEST_SIDE), "label": sorted(LABEL), "other": ["note", "snr", "row"],
    }  # fmt: skip
    mark = draw(st.sampled_from([",", ";", "\t", " "]))
    kinds = ["enrol", "test", "score", *draw(st.lists(st.sampled_from(list(roles)), max_size=4))]
    columns = [(kind, dressed(draw(st.sampled_from(roles[kind])), draw)) for kind in kinds]
    columns = draw(st.permutations(columns))
    comma = draw(st.sampled_from([False, False, True]))
    always = draw(st.booleans())
    sides = ["a", "b"] if any(kind == "side" for kind in kinds) else [""]
    right, lines = {}, []
    for pair, label in LABELS.items():
        model, segment = pair.split()
        for side in sides:
            score = float(draw(st.integers(-40, 40))) / 8
            right[model, f"{segment}:{side}" if side else segment] = score
            cell = {
                "enrol": model, "test": segment, "side": side, "other": "x",
                "score": f"{score:.3f}".replace(".", "," if comma else "."),
                "label": "target" if label else "nontarget",
            }  # fmt: skip
            # A second column of a role holds something else, so that the choice is seen.
            seen, cells = set(), []
            for kind, _ in columns:
                cells.append(cell[kind] if kind not in seen else {"label": "1"}.get(kind, "7.5"))
                seen.add(kind)
            lines.append([f'"{c}"' if always or draw(st.booleans()) else c for c in cells])
    header = [f'"{name}"' if always else name for _, name in columns]
    text = "".join(mark.join(row) + "\n" for row in [header, *lines])
    several = [kind for kind in kinds if kind != "other" and kinds.count(kind) > 1]
    return text, right, several, comma


@ANYTHING
@given(table=tables())
def test_tables_with_a_header(speed, tmp_path, table):
    text, right, several, comma = table
    path = tmp_path / "scores"
    path.write_text(text)
    try:
        scores = read_scores(path)
    except DataError as error:
        assert several or comma, f"{error}\n{text}"
        assert "\n" not in str(error)
        return
    assert not several and not comma, text
    pairs = zip(scores.enrol, scores.test, scores.values)
    found = {(scores.enrol_ids[e], scores.test_ids[t]): v for e, t, v in pairs}
    assert found == right


@st.composite
def bare_tables(draw):
    """Text without a header, what is right, and whether it has decimal commas."""
    mark = draw(st.sampled_from([",", ";", "\t", " ", ", "]))
    form = draw(st.sampled_from([["e", "t", "s"], ["s", "e", "t"], ["e", "t", "s", "l"],
                                 ["e", "t", "l", "s"]]))  # fmt: skip
    comma, quoted = draw(st.booleans()), draw(st.booleans())
    number = draw(st.sampled_from(["{:.3f}", "{:+.1e}", "{:.6f}"]))
    digits = draw(st.booleans())
    right, lines = {}, []
    for pair, label in LABELS.items():
        model, segment = pair.split()
        score = float(number.format(draw(st.integers(-40, 40)) / 8))
        right[model, segment] = score
        shown = number.format(score).replace(".", "," if comma else ".")
        cell = {"e": model, "t": segment, "s": shown, "l": str(label)}
        if not digits:
            cell["l"] = ["nontarget", "target"][label]
        lines.append(mark.join(f'"{cell[c]}"' if quoted else cell[c] for c in form))
    return "".join(f"{line}\n" for line in lines), right, comma


@ANYTHING
@given(table=bare_tables())
def test_tables_without_a_header(speed, tmp_path, table):
    text, right, comma = table
    path = tmp_path / "scores"
    path.write_text(text)
    if comma:
        with pytest.raises(DataError, match="decimal comma"):
            read_scores(path)
        return
    scores = read_scores(path)
    pairs = zip(scores.enrol, scores.test, scores.values)
    assert {(scores.enrol_ids[e], scores.test_ids[t]): v for e, t, v in pairs} == right


def put(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_columns_are_chosen_by_name(tmp_path):
    path = put(tmp_path, "two", "enrol,test,score,LLR,key,class\na,b,1.5,2.5,target,0\n")
    with pytest.raises(DataError, match="2 columns could be the score, 'score' and 'LLR'; choose"):
        read_scores(path, label_column="key")
    with pytest.raises(DataError, match="2 columns could be the label, 'key' and 'class'"):
        read_scores(path, "LLR")
    with pytest.raises(DataError, match="2 columns could be the label"):
        read_trials(path)
    for name in ("LLR", "llr"):
        assert read_scores(path, name, "key").values.tolist() == [2.5]
    assert read_scores(path, "score", "key").labels.tolist() == [1]
    assert read_trials(path, "class").labels.tolist() == [0]
    with pytest.raises(DataError, match=r"has no column 'plda', .*; there are enrol, test, score"):
        read_scores(path, "plda", "key")
    other = put(tmp_path, "other", "plda enrol test\n0.5 a b\n")
    assert read_scores(other, "plda").values.tolist() == [0.5]
    assert read_scores(other, "first").values.tolist() == [0.5]
    with pytest.raises(UserError, match="names 'test', a column of ids"):
        read_scores(other, "last")
    twice = put(tmp_path, "twice", "enrol,test,score,score\na,b,1.5,2.5\n")
    with pytest.raises(DataError, match="rename one"):
        read_scores(twice, "score")


def test_sides_are_part_of_a_trial(tmp_path):
    both = put(tmp_path, "both", "model segment side LLR\nm s a 1.5\nm s b 0.5\n")
    key = put(tmp_path, "key", "model segment side key\nm s b 0\nm s a 1\n")
    one = put(tmp_path, "one", "model segment side key\nm s b 0\n")
    bare = put(tmp_path, "bare", "m s target\n")
    scores = read_scores(both)
    assert scores.test_ids == ["s:a", "s:b"]
    assert align(scores, read_trials(key)).values.tolist() == [0.5, 1.5]
    assert read_trials(one).test_ids == ["s"]  # as lists without sides call it
    assert align(scores, read_trials(one), subset=True).values.tolist() == [0.5]
    with pytest.raises(DataError, match=r"'s:a' there and 's' here.*is the column of sides one"):
        align(scores, read_trials(bare))
    with pytest.raises(DataError, match=r"'s:a' there and 's:b' here"):
        align(
            read_scores(put(tmp_path, "a", "model segment side LLR\nm s a 1\n")), read_trials(one)
        )
    single = read_scores(put(tmp_path, "a", "model segment side LLR\nm s a 1\n"))
    assert align(single, read_trials(bare)).values.tolist() == [1.0]


def test_sides_of_models_and_of_some_files_only(tmp_path, speed):
    one = put(tmp_path, "one", "utt1,channel1,utt2,channel2,score\nx,1,y,1,0.5\nx,2,y,1,1.5\n")
    two = put(tmp_path, "two", "x z 2.5\n")
    scores = read_scores([two, one])
    assert scores.enrol_ids == ["x", "x:1", "x:2"]
    assert [scores.enrol_ids[e] for e in scores.enrol] == ["x", "x:1", "x:2"]
    assert scores.test_sided == ["z", "y:1"] and scores.test_ids == ["z", "y"]
    clash = put(tmp_path, "clash", "x:1 y 0.5\n")
    with pytest.raises(DataError, match="'x:1' is an id, and another with its side"):
        read_scores([one, clash])


def test_labels_beside_scores_are_held_against_the_list(tmp_path, speed):
    rows = [f"{pair} {label} {label + k / 8}" for k, (pair, label) in enumerate(LABELS.items())]
    words = ["nontarget", "target"]
    lines = [f"{pair} {words[label]}\n" for pair, label in LABELS.items()]
    trials = put(tmp_path, "trials", "".join(lines))
    good = put(tmp_path, "good", "\n".join(rows))
    wrong = put(tmp_path, "wrong", "\n".join(rows[::-1]).replace("m2 s1 0", "m2 s1 1"))
    for order in (good, put(tmp_path, "turned", "\n".join(rows[::-1]))):
        assert len(align(read_scores(order), read_trials(trials)).values) == len(LABELS)
    message = r"1 labels contradict the list: .*wrong.*trials, first 'm2 s1' \(.*wrong, line 1\)"
    with pytest.raises(DataError, match=message):
        align(read_scores(wrong), read_trials(trials))
    unknown = put(tmp_path, "unknown", "\n".join(rows).replace("m2 s1 0", "m2 s1 -1"))
    assert read_scores(unknown).labels.tolist() == [1, 0, 0, 1, 0, -1]
    align(read_scores(unknown), read_trials(trials))


def test_a_column_without_labels_is_none(tmp_path):
    path = put(tmp_path, "scores", "enrol,test,class,score\na,b,male,1.5\na,c,female,0.5\n")
    assert read_scores(path).labels is None


COMMANDS = {
    evaluate: lambda scores, trials, out: [scores, trials],
    lint: lambda scores, trials, out: [scores, trials],
    calibrate: lambda scores, trials, out: [scores, trials],
    fuse: lambda scores, trials, out: [f"a={scores}", f"b={scores}", trials],
    compare: lambda scores, trials, out: [f"a={scores}", f"b={scores}", "--trials", trials],
    report: lambda scores, trials, out: [scores, trials, "--out", out / "page.html"],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    ("name", "told"),
    [("raw_and_llr.csv", "choose one with --score-column"), ("commadec.csv", "decimal comma"),
     ("lab_contra.txt", "labels contradict the list")],
)  # fmt: skip
def test_every_command_refuses(command, name, told, tmp_path, capfd):
    module = command if hasattr(command, "make_parser") else __import__(
        f"{command.__name__}.__main__", fromlist=["main"])  # fmt: skip
    words = COMMANDS[command](CASES / name, CASES / "base.trials", tmp_path)
    assert run(module.make_parser(), module.main, list(map(str, words))) == 1
    said = "".join(capfd.readouterr())
    assert told in said and name in said and "`" not in said


def test_cases_that_are_read(capsys):
    def told(*words):
        assert run(evaluate.make_parser(), evaluate.main, [*words, "--bootstrap", "0"]) == 0
        return capsys.readouterr().out

    base, sides = str(CASES / "base.trials"), CASES / "sre_sides.tsv"
    llr = told(str(CASES / "raw_and_llr.csv"), base, "--llr", "--score-column", "LLR")
    assert all(number in llr for number in ("0.2096", "0.8750", " 2.27 "))
    quoted = told(str(CASES / "r_table_norow.txt"), base)
    assert " 2.27 " in quoted and "0.0625" in quoted
    assert (
        " 256 " in (text := told(str(sides), str(CASES / "sre_sides_key.tsv"))) and " 16 " in text
    )
    scores = read_scores(CASES / "r_table_norow.txt")
    np.testing.assert_array_equal(scores.values, read_scores(CASES / "lab_contra.txt").values)


def test_roles_have_no_name_in_common():
    roles = [ENROL, TEST, SCORE, LABEL, TEST_SIDE]
    names = [name for role in roles for name in role]
    assert len(set(names)) == len(names) and all(plain(name) == name for name in names)
