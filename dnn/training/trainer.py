"""The trainer of all networks: one loop, whose every step is a function of the seed and the step.

Batches, learning rate, margin and dropout depend on nothing else, so that a run that was killed and
resumed from its last checkpoint goes on as if nothing had happened: on the same device, and with
the same number of threads, to the same bytes.

A run's folder holds ``last.pt`` and ``best.pt`` (checkpoints), ``network/`` (the exported weights,
of the best validation or else of the end), ``scalars.jsonl`` and ``curves.png``.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnn.data.prefetch import Batch, Batches, Prefetch
from dnn.embedding.export import save_network
from dnn.extra import told_extra
from dnn.losses.classification import MarginSchedule, SpeakerLoss
from dnn.models.base import SpeakerNetwork
from dnn.training.agreement import check_agreement
from dnn.training.checkpoint import BEST, LAST, load_checkpoint, remove_leftovers, save_checkpoint
from dnn.training.distributed import Ranks, pick_device
from dnn.training.identity import choices_of, differences, identity_of
from dnn.training.memory import too_large
from dnn.training.optimisers import MovingAverage, build_optimiser, check_weights
from dnn.training.options import TrainingOptions
from dnn.training.scalars import NoLog, ScalarLog
from dnn.training.schedules import Schedule
from dnn.training.steps import Clock, Measured, Meter, Objective, StopRequest, seed_step, to_device
from dnn.training.validation import Validation
from ivector.base.errors import DataError, NotFiniteError
from ivector.base.foreign.boundary import foreign

with told_extra():
    import torch
    from torch import Tensor, nn

logger = logging.getLogger("training")

NETWORK, SCALARS, CURVES = "network", "scalars.jsonl", "curves.png"
STEPS_UNCHECKED = 10  # on a GPU, which would have to wait to be asked about every loss


class Outcome(NamedTuple):
    """How a training ended.

    `step` updates are done; `finished` is False where SIGTERM stopped it; `best` is the best value
    of the validation's criterion, None without one.

    Examples
    --------
    >>> outcome = Outcome(step=120, finished=False, best=None)
    >>> "done" if outcome.finished else f"stopped at step {outcome.step}; run it again"
    'stopped at step 120; run it again'
    """

    step: int
    finished: bool
    best: float | None


class Trainer:
    """Trains a network; resumes by itself where its folder holds a checkpoint.

    Parameters
    ----------
    model : SpeakerNetwork
    loss : SpeakerLoss
    batches : Batches
        Such as `dnn.data.batches.CropBatches`.
    folder : path-like
    options : TrainingOptions
    schedule : Schedule
        Learning rate of every step.
    margin : MarginSchedule, optional
    validation : Validation, optional
        See `dnn.training.validation`; decides which weights are the best.
    speakers : sequence of str
        Names of the classes, kept with the exported network.
    extra : mapping, optional
        Further entries of the exported network's ``config.json``. All but ``options`` belong to
        the training: a checkpoint of other ones is refused.
    device : str
        "auto" takes a GPU if there is one.
    refresh : callable, optional
        Called with the step and the network before every update, to draw later batches by it.
    ranks : Ranks, optional
        Of `dnn.training.distributed.joined`, under ``torchrun``.

    Attributes
    ----------
    step : int
        Updates done.

    Raises
    ------
    UsageError
        Options that do not go together.
    DataError
        Labels beyond the loss's classes.

    Examples
    --------
    >>> from dnn import build, build_loss
    >>> from dnn.data.batches import CropBatches
    >>> from dnn.data.sources import ArraySource
    >>> from dnn.training.schedules import WarmupCosine
    >>> features = np.random.default_rng(0).standard_normal((4, 40, 8), np.float32)
    >>> source = ArraySource(["ann-1", "ann-2", "bob-1", "bob-2"], list(features))
    >>> batches = CropBatches(source, [0, 0, 1, 1], n_frames=30, batch_size=4)
    >>> network, loss = build("xvector-small", n_features=8), build_loss("aam-softmax", 128, 2)
    >>> options, rates = TrainingOptions(n_steps=2), WarmupCosine(1e-3, n_steps=2)
    >>> Trainer(network, loss, batches, "training", options, rates, device="cpu").fit()
    Outcome(step=2, finished=True, best=None)
    """

    def __init__(
        self,
        model: SpeakerNetwork,
        loss: SpeakerLoss,
        batches: Batches,
        folder: str | os.PathLike,
        options: TrainingOptions,
        schedule: Schedule,
        *,
        margin: MarginSchedule | None = None,
        validation: Validation | None = None,
        speakers: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
        device: str = "auto",
        refresh: Callable[[int, SpeakerNetwork], None] | None = None,
        ranks: Ranks | None = None,
    ):
        self.model, self.loss, self.batches, self.folder = model, loss, batches, Path(folder)
        self.options, self.schedule, self.margin = options, schedule, margin
        self.validation, self.speakers, self.extra = validation, list(speakers), dict(extra or {})
        self.refresh, self.ranks = refresh, ranks or Ranks()
        self.device = pick_device(device, self.ranks)
        self._rows = self.ranks.rows(batches.batch_size)
        check_agreement(loss, batches, options, self.speakers)
        self._modules = nn.ModuleDict({"model": model, "loss": loss}).to(self.device)
        self.optimiser = build_optimiser(
            options.optimiser, [model, loss], options.weight_decay, options.momentum
        )
        self.average = (
            MovingAverage(self._modules, options.average_decay) if options.average_decay else None
        )
        self.step = 0
        self._saved = self._validated = -1
        self._stale = 0  # validations since the best
        self._best: float | None = None
        self._meter = Meter()
        self._n_records = 0

    def fit(self) -> Outcome:
        """Train to the end, or until SIGTERM, on which a checkpoint is written.

        Raises
        ------
        NotFiniteError
            A loss, gradient or weight that is not finite.
        DataError
            A batch too large for the GPU, data that cannot be read, or a checkpoint of another
            model in the folder.
        MissingExtraError
            The network could not be saved in the end, as safetensors is not installed.
        """
        with told_extra():
            import safetensors  # noqa: F401
        self._resume()
        devices = [self.device] if self.device.type == "cuda" else []
        short = self.options.precision != "float32"
        with (
            StopRequest() as stop,
            torch.random.fork_rng(devices),
            # Trying out the convolutions' algorithms would choose others from run to run.
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=short),
            contextlib.closing(self._scalar_log()) as self._log,
        ):
            objective = Objective(self.model, self.loss, self.options.compile)
            self._objective = self.ranks.wrap(objective, self.device)
            finished = self._run(stop)
        self._draw()
        return Outcome(self.step, finished, self._best)

    def _run(self, stop: StopRequest) -> bool:
        """The loop; False where it was stopped."""
        options, clock = self.options, Clock(self.step)
        loader = Prefetch(self.batches, self.step, options.n_steps, options.n_workers, self._rows)
        with loader:
            batches = iter(loader)
            while True:
                if self._validation_due():
                    self._validate()
                if self.ranks.any(stop.requested):
                    self._save(LAST)
                    logger.info("stopped by SIGTERM; saved at step %d", self.step)
                    return False
                ended = 0 < options.patience and self.ranks.any(self._stale >= options.patience)
                if ended or self.step == options.n_steps:
                    break
                if self.refresh is not None and self.ranks.leads:
                    self.refresh(self.step, self.model)
                self._update(next(batches))
                self.step += 1
                if clock.due():
                    self._settle()
                    epoch, means = self.step / len(self.batches), self._meter.means()
                    rows = self.batches.batch_size
                    logger.info("%s", clock.line(self.step, options.n_steps, epoch, rows, means))
                if self.step % options.log_every == 0:
                    self._record()
                if self.step % options.save_every == 0:
                    self._save(LAST)
        self._save(LAST)
        if self.validation is None and self.ranks.leads:
            self._export()
        return True

    def _update(self, batch: Batch) -> None:
        """One step; says which batch size fits where memory does not suffice."""
        try:
            self._learn(batch)
        except torch.cuda.OutOfMemoryError:
            pass
        else:
            return
        # Out of the handler, whose exception keeps the step's tensors alive.
        raise too_large(batch.features, self.options.accumulate, self._try)

    def _learn(self, batch: Batch) -> None:
        seed_step(self.options.seed, batch.step, self.ranks.rank)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule(batch.step)
        if self.margin is not None:
            self.margin.apply(self.loss, batch.step)
        self._modules.train()
        self.optimiser.zero_grad()
        features, labels = to_device(batch.features, batch.labels, self.device)
        loss, right = self._backward(features, labels)
        norm = nn.utils.clip_grad_norm_(
            self._modules.parameters(), self.options.clip_norm or math.inf
        )
        self._meter.pending.append(Measured(batch.step, loss, right, norm, len(labels)))
        # Asking the GPU for every loss would make it wait; what it did meanwhile is never saved.
        if self.device.type != "cuda" or len(self._meter.pending) >= STEPS_UNCHECKED:
            self._settle()
        self.optimiser.step()
        if self.average is not None:
            self.average.update()

    def _backward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Add up the gradients of a batch; its mean loss and number of right answers."""
        n_parts = self.options.accumulate
        total = features.new_zeros(())
        answers = features.new_zeros(())
        for number, (x, y) in enumerate(zip(features.chunk(n_parts), labels.chunk(n_parts)), 1):
            with self._gradient_exchange(number == n_parts):
                with self._autocast():
                    loss, right = self._objective(x, y)
                loss = loss * (len(y) / len(labels))
                loss.backward()
            total += loss.detach()
            answers += right
        return total, answers

    def _gradient_exchange(self, now: bool) -> Any:
        """Under torchrun, gradients are exchanged with the last part of a batch only."""
        if now or self.ranks.n_ranks == 1:
            return contextlib.nullcontext()
        return self._objective.no_sync()

    def _autocast(self) -> Any:
        precision = self.options.precision
        bf16 = precision == "bfloat16" or (precision == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def _settle(self) -> None:
        """Look at the losses that are still on the device."""
        bad = self._meter.settle()
        if bad is None:
            return
        chosen = self.batches.utterances(bad.step)[self._rows]
        source = getattr(self.batches, "source", None)
        names = [str(i) if source is None else source.ids[int(i)] for i in chosen]
        raise NotFiniteError(bad.message(names, self._kept()))

    def _kept(self) -> str:
        """What a run that breaks off leaves."""
        if self._saved < 0:
            return "no checkpoint was written yet"
        return f"{self.folder / LAST} keeps step {self._saved}"

    def _try(self, rows: int, features: np.ndarray) -> None:
        """What takes the memory of a step, on the first rows of a batch."""
        self.optimiser.zero_grad()
        (x,) = to_device(features[:rows], np.zeros(0, np.int64), self.device)[:1]
        with self._autocast():
            value = self.model.head(self.model(x)).float().square().sum()
        value.backward()

    def _validation_due(self) -> bool:
        every, step = self.options.validate_every, self.step
        if self.validation is None or step == 0 or self._validated == step:
            return False
        return step == self.options.n_steps or bool(every and step % every == 0)

    def _validate(self) -> None:
        """Measure, and keep the weights if they are the best; saved first, in case it is killed."""
        self._save(LAST)
        self._validated = self.step
        if not self.ranks.leads:
            return
        assert self.validation is not None
        measures = self.validation(*self._judged(), self.device)
        value = measures[self.validation.criterion]
        text = ", ".join(f"{name} {100 * v:.2f} %" for name, v in measures.items())
        logger.info("step %d: validation %s", self.step, text)
        self._log.write(self.step, {f"validation_{k}": v for k, v in measures.items()})
        sign = 1 if self.validation.larger_is_better else -1
        self._stale += 1
        if self._best is None or sign * value > sign * self._best:
            self._best, self._stale = value, 0
            self._save(BEST)
            self._export()

    def _record(self) -> None:
        """Write the means since the last record."""
        self._settle()
        values = self._meter.means()
        self._meter.reset()
        values["learning_rate"] = self.schedule(self.step - 1)
        if self.margin is not None:
            values["margin"] = self.margin(self.step - 1)
        self._log.write(self.step, values)

    def _save(self, name: str) -> None:
        """Write a checkpoint; every loss so far was finite, and so are the weights."""
        self._settle()
        check_weights(self._modules, self.step, self._kept())
        if name == LAST and self._saved == self.step and self._validated != self.step:
            return
        if self.ranks.leads:
            average = None if self.average is None else self.average.state_dict()
            progress = {
                "validated": self._validated,
                "best": self._best,
                "stale": self._stale,
                "sums": dict(self._meter.sums),
                "n_records": self._log.n_records,
            }
            save_checkpoint(
                self.folder / name,
                {
                    "identity": self._identity(),
                    "training": self._choices(),
                    "step": self.step,
                    "modules": self._modules.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "average": average,
                    "progress": progress,
                },
            )
        if name == LAST:
            self._saved = self.step

    def _resume(self) -> None:
        """Go on from the last checkpoint of the folder, if there is one."""
        if self.ranks.leads:
            remove_leftovers(self.folder)
        path = self.folder / LAST
        if path.exists():
            self._restore(path)
        if self.ranks.any(self.step != self.ranks.lead_number(self.step)):
            raise DataError(
                f"{path}: the processes see different checkpoints; train in a folder that all "
                "machines share"
            )

    def _restore(self, path: Path) -> None:
        state = load_checkpoint(path)
        with foreign(path, "a checkpoint of a training", "remove it to start anew"):
            if unlike := differences(self._identity(), state.get("identity")):
                raise DataError(
                    f"{path}: is of another training: {'; '.join(unlike)}; train in another "
                    "folder, or with the former options"
                )
            for changed in differences(self._choices(), state.get("training")):
                logger.warning("%s: resumed although %s", path, changed)
            self._modules.load_state_dict(state["modules"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            progress = state["progress"]
            self.step = self._saved = int(state["step"])
            self._validated, self._best = int(progress["validated"]), progress["best"]
            self._stale = int(progress.get("stale", 0))
            self._meter.sums = dict(progress["sums"])
            self._n_records = int(progress["n_records"])
        if self.step > self.options.n_steps:
            raise DataError(
                f"{path}: has {self.step} steps already, {self.options.n_steps} are asked for; "
                "train in another folder"
            )
        logger.info("resumed at step %d of %s", self.step, path)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with this run."""
        return identity_of(
            self.model, self.loss, self.batches, self.options, self.speakers, self.extra
        )

    def _choices(self) -> dict[str, Any]:
        """What a resumed run should not change, unless its user means to."""
        return choices_of(self.options, self.schedule, self.margin, self.batches)

    def _export(self) -> None:
        extra = {**self.extra, "training": {**self._choices(), "step": self.step}}
        save_network(self.folder / NETWORK, *self._judged(), self.speakers, extra)

    def _judged(self) -> tuple[Any, Any]:
        """Model and loss that are validated and exported: the average, if there is one."""
        modules: Any = self._modules if self.average is None else self.average.module
        return modules["model"], modules["loss"]

    def _scalar_log(self) -> ScalarLog | NoLog:
        if not self.ranks.leads:
            return NoLog()
        return ScalarLog(self.folder / SCALARS, self._n_records, self.options.tensorboard)

    def _draw(self) -> None:
        if self.ranks.leads and self.step:
            from dnn.curves import plot_curves

            plot_curves(self.folder / CURVES, self.folder / SCALARS)
