"""VoxSRC 2020's published features as training data and trials."""

import shutil

import numpy as np
import pytest

from ivector.base.errors import DataError, UsageError
from recipes import miniature, prepare
from recipes.corpora import voxsrc_features

TRAIN = {"id1": ("a/1", "b/2"), "id2": ("c/1",)}
TEST = {"id8": ("v/1", "w/1"), "id9": ("x/1",)}


@pytest.fixture
def trees(tmp_path):
    """Trees of features, with the pipeline's lists beside them."""
    root = tmp_path / "data"
    for tree, speakers in (("train", TRAIN), ("test", TEST)):
        for speaker, names in speakers.items():
            for name in names:
                path = root / tree / speaker / f"{name}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, np.zeros((1, 40, 12), np.float32))
    (root / "vox2_no_cuda.txt").write_text("id1 id1/a/1.wav\nid1 id1/b/2.wav\nid2 id2/c/1.wav\n")
    (root / "vox1_no_cuda.txt").write_text("1 id8/v/1.wav id8/w/1.wav\n0 id8/v/1.wav id9/x/1.wav\n")
    return root


def make(root, out, **options):
    return voxsrc_features.prepare(root / "train", out, test_dir=root / "test", **options)


def test_originals(seed_formats, tmp_path):
    root = seed_formats / "voxsrc_features"
    counts = voxsrc_features.prepare(
        root / "vox2_train_feats", tmp_path, test_dir=root / "vox1_test_feats"
    )
    assert counts == {"speakers": 43, "utterances": 745, "folds": 1, "trials": 100}
    rows = [line.split() for line in (root / "vox1_no_cuda.txt").read_text().splitlines()]
    wanted = {
        (*(name.removesuffix(".wav").replace("/", "-") for name in pair), label)
        for label, *pair in rows
    }
    found = [line.split() for line in (tmp_path / "fold0" / "trials").read_text().splitlines()]
    labels = {"target": "1", "nontarget": "0"}
    assert {(one, two, labels[label]) for one, two, label in found} == wanted


def read_like_the_pipeline(root):
    """Trees and lists as the pipeline's loader has them, by NumPy alone: label, speaker, array."""
    rows = [line.split() for line in (root / "vox2_no_cuda.txt").read_text().splitlines()]
    train = [(s, np.load(root / "vox2_train_feats" / p.replace(".wav", ".npy"))) for s, p in rows]
    listed = (root / "vox1_no_cuda_utterances.txt").read_text().split()[1::2]
    test = {p: np.load(root / "vox1_test_feats" / p.replace(".wav", ".npy")) for p in listed}
    trials = [line.split() for line in (root / "vox1_no_cuda.txt").read_text().splitlines()]
    return train, test, trials


def test_the_miniature_is_what_the_pipeline_published(seed_formats, tmp_path):
    """The same loader reads both; arrays are of the same types, axes and cut."""
    mine, sizes = tmp_path / "mine", (6, 2, 2, 2, (1.0, 2.5), 1)
    assert miniature.make("voxsrc_features", mine, miniature.Sizes(*sizes))
    for root in (mine, seed_formats / "voxsrc_features"):
        train, test, trials = read_like_the_pipeline(root)
        assert {a.dtype.name for _, a in train} == {"float32"}
        assert {a.dtype.name for a in test.values()} == {"float16"}
        assert {a.flags.fnc for _, a in train} == {True}  # frame by frame in the file
        assert {a.flags.c_contiguous for a in test.values()} == {True}
        arrays = [a for _, a in train] + list(test.values())
        assert {a.shape[:2] for a in arrays} == {(1, 40)}
        assert max(a.shape[2] for _, a in train) == 202 < max(a.shape[2] for a in test.values())
        assert {label for label, _, _ in trials} == {"0", "1"}
        assert {name for _, *pair in trials for name in pair} == set(test)
        assert 10 < np.mean([a.astype(float).mean() for a in arrays]) < 24  # at ±1: 21 less
    counts = voxsrc_features.prepare(
        mine / "vox2_train_feats", tmp_path / "out", test_dir=mine / "vox1_test_feats"
    )
    assert counts["speakers"] == 8 and counts["utterances"] == 32


def test_layout(trees, tmp_path):
    out = tmp_path / "out"
    assert make(trees, out)["utterances"] == 6
    assert (
        out / "fold0" / "train.utt2spk"
    ).read_text() == "id1-a-1 id1\nid1-b-2 id1\nid2-c-1 id2\n"
    assert (out / "fold0" / "test.utt2spk").read_text() == "id8-v-1 id8\nid8-w-1 id8\nid9-x-1 id9\n"
    files = (out / "wav" / "npy.scp").read_text().splitlines()
    assert files[0] == f"id1-a-1 {trees / 'train' / 'id1' / 'a' / '1.npy'}"
    assert not (out / "wav" / "wav.scp").exists()
    assert not prepare.is_missing(out)
    shutil.rmtree(trees / "test" / "id8")
    assert prepare.is_missing(out)
    (trees / "vox2_no_cuda.txt").unlink()  # without a list, all of the tree
    np.save(trees / "train" / "id2" / "c" / "9.npy", np.zeros((40, 12), np.float32))
    with pytest.raises(DataError, match=r"test: lacks id8-v-1, which .*vox1_no_cuda.txt names"):
        make(trees, out)
    (trees / "list").write_text("0 id9/x/1.wav id9/x/1.wav\n1 id9/x/1 id9/x/1\n")
    with pytest.raises(DataError, match="has two labels"):
        make(trees, out, trials=str(trees / "list"))
    (trees / "list").write_text("1 id9/x/1.wav id9/x/1.wav\n")
    assert make(trees, out, trials=str(trees / "list"))["utterances"] == 5


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("vox2_no_cuda.txt", "id1 id1/a/1.wav\nid1 ../id1/a.wav\n", "line 2: ../id1/a.wav leads"),
        ("vox2_no_cuda.txt", "id1 /id1/a/1.wav\n", "line 1: /id1/a/1.wav leads out of the tree"),
        ("vox2_no_cuda.txt", "id1/a/1.wav\n", "line 1: id1/a/1.wav is not 'speaker SPEAKER"),
        ("vox2_no_cuda.txt", "id2 id1/a/1.wav\n", "under another speaker's name"),
        ("vox2_no_cuda.txt", "id1 id1/a/7.wav\n", "train: lacks id1-a-7"),
        ("vox2_no_cuda.txt", "", "vox2_no_cuda.txt names no utterance"),
        ("vox1_no_cuda.txt", "1 id8/v/1.wav ../x.wav\n", "line 1: one of id8/v/1.wav ../"),
        ("vox1_no_cuda.txt", "", "vox1_no_cuda.txt: holds no trials"),
    ],
)  # fmt: skip
def test_lists_are_checked(trees, tmp_path, name, text, told):
    (trees / name).write_text(text)
    with pytest.raises(DataError) as caught:
        make(trees, tmp_path / "out")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_trials_are_needed_and_trained_speakers_are_not_tested(trees, tmp_path):
    (trees / "vox1_no_cuda.txt").unlink()
    with pytest.raises(UsageError, match=r"--trials: no vox1_no_cuda\.txt"):
        make(trees, tmp_path / "out")
    (trees / "list").write_text("1 id1/a/1.wav id1/b/2.wav\n")
    with pytest.raises(DataError, match="tests 1 speaker"):
        voxsrc_features.prepare(trees / "train", tmp_path / "out", trials=str(trees / "list"))
