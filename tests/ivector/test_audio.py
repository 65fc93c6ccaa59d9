"""Reading recordings: formats, channels, segments, resampling, and every defect by name."""

import io
import struct

import numpy as np
import pytest
import soundfile

from ivector.base.errors import DataError, UsageError
from ivector.features.audio import audio_defects, check_samples, read_audio, resample_audio

RATE = 16000


@pytest.fixture
def tone():
    """One second of two sines (16000,), in the scale of 16-bit integers."""
    time = np.arange(RATE) / RATE
    sound = 8000 * np.sin(2 * np.pi * 440 * time) + 4000 * np.sin(2 * np.pi * 1000 * time)
    return np.round(sound).astype(np.int16)


def write(path, samples, rate=RATE, **kwargs):
    soundfile.write(path, samples, rate, **kwargs)
    return path


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "w64", "au"])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_lossless_formats_give_the_samples_in_16_bit_scale(tmp_path, tone, ending, rate):
    samples, found = read_audio(write(tmp_path / f"a.{ending}", tone, rate, subtype="PCM_16"))
    assert found == rate
    assert samples.dtype == np.float32 and samples.flags.c_contiguous
    np.testing.assert_array_equal(samples, tone)


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [("PCM_24", 0.01), ("PCM_32", 0.01), ("FLOAT", 0.01), ("DOUBLE", 0.01), ("PCM_U8", 100),
     ("ULAW", 200), ("ALAW", 200), ("IMA_ADPCM", 500)],
)  # fmt: skip
def test_every_subtype_has_one_scale(tmp_path, tone, subtype, tolerance):
    path = write(tmp_path / "a.wav", tone / 32768.0, subtype=subtype)
    samples, _ = read_audio(path)
    assert np.std(samples[: len(tone)] - tone) < tolerance


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_lossy_formats_keep_level_and_pitch(tmp_path, tone, ending):
    path = write(tmp_path / f"a.{ending}", tone.astype(np.float32) / 32768)
    samples, rate = read_audio(path)
    assert rate == RATE
    assert np.std(samples) == pytest.approx(np.std(tone), rel=0.05)
    assert peak_frequency(samples, rate) == pytest.approx(440, abs=2)


def test_reads_from_an_open_file(tmp_path, tone):
    path = write(tmp_path / "a.wav", tone)
    samples, _ = read_audio(io.BytesIO(path.read_bytes()), start=0.25, end=0.5)
    np.testing.assert_array_equal(samples, tone[4000:8000])


def test_channels(tmp_path, tone):
    path = write(tmp_path / "stereo.wav", np.column_stack([tone, tone // 2]))
    with pytest.raises(
        DataError, match=r"stereo.wav: has 2 channels; choose one, such as 0, .*`channel`"
    ):
        read_audio(path)
    np.testing.assert_array_equal(read_audio(path, channel=0)[0], tone)
    np.testing.assert_array_equal(read_audio(path, channel=1)[0], tone // 2)
    mean = (tone.astype(float) + tone // 2) / 2
    np.testing.assert_allclose(read_audio(path, channel="mean")[0], mean, atol=1e-2)
    with pytest.raises(DataError, match="there is no channel 2"):
        read_audio(path, channel=2)


def test_segments(tmp_path, tone):
    path = write(tmp_path / "a.flac", tone)
    np.testing.assert_array_equal(read_audio(path, start=0.5)[0], tone[8000:])
    np.testing.assert_array_equal(read_audio(path, end=0.1)[0], tone[:1600])
    np.testing.assert_array_equal(read_audio(path, start=0.9, end=1.3)[0], tone[14400:])
    for segment in ({"start": 1.0}, {"end": 1.6}, {"start": 2.0, "end": 3.0}):
        with pytest.raises(DataError, match=r"a.flac: segment .* outside the recording of 1.000 s"):
            read_audio(path, **segment)


@pytest.mark.parametrize(
    "arguments",
    [{"start": -1.0}, {"start": 0.5, "end": 0.5}, {"end": 0.0}, {"channel": -1},
     {"channel": "left"}, {"channel": True}, {"sample_rate": 0}, {"sample_rate": 8000.5}],
)  # fmt: skip
def test_senseless_arguments(tmp_path, tone, arguments):
    with pytest.raises(UsageError):
        read_audio(write(tmp_path / "a.wav", tone), **arguments)


def peak_frequency(samples, rate):
    """Frequency in Hz of the strongest line."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * rate / len(samples)


@pytest.mark.parametrize(("rate", "new_rate"), [(16000, 8000), (8000, 16000), (44100, 16000)])
def test_resampling_keeps_pitch_level_and_length(tmp_path, rate, new_rate):
    sine = 10000 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    path = write(tmp_path / "a.wav", np.round(sine).astype(np.int16), rate)
    samples, found = read_audio(path, sample_rate=new_rate)
    assert found == new_rate and len(samples) == 2 * new_rate and samples.dtype == np.float32
    assert peak_frequency(samples, new_rate) == pytest.approx(440, abs=0.6)
    middle = slice(new_rate // 2, -new_rate // 2)
    expected = 10000 * np.sin(2 * np.pi * 440 * np.arange(2 * new_rate) / new_rate)
    np.testing.assert_allclose(samples[middle], expected[middle], atol=50)


def test_resampling_leaves_no_aliases():
    above = 10000 * np.sin(2 * np.pi * 6000 * np.arange(32000) / 16000)
    assert np.abs(resample_audio(above, 16000, 8000)[2000:-2000]).max() < 30


def test_other_rate_is_an_error_when_resampling_is_off(tmp_path, tone):
    path = write(tmp_path / "a.wav", tone, 8000)
    with pytest.raises(DataError, match=r"a.wav: sampled at 8000 Hz, expected 16000 Hz"):
        read_audio(path, sample_rate=16000, resample=False)
    assert read_audio(path, sample_rate=8000, resample=False)[1] == 8000


def test_missing_empty_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match=r"none.wav: cannot be read: No such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(DataError, match="cannot be read"):
        read_audio(tmp_path)
    (tmp_path / "nothing.wav").touch()
    with pytest.raises(DataError, match=r"nothing.wav: is empty \(0 bytes\)"):
        read_audio(tmp_path / "nothing.wav")
    for content in (b"speaker utterance\n" * 50, b"RIFF", b"\0" * 1000, b"fLaC" + b"x" * 200):
        (tmp_path / "text.wav").write_bytes(content)
        with pytest.raises(DataError, match=r"text.wav: not audio"):
            read_audio(tmp_path / "text.wav")
    path = write(tmp_path / "silent.wav", np.zeros(0, np.int16))
    with pytest.raises(DataError, match=r"silent.wav: holds no samples"):
        read_audio(path)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncated_files(tmp_path, ending, keep):
    noise = np.random.default_rng(0).integers(-9999, 9999, RATE).astype(np.int16)
    path = write(tmp_path / f"a.{ending}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError, match=rf"a.{ending}: (cut short|not audio that can be read)"):
        read_audio(path)


def test_wav_of_a_stream_has_no_size_and_is_whole(tmp_path, tone):
    path = write(tmp_path / "a.wav", tone)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(bytes(content))
    np.testing.assert_array_equal(read_audio(path)[0], tone)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_samples(tmp_path, tone, bad):
    samples = tone / 32768.0
    samples[100] = bad
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(DataError, match=r"a.wav: 1 samples are NaN, infinite .* first at 100"):
        read_audio(path)


def test_check_samples():
    assert check_samples(np.arange(3)).dtype == np.float32
    for bad in (np.zeros((2, 3)), np.array(["a"]), np.array([1j]), np.float32(3), [1e12]):
        with pytest.raises(DataError, match="utt1: "):
            check_samples(bad, "utt1")


def test_defects_are_named(tone):
    assert audio_defects(tone, RATE) == []
    assert audio_defects(np.zeros(RATE), RATE) == ["all samples are zero"]
    assert audio_defects(np.full(RATE, 7), RATE) == ["constant"]
    assert audio_defects(tone[:700], RATE) == ["shorter than 50 ms"]
    assert audio_defects(tone[:0], RATE) == ["shorter than 50 ms"]
    assert audio_defects(tone / 32768, RATE)[0].startswith("scaled to ±1")
    loud = np.clip(tone.astype(np.float32) * 4, -32768, 32767)
    assert audio_defects(loud, RATE)[0].startswith("clipped: ")
    loud = tone.copy()
    loud[:15] = 32767
    assert audio_defects(loud, RATE) == []  # 15 of 16000 is less than 0.1 %
    loud[:16] = -32768
    assert audio_defects(loud, RATE) == ["clipped: 0.1 % of samples at full scale"]


@pytest.mark.corpora
def test_real_recordings(corpora):
    for folder, rate in (("hyke", 8000), ("speechocean762", 16000)):
        path = min((corpora / folder).rglob("*.flac"))
        samples, found = read_audio(path)
        integers, _ = soundfile.read(path, dtype="int16")
        assert found == rate
        np.testing.assert_array_equal(samples, integers)
