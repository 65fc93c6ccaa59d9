"""Averages of the vectors of one speaker, for enrolment with several utterances.

N vectors, D dimensions, K classes (speakers).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from plda.checks import check_labels, check_vectors
from plda.linalg import class_means


def mean_per_class(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the vectors of each class (Kaldi's ``ivector-mean`` with ``spk2utt``).

    Parameters
    ----------
    X : array_like (N, D)
    y : array_like (N,)

    Returns
    -------
    classes : ndarray (K,)
        Sorted.
    means : ndarray (K, D)
        Of the dtype of X.
    counts : ndarray (K,) of int

    Examples
    --------
    >>> classes, means, counts = mean_per_class([[1.0, 2], [3, 4], [5, 5]], ["b", "b", "a"])
    >>> classes.tolist(), means.tolist(), counts.tolist()
    (['a', 'b'], [[5.0, 5.0], [2.0, 3.0]], [1, 2])
    """
    X = check_vectors(X)
    classes, index = check_labels(y, len(X), min_classes=1)
    counts, means = class_means(X, index, len(classes))
    return classes, means.astype(X.dtype), counts.astype(np.int64)
