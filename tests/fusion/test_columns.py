"""Tables of measures and conditions: by trial and by recording, matched to trials by ids."""

import gzip

import numpy as np
import pytest

from fusion.formats.files import read_trials
from fusion.formats.measures import read_columns, trial_columns
from ivector.base.errors import DataError, UsageError

TRIALS = "a x target\na y nontarget\nb x nontarget\n"


@pytest.fixture
def put(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def trials(put):
    return read_trials(put(TRIALS, "trials"))


@pytest.mark.parametrize("mark", [",", ";", "\t", " "], ids=["comma", "semicolon", "tab", "blank"])
@pytest.mark.parametrize("pack", [False, True])
def test_by_trial(put, trials, mark, pack):
    rows = [
        "Model,Segment,duration,channel,label",
        "b,x,2.5,mic,1",
        "a,y,30,tel,0",
        "a,x,4e0,tel,0",
        "z,z,1,tel,0",
    ]
    text = "\r\n".join(rows).replace(",", mark).encode()
    table = read_columns(put(gzip.compress(text) if pack else text))
    assert table.names == ["duration", "channel"] and len(table) == 4
    found = trial_columns(table, trials)
    np.testing.assert_array_equal(found["duration"], [4.0, 30.0, 2.5])
    assert found["duration"].dtype == np.float64
    assert found["channel"].tolist() == ["tel", "tel", "mic"] and found["channel"].dtype == object


def test_by_recording(put, trials):
    table = read_columns(put("id,snr\nx,10\ny,20\na,1\nb,2\nextra,3\n"))
    found = trial_columns([table], trials)
    assert list(found) == ["enrol_snr", "test_snr"]
    np.testing.assert_array_equal(found["enrol_snr"], [1, 1, 2])
    np.testing.assert_array_equal(found["test_snr"], [10, 20, 10])


def test_models_without_a_row_leave_their_side_out(put, trials):
    found = trial_columns(read_columns(put("utt\tdur\nx\t10\ny\t20\n")), trials)
    assert list(found) == ["test_dur"]


def test_kaldi_maps_need_no_header(put, trials):
    found = trial_columns(read_columns(put("x 1.5\ny 2.5\n", "utt2dur")), trials)
    np.testing.assert_array_equal(found["test_dur"], [1.5, 2.5, 1.5])
    table = read_columns(put(gzip.compress(b"x m\ny f\n"), "utt2gender.gz"))
    assert trial_columns(table, trials)["test_gender"].tolist() == ["m", "f", "m"]


def test_quotes_and_blanks_in_cells(put):
    table = read_columns(put('id,what\n"x, 1","a ""b"" c"\n y , two words \n'))
    assert table.keys == [("x, 1",), ("y",)]
    assert table.values["what"].tolist() == ['a "b" c', "two words"]


BAD = {
    "empty": ("", "is empty; expected a header"),
    "header only": ("id,a\n", "has a header and no rows"),
    "no ids": ("name,a\nx,1\n", "line 1: the header has neither"),
    "no values": ("enrol,test\na,x\n", "line 1: has ids and no other column"),
    "unnamed": ("id,a,\nx,1,2\n", "line 1: column 3 has no name"),
    "same name": ("id,a,a\nx,1,2\n", "two columns are named 'a'"),
    "cells": ("id,a\nx,1\n\ny,1,2\n", "line 4: expected 2 cells as in the header, found 3"),
    "mixed delimiters": ("id,a\nx,1\ny;2\n", "line 3: expected 2 cells"),
    "empty cell": ("id,a\nx,1\ny,\n", "line 3: 'a' is empty"),
    "twice": ("id,a\nx,1\nx,1\n", "line 3: 'x' has a row above"),
    "word": ("id,a\n" + "".join(f"u{i},1\n" for i in range(10)) + "v,NA\n", "line 12: 'a' is a"),
    "infinite": ("id,a\nx,1\ny,inf\n", "line 3: 'a' is a column of numbers"),
    "quote": ('id,a\n"x,1\n', "line 2: a quoted cell is damaged"),
    "latin-1": (b"id,a\ncaf\xe9,1\n", "line 2: not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_tables(put, content, message):
    path = put(content)
    with pytest.raises(DataError, match=message) as caught:
        read_columns(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_every_trial_needs_its_row(put, trials):
    by_trial = read_columns(put("enrol,test,d\na,x,1\na,y,2\n"))
    with pytest.raises(DataError, match=r"1 of 3 trials .* no row, first 'b x' \(.*line 3\)"):
        trial_columns(by_trial, trials)
    with pytest.raises(DataError, match=r"1 of 2 test ids .* no row, first 'y'"):
        trial_columns(read_columns(put("id,d\nx,1\n")), trials)
    with pytest.raises(DataError, match=r"has no id of .*trials, such as 'x'"):
        trial_columns(read_columns(put("id,d\nq,1\n")), trials)


def test_two_columns_of_one_name(put, trials):
    table = read_columns(put("id,d\nx,1\ny,2\n"))
    with pytest.raises(UsageError, match="another table has a column 'test_d'"):
        trial_columns([table, table], trials)
