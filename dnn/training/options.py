"""How a network is trained: the numbers that `dnn.training.trainer.Trainer` takes."""

from __future__ import annotations

from dataclasses import dataclass

from ivector.base.errors import UsageError

OPTIMISERS = ("adamw", "sgd")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Parameters
    ----------
    n_steps : int
        Updates.
    optimiser : {"adamw", "sgd"}
    weight_decay, momentum : float
        See `dnn.training.optimisers.build_optimiser`.
    clip_norm : float
        Largest norm of the gradient; longer ones are shortened to it. 0 leaves them.
    average_decay : float
        Of the moving average of the weights, which is then what is validated and exported; 0 for
        none.
    accumulate : int
        Parts that a batch is cut into to save memory. Norms' statistics are then of the parts.
    precision : {"auto", "float32", "bfloat16"}
        Of the products; "auto" is bfloat16 (autocast) on a GPU.
    compile : bool
        Let ``torch.compile`` make kernels for the network: minutes at the start.
    n_workers : int
        Processes that make batches ahead; they change no result.
    log_every, save_every, validate_every : int
        Steps between records, checkpoints, and validations (0: only at the end).
    patience : int
        Validations without a rise after which the training ends; 0 trains to the end.
    tensorboard : bool
    seed : int
        Of dropout.

    Examples
    --------
    >>> options = TrainingOptions(n_steps=1000, average_decay=0.999)
    >>> options.optimiser, options.save_every
    ('adamw', 500)
    """

    n_steps: int
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    momentum: float = 0.9
    clip_norm: float = 5.0
    average_decay: float = 0.0
    accumulate: int = 1
    precision: str = "auto"
    compile: bool = False
    n_workers: int = 0
    log_every: int = 50
    save_every: int = 500
    validate_every: int = 0
    patience: int = 0
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision is {', '.join(PRECISIONS)}, not {self.precision!r}")
        for name in ("n_steps", "accumulate", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("validate_every", "patience", "n_workers", "seed", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be at least 0, not {getattr(self, name)}")
