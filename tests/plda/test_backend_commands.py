"""plda.transform, plda.copy, and plda.score of back-ends of any origin."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from ivector.base.commands import run_command
from plda import (
    LDA,
    PLDA,
    Center,
    LengthNorm,
    read_backend,
    read_ids_vectors,
    save_model,
    write_ids_vectors,
)
from plda.commands import COMMANDS
from plda.commands.copy import _LAYOUTS
from plda.formats.exchange import LAYOUTS
from plda.scoring.cosine import Cosine

IDS = [f"u{n}" for n in range(120)]


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(20), 6)
    X = 2 * rng.normal(size=(20, 6))[y] + rng.normal(size=(120, 6))
    vbx = make_pipeline(Center(), LengthNorm(), LDA(4), LengthNorm(), PLDA()).fit(X, y)
    save_model(vbx, tmp_path / "vbx.npz")
    save_model(make_pipeline(Center(), Cosine()).fit(X), tmp_path / "cosine.npz")
    write_ids_vectors(tmp_path / "x.ark", IDS, X)
    (tmp_path / "trials").write_text("u0 u1\nu0 u7\n")
    return tmp_path, X, vbx


def call(folder, command, *words):
    names = [str(folder / word) if not word.startswith("--") else word for word in words]
    return run_command("plda", COMMANDS, [command, *names])


@pytest.mark.parametrize("out", ["y.ark", "y.npz", "y.txt"])
def test_transform_stops_before_plda_or_goes_on(files, out):
    folder, X, vbx = files
    before = vbx[:-1].transform(X)
    for options, expected in (
        ([], before),
        (["--latent"], vbx[-1].transform(before, normalize_length=False)),
        (["--latent", "--normalize-length"], vbx[-1].transform(before)),
    ):
        assert call(folder, "transform", "vbx.npz", "x.ark", out, *options) == 0
        ids, found = read_ids_vectors(folder / out)
        assert ids == IDS
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert call(folder, "transform", "cosine.npz", "x.ark", out) == 0
    np.testing.assert_allclose(read_ids_vectors(folder / out)[1], X - X.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("layout", ["vbx", "pyannote"])
def test_copy_goes_there_and_back(files, layout):
    if layout == "vbx":
        pytest.importorskip("h5py")
    folder, X, vbx = files
    assert (
        run_command(
            "plda",
            COMMANDS,
            ["copy", str(folder / "vbx.npz"), str(folder / "there"), "--to", layout],
        )
        == 0
    )
    assert call(folder, "copy", "there", "back.npz") == 0
    back = read_backend(folder / "back.npz")
    np.testing.assert_allclose(
        back[-1].transform(back[:-1].transform(X)),
        vbx[-1].transform(vbx[:-1].transform(X)),
        atol=1e-9,
    )
    scores = []
    for model in ("vbx.npz", "there", "back.npz"):
        assert call(folder, "score", model, "x.ark", "x.ark", "trials", "scores") == 0
        scores.append((folder / "scores").read_text())
    assert scores[0] == scores[1] == scores[2]


def test_layouts_of_the_command_are_those_of_the_library():
    assert set(_LAYOUTS) == set(LAYOUTS)


def test_cosines_are_scored_too(files):
    folder, X, _ = files
    assert call(folder, "score", "cosine.npz", "x.ark", "x.ark", "trials", "scores") == 0
    centred = X - X.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found = [float(line.split()[2]) for line in (folder / "scores").read_text().splitlines()]
    np.testing.assert_allclose(found, [unit[0] @ unit[1], unit[0] @ unit[7]], atol=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["transform", "cosine.npz", "x.ark", "y.ark", "--latent"], 2, "does not end in PLDA"),
        (["transform", "vbx.npz", "x.ark", "y.ark", "--normalize-length"], 2, "give both"),
        (["transform", "vbx.npz", "x.ark", "y.csv"], 2, "written as .npz, .ark or .txt"),
        (["transform", "vbx.npz", "y.npz", "y.ark"], 1, "y.npz: cannot be read"),
        (["transform", "vbx.npz", "twice.csv", "y.ark"], 1, "twice.csv: an id occurs twice"),
        (["transform", "vbx.npz", "other.csv", "y.ark"], 1, "other.csv: X has 2 features, but"),
        (["copy", "vbx.npz", "out", "--to", "kaldi"], 2, "files of Kaldi cannot hold the chain"),
        (["copy", "vbx.npz", "out"], 2, "ending in .npz; else give --to"),
        (["copy", "none", "out.npz"], 1, "none: cannot be read"),
        (
            ["score", "cosine.npz", "x.ark", "x.ark", "trials", "s", "--no-normalize-length"],
            2,
            "are of PLDA; ",
        ),
    ],
)
def test_mistakes_are_named(files, capsys, words, code, text):
    folder, _, _ = files
    (folder / "twice.csv").write_text("a,1,2,3,4,5,6\na,1,2,3,4,5,7\n")
    (folder / "other.csv").write_text("a,1,2\n")
    command, *names = words
    paths = [
        word if word.startswith("--") or word in LAYOUTS else str(folder / word) for word in names
    ]
    assert run_command("plda", COMMANDS, [command, *paths]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python")]
    assert len(lines) == 1 and text in lines[0]
    assert not (folder / "y.ark").exists()
