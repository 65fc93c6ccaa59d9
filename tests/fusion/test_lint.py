"""``python -m fusion.lint``: every kind of defect is found, told by file and line, and no other."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from fusion import lint
from fusion.formats import known_lists
from fusion.formats.files import read_scores, read_trials
from fusion.formats.hdf5 import write_key, write_scores
from fusion.formats.linting import read
from ivector.base.cli import run

N_MODELS, N_TESTS = 8, 32


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Faultless scores and trials in the folder of the test; their lines."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    scores, trials = [], []
    for m in range(N_MODELS):
        for t in range(N_TESTS):
            same = m == t % N_MODELS
            scores.append(f"m{m} u{t} {rng.normal() + 2 * same:.6f}")
            trials.append(f"m{m} u{t} {'target' if same else 'nontarget'}")
    put("scores", scores)
    put("trials", trials)
    put("utt2spk", [f"u{t} s{t % N_MODELS}" for t in range(N_TESTS)]
        + [f"m{m} s{m}" for m in range(N_MODELS)])  # fmt: skip
    return scores, trials


def put(name, lines):
    Path(name).write_text("".join(f"{line}\n" for line in lines))


def call(*arguments):
    """Exit status, and findings by code."""
    arguments = [str(a) for a in arguments]
    code = run(lint.make_parser(), lint.main, [*arguments, "--json", "found.json"])
    content = json.loads(Path("found.json").read_text())
    assert code == (1 if content["counts"]["error"] else 0)
    assert sum(content["counts"].values()) == len(content["findings"])
    return code, {f["code"]: f for f in content["findings"]}


def test_faultless_files(corpus, capsys):
    assert call("scores", "trials", "--utt2spk", "utt2spk") == (0, {})
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "scores: 256 scores, models: 8, tests: 32",
        "trials: 256 trials, models: 8, tests: 32, targets: 32, nontargets: 224",
        "0 errors, 0 warnings, 0 notes",
    ]


def change(lines, row, new):
    return [*lines[:row], *([new] if isinstance(new, str) else new), *lines[row + 1 :]]


SCORE_DEFECTS = {
    "line": ("m0 u2", "line 3: expected 3 columns"),
    "number": ("m0 u2 x", "line 3: the score 'x' is not a number"),
    "finite": ("m0 u2 nan", "line 3: the score 'nan' is not finite"),
    "duplicate": (["m0 u2 1.0", "m0 u2 1.0"], "line 4: 'm0 u2'"),
    "contradictory": (["m0 u2 1.0", "m0 u2 2.0"], "line 4: 'm0 u2'"),
    "missing": ([], "line 3: 'm0 u2'"),
    "not-listed": (["m0 u2 1.0", "m0 new 2.0"], "line 4: 'm0 new'"),
    "turned": (["m0 u2 1.0", "u0 m0 2.0"], "line 4: 'u0 m0'"),
    "self": (["m0 u2 1.0", "u0 u0 2.0"], "line 4: 'u0 u0'"),
}


@pytest.mark.parametrize(("code", "new", "where"), [(k, *v) for k, v in SCORE_DEFECTS.items()])
def test_defects_of_scores(corpus, code, new, where):
    put("scores", change(corpus[0], 2, new))
    status, found = call("scores", "trials")
    assert found[code]["count"] == 1 and found[code]["examples"][0].startswith(where)
    assert status == (0 if code in ("not-listed", "turned", "self") else 1)
    assert found[code]["file"] == "scores"


TRIAL_DEFECTS = {
    "line": ("m0 u2 x nontarget", "line 3: expected 3 columns"),
    "label": ("m0 u2 perhaps", "line 3: label 'perhaps'"),
    "unlabelled": ("m0 u2 -1", "line 3: 'm0 u2'"),
    "duplicate": (["m0 u2 nontarget"] * 2, "line 4: 'm0 u2'"),
    "contradictory": (["m0 u2 nontarget", "m0 u2 target"], "line 4: 'm0 u2'"),
    "contradictory-turned": (["m0 u2 nontarget", "u2 m0 target"], "line 4: 'u2 m0'"),
    "contradictory-linked": (["m0 u2 nontarget", "u0 u8 nontarget"], "line 4: 'u0 u8'"),
    "contradictory-speaker": ("m0 u2 target", "line 3: 'm0 u2'"),
    "no-speaker": ("m0 u99 nontarget", "u99"),
}


@pytest.mark.parametrize(("code", "new", "where"), [(k, *v) for k, v in TRIAL_DEFECTS.items()])
def test_defects_of_trials(corpus, code, new, where):
    put("trials", change(corpus[1], 2, new))
    status, found = call("trials", "--utt2spk", "utt2spk")
    assert found[code]["count"] == 1 and found[code]["examples"][0].startswith(where)
    assert status == (0 if code in ("unlabelled", "no-speaker") else 1)


def test_all_defects_at_once(corpus, capsys):
    """Where the strict readers stop, the linter goes on; counts are whole, examples the first."""
    bad = [f"m{m} u0" for m in range(5)] + ["m0 u1 inf", "m0 u1 x"]
    Path("scores").write_bytes("\n".join([*corpus[0], *bad]).encode() + b"\ncaf\xe9 u0 1.0\n\0 u 1")
    code, found = call("scores", "trials", "absent")
    assert code == 1
    assert found["line"]["count"] == 5 and len(found["line"]["examples"]) == 3
    assert found["encoding"]["count"] == 2
    assert {"number", "finite", "file", "not-listed"} <= set(found)
    out = capsys.readouterr().out
    assert "error: 5 × lines cannot be read (line 257: expected 3" in out and ", …)" in out
    assert "absent: of no use\n  error: cannot be read: No such file" in out


def values(corpus, function):
    rows = [line.split() for line in corpus[0]]
    put("scores", [f"{m} {u} {function(float(s))}" for m, u, s in rows])


def test_scores_that_say_little(corpus):
    values(corpus, lambda s: 0.5)
    assert call("scores")[1]["constant"]["severity"] == "error"
    values(corpus, lambda s: round(s))
    found = call("scores", "trials")[1]
    assert found["few-distinct"]["severity"] == "warning" and found["few-distinct"]["count"] < 12
    values(corpus, lambda s: min(s, 1.5))
    assert "the highest, 1.5" in call("scores")[1]["clipped"]["message"]
    values(corpus, lambda s: -s)
    code, found = call("scores", "trials")
    assert code == 1 and "turn the sign" in found["sign"]["message"]
    values(corpus, lambda s: np.random.default_rng(int(1e6 * abs(s))).normal())
    assert call("scores", "trials")[1]["chance"]["severity"] == "warning"
    rows = [line.split() for line in corpus[1]]
    put("scores", [f"{m} {u} {i + 1000 * (x == 'target')}.5" for i, (m, u, x) in enumerate(rows)])
    assert call("scores", "trials")[1]["separable"]["severity"] == "note"


def test_classes_and_models(corpus):
    put("trials", [line for line in corpus[1] if line.endswith("nontarget")])
    code, found = call("trials")
    assert code == 1 and found["one-class"]["count"] == 224
    put("trials", [" ".join(line.split()[:2]) for line in corpus[1]])
    code, found = call("trials")
    assert code == 0 and found["unlabelled"]["severity"] == "note"
    put("trials", [*corpus[1], "extra u0 nontarget"])
    assert call("trials")[1]["no-target"]["examples"] == ["extra"]


def test_scores_of_other_trials(corpus):
    put("scores", [f"x{line}" for line in corpus[0]])
    assert call("scores", "trials")[1]["other-trials"]["count"] == 256


def test_folds_are_checked_each_with_its_list(corpus):
    for fold in (0, 1):
        put(f"scores{fold}", corpus[0][fold::2])
        put(f"trials{fold}", corpus[1][fold::2])
    assert call("trials1", "scores0", "scores1", "trials0")[0] == 0


@pytest.mark.parametrize(
    ("train", "code", "examples"),
    [
        (["t0 s3", "t1 s99"], "trained-speaker", ["s3"]),
        (["u5 s99"], "trained-recording", ["u5"]),
        (["u5", "x"], "trained-recording", ["u5"]),
        (["s3", "s4"], "trained-speaker", ["s3", "s4"]),
    ],
)
def test_training_data(corpus, train, code, examples):
    put("train", train)
    status, found = call("trials", "--utt2spk", "utt2spk", "--train", "train")
    assert status == 1 and found[code]["examples"] == examples
    put("train", ["t0 s99"])
    assert call("trials", "--utt2spk", "utt2spk", "--train", "train")[0] == 0


def test_speakers_in_ids_of_voxceleb(corpus):
    put("trials", ["1 id10001/a/1.wav id10001/b/2.wav", "0 id10001/a/1.wav id10002/a/1.wav",
                   "1 id10001/a/1.wav id10003/a/1.wav"])  # fmt: skip
    found = call("trials")[1]
    assert found["contradictory-speaker"]["count"] == 1
    put("train", ["x id10002"])
    assert call("trials", "--train", "train")[1]["trained-speaker"]["examples"] == ["id10002"]


def test_every_format(corpus):
    write_scores("scores.h5", read_scores("scores"))
    write_key("key.h5", read_trials("trials"), "sidekit")
    Path("scores.gz").write_bytes(gzip.compress(Path("scores").read_bytes()))
    put("scores.csv", ["Model,Test,LLR", *(line.replace(" ", ",") for line in corpus[0])])
    put("trials.tsv", ["modelid\tsegmentid\tside\ttargettype",
                       *("{}\t{}\ta\t{}".format(*line.split()) for line in corpus[1])])  # fmt: skip
    put("vox", ["{2} {0} {1}".format(*line.split()) for line in corpus[0]])
    files = ["scores.h5", "key.h5", "scores.gz", "scores.csv", "trials.tsv", "vox"]
    assert call(*files) == (0, {})
    kinds = [read(file).kind for file in files]
    assert kinds == ["scores", "trials", "scores", "scores", "trials", "scores"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\n \n", "is empty"), (b"a\n", "has 1 columns"),
     (b"\x89HDF\r\n\x1a\nxxxx", "is damaged"), (b"\x1f\x8bxx", "cannot be read")],
)  # fmt: skip
def test_files_of_no_use(corpus, content, message):
    Path("file").write_bytes(content)
    code, found = call("file")
    assert code == 1 and message in found["file"]["message"]


def known(name):
    return next(known for known in known_lists.LISTS if known.name == name)


def voxceleb(form, n_targets, n_nontargets):
    return [form(1, i) for i in range(n_targets)] + [form(0, i) for i in range(n_nontargets)]


def test_known_lists(corpus, monkeypatch, capsys):
    def form(label, i):
        speaker = f"id{10000 + i % 40}"
        other = speaker if label else f"id{10000 + (i + 1) % 40}"
        return f"{label} {speaker}/a/{i:05d}.wav {other}/b{i % 7}/{i:05d}.wav"

    lines = voxceleb(form, 18802, 18809)
    put("list", lines)
    assert call("list")[0] == 0
    out = capsys.readouterr().out
    assert "VoxCeleb1-O (cleaned), by its numbers of trials alone; the file is not veri" in out
    cleaned = known("VoxCeleb1-O (cleaned)")
    changed = known_lists.KnownList(
        cleaned.name, cleaned.file, 18802, 18809, known_lists.md5("list")
    )
    monkeypatch.setattr(known_lists, "LISTS", (changed,))
    Path("list.gz").write_bytes(gzip.compress(Path("list").read_bytes()))
    call("list.gz")
    assert "VoxCeleb1-O (cleaned), by the MD5 sum of veri_test2.txt" in capsys.readouterr().out
    put("list", [line.partition(" ")[2] for line in lines])
    call("list")
    assert "VoxCeleb1-O (cleaned) without its labels" in capsys.readouterr().out
    put("list", [f"-1 {i:08x} {2 * i:08x}" for i in range(len(lines))])
    call("list")
    assert "tiny-voxceleb's evaluation list" in capsys.readouterr().out


def test_numbers_of_known_lists_are_of_different_lists():
    assert len({known.md5 for known in known_lists.LISTS}) == len(known_lists.LISTS) == 6
    assert len({(known.n_targets, known.n_nontargets) for known in known_lists.LISTS}) == 6


def test_usage(corpus, capsys):
    for arguments in ([], ["scores", "--nosuch"]):
        with pytest.raises(SystemExit) as caught:
            run(lint.make_parser(), lint.main, arguments)
        assert caught.value.code == 2
    put("train", ["a b c"])
    assert run(lint.make_parser(), lint.main, ["scores", "--train", "train"]) == 1
    assert "train, line 1: expected 'utterance speaker'" in capsys.readouterr().err


def test_decisions_beside_a_list_are_scores(corpus):
    _, trials = corpus
    lines = [line.replace("nontarget", "-1").replace("target", "1") for line in trials]
    put("decisions", lines)
    code, found = call("decisions", "trials")
    assert code == 0 and set(found) == {"few-distinct", "separable"}
    assert call("decisions")[0] == 1  # alone, it may be a list of one class


def test_ids_of_both_sides_are_counted_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put("trials", ["a b target", "b c nontarget", "a c nontarget", "c d target"])
    put("utt2spk", ["a x"])
    assert call("trials", "--utt2spk", "utt2spk")[1]["no-speaker"]["count"] == 3
