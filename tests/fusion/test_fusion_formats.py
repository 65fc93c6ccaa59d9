"""Score files and trial lists: all orders read, matched by ids, defects named by file and line."""

import gzip
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.formats import matching, parsing, records
from fusion.formats.files import align, read_scores, read_trials, write_scores
from ivector.base.errors import DataError, UsageError

PAIRS = [("spk1", "utt_a", 1.5), ("spk1", "utt_b", -2.0), ("spk2", "utt_a", 0.25)]
TRIALS = "spk1 utt_a target\nspk1 utt_b nontarget\nspk2 utt_a nontarget\n"


@pytest.fixture
def put(tmp_path):
    def write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def as_pairs(scores):
    return [
        (scores.enrol_ids[e], scores.test_ids[t], v)
        for e, t, v in zip(scores.enrol, scores.test, scores.values)
    ]


LAYOUTS = {
    "house": "".join(f"{e} {t} {s:.6f}\n" for e, t, s in PAIRS),
    "voxceleb": "".join(f"{s:.6f} {e} {t}\n" for e, t, s in PAIRS),
    "tabs, CRLF, blank lines, no last end": "\r\n\r\n".join(f"{e}\t{t}  {s}" for e, t, s in PAIRS),
    "BOM": "\ufeff" + "".join(f"{e} {t} {s:e}\n" for e, t, s in PAIRS),
}


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_scores(put, text):
    assert as_pairs(read_scores(put(text))) == PAIRS
    assert as_pairs(read_scores(put(gzip.compress(text.encode()), "x.gz"))) == PAIRS


def test_numeric_ids(put):
    text = "0024 000240115 2.5\n0024 17 -1.0\n"
    assert as_pairs(read_scores(put(text))) == [("0024", "000240115", 2.5), ("0024", "17", -1.0)]
    ambiguous = put("1 a 2\n3 b 4\n")
    with pytest.raises(DataError, match=r"line 1: both.*`score_column`"):
        read_scores(ambiguous)
    assert as_pairs(read_scores(ambiguous, "first")) == [("a", "2", 1.0), ("b", "4", 3.0)]
    assert as_pairs(read_scores(ambiguous, "last")) == [("1", "a", 2.0), ("3", "b", 4.0)]
    with pytest.raises(UsageError):
        read_scores(ambiguous, "middle")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (TRIALS, [1, 0, 0]),
        ("1 spk1 utt_a\n0 spk1 utt_b\n0 spk2 utt_a\n", [1, 0, 0]),
        ("-1 spk1 utt_a\n-1 spk1 utt_b\n1 spk2 utt_a\n", [-1, -1, 1]),
        ("spk1 utt_a 1\nspk1 utt_b 0\nspk2 utt_a 0\n", [1, 0, 0]),
        ("spk1 utt_a\nspk1 utt_b\nspk2 utt_a\n", [-1, -1, -1]),
        ("1 0 target\n1 1 nontarget\n0 0 nontarget\n", [1, 0, 0]),
    ],
)
def test_layouts_of_trials(put, text, labels):
    trials = read_trials(put(text))
    np.testing.assert_array_equal(trials.labels, labels)
    assert trials.enrol.tolist() == [0, 0, 1] and trials.test.tolist() == [0, 1, 0]


def test_several_files_are_one(put):
    first, second = put(LAYOUTS["house"], "one"), put("0.5 spk3 utt_a\n", "two")
    scores = read_scores([first, second])
    assert as_pairs(scores) == [*PAIRS, ("spk3", "utt_a", 0.5)]
    assert scores.origin.where(2) == f"{first}, line 3"
    assert scores.origin.where(3) == f"{second}, line 1"
    with pytest.raises(UsageError):
        read_scores([])


BAD_SCORES = {
    "missing column": (b"a b 1.0\n\na b\n", "line 3: expected 3 columns.*found 2 in 'a b'"),
    "too many columns": (b"a b 1.0 x y\n", "line 1: expected 3 columns.*found 5"),
    "four columns": (b"a b 1.0 x\n", "line 1: of 4 columns"),
    "not a number": (b"a b 1.0\na c 2.0\na d x\n", "line 3: the score 'x' is not a number"),
    "underscore": (b"a b 1.0\na c 1_0\n", "line 2: the score '1_0' is not a number"),
    "NaN": (b"a b 1.0\na c nan\n", "line 2: the score 'nan' is not finite"),
    "infinite": (b"a b -inf\na c 1.0\n", "line 1: the score '-inf' is not finite"),
    "overflow": (b"a b 1e999\n", "line 1: the score '1e999' is not finite"),
    "no number": (b"a b c\n", "line 1: neither"),
    "latin-1": (b"a b 1.0\ncaf\xe9 b 1.0\n", "line 2: not UTF-8"),
    "zero byte": (b"a b 1.0\na\0 b 1.0\n", "line 2: has a zero byte"),
    "empty": (b"", "is empty"),
    "blank": (b" \n\t\r\n", "is empty"),
    "cut gzip": (gzip.compress(b"a b 1.0\n" * 99)[:-12], "cannot be read"),
    "bad gzip": (b"\x1f\x8bxxxxxxxxxxxxxxx", "cannot be read"),
    "no line ends": (b"x" * ((1 << 20) + 1) * 9, "line 1: is longer than 1 MiB"),
}


@pytest.mark.parametrize(("content", "message"), BAD_SCORES.values(), ids=BAD_SCORES)
def test_bad_scores(put, content, message):
    path = put(content)
    with pytest.raises(DataError, match=message) as caught:
        read_scores(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b target\na c Tarmac\n", "line 2: label 'Tarmac', expected one of target, nontarget"),
        ("1 a b\n2 a c\n1 a d\n", "line 2: label '2'"),
        ("a b x\n", "neither the first nor the last column could be the label"),
        ("1 a 0\n", "both the first and the last column could be the label"),
        ("a b target\na c\n", "line 2: expected 3 columns"),
        ("a\n", "line 1: expected 3 columns"),
    ],
)
def test_bad_trials(put, text, message):
    with pytest.raises(DataError, match=message):
        read_trials(put(text))


def test_unreadable(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_trials(path)


def test_align_goes_by_ids(put):
    trials = read_trials(put(TRIALS, "trials"))
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        text = "".join("{} {} {}\n".format(*PAIRS[i]) for i in order)
        scored = align(read_scores(put(text, "scores")), trials)
        np.testing.assert_array_equal(scored.values, [1.5, -2.0, 0.25])
    tar, non = scored.split()
    assert tar.tolist() == [1.5] and non.tolist() == [-2.0, 0.25]


def lines(*rows):
    return "".join(f"{row}\n" for row in rows)


HOUSE = ["spk1 utt_a 1.5", "spk1 utt_b -2.0", "spk2 utt_a 0.25"]
KEY = TRIALS.splitlines()


@pytest.mark.parametrize(
    ("scores", "trials", "message"),
    [
        (HOUSE[1:], KEY, r"1 of 3 trials of .*trials have no score in .*scores, first "
         r"'spk1 utt_a' \(.*trials, line 1\); score them"),
        (["x y 1.0"], KEY, "3 of 3 trials .* have no score"),
        ([*HOUSE, "spk2 utt_b 9.0"], KEY, r"1 scores .*belong to no.*'spk2 utt_b' \(.*line 4"),
        ([*HOUSE, "new utt_b 9.0"], KEY, r"1 scores .*belong to no trial.*'new utt_b' \(.*line 4"),
        ([*HOUSE, HOUSE[0]], KEY, r"1 scores of .* repeat .*'spk1 utt_a' \(.*line 4\).*`allow_dup"),
        ([*HOUSE, "spk1 utt_a 7.0"], KEY, "1 scores of .* contradict an earlier score.*line 4"),
        (HOUSE, [*KEY, KEY[1]], r"1 trials of .* repeat .*'spk1 utt_b' \(.*trials, line 4\)"),
        (HOUSE, [*KEY, "spk1 utt_a nontarget"], "1 trials of .* contradict an earlier label.*4"),
    ],
)  # fmt: skip
def test_align_names_defects(put, scores, trials, message):
    given = read_scores(put(lines(*scores), "scores"))
    key = read_trials(put(lines(*trials), "trials"))
    with pytest.raises(DataError, match=message):
        align(given, key)


def test_align_when_allowed(put):
    scores = read_scores(put(lines(*HOUSE, HOUSE[0], "other utt_a 9.0"), "scores"))
    trials = read_trials(put(lines(*KEY, KEY[0]), "trials"))
    scored = align(scores, trials, subset=True, allow_duplicates=True)
    np.testing.assert_array_equal(scored.values, [1.5, -2.0, 0.25, 1.5])
    contradictory = read_scores(put(lines(*HOUSE, "spk1 utt_a 7.0"), "scores"))
    with pytest.raises(DataError, match="contradict"):
        align(contradictory, trials, subset=True, allow_duplicates=True)


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (
            ["-1 spk1 utt_a", "0 spk1 utt_b", "1 spk2 utt_a"],
            "1 of 3 trials .*unknown label.*line 1",
        ),
        (["0 spk1 utt_a", "0 spk1 utt_b", "0 spk2 utt_a"], "has no target trials"),
        (["1 spk1 utt_a", "1 spk1 utt_b", "1 spk2 utt_a"], "has no nontarget trials"),
    ],
)
def test_split_needs_both_classes(put, trials, message):
    scored = align(read_scores(put(lines(*HOUSE))), read_trials(put(lines(*trials), "trials")))
    with pytest.raises(DataError, match=message):
        scored.split()


def test_small_blocks_give_the_same(put, monkeypatch):
    text = "".join(f"é{i % 7} u{i}\t{i / 8}\r\n" + "\n" * (i % 3) for i in range(200))
    whole = read_scores(put(text))
    for size in (1, 7, 64):
        monkeypatch.setattr(records, "BLOCK_BYTES", size)
        monkeypatch.setattr(parsing, "FAST_BYTES", 1 << (size % 64))
        part = read_scores(put(text))
        assert as_pairs(part) == as_pairs(whole)
        assert [part.origin.where(i) for i in (0, 99, 199)] == [
            whole.origin.where(i) for i in (0, 99, 199)
        ]


def test_write_and_read_back(tmp_path):
    ids = [f"é{i}" for i in range(70_000)]
    values = np.random.default_rng(0).normal(size=len(ids)) * 30
    path = tmp_path / "deep" / "scores"
    write_scores(path, ids, (f"t{i}" for i in ids), values)
    back = read_scores(path)
    assert back.enrol_ids == ids
    np.testing.assert_array_equal(back.values, values)
    assert path.read_text().splitlines()[0] == f"é0 té0 {float(values[0])}"
    for name in ("a.gz", "b.gz"):
        write_scores(tmp_path / name, ids, (f"t{i}" for i in ids), iter(values.tolist()))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == path.read_bytes()


@pytest.mark.parametrize(
    ("enrol", "scores", "message"),
    [
        (["a"], [np.nan], "score of 'a t' is nan"),
        (["a b"], [1.0], "'a b' is empty or has a blank"),
        ([""], [1.0], "is empty or has a blank"),
        (["a"], [1.0, 2.0], "not as many"),
        (["\ud800"], [1.0], "UTF-8"),
    ],
)
def test_write_refuses(tmp_path, enrol, scores, message):
    with pytest.raises(DataError, match=message):
        write_scores(tmp_path / "scores", enrol, ["t"], np.array(scores))
    assert not os.listdir(tmp_path)


WORDS = st.sampled_from(
    ["a", "b", "1", "0", "-1", "1.5", "nan", "1_0", "target", "nontarget", "é", "x" * 30]
)
LINES = st.lists(WORDS, max_size=4).map(" ".join)
TEXTS = st.one_of(
    st.binary(max_size=200), st.text(max_size=200), st.lists(LINES, max_size=8).map("\n".join)
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(scores=TEXTS, trials=TEXTS)
def test_any_content_is_read_or_refused(put, scores, trials):
    """Nothing but DataError, of one line, comes out of any two files."""
    try:
        found = align(
            read_scores(put_any(put, scores, "s")), read_trials(put_any(put, trials, "t"))
        )
        assert len(found.values) == len(found.trials)
    except DataError as error:
        assert "\n" not in str(error)


def put_any(put, content, name):
    return put(content if isinstance(content, bytes) else content.encode("utf-8", "replace"), name)


@pytest.fixture(params=["plain code", "kernels"])
def speed(request, monkeypatch):
    monkeypatch.setattr(parsing, "FAST_BYTES", 0 if request.param == "kernels" else 1 << 60)


TABLES = {
    "spreadsheet": ("Enrol,Test,Score\n", ",", "{e},{t},{s}"),
    "semicolons, other order": ("llr; segment-id; model_id\n", ";", "{s}; {t}; {e}"),
    "NIST output": ("modelid\tsegmentid\tside\tLLR\n", "\t", "{e}\t{t}\ta\t{s}"),
    "blanks": ("enrolment test score\n", " ", "{e} {t} {s}"),
    "empty columns": ("note,enroll,test,llr,\n", ",", ",{e},{t},{s},"),
    "no header": ("", ",", "{e},{t},{s}"),
    "no header, blanks after commas": ("", ",", "{s}, {e}, {t}"),
    "quotes": ("enroll,test,score\n", ",", '"{e}","{t}",{s}'),
}


@pytest.mark.parametrize(("header", "mark", "form"), TABLES.values(), ids=TABLES)
def test_tables_of_scores(put, speed, header, mark, form):
    text = header + "".join(form.format(e=e, t=t, s=s) + "\r\n" for e, t, s in PAIRS)
    scores = read_scores(put("\ufeff" + text))
    assert as_pairs(scores) == PAIRS
    assert scores.origin.where(2).endswith(f"line {3 + bool(header)}")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("modelid\tsegmentid\tside\ttargettype\n{}\tx\ta\ttarget\n{}\ty\ta\tnontarget\n", [1, 0]),
        ("label,enrol,test\n1,{},x\n0,{},y\n", [1, 0]),
        ("enrol,test,key\n{},x,TGT\n{},y,imp\n", [1, 0]),
        ("enrol;test;is_target\n{};x;True\n{};y;False\n", [1, 0]),
        ("enrol test key\n{} x -1\n{} y 1\n", [-1, 1]),
        ("model,segment\n{},x\n{},y\n", [-1, -1]),
        ("{},x\n{},y\n", [-1, -1]),
        ("target {} x\nnontarget {} y\n", [1, 0]),
    ],
)
def test_tables_of_trials(put, speed, text, labels):
    trials = read_trials(put(text.format("é m" if "," in text.partition("{}")[0] else "m", "m")))
    assert trials.labels.tolist() == labels
    assert trials.test_ids == ["x", "y"]


BAD_TABLES = {
    "no score": ("enrol,test,label\na,b,1\n", "line 1: the header names no column of scores"),
    "no lines": ("enrol,test,score\n\n", "has a header and no lines"),
    "mixed": ("a,b,1\na b 2\n", "line 2: expected 3 columns.*delimited otherwise"),
    "mixed blanks": ("a b 1\n\na,b,2\n", "line 3: expected 3 columns.*delimited otherwise"),
    "header and blanks": ("enrol,test,score\na b 2\n", "line 2: expected 3 columns as in the head"),
    "too few": ("enrol,test,x,score\na,b,2\n", "line 2: expected 4 columns as in the header"),
    "no id": ("enrol,test,score\na,b,2\n,b,2\n", "line 3: the enrolment id is empty"),
    "no number": ("enrol,test,score\na,b,\n", "line 2: the score or label is empty"),
    "large": ("a b 1.0\na c -1e60\n", r"line 2: the score -1e\+60 is impossibly large"),
    "quote": ('enrol,test,score\n"a,b,2\n', "line 2: a quoted cell is damaged"),
    "NaN": ("score,enrol,test\n1,a,b\n\nnan,a,c\n", "line 4: the score 'nan' is not finite"),
}


@pytest.mark.parametrize(("text", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_tables(put, speed, text, message):
    with pytest.raises(DataError, match=message):
        read_scores(put(text))


CELLS = st.sampled_from(
    ["a", "bb", "é", "", "1", "-1", "1.5", ".5", "5.", "1e3", "1E-2", "nan", "1_0", "x y", '"q"',
     "target", "0.1234567890123456789", "1e400", "9007199254740993", "+2", "-", "."]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    mark=st.sampled_from([" ", ",", ";", "\t", ", "]),
    end=st.sampled_from(["\n", "\r\n", "\n \n"]),
    head=st.sampled_from(["", "enrol,test,score", "score,enrol,x,test"]),
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=4), min_size=1, max_size=8),
    last=st.booleans(),
)
def test_kernels_read_what_plain_code_reads(tmp_path_factory, mark, end, head, rows, last):
    records = [head.split(","), *rows] if head else rows
    path = tmp_path_factory.mktemp("any", numbered=True) / "file"
    path.write_text(end.join(mark.join(cells) for cells in records) + end * last)
    for read in (read_scores, read_trials):
        found = []
        for fast in (0, 1 << 60):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(parsing, "FAST_BYTES", fast)
                try:
                    table = read(path)
                    lines = [table.origin.where(i) for i in range(len(table))]
                    values = getattr(table, "values", getattr(table, "labels", None)).tolist()
                    found.append((table.enrol_ids, table.test_ids, values, lines))
                except DataError as error:
                    found.append(str(error))
        assert found[0] == found[1]


def test_kernel_rounds_numbers_as_python():
    from fusion.formats.kernels import parse_numbers

    rng = np.random.default_rng(0)
    numbers = rng.normal(size=20_000) * 10.0 ** rng.integers(-9, 9, 20_000)
    texts = [f"{x:.{n}{kind}}" for x, n, kind in zip(
        numbers.tolist(), rng.integers(0, 19, len(numbers)), rng.choice(["f", "e", "g"], 20_000)
    )] + [repr(x) for x in numbers.tolist()]  # fmt: skip
    # Halfway between two float64, and next to it.
    texts += [str(2**53 + 1), str(2**60 + 128), "9007199254740993.0", "9007199254740993.1"]
    data = "\n".join(texts).encode()
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    values, hard = np.empty(len(texts)), np.empty(len(texts), np.int64)
    n_hard = parse_numbers(np.frombuffer(data, np.uint8), starts, ends, values, hard)
    done = np.ones(len(texts), bool)
    done[hard[:n_hard]] = False
    assert done.mean() > 0.75
    np.testing.assert_array_equal(values[done], np.array([float(t) for t in texts])[done])


def test_ids_keep_their_numbers_when_tables_grow():
    interner, rng = records.Interner(), np.random.default_rng(0)
    expected: dict[bytes, int] = {}
    for turn in range(6):
        words = [b"%d" % n * (n % 40) for n in rng.integers(0, 4000, 5000)]
        codes = [expected.setdefault(word, len(expected)) for word in words]
        if turn in (0, 3):
            found = interner.codes(words)
        else:
            ends = np.cumsum([len(word) for word in words])
            starts = ends - [len(word) for word in words]
            found = interner.codes_of(np.frombuffer(b"".join(words), np.uint8), starts, ends)
        np.testing.assert_array_equal(found, codes)
    assert [word.encode() for word in interner.ids()] == list(expected)
    assert len(interner) == len(expected)


@pytest.mark.parametrize(
    "text",
    ["a x 1.5 target\nb x -0.25 nontarget\nb y 1 target\n",
     "a x 1 1.5\nb x 0 -0.25\nb y 1 1\n", "a,x,1,1.5\nb,x,0,-0.25\nb,y,1,1.0\n"],
)  # fmt: skip
def test_labels_and_scores_in_one_file(tmp_path, text):
    path = tmp_path / "both"
    path.write_text(text)
    scored = align(read_scores(path), read_trials(path))
    assert scored.values.tolist() == [1.5, -0.25, 1.0]
    assert scored.trials.labels.tolist() == [1, 0, 1]


def test_four_columns_of_something_else(tmp_path):
    path = tmp_path / "four"
    path.write_text("a x 1.5 0.5\nb x 0.2 0.25\n")
    with pytest.raises(DataError, match="line 1: of 4 columns"):
        read_scores(path)


@pytest.mark.parametrize("n_ids", [3, 40, 10_000])
def test_pairs_are_found_by_kernels_as_by_sorting(monkeypatch, n_ids):
    rng = np.random.default_rng(n_ids)
    one, two = rng.integers(0, n_ids, (2, 500), np.int32)
    wanted = rng.integers(-1, n_ids + 2, (2, 400), np.int32)
    plain = matching.PairIndex(one, two)
    monkeypatch.setattr(matching, "LARGE_ROWS", 0)
    fast = matching.PairIndex(one, two)
    places = {}
    for row, pair in enumerate(zip(one.tolist(), two.tolist())):
        places.setdefault(pair, row)
    expected = [places.get(pair, -1) for pair in zip(*wanted.tolist())]
    for index in (plain, fast):
        assert index.first.tolist() == [places[pair] for pair in zip(one.tolist(), two.tolist())]
        assert index.find(*wanted).tolist() == expected


def test_large_tables_are_aligned_as_small_ones(put, monkeypatch):
    scores = read_scores(put(lines(*HOUSE[::-1], "other utt_a 9.0"), "scores"))
    trials = read_trials(put(lines(*KEY), "trials"))
    monkeypatch.setattr(matching, "LARGE_ROWS", 0)
    assert align(scores, trials, subset=True).values.tolist() == [1.5, -2.0, 0.25]
    twice = read_scores(put(lines(*HOUSE, "spk1 utt_a 7.0"), "scores"))
    with pytest.raises(DataError, match=r"1 scores of .* contradict an earlier score.*line 4"):
        align(twice, trials)
