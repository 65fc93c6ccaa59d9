"""Networks: x-vectors and other speaker embeddings, their training and extraction; needs torch."""

import os

from ivector.base.lazy import attach

# On the CPU torch keeps what it prepared for its last 1,024 operations, about 1 MiB each, and crops
# of many lengths fill that. It asks for this once; preparing anew costs a few per cent at most.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "build": "dnn.models",
        "build_from_config": "dnn.models",
        "build_loss": "dnn.losses.classification",
        "fold": "dnn.models.folding",
        "Trainer": "dnn.training.trainer",
        "TrainingOptions": "dnn.training.options",
        "load_classifier": "dnn.embedding.export",
        "load_network": "dnn.embedding.export",
        "save_network": "dnn.embedding.export",
    },
)
