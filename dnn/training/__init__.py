"""Training of a network: steps, schedules, checkpoints, validation, several processes.

trainer      The trainer of all networks: one loop, whose every step is a function of the seed and
             the step.
steps        Parts of a training step: what is differentiated, what is measured, random numbers,
             signals.
memory       What to say when a batch does not fit into a GPU's memory: one that does.
options      How a network is trained: the numbers that `dnn.training.trainer.Trainer` takes.
optimisers   Optimisers by name, and a moving average of the weights.
schedules    Learning rates as functions of the step, so that a resumed run has nothing to restore.
checkpoint   Checkpoints: all that a run needs to go on, in one file that is whole or absent.
distributed  What a training of several processes, started by ``torchrun``, needs to agree upon.
validation   Measures of a network during its training: EER on a trial list, accuracy among known
             speakers.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CURVES": "dnn.training.trainer",
        "NETWORK": "dnn.training.trainer",
        "Outcome": "dnn.training.trainer",
        "SCALARS": "dnn.training.trainer",
        "STEPS_UNCHECKED": "dnn.training.trainer",
        "Trainer": "dnn.training.trainer",
    },
)
