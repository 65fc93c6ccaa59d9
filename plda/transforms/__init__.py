"""Transforms of vectors before they are scored, as scikit-learn transformers.

centring      centre and whiten: subtract the mean, make the covariance the identity
discriminant  set speakers apart, from labelled vectors: LDA, WCCN
length        scale every vector to the same length
affine        apply a given matrix, such as one read from Kaldi's transform.mat
base          what they share: x → A (x − mean), refusals and warnings of poor data
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
