"""Energy VAD against Kaldi's output, a plain loop, and its fallback for silent recordings."""

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivector.base.errors import DataError, UsageError
from ivector.base.kaldi import read_vectors
from ivector.features.vad import EnergyVAD, select_voiced, voiced_or_loudest


def reference(log_energy, threshold, mean_scale, context, proportion):
    """ComputeVadEnergy, as a double loop."""
    if mean_scale and len(log_energy):
        threshold = threshold + mean_scale * np.mean(log_energy)
    voiced = []
    for t in range(len(log_energy)):
        around = log_energy[max(0, t - context) : t + context + 1]
        voiced.append(
            np.sum(around > threshold) >= np.float32(len(around)) * np.float32(proportion)
        )
    return np.array(voiced, bool)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vad.txt", {}),
        (
            "vad_context2_prop0.12.txt",
            {"vad_frames_context": 2, "vad_proportion_threshold": 0.12},
        ),
    ],
)
def test_equals_kaldi(golden, name, options):
    features = dict(kaldiio.load_ark(str(golden / "feat" / "mfcc.ark")))["excerpt"]
    expected = read_vectors(golden / "feat" / name)["excerpt"]
    voiced = EnergyVAD(vad_energy_threshold=5.5, **options).transform(features)
    assert voiced.dtype == bool
    np.testing.assert_array_equal(voiced, expected.astype(bool))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 20), max_size=40),
    st.integers(0, 6),
    st.sampled_from([0.1, 0.12, 0.2, 0.5, 0.6, 0.9]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_equals_reference(energies, context, proportion, mean_scale):
    features = np.zeros((len(energies), 3), np.float32)
    features[:, 0] = energies
    vad = EnergyVAD(5.0, mean_scale, context, proportion)
    np.testing.assert_array_equal(
        vad.transform(features),
        reference(np.array(energies, float), 5.0, mean_scale, context, proportion),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"vad_frames_context": -1},
        {"vad_frames_context": 1.5},
        {"vad_proportion_threshold": 0.0},
        {"vad_proportion_threshold": 1.0},
        {"vad_energy_mean_scale": -0.5},
    ],
)
def test_refuses_options(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        EnergyVAD(**options).fit()


@pytest.mark.parametrize("bad", [np.zeros(4), np.full((3, 2), np.nan), np.array([["a"]])])
def test_refuses_features(bad):
    with pytest.raises(DataError):
        EnergyVAD().transform(bad)


def test_falls_back_on_loudest_frames():
    vad = EnergyVAD(vad_energy_threshold=50.0, full_scale=32768)
    features = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    voiced, fallback = voiced_or_loudest(features, vad)
    assert fallback
    assert voiced.sum() == 20
    assert features[voiced, 0].min() >= features[~voiced, 0].max()


@pytest.mark.parametrize(("n_frames", "expected"), [(0, 0), (1, 1), (7, 7), (50, 10), (101, 10)])
def test_fallback_keeps_at_least_ten(n_frames, expected):
    voiced, fallback = voiced_or_loudest(np.zeros((n_frames, 2)), EnergyVAD())
    assert fallback
    assert voiced.shape == (n_frames,)
    assert voiced.sum() == expected


def test_fallback_is_not_used_where_there_is_voice():
    features = np.array([[1.0], [20.0]])
    voiced, fallback = voiced_or_loudest(features, EnergyVAD())
    assert not fallback
    np.testing.assert_array_equal(voiced, [False, True])


def test_select_voiced():
    features = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(select_voiced(features, [1.0, 0.0, 1.0]), features[[0, 2]])
    assert select_voiced(features, np.zeros(3)).shape == (0, 2)
    with pytest.raises(DataError, match=r"\(2,\).*3 frames"):
        select_voiced(features, [True, False])
