"""Kernels of the metrics: merging sorted scores, the convex hull, the logarithmic cost.

All counts are int64, so that ties and collinear points are decided exactly.

Dimension legend: K points of a curve.
"""

from __future__ import annotations

import numpy as np

from ivector.base.jit import njit


@njit(cache=True)
def merge_counts(tar, non, threshold, misses, rejections):
    """Count errors at every distinct score of two ascending arrays.

    Fills ``misses[k]``, the targets, and ``rejections[k]``, the nontargets, below the k-th
    distinct score ``threshold[k]``; the last point rejects everything. Returns the number K of
    points. `non` may be the end of `threshold`: what is written stays behind what is read.
    """
    i = j = k = 0
    while i < tar.size or j < non.size:
        if j == non.size or (i < tar.size and tar[i] <= non[j]):
            score = tar[i]
        else:
            score = non[j]
        threshold[k], misses[k], rejections[k] = score, i, j
        k += 1
        while i < tar.size and tar[i] == score:
            i += 1
        while j < non.size and non[j] == score:
            j += 1
    threshold[k], misses[k], rejections[k] = np.inf, i, j
    return k + 1


@njit(cache=True)
def count_sorted(scores, target, threshold, misses, rejections):
    """As `merge_counts`, of the ascending scores of both classes and which are of targets."""
    n_tar = n_non = k = 0
    for i in range(scores.size):
        if i == 0 or scores[i] != scores[i - 1]:
            threshold[k], misses[k], rejections[k] = scores[i], n_tar, n_non
            k += 1
        if target[i]:
            n_tar += 1
        else:
            n_non += 1
    threshold[k], misses[k], rejections[k] = np.inf, n_tar, n_non
    return k + 1


@njit(cache=True)
def lower_hull(x, y, n, vertices):
    """Vertices of the lower convex hull of n points that ascend in x and y.

    The pool-adjacent-violators algorithm, seen as Andrew's monotone chain. Fills `vertices` with
    positions of points and returns how many.
    """
    m = 0
    for k in range(n):
        while m >= 2:
            a, b = vertices[m - 2], vertices[m - 1]
            if (x[b] - x[a]) * (y[k] - y[a]) > (y[b] - y[a]) * (x[k] - x[a]):
                break
            m -= 1
        if m == 1 and x[k] == x[0] and y[k] == y[0]:
            continue
        vertices[m] = k
        m += 1
    return m


@njit(cache=True)
def add_to_hull(x, y, m, new_x, new_y):
    """As a step of `lower_hull`: a hull of m vertices, by their coordinates, and a further point.

    Returns how many vertices there are then.
    """
    while m >= 2:
        rise, run = y[m - 1] - y[m - 2], x[m - 1] - x[m - 2]
        if run * (new_y - y[m - 2]) > rise * (new_x - x[m - 2]):
            break
        m -= 1
    if m == 1 and new_x == x[0] and new_y == y[0]:
        return m
    x[m], y[m] = new_x, new_y
    return m + 1


@njit(cache=True)
def crossing(x, y, points, n):
    """Error rate where the curve through the first n `points` has P_miss = P_fa.

    `x` counts rejected nontargets and `y` missed targets; all at the last point, and few enough at
    the first that P_miss is below P_fa.
    """
    n_non, n_tar = x[points[n - 1]], y[points[n - 1]]
    before = 0.0
    for i in range(n):
        a, b = points[max(i - 1, 0)], points[i]
        # P_miss - P_fa, times n_tar n_non
        after = float(y[b]) * n_non + float(x[b]) * n_tar - float(n_tar) * n_non
        if after >= 0:
            part = before / (before - after)
            return (y[a] + part * (y[b] - y[a])) / n_tar
        before = after
    return np.nan


@njit(cache=True)
def softplus_sum(x, below, sign, shift):
    """Sum of ln(1 + exp(sign x + shift)).

    Where `below` is not empty, ``x[i]`` counts ``below[i + 1] - below[i]`` times. The logarithm is
    taken of products of many 1 + exp(-|.|), which lie between 1 and 2: an exponential a term, and
    next to no logarithms.
    """
    total = logs = 0.0
    product = 1.0
    counted = below.size > 0
    for i in range(x.size):
        count = below[i + 1] - below[i] if counted else 1
        if count == 0:
            continue
        argument = sign * x[i] + shift
        if argument > 0:
            total += count * argument
        part = np.exp(-abs(argument))
        if part < 1e-8:  # 1 + part would lose its digits; ln(1 + part) is part to 16 places
            total += count * part * (1 - part / 2)
        elif count == 1:
            product *= 1 + part
            if product > 1e150:
                logs += np.log(product)
                product = 1.0
        else:
            total += count * np.log1p(part)
    return total + logs + np.log(product)


@njit(cache=True)
def equalised_costs(target, last, partition, weight, n_partitions, costs, bars, least, actual):
    """Detection costs of trials whose partitions count alike, each class by itself.

    Parameters
    ----------
    target, last : (N,) bool
        Whether the trial, in ascending order of score, is a target, and the last of its tie.
    partition : (N,) int64
        Negative for trials that do not count.
    weight : (N,) int64
        How often each trial counts.
    costs : (P, 2) float64
        Factors of P_miss and P_fa in each cost.
    bars : (P,) int64
        Trials below the Bayes threshold of each cost.
    least, actual : (P,) float64
        Filled, with the costs at the best and at the Bayes threshold; NaN where a class is lacking.
    """
    share = np.zeros((2, n_partitions))
    for i in range(target.size):
        if partition[i] >= 0:
            share[np.int64(target[i]), partition[i]] += weight[i]
    n_tar, n_non = np.count_nonzero(share[1]), np.count_nonzero(share[0])
    if not n_tar or not n_non:
        least[:] = actual[:] = np.nan
        return
    for k in range(n_partitions):  # of a trial in the mean of the partitions' rates
        share[0, k] = 1 / (share[0, k] * n_non) if share[0, k] else 0.0
        share[1, k] = 1 / (share[1, k] * n_tar) if share[1, k] else 0.0
    p_miss, p_fa = 0.0, 1.0
    least[:] = actual[:] = costs[:, 1]  # all are accepted
    for i in range(target.size):
        if partition[i] >= 0:
            if target[i]:
                p_miss += weight[i] * share[1, partition[i]]
            else:
                p_fa -= weight[i] * share[0, partition[i]]
        if last[i]:
            for p in range(costs.shape[0]):
                cost = costs[p, 0] * p_miss + costs[p, 1] * p_fa
                least[p] = min(least[p], cost)
                if i < bars[p]:
                    actual[p] = cost
