"""Length normalisation.

N vectors, D dimensions.

References
----------
D. Garcia-Romero, C. Espy-Wilson, "Analysis of i-vector length normalization in speaker
recognition systems", Interspeech 2011.
Kaldi: ``ivector-normalize-length``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin

from plda.checks import check_input, check_training, warn_degenerate
from plda.linalg import ClassStatistics
from plda.transforms.base import VectorTransformer


class LengthNorm(OneToOneFeatureMixin, VectorTransformer):
    """Scale every vector to the same length (Kaldi's ``ivector-normalize-length``).

    Vectors of length zero stay so.

    Parameters
    ----------
    scale : bool
        To length √D, the expected length of a vector of unit covariance, as Kaldi does by
        default; False gives unit length (``--scaleup=false``).

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features,) of str
        Of a data frame whose columns have names.

    Examples
    --------
    >>> LengthNorm(scale=False).transform([[3.0, 4.0]]).round(3).tolist()
    [[0.6, 0.8]]
    """

    def __init__(self, scale: bool = True):
        self.scale = scale

    def fit(self, X: Any, y: Any = None) -> LengthNorm:
        """Note the dimension of `X` (n_vectors, n_features)."""
        check_training(self, X)
        return self

    def fit_statistics(self, stats: ClassStatistics) -> LengthNorm:
        """Note the dimension of vectors that need not be in memory."""
        self.n_features_in_ = stats.means.shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Normalise the lengths of `X` (n_vectors, n_features)."""
        X = check_input(self, X)
        return length_norm(X, self.scale)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def length_norm(X: np.ndarray, scale: bool = True) -> np.ndarray:
    """Vectors (n_vectors, n_dims) scaled to length √n_dims, or 1 if not `scale`; zeros stay.

    Examples
    --------
    >>> import numpy as np
    >>> length_norm(np.array([[3.0, 4.0]]), scale=False).round(3).tolist()
    [[0.6, 0.8]]
    """
    # The maximum is taken out first, so that squares neither overflow nor vanish.
    largest = np.abs(X).max(axis=1, keepdims=True).astype(np.float64)
    if not largest.all():
        warn_degenerate(
            f"{np.count_nonzero(largest == 0)} of {len(X)} vectors have length zero and stay so;"
            " were they extracted from silence?"
        )
        largest[largest == 0] = 1.0
    scaled = X / largest
    length = np.sqrt(np.einsum("nd,nd->n", scaled, scaled))[:, None]
    length[length == 0] = 1.0
    return (scaled * ((np.sqrt(X.shape[1]) if scale else 1.0) / length)).astype(X.dtype)
