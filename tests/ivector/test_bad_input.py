"""Users' mistakes in files and options: one line that says what is wrong."""

import argparse
import os

import pytest
from shard_jobs import die

from ivector.base import cli
from ivector.base.errors import DataError
from ivector.base.kaldi import read_vectors
from ivector.base.parallel.shards import map_shards
from plda.formats.vectors import read_ids_vectors


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_killed_worker_is_told_with_its_cure():
    with pytest.raises(DataError, match=r"worker process was killed.*fewer jobs"):
        list(map_shards(die, [1, 2], nj=2))


@pytest.mark.parametrize("text", ["1.5", "x", "", "0", "11"])
def test_whole_numbers(text):
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1 and at most 10"):
        cli.whole(1, 10)(text)


def test_full_disk_and_memory_are_one_line(capsys):
    parser = cli.Parser(prog="x")
    for error, said in (
        (OSError(28, "No space left on device", "/a/b"), "x: error: /a/b: No space left on device"),
        (MemoryError("149 GiB"), "not enough memory (149 GiB); take"),
    ):

        def fail(_, error=error):
            raise error

        assert cli.run(parser, fail, []) == 1
        assert said in capsys.readouterr().err


def test_cut_text_archive_of_vectors(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("a  [ 1 2 ]\nb  [ 3 4")
    with pytest.raises(DataError, match="line 2: expected 'id"):
        read_vectors(path)
    path.write_text("a  [ 1 2 ]\na  [ 3 4 ]\n")
    with pytest.raises(DataError, match="id a occurs twice"):
        read_vectors(path)
    path.write_text("a  [ 1 2 ]\nb  [ 3 nan ]\n")
    with pytest.raises(DataError, match="the vector of b"):
        read_ids_vectors(path)
