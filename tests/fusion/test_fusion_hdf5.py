"""Matrices of BOSARIS and SIDEKIT: every form is read, both are written, damage is named."""

import sys

import numpy as np
import pytest

from fusion.formats import hdf5
from fusion.formats.files import align, read_scores, read_trials, write_scores
from ivector.base.errors import DataError, UsageError
from ivector.base.extras import MissingExtraError

h5py = pytest.importorskip("h5py")

MODELS, SEGMENTS = ["m1", "é2"], ["s1", "s2", "s3"]
SCORES = np.array([[1.5, -2.0, 0.0], [0.25, 9.0, -1e-12]])
SCORED = np.array([[1, 1, 0], [1, 0, 1]])
KEY = np.array([[1, -1, 0], [-1, 0, 1]])
NAMES = {
    "BOSARIS": ("ID/row_ids", "ID/column_ids", "scores", "score_mask"),
    "SIDEKIT": ("modelset", "segset", "scores", "score_mask"),
    "PyBOSARIS": ("model_names", "test_names", "score_mat", "no_mask"),
}
TRIALS = [("m1", "s1"), ("m1", "s2"), ("é2", "s1"), ("é2", "s3")]


@pytest.fixture
def put(tmp_path):
    def write(data, name="file.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in data.items():
                file[key] = value
        return tmp_path / name

    return write


def names(ids, fixed=True):
    return np.char.encode(np.array(ids), "utf-8") if fixed else ids


def pairs(table):
    return [(table.enrol_ids[e], table.test_ids[t]) for e, t in zip(table.enrol, table.test)]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("fixed", [True, False], ids=["bytes", "strings"])
@pytest.mark.parametrize("turned", [False, True], ids=["", "transposed"])
def test_scores_of_every_toolkit(put, kind, fixed, turned):
    rows, columns, matrix, mask = NAMES[kind]
    values = np.where(SCORED, SCORES, np.nan) if kind == "PyBOSARIS" else SCORES
    data = {rows: names(MODELS, fixed), columns: names(SEGMENTS, fixed)}
    data |= {matrix: values.T if turned else values}
    if kind != "PyBOSARIS":
        data[mask] = (SCORED.T if turned else SCORED).astype(np.uint8)
    scores = read_scores(put(data, "scores without a telling name"))
    assert pairs(scores) == TRIALS
    np.testing.assert_array_equal(scores.values, SCORES[SCORED != 0])


KEYS = {
    "BOSARIS": {"trial_mask": KEY.astype(np.int8), "file_format": "2.0"},
    "BOSARIS, old": {"target_mask": KEY > 0, "nontarget_mask": (KEY < 0).astype(np.uint8)},
    "float": {"trial_mask": KEY.astype(float)},
    "PyBOSARIS": {"tar_mask": KEY > 0, "non_mask": KEY < 0},
}


@pytest.mark.parametrize("data", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("kind", NAMES)
def test_keys_of_every_toolkit(put, data, kind):
    rows, columns, *_ = NAMES[kind]
    trials = read_trials(put({rows: names(MODELS), columns: names(SEGMENTS), **data}))
    assert pairs(trials) == TRIALS
    assert trials.labels.tolist() == [1, 0, 0, 1]


def test_index_has_no_labels(put):
    data = {"modelset": names(MODELS), "segset": names(SEGMENTS), "trial_mask": np.abs(KEY)}
    assert read_trials(put(data)).labels.tolist() == [-1] * 4
    only_targets = {**data, "file_format": "2.0"}
    assert read_trials(put(only_targets)).labels.tolist() == [1] * 4


def test_large_matrices_are_read_in_bands(put, monkeypatch):
    rng = np.random.default_rng(0)
    matrix, mask = rng.normal(size=(40, 30)), rng.random((40, 30)) < 0.5
    data = {"modelset": names([f"m{i}" for i in range(40)])}
    data |= {"segset": names([f"s{i}" for i in range(30)]), "scores": matrix, "score_mask": mask}
    path = put(data)
    whole = read_scores(path)
    monkeypatch.setattr(hdf5, "_CELLS", 70)
    part = read_scores(path)
    assert pairs(part) == pairs(whole)
    np.testing.assert_array_equal(part.values, matrix[mask])


@pytest.mark.parametrize("flavour", hdf5.FLAVOURS)
def test_write_and_read_back(put, tmp_path, flavour):
    enrol, test = zip(*TRIALS)
    for name in ("a.h5", "b.hdf5"):
        write_scores(tmp_path / name, enrol, test, iter([1 / 3, -2.0, 0.25, 1e-12]), 6, flavour)
    scores = read_scores(tmp_path / "a.h5")
    assert pairs(scores) == TRIALS and scores.values.tolist() == [1 / 3, -2.0, 0.25, 1e-12]
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(NAMES[flavour.upper()]) <= {*file, *(f"ID/{key}" for key in file.get("ID", ()))}

    (tmp_path / "key.txt").write_text("m1 s1 target\nm1 s2 nontarget\né2 s1 nontarget\né2 s3 tgt\n")
    trials = read_trials(tmp_path / "key.txt")
    hdf5.write_key(tmp_path / "key.h5", trials, flavour)
    back = read_trials(tmp_path / "key.h5")
    assert pairs(back) == TRIALS and back.labels.tolist() == [1, 0, 0, 1]
    assert align(scores, back).values.tolist() == scores.values.tolist()


GOOD = {
    "modelset": names(MODELS),
    "segset": names(SEGMENTS),
    "scores": SCORES,
    "score_mask": SCORED,
}
BAD = {
    "no ids": ({"modelset": None}, "has no ids of models; expected 'ID/row_ids'"),
    "no scores": ({"scores": None}, "has no scores; expected 'scores'"),
    "key": ({"scores": None, "trial_mask": KEY}, "has no scores, but a key"),
    "shape": ({"scores": SCORES[:1]}, "scores is 1 x 3, but there are 2 models and 3 test"),
    "mask": ({"score_mask": SCORED[:, :2]}, "score_mask is 2 x 2, but"),
    "vector": ({"scores": SCORES[0]}, "scores is 3, but"),
    "words": ({"scores": names(np.full((2, 3), "x"))}, "holds no numbers"),
    "numbers": ({"segset": np.arange(3)}, "segset holds ints and not names"),
    "latin-1": ({"modelset": np.array([b"a", b"\xe9"])}, "a name that is not UTF-8"),
    "twice": ({"modelset": names(["a", "a"])}, "has 'a' twice"),
    "nameless": ({"modelset": names(["a", ""])}, "has an empty name"),
    "shares": ({"score_mask": SCORED * 0.5}, "its mask has values other than 0 and 1"),
    "nothing": ({"score_mask": SCORED * 0}, "its mask holds no trials"),
    "large": ({"scores": SCORES * 1e60}, "the score 1.5e.60 of 'm1 s1' is impossibly large"),
    "NaN": ({"scores": SCORES * np.nan}, "the score nan of 'm1 s1' is not finite"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_bad_scores(put, change, message):
    path = put({key: value for key, value in (GOOD | change).items() if value is not None})
    with pytest.raises(DataError, match=message) as caught:
        read_scores(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "has no key, but scores"),
        ({"trial_mask": KEY * 2}, "values other than 1, -1 and 0"),
        ({"tar": np.abs(KEY), "non": np.abs(KEY)}, "have trials in common"),
    ],
)
def test_bad_keys(put, data, message):
    with pytest.raises(DataError, match=message):
        read_trials(put(GOOD | data))


def test_damaged_files(put, tmp_path):
    whole = put(GOOD).read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(150):
        data = bytearray(whole[: rng.integers(8, len(whole))] if trial % 3 == 0 else whole)
        for place in rng.integers(8, len(data), 1 + trial % 20) if len(data) > 8 else []:
            data[place] = rng.integers(256)
        (tmp_path / "damaged").write_bytes(data)
        try:
            read_scores(tmp_path / "damaged")
        except DataError as error:
            assert "damaged" in str(error) and "\n" not in str(error)


def test_write_refuses(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(DataError, match=r"'a t' \(row 2\) comes twice"):
        write_scores(path, ["a", "a"], ["t", "t"], [1.0, 2.0])
    with pytest.raises(DataError, match="score of 'a t' is inf"):
        write_scores(path, ["a"], ["t"], [np.inf])
    with pytest.raises(DataError, match="there are no trials"):
        write_scores(path, [], [], [])
    with pytest.raises(UsageError, match="flavour is one of"):
        write_scores(path, ["a"], ["t"], [1.0], flavour="kaldi")
    (tmp_path / "some").write_text("1 a b\n-1 a c\n")
    with pytest.raises(DataError, match="1 of 2 trials have no label"):
        hdf5.write_key(path, read_trials(tmp_path / "some"))
    assert not path.exists()


def test_h5py_is_asked_for(put, monkeypatch):
    path = put(GOOD)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ivector-plda\[hdf5\]'"):
        read_scores(path)


def external(tmp_path, put):
    (tmp_path / "secret").write_bytes(np.arange(6.0).tobytes())
    path = put({"modelset": names(MODELS), "segset": names(SEGMENTS), "score_mask": SCORED})
    with h5py.File(path, "a") as file:
        file.create_dataset(
            "scores", SCORES.shape, "f8", external=[(str(tmp_path / "secret"), 0, 48)]
        )
    return path, "has its data in other files"


def virtual(tmp_path, put):
    source = put({"scores": SCORES}, "other.h5")
    path = put({"modelset": names(MODELS), "segset": names(SEGMENTS), "score_mask": SCORED})
    layout = h5py.VirtualLayout(SCORES.shape, "f8")
    layout[:] = h5py.VirtualSource(source, "scores", SCORES.shape)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("scores", layout)
    return path, "has its data in other files"


def external_link(tmp_path, put):
    put({"scores": SCORES}, "other.h5")
    path = put({"modelset": names(MODELS), "segset": names(SEGMENTS), "score_mask": SCORED})
    with h5py.File(path, "a") as file:
        file["scores"] = h5py.ExternalLink("other.h5", "/scores")
    return path, "is a link to somewhere else"


def group_elsewhere(tmp_path, put):
    put({"row_ids": names(MODELS), "column_ids": names(SEGMENTS)}, "other.h5")
    path = put({"scores": SCORES, "score_mask": SCORED})
    with h5py.File(path, "a") as file:
        file["ID"] = h5py.ExternalLink("other.h5", "/")
    return path, "ID is a link to somewhere else"


def soft_link(tmp_path, put):
    path = put({"modelset": names(MODELS), "segset": names(SEGMENTS), "score_mask": SCORED})
    with h5py.File(path, "a") as file:
        file["scores"] = h5py.SoftLink("/scores")
    return path, "is a link to somewhere else"


@pytest.mark.parametrize("make", [external, virtual, external_link, group_elsewhere, soft_link])
def test_parts_that_are_elsewhere_are_refused(tmp_path, put, make):
    path, why = make(tmp_path, put)
    for read in (read_scores, read_trials):
        with pytest.raises(DataError, match=rf"file\.h5: .*{why}"):
            read(path)


def test_groups_within_themselves_end(put):
    path = put({"modelset": names(MODELS), "segset": names(SEGMENTS), "scores": SCORES})
    with h5py.File(path, "a") as file:
        file["round"] = file["/"]
    assert len(read_scores(path)) == SCORES.size
