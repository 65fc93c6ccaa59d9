"""Back-end: vector transforms, PLDA and cosine scoring, score normalisation."""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Center": "plda.transforms",
        "Whiten": "plda.transforms",
        "LDA": "plda.transforms",
        "WCCN": "plda.transforms",
        "Affine": "plda.transforms",
        "LengthNorm": "plda.transforms",
        "PLDA": "plda.model",
        "mean_per_class": "plda.averaging",
        "PairScorer": "plda.scoring",
        "adapt_plda": "plda.adaptation",
        "score_recording": "plda.recording",
        "cosine_scorer": "plda.cosine",
        "cosine_scores": "plda.cosine",
        "cosine_trials": "plda.cosine",
        "dot_products": "plda.cosine",
        "ScoreNorm": "plda.normalisation",
        "load_model": "plda.formats",
        "save_model": "plda.formats",
        "read_mean": "plda.formats",
        "read_plda": "plda.formats",
        "read_transform": "plda.formats",
        "write_mean": "plda.formats",
        "write_plda": "plda.formats",
        "write_transform": "plda.formats",
        "read_counts": "plda.vectors",
        "read_ids_vectors": "plda.vectors",
        "write_ids_vectors": "plda.vectors",
    },
)
