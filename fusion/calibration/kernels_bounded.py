"""Kernel of the bounded logistic regression: cost and gradient in one pass over blocks of trials.

Dimension legend: N trials, d columns.
"""

from __future__ import annotations

import math

import numpy as np

from fusion.calibration.kernels_logistic import BLOCK, FAST, exp_of_minus, log_of_one_plus
from ivector.base.jit import njit


@njit(inline="always")
def softplus(x):
    """log(1 + exp(x))."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(inline="always")
def logistic(x):
    """1 / (1 + exp(−x))."""
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x > 0 else e / (1.0 + e)


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
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
    z, along = np.empty(BLOCK), np.empty(BLOCK)
    cost = 0.0
    gradient[:] = 0.0
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        z[:size] = point[d]
        for j in range(d):
            w, column = point[j], columns[j, start : start + size]
            for i in range(size):
                z[i] += w * column[i]
        v = signed[start : start + size]
        part, g0, g1, g2 = 0.0, 0.0, 0.0, 0.0
        for i in range(size):
            # log(1 + exp x) and the logistic function of x, for three x
            x = z[i] - a
            t = exp_of_minus(abs(x))
            top = a + (x if x > 0 else 0.0) + log_of_one_plus(t)
            p = (1.0 if x > 0 else t) / (1.0 + t)
            x = c + z[i]
            t = exp_of_minus(abs(x))
            bottom = (x if x > 0 else 0.0) + log_of_one_plus(t)
            q = (1.0 if x > 0 else t) / (1.0 + t)
            x = level + top - bottom + shift
            x = -x if v[i] > 0 else x
            t = exp_of_minus(abs(x))
            part += abs(v[i]) * ((x if x > 0 else 0.0) + log_of_one_plus(t))
            slope = -v[i] * (1.0 if x > 0 else t) / (1.0 + t)
            along[i] = slope * (p - q)
            g0 += along[i]
            g1 += slope * (1.0 - p - e)
            g2 += slope * (f - q)
        cost += part
        gradient[d] += g0
        gradient[d + 1] += g1
        gradient[d + 2] += g2
        for j in range(d):
            column, g = columns[j, start : start + size], 0.0
            for i in range(size):
                g += along[i] * column[i]
            gradient[j] += g
    low, high = level + a, level - c
    cost += extra_target * softplus(-low - shift) + extra_nontarget * softplus(high + shift)
    slope = -extra_target * logistic(-low - shift)
    gradient[d + 1] += slope * (1.0 - e)
    gradient[d + 2] += slope * f
    slope = extra_nontarget * logistic(high + shift)
    gradient[d + 1] -= slope * e
    gradient[d + 2] += slope * (f - 1.0)
    return cost
