"""Kernels of post-processing: delta filters, sliding normalisation, sliding ranks.

T  frames; V, those of them that are voiced
D  dimensions of a frame
O  order of the deltas

Arrays are C-contiguous and writable; the callers see to it, and to the values.
"""

from __future__ import annotations

import numpy as np

from ivector.base.jit import njit

VARIANCE_FLOOR = 1e-10  # of Kaldi's SlidingWindowCmn
BLOCK_FRAMES = 32  # frames filtered together: their sums stay in the first-level cache
RANK_FRAMES = 16


@njit(cache=True, nogil=True)
def filter_deltas(features, filters, reach, out):
    """Filter trajectories, with the first and last frames repeated beyond the edges.

    Parameters
    ----------
    features : (T, D) float32
    filters : (O, 2 * reach + 1) float32
        Centred; zeros around shorter ones.
    out : (T, (O + 1) * D) float32
        Static features, then what each filter gives.
    """
    n_frames, n_dims = features.shape
    padded = np.empty((n_frames + 2 * reach) * n_dims, np.float32)
    for t in range(n_frames + 2 * reach):
        source = min(max(t - reach, 0), n_frames - 1)
        for d in range(n_dims):
            padded[t * n_dims + d] = features[source, d]
    sums = np.empty(BLOCK_FRAMES * n_dims, np.float32)
    for begin in range(0, n_frames, BLOCK_FRAMES):
        n_rows = min(BLOCK_FRAMES, n_frames - begin)
        for t in range(begin, begin + n_rows):
            for d in range(n_dims):
                out[t, d] = features[t, d]
        # Frames lie one after the other, so that a lag of j frames is one of j * D numbers and
        # a whole block is filtered in one long loop.
        for i in range(filters.shape[0]):
            sums[:] = 0.0
            for j in range(filters.shape[1]):
                tap = filters[i, j]
                if tap != 0.0:
                    lagged = padded[(begin + j) * n_dims : (begin + j + n_rows) * n_dims]
                    for k in range(lagged.shape[0]):
                        sums[k] += tap * lagged[k]
            for t in range(n_rows):
                for d in range(n_dims):
                    out[begin + t, (i + 1) * n_dims + d] = sums[t * n_dims + d]


@njit(cache=True, nogil=True, inline="always")
def _window(t, n_frames, window, min_window, center):
    """First frame of the window of frame t, and the one after its last."""
    if center:
        start = t - window // 2
        end = start + window
        if start < 0:
            end -= start
            start = 0
    else:
        # Kaldi's window also takes in frame t - window, window + 1 frames in all.
        start = max(t - window, 0)
        end = max(t + 1, min_window)
    if end > n_frames:
        start = max(start - (end - n_frames), 0)
        end = n_frames
    return start, end


@njit(cache=True, nogil=True)
def sliding_cmvn(features, voiced, window, min_window, center, norm_vars, out):
    """Subtract the mean of a sliding window and, if asked, divide by its standard deviation.

    Parameters
    ----------
    features : (T, D) float32
    voiced : (T,) bool
        Frames to put out; the windows hold all.
    out : (V, D) float32

    Returns
    -------
    int
        Number of variances below the floor.
    """
    n_frames, n_dims = features.shape
    # Sums of the distance to the first frame: constant features give exact zeros.
    sums = np.zeros(n_dims)
    squares = np.zeros(n_dims)
    start, end, row, n_floored = 0, 0, 0, 0
    for t in range(n_frames):
        new_start, new_end = _window(t, n_frames, window, min_window, center)
        while end < new_end:
            for d in range(n_dims):
                x = np.float64(features[end, d]) - np.float64(features[0, d])
                sums[d] += x
                if norm_vars:
                    squares[d] += x * x
            end += 1
        while start < new_start:
            for d in range(n_dims):
                x = np.float64(features[start, d]) - np.float64(features[0, d])
                sums[d] -= x
                if norm_vars:
                    squares[d] -= x * x
            start += 1
        if not voiced[t]:
            continue
        scale = 1.0 / (end - start)
        for d in range(n_dims):
            x = np.float64(features[t, d]) - np.float64(features[0, d])
            out[row, d] = x - sums[d] * scale
        if norm_vars:
            for d in range(n_dims):
                mean = sums[d] * scale
                variance = squares[d] * scale - mean * mean
                if end - start == 1:
                    out[row, d] = 0.0
                    continue
                if variance < VARIANCE_FLOOR:
                    variance = VARIANCE_FLOOR
                    n_floored += 1
                x = np.float64(features[t, d]) - np.float64(features[0, d])
                out[row, d] = (x - mean) / np.sqrt(variance)
        row += 1
    return n_floored


@njit(cache=True, nogil=True)
def sliding_warp(features, voiced, window, quantiles, out):
    """Replace every number by the normal quantile of its mid-rank in a centred window.

    Every number is compared with its whole window, in loops without branches; up to windows of
    some thousand frames that is faster than keeping the window sorted.

    Parameters
    ----------
    features : (T, D) float32
    voiced : (T,) bool
        Frames to put out; the windows hold all.
    window : int
        N ≤ T, and at most 32767.
    quantiles : (2 * N - 1,) float32
        By the number of smaller less that of larger ones, plus N − 1.
    out : (V, D) float32
    """
    n_frames, n_dims = features.shape
    flat = features.reshape(n_frames * n_dims)
    balance = np.empty(RANK_FRAMES * n_dims, np.int16)
    last_start, half = n_frames - window, window // 2
    begin, row = 0, 0
    while begin < n_frames:
        start, n_rows = min(max(begin - half, 0), last_start), 1
        if start == begin - half:
            # The windows of these frames move with them, so that the k-th frames of all windows
            # are one run of numbers; at the ends the window stands still.
            n_rows = min(RANK_FRAMES, last_start - start + 1)
        size = n_rows * n_dims
        if voiced[begin : begin + n_rows].any():
            these = flat[begin * n_dims : begin * n_dims + size]
            balance[:size] = 0
            for k in range(start, start + window):
                those = flat[k * n_dims : k * n_dims + size]
                for i in range(size):
                    balance[i] += np.int16(those[i] < these[i]) - np.int16(those[i] > these[i])
        for t in range(n_rows):
            if voiced[begin + t]:
                for d in range(n_dims):
                    out[row, d] = quantiles[balance[t * n_dims + d] + window - 1]
                row += 1
        begin += n_rows
