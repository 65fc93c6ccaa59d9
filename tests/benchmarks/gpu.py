"""Speed on a GPU: training of the networks, and the heavy sums of i-vectors (``gpu_ivectors.py``).

Run ``python tests/benchmarks/gpu.py [--part networks|ivectors] [--compile] [--workers N]``. Of a
network: samples/s and share of the bf16 peak, loader included. "Alone" is the network on a batch
that lies in the GPU's memory (forward, backward, clipping, AdamW); "loader" is the data path alone
(crops of 50 MB of features in memory, made by --workers processes); "training" is the trainer as
``python -m dnn.train`` runs it, with the loader attached. Operations are those of the matrix
products and convolutions, counted by torch on one forward pass and taken three times for a step.
The peak is the best rate of a square bf16 product on the same device.

Without a GPU it runs on the CPU, in float32, with tiny networks and batches, and says so: that
shows that the script works, and nothing about speed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gpu_ivectors
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dnn.data.batches import CropBatches
from dnn.data.prefetch import Prefetch
from dnn.data.sources import ArraySource
from dnn.losses.table import build_loss
from dnn.models import build
from dnn.training.options import TrainingOptions
from dnn.training.schedules import WarmupCosine
from dnn.training.steps import Objective
from dnn.training.trainer import Trainer

N_SPEAKERS, N_UTTERANCES = 1000, 2000
TARGET = 0.90


@dataclass
class Case:
    """A network at a sensible batch size, and the same in miniature."""

    name: str
    n_frames: int
    batch_size: int
    loss: str = "aam-softmax"
    options: dict[str, Any] = field(default_factory=dict)
    tiny: dict[str, Any] = field(default_factory=dict)


CASES = {
    "x-vector": Case("xvector", 300, 1024, tiny={"channels": (32, 32, 32, 32, 64)}),
    "ECAPA 1024": Case("ecapa", 200, 512, options={"channels": 1024},
                       tiny={"channels": 32, "aggregation_dim": 48}),
    "ResNetSE34L": Case("resnetse34l", 200, 750, loss="angular-prototypical",
                        tiny={"channels": (8, 8, 16, 16), "n_blocks": (1, 1, 1, 1)}),
    "Conformer": Case("conformer", 128, 1024, loss="am-softmax",
                      tiny={"dim": 32, "n_blocks": 1}),
}  # fmt: skip


class Timed(Trainer):
    """Notes when the first `n_warm` steps were done, and the last."""

    n_warm = 10

    def _learn(self, batch):
        if batch.step == self.n_warm:
            synchronise(self.device)
            self.began = time.perf_counter()
        super()._learn(batch)
        if batch.step == self.options.n_steps - 1:
            synchronise(self.device)
            self.seconds = time.perf_counter() - self.began

    def _save(self, name):
        """Nothing: writing checkpoints is not what is measured."""


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device, n, dtype):
    """FLOP/s of a square product, the best of ten runs."""
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(13):
        synchronise(device)
        start = time.perf_counter()
        a @ b
        synchronise(device)
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times[3:])


def features(n_features, n_frames, small):
    """Utterances in memory, 1 to 3 crops long, about 50 MB of them."""
    rng = np.random.default_rng(0)
    n = 64 if small else N_UTTERANCES
    lengths = rng.integers(n_frames, 3 * n_frames, n)
    noise = rng.standard_normal((3 * n_frames, n_features), np.float32)
    source = ArraySource([f"u{i}" for i in range(n)], [noise[:length] for length in lengths])
    return source, np.arange(n) % (16 if small else N_SPEAKERS)


def make(case, device, arguments, n_steps, folder):
    small = device.type == "cpu"
    torch.manual_seed(0)
    model = build(case.name, **(case.options if not small else case.tiny))
    source, labels = features(model.n_features, case.n_frames, small)
    metric = case.loss == "angular-prototypical"
    batches = CropBatches(
        source,
        labels,
        n_frames=case.n_frames,
        batch_size=8 if small else case.batch_size,
        utterances_per_speaker=2 if metric else None,
    )
    loss = build_loss(case.loss, model.head_dim, int(labels.max()) + 1)
    options = TrainingOptions(
        n_steps=n_steps, n_workers=arguments.workers, compile=arguments.compile,
        save_every=10**9, log_every=50,
    )  # fmt: skip
    schedule = WarmupCosine(1e-4, n_steps)
    return Timed(model, loss, batches, folder, options, schedule, device=str(device))


def flops_of_a_step(trainer):
    """Operations of forward and backward for a sample."""
    features = trainer.batches.get(0)[0]
    n = min(4, len(features))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        trainer.model.eval()(torch.from_numpy(features[:n]).to(trainer.device))
    return 3 * counter.get_total_flops() / n


def alone(trainer, n_steps):
    """Samples/s of steps on a batch that stays on the device."""
    features, labels = (torch.from_numpy(a).to(trainer.device) for a in trainer.batches.get(0))
    trainer._objective = Objective(trainer.model, trainer.loss, trainer.options.compile)
    trainer._modules.train()
    for group in trainer.optimiser.param_groups:
        group["lr"] = 1e-5
    began = 0.0
    for step in range(trainer.n_warm + n_steps):
        if step == trainer.n_warm:
            synchronise(trainer.device)
            began = time.perf_counter()
        trainer.optimiser.zero_grad()
        trainer._backward(features, labels)
        torch.nn.utils.clip_grad_norm_(trainer._modules.parameters(), 5.0)
        trainer.optimiser.step()
    synchronise(trainer.device)
    return n_steps * len(labels) / (time.perf_counter() - began)


def loader_alone(trainer, n_steps):
    """Samples/s of the data path."""
    workers = trainer.options.n_workers
    n_warm = 1 + 2 * workers  # what the workers made before they were asked
    with Prefetch(trainer.batches, 0, n_warm + n_steps, workers) as loader:
        for batch in loader:
            if batch.step == n_warm - 1:
                began = time.perf_counter()
    return n_steps * trainer.batches.batch_size / (time.perf_counter() - began)


def measure(name, case, device, arguments, top):
    n_steps = arguments.steps
    if device.type == "cpu":
        Timed.n_warm = 1
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(case, device, arguments, Timed.n_warm + n_steps, folder)
        flops = flops_of_a_step(trainer)
        by_itself = alone(trainer, n_steps)
        loading = loader_alone(trainer, n_steps)
        trainer.fit()
        rate = n_steps * trainer.batches.batch_size / trainer.seconds
    print(
        f"{name:12s} {trainer.batches.batch_size:6d} x {case.n_frames:3d} {flops / 1e9:8.2f} "
        f"{by_itself:10.0f} {by_itself * flops / top:6.1%} {loading:10.0f} {rate:10.0f} "
        f"{rate * flops / top:6.1%} {rate / by_itself:7.1%}"
        f"{'' if rate >= TARGET * by_itself or device.type == 'cpu' else '  below 90 %'}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--part", choices=["networks", "ivectors"], help="default: both")
    parser.add_argument("--utterances", type=int, default=20_000, help="of the i-vectors' E-step")
    parser.add_argument("--iterations", type=int, default=2, help="of it")
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--workers", type=int, help="loader processes")
    parser.add_argument("--steps", type=int, help="timed steps")
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    cores = os.cpu_count() or 1
    arguments.workers = arguments.workers if arguments.workers is not None else (
        max(1, min(12, cores - 2)) if on_gpu else 1
    )  # fmt: skip
    arguments.steps = arguments.steps or (60 if on_gpu else 4)
    if on_gpu:
        print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {cores} cores")
    else:
        torch.set_num_threads(1)
        print("RUN ON THE CPU, tiny models in float32, one thread: no GPU was measured. "
              f"torch {torch.__version__}")  # fmt: skip
    if arguments.part != "ivectors":
        measure_networks(device, arguments)
    if arguments.part != "networks":
        gpu_ivectors.measure(device, arguments)


def measure_networks(device, arguments):
    if device.type == "cuda":
        top = peak(device, 8192, torch.bfloat16)
        print(f"networks: bf16 products at {top / 1e12:.0f} TFLOP/s; {arguments.workers} loader "
              f"processes{', torch.compile' if arguments.compile else ''}")  # fmt: skip
    else:
        top = peak(device, 1024, torch.float32)
        print(f"networks: float32 products at {top / 1e9:.0f} GFLOP/s")
    print(f"{'':12s} {'batch':>12s} {'GFLOP':>8s} {'alone':>10s} {'peak':>6s} {'loader':>10s} "
          f"{'training':>10s} {'peak':>6s} {'/alone':>7s}   (samples/s)")  # fmt: skip
    for name in arguments.networks:
        measure(name, CASES[name], device, arguments, top)


if __name__ == "__main__":
    main()
