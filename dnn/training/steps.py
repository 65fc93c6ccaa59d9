"""Parts of a training step: what is differentiated, what is measured, random numbers, signals."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dnn.extra import told_extra
from dnn.losses.classification import Classifier, SpeakerLoss
from dnn.models.base import SpeakerNetwork
from ivector.base.log import LOG_EVERY_S

with told_extra():
    import torch
    from torch import Tensor, nn


class Objective(nn.Module):
    """Features (B, T, D) and labels (B,) to the loss and the number of right answers.

    One module, so that DistributedDataParallel sees every parameter.
    """

    def __init__(self, model: SpeakerNetwork, loss: SpeakerLoss, compile: bool = False):
        super().__init__()
        self.model, self.loss = model, loss
        # In a list, lest its weights be counted twice.
        self._run: list[Any] = [torch.compile(model) if compile else model]

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss (), and right answers () or NaN where the loss has no classes."""
        embedding = self.model.head(self._run[0](features))
        value = self.loss(embedding, labels)
        with torch.no_grad():
            if isinstance(self.loss, Classifier):
                right = (self.loss.logits(embedding).argmax(1) == labels).sum()
            else:
                right = value.new_full((), torch.nan)
        return value, right


class Measured(NamedTuple):
    """Numbers of one step, on the device until they are asked for."""

    step: int
    loss: Tensor
    right: Tensor
    norm: Tensor
    n_utterances: int


class BadStep(NamedTuple):
    """A step whose loss or gradient is not finite."""

    step: int
    loss: float
    norm: float

    def message(self, names: Sequence[str], kept: str) -> str:
        """What is said of it: the utterances of its batch, and what checkpoint is left."""
        return (
            f"step {self.step}: the loss is {self.loss:g} and the norm of the gradient "
            f"{self.norm:g}, on the batch of {', '.join(names[:3])}"
            f"{' …' if len(names) > 3 else ''}; {kept}; "
            "take a lower learning rate, a longer warm-up, or look at these utterances"
        )


class Meter:
    """Sums over the steps since the last record, kept in checkpoints to be exact on resuming."""

    def __init__(self) -> None:
        self.pending: list[Measured] = []
        self.sums = {"loss": 0.0, "right": 0.0, "norm": 0.0, "n_steps": 0, "n_utterances": 0}

    def settle(self) -> BadStep | None:
        """Fetch what is on the device, all at once; the first step that is not finite, if any."""
        if not self.pending:
            return None
        numbers = torch.stack(
            [torch.stack([m.loss, m.norm, m.right.float()]) for m in self.pending]
        )
        steps, self.pending = self.pending, []
        for measured, (loss, norm, right) in zip(steps, numbers.tolist()):
            if not (np.isfinite(loss) and np.isfinite(norm)):
                return BadStep(measured.step, loss, norm)
            self.sums["loss"] += loss
            self.sums["norm"] += norm
            self.sums["right"] += right
            self.sums["n_steps"] += 1
            self.sums["n_utterances"] += measured.n_utterances
        return None

    def means(self) -> dict[str, float]:
        """Averages since the last `reset`; accuracy only where there are classes."""
        n_steps = max(self.sums["n_steps"], 1)
        means = {"loss": self.sums["loss"] / n_steps}
        if np.isfinite(self.sums["right"]):
            means["training_accuracy"] = self.sums["right"] / max(self.sums["n_utterances"], 1)
        means["gradient_norm"] = self.sums["norm"] / n_steps
        return means

    def reset(self) -> None:
        """Start anew."""
        self.sums = dict.fromkeys(self.sums, 0) | {"loss": 0.0, "right": 0.0, "norm": 0.0}


class StopRequest:
    """Notes SIGTERM within a ``with`` block, instead of dying of it."""

    def __init__(self) -> None:
        self.requested = False
        self._former: Any = None

    def __enter__(self) -> StopRequest:
        # Python allows signal handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGTERM, self._former)

    def _note(self, *_: object) -> None:
        self.requested = True


class Clock:
    """When to log, and how long it will take."""

    def __init__(self, step: int):
        self._begin = self._last = time.monotonic()
        self._step = step

    def due(self) -> bool:
        """Whether the last line is some time ago."""
        now = time.monotonic()
        if now - self._last < LOG_EVERY_S:
            return False
        self._last = now
        return True

    def line(
        self, step: int, n_steps: int, epoch: float, n_rows: int, means: Mapping[str, float]
    ) -> str:
        """Where the training is, how it goes, and how long it will take."""
        rate = (step - self._step) / max(time.monotonic() - self._begin, 1e-9)
        parts = [f"step {step}/{n_steps}", f"epoch {epoch:.2f}", f"loss {means['loss']:.4f}"]
        if "training_accuracy" in means:
            parts.append(f"accuracy {100 * means['training_accuracy']:.1f} %")
        eta = (n_steps - step) / max(rate, 1e-9)
        return ", ".join([*parts, f"{rate * n_rows:.1f} utt/s", f"ETA {eta:.0f} s"])


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make what torch draws in a step (dropout) a function of these three numbers."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def to_device(features: np.ndarray, labels: np.ndarray, device: torch.device) -> list[Tensor]:
    """Arrays as tensors in memory of torch's own.

    On the CPU a copy too: the bytes of a product may depend on the alignment of its input, which
    that of torch's memory makes the same every time.
    """
    arrays = [torch.from_numpy(features), torch.from_numpy(labels)]
    if device.type != "cuda":
        return [array.clone().to(device) for array in arrays]
    # On a stream of its own the copy runs beside the former step's kernels.
    stream, present = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(stream):
        copies = [array.pin_memory().to(device, non_blocking=True) for array in arrays]
    present.wait_stream(stream)
    for copy in copies:
        copy.record_stream(present)
    return copies


_streams: dict[torch.device, Any] = {}


def _copy_stream(device: torch.device) -> Any:
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)
    return _streams[device]
