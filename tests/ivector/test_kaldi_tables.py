"""Kaldi's tables and options where something is wrong, and where nothing is."""

import inspect
import os
import re
import subprocess
import sys
import wave

import kaldiio
import numpy as np
import pytest

from ivector.base.errors import DataError, UsageError
from ivector.base.kaldi_cli.parsing import parse
from ivector.base.kaldi_cli.running import help_text, run_program
from ivector.base.tables.holders import HOLDERS, Posteriors
from ivector.base.tables.reading import TableLookup, TableReader
from ivector.base.tables.specifiers import is_specifier, parse_rspecifier, parse_wspecifier
from ivector.base.tables.writing import TableWriter
from ivector.kaldi.table import PROGRAM
from plda.kaldi.table import PROGRAM as PLDA_PROGRAM

COMMANDS = [
    (program, command)
    for program in (PROGRAM, PLDA_PROGRAM)
    for command in program.commands.values()
]
MATRIX, VECTOR = HOLDERS["matrix"], HOLDERS["vector"]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(name, *words):
    run_program(PROGRAM, name, words)


def write(specifier, entries, holder=MATRIX):
    with TableWriter(specifier, holder) as writer:
        for key, value in entries.items():
            writer.write(key, value)


def read(specifier, holder=MATRIX):
    return dict(TableReader(specifier, holder))


def frames(*keys, n=20, d=3):
    rng = np.random.default_rng(0)
    return {key: rng.normal(size=(n, d)).astype(np.float32) for key in keys}


# ---- specifiers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ark:gunzip -c a.gz |", "shell pipes are not run; write the output"),
        ("scp:cat a.scp|", "shell pipes are not run"),
        ("a.ark", "expected a table to read"),
        ("ark,x:a", "x is no option of a table to read"),
        ("ark,scp:a", "expected a table to read"),
        ("ark:", "expected a table to read"),
    ],
)
def test_what_is_no_table_to_read_is_refused(text, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_rspecifier(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ark:| gzip -c > a.gz", "shell pipes are not run; write a file"),
        ("scp:a.scp", "write ark,scp:FILE,FILE"),
        ("ark,scp:a.ark", "expected ark,scp:FILE,FILE"),
        ("scp,ark:a.scp,a.ark", "expected a table to write"),
        ("ark,s:a", "s is no option of a table to write"),
        ("out.txt", "expected a table to write"),
    ],
)
def test_what_is_no_table_to_write_is_refused(text, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_wspecifier(text)


def test_files_are_told_from_tables():
    assert is_specifier("ark,s,cs:-") and is_specifier("scp,p:a") and is_specifier("ark,t:a")
    assert not any(map(is_specifier, ("C:/a", "final.ie", "arks:a", "-", "t:a", "a,ark")))


# ---- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [0, 1, 2, 3, 5])
def test_a_list_says_where_entries_are(compression):
    """Also to others: kaldiio reads what was written, and ranges are Kaldi's."""
    entries = frames("a", "b")
    with TableWriter("ark,scp:m.ark,m.scp", MATRIX) as writer:
        writer.compression = compression
        for key, value in entries.items():
            writer.write(key, value)
    again = read("scp:m.scp")
    for key, matrix in kaldiio.load_scp("m.scp").items():
        np.testing.assert_array_equal(again[key], matrix)
        np.testing.assert_allclose(again[key], entries[key], atol=0.05 if compression else 0)
    location = open("m.scp").read().splitlines()[1].split()[1]
    open("part.scp", "w").write(f"b {location}[2:4,0:1]\n")
    np.testing.assert_array_equal(read("scp:part.scp")["b"], again["b"][2:5, :2])


def test_a_cut_archive_names_the_last_whole_entry_and_nothing_is_written():
    write("ark:m.ark", frames("a", "b", "c"))
    whole = open("m.ark", "rb").read()
    open("cut.ark", "wb").write(whole[:-5])
    with pytest.raises(DataError, match=r"cut\.ark: .* cut, damaged .* utterance b"):
        run("add-deltas", "ark:cut.ark", "ark,scp:out.ark,out.scp")
    open("cut.ark", "wb").write(whole[:-5])
    assert not [path for path in os.listdir() if "out" in path]
    assert list(read("ark,p:cut.ark")) == ["a", "b"]


@pytest.mark.parametrize("size", [2**31 - 1, -1])
def test_declared_sizes_are_not_believed(size):
    head = b"a \0BFM \4" + size.to_bytes(4, "little", signed=True) + b"\4" + bytes([255, 0, 0, 0])
    open("m.ark", "wb").write(head + bytes(100))
    with pytest.raises(DataError, match="utterance none"):
        read("ark:m.ark")


@pytest.mark.parametrize(
    ("content", "holder"),
    [
        (b"a [ 1 2\n3 ]\n", "matrix"),
        (b"a [ 1 x ]\n", "vector"),
        (b"a [ 1 2 \n 3 4 ]\n", "vector"),
        (b"a 1 2 3\n", "vector"),
        (b"a [ 1 ] \n", "posteriors"),
        (b"a \0BFV \4\1\0\0\0abcd", "matrix"),
        (b"a \0BDM ", "vector"),
        (b"a x\n", "int"),
        (b"RIFF....WAVE", "matrix"),
    ],
)
def test_other_things_are_no_entries(content, holder):
    open("t.ark", "wb").write(content)
    with pytest.raises(DataError, match=r"t\.ark: .* after utterance none"):
        read("ark:t.ark", HOLDERS[holder])


def test_an_id_stands_once():
    write("ark:one.ark", frames("a"))
    content = open("one.ark", "rb").read()
    open("two.ark", "wb").write(content * 2)
    with pytest.raises(DataError, match="a stands there twice"):
        read("ark:two.ark")
    open("two.scp", "w").write("a one.ark:2\na one.ark:2\n")
    with pytest.raises(DataError, match=r"two\.scp, line 2: a stands there twice"):
        read("scp:two.scp")


def test_lists_with_pipes_or_missing_files():
    open("pipe.scp", "w").write("a gunzip -c a.gz |\n")
    with pytest.raises(DataError, match=r"pipe\.scp, line 1: a: shell pipes are not run"):
        read("scp:pipe.scp")
    write("ark,scp:m.ark,m.scp", frames("a", "c"))
    lines = open("m.scp").read().splitlines()
    open("m.scp", "w").write("\n".join([lines[0], "b gone.ark:5", lines[1]]))
    with pytest.raises(DataError, match=r"b: gone\.ark: .*No such file"):
        read("scp:m.scp")
    assert list(read("scp,p:m.scp")) == ["a", "c"]


def test_entries_by_id_in_any_order():
    entries = frames("a", "b", "c")
    write("ark,scp:m.ark,m.scp", entries)
    for specifier in ("ark:m.ark", "scp:m.scp"):
        lookup = TableLookup(specifier, MATRIX)
        for key in ("c", "a", "x", "b", "a"):
            found = lookup.get(key)
            assert (found is None) == (key == "x")
            assert found is None or np.array_equal(found, entries[key])


def test_tables_that_are_said_to_be_sorted():
    write("ark:sorted.ark", frames("a", "c", "d"))
    lookup = TableLookup("ark,s,cs:sorted.ark", MATRIX)
    assert [lookup.get(key) is not None for key in "abbcdf"] == [
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    with pytest.raises(DataError, match="asked for a after f"):
        lookup.get("a")
    write("ark:mixed.ark", frames("c", "a", "d"))
    with pytest.raises(DataError, match=r"mixed\.ark: is not sorted.* a after c"):
        TableLookup("ark,s:mixed.ark", MATRIX).get("d")


def test_posteriors_keep_what_is_not_zero():
    table = Posteriors(np.array([[3, 1], [2, 0]], np.int32), np.array([[0.5, 0.5], [1, 0]], "f4"))
    for form in ("ark", "ark,t"):
        write(f"{form}:p", {"a": table, "b": table}, HOLDERS["posteriors"])
        again = read("ark:p", HOLDERS["posteriors"])["b"]
        assert again.indices.tolist() == [[3, 1], [2, 0]]
        assert again.posts.tolist() == [[0.5, 0.5], [1, 0]]


def test_numbers_of_any_kind():
    write("ark:r", {"a": 1.25}, HOLDERS["real"])
    assert read("ark:r", HOLDERS["real"]) == {"a": 1.25}
    write("ark:w", {"s": ["u1", "u2"], "t": []}, HOLDERS["words"])
    assert read("ark:w", HOLDERS["words"]) == {"s": ["u1", "u2"], "t": []}
    with pytest.raises(DataError, match="cannot be an id"):
        write("ark:w", {"a b": ["c"]}, HOLDERS["words"])


def test_devices_stay_devices():
    write("ark:/dev/null", frames("a"))
    assert not os.path.isfile("/dev/null")


# ---- options -----------------------------------------------------------------------------------


def options_of(name, *words, files=("ark:a", "ark:b")):
    return parse(PROGRAM.commands[name], [*words, *files])[0]


def test_options_as_kaldi_writes_them():
    open("conf", "w").write("# MFCC\n--num-ceps=20  # more\n\n--snip_edges=False\n--dither=0\n")
    given = options_of("compute-mfcc-feats", "--num-ceps=24", "--config=conf", "--use-energy")
    assert (given.num_ceps, given.snip_edges, given.use_energy, given.dither) == (
        24,
        False,
        True,
        0,
    )
    assert options_of("compute-mfcc-feats", "--", files=("scp:a", "ark:b")).num_ceps == 13


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("add-deltas", ["--delta-windw=3"], "has no option --delta-windw (did you mean --delta"),
        ("add-deltas", ["--delta-order=x"], "--delta-order takes a whole number, not 'x'"),
        ("add-deltas", ["--delta-order"], "--delta-order takes a value"),
        ("compute-vad", ["--vad-energy-threshold=inf"], "takes a number, not 'inf'"),
        ("apply-cmvn-sliding", ["--center=yes"], "--center is true or false, not 'yes'"),
        ("apply-cmvn-sliding", ["--max-warnings=9"], "--max-warnings, which Kaldi has, is not"),
        ("compute-mfcc-feats", ["--vtln-map=ark:w"], "there is no vocal-tract length"),
        ("compute-mfcc-feats", ["--window-type=gauss"], "--window-type is hamming or hanning"),
        ("copy-feats", ["--config=conf"], "conf: copy-feats has no option --num-cep"),
    ],
)  # fmt: skip
def test_options_that_there_are_not(name, words, told):
    open("conf", "w").write("--num-cep=3\n")
    with pytest.raises(UsageError, match=re.escape(told)):
        options_of(name, *words)


def test_an_option_that_is_not_here_passes_at_kaldis_default():
    assert options_of("apply-cmvn-sliding", "--max-warnings=5", "--center").center


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            ["ark:a"],
            "1 files and tables were given; usage: add-deltas [options] <feats-rspecifier>",
        ),
        (["ark:a", "b.ark"], "'b.ark': <feats-wspecifier> is a table, such as ark:FILE"),
        (["ark:a", "ark:b", "--delta-order=1"], "--delta-order=1: options stand before the files"),
    ],
)
def test_files_that_do_not_fit(files, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        options_of("add-deltas", files=files)


@pytest.mark.parametrize(("program", "command"), COMMANDS, ids=lambda one: getattr(one, "name", ""))
def test_every_option_is_used_and_told(program, command):
    source = inspect.getsource(inspect.getmodule(command.function))
    text = help_text(program, command)
    for option in command.options:
        attribute = option.name.replace("-", "_")
        shared = "for name in (*names, *own)" in source and f'Option("{option.name}"' in source
        assert shared or re.search(rf"options\.{attribute}\b", source), option.name
        assert f"--{option.name}=" in text
    assert all(f"--{lack.name}" in text and lack.why for lack in command.lacks)
    keywords = inspect.signature(command.function).parameters
    assert {slot.keyword for form in command.forms for slot in form} <= set(keywords)


@pytest.mark.parametrize("package", ["ivector", "plda"])
def test_help_loads_nothing_that_computes(package):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{package}.kaldi', sys.argv[1], '--help']\n"
        "try:\n"
        f"    runpy.run_module('{package}.kaldi', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(*sys.modules)"
    )
    name = {"ivector": "compute-mfcc-feats", "plda": "ivector-plda-scoring"}[package]
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True)
    assert done.stdout.startswith(f"usage: python -m {package}.kaldi {name} [options] <"), done
    slow = {"scipy", "sklearn", "numba", "soundfile", "kaldiio", "joblib"}
    assert not slow & set(done.stdout.split())


# ---- commands ----------------------------------------------------------------------------------


def test_missing_keys_are_left_out_and_counted(caplog):
    caplog.set_level("INFO")
    write("ark:m.ark", frames("a", "b", "c"))
    vad = {"a": np.ones(20), "b": np.ones(19), "d": np.ones(20)}
    write("ark:v.ark", vad, VECTOR)
    run("select-voiced-frames", "ark:m.ark", "ark:v.ark", "ark:out.ark")
    assert list(read("ark:out.ark")) == ["a"]
    assert "b: 20 frames and 19 voice decisions; left out" in caplog.text
    assert "c: no voice decisions; left out" in caplog.text
    assert "1 utterances done, 2 left out" in caplog.text


def test_where_nothing_is_done_nothing_is_written():
    write("ark:m.ark", frames("a"))
    write("ark:v.ark", {"a": np.zeros(20)}, VECTOR)
    with pytest.raises(DataError, match="no utterances to write: all 1 were left out"):
        run("select-voiced-frames", "ark:m.ark", "ark:v.ark", "ark:out.ark")
    assert not os.path.exists("out.ark")


def test_frames_counted_and_thinned():
    write("ark:m.ark", frames("a", "b"))
    run("subsample-feats", "--n=6", "--offset=1", "ark:m.ark", "ark:s.ark")
    run("subsample-feats", "--n=-2", "ark:s.ark", "ark:r.ark")
    np.testing.assert_array_equal(read("ark:s.ark")["a"], read("ark:m.ark")["a"][1::6])
    np.testing.assert_array_equal(read("ark:r.ark")["a"][::2], read("ark:s.ark")["a"])
    run("feat-to-len", "ark:s.ark", "ark,t:len")
    assert open("len").read() == "a 4 \nb 4 \n"
    run("feat-to-len", "ark:s.ark", "total")
    assert open("total").read() == "8\n"


def test_numbers_changed_while_they_are_copied():
    write("ark:v.ark", {"a": np.arange(3)}, VECTOR)
    run("copy-vector", "--change-dim=5", "--scale=2", "ark:v.ark", "ark:w.ark")
    assert read("ark:w.ark", VECTOR)["a"].tolist() == [0, 2, 4, 0, 0]
    write("ark:m.ark", {"a": np.array([[1.0, 4.0]])})
    run("copy-matrix", "--scale=4", "--apply-power=0.5", "ark:m.ark", "ark:n.ark")
    assert read("ark:n.ark")["a"].tolist() == [[2, 4]]
    run("copy-matrix", "--apply-log", "ark:m.ark", "ark:n.ark")
    run("copy-matrix", "--apply-exp", "ark:n.ark", "ark:m2.ark")
    np.testing.assert_allclose(read("ark:m2.ark")["a"], [[1, 4]], rtol=1e-6)


def test_features_of_other_dimensions_are_told():
    write("ark:m.ark", frames("a", d=2))
    with pytest.raises(DataError, match="a: has 2 columns, --truncate=3"):
        run("add-deltas", "--truncate=3", "ark:m.ark", "ark:out")


def record(path, n_channels=1, seconds=1.0, rate=8000):
    samples = np.random.default_rng(0).integers(-3000, 3000, (int(rate * seconds), n_channels))
    with wave.open(path, "wb") as file:
        file.setnchannels(n_channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return samples


def test_segments_are_those_samples(caplog):
    stereo, mono = record("s.wav", 2), record("m.wav")
    open("wav.scp", "w").write("m m.wav\ns s.wav\n")
    lines = ["a m 0.1 0.5", "b s 0.2 0.6 1", "c m 0.5 -1", "d m 0.3 1.2", "e m 0.2 9", "f m 2 3"]
    lines += ["g x 0 1", "h m 0.5 0.55", "i s 0 1 2", "j m 0.9 0.2", "k m", "l m 0 1 C"]
    open("segments", "w").write("\n".join(lines))
    run("extract-segments", "scp:wav.scp", "segments", "ark,scp:w.ark,w.scp")
    run("compute-mfcc-feats", "--sample-frequency=8000", "--dither=0", "--write-utt2dur=ark,t:dur",
        "scp:w.scp", "ark:f.ark")  # fmt: skip
    assert open("dur").read() == "a 0.4 \nb 0.4 \nc 0.5 \nd 0.7 \n"
    wave_of = dict(TableReader("ark:w.ark", PROGRAM.holders["wave"]()))
    np.testing.assert_array_equal(wave_of["a"].samples(), mono[800:4000, 0])
    np.testing.assert_array_equal(wave_of["b"].samples(), stereo[1600:4800, 1])
    for told in ("e: ends at 9 s", "f: begins at 2 s", "g: there is no recording x",
                 "h: is not longer than 0.1 s", "i: there is no channel 2 of 2",
                 "j: invalid line", "k: invalid line", "l: invalid line"):  # fmt: skip
        assert told in caplog.text
    open("segments", "w").write("a s 0 1\n")
    with pytest.raises(DataError, match="a: its recording has 2 channels; name one as fifth"):
        run("extract-segments", "scp:wav.scp", "segments", "ark:out")


def test_rates_channels_and_durations(caplog):
    record("s.wav", 2)
    open("wav.scp", "w").write("a s.wav\n")
    words = ["--dither=0", "scp:wav.scp", "ark:out"]
    with pytest.raises(DataError, match="a: sampled at 8000 Hz, and --sample-frequency=16000"):
        run("compute-mfcc-feats", *words)
    run("compute-fbank-feats", "--allow-upsample", "--subtract-mean", *words)
    assert "a: has 2 channels; the first is taken" in caplog.text
    np.testing.assert_allclose(read("ark:out")["a"].mean(0), 0, atol=1e-4)
    for option, told in (("--channel=2", "has 2 channel"), ("--min-duration=2", "below --min")):
        with pytest.raises(DataError, match="all 1 were left out"):
            run("compute-mfcc-feats", option, *words)
        assert told in caplog.text


def test_a_recording_that_is_cut_is_told():
    record("m.wav")
    content = open("m.wav", "rb").read()
    open("m.wav", "wb").write(content[:-1000])
    open("wav.scp", "w").write("a m.wav\n")
    with pytest.raises(DataError, match=r"a: m\.wav: .*cut"):
        run("compute-mfcc-feats", "--sample-frequency=8000", "scp:wav.scp", "ark:out")
