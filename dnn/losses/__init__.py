"""Losses: of classification with margins, and of distances between embeddings.

classification  Training losses on embeddings (N, D) and speaker labels (N,).
metric          Losses that compare the utterances of a batch: triplet, angular-prototypical, GE2E.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AamSoftmax": "dnn.losses.classification",
        "AmSoftmax": "dnn.losses.classification",
        "CLASSIFIERS": "dnn.losses.classification",
        "Classifier": "dnn.losses.classification",
        "LOSSES": "dnn.losses.classification",
        "MarginSchedule": "dnn.losses.classification",
        "Softmax": "dnn.losses.classification",
        "SpeakerLoss": "dnn.losses.classification",
        "build_loss": "dnn.losses.classification",
        "build_loss_from_config": "dnn.losses.classification",
    },
)
