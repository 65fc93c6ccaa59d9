"""Training of a network: steps, schedules, checkpoints, validation, several processes.

builder      From a configuration to a trainer: network, loss, batches, optimiser, schedule.
trainer      The loop of all networks, whose every step is a function of the seed and the step.
steps        What a step differentiates, measures and draws; the signal that stops it.
options      The numbers that the trainer takes.
agreement    Whether loss, batches, speakers and options go together.
optimisers   AdamW, SGD, and a moving average of the weights.
schedules    Learning rates as functions of the step, so that resuming restores nothing.
validation   Measured on the way: EER on a trial list, accuracy among known speakers.
checkpoint   All that a run needs to go on, in one file that is whole or absent.
identity     Which training a checkpoint is of, and what may differ when it goes on.
scalars      The numbers of a run as lines of JSON, and for TensorBoard.
memory       Says which batch does fit where one does not fit into a GPU's memory.
distributed  What processes that ``torchrun`` started must agree upon.
"""

from dnn.extra import attach

__getattr__, __dir__, __all__ = attach(__name__)
