"""Speed of PLDA training and scoring, one thread: ``python tests/benchmarks/bench_plda.py``.

The peers are Kaldi's algorithms in readable NumPy: EM with an inverse for every distinct number
of utterances and a loop over classes, and a log-likelihood ratio computed trial by trial.
"""
# ruff: noqa: E402

import os

for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{pool}_NUM_THREADS"] = "1"

import time
import warnings

import numpy as np

from plda import LDA, PLDA, LengthNorm, PairScorer, ScoreNorm, adapt_plda, cosine_scorer

N_DIMS = 200


def median_time(function, repeats=5):
    """Median seconds of `repeats` calls, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def training_vectors(rng, n_vectors=10_000, n_classes=1000):
    """Length-normalised vectors of speakers with unequal counts (1 to about 40)."""
    weights = rng.gamma(1.5, size=n_classes)
    labels = rng.choice(n_classes, size=n_vectors - n_classes, p=weights / weights.sum())
    y = np.sort(np.concatenate([np.arange(n_classes), labels]))
    X = rng.normal(size=(n_classes, N_DIMS))[y] + 1.5 * rng.normal(size=(n_vectors, N_DIMS))
    return LengthNorm().fit_transform(X.astype(np.float32)), y


def kaldi_like_iteration(X, y):
    """One EM iteration as Kaldi's GetStatsFromClassMeans: classes sorted by count, one by one."""
    counts = np.bincount(y)
    sums = np.zeros((len(counts), X.shape[1]))
    np.add.at(sums, y, X)
    means = sums / counts[:, None]
    means -= means.mean(axis=0)
    within_inv, between_inv = np.eye(X.shape[1]), np.eye(X.shape[1])
    within_stats, between_stats = np.zeros_like(within_inv), np.zeros_like(within_inv)
    start = time.perf_counter()
    last = -1
    for k in np.argsort(counts, kind="stable"):
        n = counts[k]
        if n != last:
            mixed, last = np.linalg.inv(between_inv + n * within_inv), n
        w = mixed @ (n * (within_inv @ means[k]))
        rest = means[k] - w
        between_stats += mixed
        between_stats += np.outer(w, w)
        within_stats += n * mixed
        within_stats += n * np.outer(rest, rest)
    return time.perf_counter() - start, len(np.unique(counts))


def kaldi_like_scores(psi, enrol, test, i, j, n):
    """Plda::LogLikelihoodRatio, one trial after the other."""
    scores = np.empty(len(i))
    for t in range(len(i)):
        mean = n * psi / (n * psi + 1) * enrol[i[t]]
        variance = 1 + psi / (n * psi + 1)
        given = np.log(variance).sum() + ((test[j[t]] - mean) ** 2 / variance).sum()
        without = np.log(1 + psi).sum() + (test[j[t]] ** 2 / (1 + psi)).sum()
        scores[t] = (without - given) / 2
    return scores


def sgemm_rate(rng, size=2048):
    """Machine's single-precision product rate (flop/s)."""
    a = rng.normal(size=(size, size)).astype(np.float32)
    return 2 * size**3 / median_time(lambda: a @ a, 3)


def bench_training(rng):
    """Time EM iterations, LDA and adaptation."""
    X, y = training_vectors(rng)
    several = median_time(lambda: PLDA(n_iter=6).fit(X, y), 3)
    one = median_time(lambda: PLDA(n_iter=1).fit(X, y), 3)
    ours = (several - one) / 5
    peer, n_distinct = kaldi_like_iteration(X.astype(np.float64), y)
    print(f"training: {len(X)} x {N_DIMS} vectors, {y[-1] + 1} speakers, {n_distinct} counts")
    print(f"  statistics and first iteration {one:8.3f} s")
    print(
        f"  each further EM iteration      {ours:8.3f} s   peer {peer:.3f} s   {peer / ours:.0f} x"
    )
    lda = median_time(lambda: LDA(150).fit(X, y), 3)
    print(f"  LDA                            {lda:8.3f} s")
    model = PLDA(n_iter=2).fit(X, y)
    adapt = median_time(lambda: adapt_plda(model, X), 3)
    print(f"  unsupervised adaptation        {adapt:8.3f} s")
    return model


def bench_dense(rng, model, sgemm, n_enrol=2000, n_test=10_000):
    """Time a score matrix, enrolment of equal and of varied counts."""
    enrol = rng.normal(size=(n_enrol, N_DIMS)).astype(np.float32)
    test = rng.normal(size=(n_test, N_DIMS)).astype(np.float32)
    latent, latent_test = model.transform(enrol[:200]), model.transform(test)
    i, j = rng.integers(0, 200, 5000), rng.integers(0, n_test, 5000)
    args = (model.psi_, latent, latent_test, i, j, 1)
    peer = 5000 / median_time(lambda: kaldi_like_scores(*args), 3)
    print(f"scores, {N_DIMS} dimensions (peer, trial by trial: {peer / 1e6:.3f} million/s)")
    out = np.empty((n_enrol, n_test), np.float32)
    counts = rng.integers(1, 6, n_enrol)
    many = rng.integers(1, 400, n_enrol)
    for name, scorer in (
        ("dense, n = 1", model.scorer(enrol, test)),
        ("dense, n of 5 values", model.scorer(enrol, test, counts)),
        ("dense, n of > 200 values", model.scorer(enrol, test, many)),
        ("dense, cosine", cosine_scorer(enrol, test)),
    ):
        rate = out.size / median_time(lambda s=scorer: s.matrix(out))
        flops = 2 * scorer.left.shape[1] * rate
        print(
            f"  {name:26s} {rate / 1e6:7.1f} million/s  {rate / peer:6.0f} x  "
            f"{2 * scorer.left.shape[1]} flop a trial, {flops / sgemm:.2f} of sgemm"
        )
    prepare = median_time(lambda: model.scorer(enrol, test, counts))
    print(f"  preparing {n_enrol} + {n_test} vectors {prepare:.3f} s")
    return peer


def bench_lists(rng, peer, n_trials=1_000_000):
    """Time trial lists over small and large sets of vectors."""
    for size in (2000, 20_000, 200_000):
        rows = rng.normal(size=(size, N_DIMS + 2)).astype(np.float32)
        i, j = rng.integers(0, size, n_trials), rng.integers(0, size, n_trials)
        for order, sorted_i in (("random", i), ("by enrolment", np.sort(i))):
            rate = list_rate(PairScorer(rows, rows), sorted_i, j)
            print(
                f"  list of {size:6d} x {size:6d}, {order:12s} {rate / 1e6:7.1f} million/s"
                f"  {rate / peer:6.0f} x   (NumPy gather and einsum"
                f" {gather_rate(rows, sorted_i[:100_000], j[:100_000]) / 1e6:.1f})"
            )


def list_rate(scorer, i, j):
    """Trials a second from a list."""
    out = np.empty(len(i), np.float32)
    return len(i) / median_time(lambda: scorer.trials(i, j, out))


def gather_rate(rows, i, j):
    """The same in two gathers and one einsum."""
    return len(i) / median_time(lambda: np.einsum("td,td->t", rows[i], rows[j]), 3)


def bench_normalisation(rng, n_enrol=1000, n_test=2000, n_cohort=1000):
    """Time score normalisation of a matrix."""
    enrol, test, scores = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((n_enrol, n_cohort), (n_test, n_cohort), (n_enrol, n_test))
    )
    print(f"score normalisation, {n_enrol} x {n_test} trials, cohort of {n_cohort}, top 200")
    for kind in ("s", "as", "as2"):
        seconds = median_time(lambda k=kind: ScoreNorm(k).fit(enrol, test).transform(scores), 3)
        print(f"  {kind:4s} {seconds:8.3f} s  {scores.size / seconds / 1e6:7.1f} million/s")


def main():
    """Print the table."""
    rng = np.random.default_rng(0)
    warnings.simplefilter("ignore")
    sgemm = sgemm_rate(rng)
    print(f"sgemm, one thread: {sgemm / 1e9:.1f} Gflop/s")
    model = bench_training(rng)
    peer = bench_dense(rng, model, sgemm)
    bench_lists(rng, peer)
    bench_normalisation(rng)


if __name__ == "__main__":
    main()
