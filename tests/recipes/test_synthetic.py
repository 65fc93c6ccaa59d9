"""The synthesiser: pitch, tract and level are what was asked; the same seed, the same bytes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from ivector.base.errors import UsageError
from recipes.corpora import synthetic
from recipes.corpora.synthesis import draw_session, draw_speaker, synthesise
from recipes.prepare import cli

SMALL = {"speakers": 4, "sessions": 2}


def audio_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.flac"))}


def quiet(session):
    """The same session without a room, noise or a channel's colour."""
    return dataclasses.replace(
        session, snr_db=80.0, reverberant=1e-6, channel=np.zeros(6), level_db=-20.0
    )


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_length_level_and_range(rate):
    rng = np.random.default_rng(3)
    session = draw_session(rng)
    samples = synthesise(draw_speaker(rng), session, 1.3, rate, rng)
    assert samples.shape == (round(1.3 * rate),)
    assert np.abs(samples).max() < 1
    level = 20 * np.log10(np.std(samples))
    assert abs(level - session.level_db) < 1.5


@pytest.mark.parametrize(("seconds", "rate"), [(0.1, 8000), (2.0, 4000), (2.0, 96000)])
def test_refuses_what_it_cannot_make(seconds, rate):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="8 to 48 kHz"):
        synthesise(draw_speaker(rng), draw_session(rng), seconds, rate, rng)


def test_pitch_is_the_speakers():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        speaker, session = draw_speaker(rng), quiet(draw_session(rng))
        samples = synthesise(speaker, session, 4.0, 8000, rng)
        blocks = samples[: len(samples) // 400 * 400].reshape(-1, 400)
        estimates = []
        for block in blocks[np.square(blocks).sum(1) > np.median(np.square(blocks).sum(1))]:
            spectrum = np.fft.rfft(block * np.hanning(400), 1024)
            correlation = np.fft.irfft(np.abs(spectrum) ** 2)
            lags = np.arange(8000 // 400, 8000 // 60)
            estimates.append(8000 / lags[np.argmax(correlation[lags])])
        truth = speaker.pitch * session.pitch
        assert np.median(estimates) == pytest.approx(truth, rel=0.15)


def test_shorter_tract_stretches_the_spectrum():
    rng = np.random.default_rng(5)
    speaker, session = draw_speaker(rng), quiet(draw_session(rng))
    child = dataclasses.replace(speaker, formants=speaker.formants * 1.25)

    def envelope(who):
        samples = synthesise(who, session, 8, 16000, np.random.default_rng(1))
        frequency, power = welch(samples, 16000, nperseg=512)
        return frequency, np.convolve(10 * np.log10(power), np.ones(7) / 7, mode="same")

    frequency, one = envelope(speaker)
    _, two = envelope(child)
    band = frequency[(frequency > 400) & (frequency < 2800)]
    factors = np.arange(0.8, 1.61, 0.01)
    fits = [
        np.corrcoef(np.interp(band, frequency, one), np.interp(band * f, frequency, two))[0, 1]
        for f in factors
    ]
    assert factors[np.argmax(fits)] == pytest.approx(1.25, abs=0.08)


def test_women_speak_higher():
    drawn = [draw_speaker(np.random.default_rng(i)) for i in range(200)]
    women = np.median([s.pitch for s in drawn if s.gender == "f"])
    men = np.median([s.pitch for s in drawn if s.gender == "m"])
    assert 60 < sum(s.gender == "f" for s in drawn) < 140
    assert women > 1.5 * men


def test_speakers_can_be_told_apart_but_not_always():
    """Nearest neighbour by mean and deviation of the cepstra: better than chance, not perfect."""
    from python_speech_features import mfcc

    vectors, owners = [], []
    for i in range(12):
        speaker = draw_speaker(synthetic.stream(1, i))
        for j in range(3):
            rng = synthetic.stream(1, i, j)
            samples = synthesise(speaker, draw_session(rng), 3.0, 8000, rng)
            frames = mfcc(samples * 32768, 8000, numcep=20, nfft=256)
            loud = frames[frames[:, 0] > np.median(frames[:, 0]), 1:]
            vectors.append(loud.std(axis=0))
            owners.append(i)
    table, names = np.array(vectors), np.array(owners)
    distances = np.linalg.norm(table[:, None] - table[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    right = np.mean(names[distances.argmin(axis=1)] == names)
    assert 2 / 35 * 2 < right < 0.95


def test_same_bytes_whatever_the_jobs(tmp_path):
    synthetic.prepare(None, tmp_path / "one", **SMALL, nj=1)
    synthetic.prepare(None, tmp_path / "two", **SMALL, nj=2)
    one, two = audio_of(tmp_path / "one"), audio_of(tmp_path / "two")
    assert len(one) == 8
    assert one == two
    # Fewer speakers or sessions change nothing of those that are made.
    synthetic.prepare(tmp_path / "three", tmp_path / "out", speakers=5, sessions=3)
    three = audio_of(tmp_path / "three")
    assert len(three) == 15
    assert one.items() <= three.items()


def test_resumes_and_leaves_what_is_whole(tmp_path):
    synthetic.prepare(None, tmp_path, **SMALL)
    whole = audio_of(tmp_path)
    paths = sorted(tmp_path.rglob("*.flac"))
    before = paths[0].stat().st_mtime_ns
    paths[3].unlink()
    (paths[3].parent / f".{paths[3].stem}.tmp99.flac").write_bytes(b"cut")
    synthetic.prepare(None, tmp_path, **SMALL)
    assert paths[0].stat().st_mtime_ns == before
    assert audio_of(tmp_path) == whole  # and nothing of the run that was killed


def test_layout_and_protocol(tmp_path):
    counts = synthetic.prepare(None, tmp_path, **SMALL)
    assert counts == {"speakers": 4, "utterances": 8, "folds": 2, "trials": 8}
    info = soundfile.info(next(tmp_path.rglob("*.flac")))
    assert (info.samplerate, info.subtype, info.channels) == (8000, "PCM_16", 1)
    assert 4 <= info.duration <= 7
    train = (tmp_path / "fold0" / "train.utt2spk").read_text().split()[1::2]
    assert set(train) == {"s0001", "s0003"}
    assert (tmp_path / "fold0" / "enroll").read_text() == "s0000 s0000-00\ns0002 s0002-00\n"
    assert (tmp_path / "fold0" / "trials").read_text().splitlines() == [
        "s0000 s0000-01 target",
        "s0000 s0002-01 nontarget",
        "s0002 s0000-01 nontarget",
        "s0002 s0002-01 target",
    ]
    assert set((tmp_path / "wav" / "spk2gender").read_text().split()[1::2]) <= {"m", "f"}


@pytest.mark.parametrize(
    "options", [{"speakers": 3}, {"sessions": 1}, {"rate": 4000}, {"seed": -1}]
)
def test_refuses_options(tmp_path, options):
    with pytest.raises(UsageError):
        synthetic.prepare(None, tmp_path, **options)


def test_complete_output_is_left_and_changed_options_make_it_again(tmp_path, capsys):
    command = ["synthetic", "--out", str(tmp_path), "--speakers", "4", "--sessions", "2"]
    assert cli(command) == 0
    assert "8 utterances" in capsys.readouterr().out
    stamp = (tmp_path / "wav" / "wav.scp").stat().st_mtime_ns
    assert cli(command) == 0
    assert "left untouched" in capsys.readouterr().out
    assert (tmp_path / "wav" / "wav.scp").stat().st_mtime_ns == stamp
    assert cli([*command, "--seed", "2"]) == 0
    assert "8 utterances" in capsys.readouterr().out
    next((tmp_path / "audio" / "v1-seed2-8000Hz").rglob("*.flac")).unlink()
    assert cli([*command, "--seed", "2"]) == 0
    assert "8 utterances" in capsys.readouterr().out
