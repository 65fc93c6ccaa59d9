"""Files of the back-end: Kaldi's byte for byte, .npz models, vectors, the command line."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from ivector.base.cli import run
from ivector.base.errors import DataError, UsageError
from plda import (
    LDA,
    PLDA,
    WCCN,
    Affine,
    Center,
    LengthNorm,
    Whiten,
    load_model,
    read_counts,
    read_ids_vectors,
    read_mean,
    read_plda,
    read_transform,
    save_model,
    write_ids_vectors,
    write_mean,
    write_plda,
    write_transform,
)
from plda.commands.score import main, make_parser


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 5)
    return 2 * rng.normal(size=(12, 4))[y] + rng.normal(size=(60, 4)), y


@pytest.mark.parametrize("binary", [True, False])
def test_plda_round_trip(tmp_path, data, binary):
    model = PLDA(3).fit(*data)
    write_plda(model, tmp_path / "plda", binary)
    back = read_plda(tmp_path / "plda")
    for name in ("mean_", "transform_", "psi_"):
        np.testing.assert_array_equal(getattr(back, name), getattr(model, name))
    write_plda(back, tmp_path / "again", binary)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "plda").read_bytes()


@pytest.mark.parametrize("binary", [True, False])
def test_transform_and_mean_round_trip(tmp_path, data, binary):
    X, y = data
    lda = LDA(3).fit(X, y)
    write_transform(lda, tmp_path / "mat", binary)
    np.testing.assert_allclose(
        read_transform(tmp_path / "mat").transform(X), lda.transform(X), atol=1e-5
    )
    write_transform(read_transform(tmp_path / "mat"), tmp_path / "again", binary)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "mat").read_bytes()
    center = Center().fit(X)
    write_mean(center, tmp_path / "vec", binary)
    np.testing.assert_allclose(
        read_mean(tmp_path / "vec").transform(X), center.transform(X), atol=1e-6
    )
    write_mean(read_mean(tmp_path / "vec"), tmp_path / "again", binary)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "vec").read_bytes()


def test_length_norm_has_no_file_in_kaldi(tmp_path):
    with pytest.raises(UsageError, match="not affine"):
        write_transform(LengthNorm(), tmp_path / "mat")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "token"),
        (b"<Plda> [ 1 2 ]\n [\n 1 0\n 0 1 ]\n [ 1 1 ]\n", "token"),
        (b"<Plda> [ 1 2 ]\n [\n 1 0\n 0 1 ]\n [ 1 -1 ]\n</Plda> ", "least value -1"),
        (b"<Plda> [ 1 2 ]\n [\n 1 0\n 0 1 ]\n [ 1 ]\n</Plda> ", "2 variances"),
        (b"<Plda> [ 1 2 3 ]\n [\n 1 0\n 0 1 ]\n [ 1 1 ]\n</Plda> ", "mean"),
        (b"<Plda> [ 1 nan ]\n [\n 1 0\n 0 1 ]\n [ 1 1 ]\n</Plda> ", "finite"),
        (b"<Plda> [ ]\n [ ]\n [ ]\n</Plda> ", "PLDA needs"),
        (b"\0B<Plda> DV \4", "cut short"),
        (b"PK\3\4 an archive", "Plda"),
    ],
)
def test_damaged_plda_files_are_named(tmp_path, content, text):
    path = tmp_path / "plda"
    path.write_bytes(content)
    with pytest.raises(DataError, match=text) as caught:
        read_plda(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_plda(tmp_path / "none")


@pytest.mark.parametrize("reader", [read_transform, read_mean])
def test_matrices_that_cannot_be_used_are_named(tmp_path, reader):
    for content in (b" [ ]\n", b" [ nan nan ]\n", b"\0BFX "):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(DataError):
            reader(tmp_path / "file")


def test_models_in_npz(tmp_path, data):
    X, y = data
    models = [
        Center(), Center(mean=[1.0, 2, 3, 4]), Whiten(3), LDA(2, 0.1), WCCN(), LengthNorm(False),
        PLDA(4), Affine(np.arange(15.0).reshape(3, 5)), make_pipeline(Center(), LDA(3), PLDA(2)),
    ]  # fmt: skip
    for model in models:
        model.fit(X, y)
        save_model(model, tmp_path / "a.npz")
        back = load_model(tmp_path / "a.npz")
        assert type(back) is type(model)
        assert back.transform(X).tobytes() == model.transform(X).tobytes()
        save_model(back, tmp_path / "b.npz")
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert back[-1].objective_ == models[-1][-1].objective_
    assert back[-1].get_params() == PLDA(2).get_params()
    with pytest.raises(UsageError, match="not one of"):
        save_model(np.zeros(3), tmp_path / "c.npz")
    (tmp_path / "bad.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(DataError, match="damaged"):
        load_model(tmp_path / "bad.npz")


@pytest.mark.parametrize("name", ["x.npz", "x.ark", "x.txt"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_vectors_round_trip(tmp_path, data, name, dtype):
    X, ids = data[0].astype(dtype), [f"sprecher-ä{n}" for n in range(60)]
    write_ids_vectors(tmp_path / name, ids, X)
    back_ids, back = read_ids_vectors(tmp_path / name)
    assert back_ids == ids
    np.testing.assert_array_equal(back.astype(dtype), X)
    assert back.dtype == (np.float64 if name.endswith("txt") else dtype)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=str(tmp_path / name)):
        ids_left, _ = read_ids_vectors(tmp_path / name)
        # A text archive cut between two lines, or within a number, cannot be told from a whole.
        assert name.endswith("txt") and len(ids_left) < 60
        raise DataError(str(tmp_path / name))


def test_archives_equal_kaldiio(tmp_path, data):
    kaldiio = pytest.importorskip("kaldiio")
    X, ids = data[0].astype("f4"), [f"u{n}" for n in range(60)]
    write_ids_vectors(tmp_path / "a.ark", ids, X)
    theirs = dict(kaldiio.load_ark(str(tmp_path / "a.ark")))
    assert list(theirs) == ids
    np.testing.assert_array_equal(np.stack(list(theirs.values())), X)


def test_vectors_that_cannot_be_used_are_named(tmp_path):
    for name, content, text in (
        ("a.txt", b"a [ 1 2 ]\nb [ 1 ]\n", "shape"),
        ("b.txt", b"a [ 1 x ]\n", "line 1"),
        ("c.txt", b"", "no vectors"),
        ("d.ark", b"a \0BFM \4\1\0\0\0\4\1\0\0\0\0\0\0\0", "after id none"),
        ("e.npz", b"PK", "damaged"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=text):
            read_ids_vectors(tmp_path / name)
    np.savez(tmp_path / "f.npz", ids=["a", "a"], vectors=np.eye(2))
    with pytest.raises(DataError, match="occurs twice"):
        read_ids_vectors(tmp_path / "f.npz")
    for ids in (["a"], ["a", "a"], ["a", "b c"], ["a", ""]):
        with pytest.raises(DataError):
            write_ids_vectors(tmp_path / "g.ark", ids, np.eye(2))
    with pytest.raises(UsageError, match=r"\.ark"):
        write_ids_vectors(tmp_path / "g.csv", ["a", "b"], np.eye(2))


def test_counts(tmp_path):
    path = tmp_path / "num_utts"
    path.write_text("a 3\n\nb 1\n")
    assert read_counts(path) == {"a": 3, "b": 1}
    for content in ("a 0\n", "a\n", "a x\n", "a 1\na 2\n"):
        path.write_text(content)
        with pytest.raises(DataError, match="line"):
            read_counts(path)


@pytest.fixture
def command(tmp_path, data):
    """Files for the command line, and a function that runs it and returns code and scores."""
    X, y = data
    ids = [f"u{n:02}" for n in range(60)]
    backend = make_pipeline(Center(), LDA(3), LengthNorm(), PLDA(3)).fit(X, y)
    save_model(backend, tmp_path / "backend.npz")
    write_plda(backend[-1], tmp_path / "plda")
    write_mean(backend[0], tmp_path / "mean.vec")
    write_transform(backend[1], tmp_path / "transform.mat")
    write_ids_vectors(tmp_path / "x.ark", ids, X)
    (tmp_path / "trials").write_text("u00 u01 target\nu00 u50 nontarget\nu59 u00\n")
    (tmp_path / "counts").write_text("".join(f"{key} 2\n" for key in ids))

    def call(model, *options, enrol="x.ark", trials="trials"):
        paths = [tmp_path / name for name in (model, enrol, "x.ark", trials, "scores")]
        code = run(make_parser(), main, [*map(str, paths), *map(str, options)])
        written = tmp_path / "scores"
        lines = written.read_text().splitlines() if written.exists() else []
        return (
            code,
            [line.split()[:2] for line in lines],
            [float(line.split()[2]) for line in lines],
        )

    project = backend[:-1].transform(X)
    return tmp_path, call, backend[-1], project


def test_command_line_scores_as_the_library(command):
    path, call, plda, X = command
    kaldi = ["--mean", path / "mean.vec", "--transform", path / "transform.mat", "--length-norm"]
    for model, options in (("backend.npz", []), ("plda", kaldi)):
        code, pairs, scores = call(model, *options)
        assert (code, pairs) == (0, [["u00", "u01"], ["u00", "u50"], ["u59", "u00"]])
        np.testing.assert_allclose(
            scores, plda.score_trials(X, X, [0, 0, 59], [1, 50, 0]), atol=1e-4
        )
    code, _, scores = call("backend.npz", "--num-utts", path / "counts", "--no-normalize-length")
    expected = plda.score_trials(X, X, [0, 0, 59], [1, 50, 0], 2, normalize_length=False)
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_command_line_names_mistakes(command, capsys):
    path, call, _, _ = command
    (path / "bad").write_text("u00 nobody\n")
    (path / "worse").write_text("u00\n")
    (path / "empty").write_text("")
    (path / "few").write_text("u00 1\n")
    save_model(LengthNorm(), path / "norm.npz")
    for arguments, code, text in (
        ({"trials": "bad"}, 1, "no vector for nobody"),
        ({"trials": "worse"}, 1, "line 1"),
        ({"trials": "empty"}, 1, "no trials"),
        ({"enrol": "none"}, 1, "none"),
        ({"options": ["--num-utts", path / "few"]}, 1, "no count for u01"),
        ({"options": ["--length-norm"]}, 2, "its own transforms"),
        ({"model": "norm.npz"}, 1, "not in PLDA"),
    ):
        options = arguments.pop("options", [])
        assert call(arguments.pop("model", "backend.npz"), *options, **arguments)[0] == code
        assert text in capsys.readouterr().err
    assert not (path / "scores").exists()


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "binary"),
    [("plda", True), ("plda.txt", False), ("plda_smoothing0.1.txt", False), ("plda_adapted", True)],
)
def test_kaldis_plda_files_byte_for_byte(golden, tmp_path, name, binary):
    write_plda(read_plda(golden / "plda" / name), tmp_path / name, binary)
    assert (tmp_path / name).read_bytes() == (golden / "plda" / name).read_bytes()


@pytest.mark.golden
@pytest.mark.parametrize("name", ["lda4.txt", "lda4_tcf1_floor0.1.txt"])
def test_kaldis_transforms_byte_for_byte(golden, tmp_path, name):
    write_transform(read_transform(golden / "plda" / name), tmp_path / name, binary=False)
    assert (tmp_path / name).read_bytes() == (golden / "plda" / name).read_bytes()


@pytest.mark.golden
@pytest.mark.parametrize("name", ["mean.txt", "mean_binary.vec"])
def test_kaldis_means_byte_for_byte(golden, tmp_path, name):
    kaldi = (golden / "plda" / name).read_bytes()
    write_mean(read_mean(golden / "plda" / name), tmp_path / name, binary=kaldi.startswith(b"\0B"))
    assert (tmp_path / name).read_bytes() == kaldi


@pytest.mark.golden
def test_kaldis_archives_are_read(golden):
    ids, binary = read_ids_vectors(golden / "ie/ivectors.ark")
    same, text = read_ids_vectors(golden / "ie/ivectors.txt")
    assert ids == same and binary.dtype == np.float32
    np.testing.assert_allclose(binary, text, rtol=1e-6)
    assert list(read_counts(golden / "plda/spk_num_utts.txt").values()) == [5, 4, 3, 2, 1] * 2
