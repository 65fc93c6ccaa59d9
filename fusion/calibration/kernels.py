"""Kernels of logistic regression, plain and bounded: cost, gradient, Hessian, margins in one pass.

Trials are taken in blocks that stay in cache; the loops over a block have no branches and no calls,
so that LLVM vectorises them (Python's rule that dividing by 0 raises would be a branch, hence the
error model). The exponential and the logarithm are therefore written out, to within a few units in
the last place.

Dimension legend: N trials, d columns, B trials of a block.
"""

from __future__ import annotations

import math

import numpy as np

from ivector.base.jit import njit

# Inputs were found finite, so that NaN need not be respected; sums may be re-ordered.
FAST = {"reassoc", "contract", "arcp", "nsz", "nnan"}
BLOCK = 512
_BIAS = 1023.0
_ROUND = 6755399441055744.0  # 1.5 · 2⁵²: what is added to it stands in its last bits.
_LARGEST = 600.0  # Less would be denormal once it is weighed, and slow.


@njit(inline="always", fastmath=FAST, error_model="numpy")
def exp_of_minus(a):
    """exp(−a) for 0 ≤ a, and exp(−600) beyond: 2^−k exp(r), |r| ≤ ln 2 / 2, by its series."""
    a = a if a < _LARGEST else _LARGEST
    k = np.floor(a * 1.4426950408889634 + 0.5)
    # ln 2 in two parts, the first with few enough bits that k times it is exact.
    r = (k * 0.693145751953125 - a) + k * 1.42860682030941723212e-6
    p = 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = np.float64((_BIAS - k) + _ROUND).view(np.int64)
    return p * np.int64(bits << 52).view(np.float64)


@njit(inline="always", fastmath=FAST, error_model="numpy")
def log_of_one_plus(e):
    """log(1 + e) for 0 ≤ e ≤ 1: 2 artanh(s) by its series, |s| ≤ 0.172."""
    half = 1.0 if e > 0.41421356237309503 else 0.0  # Whether of (1 + e) / 2, and ln 2 added.
    s = (e - half) / (e + 2.0 + half)
    q = s * s
    p = 1 / 21.0
    p = p * q + 1 / 19.0
    p = p * q + 1 / 17.0
    p = p * q + 1 / 15.0
    p = p * q + 1 / 13.0
    p = p * q + 1 / 11.0
    p = p * q + 1 / 9.0
    p = p * q + 1 / 7.0
    p = p * q + 1 / 5.0
    p = p * q + 1 / 3.0
    p = p * q * s + s
    return 2.0 * p + half * 0.6931471805599453


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def logistic_pass(columns, signed, weights, offset, shift, gradient, hessian):
    """Weighted logistic cost of ``z = weights @ columns + offset`` and its derivatives.

    Parameters
    ----------
    columns : ndarray (d, N) float64
    signed : ndarray (N,) float64
        Weight of each trial, negative for nontargets; none is 0.
    weights : ndarray (d,) float64
    offset, shift : float
        Of z, and the prior log-odds that the cost adds to it.
    gradient, hessian : ndarray (d + 1,), (d + 1, d + 1) float64
        Filled; the offset is the last. The upper triangle and the lower are the same.

    Returns
    -------
    cost, lowest, highest : float
        Sum of weight · log(1 + exp(∓(z + shift))); the lowest z of a target and the highest of a
        nontarget.
    """
    d, n = columns.shape
    z, slope, curve = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    # Elementwise over blocks: a running minimum is a chain that LLVM does not vectorise.
    low, high = np.full(BLOCK, np.inf), np.full(BLOCK, -np.inf)
    cost = 0.0
    gradient[:] = 0.0
    hessian[:] = 0.0
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        z[:size] = offset
        for j in range(d):
            w, column = weights[j], columns[j, start : start + size]
            for i in range(size):
                z[i] += w * column[i]
        part, g0, h00 = 0.0, 0.0, 0.0
        v = signed[start : start + size]
        for i in range(size):
            weight, x = abs(v[i]), z[i] + shift
            target = v[i] > 0
            here = z[i] if target else np.inf
            low[i] = here if here < low[i] else low[i]
            here = -np.inf if target else z[i]
            high[i] = here if here > high[i] else high[i]
            margin = x if target else -x
            e = exp_of_minus(abs(margin))
            q = 1.0 / (1.0 + e)
            part += weight * ((0.0 if margin > 0 else -margin) + log_of_one_plus(e))
            wrong = q * (e if margin > 0 else 1.0)
            slope[i] = -v[i] * wrong
            curve[i] = weight * e * q * q
            g0 += slope[i]
            h00 += curve[i]
        cost += part
        gradient[d] += g0
        hessian[d, d] += h00
        for j in range(d):
            column = columns[j, start : start + size]
            g, h = 0.0, 0.0
            for i in range(size):
                g += slope[i] * column[i]
                h += curve[i] * column[i]
                z[i] = curve[i] * column[i]
            gradient[j] += g
            hessian[j, d] += h
            for k in range(j, d):
                other, h = columns[k, start : start + size], 0.0
                for i in range(size):
                    h += z[i] * other[i]
                hessian[j, k] += h
    for j in range(d + 1):
        for k in range(j):
            hessian[j, k] = hessian[k, j]
    lowest, highest = np.inf, -np.inf
    for i in range(BLOCK):
        lowest, highest = min(lowest, low[i]), max(highest, high[i])
    return cost, lowest, highest


@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def standardise(table, signed, unit, columns, mean, spread):
    """Columns of weighted mean 0 and variance 1.

    Parameters
    ----------
    table : ndarray (N, d) float64
    signed : ndarray (N,) float64
        Weights, whatever their signs; their magnitudes sum to 1.
    unit : ndarray (d,) float64
        By which columns are divided first.
    columns, mean, spread : ndarray (d, N), (d,), (d,) float64
        Filled; mean and spread are those of ``table / unit``.
    """
    n, d = table.shape
    mean[:] = 0.0
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        for j in range(d):
            column, total, scale = columns[j], 0.0, 1.0 / unit[j]
            # Sums have loops that write nothing. Else LLVM makes two, one for arrays that may
            # overlap; where they lie would decide which is taken, and so the last digit.
            for i in range(start, stop):
                column[i] = table[i, j] * scale
            for i in range(start, stop):
                total += abs(signed[i]) * column[i]
            mean[j] += total
    for j in range(d):
        column, centre, square = columns[j], mean[j], 0.0
        for start in range(0, n, BLOCK):
            stop, total = min(start + BLOCK, n), 0.0
            for i in range(start, stop):
                column[i] -= centre
            for i in range(start, stop):
                total += abs(signed[i]) * column[i] * column[i]
            square += total
        spread[j] = np.sqrt(square)
        scale = 1.0 / spread[j]
        for i in range(n):
            column[i] *= scale


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
