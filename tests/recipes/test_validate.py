"""The linter names every defect with its file and line, and says when there is none."""

import numpy as np
import pytest
import soundfile

from recipes.corpora import folder
from recipes.validate import cli


@pytest.fixture
def corpus(tmp_path):
    """A prepared corpus of four speakers."""
    rng = np.random.default_rng(0)
    for name in ("ann", "bob", "cy", "di"):
        for i in range(2):
            path = tmp_path / "in" / name / f"{name}-{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 1600), 8000)
    folder.prepare(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def test_valid(corpus, capsys):
    assert cli([str(corpus)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{corpus}: valid, 8 utterances, 4 speakers, 2 fold(s)\n"
    assert printed.err == ""
    assert cli([str(corpus), "--audio"]) == 0
    assert cli([str(corpus / "wav")]) == 0
    assert "0 fold(s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "line", "said"),
    [
        ("wav/utt2spk", "ann-0 ann\nann-0 ann\n", 2, "ann-0 stands there already"),
        ("wav/utt2spk", "bob-0 bob\nann-0 ann\n", 2, "not sorted"),
        ("wav/utt2spk", "ann-0\n", 1, "expected 2 fields"),
        ("fold0/train.utt2spk", "bob-0 bob\nbob-0 bob\n", 2, "already, in line 1"),
        ("fold0/train.utt2spk", "bob-0\n", 1, "1 fields"),
        ("fold0/train.utt2spk", "bob-0 bob\neve-0 eve\n", 2, "eve-0 is not in utt2spk"),
        ("fold0/train.utt2spk", "bob-0 di\n", 1, "of di here, of bob in utt2spk"),
        ("fold0/train.utt2spk", "ann-0 ann\n", 0, "are in train.utt2spk too, first ann"),
        ("fold0/train.utt2spk", "\n", 0, "holds no utterances"),
        ("fold0/enroll", "ann ann-0\nann ann-1\n", 2, "ann stands there already"),
        ("fold0/enroll", "ann\n", 1, "ann has no utterances"),
        ("fold0/enroll", "ann ann-0 bob-0\n", 1, "several speakers (ann, bob)"),
        ("fold0/enroll", "ann ann-7\n", 1, "ann-7 is not in utt2spk"),
        ("fold0/enroll", "", 0, "holds no enrolments"),
        ("fold0/trials", "ann ann-1 target\nann ann-1 target\n", 2, "ann ann-1 stands there"),
        ("fold0/trials", "ann cy-1 target\n", 1, "target, but the speakers are ann and cy"),
        ("fold0/trials", "ann ann-1 nontarget\n", 1, "nontarget, but the speakers are ann"),
        ("fold0/trials", "ann ann-1 same\n", 1, "the label is 'same'"),
        ("fold0/trials", "eve ann-1 nontarget\n", 1, "eve is not in enroll"),
        ("fold0/trials", "ann ann-9 target\n", 1, "ann-9 is not in utt2spk"),
        ("fold0/trials", "ann\n", 1, "expected 'enrol-id"),
        ("fold0/trials", "ann ann-1 target\n", 0, "has no nontarget trials"),
        ("fold0/trials", "", 0, "holds no trials"),
        ("fold0/trials-more", "ann cy-1 target\n", 1, "target, but the speakers"),
    ],
)
def test_defects_have_file_and_line(corpus, capsys, name, text, line, said):
    (corpus / name).write_text(text)
    assert cli([str(corpus)]) == 1
    printed = capsys.readouterr()
    where = f"{corpus / name}:{line}:" if line else str(corpus)
    assert any(row.startswith(where) and said in row for row in printed.out.splitlines())
    assert printed.err.endswith("defect(s)\n")


def test_every_defect_is_named(corpus, capsys):
    path = corpus / "fold1" / "trials"
    path.write_text("bob bob-1 target\nbob bob-1 target\nbob x nontarget\ny di-1\nz\n")
    assert cli([str(corpus)]) == 1
    numbers = [row.split(":")[1] for row in capsys.readouterr().out.splitlines()]
    assert numbers == ["2", "3", "4", "5"]


def test_lists_without_labels_and_further_lists(corpus):
    # Further lists may test speakers of the training material, and need not be labelled.
    (corpus / "fold0" / "enroll").open("a").write("bob bob-0\n")
    (corpus / "fold0" / "trials-val").write_text("bob bob-1 target\nbob ann-0 nontarget\n")
    (corpus / "fold0" / "trials-eval").write_text("ann ann-1\nann cy-1\n")
    assert cli([str(corpus)]) == 0


def test_missing_files(corpus, tmp_path, capsys):
    (corpus / "fold0" / "enroll").unlink()
    assert cli([str(corpus)]) == 1
    assert capsys.readouterr().out == f"{corpus / 'fold0' / 'enroll'}: missing\n"
    (corpus / "wav" / "spk2utt").unlink()
    assert cli([str(corpus / "wav")]) == 1
    assert "spk2utt: missing" in capsys.readouterr().out
    assert cli([str(tmp_path / "absent")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_damaged_recordings(corpus, tmp_path, capsys):
    path = tmp_path / "in" / "bob" / "bob-1.wav"
    path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "in" / "cy" / "cy-0.wav").unlink()
    assert cli([str(corpus)]) == 0
    capsys.readouterr()
    assert cli([str(corpus), "--audio"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert f"{corpus / 'wav' / 'wav.scp'}:4: bob-1:" in printed[0]
    assert f"{corpus / 'wav' / 'wav.scp'}:5: cy-0:" in printed[1]


def test_hostile_names_are_shown_and_not_obeyed(corpus, capsys):
    odd = ["\x1b[31m", "\x07", "\x9b2J", "\u202e", "\u2028", "\x0c", "\ufeff", "<script>", "$x$"]
    path = corpus / "fold1" / "trials"
    path.write_text("".join(f"a{name} b{name} target\n" for name in odd))
    (corpus / "wav" / "utt2dur").write_text("".join(f"u{name} {name}\n" for name in odd))
    assert cli([str(corpus)]) == 1
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).splitlines()
    assert all(line.isprintable() for line in lines)
    for text in (r"a\x1b[31m is not in enroll", r"a\u202e is not", "a<script> is not", r"u\x9b2J"):
        assert any(text in line for line in lines), text
