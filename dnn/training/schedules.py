"""Learning rates as functions of the step, so that a resumed run has nothing to restore.

Steps count from 0; a schedule gives the rate of the update that ends a step.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from dnn.registry import Entry, config_of, create
from ivector.base.errors import UsageError

SCHEDULES = {
    "cosine": Entry("dnn.training.schedules", "WarmupCosine"),
    "step": Entry("dnn.training.schedules", "StepDecay"),
    "constant": Entry("dnn.training.schedules", "StepDecay", {"factor": 1.0, "every": 1}),
}


class Schedule:
    """Base of all schedules: a linear warm-up to `peak`, then what `after` says.

    Parameters
    ----------
    peak : float
        Largest learning rate.
    n_warmup : int
        Steps in which the rate rises from peak / n_warmup; a network whose first gradients are
        large (a Conformer's) may never learn without it.
    """

    name: ClassVar[str]
    peak: float
    n_warmup: int

    def __call__(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.n_warmup:
            return self.peak * (step + 1) / self.n_warmup
        return self.after(step - self.n_warmup)

    def after(self, step: int) -> float:
        """Learning rate `step` steps after the warm-up."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """``{"name": ..., "options": {...}}`` in JSON's types."""
        return config_of(self, self.name)

    def _check(self) -> None:
        if not (math.isfinite(self.peak) and self.peak > 0):
            raise UsageError(f"a learning rate is above 0, not {self.peak}")
        if self.n_warmup < 0:
            raise UsageError(f"a warm-up has at least 0 steps, not {self.n_warmup}")


class WarmupCosine(Schedule):
    """Warm-up, then half a cosine from `peak` to `final` at `n_steps`.

    I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017,
    equation 5, without restarts.

    Parameters
    ----------
    peak : float
    n_steps : int
        Steps of the whole training, the warm-up included.
    n_warmup : int
    final : float
        Rate at the end.
    """

    name = "cosine"

    def __init__(self, peak: float, n_steps: int, n_warmup: int = 0, final: float = 0.0):
        self.peak, self.n_steps, self.n_warmup, self.final = peak, n_steps, n_warmup, final
        self._check()
        if not 0 <= final <= peak:
            raise UsageError(f"the final rate {final} must lie between 0 and the peak {peak}")
        if n_steps <= n_warmup:
            raise UsageError(
                f"a warm-up of {n_warmup} steps leaves none of {n_steps}; take fewer, or train "
                "longer"
            )

    def after(self, step: int) -> float:
        """Half a cosine."""
        share = min(step / (self.n_steps - self.n_warmup), 1.0)
        return self.final + (self.peak - self.final) * 0.5 * (1 + math.cos(math.pi * share))


class StepDecay(Schedule):
    """Warm-up, then `peak` times `factor` once every `every` steps.

    Parameters
    ----------
    peak : float
    every : int
    factor : float
        Above 0, at most 1.
    n_warmup : int
    """

    name = "step"

    def __init__(self, peak: float, every: int, factor: float = 0.1, n_warmup: int = 0):
        self.peak, self.every, self.factor, self.n_warmup = peak, every, factor, n_warmup
        self._check()
        if every < 1 or not 0 < factor <= 1:
            raise UsageError(
                f"a step schedule falls every 1 or more steps by a factor of at most 1, not every "
                f"{every} by {factor}"
            )

    def after(self, step: int) -> float:
        """A staircase."""
        return self.peak * self.factor ** (step // self.every)


def build_schedule(name: str, **options: Any) -> Schedule:
    """A schedule by its name in `SCHEDULES`.

    Raises
    ------
    UsageError
        An unknown name or option, or options that make no schedule.
    """
    return create(SCHEDULES, "schedule", name, options)
