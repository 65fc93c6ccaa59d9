"""The classical GMM-UBM verification system (Reynolds, Quatieri & Dunn 2000).

Each speaker is the UBM with means adapted to the enrolment; the score of a test recording is the
mean log-likelihood ratio per frame between speaker model and UBM, taken over the N components that
the UBM finds best for the frame (their section 3.3). Dimension legend: C components, D feature
dimensions, M models, n frames, N selected components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ivector.base.errors import DataError, UsageError
from ivector.base.estimators import UnfittedError, column_names
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.kernels_verifier import llr_per_model
from ivector.gmm.map_adaptation import map_adapt
from ivector.gmm.mixture import clone_option
from ivector.gmm.statistics import check_frames


class GMMVerifier(ClassifierMixin, BaseEstimator):
    """GMM-UBM speaker verification with fast top-N scoring.

    It is used in either of two ways: `enrol` and `score_models` make and score models one by one,
    as verification needs it; `fit` enrols all speakers of a list of recordings, among whom
    `predict` finds the best (closed-set identification).

    Parameters
    ----------
    ubm : DiagonalGMM
        The universal background model. One without parameters is trained by `fit` on the
        enrolment itself; a trained one is kept by `clone`, too. (In a search over several trained
        ones each needs scikit-learn's ``FrozenEstimator`` around it, or it is trained anew.)
    relevance : float
        Relevance factor of the MAP adaptation of the means.
    top_n : int
        Components per frame that are evaluated. More cost more time; beyond about 10 the score
        does not change.

    Attributes
    ----------
    classes_ : ndarray (n_speakers,)
        The speakers that `fit` enrolled.
    models_ : ndarray (n_speakers, n_components, n_features) of float32
        Their models, for `score_models`.
    ubm_ : DiagonalGMM
        The model that they were adapted from.
    n_features_in_ : int
        Dimension of the features.

    Notes
    -----
    Where recordings are a matrix (n_recordings, n_features), each is a single frame: then frames
    are labelled and identified one by one.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> ubm = DiagonalGMM(4, random_state=0).fit(rng.normal(size=(2000, 2)))
    >>> ann, bob = rng.normal(size=(2, 200, 2)) + [[[1, 0]], [[0, 1]]]
    >>> verifier = GMMVerifier(ubm)
    >>> models = np.stack([verifier.enrol(ann[:100]), verifier.enrol(bob[:100])])
    >>> verifier.score_models(models, ann[100:]).round(1).tolist()
    [0.5, -0.2]
    >>> verifier.fit([ann[:100], bob[:100]], ["ann", "bob"]).predict([bob[100:]]).tolist()
    ['bob']
    """

    classes_: np.ndarray
    models_: np.ndarray

    def __init__(self, ubm: DiagonalGMM, *, relevance: float = 16.0, top_n: int = 10):
        self.ubm = ubm
        self.relevance = relevance
        self.top_n = top_n

    def __sklearn_clone__(self) -> GMMVerifier:
        """Copy with the same UBM, which scikit-learn would make an untrained one."""
        options = self.get_params(deep=False)
        return type(self)(**{name: clone_option(value) for name, value in options.items()})

    def fit(self, X: Sequence[np.ndarray] | np.ndarray, y: Any) -> GMMVerifier:
        """Enrol every speaker of labelled recordings.

        Parameters
        ----------
        X : sequence of ndarray (n_frames, n_features), or ndarray (n_recordings, n_features)
        y : array_like (n_recordings,)
            Speaker of each recording.

        Returns
        -------
        self

        Raises
        ------
        DataError
            NaN or infinity, no labels, a speaker without a single frame.
        ValueError
            Not one label a recording, or measurements for labels.
        """
        recordings, y = _recordings(X), _labels(y)
        check_consistent_length(recordings, y)
        trained = hasattr(self.ubm, "means_")
        self.ubm_ = self.ubm if trained else clone(self.ubm).fit(np.concatenate(recordings))
        self.n_features_in_ = self.ubm_.n_features
        column_names(self, X, reset=True)
        self.classes_, index = np.unique(y, return_inverse=True)
        of_speakers = [np.flatnonzero(index == k) for k in range(len(self.classes_))]
        self.models_ = np.stack([self.enrol([recordings[i] for i in of]) for of in of_speakers])
        return self

    def predict(self, X: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Speaker of the highest score for each recording, (n_recordings,).

        Parameters
        ----------
        X : as in `fit`
        """
        best = self._scores(X).argmax(axis=1)
        return self.classes_[best]

    def decision_function(self, X: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Score every recording against every enrolled speaker.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        ndarray (n_recordings, n_speakers)
            Mean log-likelihood ratios per frame, as of `score_models`. Of two speakers, as
            scikit-learn has it, (n_recordings,): the second's less the first's.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def _scores(self, X: Any) -> np.ndarray:
        if not hasattr(self, "models_"):
            raise UnfittedError("this GMMVerifier has no speakers yet; call fit, or use enrol")
        recordings = _recordings(X, self.n_features_in_, type(self).__name__)
        column_names(self, X, reset=False)
        return np.stack([self.score_models(self.models_, frames) for frames in recordings])

    def _background(self) -> DiagonalGMM:
        """UBM of the options, or the one that `fit` trained."""
        ubm: Any = self.ubm
        return ubm if hasattr(ubm, "means_") else getattr(self, "ubm_", ubm)

    def enrol(self, X: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Adapt the UBM's means to one speaker.

        Parameters
        ----------
        X : ndarray (n_frames, n_features) or list of such
            One or several enrolment recordings; their statistics add.

        Returns
        -------
        ndarray (n_components, n_features)
            Adapted means, float32.

        Raises
        ------
        DataError
            No recording holds a frame.
        """
        recordings = [X] if isinstance(X, np.ndarray) else list(X)
        recordings = [frames for frames in recordings if len(frames)]
        if not recordings:
            raise DataError("enrolment without a single frame; check the VAD or the recordings")
        ubm = self._background()
        statistics = ubm.accumulate(recordings[0])
        for frames in recordings[1:]:
            statistics = statistics + ubm.accumulate(frames)
        return map_adapt(ubm, statistics, self.relevance).means_.astype(np.float32)

    def score_models(self, models: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Score one test recording against several speaker models.

        Parameters
        ----------
        models : ndarray (n_models, n_components, n_features)
            Adapted means from `enrol`.
        X : ndarray (n_frames, n_features)

        Returns
        -------
        ndarray (n_models,)
            Mean log-likelihood ratio per frame (natural log); zero for no frames.

        Raises
        ------
        DataError
            Models of another UBM, NaN or infinity.
        UsageError
            A `top_n` below one.
        """
        if self.top_n < 1:
            raise UsageError(f"top_n must be at least 1, got {self.top_n}")
        ubm = self._background()
        models, X = np.asarray(models), check_frames(X, ubm.n_features)
        if models.ndim != 3 or models.shape[1:] != ubm.means_.shape:
            raise DataError(
                f"models have shape {models.shape}, the UBM's means {ubm.means_.shape}; "
                "enrol with the same UBM"
            )
        if not np.isfinite(models).all():
            raise DataError("models hold NaN or infinity; enrol again")
        if not len(X):
            return np.zeros(len(models))
        joint = ubm.log_prob(X)
        selected = ubm.gselect(X, min(self.top_n, joint.shape[1]))
        base = np.take_along_axis(joint, selected.astype(np.intp), axis=1)
        base -= base[:, :1]
        # Products are taken about a common centre, as float32 loses digits far from it.
        centre = ubm.means_.mean(axis=0)
        difference = models - ubm.means_  # (M, C, D)
        shifts = difference / ubm.covariances_
        middle = ubm.means_ - centre + 0.5 * difference
        return llr_per_model(
            (X - centre).astype(np.float32),
            selected,
            base.astype(np.float32),
            shifts.astype(np.float32),
            np.einsum("mcd,mcd->mc", shifts, middle).astype(np.float32),
        )


def _recordings(X: Any, n_features: int | None = None, model: str = "") -> list[np.ndarray]:
    """Recordings (n_frames, n_features) of a list of them, or of a matrix with one frame each."""
    stacked = isinstance(X, np.ndarray) and X.ndim == 3
    if stacked or (isinstance(X, list | tuple) and X and np.ndim(X[0]) == 2):
        return [check_frames(frames, n_features, model) for frames in X]
    frames = check_frames(X, n_features, model)
    if not len(frames):
        raise DataError("no recordings: 0 sample(s), while a minimum of 1 is required")
    return list(frames[:, None])


def _labels(y: Any) -> np.ndarray:
    if y is None:
        raise DataError(
            "GMMVerifier requires y to be passed, but the target y is None; give each recording's "
            "speaker"
        )
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    return y
