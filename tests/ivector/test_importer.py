"""Trees of published features as stores: the numbers bit for bit, and what is refused."""

import pickle

import numpy as np
import pytest

from ivector.base.cli import run
from ivector.base.errors import DataError
from ivector.commands.import_log_mels import main, make_parser
from ivector.features.store import LogMelStore
from ivector.features.store.importer import import_tree, read_utterance_list

NAMES = ("id1/Vid-eo/00001", "id1/Vid-eo/00002", "id2/_other/00001")


def write(tree, name, array):
    path = tree / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


@pytest.fixture
def tree(tmp_path):
    """Two speakers; one file has no axis of 1."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        shape = (40, 30 + number) if number == 1 else (1, 40, 30 + number)
        write(tmp_path / "tree", name, rng.normal(5, 3, shape).astype(np.float16))
    return tmp_path / "tree"


def bits(store, tree):
    for utt in store:
        # Ids join the three names by "-", which a video's may hold too.
        path = next(p for p in tree.rglob("*.npy")
                    if "-".join(p.relative_to(tree).with_suffix("").parts) == utt)  # fmt: skip
        theirs = np.load(path).reshape(-1, np.load(path).shape[-1]).T
        mine = store[utt]
        assert mine.dtype == np.float32
        assert mine.astype(theirs.dtype).tobytes() == np.ascontiguousarray(theirs).tobytes()
        np.testing.assert_array_equal(mine, theirs.astype(np.float32))


@pytest.mark.parametrize("part", ["vox1_test_feats", "vox2_train_feats"])
def test_published_features_bit_for_bit(seed_formats, tmp_path, part):
    tree = seed_formats / "voxsrc_features" / part
    store = import_tree(tree, tmp_path / "s")
    assert len(store) == {"vox1_test_feats": 100, "vox2_train_feats": 645}[part]
    assert store.metadata["storage"] == ("float16" if "test" in part else "float32")
    assert ("run_id: wvnct30c" in store.metadata["options"]["record"]) == ("test" in part)
    bits(store, tree)


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_own_type_bit_for_bit(tree, tmp_path, name):
    for path in tree.rglob("*.npy"):
        np.save(path, np.load(path).astype(name) / np.dtype(name).type(3))
    store = import_tree(tree, tmp_path / "s", nj=2)
    assert store.metadata["storage"] == name
    assert list(store) == ["-".join(n.split("/")) for n in NAMES]
    bits(store, tree)
    source = pytest.importorskip("dnn.data.sources").StoreSource(tmp_path / "s")
    np.testing.assert_array_equal(source.read(2, 5, 20), store.read(source.ids[2], 5, 25))


def test_command_takes_lists_of_either_kind(tree, tmp_path, capsys):
    for text in ("id1 id1/Vid-eo/00002.wav\n", "id1-Vid-eo-00002 id1\n",
                 "1 id1/Vid-eo/00002.wav id1/Vid-eo/00002.wav\n"):  # fmt: skip
        (tmp_path / "list").write_text(text)
        words = [str(tree), str(tmp_path / "s"), "--list", str(tmp_path / "list")]
        assert run(make_parser(), main, [*words, "--storage", "kaldi"]) == 0
        store = LogMelStore.open(tmp_path / "s")
        assert list(store) == ["id1-Vid-eo-00002"] and store.metadata["storage"] == "kaldi"
        np.testing.assert_allclose(store["id1-Vid-eo-00002"],
                                   np.load(tree / f"{NAMES[1]}.npy").T, atol=0.1)  # fmt: skip


class Ran:
    """Creates a file if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((2, 40, 30), np.float16), "of shape (2, 40, 30), expected float16 or float32"),
        (np.zeros(40, np.float16), "of shape (40,)"),
        (np.zeros((40, 0), np.float16), "of shape (40, 0)"),
        (np.zeros((40, 30), np.int16), "holds int16"),
        (np.zeros((40, 30), np.float64), "holds float64"),
        (np.zeros((39, 30), np.float16), "39 x float16 a frame"),
        (np.zeros((40, 30), np.float32), "40 x float32 a frame"),
        (np.array([[None]]), "pickle, which is never opened"),
        (np.full((40, 30), np.nan, np.float16), "not finite"),
        (b"", "no .npy file of numbers"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((((", "no .npy file of numbers"),
        ("cut", "no .npy file of numbers, cut"),
        ("pickle", "pickle, which is never opened"),
    ],
)
def test_other_files_are_refused(tree, tmp_path, array, told):
    path = tree / f"{NAMES[2]}.npy"
    if isinstance(array, np.ndarray):
        np.save(path, array)
    elif isinstance(array, bytes):
        path.write_bytes(array)
    elif array == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(pickle.dumps(Ran(str(tmp_path / "ran"))))
    with pytest.raises(DataError) as caught:
        import_tree(tree, tmp_path / "s")
    assert told in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "s" / "store.json").exists()


def test_trees_and_lists_that_do_not_fit_are_refused(tree, tmp_path):
    with pytest.raises(DataError, match=r"lacks id9-x-1, which the list names \(1 of 2\)"):
        import_tree(tree, tmp_path / "s", ["id1-Vid-eo-00001", "id9-x-1"])
    for path in ("../id1/x/1.wav", "/id1/x/1.wav", "id1/../x.wav", "id1/x\x07/1.wav"):
        (tmp_path / "list").write_text(f"id1 id1/Vid-eo/00001.wav\nid1 {path}\n")
        with pytest.raises(DataError, match=r"list, line 2: a path leads out of the tree"):
            read_utterance_list(tmp_path / "list")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no SPEAKER/VIDEO/UTT\.npy"):
        import_tree(tmp_path / "empty", tmp_path / "s")
    write(tree, "id1/stray", np.zeros((40, 9), np.float16))
    with pytest.raises(DataError, match=r"stray.npy: is not of the form SPEAKER/VIDEO/UTT"):
        import_tree(tree, tmp_path / "s")
