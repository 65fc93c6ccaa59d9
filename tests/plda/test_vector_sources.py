"""Files of vectors of any toolkit: the same vectors from each, in blocks; mistakes are named."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

from ivector.base.errors import DataError
from plda import read_ids_vectors, write_ids_vectors
from plda.formats import kaldi_vectors
from plda.formats.sources import FORMATS, VectorFile

IDS = [f"utt-{n:03}" for n in range(50)]
X = np.random.default_rng(0).normal(size=(50, 6)).astype("f4")


def csv_text(between):
    rows = [between.join([key, *map(repr, map(float, row))]) for key, row in zip(IDS, X)]
    return "\n".join(rows) + "\n"


def write_scp(folder):
    """Two archives, of which the list takes the second's vectors first."""
    places = []
    for part in (slice(25, 50), slice(0, 25)):
        ark = folder / f"{part.start}.ark"
        write_ids_vectors(ark, IDS[part], X[part])
        data = ark.read_bytes()
        places += [f"{key} {ark}:{data.index(key.encode()) + len(key) + 1}" for key in IDS[part]]
    (folder / "x.scp").write_text("\n".join(places) + "\n")


def write_hdf5(path, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_npy(path, array=X):
    np.save(path, array)
    path.with_suffix(".ids").write_text("\n".join(IDS) + "\n")


by_id = dict(zip(IDS, X))
MAKERS = {
    "x.ark": lambda path: write_ids_vectors(path, IDS, X),
    "x.txt": lambda path: write_ids_vectors(path, IDS, X),
    "x.scp": lambda path: write_scp(path.parent),
    "x.npz": lambda path: write_ids_vectors(path, IDS, X),
    "packed.npz": lambda path: np.savez_compressed(path, embeddings=X, utts=IDS),
    "columns.npz": lambda path: np.savez(path, X=np.asfortranarray(X), names=IDS),
    "single.npz": lambda path: np.savez(path, **{key: row[None] for key, row in by_id.items()}),
    "x.npy": write_npy,
    "columns.npy": lambda path: write_npy(path, np.asfortranarray(X)),
    "x.h5": lambda path: write_hdf5(path, ids=np.array(IDS, "S"), vectors=X),
    "single.h5": lambda path: write_hdf5(path, **by_id),
    "sidekit.hdf5": lambda path: write_hdf5(path, segset=np.array(IDS, "S"), stat1=X),
    "x.csv": lambda path: path.write_text("id,a,b,c,d,e,f\n" + csv_text(",")),
    "x.tsv": lambda path: path.write_text(csv_text("\t")),
    "no-suffix": lambda path: path.write_text(csv_text(",")),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("n_rows", [1, 7, None])
def test_every_format_has_the_same_vectors(tmp_path, monkeypatch, name, n_rows):
    monkeypatch.setattr(kaldi_vectors, "_CHUNK", 100)  # entries lie across chunks
    MAKERS[name](tmp_path / name)
    file = VectorFile(tmp_path / name)
    for _ in range(2):
        ids, blocks = [], []
        for keys, block in file.blocks(n_rows):
            assert len(keys) == len(block) <= (n_rows or 50)
            ids += keys
            blocks.append(block)
        order = np.argsort(ids)
        assert sorted(ids) == IDS
        np.testing.assert_array_equal(np.concatenate(blocks)[order].astype("f4"), X)
    assert read_ids_vectors(tmp_path / name)[0] == ids


def test_every_format_is_tested(tmp_path):
    found = []
    for name, make in MAKERS.items():
        make(tmp_path / name)
        found.append(VectorFile(tmp_path / name).format)
    assert set(map(id, found)) == set(map(id, FORMATS.values()))


def short_ark(path):
    write_ids_vectors(path, IDS, X)
    end = path.read_bytes()
    write_ids_vectors(path, ["short"], X[:1, :3])
    path.write_bytes(end + path.read_bytes())


@pytest.mark.parametrize(
    ("name", "write", "text"),
    [
        ("a.ark", short_ark, r"a\.ark: short has shape \(3,\), the first \(6,\)"),
        ("a.csv", lambda p: p.write_text("a,1,2\nb,1\n"), r"b has shape \(1,\)"),
        ("a.csv", lambda p: p.write_text("a,1,2\nb,1,x\n"), "line 2: expected an id and num"),
        ("a.csv", lambda p: p.write_text("a 1 2\n"), "with commas or tabs"),
        ("a.csv", lambda p: p.write_text("a,1,2\na,3,4\n"), "id a occurs twice"),
        ("a.csv", lambda p: p.write_text("a,1,nan\n"), "the vector of a has something"),
        ("a.npz", lambda p: np.savez(p, ids=IDS, vectors=np.where(X > 2, np.inf, X)), "no finite"),
        ("a.npz", lambda p: np.savez(p, ids=IDS[1:], vectors=X), "have the shapes"),
        ("a.npz", lambda p: np.savez(p, ids=np.arange(50), vectors=X), "have the types"),
        ("a.npz", lambda p: np.savez(p, vectors=X), "but no array of ids; name it 'ids'"),
        ("a.npz", lambda p: np.savez(p, u1=X, u2=X), "expected a vector of that id"),
        ("a.npy", lambda p: np.save(p, X), r"write them into .*a\.ids"),
        ("a.npy", lambda p: write_npy(p, X[1:]), "has 50 ids, and .* has 49"),
        ("a.npy", lambda p: (write_npy(p), p.write_bytes(p.read_bytes()[:-1])), "not as long"),
        ("a.h5", lambda p: p.write_bytes(b"\x89HDF\r\n"), "is damaged or no HDF5"),
        ("a.scp", lambda p: p.write_text("a cat x.ark |\n"), "commands are not run"),
        ("a.scp", lambda p: p.write_text("a none.ark:5\n"), r"none\.ark: cannot be read"),
        ("a.scp", lambda p: p.write_text(f"a {p}:1\n"), "has no binary vector for a at byte 1"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, name, write, text):
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    write(tmp_path / name)
    with pytest.raises(DataError, match=text) as caught:
        read_ids_vectors(tmp_path / name)
    assert "\n" not in str(caught.value)


def dump_torch(path):
    torch = pytest.importorskip("torch")
    torch.save({key: torch.from_numpy(row) for key, row in by_id.items()}, path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.pkl", lambda path: path.write_bytes(pickle.dumps(by_id))),
        ("x.pickle", lambda path: path.write_bytes(pickle.dumps(by_id, 0))),
        ("other", lambda path: path.write_bytes(pickle.dumps(by_id, 2))),
        ("x.npy", lambda path: np.save(path, np.array(by_id, object))),
        ("x.pt", dump_torch),
    ],
)
def test_pickles_are_refused_with_the_line_that_converts_them(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(DataError, match="is a pickle") as caught:
        read_ids_vectors(tmp_path / name)
    line = re.search(r'python -c "(.*)"$', str(caught.value))[1]
    subprocess.run([sys.executable, "-c", line], check=True)
    ids, vectors = read_ids_vectors((tmp_path / name).with_suffix(".npz"))
    assert ids == IDS
    np.testing.assert_array_equal(vectors, X)
