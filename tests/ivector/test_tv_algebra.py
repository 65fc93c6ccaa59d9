"""Matrix algebra of total variability: packed matrices, damped solutions, floors."""

import numpy as np
import pytest

from ivector.base.errors import DataError
from ivector.total_variability import packed
from ivector.total_variability.m_step import floored, solve_floored


@pytest.mark.parametrize("n", [1, 2, 3, 10, 11])
def test_packed_matrices_equal_full_ones(n):
    rng = np.random.default_rng(n)
    root = rng.normal(size=(n + 3, n))
    full = root.T @ root
    numbers = packed.gram(root)
    np.testing.assert_allclose(packed.to_full(numbers, n), full, atol=1e-12)
    rows, columns = packed.positions(n)
    np.testing.assert_allclose(numbers, full[rows, columns], atol=1e-12)
    np.testing.assert_allclose(numbers[packed.diagonal(n)], np.diag(full), atol=1e-12)
    row, rhs = numbers.astype(np.float32), rng.normal(size=n).astype(np.float32)
    assert packed.factor(row, n) == 0
    np.testing.assert_allclose(full @ packed.solve(row, rhs), rhs, atol=1e-3)
    packed.invert(row, n)
    packed.add_outer(row, rhs)
    expected = np.linalg.inv(full) + np.outer(rhs, rhs)
    np.testing.assert_allclose(packed.to_full(row, n), expected, rtol=1e-3, atol=1e-4)
    assert packed.factor(-numbers.astype(np.float32), n) > 0


@pytest.mark.parametrize("condition", [10.0, 9e3, 1e6])
def test_ill_conditioned_systems_are_damped_as_in_kaldi(condition):
    rng = np.random.default_rng(0)
    vectors, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    quadratic = (vectors * np.geomspace(1, condition, 5)) @ vectors.T
    quadratic /= np.sqrt(np.outer(np.diag(quadratic), np.diag(quadratic)))
    rhs = rng.normal(size=(3, 5))
    values, basis = np.linalg.eigh(quadratic)
    expected = rhs @ basis / np.maximum(values, values[-1] / 1e4) @ basis.T
    np.testing.assert_allclose(solve_floored(quadratic, rhs), expected, rtol=1e-6, atol=1e-9)


def test_floored_covariance_is_the_smallest_above_the_floor():
    floor = np.diag([1.0, 2.0, 3.0])
    np.testing.assert_allclose(floored(np.diag([0.5, 5.0, 3.5]), floor), np.diag([1.0, 5.0, 3.5]))
    np.testing.assert_array_equal(
        floored(np.diag([2.0, 5.0, 4.0]), floor), np.diag([2.0, 5.0, 4.0])
    )
    with pytest.raises(DataError, match="remove it"):
        floored(np.zeros((3, 3)), np.zeros((3, 3)))
