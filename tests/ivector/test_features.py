"""MFCC and log-mel features: Kaldi's numbers, other libraries' numbers, kernels against NumPy."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from ivector import MFCC, LogMel
from ivector.base.errors import DataError, UsageError
from ivector.base.lanes import LANES
from ivector.features import psf
from ivector.features.audio import read_audio
from ivector.features.frontend import cosine_transform, make_window, mel_triangles
from ivector.features.kaldi_fft import transform_matrix
from ivector.features.kernels import log_in_place
from ivector.features.kernels_fft import power_spectrum, transform_tables

EPSILON = np.finfo(np.float32).eps


@pytest.fixture
def noise():
    """Coloured noise at the level of speech (9000,)."""
    white = np.random.default_rng(0).normal(size=9100)
    return (1000 * np.convolve(white, np.hanning(8), "same")[:9000] + 300).astype(np.float32)


# Kaldi ------------------------------------------------------------------------------------

KALDI = {
    "mfcc.txt": (MFCC, {"num_ceps": 20, "high_freq": 3700, "snip_edges": False}),
    "mfcc_defaults_8k_dither0.txt": (MFCC, {}),
    "mfcc_var_noenergy.txt": (MFCC, {"use_energy": False}),
    "mfcc_var_hamming_nopre_nodc_nolift_winenergy.txt": (
        MFCC,
        {"window_type": "hamming", "preemphasis_coefficient": 0, "remove_dc_offset": False,
         "cepstral_lifter": 0, "raw_energy": False},
    ),
    "mfcc_var_htk.txt": (MFCC, {"htk_compat": True, "use_energy": False}),
    "mfcc_var_efloor_nopow2_30bins.txt": (
        MFCC,
        {"energy_floor": 1e7, "round_to_power_of_two": False, "num_mel_bins": 30, "num_ceps": 24,
         "high_freq": -100},
    ),
    "fbank_log.txt": (LogMel, {"high_freq": 3700, "snip_edges": False}),
    "fbank_linear_magnitude.txt": (
        LogMel,
        {"high_freq": 3700, "snip_edges": False, "use_log_fbank": False, "use_power": False},
    ),
}  # fmt: skip


def read_text_matrix(path):
    lines = path.read_text().replace("[", "\n").replace("]", "\n").splitlines()[1:]
    return np.array([line.split() for line in lines if line.strip()], float)


@pytest.mark.golden
@pytest.mark.parametrize("name", KALDI)
def test_equal_to_kaldi(golden, name):
    samples, rate = read_audio(golden / "feat" / "excerpt.wav")
    kind, options = KALDI[name]
    expected = read_text_matrix(golden / "feat" / name)
    found = kind(sample_frequency=rate, **options).transform(samples)
    assert found.shape == expected.shape and found.dtype == np.float32
    if options.get("use_log_fbank") is False:  # up to 5e5, printed with 7 digits
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    else:
        error = np.abs(found - expected)
        assert error.max() <= 2e-3
        assert error.mean() <= 1e-4


# Other libraries --------------------------------------------------------------------------


@pytest.mark.corpora
@pytest.mark.parametrize(
    "options",
    [{}, {"winfunc": np.hamming, "numcep": 20, "appendEnergy": False},
     {"nfft": 1024, "lowfreq": 100, "highfreq": 3500, "preemph": 0.9, "ceplifter": 0},
     {"winlen": 0.032, "winstep": 0.016, "nfilt": 20, "nfft": 600}],
)  # fmt: skip
def test_equal_to_python_speech_features(corpora, options):
    original = pytest.importorskip("python_speech_features")
    for folder in ("hyke", "speechocean762"):
        for path in sorted((corpora / folder).rglob("*.flac"))[:100:20]:
            samples, rate = read_audio(path)
            expected = original.mfcc(samples.astype(float), rate, **options)
            assert_relatively_close(psf.mfcc(samples, rate, **options), expected)
            others = {k: v for k, v in options.items() if k in ("nfft", "winlen", "winstep")}
            expected = original.logfbank(samples.astype(float), rate, **others)
            found = psf.logfbank(samples, rate, **others)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
            for found, wanted in zip(
                psf.fbank(samples, rate, **others),
                original.fbank(samples.astype(float), rate, **others),
                strict=True,
            ):
                np.testing.assert_allclose(found, wanted, rtol=5e-4)


def assert_relatively_close(found, expected):
    """Within 1e-4 of each cepstrum's own size over the recording (single ones may be zero)."""
    assert found.shape == expected.shape
    scale = np.sqrt(np.mean(expected**2, axis=0))
    assert np.max(np.abs(found - expected) / scale) < 1e-4


@pytest.mark.parametrize("n_samples", [0, 1, 100, 200, 201, 280, 281, 9000])
def test_flavour_psf_is_psf(noise, n_samples):
    original = pytest.importorskip("python_speech_features")
    options = {"sample_frequency": 8000, "num_mel_bins": 26, "low_freq": 0,
               "window_type": "rectangular", "flavour": "psf"}  # fmt: skip
    samples = noise[:n_samples]
    mfcc, log_mel = MFCC(**options), LogMel(**options)
    assert mfcc.n_frames(n_samples) == len(mfcc.transform(samples))
    if n_samples:
        found = mfcc.transform(samples)
        np.testing.assert_allclose(found, original.mfcc(samples, 8000), rtol=1e-4, atol=1e-3)
        found = log_mel.transform(samples)
        np.testing.assert_allclose(found, original.logfbank(samples, 8000), rtol=1e-4, atol=1e-4)


def test_psf_warns_of_cut_frames(noise):
    with pytest.warns(UserWarning, match="nfft=512 cuts frames of 1103 samples"):
        found = psf.logfbank(noise, 44100)
    original = pytest.importorskip("python_speech_features")
    np.testing.assert_allclose(found, original.logfbank(noise, 44100), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("power", [True, False])
def test_flavour_torchaudio_is_the_mel_spectrogram_of_librosa(noise, power):
    librosa = pytest.importorskip("librosa")
    mel = librosa.feature.melspectrogram(
        y=noise / 32768, sr=16000, n_fft=512, win_length=400, hop_length=160, window="hamming",
        n_mels=40, htk=True, norm=None, pad_mode="reflect", power=2 if power else 1,
    )  # fmt: skip
    voxsrc = LogMel(
        num_mel_bins=40, low_freq=0, window_type="hamming", preemphasis_coefficient=0,
        flavour="torchaudio", use_power=power,
    )  # fmt: skip
    assert voxsrc.n_frames(len(noise)) == mel.shape[1]
    found = voxsrc.transform(noise)
    np.testing.assert_allclose(found, np.log(mel.T + 1e-6), atol=2e-4)
    assert voxsrc.transform(np.zeros(800)) == pytest.approx(np.log(1e-6))


# Kernels against NumPy --------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 6, 14, 200, 551 * 2])
def test_transform_with_kaldi_s_rounding_is_a_transform(length):
    real, imaginary = transform_matrix(length)
    expected = np.fft.rfft(np.eye(length), axis=1)
    np.testing.assert_allclose(real + 1j * imaginary, expected, atol=5e-5)


@pytest.mark.parametrize("rate, length", [(8000, 10.125), (8000, 300), (11025, 25)])
def test_windows_of_any_length_are_transformed(rate, length):
    kind = {"sample_frequency": rate, "frame_length": length, "round_to_power_of_two": False}
    samples = 1000 * np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    extractor = LogMel(num_mel_bins=10, **kind)
    exact = dataclasses.replace(extractor._make_frontend(), kaldi_rounding=False)
    np.testing.assert_allclose(extractor.transform(samples), exact(samples), atol=1e-3)


@pytest.mark.parametrize("n_fft", [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048])
def test_power_spectrum_kernel(n_fft):
    frames = np.random.default_rng(n_fft).normal(size=(LANES, n_fft)).astype(np.float32)
    re, im = frames[:, ::2].T.ravel(), frames[:, 1::2].T.ravel()
    power = np.empty((n_fft // 2 + 1) * LANES, np.float32)
    power_spectrum(re, im, n_fft // 2, *transform_tables(n_fft), power)
    expected = np.abs(np.fft.rfft(frames.astype(float))) ** 2
    np.testing.assert_allclose(power.reshape(-1, LANES).T, expected, atol=2e-6 * expected.max())


def test_power_spectrum_keeps_weak_lines_beside_strong_ones():
    """A line 100 dB below another, also where it is the mirror image of it."""
    time = np.arange(512)
    tone = np.cos(2 * np.pi * 40 * time / 512) + 1e-5 * np.cos(2 * np.pi * 216 * time / 512)
    frames = np.tile(tone.astype(np.float32), (LANES, 1))
    power = np.empty(257 * LANES, np.float32)
    re, im = frames[:, ::2].T.ravel(), frames[:, 1::2].T.ravel()
    power_spectrum(re, im, 256, *transform_tables(512), power)
    assert power[216 * LANES] == pytest.approx((256e-5) ** 2, rel=0.02)


def test_log_kernel():
    values = np.geomspace(1.2e-38, 3e38, 4096).astype(np.float32)
    found = values.copy()
    log_in_place(found, 0, len(found), np.float32(0), np.float32(0))
    expected = np.log(values.astype(float))
    assert np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 0.1)) < 4e-7
    around_one = np.linspace(0.7, 1.42, 4096).astype(np.float32)
    found = around_one.copy()
    log_in_place(found, 0, len(found), np.float32(0), np.float32(0))
    np.testing.assert_allclose(found, np.log(around_one.astype(float)), rtol=4e-7, atol=1e-12)
    log_in_place(values, 16, 32, np.float32(2.0), np.float32(1.0))
    np.testing.assert_allclose(values[16:32], np.log(3.0), rtol=1e-6)


OPTIONS = st.fixed_dictionaries(
    {
        "sample_frequency": st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
        "frame_length": st.sampled_from([20.0, 25.0, 32.0, 47.3]),
        "frame_shift": st.sampled_from([2.5, 5.0, 10.0, 12.5, 60.0]),
        "num_mel_bins": st.integers(13, 20),
        "low_freq": st.sampled_from([0, 20, 300]),
        "high_freq": st.sampled_from([0, 3700, -200]),
        "preemphasis_coefficient": st.sampled_from([0.0, 0.97]),
        "window_type": st.sampled_from(
            ["povey", "hamming", "hanning", "rectangular", "blackman", np.bartlett]
        ),
        "use_energy": st.booleans(),
        "raw_energy": st.booleans(),
        "energy_floor": st.sampled_from([0.0, 1e8]),
        "remove_dc_offset": st.booleans(),
        "snip_edges": st.booleans(),
        "htk_compat": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(options=OPTIONS, n_samples=st.integers(2500, 6000), seed=st.integers(0, 99))
def test_mfcc_kernel_is_the_numpy_reference(options, n_samples, seed):
    samples = noise_of(n_samples, seed)
    front = MFCC(**options, num_ceps=13)
    found, expected = front.transform(samples), front._frontend.reference(samples)
    assert found.shape == expected.shape == (front.n_frames(n_samples), 13)
    np.testing.assert_allclose(found, expected, atol=5e-3, rtol=1e-4)
    assert not found.size or np.mean(np.abs(found - expected)) < 2e-4


@settings(max_examples=40, deadline=None)
@given(options=OPTIONS, n_samples=st.integers(2500, 6000), power=st.booleans())
def test_log_mel_kernel_is_the_numpy_reference(options, n_samples, power):
    samples = noise_of(n_samples, 1)
    front = LogMel(**options, use_power=power)
    found, expected = front.transform(samples), front._frontend.reference(samples)
    assert found.shape == (front.n_frames(n_samples), front.n_features)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(options=OPTIONS, n_samples=st.integers(1, 2500), power=st.booleans())
def test_linear_kernel_is_the_numpy_reference_on_short_signals(options, n_samples, power):
    """Without logarithm, as mirror images of a few samples have lines of almost no energy."""
    samples = noise_of(n_samples, 1)
    front = LogMel(**(options | {"use_energy": False}), use_log_fbank=False, use_power=power)
    found, expected = front.transform(samples), front._frontend.reference(samples)
    assert found.shape == (front.n_frames(n_samples), front.n_features)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max(initial=1))


def noise_of(n_samples, seed):
    return np.random.default_rng(seed).normal(200, 2000, n_samples).astype(np.float32)


def test_frames_do_not_depend_on_their_place_in_a_block(noise):
    front = MFCC(sample_frequency=8000, num_ceps=20)
    whole = front.transform(noise)
    for first in (1, 5, 16, 21):
        np.testing.assert_array_equal(front.transform(noise[first * 80 :]), whole[first:])


# Parts ------------------------------------------------------------------------------------


def test_mirrored_edges():
    """snip_edges=False: the frames of a signal extended by its mirror image at both ends."""
    samples = noise_of(800, 3)
    extended = np.concatenate([samples[:60][::-1], samples, samples[-60:][::-1]])
    options = {"sample_frequency": 8000, "num_ceps": 5, "num_mel_bins": 10}
    found = MFCC(**options, snip_edges=False).transform(samples)
    np.testing.assert_array_equal(found, MFCC(**options).transform(extended)[:10])
    assert np.isfinite(MFCC(**options, snip_edges=False).transform(samples[:41])).all()


def test_triangles_overlap_to_one():
    for linear_in in ("mel", "hz"):
        weights = mel_triangles(23, 512, 16000, 20, 7600, linear_in)
        inner = weights.sum(axis=0)[15:200]
        np.testing.assert_allclose(inner, 1.0, atol=1e-12)
        assert weights.min() >= 0 and weights.max() <= 1


def test_cosine_transform_is_orthonormal():
    matrix = cosine_transform(23, 23, 0.0)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(23), atol=1e-12)


def test_windows():
    np.testing.assert_allclose(make_window("hamming", 400, 0.42, False), np.hamming(400))
    np.testing.assert_allclose(make_window("hanning", 400, 0.42, True), np.hanning(401)[:400])
    np.testing.assert_allclose(
        make_window("blackman", 64, 0.42, False), np.blackman(64), atol=1e-12
    )
    np.testing.assert_allclose(make_window("povey", 64, 0.42, False), np.hanning(64) ** 0.85)


# Use --------------------------------------------------------------------------------------


def test_short_recordings_have_no_frames():
    front = MFCC(sample_frequency=8000)
    for n_samples in (0, 1, 199):
        assert front.transform(np.ones(n_samples)).shape == (0, 13)
    assert front.transform(np.ones(200)).shape == (1, 13)
    assert MFCC(sample_frequency=8000, snip_edges=False).transform(np.ones(39)).shape == (0, 13)


@pytest.mark.parametrize("n_samples", [0, 1, 39, 40, 199, 200, 279, 280, 281, 8000])
def test_number_of_frames(n_samples):
    for options in ({}, {"snip_edges": False}, {"flavour": "torchaudio"}):
        front = LogMel(sample_frequency=8000, **options)
        assert front.n_frames(n_samples) == len(front.transform(noise_of(n_samples, 0)))


def test_silence_is_floored_not_infinite():
    found = LogMel(sample_frequency=8000, use_energy=True).transform(np.zeros(8000))
    np.testing.assert_allclose(found, np.log(EPSILON), rtol=1e-6)


def test_any_array_of_samples_gives_the_same(noise):
    front = MFCC(sample_frequency=8000)
    integers = noise.astype(np.int16)
    expected = front.transform(integers)
    read_only = integers.astype(np.float32)
    read_only.flags.writeable = False
    for samples in (integers.astype(float), read_only, np.repeat(read_only, 2)[::2]):
        np.testing.assert_array_equal(front.transform(samples), expected)
    np.testing.assert_array_equal(front.transform(integers.tolist()), expected)
    several = front.transform([integers, integers[:1000]])
    assert isinstance(several, list) and [len(f) for f in several] == [111, 11]
    np.testing.assert_array_equal(several[0], expected)
    assert front.transform([]).shape == (0, 13)


def test_bad_samples_are_named():
    front = MFCC()
    for bad in (np.zeros((2, 2, 400)), np.array([0.0, np.nan]), np.array([1e12])):
        with pytest.raises(DataError):
            front.transform(bad)
    with pytest.raises(DataError, match="2 samples are NaN, infinite"):
        front.transform([np.zeros(500), np.array([np.inf, 1.0, np.nan])])


def test_dither_depends_on_seed_and_samples_alone(noise):
    first, second = noise[:4000], noise[4000:]
    dithered = MFCC(sample_frequency=8000, dither=1.0, random_state=3)
    forwards, backwards = dithered.transform([first, second]), dithered.transform([second, first])
    assert forwards[0].tobytes() == backwards[1].tobytes()
    assert forwards[1].tobytes() == backwards[0].tobytes()
    other = clone(dithered).set_params(random_state=4).transform(first)
    plain = clone(dithered).set_params(dither=0.0).transform(first)
    assert np.abs(forwards[0] - other).max() > 0
    assert 0 < np.abs(forwards[0] - plain).max() < 1.0
    quiet = MFCC(sample_frequency=8000, dither=1.0, use_energy=True).transform(np.zeros(80000))
    assert np.mean(quiet[:, 0]) == pytest.approx(np.log(200), abs=0.05)  # 200 samples of variance 1


def test_scikit_learn_manners(noise):
    front = MFCC(sample_frequency=8000, num_ceps=20)
    assert repr(front) == "MFCC(num_ceps=20, sample_frequency=8000)"
    assert front.fit() is front
    expected = front.transform(noise)
    for copy in (clone(front), pickle.loads(pickle.dumps(front))):
        assert copy.transform(noise).tobytes() == expected.tobytes()
    assert front.set_params(num_ceps=10).transform(noise).shape[1] == 10 == front.n_features


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"high_freq": 9000}, "within 0–8000 Hz"),
        ({"high_freq": -8000}, "band 20–0 Hz"),
        ({"low_freq": 4000, "high_freq": 4000}, "band 4000–4000 Hz"),
        ({"num_ceps": 24}, "num_ceps=24 is more than num_mel_bins=23"),
        ({"num_ceps": 0}, "num_ceps must be a number from 1"),
        ({"num_ceps": 13.0}, "num_ceps must be a whole number"),
        ({"num_mel_bins": 300, "num_ceps": 5}, "without a spectral line"),
        ({"num_mel_bins": 2, "num_ceps": 2}, "num_mel_bins must be a number from 3"),
        ({"window_type": "kaiser"}, "window_type must be one of povey"),
        ({"window_type": lambda n: np.ones(3)}, "window_type gave shape"),
        ({"frame_length": 0.05}, "take longer ones"),
        ({"frame_shift": 0.01}, "take longer ones"),
        ({"frame_shift": -10}, "frame_shift must be"),
        ({"sample_frequency": "16k"}, "sample_frequency must be"),
        ({"sample_frequency": True}, "sample_frequency must be"),
        ({"preemphasis_coefficient": 1.5}, "preemphasis_coefficient must be"),
        ({"dither": float("nan")}, "dither must be"),
        ({"random_state": None}, "random_state must be"),
        ({"n_fft": 256}, "shorter than the window of 400 samples; take `n_fft`=512"),
        ({"flavour": "htk"}, "flavour must be one of kaldi, psf"),
        ({"flavour": "torchaudio"}, "flavour must be one of kaldi, psf for MFCC"),
        ({"flavour": "psf", "snip_edges": False}, "snip_edges has no meaning for flavour 'psf'"),
    ],
)
def test_senseless_options(options, said):
    with pytest.raises(UsageError, match=said):
        MFCC(**options).transform(np.zeros(800))


def test_senseless_options_of_log_mel():
    for options in (
        {"flavour": "psf", "use_power": False},
        {"flavour": "torchaudio", "use_energy": True},
    ):
        with pytest.raises(UsageError, match="has no meaning"):
            LogMel(**options).fit()


@pytest.mark.parametrize(
    ("call", "options"),
    [(psf.mfcc, {"numcep": 30}), (psf.mfcc, {"highfreq": 9000}), (psf.fbank, {"winlen": 0.0}),
     (psf.logfbank, {"winfunc": lambda n: np.ones(7)})],
)  # fmt: skip
def test_senseless_psf_options(call, options):
    with pytest.raises(UsageError):
        call(np.zeros(800), 16000, **options)
