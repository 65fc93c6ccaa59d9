"""Kernels of the mixtures against NumPy."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivector.base.lanes import LANES
from ivector.gmm import kernels
from ivector.gmm import kernels_pairs as pair_kernels
from ivector.gmm import kernels_products as products


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernel_extend(dtype):
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((5, 3)).astype(dtype)
    centre, inverse = rng.standard_normal(3), rng.random(3)
    out = np.empty((5, 7), np.float32)
    assert kernels.extend(frames, centre, inverse, 1e20, out) == -1
    z = ((frames - centre) * inverse).astype(np.float32)
    np.testing.assert_allclose(out, np.hstack([z, z**2, np.ones((5, 1))]), rtol=1e-6)
    frames[3, 1] = np.nan
    assert kernels.extend(frames, centre, inverse, 1e20, out) == 3
    frames[2, 0] = 1e15
    assert kernels.extend(frames, centre, inverse, 1e20, out) == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 90), st.integers(0, 2**31), st.floats(0.01, 60))
def test_kernel_exp_rows(n, size, seed, spread):
    logs = (spread * np.random.default_rng(seed).standard_normal((n, size)) - 300).astype("f4")
    top = logs.max(axis=1, keepdims=True).astype(float)
    expected = np.where(logs - top > -80, np.exp(logs - top), 0)
    sums, inverse = np.empty(n, np.float32), np.empty(n, np.float32)
    kernels.exp_rows(logs, sums, inverse)
    np.testing.assert_allclose(logs, expected, rtol=3e-5)
    np.testing.assert_allclose(inverse, 1 / expected.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(sums, top[:, 0] + np.log(expected.sum(axis=1)), rtol=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(1, 200), st.integers(1, 40), st.integers(0, 2**31))
def test_kernel_top_n(n, size, count, seed):
    count = min(count, size)
    # Few distinct values, so that equal ones occur.
    logs = np.random.default_rng(seed).integers(-30, 30, (n, size)).astype(np.float32)
    best = np.empty((n, count), np.int32)
    kernels.top_n(logs, best)
    assert (best == np.argsort(-logs, axis=1, kind="stable")[:, :count]).all()


@pytest.mark.parametrize("n", [1, 4, 7])
def test_kernels_of_products(n):
    rng = np.random.default_rng(n)
    extended = rng.standard_normal((n, products.COLUMNS)).astype("f4")
    parameters = rng.standard_normal((2 * products.PANEL, products.COLUMNS)).astype("f4")
    logs = np.empty((n, len(parameters)), "f4")
    products.scores(extended, products.panels(parameters), logs)
    np.testing.assert_allclose(logs, extended @ parameters.T, rtol=1e-4, atol=1e-4)
    out = np.ones_like(parameters)
    products.moments(logs, extended, out)
    np.testing.assert_allclose(out, 1 + logs.T @ extended, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n, count, dim", [(1, 1, 1), (30, 3, 4), (200, 2, 20), (9, 7, 33)])
def test_kernels_of_pairs(n, count, dim):
    rng = np.random.default_rng(0)
    n_components, width = 7, -(-(dim + 1) // LANES) * LANES
    selected = np.argsort(rng.random((n, n_components)), axis=1)[:, :count].astype(np.int32)
    order, offsets = pair_kernels.group_pairs(selected, n_components)
    assert (order == np.argsort(selected.ravel(), kind="stable")).all()
    assert (np.diff(offsets) == np.bincount(selected.ravel(), minlength=n_components)).all()

    frames, means = np.zeros((n, width), "f4"), np.zeros((n_components, width), "f4")
    frames[:, :dim], frames[:, dim] = rng.standard_normal((n, dim)), 1
    means[:, :dim] = rng.standard_normal((n_components, dim))
    factors = np.zeros((n_components, width, width), "f4")
    factors[:, :dim, :dim] = np.triu(rng.standard_normal((n_components, dim, dim)))
    constants = rng.standard_normal(n_components).astype("f4")
    logs = np.empty(n * count, "f4")
    pair_kernels.pair_logs(frames, order, offsets, means, factors, constants, count, logs)
    difference = (frames[:, None] - means[selected]).astype(float)  # (n, N, W)
    whitened = np.einsum("nkw,nkwv->nkv", difference, factors[selected])
    expected = constants[selected] - 0.5 * (whitened**2).sum(axis=2)
    np.testing.assert_allclose(logs.reshape(n, count), expected, rtol=1e-4, atol=1e-4)

    posts = rng.random((n, count)).astype("f4")
    grams = np.ones((n_components, width, width), "f4")
    pair_kernels.add_grams(frames, order, offsets, means, posts.ravel(), count, grams)
    for c in range(n_components):
        of_c = selected == c
        v = difference[of_c]
        expected = np.tril(1 + (v * posts[of_c][:, None]).T @ v)
        np.testing.assert_allclose(np.tril(grams[c]), expected, rtol=1e-4, atol=1e-4)


def test_kernel_prune():
    posts = np.array([[0.5, 0.3, 0.2], [0.1, 0.15, 0.05], [1, 0, 0]], np.float32)
    kernels.prune(posts, np.float32(0.25))
    np.testing.assert_allclose(posts, [[0.625, 0.375, 0], [0, 1, 0], [1, 0, 0]])


def test_products_in_wide_vectors_only_where_they_are_compiled_for(monkeypatch):
    for features, wide in [("", False), ("+avx2", False), ("+avx2,+avx512f", True)]:
        monkeypatch.setattr(numba.config, "CPU_NAME", "x86-64-v3")
        monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
        assert products.wide_vectors() == wide
