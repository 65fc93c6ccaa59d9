"""Optimisers by name, and a moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from dnn.extra import told_extra
from dnn.training.options import OPTIMISERS
from ivector.base.errors import NotFiniteError, UsageError

with told_extra():
    import torch
    from torch import nn


def build_optimiser(
    name: str,
    modules: Iterable[nn.Module],
    weight_decay: float = 0.0,
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum; its rate is set before every update.

    Parameters
    ----------
    name : {"adamw", "sgd"}
        AdamW without decay is Adam.
    modules : iterable of Module
    weight_decay : float
        Of matrices and kernels; biases, scales of norms and single numbers are left alone. In SGD
        a gradient of the squared norm, in AdamW times the learning rate apart from the gradient
        (I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019).
    momentum : float
        Of SGD.

    Raises
    ------
    UsageError
        An unknown name, or numbers that make no sense.
    """
    if name not in OPTIMISERS:
        raise UsageError(f"no optimiser is called {name!r}; there are {', '.join(OPTIMISERS)}")
    if not weight_decay >= 0 or not 0 <= momentum < 1:
        raise UsageError(
            f"weight decay {weight_decay} is at least 0, momentum {momentum} below 1 as well"
        )
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # One kernel for all weights instead of several for each.
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, fused=True)
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=momentum > 0, fused=True)


class MovingAverage:
    """Exponential moving average of a module's weights and norms' statistics.

    After n updates the average keeps the share min(decay, (1 + n) / (10 + n)) of itself, so that
    the first weights are soon forgotten.

    Parameters
    ----------
    module : Module
        On the device where it stays.
    decay : float
        0.999 averages over the last thousand updates or so.

    Attributes
    ----------
    module : Module
        A copy in evaluation mode that holds the average.
    """

    def __init__(self, module: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise UsageError(f"the average keeps a share of at least 0 and below 1, not {decay}")
        self.decay, self.n_updates = decay, 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        mine, theirs = (list(m.state_dict().values()) for m in (self.module, module))
        pairs = list(zip(mine, theirs))
        self._averages = [a for a, _ in pairs if a.is_floating_point()]
        self._present = [b for _, b in pairs if b.is_floating_point()]
        self._counters = [(a, b) for a, b in pairs if not a.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        share = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        self.n_updates += 1
        torch._foreach_lerp_(self._averages, self._present, 1 - share)
        for mine, theirs in self._counters:
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"weights": self.module.state_dict(), "n_updates": self.n_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.module.load_state_dict(state["weights"])
        self.n_updates = int(state["n_updates"])


def check_weights(modules: nn.Module, step: int, kept: str) -> None:
    """Refuse to keep weights that the last update broke.

    Raises
    ------
    NotFiniteError
        Names the weight, and what checkpoint is left.
    """
    for name, weight in modules.named_parameters():
        if not torch.isfinite(weight.sum()):
            raise NotFiniteError(
                f"step {step}: {name} is not finite; {kept}; take a lower learning rate or a "
                "longer warm-up"
            )
