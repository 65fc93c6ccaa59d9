"""Speed of x-vector and ECAPA on the CPU, one thread, beside SpeechBrain's modules of their size.

Run ``python tests/benchmarks/bench_dnn.py``, with SpeechBrain on the path if there is one (such as
``pip install --no-deps --target DIR speechbrain==1.0.3 hyperpyyaml ruamel.yaml pyyaml`` and
``PYTHONPATH=DIR``; of torchaudio, its modules use nothing). Times are wall-clock, the median of
five, taken in turn.

A training step is forward, the same AAM-softmax for both, backward, and AdamW. Extraction takes
utterances of 1.5 to 12 s: ours in buckets of like length with folded norms, theirs in padded
batches of eight in the order given (as their recipes do) and one by one, of which the faster
counts. Operations are torch's count of one forward pass, three times that for a training step.
"""

# ruff: noqa: E402 (threads are pinned before numpy is imported)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import importlib.machinery
import logging
import sys
import time
import types
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dnn.data.sources import ArraySource
from dnn.embedding.extraction import extract
from dnn.losses.table import build_loss
from dnn.models import build
from dnn.training.optimisers import build_optimiser
from dnn.training.steps import Objective

N_CLASSES, REPEATS = 1000, 5


def speechbrain_models():
    """SpeechBrain's modules by our names, or why there are none."""
    try:
        import torchaudio  # noqa: F401
    except ImportError:
        # Imported by SpeechBrain for reading audio, which nothing here does.
        stub = types.ModuleType("torchaudio")
        stub.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        stub.__version__ = "2.0.0"
        stub.list_audio_backends = lambda: ["soundfile"]
        sys.modules["torchaudio"] = stub
    try:
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
        from speechbrain.lobes.models.Xvector import Xvector
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return {
        "xvector": lambda: Xvector(
            in_channels=24, tdnn_channels=[512, 512, 512, 512, 1500], lin_neurons=512
        ),
        "ecapa": lambda: ECAPA_TDNN(
            80, channels=[512, 512, 512, 512, 1536], attention_channels=128, lin_neurons=192
        ),
    }


def in_turn(functions):
    """Median seconds of each function, called in turn."""
    for function in functions:
        function()
    times = []
    for _ in range(REPEATS):
        row = []
        for function in functions:
            start = time.perf_counter()
            function()
            row.append(time.perf_counter() - start)
        times.append(row)
    return np.median(times, axis=0)


def limits():
    """FLOP/s of a product (MKL) and of a 1x1 convolution (oneDNN), the best of 25 runs each.

    They differ by two on processors that MKL is not tuned for; the greater is the limit.
    """
    a = torch.randn(1024, 1024)
    frames = torch.randn(16, 512, 1, 200).to(memory_format=torch.channels_last)
    kernel = torch.randn(512, 512, 1, 1)
    runs = {
        2 * 1024**3: lambda: a @ a,
        2 * 16 * 200 * 512**2: lambda: torch.nn.functional.conv2d(frames, kernel),
    }
    rates = []
    for work, function in runs.items():
        times = []
        for _ in range(25):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        rates.append(work / min(times))
    return rates


def our_step(model, features, labels):
    loss = build_loss("aam-softmax", model.head_dim, N_CLASSES)
    optimiser = build_optimiser("adamw", [model, loss], 0.01)
    for group in optimiser.param_groups:
        group["lr"] = 1e-4
    objective = Objective(model, loss).train()

    def step():
        optimiser.zero_grad()
        objective(features, labels)[0].backward()
        optimiser.step()

    return step


def their_step(model, n_dims, features, labels):
    loss = build_loss("aam-softmax", n_dims, N_CLASSES)
    optimiser = torch.optim.AdamW([*model.parameters(), *loss.parameters()], lr=1e-4)
    model.train()

    def step():
        optimiser.zero_grad()
        loss(model(features).squeeze(1), labels).backward()
        optimiser.step()

    return step


def their_extraction(model, source, batch_size):
    model.eval()

    def run():
        with torch.inference_mode():
            for at in range(0, len(source.ids), batch_size):
                arrays = [source.read(i) for i in range(at, min(at + batch_size, len(source.ids)))]
                longest = max(map(len, arrays))
                batch = torch.zeros(len(arrays), longest, source.n_features)
                for row, array in zip(batch, arrays):
                    row[: len(array)] = torch.from_numpy(array)
                model(batch, torch.tensor([len(a) / longest for a in arrays]))

    return run


def n_parameters(model):
    return sum(p.numel() for p in model.parameters())


def flops(model, n_frames):
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(torch.zeros(1, n_frames, model.n_features))
    return counter.get_total_flops()


def reached(work, seconds, top):
    rate = work / seconds
    return f"{rate / 1e9:.0f} GFLOP/s, {rate / top:.0%} of the limit"


def row(what, seconds, n, base=None, note=""):
    ratio = "" if base is None else f"ours is {seconds / base:.2f} x as fast"
    print(
        f"  {what:38s} {1e3 * seconds:9.0f} ms {n / seconds:8.1f} utt/s  {ratio}{note}", flush=True
    )


def bench(name, theirs, arguments, top):
    torch.manual_seed(0)
    model = build(name)
    rng = np.random.default_rng(0)
    size, n_frames = arguments.batch_size, arguments.frames
    features = torch.from_numpy(rng.standard_normal((size, n_frames, model.n_features), np.float32))
    labels = torch.from_numpy(rng.integers(0, N_CLASSES, size))
    lengths = rng.integers(150, 1200, arguments.utterances)
    arrays = [rng.standard_normal((n, model.n_features), np.float32) for n in lengths]
    source = ArraySource([f"u{i}" for i in range(len(arrays))], arrays)
    peer = theirs[name]() if theirs else None
    print(f"{name}: {n_parameters(model) / 1e6:.2f} M parameters"
          + (f", SpeechBrain's {n_parameters(peer) / 1e6:.2f} M" if peer else ""))  # fmt: skip

    work = 3 * flops(model, n_frames) * size
    steps = [our_step(model, features, labels)]
    if peer:
        n_dims = 512 if name == "xvector" else 192
        steps.append(their_step(peer, n_dims, features, labels))
    times = in_turn(steps)
    row(f"training, {size} x {n_frames} frames", times[0], size, note=reached(work, times[0], top))
    if peer:
        row("  SpeechBrain", times[1], size, times[0])

    work = sum(flops(model, int(n)) for n in lengths)
    runs = [lambda: extract(model, source)]
    if peer:
        runs += [their_extraction(peer, source, n) for n in (8, 1)]
    times = in_turn(runs)
    n = len(lengths)
    row(f"extraction, {n} utterances", times[0], n, note=reached(work, times[0], top))
    if peer:
        row("  SpeechBrain, batches of 8", times[1], n, times[0])
        row("  SpeechBrain, one by one", times[2], n, times[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--utterances", type=int, default=40)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    sgemm, top = limits()
    theirs = speechbrain_models()
    print(
        f"one thread, torch {torch.__version__}: sgemm {sgemm / 1e9:.0f} GFLOP/s, 1x1 convolution "
        f"{top / 1e9:.0f} GFLOP/s"
    )
    if isinstance(theirs, str):
        print(f"SpeechBrain cannot be imported ({theirs}): no comparison")
        theirs = None
    for name in ("xvector", "ecapa"):
        bench(name, theirs, arguments, max(sgemm, top))


if __name__ == "__main__":
    main()
