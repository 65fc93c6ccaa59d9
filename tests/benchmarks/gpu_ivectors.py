"""The heavy sums of i-vectors on a GPU, at the size of Kaldi's VoxCeleb recipe.

Called by ``gpu.py``; everything is drawn. Utterances have 800 frames on average, which some 300 of
the Gaussians share; frames come from a mixture with as many components, as 24 static dimensions
from which the front-end makes 72. Statistics lie in files of float16, as the VoxCeleb
configurations store them, 4,096 utterances each.

Counted flops, P = R (R + 1) / 2: a frame of the diagonal EM 2 · 2 C (2 D + 1), of the selection
half of that; a pair of frame and component 2 D² for its likelihood and 2 (D + 1)² for its moments;
an utterance of the E-step 4 C P + 4 C D R + R³.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ivector import BaumWelchStatistics, DiagonalGMM, FrontEnd, FullGMM, TotalVariability
from ivector.base.parallel.shards import map_shards
from ivector.formats.statistics import StatisticsFile, StatisticsWriter
from ivector.gpu.device import full_precision
from ivector.gpu.e_step import e_step
from ivector.gpu.streaming import ahead
from ivector.statistics import baum_welch
from ivector.total_variability.packed import size

FRAMES, USED, SELECTED = 800, 300, 20
GROUP, BLOCK = 4096, 64  # utterances of a file, and of a block in it
VOXCELEB = 100_000  # utterances


@dataclass(frozen=True)
class Size:
    """Components, static features, rank; frames and utterances that are measured."""

    components: int = 2048
    static: int = 24
    rank: int = 400
    frames: int = 2_000_000
    utterances: int = 20_000
    iterations: int = 2

    @property
    def features(self) -> int:
        return 3 * self.static


TINY = Size(64, 4, 20, 20_000, 300, 1)


def timed(device: torch.device, function: Callable[[], object]) -> float:
    """Seconds of a call."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@full_precision()
def sgemm(device: torch.device, n: int) -> float:
    """FLOP/s of a square product in full single precision, the best of six."""
    a, b = (torch.randn(n, n, device=device) for _ in range(2))
    return 2 * n**3 / min(timed(device, lambda: a @ b) for _ in range(6))


def report(name: str, count: float, unit: str, seconds: float, flops: float, top: float) -> None:
    rate = flops * count / seconds
    share = f"{rate / 1e12:8.2f} TFLOP/s {rate / top:6.1%} of sgemm" if flops else ""
    print(
        f"{name:34s} {count:12,.0f} {unit:10s} {seconds:8.2f} s "
        f"{count / seconds:14,.0f} /s {share}",
        flush=True,
    )


# ---- what is drawn -------------------------------------------------------------------------


def draw_static(sizes: Size, n_frames: int) -> np.ndarray:
    """Static features (n_frames, n_static) that wander between a few hundred places."""
    rng = np.random.default_rng(0)
    places = 4 * rng.standard_normal((256, sizes.static), np.float32)
    stays = np.repeat(rng.integers(0, 256, n_frames // 8 + 1), 8)[:n_frames]
    return places[stays] + rng.standard_normal((n_frames, sizes.static), np.float32)


def draw_statistics(job: tuple[Path, int, int], sizes: Size) -> StatisticsFile:
    """Write the statistics of some utterances, with a second-order sum; an E-step reads them."""
    path, seed, count = job
    rng = np.random.default_rng([1, seed])
    C, D = sizes.components, sizes.features
    used = min(USED, C)
    means = np.zeros((C, D))
    with StatisticsWriter(path, "float16") as writer:
        for start in range(0, count, BLOCK):
            n = min(BLOCK, count - start)
            zeroth = np.zeros((n, C), np.float32)
            first = np.zeros((n, C, D), np.float32)
            for row in range(n):
                which = rng.choice(C, used, replace=False)
                zeroth[row, which] = rng.gamma(0.5, 2 * FRAMES / used, used)
                noise = rng.standard_normal((used, D), np.float32)
                first[row, which] = np.sqrt(zeroth[row, which, None]) * noise
            last = start + n == count
            scatter = np.broadcast_to(np.eye(D) * count * FRAMES / C, (C, D, D)) if last else None
            writer.write(BaumWelchStatistics(zeroth, first, scatter, means))
    return StatisticsFile(path)


# ---- what is measured ----------------------------------------------------------------------


def measure_ubm(device: torch.device, sizes: Size, top: float) -> FullGMM:
    """EM of both mixtures on frames in memory; gives the full one."""
    C, D, name = sizes.components, sizes.features, str(device)
    X = FrontEnd(normalisation="none").apply(draw_static(sizes, sizes.frames))
    rng = np.random.default_rng(0)
    start = X[rng.choice(len(X), C, replace=False)]
    ubm = DiagonalGMM(C, device=name).set_parameters(
        np.full(C, 1 / C), start, np.tile(X.var(0), (C, 1))
    )
    ubm.accumulate(X[:5000])
    per_frame = 2 * C * (2 * D + 1)
    for _ in range(2):
        statistics = ubm.accumulate(X)
        ubm.update(statistics)
    seconds = timed(device, lambda: ubm.accumulate(X))
    report("diagonal EM, an E-step", len(X), "frames", seconds, 2 * per_frame, top)
    full = FullGMM.from_diagonal(ubm, device=name, num_gselect=SELECTED)
    full.accumulate(X[:5000])
    n_selected = min(SELECTED, len(full.weights_))
    pairs = 2 * n_selected * (D**2 + (D + 1) ** 2)
    gathered = full.accumulate(X)
    seconds = timed(device, lambda: full.accumulate(X))
    report("full EM, an E-step", len(X), "frames", seconds, per_frame + pairs, top)
    seconds = timed(device, lambda: full.update(gathered))
    report("full EM, M-step (CPU)", 1, "iteration", seconds, 0, top)
    pairs = 2 * n_selected * D**2
    full.posteriors(X[:5000])
    seconds = timed(device, lambda: full.posteriors(X))
    report("posteriors", len(X), "frames", seconds, per_frame + pairs, top)
    return full


def measure_statistics(device: torch.device, sizes: Size, ubm: FullGMM, top: float) -> float:
    """Statistics of utterances from static features in memory; seconds of an utterance."""
    n_utterances = max(2, sizes.frames // FRAMES)
    static = np.split(draw_static(sizes, n_utterances * FRAMES), n_utterances)
    front_end, threads = FrontEnd(), max(1, (os.cpu_count() or 1) - 2)
    parts = [static[i : i + BLOCK] for i in range(0, len(static), BLOCK)]

    def prepared(part):
        return (front_end.apply(one) for one in part)

    makers = [functools.partial(prepared, part) for part in parts]
    seconds = timed(device, lambda: list(ahead(makers, threads)))
    report(f"front-end, {threads} threads (CPU)", n_utterances, "utterances", seconds, 0, top)
    for second in (False, True):
        seconds = timed(
            device,
            lambda: baum_welch(ubm, ahead(makers[:60], threads), second_order=second,  # noqa: B023
                               device=str(device)),
        )  # fmt: skip
        name = f"statistics{', second order' if second else ''}, from static"
        report(name, min(n_utterances, 60 * BLOCK), "utterances", seconds, 0, top)
    return seconds / min(n_utterances, 60 * BLOCK)


def measure_training(
    device: torch.device, sizes: Size, ubm: FullGMM, top: float, folder: Path
) -> tuple[float, float]:
    """Training of T from files; seconds of an utterance and of the rest of an iteration."""
    C, D, R, U = len(ubm.weights_), sizes.features, sizes.rank, sizes.utterances
    sizes = Size(C, sizes.static, R, sizes.frames, U, sizes.iterations)
    counts = [min(GROUP, U - start) for start in range(0, U, GROUP)]
    jobs = [(folder / f"statistics.{i}.npz", i, count) for i, count in enumerate(counts)]
    start, cores = time.perf_counter(), os.cpu_count() or 1
    files = list(map_shards(draw_statistics, jobs, nj=min(cores, len(jobs)), sizes=sizes))
    wrote = sum(path.stat().st_size for path, _, _ in jobs)
    print(f"(drew and wrote {wrote / 1e9:.1f} GB of statistics in "
          f"{time.perf_counter() - start:.0f} s)", flush=True)  # fmt: skip
    ubm = FullGMM(C).set_parameters(
        np.full(C, 1 / C), np.zeros((C, D)), np.broadcast_to(np.eye(D), (C, D, D))
    )
    model = TotalVariability(
        R, n_iter=1, init="random", random_state=0, device=str(device), n_jobs=max(1, cores - 2)
    )
    start = time.perf_counter()
    model.fit(files[:1], ubm=ubm)  # to warm up
    print(f"(first training, {counts[0]} utterances: {time.perf_counter() - start:.1f} s)")
    P, spent = size(R), {}
    seconds = timed(device, lambda: [None for _ in model._ahead(files)])
    report("reading statistics, float16", U, "utterances", seconds, 0, top)
    for _ in range(sizes.iterations):
        model._cache.clear()
        spent["derive"] = timed(device, lambda: model.on_device(str(device)))
        extractor = model.on_device(str(device))
        start = time.perf_counter()
        total = e_step(extractor, model._ahead(files))
        spent["e"] = time.perf_counter() - start
        spent["m"] = timed(
            device,
            lambda: model.set_subspace(model._maximisation(total, 1.0)),  # noqa: B023
        )
    flops = 4 * C * P + 4 * C * D * R + R**3
    report("E-step from files", U, "utterances", spent["e"], flops, top)
    block = next(iter(files[0]()))
    several = BaumWelchStatistics(
        np.tile(block.zeroth, (16, 1)), np.tile(block.first, (16, 1, 1)), None, block.centre
    )
    seconds = timed(device, lambda: e_step(extractor, [several] * 4))
    report("E-step from memory", 4 * len(several), "utterances", seconds, flops, top)
    seconds = timed(device, lambda: extractor.extract(several))
    flops = 2 * C * P + 2 * C * D * R + R**3 / 3
    report("i-vectors from memory", len(several), "utterances", seconds, flops, top)
    report("derived matrices (CPU)", 1, "iteration", spent["derive"], 0, top)
    report("M-step (CPU)", 1, "iteration", spent["m"], 0, top)
    return spent["e"] / U, spent["m"] + spent["derive"]


def measure(device: torch.device, arguments: argparse.Namespace) -> None:
    """Print the table, and what it comes to for VoxCeleb."""
    sizes = TINY
    if device.type == "cuda":
        sizes = Size(utterances=arguments.utterances, iterations=arguments.iterations)
    top = sgemm(device, 8192 if device.type == "cuda" else 1024)
    print(f"\ni-vectors: {sizes.components} x {sizes.features}, rank {sizes.rank}; "
          f"sgemm {top / 1e12:.2f} TFLOP/s")  # fmt: skip
    ubm = measure_ubm(device, sizes, top)
    each = measure_statistics(device, sizes, ubm, top)
    with tempfile.TemporaryDirectory() as folder:
        training, rest = measure_training(device, sizes, ubm, top, Path(folder))
    if device.type != "cuda":
        return
    total = VOXCELEB * each + 5 * (VOXCELEB * training + rest)
    print(
        f"{VOXCELEB:,} utterances, statistics once and 5 iterations of T: {total:.0f} s = "
        f"statistics {VOXCELEB * each:.0f} + 5 x (E {VOXCELEB * training:.0f} + M {rest:.0f}); "
        f"from {sizes.frames // FRAMES:,} and {sizes.utterances:,} utterances"
    )
