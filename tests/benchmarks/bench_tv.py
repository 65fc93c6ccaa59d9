"""Speed of total-variability training and extraction on one thread, against peers.

    python tests/benchmarks/bench_tv.py [--components 512] [--rank 400] [--utterances 300]

The peers run the same statistics in the same process: Kaldi's order of work (one utterance at a
time through matrix-vector products over the packed matrices) and the usual NumPy form (full
R × R matrices by tensordot, ``np.linalg.solve``), both written here in float64 from the
equations. Times are processor time, which a busy machine disturbs less.

Counted flops an utterance, P = R (R + 1) / 2: an E-step has 2CP + 2CDR for L and l, R³ for
Cholesky factor and inverse, 2CP + 2CDR for the sums; an extraction 2CP + 2CDR + R³ / 3. The
E-step's time includes making and adding a shard's accumulators, 8CP bytes, so that it falls with
``--utterances`` until they reach a shard's thousand.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402

import numpy as np  # noqa: E402
from scipy.linalg import blas, lapack  # noqa: E402

from ivector.base.kaldi import pack  # noqa: E402
from ivector.statistics import BaumWelchStatistics, accumulate  # noqa: E402
from ivector.total_variability import packed  # noqa: E402
from ivector.total_variability.e_step import e_step  # noqa: E402
from ivector.total_variability.m_step import m_step, update_prior  # noqa: E402
from ivector.total_variability.model import TotalVariability  # noqa: E402
from ivector.total_variability.subspace import Subspace, derive  # noqa: E402

REPEATS = 5


def median_time(function: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median processor time of `repeats` calls, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times[1:]))


def gemm_rate() -> float:
    """Single-precision flops per second of a 2048³ product."""
    a = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
    return 2 * 2048**3 / median_time(lambda: a @ a)


def problem(C: int, D: int, R: int, U: int) -> tuple[Subspace, BaumWelchStatistics]:
    """A random model and statistics of utterances of some 300 frames."""
    rng = np.random.default_rng(0)
    model = Subspace(
        np.full(C, 1 / C),
        0.05 * rng.standard_normal((C, D, R)),
        np.broadcast_to(np.eye(D), (C, D, D)).copy(),
        0.0,
        rng.standard_normal((C, D)),
    )
    zeroth = rng.gamma(0.5, 600 / C, (U, C)).astype(np.float32)
    first = rng.standard_normal((U, C, D), dtype=np.float32) * np.sqrt(zeroth)[:, :, None]
    second = np.broadcast_to(1e3 * np.eye(D), (C, D, D)) * zeroth.sum(0)[:, None, None]
    return model, BaumWelchStatistics(zeroth, first, second, model.means)


def kaldi_order(model: Subspace, stats: BaumWelchStatistics, n: int) -> np.ndarray:
    """Extraction one utterance at a time, by matrix-vector products (float64)."""
    C, D, R = model.projection.shape
    linear = (model.precision @ model.projection).reshape(C * D, R)
    quadratic = np.stack([pack(t.T @ s @ t) for t, s in zip(model.projection, model.precision)])
    rows, cols = np.tril_indices(R)

    def extract() -> np.ndarray:
        vectors = np.empty((n, R))
        for u in range(n):
            full = np.zeros((R, R))
            full[rows, cols] = blas.dgemv(1.0, quadratic.T, stats.zeroth[u].astype(float))
            full[np.diag_indices(R)] += 1.0
            rhs = blas.dgemv(1.0, linear.T, stats.first[u].ravel().astype(float))
            inverse, _ = lapack.dpotri(lapack.dpotrf(full, lower=1)[0], lower=1)
            vectors[u] = blas.dsymv(1.0, inverse, rhs, lower=1)
        return vectors

    return extract


def numpy_order(model: Subspace, stats: BaumWelchStatistics, n: int):
    """Extraction by full R × R matrices and np.linalg.solve (float64)."""
    C, D, R = model.projection.shape
    linear = (model.precision @ model.projection).reshape(C * D, R)
    quadratic = np.stack([t.T @ s @ t for t, s in zip(model.projection, model.precision)])

    def extract() -> np.ndarray:
        vectors = np.empty((n, R))
        for u in range(n):
            full = np.eye(R) + np.tensordot(stats.zeroth[u].astype(float), quadratic, 1)
            vectors[u] = np.linalg.solve(full, stats.first[u].ravel().astype(float) @ linear)
        return vectors

    return extract


def report(name: str, seconds: float, count: int, flops: float, rate: float) -> None:
    """One line of the table."""
    print(
        f"{name:34s} {1e3 * seconds / count:9.2f} ms  {count / seconds:9.1f} /s "
        f"{flops * count / seconds / 1e9:8.1f} GFLOP/s  "
        f"{100 * flops * count / seconds / rate:5.1f} % of sgemm"
    )


def scatter_bench() -> None:
    """Scatter of posteriors, and np.add.at doing the same."""
    rng = np.random.default_rng(0)
    n, k, D, C = 3000, 4, 60, 2048
    indices = rng.integers(0, C, (n, k)).astype(np.int32)
    posts = np.full((n, k), 0.25, np.float32)
    X = rng.standard_normal((n, D), dtype=np.float32)

    def peer() -> None:
        first = np.zeros((C, D))
        np.add.at(first, indices.ravel(), (posts[:, :, None] * X[:, None, :]).reshape(-1, D))

    ours = n / median_time(lambda: accumulate(indices, posts, X, C)) / 1e6
    theirs = n / median_time(peer) / 1e6
    print(
        f"\naccumulate, {n} frames, {k} components each, {C} × {D}: "
        f"{ours:.2f} M frames/s; np.add.at {theirs:.2f} (ratio {ours / theirs:.1f})"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=512)
    parser.add_argument("--features", type=int, default=60)
    parser.add_argument("--rank", type=int, default=400)
    parser.add_argument("--utterances", type=int, default=300)
    args = parser.parse_args()
    C, D, R, U = args.components, args.features, args.rank, args.utterances
    P = packed.size(R)
    rate = gemm_rate()
    print(f"{C} components, {D} features, rank {R}, {U} utterances; sgemm {rate / 1e9:.1f} GFLOP/s")
    model, stats = problem(C, D, R, U)
    extractor = TotalVariability.from_subspace(model)
    derived = extractor.derived()

    shared = 2 * C * P + 2 * C * D * R
    total = e_step(derived, stats)
    repeats = REPEATS if C * U < 300_000 else 3
    extraction = median_time(lambda: extractor.transform(stats), repeats)
    report("extraction, an utterance", extraction, U, shared + R**3 / 3, rate)
    expectation = median_time(lambda: e_step(derived, stats), repeats)
    report("E-step, an utterance", expectation, U, 2 * shared + R**3, rate)

    few = min(U, 20)
    for name, make in (("Kaldi's order", kaldi_order), ("full matrices", numpy_order)):
        peer = make(model, stats, few)
        seconds = median_time(peer, 3)
        error = np.abs(peer() - extractor.transform(stats)[:few]).max()
        report(f"  peer: {name} (f64)", seconds, few, shared + R**3 / 3, rate)
        ratio = seconds / few / (extraction / U)
        print(f"    ratio {ratio:.1f}; largest difference of an i-vector element {error:.1e}")

    update = R**3 / 3 * 2 + 2 * D * R * R * 3
    maximisation = median_time(lambda: m_step(model, total, True, 1.0, 0.1), 3)
    report("M-step with covariances, a component", maximisation, C, update, rate)
    prior = median_time(lambda: update_prior(model, total, True), 3)
    report("minimum divergence, a component", prior, C, 2 * D * R * R * 2, rate)
    report("derived matrices, a component", median_time(lambda: derive(model), 3), C,
           2 * D * D * R * 2 + D * R * R, rate)  # fmt: skip
    print(f"M-step {maximisation:.2f} s, minimum divergence {prior:.2f} s for all components")
    scatter_bench()


if __name__ == "__main__":
    main()
