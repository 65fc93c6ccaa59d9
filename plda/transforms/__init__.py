"""Transforms of vectors: centring, whitening, LDA, WCCN, length normalisation.

vectors  Vector transforms of the back-end as scikit-learn transformers: centre, whiten, LDA, WCCN,
         norm.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Affine": "plda.transforms.vectors",
        "Center": "plda.transforms.vectors",
        "LDA": "plda.transforms.vectors",
        "LengthNorm": "plda.transforms.vectors",
        "WCCN": "plda.transforms.vectors",
        "Whiten": "plda.transforms.vectors",
        "length_norm": "plda.transforms.vectors",
    },
)
