"""Data directories: round trips, tolerance in reading, and every defect named with its line."""

import numpy as np
import pytest
import soundfile

from ivector.base.errors import DataError
from ivector.data import (
    DataDir,
    Part,
    Segment,
    Trial,
    read_data_dir,
    read_enroll,
    read_trials,
    write_data_dir,
    write_enroll,
    write_trials,
)
from ivector.data_checks import validate
from ivector.features.audio import read_audio

GOOD = {
    "wav.scp": "a-1 /x/a 1.wav\na-2 /x/a 2.wav\nb-1 /x/b.flac\n",
    "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
    "spk2utt": "a a-1 a-2\nb b-1\n",
    "utt2dur": "a-1 1.5\na-2 2\nb-1 3.25\n",
    "spk2gender": "a f\nb m\n",
    "enroll": "A a-1 a-2\nB b-1\n",
    "trials": "A a-1 target\nA b-1 nontarget\nb a-1 nontarget\n",
}


def make(folder, **changes):
    """Write GOOD with some files changed (None: left out); wav_scp stands for wav.scp."""
    for name, content in {
        **GOOD,
        **{k.replace("wav_", "wav."): v for k, v in changes.items()},
    }.items():
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(data)
    return folder


def test_reads_and_writes_the_same(tmp_path):
    data = read_data_dir(make(tmp_path))
    assert data.wav_scp["a-1"] == "/x/a 1.wav"
    assert data.spk2utt == {"a": ["a-1", "a-2"], "b": ["b-1"]}
    assert data.utt2dur["b-1"] == 3.25
    assert next(data.recordings()) == ("a-1", "/x/a 1.wav", None, None)
    write_data_dir(tmp_path / "copy", data)
    assert read_data_dir(tmp_path / "copy") == data
    for name in ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "spk2gender"):
        assert (tmp_path / "copy" / name).read_text() == GOOD[name]
    assert validate(tmp_path / "copy") == []


def test_reads_windows_text_and_tabs(tmp_path):
    make(
        tmp_path,
        wav_scp="\ufeffa-1\t/x/a 1.wav\r\na-2  /x/a 2.wav \r\n\r\nb-1 /x/b.flac\r\n",
        utt2spk="a-1\ta\r\na-2\ta\r\nb-1\tb\r\n",
        trials="A\ta-1\ttarget\r\n",
    )
    data = read_data_dir(tmp_path)
    assert list(data.wav_scp.values()) == ["/x/a 1.wav", "/x/a 2.wav", "/x/b.flac"]
    assert read_trials(tmp_path / "trials") == [Trial("A", "a-1", True)]


def test_writes_sorted_by_code_points(tmp_path):
    ids = ["z-1", "é-1", "Z-1", "_-1", "日-1", "a-1"]
    data = DataDir({u: "x.wav" for u in ids}, {u: u[0] for u in ids})
    write_data_dir(tmp_path, data)
    lines = (tmp_path / "utt2spk").read_bytes().splitlines()
    assert lines == sorted(lines)
    assert validate(tmp_path) == []


def test_segments(tmp_path):
    data = DataDir(
        {"rec": "/x/rec.wav"},
        {"a-1": "a", "a-2": "a"},
        segments={"a-1": Segment("rec", 0, 1.25), "a-2": Segment("rec", 2.5, -1)},
    )
    assert list(data.recordings()) == [
        ("a-1", "/x/rec.wav", 0, 1.25),
        ("a-2", "/x/rec.wav", 2.5, None),
    ]
    write_data_dir(tmp_path, data)
    assert read_data_dir(tmp_path) == data
    assert validate(tmp_path) == []
    write_data_dir(tmp_path, DataDir({"a-1": "x.wav"}, {"a-1": "a"}))
    assert not (tmp_path / "segments").exists()


@pytest.fixture
def stereo(tmp_path):
    """A call, 300 Hz on its left channel and 1200 Hz on its right one."""
    time = np.arange(16000) / 8000
    tones = 0.5 * np.sin(2 * np.pi * time[:, None] * [300, 1200])
    soundfile.write(tmp_path / "call.wav", tones, 8000)
    return str(tmp_path / "call.wav")


def peak(row):
    _, file, start, end, channel = Part(*row)
    samples, rate = read_audio(file, None, channel, start, end)
    return np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples)


@pytest.mark.parametrize(("left", "right"), [("0", "1"), ("A", "B")])
def test_two_channels_stay_two_people(tmp_path, stereo, left, right):
    make(
        tmp_path, wav_scp=f"r {stereo}\n", utt2spk="a-1 a\nb-1 b\n", spk2utt="a a-1\nb b-1\n",
        segments=f"a-1 r 0.5 1.5 {left}\nb-1\tr  0.5 1.5\t{right}\n", utt2dur=None, enroll=None,
        trials=None,
    )  # fmt: skip
    data = read_data_dir(tmp_path)
    assert [round(peak(row)) for row in data.recordings()] == [300, 1200]
    assert validate(tmp_path) == []
    write_data_dir(tmp_path / "copy", data.subset(["b-1"]))
    assert (tmp_path / "copy/segments").read_text() == "b-1 r 0.5 1.5 1\n"
    soundfile.write(stereo, np.zeros(16000), 8000)
    (defect,) = validate(tmp_path)
    assert f"segments:2: b-1: channel {right}, but {stereo} has 1 channel(s)" in defect


def test_recordings_told_apart_by_channel_alone_are_refused(tmp_path, stereo):
    make(
        tmp_path, wav_scp=f"a-1 {stereo}\na-2 x\nb-1 {stereo}\n",
        reco2file_and_channel="a-1 call A\na-2 x A\nb-1 call B\n",
    )  # fmt: skip
    with pytest.raises(DataError, match="a-1 and b-1 are channels of one file"):
        read_data_dir(tmp_path)
    assert "a-1 and b-1 are channels of one file" in validate(tmp_path)[0]
    (tmp_path / "reco2file_and_channel").write_text("a-1 call A\na-2 x B\nb-1 call A\n")
    assert read_data_dir(tmp_path).utterances and validate(tmp_path) == []


def test_subset(tmp_path):
    data = read_data_dir(make(tmp_path))
    part = data.subset(["a-2"])
    assert part == DataDir(
        {"a-2": "/x/a 2.wav"}, {"a-2": "a"}, utt2dur={"a-2": 2.0}, spk2gender={"a": "f"}
    )
    assert data.subset(data.utterances) == data
    with pytest.raises(DataError, match="c-1"):
        data.subset(["a-1", "c-1"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"wav_scp": None}, "wav.scp: cannot be read"),
        ({"utt2spk": ""}, "utt2spk: is empty"),
        ({"utt2spk": "a-1 a\na-2\nb-1 b\n"}, "utt2spk:2: a-2: nothing"),
        ({"utt2spk": "a-1 a\na-1 a\nb-1 b\n"}, "utt2spk:2: a-1 stands there twice"),
        ({"utt2spk": "a-1 a b\na-2 a\nb-1 b\n"}, "utt2spk:1: a-1: 'a b' cannot be an id"),
        ({"utt2spk": b"a-1 \xe9\n"}, "not UTF-8"),
        ({"wav_scp": "a-1 sox x |\n"}, "wav.scp:1: a-1: shell pipes"),
        ({"wav_scp": "a-1 x\na-2 y\n"}, "lacks b-1"),
        ({"spk2utt": "a a-1\nb b-1 a-2\n"}, "spk2utt contradicts utt2spk for speaker a"),
        ({"utt2dur": "a-1 long\n"}, "utt2dur:1: a-1"),
        ({"segments": "a-1 r 2 1\n"}, "segments:1: a-1: segment from 2 s to 1 s"),
        ({"segments": "a-1 r 2\n"}, "segments:1: a-1: expected"),
        ({"segments": "a-1 r 0 inf\n"}, "segments:1: a-1: segment from 0 s to inf"),
        ({"segments": "a-1 r 0 1 C\n"}, "segments:1: a-1: channel 'C', expected A, B, 0"),
        ({"segments": "a-1 r 0 1 -1\n"}, "segments:1: a-1: channel '-1'"),
        ({"utt2dur": "a-1 nan\n"}, "utt2dur:1: a-1: duration nan is not above 0"),
        ({"spk2gender": "a female\n"}, "spk2gender:1: a: gender 'female', expected m or f"),
        ({"segments": "a-1 r 0 1\na-2 r 1 2\nb-1 r 2 3\n"}, "recording r is not in wav.scp"),
    ],
)
def test_reading_stops_at_a_defect(tmp_path, changes, match):
    with pytest.raises(DataError, match=match):
        read_data_dir(make(tmp_path, **changes))


@pytest.mark.parametrize(
    ("wav_scp", "utt2spk"),
    [
        ({"a 1": "x"}, {"a 1": "s"}),
        ({"a": "x |"}, {"a": "s"}),
        ({"a": " x"}, {"a": "s"}),
        ({"a": "x"}, {"a": ""}),
    ],
)
def test_refuses_to_write_what_a_line_cannot_hold(tmp_path, wav_scp, utt2spk):
    with pytest.raises(DataError):
        write_data_dir(tmp_path, DataDir(wav_scp, utt2spk))


def test_trials_and_enrolments(tmp_path):
    trials = [Trial("B", "a-1", False), Trial("A", "a-1", True), Trial("A", "b-1", None)]
    write_trials(tmp_path / "trials", trials)
    assert (tmp_path / "trials").read_text() == "B a-1 nontarget\nA a-1 target\nA b-1\n"
    assert read_trials(tmp_path / "trials") == trials
    enroll = {"B": ["b-1"], "A": ["a-2", "a-1"]}
    write_enroll(tmp_path / "enroll", enroll)
    assert read_enroll(tmp_path / "enroll") == enroll
    assert (tmp_path / "enroll").read_text() == "A a-2 a-1\nB b-1\n"


@pytest.mark.parametrize("line", ["A", "A a-1 same", "A a-1 target 3"])
def test_refuses_trials(tmp_path, line):
    (tmp_path / "trials").write_text(f"A a-1 target\n{line}\n")
    with pytest.raises(DataError, match="trials:2: expected"):
        read_trials(tmp_path / "trials")


def test_refuses_empty_lists(tmp_path):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match="no trials"):
        read_trials(tmp_path / "empty")
    with pytest.raises(DataError, match="empty"):
        read_enroll(tmp_path / "empty")


def test_valid_directory_has_no_defects(tmp_path):
    assert validate(make(tmp_path)) == []
    assert validate(tmp_path / "none") == [f"{tmp_path / 'none'}: no such folder"]


DEFECTS = [
    (
        {"spk2utt": None},
        ["spk2utt: missing"],
    ),
    (
        {"utt2dur": ""},
        ["utt2dur: is empty", "utt2dur: lacks a-1", "utt2dur: lacks a-2", "utt2dur: lacks b-1"],
    ),
    (
        {"utt2spk": "a-2 a\na-1 a\nb-1 b\n"},
        ["utt2spk:2: not sorted: a-1 after a-2"],
    ),
    (
        {"utt2spk": "a-1 a\na-1 b\na-2 a\nb-1 b\n"},
        ["utt2spk:2: a-1 stands there already, in line 1"],
    ),
    (
        {"utt2spk": "a-1 a\na-2 a\nb-1 b"},
        ["utt2spk:3: no newline at the end"],
    ),
    (
        {"utt2spk": "a-1 a \na-2 a\r\n b-1 b\n"},
        [
            "utt2spk:1: blanks at the end",
            "utt2spk:2: ends with a carriage return",
            "utt2spk:3: blanks before",
        ],
    ),
    (
        {"utt2spk": "a-1 a\n\na-2 a\nb-1 b\n"},
        ["utt2spk:2: empty line"],
    ),
    (
        {"utt2spk": "\ufeffa-1 a\na-2 a\nb-1 b\n"},
        ["utt2spk:1: byte-order mark"],
    ),
    (
        {"enroll": b"A a-1 a-2\n\xff a-1\n", "trials": None},
        ["enroll:2: not UTF-8 (byte 1"],
    ),
    (
        {"enroll": "A a-1\u00a0a-2\n", "trials": None},
        ["enroll:1: holds a blank that", "enroll:1: A: a-1\u00a0a-2 is not in utt2spk"],
    ),
    (
        {"wav_scp": "a-1 x\na-2 y\n"},
        ["wav.scp: lacks b-1"],
    ),
    (
        {"wav_scp": "a-1 x\na-2 y\nb-1 z\nc-1 w\n"},
        ["wav.scp:4: c-1 is not in utt2spk"],
    ),
    (
        {"wav_scp": "a-1 x\na-2 cat y |\nb-1 z\n"},
        ["wav.scp:2: a-2: shell pipes"],
    ),
    (
        {"spk2utt": "a a-1\nb a-2 b-1 b-1 c-1\n"},
        [
            "spk2utt:2: a-2 is of b here, of a in",
            "spk2utt:2: b-1 stands there twice",
            "spk2utt:2: c-1 is not in",
        ],
    ),
    (
        {"spk2utt": "a a-1\nb b-1\n"},
        ["spk2utt: lacks a-2 of a (utt2spk:2)"],
    ),
    (
        {"spk2gender": "a female\n"},
        ["spk2gender: lacks b", "spk2gender:1: a: gender female"],
    ),
    (
        {"reco2file_and_channel": "a-1 x A\na-2 x C\nb-1 x\n"},
        [
            "reco2file_and_channel:3: b-1: expected 3 fields, got 2",
            "reco2file_and_channel:2: a-2: channel 'C'",
        ],
    ),
    (
        {"utt2dur": "a-1 0\na-2 x\nb-1 1 2\n"},
        [
            "utt2dur:3: b-1: expected 2 fields, got 3",
            "utt2dur: lacks b-1",
            "utt2dur:1: a-1: duration 0",
            "utt2dur:2: a-2: duration x",
        ],
    ),
    (
        {"enroll": "A a-1 b-1 c-1\n", "trials": "A a-1 target\n"},
        ["enroll:1: A: c-1 is not in", "enroll:1: A has utterances of several speakers (a, b)"],
    ),
    (
        {"trials": "A a-1 nontarget\nA b-1 target\nb a-1 target\nA a-1 nontarget\n"},
        [
            "trials:1: nontarget, but the speakers are a and a",
            "trials:2: target, but the speakers are a and b",
            "trials:3: target, but",
            "trials:4: A a-1 stands there already, in line 1",
            "trials:4: nontarget",
        ],
    ),
    (
        {"trials": "C a-1 target\nA c-1\nA a-1 yes\nA\n"},
        [
            "trials:1: C is neither",
            "trials:2: c-1 is not in",
            "trials:3: the label is 'yes'",
            "trials:4: expected",
        ],
    ),
    (
        {"segments": "a-1 r 0 1\na-2 r 2 1\nb-1 a-1 0 -1\n"},
        [
            "segments:1: a-1: r is not in wav.scp",
            "segments:2: a-2: r is not in wav.scp",
            "wav.scp:2: a-2 is not in segments",
            "wav.scp:3: b-1 is not in segments",
            "segments:2: a-2: from 2 to 1 s",
        ],
    ),
]


@pytest.mark.parametrize(("changes", "expected"), DEFECTS)
def test_names_every_defect(tmp_path, changes, expected):
    found = [defect.removeprefix(f"{tmp_path}/") for defect in validate(make(tmp_path, **changes))]
    assert len(found) == len(expected), found
    for defect, start in zip(found, expected):
        assert defect.startswith(start)


def test_names_speaker_order_once(tmp_path):
    ids = {"u1": "b", "u2": "a", "u3": "c", "u4": "a"}
    write_data_dir(tmp_path, DataDir({u: "x" for u in ids}, ids))
    (defect,) = validate(tmp_path)
    assert "utt2spk:2: sorted by utterance but not by speaker (a after b)" in defect


def test_checks_recordings_if_asked(tmp_path):
    soundfile.write(tmp_path / "good.wav", np.zeros(100), 8000)
    (tmp_path / "bad.wav").write_bytes(b"RIFFnonsense")
    files = {"a": "good.wav", "b": "bad.wav", "c": "none.wav"}
    paths = {utt: str(tmp_path / name) for utt, name in files.items()}
    write_data_dir(tmp_path / "data", DataDir(paths, {utt: utt for utt in files}))
    assert validate(tmp_path / "data") == []
    bad, missing = validate(tmp_path / "data", check_audio=True)
    assert "wav.scp:2: b: " in bad
    assert "wav.scp:3: c: " in missing
