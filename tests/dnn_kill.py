"""Kill a training at random moments, resume it, and compare its weights with those of one that ran.

Run ``python tests/dnn_kill.py [--trials 20]``. Each trial trains a small network in a process of
its own, kills it with SIGKILL or SIGTERM (in turn) a random time after it began a random step,
starts it again, up to three times, and lets it end. The exported weights must have the bytes of a
training that nobody touched; SIGTERM must have exited with code 75.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Forked, lest every start wait for torch to be imported.
CONTEXT = multiprocessing.get_context("fork")
N_STEPS = 30
STOPPED = 75


def child(folder: Path, n_workers: int, told) -> None:
    """One training, which tells every step that it begins."""
    import torch

    from dnn.data.batches import CropBatches
    from dnn.data.sources import ArraySource
    from dnn.losses.classification import MarginSchedule
    from dnn.losses.table import build_loss
    from dnn.models import build
    from dnn.training.options import TrainingOptions
    from dnn.training.schedules import WarmupCosine
    from dnn.training.trainer import Trainer
    from dnn.training.validation import AccuracyValidation

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 6)
    arrays = [rng.standard_normal((40, 20), np.float32) + s for s in labels]
    source = ArraySource([f"u{i}" for i in range(30)], arrays)
    torch.manual_seed(0)
    model = build("conformer", n_features=20, dim=24, n_blocks=1, n_heads=2, kernel=5)
    options = TrainingOptions(
        n_steps=N_STEPS, average_decay=0.9, n_workers=n_workers, log_every=4, save_every=4,
        validate_every=9,
    )  # fmt: skip

    class Told(Trainer):
        def _learn(self, batch):
            told.send(batch.step)
            super()._learn(batch)

    outcome = Told(
        model,
        build_loss("aam-softmax", model.head_dim, 5),
        CropBatches(source, labels, n_frames=(25, 35), batch_size=10),
        folder,
        options,
        WarmupCosine(3e-3, N_STEPS, 4),
        margin=MarginSchedule(0.2, 5, 20),
        validation=AccuracyValidation(source, labels),
        device="cpu",
    ).fit()
    sys.exit(0 if outcome.finished else STOPPED)


class Launched:
    """A training in a process of its own."""

    def __init__(self, folder: Path, n_workers: int):
        self.steps, told = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=child, args=(folder, n_workers, told))
        self.process.start()
        told.close()

    def end(self) -> int:
        """Wait for it; its exit code."""
        while self.begins():
            pass
        self.process.join()
        assert self.process.exitcode in (0, STOPPED, -signal.SIGKILL)
        return self.process.exitcode

    def begins(self) -> bool:
        """Wait for its next step; False where there is none."""
        try:
            self.steps.recv()
        except EOFError:
            return False
        return True


def strike(folder: Path, number: int, n_workers: int, rng: np.random.Generator) -> str:
    """Kill a training once; how it ended."""
    launched = Launched(folder, n_workers)
    for _ in range(int(rng.integers(1, 13))):
        launched.begins()
    time.sleep(float(rng.uniform(0, 0.05)))
    assert launched.process.pid is not None
    os.kill(launched.process.pid, signal.SIGTERM if number % 2 else signal.SIGKILL)
    return {0: "done before", STOPPED: "stopped", -signal.SIGKILL: "killed"}[launched.end()]


def run_trials(folder: Path, n_trials: int, seed: int = 0, most_strikes: int = 1) -> int:
    """Number of trials that ended with the weights of the training that nobody touched."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    assert Launched(folder / "whole", 0).end() == 0
    expected = read(folder / "whole")
    equal = 0
    for trial in range(n_trials):
        target, n_workers = folder / f"trial{trial}", trial // 2 % 2
        n_strikes = int(rng.integers(1, most_strikes + 1))
        ends = [strike(target, trial + s, n_workers, rng) for s in range(n_strikes)]
        assert Launched(target, n_workers).end() == 0
        same = read(target) == expected
        equal += same
        print(
            f"trial {trial}: {', '.join(ends)}; {'same' if same else 'OTHER'} weights", flush=True
        )
    return equal


def read(folder: Path) -> bytes:
    return (folder / "network" / "network.safetensors").read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import torch

    import dnn.training.trainer  # noqa: F401 (once, for all that are forked)

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        equal = run_trials(Path(folder), arguments.trials, arguments.seed, most_strikes=3)
    print(f"{equal} of {arguments.trials} resumed trainings ended with the same weights")
    return 0 if equal == arguments.trials else 1


if __name__ == "__main__":
    raise SystemExit(main())
