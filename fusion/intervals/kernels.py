"""Kernel of the bootstrap: error rates of trials that are weighted by draws of speakers.

Counts are int64, so that ties and collinear points of the hull are decided exactly.

Dimension legend: N trials, B replicates, P operating points, G grid points, K distinct scores,
M = 2 + P or 3 + 2 P statistics.
"""

from __future__ import annotations

import numpy as np

from fusion.metrics.kernels import add_to_hull, crossing
from ivector.base.jit import njit

# The metrics that the kernel computes, in the order of its columns; the last two need LLRs.
COMPUTED = ("eer", "min_dcf", "min_cllr", "cllr", "act_dcf")


@njit(cache=True)
def hull_cllr(x, y, vertices):
    """Cllr in bits of the recalibrated scores: each edge of the hull is a block of PAV.

    An edge with the parts a of the targets and b of the nontargets has the likelihood ratio a / b,
    so that its targets cost log2((a + b) / a) each and its nontargets log2((a + b) / b).
    """
    m = vertices.size
    n_non, n_tar = x[vertices[m - 1]], y[vertices[m - 1]]
    total = 0.0
    for i in range(1, m):
        a = (y[vertices[i]] - y[vertices[i - 1]]) / n_tar
        b = (x[vertices[i]] - x[vertices[i - 1]]) / n_non
        if a > 0 and b > 0:
            total += a * np.log2((a + b) / a) + b * np.log2((a + b) / b)
    return total / 2


@njit(cache=True)
def bootstrap_block(
    enrol, test, target, last, shared, enrol_weight, test_weight, costs, bars, bits, grid, out, miss
):
    """Statistics of trials weighted by how often their speakers were drawn, for B replicates.

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
    bars : (P,) int64
        Distinct scores below the Bayes threshold of each cost; empty if scores are no LLRs.
    bits : (N,) float64
        What each trial costs in Cllr; empty if scores are no LLRs.
    grid : (G,) float64
        False-alarm rates at which the miss rate is wanted.
    out (B, M), miss (B, G) : float64
        Filled; NaN where no target or no nontarget was drawn. Columns of `out`: EER, P least
        costs, min Cllr, and with LLRs Cllr, P actual costs.
    """
    n, n_points = enrol.size, costs.shape[0]
    # Vertices of the hull: what lies behind the last is never written, and takes no memory.
    x, y = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    # A band needs the whole curve.
    all_x = np.zeros(n + 1 if grid.size else 1, np.int64)
    all_y = np.zeros(n + 1 if grid.size else 1, np.int64)
    order = np.argsort(bars)
    bar_x, bar_y = np.zeros(bars.size, np.int64), np.zeros(bars.size, np.int64)
    for r in range(enrol_weight.shape[0]):
        n_non = n_tar = k = bar = 0
        tar_bits = non_bits = 0.0
        m = add_to_hull(x, y, 0, 0, 0)
        while bar < bars.size and bars[order[bar]] == 0:
            bar_x[order[bar]] = bar_y[order[bar]] = 0
            bar += 1
        for i in range(n):
            weight = enrol_weight[r, enrol[i]]
            if not (shared and enrol[i] == test[i]):
                weight *= test_weight[r, test[i]]
            if target[i]:
                n_tar += weight
            else:
                n_non += weight
            if bits.size and weight:
                if target[i]:
                    tar_bits += weight * bits[i]
                else:
                    non_bits += weight * bits[i]
            if last[i]:
                k += 1
                m = add_to_hull(x, y, m, n_non, n_tar)
                while bar < bars.size and bars[order[bar]] == k:
                    bar_x[order[bar]], bar_y[order[bar]] = n_non, n_tar
                    bar += 1
                if grid.size:
                    all_x[k], all_y[k] = n_non, n_tar
        if n_tar == 0 or n_non == 0:
            out[r], miss[r] = np.nan, np.nan
            continue
        vertices = np.arange(m)
        out[r, 0] = crossing(x, y, vertices, m)
        for p in range(n_points):
            best = np.inf
            for v in range(m):
                best = min(best, costs[p, 0] * y[v] / n_tar + costs[p, 1] * (1 - x[v] / n_non))
            out[r, 1 + p] = best
        out[r, 1 + n_points] = hull_cllr(x, y, vertices)
        if bits.size:
            out[r, 2 + n_points] = (tar_bits / n_tar + non_bits / n_non) / 2
            for p in range(n_points):
                act = costs[p, 0] * bar_y[p] / n_tar + costs[p, 1] * (1 - bar_x[p] / n_non)
                out[r, 3 + n_points + p] = act
        for g in range(grid.size):
            # Less a millionth of a trial, as 1 - 0.7 is a little more than 0.3 in binary.
            rejected = np.int64(np.ceil((1 - grid[g]) * n_non - 1e-6))
            at = np.searchsorted(all_x[: k + 1], rejected)
            miss[r, g] = all_y[at] / n_tar


@njit(cache=True)
def class_sums(codes, other, target, wanted, start, stop, weights, out):
    """Add the weights of some trials of a class to their units.

    Parameters
    ----------
    codes : (N,) integers
        Unit of each trial.
    other : (N,) integers
        Trials whose unit is the same here are left out; empty for none.
    target : (N,) bool
    wanted : bool
        The class.
    start, stop : int
        Which trials of the class, counted in their order.
    weights : (n_class,) float64
        Of the trials of the class; empty where each counts once.
    out : (n_units,) float64
        Added to.
    """
    n = 0
    for i in range(codes.size):
        if target[i] != wanted:
            continue
        if n >= stop:
            break
        if n >= start and not (other.size and other[i] == codes[i]):
            out[codes[i]] += weights[n] if weights.size else 1.0
        n += 1
