"""Which of the enrolled speakers a vector is of: the one of the highest score.

N vectors, D dimensions, K classes (enrolled speakers).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

# What a model knows of the speakers it may answer with, apart from what it has learnt of all.
SPEAKERS = ("classes_", "class_means_", "class_counts_", "normalize_length_", "simple_length_norm_")


class Identifier(ClassifierMixin, ABC):
    """Answers with one of `classes_` (K,), given a score of each."""

    classes_: np.ndarray

    @abstractmethod
    def class_scores(self, X: Any) -> np.ndarray:
        """Scores (N, K) of vectors (N, D) with every enrolled speaker."""

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of every vector with every enrolled speaker.

        Parameters
        ----------
        X : array_like (N, D)

        Returns
        -------
        ndarray (N, K), or (N,)
            In the order of `classes_`; of two speakers, as scikit-learn has it, the score of the
            second less that of the first.

        Raises
        ------
        NotFittedError
            No speakers are enrolled.
        """
        scores = self.class_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Speaker of the highest score, one of `classes_`, for each vector of `X` (N, D): (N,)."""
        scores = self.class_scores(X)
        return self.classes_[scores.argmax(axis=1)]

    def forget_speakers(self) -> None:
        """Drop the enrolled speakers, as what is kept of them holds no longer."""
        for name in SPEAKERS:
            if hasattr(self, name):
                delattr(self, name)

    def check_enrolled(self) -> None:
        """Refuse a model that knows no speakers with scikit-learn's ``NotFittedError``."""
        check_is_fitted(self)
        if not hasattr(self, "classes_"):
            raise NotFittedError(
                f"this {type(self).__name__} has no speakers to choose from, as it was read from a"
                " file, made from another model or fitted without labels; call enrol(X, speakers)"
            )
