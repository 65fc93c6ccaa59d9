"""Two people on the channels of one call, from segments to features, in every reader of rows."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from dnn.data.audio_source import AudioSource
from dnn.data.noises import Babble
from ivector.base.errors import DataError
from ivector.data import read_data_dir
from ivector.data_checks import validate
from ivector.features.audio import FULL_SCALE
from ivector.features.extractors import MFCC, LogMel
from ivector.features.store import LogMelStore
from ivector.formats.arks import load_scp, read_scp
from recipes.steps.features import Extractor

CASE = Path(__file__).resolve().parents[3] / "shared" / "cases" / "kaldi_channels"
RATE = 8000


@pytest.fixture
def call(tmp_path):
    """A data directory of two utterances, and the samples of each."""
    time = np.arange(2 * RATE) / RATE
    rng = np.random.default_rng(0)
    sides = 0.3 * np.sin(2 * np.pi * time[:, None] * [300, 1200]) + 0.01 * rng.normal(
        size=(len(time), 2)
    )
    soundfile.write(tmp_path / "call.wav", sides, RATE)
    tables = {
        "wav.scp": f"rec {tmp_path / 'call.wav'}",
        "utt2spk": "a-1 a\nb-1 b",
        "spk2utt": "a a-1\nb b-1",
        "segments": "a-1 rec 0.5 1.5 A\nb-1 rec 0.5 1.5 B",
    }
    (tmp_path / "data").mkdir()
    for name, text in tables.items():
        (tmp_path / "data" / name).write_text(text + "\n")
    read, _ = soundfile.read(tmp_path / "call.wav", dtype="float32")
    part = read[RATE // 2 : 3 * RATE // 2] * FULL_SCALE
    return tmp_path / "data", dict(zip(("a-1", "b-1"), part.T))


def test_features_are_those_of_either_side(call, tmp_path):
    folder, samples = call
    rows = list(read_data_dir(folder).recordings())
    options = {"sample_frequency": RATE}
    extractor = Extractor(options, {}, tmp_path / "work", tmp_path / "work", True, channel=0)
    assert [row[0] for row in extractor((0, rows))] == ["a-1", "b-1"]
    stored = dict(load_scp(read_scp(next((tmp_path / "work").rglob("feats.0.scp")))))
    store = LogMelStore.create(tmp_path / "store", rows, options, "float16")
    log_mel = LogMel(**store.metadata["options"])
    source = AudioSource(rows, MFCC(**options), channel=0)
    for number, (utt, one) in enumerate(samples.items()):
        np.testing.assert_allclose(stored[utt], MFCC(**options).transform(one), atol=1e-3)
        np.testing.assert_allclose(store[utt], log_mel.transform(one), atol=0.05)
        np.testing.assert_allclose(source.read(number), MFCC(**options).transform(one), atol=1e-3)
    babble = Babble(rows[1:], RATE, (1, 1))(RATE, np.random.default_rng(0))
    assert np.argmax(np.abs(np.fft.rfft(babble))) == pytest.approx(1200, abs=2)


def test_a_channel_that_is_not_there_is_named(call, tmp_path):
    folder, _ = call
    with open(folder / "segments", "w") as file:
        file.write("a-1 rec 0.5 1.5 0\nb-1 rec 0.5 1.5 2\n")
    (defect,) = validate(folder)
    assert "segments:2: b-1: channel 2, but" in defect and defect.endswith("has 2 channel(s)")
    rows = list(read_data_dir(folder).recordings())
    extractor = Extractor({"sample_frequency": RATE}, {}, tmp_path, tmp_path, False)
    good, bad = extractor((0, rows))
    assert good[:2] == ("a-1", "") and good[2] > 0
    assert bad[0] == "b-1" and "there is no channel 2" in bad[1] and not bad[2]
    with pytest.raises(DataError, match=r"^b-1: .*has no channel 2, only 2"):
        AudioSource(rows, MFCC(sample_frequency=RATE))


def test_the_case_that_went_wrong(monkeypatch):
    if not CASE.is_dir():
        pytest.skip("the cases (../shared/cases) are not here")
    monkeypatch.chdir(CASE)
    source = AudioSource(read_data_dir(CASE).recordings(), LogMel(num_mel_bins=80))
    low, high = (int(source.read(number).mean(axis=0).argmax()) for number in range(2))
    assert low < high and validate(CASE) == []
