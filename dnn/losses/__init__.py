"""Losses: of classification with margins, and of distances between embeddings.

table           The losses by name, and how one is built; needs no torch.
classification  Of one weight vector for each speaker: softmax, with additive margins; their rise.
metric          Of a batch's utterances, compared: triplet, angular-prototypical, GE2E.
"""

from dnn.extra import attach

__getattr__, __dir__, __all__ = attach(__name__)
