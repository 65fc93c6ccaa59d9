"""Speed of feature post-processing beside its peers, one thread, medians of 5 in one run.

Run ``python tests/benchmarks/bench_post_processing.py``. Times are the processor's, not the
clock's, so that other programs disturb less; what counts are the ratios.
"""
# ruff: noqa: E402

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import librosa
import python_speech_features as psf
from scipy.ndimage import uniform_filter1d
from scipy.special import ndtri

from ivector.features.cmvn import SlidingCMVN
from ivector.features.deltas import add_deltas
from ivector.features.warping import feature_warping
from ivector.pipeline import FrontEnd

N_FRAMES, N_STATIC, WINDOW = 1000, 20, 301
REPEATS, ROUND_S = 5, 0.1


def seconds(function):
    """Seconds a call; the first, which compiles, is not counted."""
    function()
    start = time.process_time()
    function()
    calls = max(1, int(ROUND_S / max(time.process_time() - start, 1e-5)))
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(calls):
            function()
        times.append((time.process_time() - start) / calls)
    return statistics.median(times)


def deltas_psf(features):
    """Delta of delta by python_speech_features."""
    delta = psf.delta(features, 3)
    return np.hstack([features, delta, psf.delta(delta, 3)])


def deltas_librosa(features):
    """Savitzky-Golay deltas by librosa."""
    first, second = (
        librosa.feature.delta(features, width=7, order=i, axis=0, mode="nearest") for i in (1, 2)
    )
    return np.hstack([features, first, second])


def cmn_cumsum(features):
    """Sliding mean by cumulative sums in NumPy."""
    sums = np.vstack([np.zeros(features.shape[1]), np.cumsum(features, axis=0, dtype=float)])
    start = np.clip(np.arange(len(features)) - WINDOW // 2, 0, len(features) - WINDOW)
    return (features - (sums[start + WINDOW] - sums[start]) / WINDOW).astype(np.float32)


def warping_numpy(features):
    """Ranks in sliding windows by NumPy comparisons, one dimension at a time."""
    start = np.clip(np.arange(len(features)) - WINDOW // 2, 0, len(features) - WINDOW)
    out = np.empty_like(features)
    for d in range(features.shape[1]):
        windows = np.lib.stride_tricks.sliding_window_view(features[:, d], WINDOW)[start]
        rank = (windows < features[:, d, None]).sum(axis=1)
        out[:, d] = ndtri((rank + 0.5) / WINDOW)
    return out


def main():
    """Print the table."""
    rng = np.random.default_rng(0)
    static = rng.standard_normal((N_FRAMES, N_STATIC)).astype(np.float32)
    dynamic = add_deltas(static, 2, 3)
    voiced = rng.random(N_FRAMES) < 0.7
    n = 1024
    square = rng.standard_normal((n, n)).astype(np.float32)
    peak = 2 * n**3 / seconds(lambda: square @ square)
    n_dims = dynamic.shape[1]
    # Multiplications and additions: taps of both filters; in, out and less the mean; two
    # comparisons and two additions with each of the window.
    taps, ranks = 2 * N_FRAMES * N_STATIC * (6 + 13), 4 * N_FRAMES * n_dims * WINDOW
    sliding = SlidingCMVN(WINDOW, center=True)
    rows = [
        ("deltas, order 2, window 3", lambda: add_deltas(static, 2, 3), taps),
        ("  python_speech_features", lambda: deltas_psf(static), None),
        ("  librosa (Savitzky-Golay)", lambda: deltas_librosa(static), None),
        ("sliding CMN", lambda: sliding.transform(dynamic), 4 * N_FRAMES * n_dims),
        ("  NumPy, cumulative sums", lambda: cmn_cumsum(dynamic), None),
        ("  scipy uniform_filter1d",
         lambda: dynamic - uniform_filter1d(dynamic, WINDOW, axis=0, mode="nearest"), None),
        ("feature warping", lambda: feature_warping(dynamic, WINDOW), ranks),
        ("  NumPy, sliding windows", lambda: warping_numpy(dynamic), None),
        ("FrontEnd: deltas, CMN, voiced", lambda: FrontEnd().apply(static, voiced), None),
    ]  # fmt: skip
    print(f"{N_FRAMES} frames of {N_STATIC} static dimensions; sgemm {peak / 1e9:.1f} GFLOP/s")
    print(f"{'':34}{'ms':>9}{'ratio':>8}{'Mop':>8}{'of sgemm':>10}")
    base = 1.0
    for name, function, work in rows:
        spent = seconds(function)
        if not name.startswith(" "):
            base = spent
        share = f"{work / 1e6:8.2f}{100 * work / spent / peak:9.1f}%" if work else ""
        print(f"{name:34}{1e3 * spent:9.3f}{spent / base:8.1f}{share}")


if __name__ == "__main__":
    main()
