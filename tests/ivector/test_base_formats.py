"""Archives and Kaldi's basic types: what is written is read back, damage is named."""

import os
import pickle
import re

import numpy as np
import pytest

from ivector.base.errors import DataError
from ivector.base.files import atomic_write, load_model, save_model
from ivector.base.kaldi import KaldiReader, pack, read_vectors, to_bytes, unpack
from ivector.formats.arks import ArkWriter, load_array, load_scp, read_ark, read_scp


@pytest.fixture
def archive(tmp_path):
    arrays = {f"u{i}": np.random.default_rng(i).normal(size=(5 + i, 3)) for i in range(4)}
    arrays = {k: v.astype(np.float32) for k, v in arrays.items()}
    with ArkWriter(tmp_path / "a b") as writer:
        for key, array in arrays.items():
            writer.write(key, array)
    return tmp_path / "a b", arrays


def test_archive_round_trip_with_space_in_path(archive):
    prefix, arrays = archive
    for pairs in (read_ark(f"{prefix}.ark"), load_scp(read_scp(f"{prefix}.scp"))):
        back = dict(pairs)
        assert list(back) == list(arrays)
        for key in arrays:
            np.testing.assert_array_equal(back[key], arrays[key])


@pytest.mark.parametrize("cut", [1, 30, 90])
def test_cut_archive_is_named(archive, cut):
    prefix, _ = archive
    data = open(f"{prefix}.ark", "rb").read()
    open(f"{prefix}.ark", "wb").write(data[:-cut])
    with pytest.raises(DataError, match=r"cut or damaged.*make it again"):
        list(read_ark(f"{prefix}.ark"))


def test_interrupted_writer_leaves_the_old_archive(archive):
    prefix, arrays = archive
    with pytest.raises(RuntimeError), ArkWriter(prefix) as writer:
        writer.write("x", np.zeros((2, 2), np.float32))
        raise RuntimeError("killed")
    assert list(dict(read_ark(f"{prefix}.ark"))) == list(arrays)
    assert sorted(os.listdir(prefix.parent)) == ["a b.ark", "a b.scp"]


@pytest.mark.parametrize(
    "location", ["touch RAN |", "| touch RAN", "touch RAN |:0", "|touch RAN:0"]
)
def test_commands_in_lists_are_not_run(tmp_path, location):
    ran = tmp_path / "ran"
    location = location.replace("RAN", str(ran))
    (tmp_path / "x.scp").write_text(f"a {location}\n")
    with pytest.raises(DataError, match="pipes are not run"):
        read_scp(tmp_path / "x.scp")
    with pytest.raises(DataError, match="cannot be read"):
        load_array("a", location)
    assert not ran.exists()


class Bomb:
    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return os.mkdir, (str(self.ran),)


@pytest.mark.parametrize("kind", ["PKL", "NPY", "AUDIO", "RIFF", "fLaC"])
def test_archives_are_not_unpickled_and_hold_no_sound(tmp_path, kind):
    path = tmp_path / "x.ark"
    path.write_bytes(b"utt " + kind.encode() + pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(DataError, match=r"x\.ark: the archive is cut or damaged after"):
        list(read_ark(path))
    with pytest.raises(DataError, match="cut or damaged"):
        load_array("utt", f"{path}:4")
    assert not (tmp_path / "ran").exists()


def test_locations_may_have_ranges_and_text(tmp_path):
    whole = np.arange(20, dtype=np.float32).reshape(5, 4)
    with ArkWriter(tmp_path / "a") as writer:
        writer.write("x", whole)
    (place,) = read_scp(tmp_path / "a.scp").values()
    for text, expected in {
        "": whole, "[1:3]": whole[1:4], "[2]": whole[2:3], "[0:1,2:3]": whole[:2, 2:],
        "[0:4]": whole, "[,1:1]": whole[:, 1:2], "[:,1:1]": whole[:, 1:2],
    }.items():  # fmt: skip
        np.testing.assert_array_equal(load_array("x", place + text), expected)
    (tmp_path / "t.ark").write_bytes(b"x  [\n  1 2\n  3 5e-1 ]\r\ny\t[ 1 -2 ]\nz 3\n")
    read = dict(read_ark(tmp_path / "t.ark"))
    np.testing.assert_array_equal(read["x"], [[1, 2], [3, 0.5]])
    np.testing.assert_array_equal(read["y"], [1, -2])
    assert read["z"] == [3] and read["z"].dtype == read["y"].dtype == np.int32


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[0:5]", "the range 0:5 is empty or leaves the 5 rows"),
        ("[5:2]", "the range 5:2 is empty"),
        ("[0:40,3:5]", "the range 0:40 is empty or leaves the 5 rows"),
        ("[0:1,2:4]", "the range 2:4 is empty or leaves the 4 rows"),
        ("[5]", "the range 5 is empty or leaves"),
        ("[1:]", "the range 1: is not FIRST:LAST"),
        ("[0:1:2]", "the range 0:1:2 is not FIRST:LAST"),
        ("[0:1,0:1,0:1]", "has 3 ranges for an array of 2 dimensions"),
    ],
)
def test_ranges_are_never_clipped(tmp_path, text, why):
    with ArkWriter(tmp_path / "a") as writer:
        writer.write("x", np.zeros((5, 4), np.float32))
    (place,) = read_scp(tmp_path / "a.scp").values()
    with pytest.raises(DataError, match=rf"^x: .*{re.escape(why)}"):
        load_array("x", place + text)


@pytest.mark.parametrize("text", ["[ nan 1 ]", "[ 1.5 -inf ]", "[\n 1 2\n 3 NaN ]", "nan"])
def test_nan_in_text_is_called_nan(tmp_path, text):
    (tmp_path / "t.ark").write_text(f"good [ 1 ]\nbad {text}\n")
    with pytest.raises(DataError, match=r"t\.ark: bad: holds NaN or infinity"):
        list(read_ark(tmp_path / "t.ark"))
    with pytest.raises(DataError, match=r"^bad: .*holds NaN or infinity"):
        load_array("bad", f"{tmp_path / 't.ark'}:15")


def test_fields_of_lists_are_parted_by_any_blanks(tmp_path):
    (tmp_path / "x.scp").write_bytes(
        b"a\tx y.ark:2\r\nb \t z.ark:9 \t\r\n\r\nc\x0c\xe2\x80\xa8 w\n"
    )
    table = {"a": "x y.ark:2", "b": "z.ark:9", "c\x0c\u2028": "w"}
    assert read_scp(tmp_path / "x.scp") == table
    (tmp_path / "v.txt").write_text("a\t[ 1 2 ]\r\n b  [ 3 4 ]\n")
    np.testing.assert_array_equal(list(read_vectors(tmp_path / "v.txt").values()), [[1, 2], [3, 4]])


def test_scp_refuses_pipes_and_duplicates(tmp_path):
    scp = tmp_path / "x.scp"
    scp.write_text("a cat x.ark |\n")
    with pytest.raises(DataError, match="pipes are not run"):
        read_scp(scp)
    scp.write_text("a x.ark:2\r\na x.ark:9\r\n")
    with pytest.raises(DataError, match="line 2: duplicate id a"):
        read_scp(scp)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_basic_types_round_trip(binary, dtype):
    rng = np.random.default_rng(0)
    vector, matrix = rng.normal(size=7).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    symmetric = np.cov(rng.normal(size=(4, 9))).astype(dtype)

    def write(out):
        out.token("<X>")
        out.int32(-5)
        out.real(0.1)
        out.boolean(True)
        out.vector(vector)
        out.matrix(matrix)
        out.packed(pack(symmetric))
        out.token("</X>")

    reader = KaldiReader(to_bytes(write, binary, dtype))
    assert reader.binary == binary
    assert reader.expect("<X>") == "<X>" and reader.int32() == -5
    assert np.dtype(dtype).type(reader.real()) == np.dtype(dtype).type(0.1)
    assert reader.boolean() is True
    np.testing.assert_array_equal(reader.vector().astype(dtype), vector)
    np.testing.assert_array_equal(reader.matrix().astype(dtype), matrix)
    np.testing.assert_array_equal(unpack(reader.packed()).astype(dtype), symmetric)
    assert reader.token() == "</X>" and reader.at_end()


def test_cut_model_file_is_named():
    data = to_bytes(lambda out: out.vector(np.ones(9)))
    with pytest.raises(DataError, match="cut short"):
        KaldiReader(data[:-3], "final.x").vector()


def test_model_files_hold_no_pickles_and_are_deterministic(tmp_path):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        save_model(path, "toy", {"w": np.arange(3.0)}, {"n": np.int64(3), "floor": np.ones(2)})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    arrays, options = load_model(paths[0], "toy")
    assert options == {"n": 3, "floor": [1, 1]} and arrays["w"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="holds a toy model, expected other"):
        load_model(paths[0], "other")
    paths[0].write_bytes(paths[0].read_bytes()[:50])
    with pytest.raises(DataError, match="damaged"):
        load_model(paths[0], "toy")


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]
