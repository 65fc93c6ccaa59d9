"""Back-end: vector transforms, PLDA and cosine scoring, score normalisation."""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Center": "plda.transforms.vectors",
        "Whiten": "plda.transforms.vectors",
        "LDA": "plda.transforms.vectors",
        "WCCN": "plda.transforms.vectors",
        "Affine": "plda.transforms.vectors",
        "LengthNorm": "plda.transforms.vectors",
        "PLDA": "plda.models.plda",
        "mean_per_class": "plda.models.averaging",
        "PairScorer": "plda.models.scoring",
        "adapt_plda": "plda.models.adaptation",
        "score_recording": "plda.models.recording",
        "cosine_scorer": "plda.models.cosine",
        "cosine_scores": "plda.models.cosine",
        "cosine_trials": "plda.models.cosine",
        "dot_products": "plda.models.cosine",
        "ScoreNorm": "plda.normalisation",
        "load_model": "plda.formats.models",
        "save_model": "plda.formats.models",
        "read_mean": "plda.formats.models",
        "read_plda": "plda.formats.models",
        "read_transform": "plda.formats.models",
        "write_mean": "plda.formats.models",
        "write_plda": "plda.formats.models",
        "write_transform": "plda.formats.models",
        "read_counts": "plda.formats.vectors",
        "read_ids_vectors": "plda.formats.vectors",
        "write_ids_vectors": "plda.formats.vectors",
    },
)
