"""Speed of the mixtures on one thread, against scikit-learn and the machine's sgemm.

Run ``python tests/benchmarks/bench_gmm.py``. Frames are drawn from a mixture whose components
overlap about as much as those of a speech UBM do (the first line says how much). Times are
processor time (what other processes take is not counted), the median of five.

Floating-point operations counted per frame (C components, D dimensions, N selected):
diagonal EM 4 C 2D (two products); full-covariance EM 2 C 2D + 4 N D² (selection, whitening and
outer products counted as dense); posteriors 2 C 2D + 2 N D².
"""

# ruff: noqa: E402 (threads are pinned before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import time
import warnings

import numpy as np
from sklearn.mixture import GaussianMixture

from ivector import FullGMM


def median_time(function, repeats=5):
    function()  # Compiles, and fills caches.
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


def sgemm_rate():
    """GFLOP/s of a 2048³ float32 product."""
    a = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    return 2 * 2048**3 / median_time(lambda: a @ a) / 1e9


def speech_like(n_frames, n_components, dim, seed=0, spread=0.4):
    """A full mixture with overlapping components, and frames drawn from it."""
    rng = np.random.default_rng(seed)
    plane = rng.standard_normal((8, dim)) / np.sqrt(8)
    means = spread * rng.standard_normal((n_components, 8)) @ plane
    factors = np.tril(0.15 * rng.standard_normal((n_components, dim, dim)) / np.sqrt(dim) * 3)
    np.einsum("cdd->cd", factors)[:] = rng.uniform(0.7, 1.3, (n_components, dim))
    covariances = factors @ factors.transpose(0, 2, 1)
    weights = rng.dirichlet(np.full(n_components, 5.0))
    model = FullGMM(n_components, random_state=seed)
    model.set_parameters(weights, means, covariances)
    return model, model.sample(n_frames)[0].astype(np.float32)


def row(name, frames_per_s, flop, rate, note=""):
    share = f"{frames_per_s * flop / 1e9 / rate:6.0%}" if flop else " " * 6
    print(f"{name:48s} {frames_per_s:12,.0f} {share}  {note}")


def sklearn_iteration(model, X):
    """One E-step and M-step of scikit-learn from the same parameters; returns seconds."""
    weights, means, variances = model.weights_, model.means_, model.covariances_
    peer = GaussianMixture(len(weights), covariance_type="diag")
    dtype = X.dtype
    peer.weights_, peer.means_ = weights.astype(dtype), means.astype(dtype)
    peer.covariances_ = variances.astype(dtype)
    peer.precisions_cholesky_ = 1 / np.sqrt(peer.covariances_)
    return median_time(lambda: peer._m_step(X, peer._e_step(X)[1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=512)
    parser.add_argument("--dim", type=int, default=60)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--peer-frames", type=int, default=10_000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    n_components, dim, count = args.components, args.dim, 20
    full, X = speech_like(args.frames, n_components, dim)
    full.num_gselect = count
    diagonal = full.to_diagonal()
    posts = full.predict_proba(X[:2000]).astype(float)
    effective = np.exp(-(posts * np.log(np.maximum(posts, 1e-30))).sum(axis=1)).mean()
    print(f"{n_components} components, {dim} dimensions, {args.frames:,} frames, "
          f"exp(entropy of posteriors) {effective:.1f}")  # fmt: skip
    rate = sgemm_rate()
    print(f"sgemm {rate:.0f} GFLOP/s\n{'':48s} {'frames/s':>12s}  of sgemm")
    n = args.frames

    def diagonal_iteration():
        model = diagonal.with_parameters(*diagonal.parameters())
        model.update(model.accumulate(X))

    def full_iteration():
        model = full.with_parameters(*full.parameters())
        model.update(model.accumulate(X))

    peer = X[: args.peer_frames]
    for name, data in (("float32", peer), ("float64", peer.astype(float))):
        speed = len(peer) / sklearn_iteration(diagonal, data)
        row(f"scikit-learn GaussianMixture diag EM, {name}", speed, 8 * n_components * dim, rate)
    ours = n / median_time(diagonal_iteration)
    row("DiagonalGMM EM", ours, 8 * n_components * dim, rate,
        f"{ours / speed:.1f} x scikit-learn float64")  # fmt: skip
    flop = 4 * n_components * dim + 4 * count * dim**2
    row("FullGMM EM, 20 selected", n / median_time(full_iteration), flop, rate)
    accumulate = median_time(lambda: full.accumulate(X))
    row("FullGMM E-step alone", n / accumulate, flop, rate)
    flop = 4 * n_components * dim + 2 * count * dim**2
    row("FullGMM.posteriors, all frames at once",
        n / median_time(lambda: full.posteriors(X)), flop, rate)  # fmt: skip
    utterances = np.split(X[: n // 300 * 300], n // 300)[:100]
    speed = 300 * len(utterances) / median_time(lambda: [full.posteriors(u) for u in utterances])
    row("FullGMM.posteriors, 300 frames at a time", speed, flop, rate)
    row("DiagonalGMM.gselect", n / median_time(lambda: diagonal.gselect(X, count)),
        4 * n_components * dim, rate)  # fmt: skip


if __name__ == "__main__":
    main()
