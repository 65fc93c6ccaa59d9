"""The classical GMM-UBM verification system (Reynolds, Quatieri & Dunn 2000).

Each speaker is the UBM with means adapted to the enrolment; the score of a test recording is the
mean log-likelihood ratio per frame between speaker model and UBM, taken over the N components that
the UBM finds best for the frame (their section 3.3). Dimension legend: C components, D feature
dimensions, M models, n frames, N selected components.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator

from ivector.base.errors import DataError, UsageError
from ivector.gmm.diagonal import DiagonalGMM
from ivector.gmm.kernels_verifier import llr_per_model
from ivector.gmm.map_adaptation import map_adapt
from ivector.gmm.statistics import check_frames


class GMMVerifier(BaseEstimator):
    """GMM-UBM speaker verification with fast top-N scoring.

    Parameters
    ----------
    ubm : DiagonalGMM
        A trained universal background model.
    relevance : float
        Relevance factor of the MAP adaptation of the means.
    top_n : int
        Components per frame that are evaluated. More cost more time; beyond about 10 the score
        does not change.

    Examples
    --------
    >>> verifier = GMMVerifier(ubm)                               # doctest: +SKIP
    >>> models = np.stack([verifier.enrol(X) for X in enrolment]) # doctest: +SKIP
    >>> verifier.score_models(models, test_frames)                # doctest: +SKIP
    array([ 0.41, -0.03, ...])
    """

    def __init__(self, ubm: DiagonalGMM, *, relevance: float = 16.0, top_n: int = 10):
        self.ubm = ubm
        self.relevance = relevance
        self.top_n = top_n

    def __sklearn_clone__(self) -> GMMVerifier:
        """Copy with the same UBM, which scikit-learn would make an untrained one."""
        return type(self)(**self.get_params(deep=False))

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
        statistics = self.ubm.accumulate(recordings[0])
        for frames in recordings[1:]:
            statistics = statistics + self.ubm.accumulate(frames)
        return map_adapt(self.ubm, statistics, self.relevance).means_.astype(np.float32)

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
        models, X = np.asarray(models), check_frames(X, self.ubm.n_features)
        if models.ndim != 3 or models.shape[1:] != self.ubm.means_.shape:
            raise DataError(
                f"models have shape {models.shape}, the UBM's means {self.ubm.means_.shape}; "
                "enrol with the same UBM"
            )
        if not np.isfinite(models).all():
            raise DataError("models hold NaN or infinity; enrol again")
        if not len(X):
            return np.zeros(len(models))
        joint = self.ubm.log_prob(X)
        selected = self.ubm.gselect(X, min(self.top_n, joint.shape[1]))
        base = np.take_along_axis(joint, selected.astype(np.intp), axis=1)
        base -= base[:, :1]
        # Products are taken about a common centre, as float32 loses digits far from it.
        centre = self.ubm.means_.mean(axis=0)
        difference = models - self.ubm.means_  # (M, C, D)
        shifts = difference / self.ubm.covariances_
        middle = self.ubm.means_ - centre + 0.5 * difference
        return llr_per_model(
            (X - centre).astype(np.float32),
            selected,
            base.astype(np.float32),
            shifts.astype(np.float32),
            np.einsum("mcd,mcd->mc", shifts, middle).astype(np.float32),
        )
