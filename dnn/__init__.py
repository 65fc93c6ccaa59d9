"""Networks: x-vectors and other speaker embeddings, their training and extraction; needs torch."""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "build": "dnn.models",
        "build_from_config": "dnn.models",
        "build_loss": "dnn.losses",
        "fold": "dnn.folding",
        "Trainer": "dnn.training",
        "TrainingOptions": "dnn.training_options",
        "load_classifier": "dnn.export",
        "load_network": "dnn.export",
        "save_network": "dnn.export",
    },
)
