"""Kernel of the bounded logistic regression: cost and gradient in one pass.

Dimension legend: N trials, d columns.
"""

from __future__ import annotations

import math

from numba import njit


@njit(inline="always")
def softplus(x):
    """log(1 + exp(x))."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(inline="always")
def logistic(x):
    """1 / (1 + exp(−x))."""
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x > 0 else e / (1.0 + e)


@njit(cache=True, nogil=True)
def bounded_pass(columns, signed, point, shift, extra_target, extra_nontarget, gradient):
    """Weighted logistic cost of bounded llr and its gradient.

    Parameters
    ----------
    columns : ndarray (d, N) float64
    signed : ndarray (N,) float64
        Weight of each trial, negative for nontargets.
    point : ndarray (d + 3,) float64
        Weights, offset, and log-odds of an outlier among targets and among nontargets.
    shift : float
        Prior log-odds.
    extra_target, extra_nontarget : float
        Weights of a target at the lower bound and a nontarget at the upper one.
    gradient : ndarray (d + 3,) float64
        Filled.

    Returns
    -------
    cost : float
    """
    d, n = columns.shape
    a, c = point[d + 1], point[d + 2]
    level = softplus(c) - softplus(a)
    e, f = logistic(a), logistic(c)
    cost = 0.0
    gradient[:] = 0.0
    for i in range(n):
        z = point[d]
        for j in range(d):
            z += point[j] * columns[j, i]
        llr = level + max(z, a) + math.log1p(math.exp(-abs(z - a))) - softplus(c + z)
        sign = 1.0 if signed[i] > 0 else -1.0
        margin = sign * (llr + shift)
        cost += abs(signed[i]) * softplus(-margin)
        slope = -signed[i] * logistic(-margin)
        p, q = logistic(z - a), logistic(c + z)
        along = slope * (p - q)
        for j in range(d):
            gradient[j] += along * columns[j, i]
        gradient[d] += along
        gradient[d + 1] += slope * (1.0 - p - e)
        gradient[d + 2] += slope * (f - q)
    low, high = level + a, level - c
    cost += extra_target * softplus(-low - shift) + extra_nontarget * softplus(high + shift)
    slope = -extra_target * logistic(-low - shift)
    gradient[d + 1] += slope * (1.0 - e)
    gradient[d + 2] += slope * f
    slope = extra_nontarget * logistic(high + shift)
    gradient[d + 1] -= slope * e
    gradient[d + 2] += slope * (f - 1.0)
    return cost
