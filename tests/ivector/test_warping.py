"""Feature warping and RASTA against plain loops and what they are for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm, rankdata

from ivector.base.errors import DataError, UsageError
from ivector.features.warping import feature_warping, rasta


def reference(features, window):
    """Mid-ranks by scipy, one window at a time."""
    n_frames = len(features)
    n = min(window, n_frames)
    out = np.empty(features.shape)
    for t in range(n_frames):
        start = min(max(t - n // 2, 0), n_frames - n)
        ranks = rankdata(features[start : start + n], axis=0)[t - start]
        out[t] = norm.ppf((ranks - 0.5) / n)
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 70), st.integers(1, 4), st.integers(1, 90), st.booleans())
def test_equals_reference(n_frames, n_dims, window, ties):
    rng = np.random.default_rng([n_frames, n_dims, window])
    features = rng.standard_normal((n_frames, n_dims)).astype(np.float32)
    if ties:
        features = np.round(features)
    actual = feature_warping(features, window)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, reference(features, window), atol=1e-5)


def test_result_is_normal_and_blind_to_monotone_channels():
    rng = np.random.default_rng(0)
    features = rng.gamma(2.0, size=(3000, 2)).astype(np.float32)
    warped = feature_warping(features)
    assert kstest(warped[:, 0], "norm").statistic < 0.02
    np.testing.assert_array_equal(feature_warping(5 + 3 * np.exp(features)), warped)


def test_constant_features_become_zero():
    assert not feature_warping(np.full((40, 2), 7.0), 11).any()


@pytest.mark.parametrize("window", [0, 32768, 3.5])
def test_refuses_window(window):
    with pytest.raises(UsageError, match="window"):
        feature_warping(np.zeros((5, 2)), window)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.sampled_from([0.0, 0.94, 0.98]))
def test_rasta_equals_reference(n_frames, pole):
    features = np.random.default_rng(n_frames).standard_normal((n_frames, 3)).astype(np.float32)
    expected = np.zeros((n_frames, 3))
    state = np.zeros(3)

    def frame(t):
        return features[min(max(t, 0), n_frames - 1)].astype(float)

    for t in range(-8, n_frames):
        if n_frames:
            new = 2 * frame(t + 4) + frame(t + 3) - frame(t + 1) - 2 * frame(t)
            state = pole * state + 0.1 * new
        if t >= 0:
            expected[t] = state
    np.testing.assert_allclose(rasta(features, pole), expected, atol=1e-5)


def test_rasta_removes_a_constant_channel():
    features = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    np.testing.assert_allclose(rasta(features + 8), rasta(features), atol=1e-4)
    assert not rasta(np.full((50, 2), 3.0)).any()


def test_rasta_passes_syllables_and_stops_the_rest():
    seconds = np.arange(2000) / 100
    gain = {
        hertz: np.std(rasta(np.sin(2 * np.pi * hertz * seconds)[:, None])[1000:]) / np.sqrt(0.5)
        for hertz in (0.02, 4.0, 45.0)
    }
    assert gain[4.0] > 10 * gain[0.02]
    assert gain[4.0] > 5 * gain[45.0]


def test_rasta_refuses_bad_input():
    with pytest.raises(UsageError, match="pole"):
        rasta(np.zeros((5, 2)), pole=1.0)
    with pytest.raises(DataError):
        rasta(np.zeros(5))
