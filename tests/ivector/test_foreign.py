"""Bytes that others wrote: the boundary, sizes before memory, schemas, exit statuses."""

import io
import json
import logging
import struct
import zipfile
import zlib

import numpy as np
import pytest

from ivector.base import budget
from ivector.base.cli import Parser, guarded, run
from ivector.base.errors import DataError, Exit, UsageError
from ivector.base.files import load_model, read_lines, save_model
from ivector.base.foreign.arrays import open_arrays
from ivector.base.foreign.boundary import foreign, read_json
from ivector.base.foreign.schema import Field
from ivector.base.parallel.workers import single_threaded
from ivector.formats.arks import load_array, read_ark
from plda.formats.models import load_model as load_backend
from plda.formats.models import read_plda, write_plda
from plda.formats.models import save_model as save_backend
from plda.models.plda import PLDA


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("a: bad"), Exit.DATA),
        (UsageError("--a: bad"), Exit.USAGE),
        (MemoryError("big"), Exit.DATA),
        (OSError(28, "No space left", "out"), Exit.DATA),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (IndexError("list index"), Exit.FAULT),
        (RecursionError("deep"), Exit.FAULT),
        (zlib.error("bad"), Exit.FAULT),
    ],
)
def test_every_end_of_a_command_is_a_status_and_a_line(error, status, capsys):
    assert guarded("prog", raising(error)) == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("prog: ") and "Traceback" not in said


def test_a_fault_leaves_its_details(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert guarded("prog", raising(ValueError("two\nlines"))) == Exit.FAULT
    said = capsys.readouterr().err
    (file,) = tmp_path.iterdir()
    assert str(file) in said and "two lines" in said and said.count("\n") == 1
    assert "Traceback" in file.read_text() and "raise error" in file.read_text()
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        guarded("prog", raising(ValueError("x")))
    finally:
        logging.getLogger().setLevel(level)
    assert "Traceback" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("words", [["--n", "9" * 20], ["--x", "nan"], ["--x", "-inf"],
                                   ["--n", "9" * 5000], ["--file", "a\0b"]])  # fmt: skip
def test_numbers_and_names_that_cannot_be_are_usage(words, capsys):
    from pathlib import Path

    parser = Parser(prog="prog")
    parser.add_argument("--n", type=int)
    parser.add_argument("--x", type=float)
    parser.add_argument("--file", type=Path)
    with pytest.raises(SystemExit, match="2"):
        run(parser, lambda arguments: 0, words)
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_worker_raises_can_be_sent():
    class Unsendable(Exception):
        def __init__(self, code, text):
            super().__init__(text)

    def function(shard):
        raise shard

    with pytest.raises(RuntimeError, match="Unsendable: bad"):
        single_threaded(function, Unsendable(3, "bad"), {})
    with pytest.raises(DataError, match="bad"):
        single_threaded(function, DataError("bad"), {})


@pytest.mark.parametrize(
    "error",
    [TypeError("x"), zlib.error("x"), zipfile.BadZipFile("x"), RecursionError(), OverflowError(),
     NotImplementedError("x"), struct.error("x"), MemoryError(), OSError("x"), KeyError("x"),
     UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), DataError("without a name")],
)  # fmt: skip
def test_whatever_bytes_make_a_library_raise_names_the_file(error, tmp_path):
    path = tmp_path / "a.bin"
    path.touch()
    with pytest.raises(DataError, match=r"a\.bin: ") as found, foreign(path, "a model"):
        raise error
    assert found.value.__cause__ is error


@pytest.mark.parametrize(
    ("said", "told"),
    [("calibration: is empty", "calibration: is empty"),
     ("calibration, line 2: is empty", "calibration, line 2: is empty"),
     ("utt1: calibration: is empty", "utt1: calibration: is empty"),
     ("not a calibration: no knots", "calibration: not a calibration: no knots"),
     ("a calibration, or damaged", "calibration: a calibration, or damaged")],
)  # fmt: skip
def test_a_file_called_as_a_word_of_the_message_is_named(said, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calibration").touch()
    with pytest.raises(DataError) as found, foreign("calibration", "a model"):
        raise DataError(said)
    assert str(found.value) == told


class TestJson:
    @pytest.mark.parametrize(
        ("text", "words"),
        [("[" * 100_000, "nested too deep"), ("[1]", "it holds a list"), ('{"a": NaN}', "NaN"),
         ('{"a": 1, "a": 2}', "twice"), ("{", "damaged"), ("9" * 5000, "damaged")],
    )  # fmt: skip
    def test_refused(self, text, words, tmp_path):
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(DataError, match=words) as told:
            read_json(path, "a model")
        assert str(path) in str(told.value)

    def test_too_large(self, tmp_path, monkeypatch):
        path = tmp_path / "a.json"
        path.write_text('{"a": 1}')
        with pytest.raises(DataError, match="too large"):
            read_json(path, "a model", most=5)
        monkeypatch.setattr(budget, "_limit_mb", 1)
        path.write_text(json.dumps({"a": "x" * 100_000}))
        with pytest.raises(DataError, match="MiB of memory"):
            read_json(path, "a model")
        path.write_text("a\n" * 20_000)
        with pytest.raises(DataError, match="MiB of memory"):
            read_lines(path)


def npz(path, members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)


def npy(shape, descr, data=b""):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


class TestArrays:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (npy((10**9, 10**9), "<f8"), "not as long as its header"),
            (npy((-1,), "<f8"), "damaged"),
            (npy((True,), "<f8", bytes(8)), "damaged"),
            (npy((1,), "<f8", bytes(9)), "not as long as its header"),
            (npy((10**12,), "<U0"), "holds <U0"),
            (npy((1,), "|O", bytes(8)), "holds object"),
            (b"\x93NUMPY\7\0", "damaged"),
            (b"", "damaged"),
        ],
    )
    def test_declared_sizes_are_held_against_the_file(self, content, words, tmp_path):
        npz(tmp_path / "a.npz", [("a.npy", content)])
        with pytest.raises(DataError, match=words), open_arrays(tmp_path / "a.npz", "x") as found:
            found["a"]

    def test_packed_zeros_are_not_unpacked(self, tmp_path):
        content = npy((10**7,), "<f8", bytes(8 * 10**7))
        npz(tmp_path / "a.npz", [("a.npy", content)], zipfile.ZIP_DEFLATED)
        with pytest.raises(DataError, match="packed"), open_arrays(tmp_path / "a.npz", "x") as all_:
            all_["a"]

    def test_what_nobody_asks_for_is_not_read(self, tmp_path, monkeypatch):
        path = tmp_path / "a.npz"
        header = json.dumps({"kind": "k", "format": 1, "options": {}})
        buffer = io.BytesIO()
        np.save(buffer, np.array(header))
        bomb = npy((10**7,), "<f8", bytes(8 * 10**7))
        npz(path, [("_header.npy", buffer.getvalue()), ("unused.npy", bomb),
                   ("a.npy", npy((1,), "<f8", bytes(8)))], zipfile.ZIP_DEFLATED)  # fmt: skip
        assert load_model(path, "k", {"a": Field(("D",))})[0]["a"].tolist() == [0.0]
        with pytest.raises(DataError, match="packed"):
            load_model(path, "k")

    def test_a_member_twice(self, tmp_path):
        one = ("a.npy", npy((1,), "<f8", bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate"):
            npz(tmp_path / "a.npz", [one, one])
        with pytest.raises(DataError, match="twice"), open_arrays(tmp_path / "a.npz", "x"):
            pass

    def test_together_they_fit_in_memory(self, tmp_path, monkeypatch):
        save_model(tmp_path / "a.npz", "k", {"a": np.ones(90_000), "b": np.ones(90_000)}, {})
        assert len(load_model(tmp_path / "a.npz", "k")[0]) == 2
        monkeypatch.setattr(budget, "_limit_mb", 1)
        with pytest.raises(DataError, match="its arrays together"):
            load_model(tmp_path / "a.npz", "k")


class TestSchema:
    @pytest.mark.parametrize(
        ("array", "field", "words"),
        [
            (np.ones((2, 3), complex), Field(("C", "D")), "complex128"),
            (np.zeros((2, 3), "M8[s]"), Field(("C", "D")), "datetime64"),
            (np.ones((2, 3), bool), Field(("C", "D")), "bool"),
            (np.ones((2, 0)), Field(("C", "D")), "none may be 0"),
            (np.ones(2), Field(("C", "D")), "expected"),
            (np.ones((2, 3)), Field(("C", "C")), "C = 2"),
            (np.array([1.0, np.nan]), Field(("C",)), "NaN"),
            (np.array([1.0, -1.0]), Field(("C",), least=0), "between 0 and inf"),
            (np.array([1.0, 0.0]), Field(("C",), positive=True), "not positive"),
            (np.ones((2, 2)), Field(("D", "D"), definite=True), "positive definite"),
            (np.array([[1.0, 0.5], [0, 1]]), Field(("D", "D"), definite=True), "definite"),
            (np.array(0.5), Field((), "truth"), "expected truth"),
        ],
    )
    def test_refused(self, array, field, words, tmp_path):
        save_model(tmp_path / "a.npz", "k", {"a": array}, {})
        with pytest.raises(DataError, match=words) as told:
            load_model(tmp_path / "a.npz", "k", {"a": field})
        assert "a.npz" in str(told.value)

    @pytest.mark.parametrize("version", [0, -1, 2, "1", None, True, 1.0, float("nan")])
    def test_versions(self, version, tmp_path):
        header = json.dumps({"kind": "k", "format": version, "options": {}})
        np.savez(tmp_path / "a.npz", _header=np.array(header))
        with pytest.raises(DataError, match="format"):
            load_model(tmp_path / "a.npz", "k", {})


def test_a_backend_has_only_what_its_class_learns(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3)), np.repeat(np.arange(5), 4)
    path = tmp_path / "a.npz"
    save_backend(PLDA(2).fit(X, y), path)
    with np.load(path) as archive:
        arrays = dict(archive)
    save = {**arrays, "model/__class__": np.ones(1), "model/transform": np.ones(1)}
    np.savez(path, **save)
    found = load_backend(path)
    assert type(found) is PLDA and callable(found.transform)
    for change, words in (
        ({"model/transform_": np.ones((3, 3))}, "singular"),
        ({"model/psi_": np.array([1.0, -1.0, 1.0])}, "between 0 and inf"),
        ({"model/psi_": np.ones(2)}, "expected"),
        ({"model/mean_": np.ones(3, complex)}, "complex"),
    ):
        np.savez(path, **{**arrays, **change})
        with pytest.raises(DataError, match=words):
            load_backend(path)
    del arrays["model/psi_"]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="lacks model/psi_"):
        load_backend(path)


class TestKaldi:
    @pytest.mark.parametrize(
        "head",
        [
            b"\0BFM \4" + struct.pack("<i", 2**31 - 1) + b"\4" + struct.pack("<i", 2**31 - 1),
            b"\0BFM \4" + struct.pack("<i", -1) + b"\4" + struct.pack("<i", -1),
            b"\0BFV \4" + struct.pack("<i", 10**9),
            b"\0BCM " + struct.pack("<ffii", 0, 1, 10**6, 10**6),
            b"\0B\4" + struct.pack("<i", 10**9),
        ],
    )
    def test_sizes_are_held_against_the_archive(self, head, tmp_path):
        path = tmp_path / "a.ark"
        path.write_bytes(b"utt " + head + bytes(100))
        with pytest.raises(DataError, match=r"a\.ark.*cut or damaged after utterance none"):
            list(read_ark(path))
        with pytest.raises(DataError, match=r"utt: .*cut or damaged"):
            load_array("utt", f"{path}:4")

    def test_offsets_and_ids_without_end(self, tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            load_array("utt", f"{tmp_path / 'a.ark'}:{'9' * 23}")
        (tmp_path / "a.ark").write_bytes(b"x" * 100_000)
        with pytest.raises(DataError, match="damaged"):
            list(read_ark(tmp_path / "a.ark"))

    def test_nothing_follows_a_model(self, tmp_path):
        path = tmp_path / "plda"
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((20, 3)), np.repeat(np.arange(5), 4)
        for binary in (True, False):
            write_plda(PLDA(2).fit(X, y), path, binary)
            read_plda(path)
            path.write_bytes(path.read_bytes() + b"x")
            with pytest.raises(DataError, match="goes on behind the model"):
                read_plda(path)
