"""tiny-voxceleb in the challenge's own files: shards, loose recordings, lists, submissions."""

import csv
import json
import re
import shutil
import tarfile

import pytest

from dnn.formats import shards
from ivector.base.errors import DataError
from recipes import miniature
from recipes.corpora import tiny_voxceleb

SPLITS = ("train", "val", "dev", "eval")
LISTS = {"trials": "dev_trials.txt", "trials-val": "val_trials.txt",
         "trials-eval": "eval_trials_no_gt.txt"}  # fmt: skip
SMALL = miniature.Sizes(train=3, test=2, sessions=2, utterances=2, seconds=(0.5, 0.7), seed=1)


@pytest.fixture(scope="module")
def original(seed_formats):
    return seed_formats / "tiny_voxceleb"


@pytest.fixture(scope="module")
def loose(original, tmp_path_factory):
    """The recordings of the shards in the challenge's layout of loose ones, and the lists."""
    root = tmp_path_factory.mktemp("loose")
    for split in SPLITS:
        for shard in sorted((original / "shards" / split).glob("*.tar")):
            with tarfile.open(shard) as archive:
                for member in archive.getmembers():
                    name = member.name.partition("/")[2]  # without the running number
                    if name.endswith(".wav"):
                        name = name if split == "eval" else f"{split}/wav/{name}"
                        path = root / name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(archive.extractfile(member).read())
    for name in (*LISTS.values(), "tiny_meta.csv"):
        shutil.copy(original / name, root)
    return root


def pairs(path):
    return [line.split()[:2] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("layout", ["shards", "loose"])
def test_originals_lose_no_trial(original, loose, tmp_path, layout):
    root = original if layout == "shards" else loose
    counts = tiny_voxceleb.prepare(root, tmp_path, strict=True)
    assert counts == {"speakers": 60, "utterances": 256, "folds": 1, "trials": 960}
    for mine, theirs in LISTS.items():
        wanted = [line.split()[1:] for line in (root / theirs).read_text().splitlines()]
        assert sorted(pairs(tmp_path / "fold0" / mine)) == sorted(wanted)


def test_shards_are_written_as_the_original_writes_them(original, loose, tmp_path):
    with open(original / "tiny_meta.csv", newline="") as file:
        classes = {row["id"]: int(row["idx"]) for row in csv.DictReader(file) if row["idx"]}
    for split in SPLITS:
        theirs = sorted((original / "shards" / split).glob("*.tar"))
        order = [n for shard in theirs for n in tarfile.open(shard).getnames() if n.endswith("wav")]
        files = {}
        for name in order:
            rest = name.partition("/")[2]
            place = loose / rest if split == "eval" else loose / split / "wav" / rest
            files[rest.removeprefix("eval/wav/").removesuffix(".wav")] = place
        mine = shards.write_shards(tmp_path / split, files, per_shard=100, classes=classes)
        assert [path.name for path in mine] == [path.name for path in theirs]
        for one, two in zip(mine, theirs):
            assert one.read_bytes() == two.read_bytes(), one.name


def test_miniature_is_what_the_challenge_describes(tmp_path):
    """Read without the toolkit."""
    assert miniature.make("tiny_voxceleb", tmp_path, SMALL)
    with open(tmp_path / "tiny_meta.csv", newline="") as file:
        meta = list(csv.DictReader(file))
    assert list(meta[0]) == ["id", "gender", "nationality", "set", "idx"]
    assert [row["idx"] for row in meta] == ["0", "1", "2", "", "", "", ""]
    heard = {}
    for split in SPLITS:
        names = []
        for shard in (tmp_path / "shards" / split).iterdir():
            assert re.fullmatch(r"shard-\d{6}(\.partial)?\.tar", shard.name)
            with tarfile.open(shard) as archive:
                members = archive.getnames()
                tables = [json.load(archive.extractfile(n)) for n in members if n.endswith("json")]
            names += members
            assert [n.replace(".wav", ".json") for n in members[::2]] == members[1::2]
        pattern = (
            r"\d+/eval/wav/[0-9a-f]{32}" if split == "eval" else r"\d+/id\d{5}/[\w-]{11}/\d{5}"
        )
        assert all(re.fullmatch(rf"{pattern}\.(wav|json)", name) for name in names)
        assert {t["class_idx"] for t in tables} == (
            {0, 1, 2} if split in ("train", "val") else {None}
        )
        heard[split] = {
            name.partition("/")[2].removeprefix("eval/wav/")[:-4] for name in names[::2]
        }
    for split, file in (("val", "val_trials.txt"), ("dev", "dev_trials.txt"),
                        ("eval", "eval_trials_no_gt.txt")):  # fmt: skip
        rows = [line.split() for line in (tmp_path / file).read_text().splitlines()]
        assert {row[0] for row in rows} == ({"-1"} if split == "eval" else {"0", "1"})
        assert {name for row in rows for name in row[1:]} == heard[split]


@pytest.mark.parametrize(
    ("list_name", "text", "told"),
    [
        ("eval_trials_no_gt.txt", "-1 {a} cd\n" * 1, "1 of 1 trials have no recording"),
        ("eval_trials_no_gt.txt", "-1 ../../etc/x {a}\n", "line 1: one of ../../etc/x {a} points"),
        ("eval_trials_no_gt.txt", "-1 /etc/x {a}\n", "line 1: one of /etc/x {a} points outside"),
        ("val_trials.txt", "", "val_trials.txt: holds no trials"),
    ],
)
def test_lists_that_do_not_belong_are_refused(tmp_path, list_name, text, told):
    miniature.make("tiny_voxceleb", tmp_path / "tiny", SMALL)
    known = (tmp_path / "tiny" / "eval_trials_no_gt.txt").read_text().split()[1]
    (tmp_path / "tiny" / list_name).write_text(text.format(a=known))
    with pytest.raises(DataError) as caught:
        tiny_voxceleb.prepare(tmp_path / "tiny", tmp_path / "out")
    assert told.format(a=known) in str(caught.value)


def test_a_folder_without_the_lists_is_refused(tmp_path):
    miniature.make("tiny_voxceleb", tmp_path / "tiny", SMALL)
    (tmp_path / "tiny" / "dev_trials.txt").unlink()
    with pytest.raises(DataError, match=r"tiny: lacks dev_trials\.txt; .* as --lists-dir"):
        tiny_voxceleb.prepare(tmp_path / "tiny", tmp_path / "out")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_split_with_an_empty_folder_or_shard_is_refused(tmp_path, split):
    miniature.make("tiny_voxceleb", tmp_path / "tiny", SMALL)
    shards_of = tmp_path / "tiny" / "shards" / split
    for shard in shards_of.iterdir():
        tarfile.open(shard, "w").close()
    with pytest.raises(DataError, match=r"shard-000000\.tar: holds no recordings .*fetch it again"):
        tiny_voxceleb.prepare(tmp_path / "tiny", tmp_path / "out")
    for shard in shards_of.iterdir():
        shard.unlink()
    with pytest.raises(DataError, match=rf"{split}: holds no recordings .*fetch them"):
        tiny_voxceleb.prepare(tmp_path / "tiny", tmp_path / "out")


def test_an_empty_split_is_refused(tmp_path):
    miniature.make("tiny_voxceleb", tmp_path / "tiny", SMALL)
    shutil.rmtree(tmp_path / "tiny" / "shards" / "eval")
    with pytest.raises(DataError, match=r"shards/eval: holds neither .* or remove .*no_gt\.txt"):
        tiny_voxceleb.prepare(tmp_path / "tiny", tmp_path / "out")
