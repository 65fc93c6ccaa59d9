"""Deep Speaker's training step on the CPU against the first program's 50 s for 6 utterances.

Run as ``python tests/benchmarks/bench_deep_speaker.py``. A step is forward, triplet loss with
negatives across the batch, backward and Adam's update, on whole batches in memory.

Inputs. That program cut 98 frames (1 s) of 64 static, delta and delta-delta energies into 82
windows of 16 frames, one every frame, which it reshaped to 32 x 32 x 3, so that every frame went
through the network up to 16 times:

    82 windows    the same windows, one by one, and the mean of their embeddings
    98 frames     the frames that they were cut from, in one pass over 98 x 64 x 3
    160 frames    160 x 64, the input of the paper's network

Work is counted by torch's FlopCounterMode (products of convolutions and matrices, forward and
backward); the share is of the rate of one large product of this machine, in the same type and run.
Times of a shared machine are noisy; so is that rate, and the share less so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

FIRST_PROGRAM = 6 / 50  # utterances a second
REPEATS = 5
LARGE = 3e11  # flop of a step, above which one is timed


class Case(NamedTuple):
    """A shape of input: windows (0: none), frames, log-mel bins, channels, batch."""

    name: str
    n_windows: int
    n_frames: int
    n_bins: int
    n_channels: int
    n_speakers: int
    per_speaker: int


CASES = (
    Case("82 windows", 82, 32, 32, 3, 2, 3),
    Case("98 frames", 0, 98, 64, 3, 2, 3),
    Case("160 frames", 0, 160, 64, 1, 2, 3),
    Case("160 frames", 0, 160, 64, 1, 8, 4),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--architectures", nargs="+", default=["rescnn", "gru"])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    import torch

    print(
        f"torch {torch.__version__}; times: median of {arguments.repeats} (82 windows: 1) after 1"
    )
    print(f"{'network':<8} {'input':<11} {'batch':>5} {'type':<9} {'threads':>7} {'utt/s':>8} "
          f"{'x first':>8} {'Gflop/utt':>9} {'Gflop/s':>8} {'product':>8} share")  # fmt: skip
    for threads in dict.fromkeys(arguments.threads):
        torch.set_num_threads(threads)
        for architecture in arguments.architectures:
            for case in CASES:
                for dtype in (torch.float32, torch.bfloat16):
                    report(architecture, case, dtype, threads, arguments.repeats)


def report(architecture: str, case: Case, dtype: object, threads: int, repeats: int) -> None:
    step, n_utterances = make_step(architecture, case, dtype)
    flops = count(step)
    product = product_rate(dtype)
    seconds = median(step, repeats if flops < LARGE else 1)
    product = max(product, product_rate(dtype))
    rate, gflops = n_utterances / seconds, flops / seconds / 1e9
    kind = str(dtype).removeprefix("torch.")
    print(f"{architecture:<8} {case.name:<11} {n_utterances:>5} {kind:<9} {threads:>7} "
          f"{rate:>8.2f} {rate / FIRST_PROGRAM:>8.0f} {flops / n_utterances / 1e9:>9.1f} "
          f"{gflops:>8.0f} {product:>8.0f} {gflops / product:>5.2f}", flush=True)  # fmt: skip


def make_step(architecture: str, case: Case, dtype: object) -> tuple[Callable[[], float], int]:
    import torch

    from dnn.deep_speaker import build_network, triplet_step

    torch.manual_seed(0)
    n_features = case.n_bins * case.n_channels
    model = build_network(architecture, n_features=n_features, in_channels=case.n_channels)
    # The mean over windows is taken before the length is scaled, as there.
    model.normalise = not case.n_windows
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    labels = torch.arange(case.n_speakers).repeat_interleave(case.per_speaker)
    windows = (case.n_windows,) if case.n_windows else ()
    features = torch.randn(len(labels), *windows, case.n_frames, n_features)
    model.train()

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            return triplet_step(model, optimiser, features, labels)

    return step, len(labels)


def count(step: Callable[[], float]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()  # also the warm-up
    return counter.get_total_flops()


def median(step: Callable[[], float], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def product_rate(dtype: object, size: int = 2048) -> float:
    """Gflop/s of a square product, the best of three."""
    import torch

    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    torch.mm(a, b)
    best = min(median(lambda: torch.mm(a, b), 1) for _ in range(3))
    return 2 * size**3 / best / 1e9


if __name__ == "__main__":
    main()
