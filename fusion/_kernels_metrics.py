"""Kernels of the error rates: merging sorted scores, the convex hull, the weighted bootstrap.

All counts and weights are int64, so that ties and collinear points are decided exactly.

Dimension legend: K points of a curve, N trials, B replicates, P priors, G grid points.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def merge_counts(tar, non, threshold, misses, rejections):
    """Count errors at every distinct score of two ascending arrays.

    Fills ``misses[k]``, the targets, and ``rejections[k]``, the nontargets, below the k-th
    distinct score ``threshold[k]``; the last point rejects everything. Returns the number K of
    points.
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
def crossing(x, y, points, n):
    """Error rate where the curve through the first n `points` has P_miss = P_fa.

    `x` counts rejected nontargets and `y` missed targets, from none at the first point to all at
    the last.
    """
    n_non, n_tar = x[points[n - 1]], y[points[n - 1]]
    before = -float(n_tar) * n_non
    for i in range(1, n):
        a, b = points[i - 1], points[i]
        # P_miss - P_fa, times n_tar n_non
        after = float(y[b]) * n_non + float(x[b]) * n_tar - float(n_tar) * n_non
        if after >= 0:
            part = before / (before - after)
            return (y[a] + part * (y[b] - y[a])) / n_tar
        before = after
    return np.nan


@njit(cache=True)
def bootstrap_block(
    enrol, test, target, last, shared, enrol_weight, test_weight, costs, grid, eer, dcf, miss
):
    """Error rates of trials weighted by how often their speakers were drawn, for B replicates.

    Parameters
    ----------
    enrol, test : (N,) int32
        Unit of either side, trials in ascending order of score.
    target, last : (N,) bool
        Whether the trial is a target, and whether it is the last of its tied group.
    shared : bool
        Whether both sides number the same speakers; then a trial of a speaker with
        herself counts as often as she was drawn, and not the square of it.
    enrol_weight, test_weight : (B, n_units) int64
    costs : (P, 2) float64
        Factors of P_miss and P_fa in each detection cost.
    grid : (G,) float64
        False-alarm rates at which the miss rate is wanted.
    eer (B,), dcf (B, P), miss (B, G) : float64
        Filled; NaN where no target or no nontarget was drawn.
    """
    n = enrol.size
    x = np.zeros(n + 1, np.int64)
    y = np.zeros(n + 1, np.int64)
    vertices = np.empty(n + 1, np.int64)
    for r in range(enrol_weight.shape[0]):
        n_non = n_tar = k = 0
        for i in range(n):
            weight = enrol_weight[r, enrol[i]]
            if not (shared and enrol[i] == test[i]):
                weight *= test_weight[r, test[i]]
            if target[i]:
                n_tar += weight
            else:
                n_non += weight
            if last[i]:
                k += 1
                x[k], y[k] = n_non, n_tar
        if n_tar == 0 or n_non == 0:
            eer[r], dcf[r], miss[r] = np.nan, np.nan, np.nan
            continue
        m = lower_hull(x, y, k + 1, vertices)
        eer[r] = crossing(x, y, vertices, m)
        for p in range(costs.shape[0]):
            best = np.inf
            for v in vertices[:m]:
                best = min(best, costs[p, 0] * y[v] / n_tar + costs[p, 1] * (1 - x[v] / n_non))
            dcf[r, p] = best
        for g in range(grid.size):
            # Less a millionth of a trial, as 1 - 0.7 is a little more than 0.3 in binary.
            rejected = np.int64(np.ceil((1 - grid[g]) * n_non - 1e-6))
            v = np.searchsorted(x[: k + 1], rejected)
            miss[r, g] = y[v] / n_tar
