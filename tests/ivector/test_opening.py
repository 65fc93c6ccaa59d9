"""Files that lead elsewhere: devices, pipes, sockets, folders, links; trees and tar archives."""

import contextlib
import io
import os
import socket
import tarfile
import threading
import time

import numpy as np
import pytest

from fusion.calibration.saving import read_model
from fusion.formats.files import read_scores, read_trials
from fusion.formats.records import whole_lines
from ivector.base.errors import DataError
from ivector.base.files import load_model, read_lines
from ivector.base.foreign import opening
from ivector.base.foreign.opening import files_below, inside, readable, safe_members
from ivector.base.kaldi import KaldiReader
from ivector.data_checks import validate
from ivector.formats.arks import load_array, read_ark
from ivector.formats.gmm import read_gmm
from ivector.formats.statistics import iterate_statistics
from plda.formats.vectors import read_ids_vectors

READERS = {
    "lines": read_lines,
    "model": lambda path: load_model(path, "x"),
    "Kaldi model": KaldiReader,
    "mixture": read_gmm,
    "archive": lambda path: list(read_ark(path)),
    "entry": lambda path: load_array("a", os.fspath(path)),
    "statistics": lambda path: list(iterate_statistics(path)),
    "vectors": read_ids_vectors,
    "calibration": read_model,
}
STREAMS = {"scores": read_scores, "trials": read_trials}


@pytest.fixture(params=["device", "folder", "socket"])
def special(request, tmp_path, monkeypatch):
    """No regular file of any kind, nor a pipe."""
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    if request.param == "device":
        yield "/dev/zero", "a device"
    elif request.param == "folder":
        yield tmp_path, "a folder"
    else:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
            made.bind("s")
            yield "s", "a socket"


@pytest.mark.parametrize("kind", [*READERS, *STREAMS])
def test_what_is_no_regular_file_is_refused_unread(kind, special):
    path, what = special
    with pytest.raises(DataError, match=rf"cannot be read: it is {what}; give a regular file"):
        {**READERS, **STREAMS}[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_pipes_are_for_streams_alone(kind, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="it is a pipe"):
        READERS[kind](tmp_path / "pipe")


@pytest.mark.parametrize("name", ["a\0b", "none"])
def test_names_that_no_file_has(name):
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(name)


def written(path, content):
    """Write to a pipe, in two parts, from another thread."""

    def write():
        with open(path, "wb", buffering=0) as file:
            file.write(content[:7])
            time.sleep(0.1)
            file.write(content[7:])

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_scores_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    lines = "".join(f"m u{i} {i}.5\n" for i in range(20_000)).encode()
    thread = written(tmp_path / "pipe", lines)
    scores = read_scores(tmp_path / "pipe")
    thread.join()
    np.testing.assert_array_equal(scores.values, np.arange(20_000) + 0.5)
    assert scores.origin.where(1) == f"{tmp_path / 'pipe'}, line 2"
    assert len(read_scores(tmp_path / "pipe")) == 20_000  # read anew, from the copy


def test_a_shell_hands_over_unpacked_scores(tmp_path):
    reading, writing = os.pipe()
    thread = written(f"/dev/fd/{writing}", b"m u target\nm v nontarget\n")
    thread.join()
    os.close(writing)
    assert len(read_trials(f"/dev/fd/{reading}")) == 2
    os.close(reading)


def test_pipes_without_writer_or_end(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "none")
    monkeypatch.setattr(opening, "WRITER_S", 0.2)
    with pytest.raises(DataError, match="a pipe that nobody writes to"):
        readable(tmp_path / "none")
    os.mkfifo(tmp_path / "much")
    monkeypatch.setattr(opening, "MOST_STREAM", 100)
    thread = written(tmp_path / "much", b"x" * 101)
    with pytest.raises(DataError, match="gives more than"):
        readable(tmp_path / "much")
    thread.join()
    os.mkfifo(tmp_path / "still")
    monkeypatch.setattr(opening, "SILENT_S", 0.2)
    handle = os.open(tmp_path / "still", os.O_RDWR)
    with pytest.raises(DataError, match="gave nothing for"):
        readable(tmp_path / "still")
    os.close(handle)


def test_packed_files_that_are_to_fill_memory(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setattr(opening, "SMALL", 1 << 20)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"m u 1.5\n" * 1_000_000))
    with pytest.raises(DataError, match=r"x\.gz: unpacks to over 200 times its \d+ bytes"):
        for _ in whole_lines(path):
            pass


def tree(tmp_path, files):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


def test_links_are_followed_once_and_said(tmp_path, caplog):
    caplog.set_level("INFO")
    tree(tmp_path, ["in/b/1.wav", "in/b.wav", "in/b-c/2.wav", "out/3.wav", "in/.x/4.wav"])
    for name, target in {
        "a": "b", "itself": "itself", "up": "..", "d": "../out", "b/loop": ".", "no.wav": "none",
    }.items():  # fmt: skip
        (tmp_path / "in" / name).symlink_to(target)
    names = [path.relative_to(tmp_path / "in").as_posix() for path in files_below(tmp_path / "in")]
    expected = ["b/1.wav", "b-c/2.wav", "b.wav", "d/3.wav", "itself", "no.wav"]
    assert [name for name in names if not name.startswith("up/")] == expected
    assert names[len(expected) :] == []
    assert f"{tmp_path}/in/d leads to {tmp_path}/out" in caplog.text
    assert "in/a is left out, as what it leads to is here already" in caplog.text


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "a\0b"])
def test_tables_of_a_tree_name_what_is_in_it(tmp_path, name):
    assert inside(tmp_path, "a/b.wav", "t") == tmp_path / "a/b.wav"
    with pytest.raises(DataError, match=r"^t: names .*which is not a file inside"):
        inside(tmp_path, name, "t")


def archive(folder, *members):
    path = folder / "x.tar"
    with tarfile.open(path, "w") as file:
        for name, change in members:
            info = tarfile.TarInfo(name)
            info.size = 3
            for key, value in change.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(b"abc"))
    return path


BAD_MEMBERS = [
    ([("../a.wav", {})], "points outside"),
    ([("/a.wav", {})], "points outside"),
    ([("a.wav", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], "is a link or a device"),
    ([("a.wav", {"type": tarfile.LNKTYPE, "linkname": "b.wav"})], "is a link or a device"),
    ([("a.wav", {"type": tarfile.CHRTYPE})], "is a link or a device"),
    ([("s/a.wav", {}), ("s/./a.wav", {})], "comes twice"),
    ([("a.wav", {}), ("a.wav", {})], "comes twice"),
]


@pytest.mark.parametrize(("members", "why"), BAD_MEMBERS)
def test_members_that_are_not_what_they_seem(tmp_path, members, why):
    path = archive(tmp_path, *members)
    with (
        tarfile.open(path) as file,
        pytest.raises(DataError, match=rf"x\.tar: member '.*' {why}"),
    ):
        list(safe_members(file))


def test_a_list_that_is_a_pipe_is_a_defect(tmp_path):
    os.mkfifo(tmp_path / "trials")
    assert any("trials: cannot be read: it is a pipe" in defect for defect in validate(tmp_path))
