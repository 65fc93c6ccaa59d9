"""Deltas and shifted delta cepstra against Kaldi's output and plain loops."""

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivector.base.errors import DataError, UsageError
from ivector.features.deltas import add_deltas, delta_filters, shifted_delta_cepstra


def reference(features, order, window):
    """DeltaFeatures::Process frame by frame, its filters made by its own recursion."""
    filters = [np.ones(1)]
    norm = sum(j * j for j in range(-window, window + 1))
    for _ in range(order):
        last = filters[-1]
        taps = np.zeros(len(last) + 2 * window)
        for j in range(-window, window + 1):
            for k, value in enumerate(last):
                taps[j + window + k] += j * value / norm
        filters.append(taps)
    n_frames = len(features)
    out = np.zeros((n_frames, (order + 1) * features.shape[1]))
    for t in range(n_frames):
        rows = []
        for taps in filters:
            reach = len(taps) // 2
            at = np.clip(np.arange(t - reach, t + reach + 1), 0, n_frames - 1)
            rows.append(taps @ features[at].astype(float))
        out[t] = np.concatenate(rows)
    return out


@pytest.mark.golden
@pytest.mark.parametrize(("name", "window"), [("deltas_w3.txt", 3), ("deltas_default_w2.txt", 2)])
def test_equals_kaldi(golden, name, window):
    features = dict(kaldiio.load_ark(str(golden / "feat" / "mfcc.ark")))["excerpt"]
    expected = dict(kaldiio.load_ark(str(golden / "feat" / name)))["excerpt"]
    actual = add_deltas(features, order=2, window=window)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 90), st.integers(1, 7), st.integers(0, 3), st.integers(1, 4))
def test_equals_reference(n_frames, n_dims, order, window):
    rng = np.random.default_rng([n_frames, n_dims, order, window])
    features = rng.standard_normal((n_frames, n_dims)).astype(np.float32)
    expected = reference(features, order, window)
    actual = add_deltas(features, order, window)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_delta_of_a_line_is_its_slope():
    line = np.outer(np.arange(30), [2.0, -1.0])
    out = add_deltas(line, order=2, window=3)
    np.testing.assert_allclose(out[6:-6, 2:4], np.tile([2.0, -1.0], (18, 1)), rtol=1e-5)
    np.testing.assert_allclose(out[6:-6, 4:], 0, atol=1e-5)


def test_filters_of_odd_order_are_odd():
    for i, taps in enumerate(delta_filters(3, 2), 1):
        np.testing.assert_allclose(taps, (-1) ** i * taps[::-1], atol=1e-15)


@pytest.mark.parametrize("options", [{"order": -1}, {"window": 0}, {"window": 2.0}])
def test_refuses_options(options):
    with pytest.raises(UsageError, match="whole number"):
        add_deltas(np.zeros((3, 2)), **options)


def test_refuses_features():
    with pytest.raises(DataError, match=r"\(4,\)"):
        add_deltas(np.zeros(4))
    with pytest.raises(DataError, match="NaN"):
        add_deltas(np.full((4, 2), np.nan))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 30), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)
)
def test_shifted_deltas_equal_reference(n_frames, n, d, p, k):
    features = np.random.default_rng([n_frames, n, d, p, k]).standard_normal((n_frames, 4))
    features = features.astype(np.float32)
    expected = np.empty((n_frames, k * n), np.float32)
    for t in range(n_frames):
        for i in range(k):
            ahead, behind = np.clip([t + i * p + d, t + i * p - d], 0, n_frames - 1)
            expected[t, i * n : (i + 1) * n] = features[ahead, :n] - features[behind, :n]
    actual = shifted_delta_cepstra(features, n, d, p, k)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)


def test_shifted_deltas_refuse_options():
    with pytest.raises(UsageError, match=r"n=7 .* 5 dimensions"):
        shifted_delta_cepstra(np.zeros((9, 5)))
    with pytest.raises(UsageError, match="p must be"):
        shifted_delta_cepstra(np.zeros((9, 7)), p=0)
