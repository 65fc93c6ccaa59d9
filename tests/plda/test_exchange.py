"""Back-ends for other toolkits: what VBx, pyannote and Kaldi compute from the files is ours."""

import shutil

import numpy as np
import pytest
from scipy.linalg import eigh
from sklearn.pipeline import make_pipeline

from ivector.base.errors import DataError, UsageError
from plda import (
    LDA,
    PLDA,
    Center,
    LengthNorm,
    Whiten,
    read_backend,
    read_ids_vectors,
    read_mean,
    read_plda,
    read_transform,
    write_backend,
    write_mean,
    write_plda,
    write_transform,
)
from plda.formats.exchange import CHANGED, write_vbx

CHAINS = {
    "vbx": (Center(), LengthNorm(False), LDA(5), LengthNorm(False), PLDA(4)),
    "other lengths": (Center(), LengthNorm(), LDA(5), LengthNorm(), PLDA(4)),
    "mixed": (LengthNorm(), Center(), Whiten(7), LDA(5), LengthNorm(False), PLDA(4)),
    "no LDA": (Center(), LengthNorm(), LengthNorm(), PLDA(4)),
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    y = np.repeat(np.arange(30), 6)
    return 2 * rng.normal(size=(30, 8))[y] + rng.normal(size=(180, 8)) + 1, y


def latent(backend, X):
    return backend[-1].transform(backend[:-1].transform(X), normalize_length=False)


def l2(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def diagonalised(mean, transform, psi):
    """PLDA as VBx and pyannote diagonalise it again: rows in order of the variances."""
    within = np.linalg.inv(transform.T @ transform)
    between = np.linalg.inv((transform.T / psi) @ transform)
    variances, rows = eigh(between, within)
    return (lambda x: (x - mean) @ rows[:, ::-1]), variances[::-1]


def as_vbx(folder, X):
    """Latent vectors and variances by VBx's equations, from its files alone."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "transform.h5") as file:
        mean1, lda, mean2 = (file[name][()] for name in ("mean1", "lda", "mean2"))
    plda = read_backend(folder)[-1]
    project, psi = diagonalised(plda.mean_, plda.transform_, plda.psi_)
    return project(l2(l2(X - mean1) @ lda - mean2)), psi


def as_pyannote(folder, X):
    """The same by pyannote's, whose vectors are as long as the square root of their dimension."""
    with np.load(folder / "xvec_transform.npz") as file:
        mean1, lda, mean2 = file["mean1"], file["lda"], file["mean2"]
    with np.load(folder / "plda.npz") as file:
        project, psi = diagonalised(file["mu"], file["tr"], file["psi"])
    n_dims, n_latent = lda.shape
    return project(np.sqrt(n_latent) * l2(np.sqrt(n_dims) * l2(X - mean1) @ lda - mean2)), psi


def as_kaldi(folder, X):
    backend = read_backend(folder)
    return latent(backend, X), backend[-1].psi_


def assert_same_but_for_signs(found, expected, atol=1e-10):
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(("layout", "theirs"), [("vbx", as_vbx), ("pyannote", as_pyannote)])
def test_their_equations_give_our_latent_vectors(tmp_path, data, chain, layout, theirs):
    backend = make_pipeline(*CHAINS[chain]).fit(*data)
    write_backend(backend, tmp_path / "a", layout)
    found, psi = theirs(tmp_path / "a", data[0])
    assert_same_but_for_signs(found, latent(backend, data[0]))
    np.testing.assert_allclose(psi, backend[-1].psi_, rtol=1e-9)
    # What is read is the same, and is written as the same bytes.
    back = read_backend(tmp_path / "a")
    np.testing.assert_allclose(latent(back, data[0]), latent(backend, data[0]), atol=1e-10)
    write_backend(back, tmp_path / "b", layout)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 2
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "chain",
    [
        (Center(), LDA(5), LengthNorm(), PLDA(4)),
        (LDA(5), LengthNorm(False), PLDA(4)),
        (Center(), Whiten(7), LDA(5), LengthNorm(), PLDA(4)),
        (Center(), LengthNorm(), PLDA(4)),
        (LengthNorm(), PLDA(4)),
    ],
)
def test_kaldis_folder_gives_our_latent_vectors(tmp_path, data, chain):
    backend = make_pipeline(*chain).fit(*data)
    write_backend(backend, tmp_path / "a", "kaldi")
    found, psi = as_kaldi(tmp_path / "a", data[0])
    np.testing.assert_allclose(found, latent(backend, data[0]), atol=1e-10)
    np.testing.assert_array_equal(psi, backend[-1].psi_)
    write_backend(read_backend(tmp_path / "a"), tmp_path / "b", "kaldi")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_single_precision_stays(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    np.savez(
        tmp_path / "a" / "xvec_transform.npz",
        mean1=rng.normal(size=4).astype("f4"),
        mean2=rng.normal(size=3).astype("f4"),
        lda=rng.normal(size=(4, 3)).astype("f4"),
    )
    np.savez(tmp_path / "a" / "plda.npz", mu=np.zeros(3), tr=np.eye(3), psi=np.array([3.0, 2, 1]))
    write_backend(read_backend(tmp_path / "a"), tmp_path / "b", "pyannote")
    for name in ("xvec_transform.npz", "plda.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("chain", "layout", "text"),
    [
        ((Center(), LDA(5), LengthNorm(), PLDA(4)), "vbx", "cannot hold the chain Center LDA"),
        ((LDA(5), LengthNorm(), LDA(4), LengthNorm(), PLDA(4)), "pyannote", "not with LDA"),
        ((LengthNorm(), LDA(5), LengthNorm(), PLDA(4)), "kaldi", "train Center LDA"),
        ((Center(), LengthNorm(), LDA(5), PLDA(4)), "kaldi", "cannot hold"),
        ((Center(), LDA(5)), "kaldi", "cannot hold the chain Center LDA"),
        ((Center(),), "sidekit", "layout is one of"),
        ((Center(),), None, "ending in .npz"),
    ],
)
def test_chains_that_they_cannot_hold_are_refused(tmp_path, data, chain, layout, text):
    backend = make_pipeline(*chain).fit(*data)
    with pytest.raises(UsageError, match=text):
        write_backend(backend, tmp_path / "a", layout)


def test_variances_of_zero_are_refused(tmp_path, data):
    backend = make_pipeline(*CHAINS["vbx"]).fit(*data)
    backend[-1].psi_[-1] = 0
    with pytest.raises(UsageError, match="1 are 0; train with fewer"):
        write_backend(backend, tmp_path, "pyannote")


def test_damaged_folders_are_named(tmp_path, data):
    with pytest.raises(DataError, match="holds no back-end; expected one of"):
        read_backend(tmp_path)
    backend = make_pipeline(*CHAINS["vbx"]).fit(*data)
    for layout in ("vbx", "pyannote"):
        write_backend(backend, tmp_path / layout, layout)
    shutil.copy(tmp_path / "vbx" / "plda", tmp_path / "pyannote")
    np.savez(tmp_path / "pyannote" / "plda.npz", mu=np.zeros(3), tr=np.eye(3), psi=np.ones(3))
    with pytest.raises(DataError, match="LDA gives 5 dimensions and PLDA takes 3"):
        read_backend(tmp_path / "pyannote")
    np.savez(tmp_path / "pyannote" / "xvec_transform.npz", mean1=np.zeros(3), lda=np.eye(3))
    with pytest.raises(DataError, match=r"xvec_transform\.npz: lacks 'mean2'"):
        read_backend(tmp_path / "pyannote")
    (tmp_path / "vbx" / "transform.h5").write_bytes(b"\x89HDF")
    with pytest.raises(DataError, match=r"transform\.h5: is damaged or no HDF5 file"):
        read_backend(tmp_path / "vbx")
    # A mean of another back-end in Kaldi's folder would be applied.
    write_backend(
        make_pipeline(Center(), LDA(5), LengthNorm(), PLDA(2)).fit(*data), tmp_path, "kaldi"
    )
    with pytest.raises(DataError, match=r"mean\.vec: is not of this back-end"):
        write_backend(make_pipeline(LengthNorm(), PLDA(2)).fit(*data), tmp_path, "kaldi")


@pytest.mark.golden
def test_vbx_files_byte_for_byte_and_their_latent_vectors(golden, tmp_path):
    pytest.importorskip("h5py")
    folder = golden / "vbx"
    backend = read_backend(folder)
    # The one thing that no model holds: when the file was written.
    theirs = (folder / "transform.h5").read_bytes()
    changed = theirs[theirs.index(CHANGED) + len(CHANGED) :][:4]
    write_vbx(backend, tmp_path, int.from_bytes(changed, "little"))
    for name in ("transform.h5", "plda"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()

    _, X = read_ids_vectors(folder / "ES2005a.ark")
    X = X.astype(np.float64)
    with np.load(folder / "expected.npz") as expected:
        np.testing.assert_allclose(
            backend[:-1].transform(X), expected["transformed"], atol=1e-10, rtol=0
        )
        order = np.argsort(-backend[-1].psi_, kind="stable")
        found = latent(backend, X)[:, order][:, : expected["latent"].shape[1]]
        assert_same_but_for_signs(found, expected["latent"])
        n_kept = expected["psi"].size
        np.testing.assert_allclose(backend[-1].psi_[order][:n_kept], expected["psi"], rtol=1e-9)
        write_backend(backend, tmp_path / "pyannote", "pyannote")
        theirs = as_pyannote(tmp_path / "pyannote", X)[0][:, : expected["latent"].shape[1]]
        assert_same_but_for_signs(theirs, expected["latent"])


@pytest.mark.golden
def test_kaldis_folder_byte_for_byte(golden, tmp_path):
    kaldi = golden / "plda"
    (tmp_path / "a").mkdir()
    write_transform(read_transform(kaldi / "lda4.txt"), tmp_path / "a" / "transform.mat")
    write_mean(read_mean(kaldi / "mean.txt"), tmp_path / "a" / "mean.vec")
    plda = read_plda(kaldi / "plda").project(np.eye(4, 10))
    write_plda(plda, tmp_path / "a" / "plda")
    write_backend(read_backend(tmp_path / "a"), tmp_path / "b", "kaldi")
    for name in ("transform.mat", "mean.vec", "plda"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
