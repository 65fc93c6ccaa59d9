"""EER, minDCF, Cllr and min Cllr of 10⁷ scores against scikit-learn; the bootstrap; reading files.

``python tests/benchmarks/bench_metrics.py [N_SCORES]``. One thread, median of 5, peers in the same
run. The work is one sort, about n log2 n comparisons, and passes over memory: the table gives
comparisons a second beside the machine's rate of float32 products, for scale only, and the time of
NumPy's bare sort of the same scores, which is the floor. Peak memory is that of a process that
only makes the scores and measures them. PYLLR is timed too where it is installed.
"""

from __future__ import annotations

import importlib.util
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sklearn.isotonic import IsotonicRegression  # noqa: E402
from sklearn.metrics import roc_curve  # noqa: E402

from fusion.formats.files import align, read_scores, read_trials  # noqa: E402
from fusion.intervals.bootstrap import bootstrap_interval  # noqa: E402
from fusion.metrics.rates import OperatingPoints, cllr  # noqa: E402

REPEATS = 5
PRIOR = 0.01


def median_time(*functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, their runs interleaved after one that does not count."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(REPEATS + 1):
        for spent, function in zip(times, functions):
            start = time.perf_counter()
            function()
            if repeat:
                spent.append(time.perf_counter() - start)
    return [statistics.median(spent) for spent in times]


def sgemm_rate() -> float:
    """Float32 operations a second of a product of two 1024 x 1024 matrices."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    return 2 * 1024**3 / median_time(lambda: a @ a)[0]


def ours(tar: np.ndarray, non: np.ndarray) -> tuple[float, float, float, float, float]:
    """EER on the hull, EER on the ROC, least cost, Cllr and least Cllr."""
    points = OperatingPoints(tar, non)
    return (
        points.eer(), points.eer_interpolated(), points.min_dcf(PRIOR), cllr(tar, non),
        points.min_cllr(),
    )  # fmt: skip


def with_scikit_learn(tar: np.ndarray, non: np.ndarray) -> tuple[float, float]:
    """EER on the ROC and minimum cost, as papers' scripts get them."""
    labels = np.repeat(np.array([1, 0], np.int8), [len(tar), len(non)])
    fpr, tpr, _ = roc_curve(labels, np.concatenate([tar, non]))
    miss = 1 - tpr
    cost = (PRIOR * miss + (1 - PRIOR) * fpr).min() / PRIOR
    k = int(np.argmax(fpr >= miss))
    before, after = miss[k - 1] - fpr[k - 1], miss[k] - fpr[k]
    part = before / (before - after)
    return float(miss[k - 1] + part * (miss[k] - miss[k - 1])), float(cost)


def with_isotonic(tar: np.ndarray, non: np.ndarray) -> tuple[float, float]:
    """Cllr and least Cllr by scikit-learn's isotonic regression."""
    labels = np.repeat(np.array([1.0, 0.0]), [len(tar), len(non)])
    fit = IsotonicRegression(y_min=0, y_max=1).fit_transform(np.concatenate([tar, non]), labels)
    with np.errstate(divide="ignore"):
        llr = np.log(fit) - np.log1p(-fit) - np.log(len(tar) / len(non))

    def cost(tar_llr: np.ndarray, non_llr: np.ndarray) -> float:
        both = np.logaddexp(0, -tar_llr).mean() + np.logaddexp(0, non_llr).mean()
        return float(both / 2 / np.log(2))

    return cost(tar, non), cost(llr[: len(tar)], llr[len(tar) :])


def with_pyllr(tar: np.ndarray, non: np.ndarray) -> object:
    """What PYLLR's quick evaluation gives: Cllr, least Cllr, EER."""
    from pyllr import quick_eval

    return quick_eval.tarnon_2_eer_dcf_cllr(tar, non)


def scores_of(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated llr of n trials, 2 % of them targets."""
    rng = np.random.default_rng(0)
    tar, non = rng.normal(2, 2, n // 50), rng.normal(-2, 2, n - n // 50)
    return tar, non


def bench_metrics(n: int) -> None:
    """Compare with scikit-learn on n scores."""
    tar, non = scores_of(n)
    scores = np.concatenate([tar, non])
    hull, eer, cost, actual, least = ours(tar, non)
    peer_eer, peer_cost = with_scikit_learn(tar, non)
    peer_cllr, peer_min_cllr = with_isotonic(tar, non)
    assert abs(eer - peer_eer) < 1e-9 and abs(cost - peer_cost) < 1e-9 and hull <= eer
    assert abs(actual - peer_cllr) < 1e-9 and abs(least - peer_min_cllr) < 1e-9
    peers: list[tuple[str, Callable[[], object]]] = [
        ("numpy.sort alone", lambda: np.sort(scores)),
        ("ours: 2 EERs, minDCF, Cllr, min Cllr", lambda: ours(tar, non)),
        ("roc_curve: EER, minDCF", lambda: with_scikit_learn(tar, non)),
        ("IsotonicRegression: Cllr, min Cllr", lambda: with_isotonic(tar, non)),
    ]
    if importlib.util.find_spec("pyllr"):
        peers.append(("PYLLR: EER, minDCF, Cllrs", lambda: with_pyllr(tar, non)))
    times = median_time(*(function for _, function in peers))
    print(
        f"{n:,} scores: EER hull {100 * hull:.3f} %, ROC {100 * eer:.3f} %, minDCF {cost:.4f}, "
        f"Cllr {actual:.4f}, min Cllr {least:.4f}"
    )
    print(f"{'':40s}seconds    ratio")
    for (name, _), seconds in zip(peers, times):
        print(f"  {name:37s}{seconds:8.3f}{seconds / times[1]:9.2f}")
    rate = n * np.log2(n) / times[1]
    print(f"  {rate / 1e6:.0f} million comparisons/s; sgemm {sgemm_rate() / 1e9:.1f} Gflop/s")
    for what in ("nothing", "ours"):
        command = [sys.executable, __file__, str(n), "--peak", what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"  peak memory of the scores and {what}: {done.stdout.strip()} MiB")


def peak(n: int, what: str) -> None:
    """Print the peak memory, in MiB, of a process that makes the scores and measures them."""
    tar, non = scores_of(n)
    if what == "ours":
        ours(tar, non)
    # Not getrusage, whose peak is handed down from the parent.
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    print(int(status.split()[0]) // 1024)


def bench_bootstrap(n_speakers: int = 87, n_tests: int = 8, n_bootstrap: int = 1000) -> None:
    """Compare 1,000 replicates with sorting each replicate again (20 of them, scaled up)."""
    rng = np.random.default_rng(0)
    enrol = np.repeat(np.arange(n_speakers), n_speakers * n_tests)
    test = np.tile(np.repeat(np.arange(n_speakers), n_tests), n_speakers)
    is_target = enrol == test
    scores = rng.normal(size=enrol.size) + 2 * is_target
    few = 20

    def again() -> None:
        for _ in range(few):
            weight = np.bincount(rng.integers(n_speakers, size=n_speakers), minlength=n_speakers)
            copies = np.where(is_target, weight[enrol], weight[enrol] * weight[test])
            many, labels = np.repeat(scores, copies), np.repeat(is_target, copies)
            ours(many[labels], many[~labels])

    t_ours, t_again = median_time(
        lambda: bootstrap_interval(
            scores, is_target, enrol, test, p_target=[PRIOR], n_bootstrap=n_bootstrap
        ),
        again,
    )
    t_again *= n_bootstrap / few
    print(f"{n_bootstrap} replicates of {scores.size:,} trials, {n_speakers} speakers")
    print(f"  one sort, weights         {t_ours:8.3f}{1:9.2f}")
    print(f"  a sort each (scaled up)   {t_again:8.3f}{t_again / t_ours:9.2f}")


def bench_files(n: int = 1_000_000) -> None:
    """Read and match n scores and trials in different orders; Python's line loop beside it."""
    rng = np.random.default_rng(0)
    order = rng.permutation(n)
    with tempfile.TemporaryDirectory() as folder:
        scores, trials = Path(folder, "scores"), Path(folder, "trials")
        pairs = [f"id{i // 1000:05d} id{i % 1000:05d}/x/00001.wav" for i in range(n)]
        scores.write_text("".join(f"{pair} {i / n:.6f}\n" for i, pair in enumerate(pairs)))
        trials.write_text(
            "".join(f"{pairs[i]} {'non' * (i % 9 > 0)}target\n" for i in order.tolist())
        )

        def line_loop() -> None:
            table = {}
            for line in open(scores, encoding="utf-8"):
                one, two, score = line.split()
                table[one, two] = float(score)
            for line in open(trials, encoding="utf-8"):
                one, two, _ = line.split()
                table[one, two]

        t_ours, t_loop = median_time(
            lambda: align(read_scores(scores), read_trials(trials)), line_loop
        )
    print(f"reading and matching {n:,} scores and trials")
    print(f"  ours                      {t_ours:8.3f}{1:9.2f}")
    print(f"  a loop over lines         {t_loop:8.3f}{t_loop / t_ours:9.2f}")


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    if "--peak" in sys.argv:
        peak(size, sys.argv[-1])
        raise SystemExit
    bench_metrics(size)
    bench_bootstrap()
    bench_files()
