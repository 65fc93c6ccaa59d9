"""Sliding and global CMVN and the whole front-end, against Kaldi's output and plain loops."""

import json
import pickle

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivector.base.errors import DataError, DegenerateDataWarning, UsageError
from ivector.base.kaldi import read_vectors
from ivector.features.cmvn import GlobalCMVN, SlidingCMVN, apply_cmvn, compute_cmvn_stats
from ivector.features.deltas import add_deltas, shifted_delta_cepstra
from ivector.features.warping import feature_warping, rasta
from ivector.pipeline import NORMALISATIONS, FrontEnd


def load(golden, name):
    return dict(kaldiio.load_ark(str(golden / "feat" / name)))["excerpt"]


def window_of(t, n_frames, window, min_window, center):
    """First and one past the last frame, step by step as in SlidingWindowCmnInternal."""
    if center:
        start, end = t - window // 2, t - window // 2 + window
    else:
        start, end = t - window, t + 1
    if start < 0:
        end -= start
        start = 0
    if not center and end > t:
        end = max(t + 1, min_window)
    if end > n_frames:
        start = max(0, start - (end - n_frames))
        end = n_frames
    return start, end


def reference(features, window, min_window, center, norm_vars):
    out = np.empty(features.shape)
    wide = features.astype(float)
    for t in range(len(features)):
        part = wide[slice(*window_of(t, len(features), window, min_window, center))]
        out[t] = wide[t] - part.mean(axis=0)
        if norm_vars:
            out[t] /= np.sqrt(np.maximum(part.var(axis=0), 1e-10))
            if len(part) == 1:
                out[t] = 0
    return out


@pytest.mark.golden
@pytest.mark.parametrize(
    ("source", "name", "options"),
    [
        ("mfcc.ark", "mfcc_cmn300.txt", {"cmn_window": 300, "center": True}),
        ("mfcc.ark", "mfcc_cmn101.txt", {"cmn_window": 101, "center": True}),
        (
            "mfcc.ark",
            "mfcc_cmvn100_normvars.txt",
            {"cmn_window": 100, "center": True, "norm_vars": True},
        ),
        ("mfcc.ark", "mfcc_cmn100_left_min50.txt", {"cmn_window": 100, "min_cmn_window": 50}),
        ("deltas_w3.txt", "deltas_w3_cmn300.txt", {"cmn_window": 300, "center": True}),
    ],
)
def test_sliding_equals_kaldi(golden, source, name, options):
    actual = SlidingCMVN(**options).transform(load(golden, source))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, load(golden, name), atol=1e-4)


@pytest.mark.golden
def test_global_equals_kaldi(golden):
    features = load(golden, "mfcc.ark")
    np.testing.assert_allclose(
        compute_cmvn_stats(features), load(golden, "cmvn_stats.txt"), rtol=2e-6
    )
    actual = GlobalCMVN(norm_vars=True).transform(features)
    np.testing.assert_allclose(actual, load(golden, "mfcc_cmvn_global.txt"), atol=1e-4)


@pytest.mark.golden
def test_front_end_equals_kaldi(golden):
    voiced = read_vectors(golden / "feat" / "vad.txt")["excerpt"]
    actual = FrontEnd().apply(load(golden, "mfcc.ark"), voiced)
    np.testing.assert_allclose(actual, load(golden, "final_voiced.txt"), atol=1e-4)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 60),
    st.integers(1, 5),
    st.integers(1, 80),
    st.integers(1, 80),
    st.booleans(),
    st.booleans(),
)
def test_sliding_equals_reference(n_frames, n_dims, window, min_window, center, norm_vars):
    rng = np.random.default_rng([n_frames, n_dims, window, min_window])
    features = (rng.standard_normal((n_frames, n_dims)) + 5).astype(np.float32)
    expected = reference(features, window, min_window, center, norm_vars)
    actual = SlidingCMVN(window, min_window, center, norm_vars).transform(features)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_long_recordings_do_not_drift():
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((60000, 2)) + 1000).astype(np.float32)
    features[30000:, 1] = 1000.0
    with pytest.warns(DegenerateDataWarning, match="constant"):
        actual = SlidingCMVN(300, center=True, norm_vars=True).transform(features)
    part = features[59000:59300, 0].astype(float)
    expected = (features[59150, 0] - part.mean()) / part.std()
    assert actual[59150, 0] == pytest.approx(expected, abs=1e-5)
    assert abs(actual[40000:, 1]).max() < 1e-3


def test_constant_features_become_zero():
    features = np.full((50, 3), 123.456, np.float32)
    with pytest.warns(DegenerateDataWarning, match="150 of 150"):
        assert not SlidingCMVN(20, norm_vars=True).transform(features).any()
    assert not SlidingCMVN(20).transform(features).any()
    with pytest.warns(DegenerateDataWarning, match="3 of 3"):
        out = GlobalCMVN(norm_vars=True).transform(features)
    assert abs(out).max() < 1e-2


def test_statistics_of_a_speaker_add():
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 40, 3)).astype(np.float32)
    both = np.concatenate([one, two])
    stats = compute_cmvn_stats(one) + compute_cmvn_stats(two)
    np.testing.assert_allclose(stats, compute_cmvn_stats(both), rtol=1e-12, atol=1e-12)
    normalised = apply_cmvn(both, stats, norm_vars=True)
    np.testing.assert_allclose(normalised.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(normalised.std(axis=0), 1, rtol=1e-5)


def test_global_options():
    features = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    np.testing.assert_array_equal(GlobalCMVN(norm_means=False).transform(features), features)
    assert GlobalCMVN().transform(np.empty((0, 4))).shape == (0, 4)
    with pytest.raises(UsageError, match="norm_means"):
        GlobalCMVN(norm_means=False, norm_vars=True).fit()


@pytest.mark.parametrize("stats", [np.zeros((2, 3)), np.zeros((2, 4))])
def test_refuses_statistics(stats):
    with pytest.raises(DataError, match="statistics"):
        apply_cmvn(np.zeros((5, 3)), stats)


@pytest.mark.parametrize("options", [{"cmn_window": 0}, {"min_cmn_window": True}])
def test_sliding_refuses_options(options):
    with pytest.raises(UsageError, match="whole number"):
        SlidingCMVN(**options).fit()


def test_refuses_nan_and_names_it():
    features = np.zeros((5, 3))
    features[3, 1] = np.inf
    with pytest.raises(DataError, match="frame 3, dimension 1"):
        SlidingCMVN().transform(features)


def test_front_end_is_its_parts():
    rng = np.random.default_rng(0)
    static = rng.standard_normal((120, 5)).astype(np.float32)
    voiced = rng.random(120) < 0.6
    with_deltas = add_deltas(static, 2, 3)
    expected = {
        "cmn": SlidingCMVN(50, center=True).transform(with_deltas),
        "cmvn": SlidingCMVN(50, center=True, norm_vars=True).transform(with_deltas),
        "warping": feature_warping(with_deltas, 50),
        "global_cmn": GlobalCMVN().transform(with_deltas),
        "global_cmvn": GlobalCMVN(norm_vars=True).transform(with_deltas),
        "none": with_deltas,
    }
    assert set(expected) == set(NORMALISATIONS)
    for name, features in expected.items():
        front_end = FrontEnd(normalisation=name, cmn_window=50)
        np.testing.assert_array_equal(front_end.apply(static, voiced), features[voiced])
        np.testing.assert_array_equal(front_end.apply(static), features)
    every = FrontEnd(normalisation="none", voiced_only=False).apply(static, voiced)
    np.testing.assert_array_equal(every, with_deltas)


def test_front_end_with_sdc_and_rasta():
    static = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    front_end = FrontEnd(delta_order=0, sdc=[7, 1, 3, 7], rasta=True, normalisation="none")
    filtered = rasta(static)
    expected = np.hstack([filtered, shifted_delta_cepstra(filtered, 7, 1, 3, 7)])
    np.testing.assert_array_equal(front_end.apply(static), expected)
    assert front_end.n_dims(8) == 57 == expected.shape[1]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("n_frames", [0, 1, 2])
def test_front_end_on_few_frames(n_frames, normalisation):
    front_end = FrontEnd(normalisation=normalisation)
    static = np.ones((n_frames, 4), np.float32)
    out = front_end.apply(static, np.ones(n_frames, bool))
    assert out.shape == (n_frames, 12)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert front_end.apply(static, np.zeros(n_frames, bool)).shape == (0, 12)


def test_front_end_survives_pickle_and_json():
    front_end = FrontEnd(delta_order=0, sdc=(7, 1, 3, 7), cmn_window=200)
    assert pickle.loads(pickle.dumps(front_end)) == front_end
    assert FrontEnd(**json.loads(json.dumps(front_end.options()))) == front_end
    assert hash(front_end) == hash(FrontEnd(**front_end.options()))


def test_front_end_takes_read_only_arrays_and_leaves_its_input():
    static = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    static.setflags(write=False)
    before = static.copy()
    FrontEnd().apply(static, np.ones(30))
    np.testing.assert_array_equal(static, before)


@pytest.mark.parametrize(
    "options",
    [
        {"delta_order": -1},
        {"delta_window": 0},
        {"normalisation": "cms"},
        {"cmn_window": 0},
        {"normalisation": "warping", "cmn_window": 40000},
        {"sdc": (7, 1, 3, 7)},
        {"sdc": (7, 1, 3), "delta_order": 0},
        {"sdc": (7, 0, 3, 7), "delta_order": 0},
    ],
)
def test_front_end_refuses_options(options):
    with pytest.raises(UsageError):
        FrontEnd(**options)


def test_front_end_refuses_other_lengths():
    with pytest.raises(DataError, match="5 frames"):
        FrontEnd().apply(np.zeros((5, 2)), np.ones(4))
