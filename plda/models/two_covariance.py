"""Two-covariance model: its parameters in the diagonal basis, and what can be done with them.

N vectors, D dimensions.

A class has a latent mean y ~ N(mean, B) and its vectors x ~ N(y, W). After simultaneous
diagonalisation, u = T (x − mean) has within-class covariance I and between-class covariance
diag(ψ). The model is that of N. Brümmer and E. de Villiers, "The speaker partitioning problem",
Odyssey 2010; transform and scores follow ``ivector/plda.cc`` of Kaldi (commit f4007661). How the
parameters are trained is a subclass's: see `plda.models.plda`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from scipy import linalg, special
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted

from ivector.base.errors import DataError, UsageError
from plda.checks import (
    check_counts,
    check_diagonal_model,
    check_input,
    check_labels,
    check_priors,
    check_range,
    check_vectors,
)
from plda.linalg import class_means, diagonalise
from plda.models.averaging import mean_per_class
from plda.scoring.identification import Identifier
from plda.scoring.likelihood_ratio import llr_scorer, log_likelihood_ratio
from plda.scoring.pairs import PairScorer
from plda.transforms.base import VectorTransformer
from plda.transforms.length import length_norm

Model = TypeVar("Model", bound="TwoCovariance")


class TwoCovariance(Identifier, ClassNamePrefixFeaturesOutMixin, VectorTransformer):
    """Model of mean, transform T and ψ; a subclass trains them.

    Attributes
    ----------
    mean_ : ndarray (D,)
    transform_ : ndarray (D, D)
        T; rows in order of ψ, defined up to sign.
    psi_ : ndarray (D,)
        Between-class variances ψ in the transformed space, greatest first.
    within_covariance_, between_covariance_ : ndarray (D, D)
        W and B.
    objective_ : list of float
        What training found; empty for a model that was made otherwise.
    """

    mean_: np.ndarray
    transform_: np.ndarray
    psi_: np.ndarray
    objective_: list[float]
    n_features_in_: int
    class_means_: np.ndarray
    class_counts_: np.ndarray
    normalize_length_: bool
    simple_length_norm_: bool
    # Equal ones, where a subclass does not have them as a parameter.
    priors: Any = None

    @classmethod
    def from_diagonal(cls: type[Model], mean: Any, transform: Any, psi: Any) -> Model:
        """Make a model of its mean (D,), transform (D, D) and ψ (D,), as in Kaldi's files.

        Raises
        ------
        DataError
            Shapes that do not fit, negative or NaN ψ, or a singular transform.
        """
        mean, transform, psi = check_diagonal_model(mean, transform, psi)
        model = cls()
        model.set_diagonal(mean, transform, psi)
        model.objective_ = []
        return model

    @classmethod
    def from_covariances(cls: type[Model], mean: Any, within: Any, between: Any) -> Model:
        """Make a model of its mean (D,), within- and between-class covariance (D, D).

        Raises
        ------
        DataError
            Shapes that do not fit, or a within-class covariance that is not positive definite.
        """
        mean, within, between = (np.asarray(a, dtype=np.float64) for a in (mean, within, between))
        if within.shape != between.shape or within.shape != (mean.size, mean.size):
            raise DataError(
                f"covariances must be ({mean.size}, {mean.size}) like the mean, got"
                f" {within.shape} and {between.shape}"
            )
        if not (np.isfinite(within).all() and np.isfinite(between).all()):
            raise DataError("covariances must be finite")
        values = linalg.eigvalsh(within)
        if values[0] <= len(values) * np.finfo(np.float64).eps * values[-1]:
            rank = np.count_nonzero(values > len(values) * np.finfo(np.float64).eps * values[-1])
            raise DataError(
                f"the within-class covariance has rank {rank} of {len(values)}; floor its"
                " eigenvalues or reduce the dimension"
            )
        return cls.from_diagonal(mean, *diagonalise(within, between))

    def set_diagonal(self, mean: np.ndarray, transform: np.ndarray, psi: np.ndarray) -> None:
        """Replace the parameters, mean (D,), transform (D, D) and ψ (D,), unchecked.

        Enrolled speakers are forgotten, as what is kept of them depends on the parameters.
        """
        self.forget_speakers()
        self.mean_, self.transform_, self.psi_ = mean, transform, psi
        self.n_features_in_ = len(mean)

    @property
    def within_covariance_(self) -> np.ndarray:
        """W (D, D)."""
        inverse = linalg.inv(self.transform_)
        return inverse @ inverse.T

    @property
    def between_covariance_(self) -> np.ndarray:
        """B (D, D)."""
        inverse = linalg.inv(self.transform_)
        return (inverse * self.psi_) @ inverse.T

    def transform(
        self,
        X: Any,
        n_utts: Any = 1,
        normalize_length: bool = True,
        simple_length_norm: bool = False,
    ) -> np.ndarray:
        """Take vectors into the diagonal space (Kaldi's ``Plda::TransformIvector``).

        Parameters
        ----------
        X : array_like (n_vectors, D)
            Vectors, or means of `n_utts` vectors each.
        n_utts : number or array_like (n_vectors,)
            Counts in the expected variance ψ + 1/n of a mean.
        normalize_length : bool
            Scale each vector so that Σ u²/(ψ + 1/n) = D.
        simple_length_norm : bool
            Scale to length √D instead.

        Returns
        -------
        ndarray (n_vectors, D)
            float32 if X is, else float64. A vector equal to the mean stays zero.
        """
        return self._checked_latent(X, n_utts, normalize_length, simple_length_norm)

    def _checked_latent(
        self, X: Any, n_utts: Any, normalize_length: bool, simple_length_norm: bool
    ) -> np.ndarray:
        """`transform`, but always an ndarray, whatever ``set_output`` was asked for."""
        check_is_fitted(self)
        X = check_input(self, X)
        counts = check_counts(n_utts, len(X), "n_utts")
        latent = self._latent(X, counts, normalize_length, simple_length_norm)
        return latent.astype(X.dtype, copy=False)

    def _latent(
        self, X: np.ndarray, counts: np.ndarray, normalize_length: bool, simple_length_norm: bool
    ) -> np.ndarray:
        latent = (X - self.mean_) @ self.transform_.T
        if normalize_length and simple_length_norm:
            latent = length_norm(latent)
        elif normalize_length:
            squares = _expected_squares(latent, self.psi_, counts)
            squares[squares == 0] = 1.0
            latent *= np.sqrt(latent.shape[1] / squares)[:, None]
        return latent

    @property
    def _n_features_out(self) -> int:
        return len(self.psi_)

    def enrol(
        self: Model,
        X: Any,
        y: Any,
        normalize_length: bool = True,
        simple_length_norm: bool = False,
    ) -> Model:
        """Set the speakers that `predict` chooses from; the model's parameters stay.

        By the book, as `scorer` with ``enrol_labels``: each utterance is length-normalised, and
        a speaker's mean with its count is all that is kept.

        Parameters
        ----------
        X : array_like (N, D)
        y : array_like (N,)
            Speaker of each vector; need not be among those trained on.
        normalize_length, simple_length_norm : bool
            As for `transform`; what is predicted is treated the same.

        Returns
        -------
        self
            With the attributes ``classes_`` (K,), ``class_means_`` (K, D) in the diagonal space,
            and ``class_counts_`` (K,).
        """
        check_is_fitted(self)
        X = check_input(self, X)
        classes, index = check_labels(y, len(X), self, min_classes=1)
        return self._set_speakers(X, classes, index, normalize_length, simple_length_norm)

    def _set_speakers(
        self: Model,
        X: np.ndarray,
        classes: np.ndarray,
        index: np.ndarray,
        normalize_length: bool = True,
        simple_length_norm: bool = False,
    ) -> Model:
        def latent(block: np.ndarray) -> np.ndarray:
            return self._latent(block, np.ones(len(block)), normalize_length, simple_length_norm)

        counts, self.class_means_ = class_means(X, index, len(classes), latent)
        self.classes_, self.class_counts_ = classes, counts.astype(np.int64)
        self.normalize_length_ = bool(normalize_length)
        self.simple_length_norm_ = bool(simple_length_norm)
        return self

    def class_scores(self, X: Any) -> np.ndarray:
        """Log-likelihood ratios (N, K) of vectors (N, D) with every enrolled speaker.

        A speaker's is that of `score_matrix` by the book; where `priors` are given, log(K·prior)
        is added, which is 0 for equal ones.
        """
        self.check_enrolled()
        latent = self._checked_latent(X, 1, self.normalize_length_, self.simple_length_norm_)
        scorer = llr_scorer(self.psi_, self.class_means_, latent, self.class_counts_)
        log_priors = np.log(check_priors(self.priors, len(self.classes_)) * len(self.classes_))
        return scorer.matrix().T + log_priors

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Natural logarithms of `predict_proba`, (N, K)."""
        return special.log_softmax(self.class_scores(X), axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probabilities (N, K) of the enrolled speakers, in the order of ``classes_``.

        Each vector of `X` (N, D) is taken to be of one of them: they sum to 1. What the model
        does not know of a speaker enrolled with few utterances is integrated out.
        """
        return special.softmax(self.class_scores(X), axis=1)

    def smooth(self: Model, factor: float) -> Model:
        """Make a model with W + `factor`·B for W (``ivector-copy-plda --smoothing``).

        Parameters
        ----------
        factor : float
            0 to 1; Kaldi's recipes leave it at 0. Lowers the weight of the directions the
            model trusts most, where it was trained on little data.

        Returns
        -------
        A model of the same class, without enrolled speakers. The parameter ``smoothing`` of `PLDA`
        does the same in training.
        """
        check_is_fitted(self)
        factor = check_range("factor", factor, 0.0, 1.0)
        return self.with_parameters(self.mean_, *smoothed(self.transform_, self.psi_, factor))

    def project(self: Model, projection: Any) -> Model:
        """Make the model of projected vectors, x → P x (Kaldi's ``Plda::ApplyTransform``).

        Parameters
        ----------
        projection : array_like (n_components, D)
            Of full row rank.
        """
        check_is_fitted(self)
        projection = check_vectors(projection, "projection", len(self.mean_)).astype(np.float64)
        projected = self.from_covariances(
            projection @ self.mean_,
            projection @ self.within_covariance_ @ projection.T,
            projection @ self.between_covariance_ @ projection.T,
        )
        return projected.set_params(**self.get_params())

    def with_parameters(
        self: Model, mean: np.ndarray, transform: np.ndarray, psi: np.ndarray
    ) -> Model:
        """Make a model of the same options and history with these parameters, unchecked."""
        model = type(self)(**self.get_params())
        model.set_diagonal(mean.copy(), transform, psi)
        model.objective_ = list(self.objective_)
        return model

    def log_likelihood_ratio(self, enrol: Any, test: Any, n_enrol: Any = 1) -> np.ndarray:
        """Log-likelihood ratios of pairs of transformed vectors (``Plda::LogLikelihoodRatio``).

        Parameters
        ----------
        enrol, test : array_like (n_trials, D)
            From `transform`.
        n_enrol : number or array_like (n_trials,)

        Returns
        -------
        ndarray (n_trials,)
        """
        check_is_fitted(self)
        enrol = check_vectors(enrol, "enrol", len(self.psi_))
        test = check_vectors(test, "test", len(self.psi_))
        if len(enrol) != len(test):
            raise DataError(f"{len(enrol)} enrolment but {len(test)} test vectors; give pairs")
        counts = check_counts(n_enrol, len(enrol))
        return log_likelihood_ratio(self.psi_, enrol, test, counts)

    def scorer(
        self,
        enrol: Any,
        test: Any,
        n_enrol: Any = 1,
        *,
        enrol_labels: Any = None,
        normalize_length: bool = True,
        simple_length_norm: bool = False,
    ) -> PairScorer:
        """Prepare the scoring of enrolment against test vectors.

        Two ways to enrol with several utterances:

        - Kaldi's: `enrol` holds each speaker's mean vector (`mean_per_class`, as Kaldi's
          ``ivector-mean``) and `n_enrol` the counts (``--num-utts``). The mean is
          length-normalised.
        - By the book: `enrol` holds single utterances and `enrol_labels` their speakers. Each
          utterance is length-normalised; their mean with its count is then the exact sufficient
          statistic of the speaker. Rows of the result follow ``np.unique(enrol_labels)``.

        Without length normalisation the two give the same scores.

        Parameters
        ----------
        enrol : array_like (n_enrol, D)
        test : array_like (n_test, D)
        n_enrol : number or array_like (n_enrol,)
            Utterances behind each row of `enrol`.
        enrol_labels : array_like (n_enrol,), optional
            Score by the book; `n_enrol` stays 1.
        normalize_length, simple_length_norm : bool
            As for `transform`.

        Returns
        -------
        PairScorer
            With ``matrix()``, ``blocks()`` and ``trials(i, j)``. Scores are float32 if both
            sides are, else float64.
        """
        norm = (normalize_length, simple_length_norm)
        latent_test = self._checked_latent(test, 1, *norm)
        latent = self._checked_latent(enrol, n_enrol, *norm)
        if enrol_labels is not None:
            if np.any(np.asarray(n_enrol) != 1):
                raise UsageError("enrol_labels counts the utterances itself; leave `n_enrol` at 1")
            dtype = latent.dtype
            _, means, n_enrol = mean_per_class(latent, enrol_labels)
            latent = means.astype(dtype)
        return llr_scorer(self.psi_, latent, latent_test, n_enrol)

    def score_matrix(
        self,
        enrol: Any,
        test: Any,
        n_enrol: Any = 1,
        *,
        out: np.ndarray | None = None,
        **options: Any,
    ) -> np.ndarray:
        """Score every enrolment against every test vector.

        Parameters
        ----------
        enrol, test, n_enrol, **options
            As for `scorer`.
        out : ndarray (n_enrol, n_test), optional
            Filled and returned; may be a memory-mapped file.

        Returns
        -------
        ndarray (n_enrol, n_test)
            Natural-log likelihood ratios.
        """
        return self.scorer(enrol, test, n_enrol, **options).matrix(out)

    def score_trials(
        self,
        enrol: Any,
        test: Any,
        i: Any,
        j: Any,
        n_enrol: Any = 1,
        *,
        out: np.ndarray | None = None,
        **options: Any,
    ) -> np.ndarray:
        """Score listed trials, row i[t] of `enrol` against row j[t] of `test`.

        Parameters
        ----------
        enrol, test, n_enrol, **options
            As for `scorer`; with `enrol_labels`, i counts the sorted distinct labels.
        i, j : array_like of int (n_trials,)
        out : ndarray (n_trials,), optional
            Filled and returned; may be a memory-mapped file.

        Returns
        -------
        ndarray (n_trials,)
            Natural-log likelihood ratios.
        """
        return self.scorer(enrol, test, n_enrol, **options).trials(i, j, out)


def smoothed(
    transform: np.ndarray, psi: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """T (D, D) and ψ (D,) of the model with W + `factor`·B for W."""
    within = 1 + factor * psi
    return transform / np.sqrt(within)[:, None], psi / within


def _expected_squares(latent: np.ndarray, psi: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Σ_d u²/(ψ + 1/n) of each vector (n_vectors,); its expectation is D."""
    distinct, group = np.unique(counts, return_inverse=True)
    if len(distinct) == 1:
        return np.square(latent) @ (1 / (psi + 1 / distinct[0]))
    return np.einsum("nd,nd->n", np.square(latent), (1 / (psi + 1 / distinct[:, None]))[group])
