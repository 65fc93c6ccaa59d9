"""Back-end: vector transforms, PLDA and cosine scoring, score normalisation."""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Center": "plda.transforms",
        "Whiten": "plda.transforms",
        "LDA": "plda.transforms",
        "WCCN": "plda.transforms",
        "LengthNorm": "plda.transforms",
        "PLDA": "plda.model",
        "PLDALengthNorm": "plda.model",
        "adapt_plda": "plda.adaptation",
        "cosine_scores": "plda.cosine",
        "ScoreNorm": "plda.normalisation",
    },
)
