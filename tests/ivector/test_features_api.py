"""Features as scikit-learn's estimators, kinds of input, and samples in ±1."""

import json
import pickle
import warnings

import numpy as np
import pytest
import soundfile
from estimator_checks import parametrize
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from ivector import (
    MFCC,
    EnergyVAD,
    FrontEnd,
    GlobalCMVN,
    LogMel,
    LogMelStore,
    SlidingCMVN,
    read_audio,
)
from ivector.base.errors import (
    DataError,
    DegenerateDataWarning,
    NotNumbersError,
    ScaleWarning,
    UsageError,
)

LENGTHS = "recordings differ in length: the number of samples is not a number of features"
RECORDING = {
    "check_n_features_in": LENGTHS,
    "check_n_features_in_after_fitting": LENGTHS,
    "check_fit1d": "one recording is one-dimensional, the commonest input",
    "check_fit2d_predict1d": "one recording may follow a matrix of several",
}
FRAMES = {
    "check_methods_subset_invariance": "a frame is judged by the recording that it is in",
}
SLIDING = {
    **FRAMES,
    "check_methods_sample_order_invariance": "the frames of a recording have an order",
}
# Options with which the few samples of the checks have frames.
SHORT = {"sample_frequency": 1000, "frame_length": 4, "frame_shift": 1, "snip_edges": False}
CASES = [
    (MFCC(), RECORDING),
    (MFCC(**SHORT, num_mel_bins=3, num_ceps=3, n_fft=64), RECORDING),
    (LogMel(), RECORDING),
    (LogMel(**SHORT, num_mel_bins=3, n_fft=64, use_energy=True), RECORDING),
    (SlidingCMVN(), FRAMES),
    (SlidingCMVN(cmn_window=5, center=True), SLIDING),
    (GlobalCMVN(), FRAMES),
    (EnergyVAD(), {}),
    (EnergyVAD(vad_energy_threshold=0.0, vad_energy_mean_scale=1.0), FRAMES),
]


@pytest.mark.filterwarnings("ignore")
@parametrize(CASES)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture
def integers():
    """Noise of 0.5 s at 16 kHz in three recordings, with pauses, int16 (3, 8000)."""
    loudness = np.repeat([2000.0, 3.0, 800.0, 30.0], 2000)
    noise = np.random.default_rng(0).standard_normal((3, 8000))
    return (loudness * noise).astype(np.int16)


@pytest.mark.parametrize("features", [MFCC(), LogMel(dither=1.0)])
def test_recordings_and_arrays_behave_alike(integers, features):
    expected = [features.transform(samples) for samples in integers]
    read_only = integers.astype(np.float32)
    read_only.flags.writeable = False
    matrices = (
        integers,
        integers.tolist(),
        integers.astype(object),
        integers.astype(np.float64),
        read_only,
        np.asfortranarray(integers),
        np.repeat(integers, 2, axis=1)[:, ::2],
    )
    for matrix in matrices:
        found = features.transform(matrix)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.stack(expected))
    ragged = np.empty(3, object)
    ragged[:] = [integers[0], integers[1].tolist(), integers[2][:6000]]
    for several in (list(ragged), tuple(ragged), ragged):
        found = features.transform(several)
        assert isinstance(found, list)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        assert len(found[2]) == features.n_frames(6000)


def test_data_frames(integers):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(integers)
    np.testing.assert_array_equal(MFCC().transform(table), MFCC().transform(integers))
    features = MFCC()
    frames = features.transform(integers[0])
    named = pandas.DataFrame(frames, columns=features.get_feature_names_out())
    for normalise in (SlidingCMVN(), GlobalCMVN()):
        found = normalise.set_output(transform="pandas").fit_transform(named)
        assert list(found.columns) == ["energy", *(f"c{i}" for i in range(1, 13))]
        plain = clone(normalise).set_output(transform="default").transform(frames)
        np.testing.assert_array_equal(found, plain)
        with pytest.raises(DataError, match="feature names"):
            normalise.transform(named[named.columns[::-1]])
    assert (
        EnergyVAD().fit(named).transform(named).tolist() == EnergyVAD().transform(frames).tolist()
    )


def test_bad_recordings_are_named():
    good = np.zeros(500)
    for bad, error, said in (
        ([good, good * np.nan], DataError, "recording 1: 500 samples are NaN"),
        (good + 0j, DataError, "Complex data not supported"),
        (np.zeros((2, 2, 2)), DataError, r"\(2, 2, 2\), expected \(n_samples,\)"),
        (np.zeros((0, 5)), DataError, r"0 sample\(s\)"),
        (np.array([1, {}], object), NotNumbersError, "not numbers"),
        ([[1.0, "a"], [2.0, "b"]], DataError, "real numbers"),
    ):
        for call in (MFCC().fit, MFCC().transform):
            with pytest.raises(error, match=said):
                call(bad)


def test_channels_taken_for_recordings_are_warned_of():
    with pytest.warns(DegenerateDataWarning, match=r"800 recordings of 2 samples.*channels"):
        found = MFCC().transform(np.zeros((800, 2)))
    assert found.shape == (800, 0, 13)


@pytest.mark.parametrize(
    ("features", "first", "last"),
    [
        (MFCC(), "energy", "c12"),
        (MFCC(use_energy=False), "c0", "c12"),
        (MFCC(htk_compat=True), "c1", "energy"),
        (MFCC(flavour="psf"), "energy", "c12"),
        (LogMel(), "mel0", "mel22"),
        (LogMel(use_energy=True), "energy", "mel22"),
        (LogMel(use_energy=True, htk_compat=True), "mel0", "energy"),
        (LogMel(flavour="torchaudio"), "mel0", "mel22"),
    ],
)
def test_columns_have_names(integers, features, first, last):
    names = features.get_feature_names_out()
    assert (names[0], names[-1], len(names)) == (first, last, features.n_features)
    if "energy" in (first, last) and features.flavour == "kaldi":
        energy = features.transform(integers[0])[:, list(names).index("energy")]
        frames = np.lib.stride_tricks.sliding_window_view(integers[0].astype(float), 400)[::160]
        expected = np.log(400 * frames.var(axis=1))
        np.testing.assert_allclose(energy, expected, rtol=1e-4)
    assert not hasattr(features, "set_output")


def test_pipeline_of_one_recording(integers):
    pipeline = make_pipeline(MFCC(), SlidingCMVN(cmn_window=20, center=True))
    found = pipeline.fit_transform(integers[0])
    expected = pipeline[1].transform(MFCC().transform(integers[0]))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(pipeline.transform(integers[1][:4000]).shape, (23, 13))


def test_copies_give_the_same(integers):
    frames = MFCC().transform(integers[0])
    voiced = EnergyVAD().transform(frames)
    for estimator, given in (
        (MFCC(num_ceps=20), integers),
        (LogMel(dither=1.0), integers),
        (SlidingCMVN(cmn_window=10, norm_vars=True), frames),
        (GlobalCMVN(norm_vars=True), frames),
        (EnergyVAD(vad_frames_context=2), frames),
    ):
        expected = estimator.fit_transform(given)
        copies = clone(estimator), pickle.loads(pickle.dumps(estimator))
        for found in Parallel(2, prefer="threads")(delayed(c.transform)(given) for c in copies):
            np.testing.assert_array_equal(found, expected)
    front = pickle.loads(pickle.dumps(FrontEnd()))
    np.testing.assert_array_equal(front.apply(frames, voiced), FrontEnd().apply(frames, voiced))


def unwarned(call, *arguments):
    """The result of a call that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*arguments)


@pytest.mark.corpora
@pytest.mark.parametrize("corpus", ["hyke", "speechocean762"])
def test_speech_in_one_gives_the_same(corpora, corpus):
    for path in sorted((corpora / corpus).rglob("*.flac"))[:5]:
        samples, rate = read_audio(path)
        floats, _ = soundfile.read(path)
        for features in (
            MFCC(sample_frequency=rate),
            MFCC(sample_frequency=rate, flavour="psf", dither=1.0),
            LogMel(sample_frequency=rate, flavour="torchaudio", num_mel_bins=20),
        ):
            expected = unwarned(features.transform, samples)
            with pytest.warns(ScaleWarning, match="`full_scale`=1"):
                found = features.transform(floats)
            np.testing.assert_array_equal(found, expected)
        faint = MFCC(sample_frequency=rate, full_scale=32768).transform(floats)
        expected = unwarned(
            EnergyVAD(5.5).transform, MFCC(sample_frequency=rate).transform(samples)
        )
        with pytest.warns(ScaleWarning, match=r"raised by 20\.8"):
            voiced = EnergyVAD(5.5).transform(faint)
        np.testing.assert_array_equal(voiced, expected)
        assert 0.1 < voiced.mean()
        assert EnergyVAD(5.5, full_scale=32768).transform(faint).mean() < 0.5 * voiced.mean()


def test_floats_in_one_are_warned_of_once_a_call(integers):
    floats = integers / 32768
    with pytest.warns(ScaleWarning, match="2 of 3 recordings") as record:
        found = MFCC().transform([floats[0], integers[1], floats[2]])
    assert len(record) == 1 and record[0].filename == __file__
    np.testing.assert_array_equal(found, MFCC().transform(integers))
    said = unwarned(MFCC(full_scale=1).transform, floats)
    np.testing.assert_array_equal(said, MFCC().transform(integers))
    with pytest.warns(ScaleWarning):  # an overshoot
        MFCC().transform(np.append(floats[0], 1.4))


@pytest.mark.parametrize(
    "silence",
    [
        np.zeros(8000),
        np.resize([0, 1, -1, 0], 8000),
        np.resize([0.0, 1.0, -1.0], 8000),
        np.array([]),
    ],
)
def test_silence_in_16_bits_is_not_taken_for_floats(silence):
    features = unwarned(MFCC().transform, silence)
    np.testing.assert_array_equal(features, MFCC(full_scale=32768).transform(silence))
    assert not unwarned(EnergyVAD(5.5).transform, features).any()


def test_energies_that_integers_can_have_are_left(integers):
    rng = np.random.default_rng(1)
    flips = (rng.random(8000) < 1e-3) * rng.choice([-1, 1], 8000)
    for samples in (integers[0], flips, np.append(integers[0], np.zeros(8000)), flips + 500):
        features = MFCC().transform(samples)
        voiced = unwarned(EnergyVAD(5.5).transform, features)
        said = EnergyVAD(5.5, full_scale=32768).transform(features)
        np.testing.assert_array_equal(voiced, said)


def test_digital_silence_around_floats_stays_silent(integers):
    samples = np.concatenate([np.zeros(8000), integers[0], np.zeros(8000)])
    faint = MFCC(full_scale=32768).transform(samples / 32768)
    with pytest.warns(ScaleWarning):
        found = EnergyVAD(5.5).transform(faint)
    expected = EnergyVAD(5.5).transform(MFCC().transform(samples))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(EnergyVAD(5.5, full_scale=1).transform(faint), expected)


@pytest.mark.parametrize("bad", [0, 0.5, -1, "16", True, float("nan")])
def test_senseless_scales(bad):
    for kind in (MFCC, LogMel, EnergyVAD):
        with pytest.raises(UsageError, match="full_scale must be a number"):
            kind(full_scale=bad).fit()


def test_a_silent_file_is_not_taken_for_floats(tmp_path):
    noise = np.random.default_rng(0).standard_normal(16000)
    path = tmp_path / "silent.wav"
    soundfile.write(path, 1e-6 * noise, 16000, subtype="FLOAT")
    samples, _ = read_audio(path)
    options = {"num_mel_bins": 40}
    row = ("a", str(path), None, None)
    store = unwarned(LogMelStore.create, tmp_path / "s", [row], options, "float16")
    expected = LogMel(**options, full_scale=32768).transform(samples)
    np.testing.assert_allclose(store["a"], expected, atol=0.01)
    with pytest.warns(ScaleWarning):
        assert LogMel(**options).transform(samples).min() > expected.max()
    assert "full_scale" not in json.loads((tmp_path / "s" / "store.json").read_text())["options"]
