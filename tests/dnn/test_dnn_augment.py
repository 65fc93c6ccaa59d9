"""Augmentation: ratios reached, levels kept, shapes, determinism, layouts of folders, bad input."""

import pickle

import numpy as np
import pytest
import soundfile

from dnn.data import noises
from dnn.data.augment import (
    AddNoise,
    BandLimit,
    Chain,
    Choose,
    Reverberate,
    SpecAugment,
    SpeedPerturbation,
    TelephoneCodec,
    mu_law,
    power,
    standard_augmentation,
)
from dnn.data.noises import Babble, ColouredNoise, SimulatedRooms, SoundFolder
from ivector.base.errors import DataError, UsageError

RATE = 16000


def speech(n_samples=RATE, seed=0):
    """Noise with the level and the pauses of speech."""
    rng = np.random.default_rng(seed)
    envelope = 1 + np.sin(np.arange(n_samples) / 800)
    return (1000 * envelope * rng.standard_normal(n_samples)).astype(np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def decibel(ratio):
    return 10 * np.log10(ratio)


@pytest.fixture
def musan(tmp_path):
    """MUSAN in small: noise of 1.5 s at 8 kHz, music of 0.2 s, two voices of 3 s."""
    root = tmp_path / "sounds" / "musan"
    for name, seconds, rate in (
        ("noise/free/a.wav", 1.5, 8000),
        ("music/b.flac", 0.2, RATE),
        ("speech/c.wav", 3, RATE),
        ("speech/d.wav", 3, RATE),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * rng(len(name)).standard_normal(int(seconds * rate))
        soundfile.write(root / name, samples, rate)
    return root


@pytest.fixture
def rirs(tmp_path):
    """RIRS_NOISES in small; the large room holds no audio and is not looked into."""
    root = tmp_path / "RIRS_NOISES" / "simulated_rirs"
    for room in ("smallroom", "mediumroom"):
        (root / room).mkdir(parents=True)
        response = SimulatedRooms(RATE)(0, rng(len(room)))
        soundfile.write(root / room / "r.wav", 0.5 * response, RATE)
    (root / "largeroom").mkdir()
    (root / "largeroom" / "r.wav").write_bytes(b"none")
    return root


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5])
def test_noise_reaches_its_ratio(snr):
    clean = speech()
    noisy = AddNoise(ColouredNoise(), (snr, snr))(clean, rng())
    assert decibel(power(clean) / power(noisy - clean)) == pytest.approx(snr, abs=0.01)


def test_ratio_is_drawn_from_the_range():
    clean, generator = speech(4000), rng()
    add = AddNoise(ColouredNoise(), (5, 15))
    reached = [decibel(power(clean) / power(add(clean, generator) - clean)) for _ in range(50)]
    assert 4.99 < min(reached) < 7 and 13 < max(reached) < 15.01


def test_noise_leaves_silence_alone():
    silence = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(AddNoise(ColouredNoise())(silence, rng()), silence)
    clean = speech(1000)
    quiet = AddNoise(lambda n, generator: np.zeros(n, np.float32))
    np.testing.assert_array_equal(quiet(clean, rng()), clean)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_has_its_slope(exponent):
    noise = ColouredNoise((exponent, exponent), RATE)(1 << 16, rng())
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    bands = [spectrum[first : 2 * first].mean() for first in (1 << 10, 1 << 11, 1 << 12, 1 << 13)]
    slopes = np.diff(np.log2(bands))
    np.testing.assert_allclose(slopes, -exponent, atol=0.15)
    assert power(noise) == pytest.approx(1, abs=0.5) and noise.dtype == np.float32


def test_reverberation_is_a_convolution_that_keeps_the_level():
    clean = speech()
    response = SimulatedRooms(RATE)(0, rng(3))
    wet = Reverberate(lambda n, generator: response)(clean, rng())
    expected = np.convolve(clean, response)[: len(clean)]
    expected *= np.sqrt(power(clean) / power(expected.astype(np.float32)))
    np.testing.assert_allclose(wet, expected, atol=1e-3 * np.abs(clean).max())
    assert power(wet) == pytest.approx(power(clean), rel=1e-4)
    assert wet.shape == clean.shape and wet.dtype == np.float32


def test_reverberation_keeps_the_direct_sound_in_its_place():
    click = np.zeros(4000, np.float32)
    click[1000] = 1000
    late = np.zeros(600, np.float32)
    late[250], late[400] = 1.0, 0.3  # a response that begins with 250 samples of travel
    wet = Reverberate(lambda n, generator: late)(click, rng())
    assert np.argmax(np.abs(wet)) == 1000 and wet[1150] == pytest.approx(0.3 * wet[1000], rel=1e-4)


def test_simulated_rooms_decay_and_keep_their_ratio():
    rooms = SimulatedRooms(RATE, (0.5, 0.5), (3.0, 3.0))
    response = rooms(0, rng())
    assert len(response) == RATE // 2
    assert decibel(1 / np.square(response[1:]).sum()) == pytest.approx(3, abs=0.01)
    # 60 dB in half a second: 24 dB between windows that are 0.2 s apart.
    early, late = response[1600:2400], response[4800:5600]
    assert decibel(power(early) / power(late)) == pytest.approx(24, abs=2)


def test_band_limit_passes_its_band_only():
    seconds = np.arange(RATE) / RATE
    limit = BandLimit(RATE)
    for hertz, passes in ((60, False), (1000, True), (2500, True), (6000, False)):
        tone = (1000 * np.sin(2 * np.pi * hertz * seconds)).astype(np.float32)
        kept = decibel(power(limit(tone, rng())) / power(tone))
        assert (kept > -0.5) if passes else (kept < -20)


def test_mu_law_follows_its_formula():
    samples = np.linspace(-40000, 40000, 2001).astype(np.float32)
    coded = mu_law(samples)
    assert len(np.unique(coded)) <= 255 and np.abs(coded).max() == 32768
    loud = np.abs(samples) > 500
    inside = loud & (np.abs(samples) < 32768)
    assert (np.abs(coded - samples)[inside] <= 0.025 * np.abs(samples)[inside]).all()
    np.testing.assert_array_equal(mu_law(coded), coded)  # coding again loses nothing


def test_telephone_keeps_shape_and_little_above_its_band():
    for rate in (8000, 16000, 44100):
        clean = speech(rate + 7)
        line = TelephoneCodec(rate)(clean, rng())
        assert line.shape == clean.shape and line.dtype == np.float32
        spectrum = np.abs(np.fft.rfft(line)) ** 2
        hertz = np.fft.rfftfreq(len(line), 1 / rate)
        assert spectrum[hertz > 5000].sum() < 1e-2 * spectrum.sum()


def test_speed_changes_length_and_pitch():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    for speed in (0.9, 1.1):
        fast = SpeedPerturbation((speed,))(tone, rng())
        assert len(fast) == int(np.ceil(RATE / speed))
        peak = np.argmax(np.abs(np.fft.rfft(fast))) * RATE / len(fast)
        assert peak == pytest.approx(1000 * speed, abs=2)
    assert SpeedPerturbation((0.9, 1.1)).stretch == 1.1


def test_spec_augment_masks_with_the_mean_and_within_its_limits():
    features = rng(1).normal(size=(200, 40)).astype(np.float32)
    mask = SpecAugment(1, 8, 1, 20)
    generator = rng()
    for _ in range(50):
        masked = mask(features, generator)
        hidden = masked != features
        rows = np.flatnonzero(hidden.all(axis=1))
        columns = np.flatnonzero(hidden.all(axis=0))
        assert len(rows) <= 20 and len(columns) <= 8
        for which in (rows, columns):
            assert not len(which) or which[-1] - which[0] == len(which) - 1
        expected = np.broadcast_to(features.mean(axis=0), features.shape)
        np.testing.assert_array_equal(masked[hidden], expected[hidden])
    short = SpecAugment(0, 0, 1, 100, max_share=0.2)(features[:10], rng(4))
    assert (short != features[:10]).all(axis=1).sum() <= 2


STEPS = {
    "noise": AddNoise(ColouredNoise()),
    "rooms": Reverberate(SimulatedRooms(RATE)),
    "band": BandLimit(RATE),
    "telephone": TelephoneCodec(RATE),
    "speed": SpeedPerturbation(),
    "chain": Chain((AddNoise(ColouredNoise()), Reverberate(SimulatedRooms(RATE)))),
    "choice": standard_augmentation(RATE, telephone=True),
}


@pytest.mark.parametrize("name", STEPS)
def test_same_generator_same_samples_and_no_argument_changed(name):
    clean = speech()
    before = clean.copy()
    step = pickle.loads(pickle.dumps(STEPS[name]))
    first, second = STEPS[name](clean, rng(5)), step(clean, rng(5))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(clean, before)
    assert first.dtype == np.float32 and np.isfinite(first).all()


@pytest.mark.parametrize("name", [n for n in STEPS if n != "speed"])
def test_length_is_kept_down_to_one_sample(name):
    for n_samples in (1, 37, 4000):
        assert STEPS[name](speech(n_samples), rng()).shape == (n_samples,)


def test_choice_leaves_the_rest_alone():
    choice = Choose([lambda x, g: x + 1, lambda x, g: x + 2], 0.5)
    generator, zero = rng(), np.zeros(1, np.float32)
    counts = np.bincount([int(choice(zero, generator)[0]) for _ in range(400)])
    assert 160 < counts[0] < 240 and 70 < counts[1] < 130 and counts.sum() == 400
    assert Choose([SpeedPerturbation()], 0.5).stretch == 1.1
    assert Chain([SpeedPerturbation(), SpeedPerturbation()]).stretch == pytest.approx(1.21)


def test_musan_layout(musan):
    for folder in (musan, musan.parent):
        found = noises.find_musan(folder)
        assert {kind: len(files) for kind, files in found.items()} == {
            "noise": 1, "music": 1, "speech": 2,
        }  # fmt: skip
    assert list(noises.find_musan(musan / "speech")) == ["noise"]  # any folder of noise


def test_sounds_of_folders_have_the_length_wanted(musan):
    for kind in ("noise", "music", "speech"):
        sounds = SoundFolder(musan / kind, RATE)
        for n_samples in (100, 20000, 3 * RATE):
            assert sounds(n_samples, rng()).shape == (n_samples,)
    voices = SoundFolder(musan / "speech", RATE, (3, 7))(RATE, rng())
    assert 2 < power(voices) < 20  # three to seven of power 1, some of them the same


def test_policy_uses_all_kinds(musan, rirs):
    policy = standard_augmentation(RATE, musan.parent, rirs.parents[1], probability=1)
    assert [type(choice).__name__ for choice in policy.choices] == ["AddNoise"] * 3 + [
        "Reverberate"
    ]
    assert len(policy.choices[3].rirs.files) == 2
    clean, generator = speech(), rng()
    for _ in range(12):
        changed = policy(clean, generator)
        assert changed.shape == clean.shape and not np.array_equal(changed, clean)


def test_babble_of_training_speakers(musan):
    files = sorted((musan / "speech").glob("*.wav"))
    recordings = [("u1", str(files[0]), None, None), ("u2", str(files[1]), 0.5, 1.5)]
    babble = Babble(recordings, RATE, (3, 3))
    assert babble(5 * RATE, rng()).shape == (5 * RATE,)
    np.testing.assert_array_equal(babble(100, rng(1)), babble(100, rng(1)))


def test_wrap_repeats_from_where_it_begins():
    sound = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(noises.wrap(sound, 7, 0.5), [2, 3, 0, 1, 2, 3, 0])
    np.testing.assert_array_equal(noises.wrap(sound, 2, 0.99), [2, 3])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: SoundFolder(path / "none", RATE), "no such folder"),
        (lambda path: SoundFolder(path, RATE), "holds no recordings"),
        (lambda path: SoundFolder([], RATE), "no recordings of noise"),
        (lambda path: Babble([], RATE), "babble needs"),
        (lambda path: AddNoise(ColouredNoise(), (15, 0)), "snr_db"),
        (lambda path: BandLimit(8000, (300, 4000)), "band"),
        (lambda path: SpeedPerturbation((3.0,)), "speeds"),
        (lambda path: TelephoneCodec(4000), "telephone"),
        (lambda path: SpecAugment(-1), "SpecAugment"),
        (lambda path: Choose([]), "Choose"),
        (lambda path: SimulatedRooms(RATE, (0, 1)), "rt60"),
    ],
)
def test_bad_arguments_are_named(make, words, tmp_path):
    with pytest.raises((DataError, UsageError), match=words):
        make(tmp_path)


def test_noise_that_is_no_audio_is_named(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.wav"):
        SoundFolder(tmp_path, RATE)(100, rng())
    with pytest.raises(DataError, match=r"x\.wav"):
        SoundFolder(tmp_path, RATE, whole=True)(100, rng())
