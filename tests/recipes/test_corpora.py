"""Corpora to the one layout: real ones, small trees of the others, and everything that is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ivector.base.errors import DataError, UsageError
from ivector.data import Trial
from recipes.corpora import common, folder, hyke, layout, librispeech
from recipes.corpora.common import Corpus, Fold, Recording
from recipes.prepare import cli


def sound(path: Path, rate: int = 8000, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(str(path))).normal(0, 0.1, round(rate * seconds))
    soundfile.write(path, samples, rate)
    return path


def rows(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def scp(out: Path) -> dict[str, str]:
    lines = (out / "wav" / "wav.scp").read_text(encoding="utf-8").splitlines()
    return {key: path for key, _, path in (line.partition(" ") for line in lines)}


@pytest.fixture
def speakers(tmp_path):
    """Folder of four speakers with three utterances each."""
    for name in ("ann", "bob", "cy", "di"):
        for i in range(3):
            sound(tmp_path / "in" / name / f"{i}.wav")
    return tmp_path / "in"


class TestReal:
    pytestmark = pytest.mark.corpora

    def test_hyke(self, corpora, tmp_path):
        counts = hyke.prepare(corpora / "hyke", tmp_path, strict=True)
        assert counts == {"speakers": 83, "utterances": 415, "folds": 2, "trials": 13780}
        for fold in ("fold0", "fold1"):
            for name in ("train.utt2spk", "enroll", "trials"):
                source = corpora / "hyke" / "protocol" / fold / name
                assert sorted(rows(tmp_path / fold / name)) == sorted(rows(source))
        genders = dict(rows(tmp_path / "wav" / "spk2gender"))
        assert len(genders) == 83
        assert all(speaker[0].lower() == gender for speaker, gender in genders.items())

    def test_folder_with_the_protocol_of_another(self, corpora, tmp_path):
        root = corpora / "speechocean762"
        counts = folder.prepare(root, tmp_path, protocol=root / "protocol", strict=True)
        assert counts == {"speakers": 128, "utterances": 1280, "folds": 2, "trials": 57344}
        assert sum(label == "target" for *_, label in rows(tmp_path / "fold0" / "trials")) == 448

    def test_librispeech(self, corpora, tmp_path):
        root = corpora / "librispeech_test_other"
        assert librispeech.prepare(root, tmp_path, protocol=root / "protocol")["trials"] == 400
        assert "1688-142285-0000" in scp(tmp_path)
        counts = librispeech.prepare(root, tmp_path)
        # Three of ten utterances enrol, seven test, five speakers a fold.
        assert counts == {"speakers": 10, "utterances": 100, "folds": 2, "trials": 2 * 5 * 35}


class TestFolder:
    def test_makes_two_folds(self, speakers, tmp_path):
        counts = folder.prepare(speakers, tmp_path / "out")
        assert counts == {"speakers": 4, "utterances": 12, "folds": 2, "trials": 16}
        out = tmp_path / "out"
        # Names that repeat are made unique by the speaker's.
        assert rows(out / "wav" / "utt2spk")[0] == ["ann-0", "ann"]
        assert rows(out / "wav" / "spk2utt")[0] == ["ann", "ann-0", "ann-1", "ann-2"]
        assert scp(out)["ann-0"] == str(speakers / "ann" / "0.wav")
        assert set(dict(rows(out / "fold0" / "train.utt2spk")).values()) == {"bob", "di"}
        assert rows(out / "fold0" / "enroll") == [["ann", "ann-0"], ["cy", "cy-0"]]
        assert rows(out / "fold1" / "trials")[0] == ["bob", "bob-1", "target"]
        assert sorted(p.name for p in out.iterdir()) == ["fold0", "fold1", "wav"]

    def test_same_files_again(self, speakers, tmp_path):
        for name in ("one", "two"):
            folder.prepare(speakers, tmp_path / name)
        for path in sorted((tmp_path / "one").rglob("*")):
            if path.is_file():
                other = tmp_path / "two" / path.relative_to(tmp_path / "one")
                assert path.read_bytes() == other.read_bytes()

    def test_unique_names_stay(self, tmp_path):
        for name in ("ann", "bob", "cy", "di"):
            for i in range(2):
                sound(tmp_path / "in" / name / f"{name}_{i}.flac")
        folder.prepare(tmp_path / "in", tmp_path / "out")
        assert list(scp(tmp_path / "out"))[:3] == ["ann_0", "ann_1", "bob_0"]

    def test_unique_names_that_do_not_sort_by_speaker(self, tmp_path):
        for i, name in enumerate(["di", "cy", "bob", "ann"] * 2):
            sound(tmp_path / "in" / name / f"rec{i}.wav")
        folder.prepare(tmp_path / "in", tmp_path / "out")
        assert list(scp(tmp_path / "out"))[:2] == ["ann-rec3", "ann-rec7"]

    def test_depth_spaces_hidden_files_and_formats(self, speakers, tmp_path):
        sound(speakers / "ed the third" / "day one" / "my voice.wav")
        sound(speakers / "ed the third" / "day two" / "my voice.ogg")
        sound(speakers / "ed the third" / ".hidden" / "x.wav")
        sound(speakers / "ann" / ".0.wav")
        (speakers / "ann" / "notes.txt").write_text("not a recording")
        folder.prepare(speakers, tmp_path / "out")
        table = scp(tmp_path / "out")
        assert len(table) == 14
        path = table["ed_the_third-day_one-my_voice"]
        assert path == str(speakers / "ed the third" / "day one" / "my voice.wav")
        assert "ed_the_third-day_two-my_voice" in table

    def test_loops_of_links_end(self, speakers, tmp_path):
        (speakers / "ann" / "again").symlink_to(speakers / "ann")
        (speakers / "cy" / "up").symlink_to(speakers)
        folder.prepare(speakers, tmp_path / "out")
        assert len(scp(tmp_path / "out")) == 12

    def test_bad_files_are_left_out_and_counted(self, speakers, tmp_path, caplog):
        (speakers / "ann" / "bad.wav").write_bytes(b"RIFF but no more")
        sound(speakers / "ann" / "none.wav", seconds=0)
        counts = folder.prepare(speakers, tmp_path / "out")
        assert counts["utterances"] == 12
        assert "2 of 14 recordings left out" in caplog.text
        assert "bad.wav: not audio that can be read" in caplog.text
        assert "none.wav: holds no samples" in caplog.text
        with pytest.raises(DataError, match="2 of 14 recordings cannot be used"):
            folder.prepare(speakers, tmp_path / "out", strict=True)

    def test_closed_formats_are_named(self, speakers, tmp_path, caplog):
        (speakers / "ann" / "5.m4a").write_bytes(b"x")
        folder.prepare(speakers, tmp_path / "out")
        assert "ffmpeg" in caplog.text
        with pytest.raises(DataError, match="ffmpeg"):
            folder.prepare(speakers, tmp_path / "out", strict=True)

    def test_rates_are_compared(self, speakers, tmp_path, caplog):
        sound(speakers / "ann" / "5.wav", rate=16000)
        folder.prepare(speakers, tmp_path / "out")
        assert "8000 Hz: 12, 16000 Hz: 1" in caplog.text

    def test_enrolment_and_caps(self, speakers, tmp_path):
        folder.prepare(speakers, tmp_path / "out", enrol_utts=2)
        assert rows(tmp_path / "out" / "fold0" / "enroll")[0] == ["ann", "ann-0", "ann-1"]
        folder.prepare(speakers, tmp_path / "capped", max_trials=6)
        capped = rows(tmp_path / "capped" / "fold0" / "trials")
        assert sum(label == "target" for *_, label in capped) == 4
        assert len(capped) == 6
        assert common.first_utterances(None, 5) == 1
        assert common.first_utterances(None, 6) == 3

    def test_genders(self, speakers, tmp_path):
        (speakers / "spk2gender").write_text("ann f\nbob m\ncy f\ndi f\n")
        folder.prepare(speakers, tmp_path / "out")
        assert rows(tmp_path / "out" / "wav" / "spk2gender")[1] == ["bob", "m"]
        (speakers / "spk2gender").write_text("ann female\n")
        with pytest.raises(DataError, match=r"speaker m\|f"):
            folder.prepare(speakers, tmp_path / "out")

    def test_too_little(self, tmp_path):
        with pytest.raises(UsageError, match="--corpus-dir is needed"):
            folder.prepare(None, tmp_path / "out")
        with pytest.raises(DataError, match="no such folder"):
            folder.prepare(tmp_path / "absent", tmp_path / "out")
        root = tmp_path / "in"
        root.mkdir()
        with pytest.raises(DataError, match="holds no recordings"):
            folder.prepare(root, tmp_path / "out")
        sound(root / "a.wav")
        with pytest.raises(DataError, match="one sub-folder"):
            folder.prepare(root, tmp_path / "out")
        for name in "abc":
            sound(root / name / "1.wav")
            sound(root / name / "2.wav")
        with pytest.raises(DataError, match=r"3 speaker.* at least 4"):
            folder.prepare(root, tmp_path / "out")
        sound(root / "d" / "1.wav")
        with pytest.raises(DataError, match=r"speaker d has 1 utterance.*add recordings"):
            folder.prepare(root, tmp_path / "out")
        sound(root / "d" / "1.flac")
        with pytest.raises(DataError, match="differ only in their ending"):
            folder.prepare(root, tmp_path / "out")

    @pytest.mark.parametrize(
        "options", [{"enrol_utts": 0}, {"max_trials": 0}, {"enrol_utts": 1, "protocol": "x"}]
    )
    def test_refuses_options(self, speakers, tmp_path, options):
        with pytest.raises(UsageError):
            folder.prepare(speakers, tmp_path / "out", **options)

    def test_two_folders_of_one_id(self, speakers, tmp_path):
        sound(speakers / "a b" / "1.wav")
        sound(speakers / "a_b" / "1.wav")
        with pytest.raises(DataError, match="give one id"):
            folder.prepare(speakers, tmp_path / "out")


class TestProtocol:
    @pytest.fixture
    def protocol(self, tmp_path):
        path = tmp_path / "protocol" / "fold0"
        path.mkdir(parents=True)
        (path / "train.utt2spk").write_text("bob-0 bob\nbob-1 bob\n")
        (path / "enroll").write_text("ann ann-0\nmodel cy-0 cy-1\n")
        (path / "trials").write_text("ann ann-2 target\nmodel ann-2 nontarget\n")
        return path

    def test_is_followed(self, speakers, protocol, tmp_path):
        counts = folder.prepare(speakers, tmp_path / "out", protocol=protocol.parent)
        assert counts == {"speakers": 4, "utterances": 12, "folds": 1, "trials": 2}
        assert rows(tmp_path / "out" / "fold0" / "enroll")[1] == ["model", "cy-0", "cy-1"]

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("trials", "ann ann-2 nontarget\n", r"\(ann, ann\) make it target"),
            ("trials", "ann ann-2 maybe\n", "trials:1: expected"),
            ("trials", "ann ann-2 target\n" * 2, "stands there twice"),
            ("trials", "ann\n", "trials:1: expected"),
            ("trials", "ann bob-2 nontarget\n", "tests 1 speaker.* of the training"),
            ("trials", "", "holds no trials"),
            ("enroll", "ann ann-0 cy-0\nmodel cy-1\n", "utterances of ann and cy"),
            ("enroll", "ann ann-0\nann ann-1\n", "ann stands there twice"),
            ("train.utt2spk", "bob-0 di\n", "is said to be of di"),
            ("train.utt2spk", "bob-0 bob x\n", "train.utt2spk:1: bob-0: expected one"),
        ],
    )
    def test_contradictions(self, speakers, protocol, tmp_path, name, text, said):
        (protocol / name).write_text(text)
        with pytest.raises(DataError, match=said):
            folder.prepare(speakers, tmp_path / "out", protocol=protocol.parent)
        assert not (tmp_path / "out" / "wav").exists()

    def test_missing_recordings(self, speakers, protocol, tmp_path, caplog):
        (speakers / "bob" / "1.wav").unlink()
        folder.prepare(speakers, tmp_path / "out", protocol=protocol.parent)
        assert "1 of 2 training utterances" in caplog.text
        with pytest.raises(DataError, match="the corpus that the protocol belongs to"):
            folder.prepare(speakers, tmp_path / "out", protocol=protocol.parent, strict=True)

    def test_of_another_corpus(self, speakers, tmp_path):
        path = tmp_path / "other" / "fold0"
        path.mkdir(parents=True)
        for name, text in {"train.utt2spk": "x s", "enroll": "e y", "trials": "e z target"}.items():
            (path / name).write_text(text + "\n")
        with pytest.raises(DataError, match="belongs to"):
            folder.prepare(speakers, tmp_path / "out", protocol=path.parent)
        with pytest.raises(DataError, match="holds no fold0"):
            folder.prepare(speakers, tmp_path / "out", protocol=tmp_path)


class TestLayout:
    def test_earlier_folds_go(self, speakers, tmp_path):
        (tmp_path / "out" / "fold7").mkdir(parents=True)
        (tmp_path / "out" / "keep").write_text("mine")
        folder.prepare(speakers, tmp_path / "out")
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
            "fold0", "fold1", "keep", "wav",
        ]  # fmt: skip

    def test_names_that_a_table_cannot_hold(self, tmp_path):
        good = Recording("a-1", "a", sound(tmp_path / "a.wav"))
        for name in ("b\nc.wav", "b.wav "):
            bad = Recording("b-1", "b", tmp_path / name)
            with pytest.raises(DataError, match="rename the file"):
                layout.usable([good, bad], strict=True)
        with pytest.raises(DataError, match="both have the id"):
            layout.usable([good, good._replace(path=tmp_path / "b.wav")])
        with pytest.raises(DataError, match="not UTF-8"):
            layout.usable([Recording("x", "x", tmp_path / "x\udcff.wav")])

    def test_closed_set_lists_may_share_speakers(self, tmp_path):
        recordings = [
            Recording(f"{s}-{i}", s, sound(tmp_path / f"{s}{i}.wav")) for s in "abc" for i in (0, 1)
        ]
        shared = [Trial("a-0", "a-1", True)]
        fold = Fold(
            {"a-0": "a", "a-1": "a"},
            {"a-0": ["a-0"], "b-0": ["b-0"]},
            [Trial("b-0", "b-1", True), Trial("b-0", "c-1", False)],
            {"val": shared},
            closed_set=("val",),
        )
        layout.finish(Corpus(recordings, [fold]), tmp_path / "out")
        assert rows(tmp_path / "out" / "fold0" / "trials-val") == [["a-0", "a-1", "target"]]
        fold.closed_set = ()
        with pytest.raises(DataError, match="trials-val: tests 1 speaker"):
            layout.finish(Corpus(recordings, [fold]), tmp_path / "out")


class TestHyke:
    def test_manifest(self, tmp_path):
        (tmp_path / "manifest.tsv").write_text("speaker\tutterance\tpath\n")
        with pytest.raises(DataError, match="no column gender"):
            hyke.prepare(tmp_path, tmp_path / "out")
        (tmp_path / "manifest.tsv").write_text("speaker\tutterance\tpath\tgender\na\tb\n")
        with pytest.raises(DataError, match="line 2: 2 fields"):
            hyke.prepare(tmp_path, tmp_path / "out")


class TestLibriSpeech:
    @pytest.fixture
    def tree(self, tmp_path):
        root = tmp_path / "LibriSpeech"
        for subset, names in {"train-clean-100": (19, 26), "test-clean": (61, 121)}.items():
            for name in names:
                for i in range(2):
                    sound(root / subset / f"{name}" / "7" / f"{name}-7-000{i}.flac", 16000)
        (root / "SPEAKERS.TXT").write_text(
            ";ID |SEX| SUBSET |MINUTES| NAME\n"
            "19 | F | train-clean-100 | 25 | A\n26 | M | train-clean-100 | 25 | B\n"
            "61 | M | test-clean | 8 | C\n121 | F | test-clean | 8 | D\n"
        )
        return tmp_path

    def test_trains_on_train_sets(self, tree, tmp_path):
        counts = librispeech.prepare(tree, tmp_path / "out")
        assert counts == {"speakers": 4, "utterances": 8, "folds": 1, "trials": 4}
        assert set(dict(rows(tmp_path / "out" / "fold0" / "train.utt2spk")).values()) == {
            "19", "26",
        }  # fmt: skip
        assert dict(rows(tmp_path / "out" / "wav" / "spk2gender"))["61"] == "m"

    def test_other_trees(self, speakers, tmp_path):
        with pytest.raises(DataError, match="use the corpus 'folder'"):
            (speakers / "a.flac").write_bytes(b"")
            librispeech.prepare(speakers, tmp_path / "out")


class TestCommand:
    def test_names_are_listed(self, capsys):
        with pytest.raises(SystemExit) as stop:
            cli(["--help"])
        assert stop.value.code == 0
        assert "tiny_voxceleb" in capsys.readouterr().out

    def test_prepares_and_leaves(self, speakers, tmp_path, capsys):
        command = ["folder", "--corpus-dir", str(speakers), "--out", str(tmp_path / "out")]
        assert cli(command) == 0
        assert "4 speakers, 12 utterances, 2 folds, 16 trials" in capsys.readouterr().out
        record = json.loads((tmp_path / "out" / "done.json").read_text())
        assert {"wav/wav.scp", "fold0/trials", "fold1/enroll"} <= record["files"].keys()
        assert cli(command) == 0
        assert "left untouched" in capsys.readouterr().out
        # Another recording, another option, or a lost file: made again.
        sound(speakers / "ann" / "9.wav")
        assert cli(command) == 0
        assert "13 utterances" in capsys.readouterr().out
        assert cli([*command, "--enrol-utts", "2"]) == 0
        assert "2 folds" in capsys.readouterr().out
        (tmp_path / "out" / "fold1" / "trials").unlink()
        assert cli([*command, "--enrol-utts", "2"]) == 0
        assert "2 folds" in capsys.readouterr().out
        assert cli([*command, "--enrol-utts", "2", "--force"]) == 0
        assert "2 folds" in capsys.readouterr().out

    def test_mistakes_are_one_line(self, tmp_path, capsys):
        assert cli(["folder", "--out", str(tmp_path / "out")]) == 2
        assert cli(["folder", "--corpus-dir", str(tmp_path / "x"), "--out", str(tmp_path)]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 2

    def test_failure_leaves_what_was_there(self, speakers, tmp_path, capsys):
        command = ["folder", "--corpus-dir", str(speakers), "--out", str(tmp_path / "out")]
        assert cli(command) == 0
        before = (tmp_path / "out" / "wav" / "wav.scp").read_bytes()
        (speakers / "ann" / "bad.wav").write_bytes(b"bad")
        assert cli([*command, "--strict"]) == 1
        # What stood there is whole, and its record tells that it is not what is wanted now.
        assert (tmp_path / "out" / "wav" / "wav.scp").read_bytes() == before
        assert cli([*command, "--strict"]) == 1
