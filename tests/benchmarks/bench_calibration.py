"""Speed of the calibration on one thread, against scikit-learn and the machine's sgemm.

Run ``python tests/benchmarks/bench_calibration.py``. Times are wall-clock, the median of five.

The kernel reads one score and one weight a trial and column (8 bytes each) and makes about 75
floating-point operations a trial (exponential 32, logarithm 25, cost, slope and curvature 18) and
(d + 1)(d + 2) + 2 d for the products of d columns: double precision, whose peak is half of what
sgemm shows. Its limit in memory is the rate at which the scores can be summed.
"""

# ruff: noqa: E402 (threads are pinned before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import time
import warnings

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fusion.calibration.kernels import logistic_pass
from fusion.calibration.logistic import fit_logistic
from fusion.calibration.one_system import Calibration

TARGET_SHARE, PRIOR = 0.01, 0.5


def median_time(function, repeats=5):
    function()  # Compiles, and fills caches.
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def trials(n, d, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < TARGET_SHARE
    return np.where(y, 2.0, -1.0)[:, None] + 1.2 * rng.standard_normal((n, d)), y


def peer(X, y, solver):
    """scikit-learn on the same cost, as tight as our last step."""
    weight = np.where(y, PRIOR / y.sum(), (1 - PRIOR) / (~y).sum()) * len(y)
    model = LogisticRegression(C=np.inf, solver=solver, tol=1e-6, max_iter=200)
    model.fit(X, y, sample_weight=weight)
    return model.coef_[0]


def row(name, seconds, base=None, note=""):
    """Print a time and how many times that of `base`, ours, it is."""
    ratio = f"{seconds / base:7.1f} x" if base else " " * 9
    print(f"{name:52s} {1e3 * seconds:10.1f} ms {ratio}  {note}")


def limits(n):
    """GFLOP/s of a 2048³ float32 product, and GB/s of a sum of n numbers."""
    a = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    scores = np.ones(n)
    return 2 * 2048**3 / median_time(lambda: a @ a) / 1e9, 8 * n / median_time(scores.sum) / 1e9


def kernel_row(X, y, sgemm, memory):
    n, d = X.shape
    columns = np.ascontiguousarray(X.T)
    signed = np.where(y, 1.0, -1.0) / n
    gradient, hessian = np.empty(d + 1), np.empty((d + 1, d + 1))
    seconds = median_time(
        lambda: logistic_pass(columns, signed, np.ones(d), 0.1, 0.0, gradient, hessian)
    )
    rate, bytes_read = (75 + (d + 1) * (d + 2) + 2 * d) * n / seconds / 1e9, 8 * n * (d + 1)
    row(f"  one pass of the kernel, {d} column(s)", seconds,
        note=f"{rate:.0f} GFLOP/s, {rate / (sgemm / 2):.0%} of half of sgemm; "
        f"{bytes_read / seconds / 1e9 / memory:.0%} of the memory's rate")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    n = args.trials
    sgemm, memory = limits(n)
    print(f"{n:,} trials, {TARGET_SHARE:.0%} targets; sgemm {sgemm:.0f} GFLOP/s, sum {memory:.1f} "
          "GB/s")  # fmt: skip
    for d in (1, 4):
        X, y = trials(n, d)
        ours = median_time(lambda X=X, y=y: fit_logistic(X, y, prior=PRIOR))
        found = fit_logistic(X, y, prior=PRIOR)
        row(f"fit_logistic, {d} column(s)", ours, note=f"{found.n_iter} full iterations")
        kernel_row(X, y, sgemm, memory)
        for solver in ("lbfgs", "newton-cholesky"):
            seconds = median_time(lambda X=X, y=y, s=solver: peer(X, y, s))
            away = np.abs(peer(X, y, solver) - found.weights).max()
            row(f"  scikit-learn LogisticRegression, {solver}", seconds, ours, f"away {away:.0e}")
    X, y = trials(n, 1)
    ours = median_time(lambda: Calibration("isotonic").fit(X[:, 0], y))
    row("Calibration isotonic, fit", ours)
    seconds = median_time(lambda: IsotonicRegression().fit(X[:, 0], y))
    row(
        "  scikit-learn IsotonicRegression",
        seconds,
        None,
        f"ours is {seconds / ours:.1f} x as fast",
    )
    row("Calibration gaussian, fit", median_time(lambda: Calibration("gaussian").fit(X[:, 0], y)))


if __name__ == "__main__":
    main()
