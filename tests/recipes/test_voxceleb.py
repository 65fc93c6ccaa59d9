"""VoxCeleb 1 and 2 and tiny-voxceleb, from small trees and shards."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ivector.base.errors import DataError, UsageError
from recipes.corpora import tiny_voxceleb, voxceleb, voxceleb1, voxceleb2


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
def vox1(tmp_path):
    """Small VoxCeleb1: two speakers to train, two to test."""
    root = tmp_path / "vox1"
    for speaker in ("id10001", "id10002", "id10270", "id10271"):
        for video in ("-aB_c", "XyZ"):
            sound(root / "wav" / speaker / video / "00001.wav", 16000)
    (root / "vox1_meta.csv").write_text(
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
        + "".join(f"id{i}\tX\t{'m' if i % 2 else 'f'}\tUSA\tdev\n" for i in (10001, 10002, 10270))
        + "id10271\tY\tm\tUK\ttest\n"
    )
    (root / "veri_test2.txt").write_text(
        "1 id10270/-aB_c/00001.wav id10270/XyZ/00001.wav\n"
        "0 id10270/-aB_c/00001.wav id10271/XyZ/00001.wav\n"
        "0 id10270/-aB_c/00001.wav id10271/XyZ/00001.wav\n"
    )
    return root


class TestVoxCeleb:
    def test_one(self, vox1, tmp_path):
        counts = voxceleb1.prepare(vox1, tmp_path / "out", strict=True)
        # One recording of id10271 is in no trial; a trial that is listed twice counts once.
        assert counts == {"speakers": 4, "utterances": 7, "folds": 1, "trials": 2}
        fold = tmp_path / "out" / "fold0"
        assert set(dict(rows(fold / "train.utt2spk")).values()) == {"id10001", "id10002"}
        assert rows(fold / "enroll") == [["id10270--aB_c-00001", "id10270--aB_c-00001"]]
        assert rows(fold / "trials")[0][1:] == ["id10270-XyZ-00001", "target"]
        assert dict(rows(tmp_path / "out" / "wav" / "spk2gender"))["id10270"] == "f"

    def test_two_trains_and_one_is_tested(self, vox1, tmp_path):
        for speaker in ("id00012", "id00015"):
            sound(tmp_path / "vox2" / "dev" / "wav" / speaker / "v" / "00001.wav", 16000)
        (tmp_path / "mine.txt").write_text(
            "1 id10001/-aB_c/00001.wav id10001/XyZ/00001.wav\n"
            "0 id10001/-aB_c/00001.wav id10002/XyZ/00001.wav\n"
        )
        counts = voxceleb2.prepare(
            tmp_path / "vox2",
            tmp_path / "out",
            test_dir=vox1,
            trials=f"O-cleaned,{tmp_path / 'mine.txt'}",
        )
        assert counts == {"speakers": 6, "utterances": 8, "folds": 1, "trials": 2}
        assert len(rows(tmp_path / "out" / "fold0" / "trials-mine")) == 2
        with pytest.raises(UsageError, match="--test-dir"):
            voxceleb2.prepare(tmp_path / "vox2", tmp_path / "out")

    def test_lists_that_leave_nothing_to_train_on(self, vox1, tmp_path):
        names = ("id10001", "id10002", "id10270", "id10271")
        lines = [f"1 {n}/-aB_c/00001.wav {n}/XyZ/00001.wav\n" for n in names]
        (vox1 / "list_test_all2.txt").write_text("".join(lines))
        with pytest.raises(DataError, match="voxceleb2 with --test-dir"):
            voxceleb1.prepare(vox1, tmp_path / "out", trials="E-cleaned")

    @pytest.mark.parametrize(
        ("names", "said"), [("X", "neither a file"), ("O-cleaned,O-cleaned", "twice")]
    )
    def test_refuses_lists(self, vox1, tmp_path, names, said):
        with pytest.raises(UsageError, match=said):
            voxceleb1.prepare(vox1, tmp_path / "out", trials=names)

    def test_bad_lists(self, vox1, tmp_path):
        path = tmp_path / "list.txt"
        path.write_text("1 a/b/c.wav a/b/d.wav\n0 a/b/c.wav a/b/d.wav\n")
        with pytest.raises(DataError, match="two labels"):
            voxceleb.read_list(path)
        path.write_text("2 a/b/c.wav a/b/d.wav\n")
        with pytest.raises(DataError, match="line 1"):
            voxceleb.read_list(path)

    def test_published_form_must_be_converted(self, tmp_path):
        path = tmp_path / "vox2" / "aac" / "id00012" / "v" / "00001.m4a"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        with pytest.raises(DataError, match=r"format that cannot be read.*ffmpeg"):
            voxceleb.find_recordings(tmp_path / "vox2")
        sound(tmp_path / "other" / "a" / "b.wav")
        with pytest.raises(DataError, match="id10270/VIDEO"):
            voxceleb.find_recordings(tmp_path / "other")


SPEAKERS = {"train": ("id1", "id2"), "val": ("id1", "id2"), "dev": ("id8", "id9")}


class TestTinyVoxCeleb:
    @pytest.fixture
    def tree(self, tmp_path):
        root = tmp_path / "tiny"
        for split, names in SPEAKERS.items():
            for name in names:
                for i in range(2):
                    sound(root / split / name / f"{split}Vid" / f"0000{i}.wav", 16000)
        for name in ("0a68", "aed6"):
            sound(root / "eval" / f"{name}.wav", 16000)
        meta = "speaker,gender,nationality,split,class\nid1,m,UK,train,0\nid2,f,UK,train,1\n"
        (root / "tiny_meta.csv").write_text(meta + "id8,m,UK,dev,\nid9,f,US,dev,\n")
        (root / "dev_trials.txt").write_text(
            "1 id8/devVid/00000 id8/devVid/00001\n0 id8/devVid/00000 id9/devVid/00001\n"
        )
        (root / "val_trials.txt").write_text("1 id1/valVid/00000 id1/valVid/00001\n")
        (root / "eval_trials_no_gt.txt").write_text("-1 0a68 aed6\n")
        return root

    def check(self, out):
        fold = out / "fold0"
        assert rows(fold / "trials") == [
            ["id8/devVid/00000", "id8/devVid/00001", "target"],
            ["id8/devVid/00000", "id9/devVid/00001", "nontarget"],
        ]
        assert rows(fold / "trials-val") == [["id1/valVid/00000", "id1/valVid/00001", "target"]]
        assert rows(fold / "trials-eval") == [["0a68", "aed6"]]
        assert ["0a68", "0a68"] in rows(fold / "enroll")
        assert dict(rows(fold / "train.utt2spk"))["id1/trainVid/00000"] == "id1"

    def test_folders(self, tree, tmp_path):
        counts = tiny_voxceleb.prepare(tree, tmp_path / "out", strict=True)
        assert counts == {"speakers": 6, "utterances": 14, "folds": 1, "trials": 2}
        self.check(tmp_path / "out")

    def test_genders(self, tree):
        genders = tiny_voxceleb.read_genders(tree / "tiny_meta.csv")
        assert genders == {"id1": "m", "id2": "f", "id8": "m", "id9": "f"}

    def shard(self, tree, root, speaker_id=None):
        for split in (*SPEAKERS, "eval"):
            (root / split).mkdir(parents=True)
            with tarfile.open(root / split / f"{split}.000000.tar", "w") as archive:
                for idx, path in enumerate(sorted((tree / split).rglob("*.wav"))):
                    name = path.relative_to(tree / split)
                    archive.add(path, f"{idx}/{name.as_posix()}")
                    text = json.dumps({"speaker_id": speaker_id or name.parts[0]}).encode()
                    member = tarfile.TarInfo(f"{idx}/{name.with_suffix('.json').as_posix()}")
                    member.size = len(text)
                    archive.addfile(member, io.BytesIO(text))

    def test_shards(self, tree, tmp_path):
        self.shard(tree, tmp_path / "shards")
        for _ in range(2):  # the second time everything is unpacked already
            tiny_voxceleb.prepare(tmp_path / "shards", tmp_path / "out", lists_dir=tree)
            self.check(tmp_path / "out")
        path = Path(scp(tmp_path / "out")["id8/devVid/00000"])
        assert path == tmp_path / "out" / "audio" / "dev" / "id8" / "devVid" / "00000.wav"
        original = tree / "dev" / "id8" / "devVid" / "00000.wav"
        assert path.read_bytes() == original.read_bytes()

    def test_shards_that_contradict_themselves(self, tree, tmp_path):
        self.shard(tree, tmp_path / "shards", speaker_id="someone")
        with pytest.raises(DataError, match="says that the speaker is someone"):
            tiny_voxceleb.prepare(tmp_path / "shards", tmp_path / "out", lists_dir=tree)

    def test_incomplete(self, tree, tmp_path):
        sound(tree / "dev" / "x.wav")
        with pytest.raises(DataError, match="expected dev/wav/speaker/video"):
            tiny_voxceleb.prepare(tree, tmp_path / "out")
        (tree / "dev_trials.txt").unlink()
        with pytest.raises(DataError, match=r"lacks dev_trials.txt; fetch it"):
            tiny_voxceleb.prepare(tree, tmp_path / "out")
