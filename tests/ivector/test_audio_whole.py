"""Recordings of every container are read whole or refused, whatever was done to them."""

import io
import itertools
import os
import random
import resource
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile
from fuzz.audio import Case, by_others, cases, cut, patched, wholes

from ivector.base.budget import memory_limit, set_memory_limit
from ivector.base.errors import DataError, UsageError
from ivector.features.audio import audio_info, read_audio, resample_audio
from ivector.features.containers.opening import CONTAINERS

BY_NAME = {case.what: case for case in wholes()}
SHARES = (0.05, 0.2, 0.45, 0.6, 0.75, 0.9, 0.95, 0.97, 0.99, 0.999)


def samples_of(case, channel=0):
    """What is read of a case; None where it is refused."""
    try:
        return read_audio(io.BytesIO(case.data), channel=channel)[0]
    except DataError:
        return None


@pytest.fixture
def limit():
    """A function that sets the limit of memory, in MiB; as before afterwards."""
    before = memory_limit()
    yield set_memory_limit
    set_memory_limit(before)


@pytest.mark.parametrize("name", BY_NAME)
def test_whole_or_refused_wherever_it_is_cut(name):
    case = BY_NAME[name]
    assert not case.fault(samples_of(case))
    size = len(case.data)
    for n_bytes in {*(int(share * size) for share in SHARES), 1, 8, 44, 45, size - 1, size - 2}:
        part = cut(case, n_bytes)
        assert not part.fault(samples_of(part))


@pytest.mark.parametrize(
    "name", ["FLAC PCM_16 1", "OGG VORBIS 1", "OGG OPUS 2", "MP3 MPEG_LAYER_III 1"]
)
def test_streams_cut_at_every_boundary_of_their_parts(name):
    case = BY_NAME[name]
    marks = {"FLAC": b"\xff\xf8", "OGG ": b"OggS", "MP3 ": b"\xff\xf3"}
    start = case.data.find(marks[name[:4]], 1)
    while start > 0:
        for n_bytes in (start - 1, start, start + 1):
            assert samples_of(cut(case, n_bytes)) is None
        start = case.data.find(marks[name[:4]], start + 1)


def test_there_is_a_whole_file_of_every_container():
    kinds = {case.what.split()[0] for case in wholes()}
    assert kinds - {"HTK"} == {name for one in CONTAINERS for name in one.names}


def test_damaged_recordings_are_refused_or_read_within_the_limit(tmp_path, limit):
    limit(64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    faults = []
    for case in itertools.islice(cases(random.Random(1)), 1500):
        path = tmp_path / f"a.{case.suffix}"
        path.write_bytes(case.data)
        try:
            found = read_audio(path, 8000 if len(case.data) % 2 else None, channel=0)[0]
        except DataError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            continue
        if not len(case.data) % 2:
            faults.append(case.fault(found))
    assert not list(filter(None, faults))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("sox"), reason="sox is not installed")
def test_what_is_accepted_is_no_less_than_other_programs_find(tmp_path):
    n_asked = 0
    for case in itertools.islice(cases(random.Random(2)), 600):
        found = samples_of(case)
        if found is None or case.samples is not None:
            continue
        path = tmp_path / f"a.{case.suffix}"
        path.write_bytes(case.data)
        _, rate, n_channels = audio_info(path)
        assert not case.fault(found, by_others(path, case.suffix, n_channels, rate))
        n_asked += 1
    assert n_asked > 50


WRITTEN = [
    *(f"sox {{}} out.{end}" for end in "wav aiff aifc au avr 8svx sph w64 caf flac ogg".split()),
    *(f"sox {{}} -t {end} - | cat > out.{end}" for end in "wav aiff au sph flac ogg".split()),
    "sox {} -e u-law out.sph", "sox {} -e gsm-full-rate out.wav", "sox {} -e ima-adpcm out.wav",
    "sox {} -e ms-adpcm out.wav", "sox {} -b 24 out.wav", "sox {} -c 2 out.avr",
    *(f"ffmpeg -i {{}} out.{end}" for end in "wav aiff au w64 caf flac ogg opus mp3".split()),
    *(f"ffmpeg -i {{}} -f {end} - | cat > out.{end}"
      for end in "wav aiff au w64 caf flac ogg opus mp3".split()),
    "ffmpeg -i {} -q:a 4 -write_xing 0 out.mp3", "ffmpeg -i {} -b:a 64k -write_xing 0 out.mp3",
    "ffmpeg -i {} -rf64 always out.wav", "ffmpeg -i {} -f mp2 out.mp3",
]  # fmt: skip


@pytest.mark.parametrize("command", WRITTEN)
def test_files_of_other_programs(tmp_path, command):
    if not shutil.which(command.split()[0]):
        pytest.skip(f"{command.split()[0]} is not installed")
    time = np.arange(12345) / 16000
    soundfile.write(tmp_path / "in.wav", 0.4 * np.sin(2000 * time * (1 + time)), 16000)
    done = subprocess.run(
        command.format("in.wav"), shell=True, cwd=tmp_path, stdin=subprocess.DEVNULL,
        capture_output=True,
    )  # fmt: skip
    (path,) = tmp_path.glob("out.*")
    assert not done.returncode and path.stat().st_size
    found = read_audio(path, channel=0)[0]
    n_samples, rate, n_channels = audio_info(path)
    assert len(found) == n_samples
    others = by_others(path, path.suffix[1:], n_channels, rate)
    assert len(found) in others
    data = path.read_bytes()
    if "|" in command and path.suffix in (".wav", ".aiff", ".au", ".w64", ".caf"):
        return  # what states no length has none that could be missing
    whole = Case(data, path.suffix[1:], command, (found / 32768).astype(np.float32)[:, None])
    for share in (0.3, 0.6, 0.8, 0.95, 0.999):
        part = cut(whole, int(share * len(data)))
        assert not part.fault(samples_of(part))


def test_an_mp3_that_grows_quieter_and_states_no_length_is_read_to_its_end():
    # The first frame is large and the rest are small: libsndfile stops at a guess.
    case = BY_NAME["MP3 MPEG_LAYER_III 1"]
    frames = io.BytesIO()
    sound = np.zeros(32000)
    sound[:600] = np.random.default_rng(0).normal(0, 0.3, 600)
    soundfile.write(frames, sound, 16000, format="MP3", bitrate_mode="VARIABLE")
    data = frames.getvalue()
    data = data[data.index(b"\xff\xf3", 4) :]  # without the frame that states it
    assert len(samples_of(Case(data, "mp3", ""))) % 576 == 0
    assert len(samples_of(Case(data, "mp3", ""))) >= 32000
    assert soundfile.info(io.BytesIO(data)).frames < 32000
    assert samples_of(Case(case.data[:-1], "mp3", "")) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("cut_t.sph", "cut short: 18995 of 32000 samples"), ("cut_t.opus", "cut short"),
     ("cut_t.aiff", "cut short: 19189 of 32000 samples"),
     ("data_toolong_riffok.wav", "cut short: 10000 of 16000 samples")],
)  # fmt: skip
def test_cut_cases(audio_cases, name, text):
    with pytest.raises(DataError, match=f"{name}: {text}"):
        read_audio(audio_cases / name)
    with pytest.raises(DataError, match=f"{name}: {text}"):
        audio_info(audio_cases / name)


def test_a_wav_with_sizes_of_nothing_is_read_to_its_end(audio_cases):
    samples, rate = read_audio(audio_cases / "stream_0.wav")
    assert (len(samples), rate, int(np.abs(samples).max())) == (16000, 16000, 15413)


@pytest.fixture
def audio_cases(golden):
    folder = golden.parent / "cases" / "audio"
    if not folder.is_dir():
        pytest.skip("the cases (../shared/cases) are not here")
    return folder


@pytest.mark.parametrize("rate", [0, 1, 999, 384_001, 10_000_000, 2**31 - 1])
def test_rates_that_no_recording_has(rate):
    data = patched(BY_NAME["WAV PCM_16 1"].data, 24, "<I", rate)
    for arguments in ({}, {"sample_rate": 16000}):
        with pytest.raises(DataError):
            read_audio(io.BytesIO(data), **arguments)


@pytest.mark.parametrize(
    ("name", "place", "form"), [("W64 ALAW 1", 56, "<q"), ("CAF ALAW 1", 12, ">q")]
)
@pytest.mark.parametrize("size", [2**63 - 1, 2**62, -1, -(2**63), 0])
def test_sizes_of_chunks_that_no_file_has(name, place, form, size):
    with pytest.raises(DataError, match="not audio that can be read, or damaged"):
        read_audio(io.BytesIO(patched(BY_NAME[name].data, place, form, size)))


def test_a_header_that_states_less_than_the_file_holds():
    name = next(name for name in BY_NAME if name.startswith("AVR PCM_16"))
    with pytest.raises(DataError, match="more than the 1 samples that its header states"):
        read_audio(io.BytesIO(patched(BY_NAME[name].data, 26, ">I", 1)))


def test_samples_of_more_bits_than_their_frame_has_room_for():
    for name, place in (("WAV PCM_16 1", 34), ("RF64 PCM_24 1", 70)):
        data = BY_NAME[name].data
        (bits,) = struct.unpack_from("<H", data, place)
        assert bits == int(name[-4:-2])
        with pytest.raises(DataError, match=f"1 samples of {bits + 1} bits in a frame of"):
            read_audio(io.BytesIO(patched(data, place, "<H", bits + 1)))


def test_two_numbers_of_samples_in_one_header():
    data = BY_NAME["W64 ALAW 1"].data
    place = data.index(b"data\xf3\xac") + 16
    (size,) = struct.unpack_from("<q", data, place)
    with pytest.raises(DataError, match=r"its header states .* samples, and"):
        read_audio(io.BytesIO(patched(data, place, "<q", size - 4096)))


def test_rates_that_cannot_be_converted():
    data = patched(BY_NAME["WAV PCM_16 1"].data, 24, "<I", 383_999)
    with pytest.raises(DataError, match="audio stream: a change from 383999 to 16000 Hz"):
        read_audio(io.BytesIO(data), 16000)
    with pytest.raises(DataError, match="check the rates"):
        resample_audio(np.zeros(10), 383_999, 16000)
    with pytest.raises(UsageError, match="from 1000 to 384000"):
        read_audio(io.BytesIO(data), 10**9)


def test_the_limit_of_memory_is_held_against_what_the_header_promises(tmp_path, limit):
    path = tmp_path / "zeros.flac"
    soundfile.write(path, np.zeros(2**24, np.int16), 16000)
    assert path.stat().st_size < 2**19  # compressed a hundredfold
    limit(100)
    with pytest.raises(DataError, match=r"zeros.flac: 0.3 h need 128 MiB .* give `memory` 128"):
        read_audio(path)
    assert len(read_audio(path, end=1.0)[0]) == 16000
    with pytest.raises(DataError, match=r"0.2 h need 341 MiB"):
        read_audio(path, 48000, end=700.0)


def test_long_recordings_are_decoded_in_blocks_of_the_same_samples(tmp_path):
    sound = np.random.default_rng(0).integers(-999, 999, (2**22 + 5, 2), np.int16)
    soundfile.write(tmp_path / "a.wav", sound, 16000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", channel=1)[0], sound[:, 1])


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", "/dev/zero", tmp_path):
        with pytest.raises(DataError, match="not a regular file"):
            read_audio(path)
        with pytest.raises(DataError, match="not a regular file"):
            audio_info(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_audio(f"{tmp_path}/a\0b.wav")
    (tmp_path / "link.wav").symlink_to("whole.wav")
    (tmp_path / "whole.wav").write_bytes(BY_NAME["WAV PCM_16 1"].data)
    assert len(read_audio(tmp_path / "link.wav")[0]) == 9600


@pytest.mark.parametrize(
    "kind", ["IRCAM", "PAF", "PVF", "MAT4", "MAT5", "MPC2K", "SDS", "XI", "WVE"]
)
def test_containers_that_are_not_supported_are_named(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, np.zeros(8000), 8000, format=kind)
    with pytest.raises(DataError, match=f"{kind} is not supported, only WAV, .*; convert it"):
        read_audio(path)


def test_what_libsndfile_would_read_wrongly_is_named(tmp_path):
    text = BY_NAME["NIST PCM_16 1"].data.replace(b"pcm", b"pcm,embedded-shorten-v2.00")
    with pytest.raises(DataError, match=r"shorten .* convert it with sph2pipe"):
        read_audio(io.BytesIO(text))
    data = BY_NAME["VOC PCM_U8 1"].data
    with pytest.raises(DataError, match="VOC with several blocks"):
        read_audio(io.BytesIO(data[:-1] + data[26:]))
    data = BY_NAME["SVX PCM_S8 1"].data
    place = data.index(b"BODY")
    stereo = data[:place] + b"CHAN" + struct.pack(">II", 4, 6) + data[place:]
    with pytest.raises(DataError, match="8SVX with two channels"):
        read_audio(io.BytesIO(stereo))


def test_a_header_without_extension_is_not_guessed(tmp_path):
    for name in ("a.raw", "a.vox", "a.gsm", "a.au"):
        (tmp_path / name).write_bytes(bytes(range(1, 200)) * 10)
        with pytest.raises(DataError, match=f"{name}: not audio that can be read"):
            read_audio(tmp_path / name)


@pytest.mark.parametrize("name", ["WAV PCM_16 2", "FLAC stream", "MP3 MPEG_LAYER_III 1"])
def test_a_recording_inside_an_open_file(name):
    case = BY_NAME[name]
    file = io.BytesIO(b"before" + case.data)
    file.seek(6)
    assert audio_info(file)[0] == len(case.samples)
    file.seek(6)
    assert not case.fault(read_audio(file, channel=0)[0])


@pytest.mark.parametrize("name", ["FLAC PCM_16 2", "FLAC stream", "MP3 MPEG_LAYER_III 1"])
def test_tags_before_and_after_a_recording(name):
    case = BY_NAME[name]
    data = b"ID3\3\0\0\0\0\1\0" + bytes(128) + case.data + b"TAG" + bytes(125)
    tagged = Case(data, case.suffix, name, case.samples, whole=True)
    assert not tagged.fault(samples_of(tagged))
