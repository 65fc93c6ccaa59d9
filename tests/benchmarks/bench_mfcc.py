"""MFCC on one thread against python_speech_features and librosa, same audio, same run.

Run ``python tests/benchmarks/bench_mfcc.py``. 20 cepstra of 23 (16 kHz: 30) mel bins, 25 ms
windows every 10 ms. Audio is coloured noise in the scale of speech: the time does not depend on
what is said. The bound is the arithmetic of the algorithm (counted below from the tables in
use, about 16 kflop a frame at 16 kHz) at the rate of a large float32 matrix product, which is
what this core can do at best; a Fourier transform has few fused operations and reaches about a
third to a half of it.
"""
# ruff: noqa: E402

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ivector import MFCC
from ivector.features import psf

SECONDS = 60
PEER_SECONDS = 20
RUNS = 5
ROUND_S = 0.1
SHORT_S = 3


def median_time(function, *args):
    """Median CPU seconds of a call over RUNS rounds, each of as many calls as take a while.

    The time of the processor, not of the clock, so that other programs disturb less.
    """
    function(*args)
    times = []
    for _ in range(RUNS):
        calls, start = 0, time.process_time()
        while calls == 0 or time.process_time() - start < ROUND_S:
            function(*args)
            calls += 1
        times.append((time.process_time() - start) / calls)
    return statistics.median(times)


def sgemm_rate():
    """Gflop/s of a float32 matrix product."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    return 2 * 1024**3 / median_time(np.matmul, a, a) / 1e9


def flops_per_frame(front):
    """Additions and multiplications of one frame, whatever the number of lanes."""
    plan = front._frontend._plan
    half = len(plan.positions)
    windowing = 7 * len(plan.window)  # mean 1, subtract 1, energy 2, pre-emphasis 2, window 1
    radix4, length, transform = 34, half, 0
    while length >= 4:
        length //= 4
        butterflies = half // 4
        rotated = butterflies * (length - 1) // length  # the first of each group is not rotated
        transform += 16 * butterflies + (radix4 - 16) * rotated
    transform += 2 * half if length == 2 else 0
    split = 24 * (half // 2)
    mel = 2 * len(plan.mel_weights)
    log = 16 * (len(plan.mel_first) + 1)
    return windowing + transform + split + mel + log + 2 * plan.dct.size


def speech_like(rate, seconds):
    white = np.random.default_rng(0).normal(size=rate * seconds)
    sound = np.convolve(white, np.hanning(9), "same") * 1000
    return np.round(sound).astype(np.float32)


def peers(samples, rate, bins):
    import librosa
    import python_speech_features

    n_fft = 512 if rate == 16000 else 256
    options = {"numcep": 20, "nfilt": bins, "nfft": n_fft, "winfunc": np.hamming}
    return {
        "python_speech_features": lambda: python_speech_features.mfcc(samples, rate, **options),
        "ours, its numbers": lambda: psf.mfcc(samples, rate, **options),
        "librosa": lambda: librosa.feature.mfcc(
            y=samples / 32768, sr=rate, n_mfcc=20, n_mels=bins, n_fft=n_fft,
            win_length=rate // 40, hop_length=rate // 100, htk=True,
        ),
    }  # fmt: skip


def main():
    start = time.perf_counter()
    MFCC(sample_frequency=8000).transform(np.zeros(800))
    print(
        f"first call (compilation, or loading from its cache): {time.perf_counter() - start:.2f} s"
    )
    peak = sgemm_rate()
    print(f"sgemm: {peak:.0f} Gflop/s on one thread; times are medians of {RUNS}\n")
    for rate, bins, high in ((8000, 23, 3700), (16000, 30, 7600)):
        front = MFCC(sample_frequency=rate, num_ceps=20, num_mel_bins=bins, high_freq=high,
                     snip_edges=False)  # fmt: skip
        ours = median_time(front.transform, speech_like(rate, SECONDS)) / SECONDS
        utterance = median_time(front.transform, speech_like(rate, SHORT_S)) / SHORT_S
        flops = flops_per_frame(front)
        reached = flops * 100 / ours / 1e9
        print(f"{rate} Hz, 20 cepstra of {bins} bins: {flops / 1e3:.1f} kflop/frame; "
              f"{reached:.0f} Gflop/s = {100 * reached / peak:.0f} % of sgemm")  # fmt: skip
        print(f"  {'':24} {'× real time':>12} {'µs/frame':>9} {'slower than ours':>17}")
        report("ours (Kaldi's numbers)", ours, ours)
        report(f"  on {SHORT_S} s recordings", utterance, ours)
        samples = speech_like(rate, PEER_SECONDS)
        for name, function in peers(samples, rate, bins).items():
            report(name, median_time(function) / PEER_SECONDS, ours)
        print()


def report(name, per_second, ours):
    print(f"  {name:24} {1 / per_second:12,.0f} {1e4 * per_second:9.3f} {per_second / ours:16.1f}x")


if __name__ == "__main__":
    main()
