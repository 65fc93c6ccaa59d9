"""Diagonal-covariance Gaussian mixture, the universal background model (UBM).

EM as in Reynolds, Quatieri & Dunn (2000), "Speaker verification using adapted Gaussian mixture
models"; floors and the removal of starved components as in Kaldi's ``MleDiagGmmUpdate``.

Dimension legend: C components, D feature dimensions, n frames, N selected components a frame.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ivector.gmm import kernels
from ivector.gmm.em import BaseGMM
from ivector.gmm.engine import DiagonalEngine
from ivector.gmm.mixture import check_posterior_options
from ivector.gmm.statistics import CONSTANT, GMMStatistics

logger = logging.getLogger(__name__)


class DiagonalGMM(BaseGMM):
    """Gaussian mixture with diagonal covariances, trained by EM.

    Parameters
    ----------
    n_components : int
        C. A UBM has 512 to 2048; doubling doubles the time of everything that uses it.
    n_iter : int
        EM iterations at most.
    tol : float
        EM stops when the log-likelihood per frame changes by less, in nats.
    init : {"split", "kmeans", "random"} or DiagonalGMM
        Start: one Gaussian split until there are enough, with EM on a sample of the frames in
        between; k-means on the sample; random frames as means (needs more iterations); or a
        model (trained first if it has no parameters).
    variance_floor : float or ndarray (n_features,)
        Smallest variance: a fraction of the variance of all frames in the same dimension, or
        the variances themselves.
    min_weight, min_occupancy : float
        A component with a smaller weight or fewer frames is starved: not re-estimated.
    remove_starved : bool
        Remove starved components instead of keeping them as they were.
    n_jobs : int
        Processes for the E-step; results do not depend on it.
    random_state : int, RandomState or None
        For the initialisation and for `sample`.
    verbose : bool
        Show progress within iterations (iterations are logged at level INFO in any case).
    device : str, optional
        "cuda" or "cuda:1": the E-step and `posteriors` run on that GPU, by torch, and `n_jobs`
        are threads that read ahead for it; the same numbers but for rounding. "cpu" runs the same
        code on the processor, for tests; by default Numba and BLAS do.

    Attributes
    ----------
    weights_ : ndarray (n_components,)
    means_ : ndarray (n_components, n_features)
    covariances_ : ndarray (n_components, n_features)
        Variances.
    n_features_in_ : int
    log_likelihood_ : list of float
        Log-likelihood per frame (nats) at the start of every iteration.
    n_iter_ : int
    converged_ : bool
        Whether `tol` was reached.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(3000, 2)) + 5, rng.normal(size=(1000, 2)) - 5])
    >>> ubm = DiagonalGMM(2, random_state=0).fit(X)
    >>> heavy = int(ubm.weights_.argmax())
    >>> ubm.weights_[heavy].round(2).item(), ubm.means_[heavy].round().tolist()
    (0.75, [5.0, 5.0])
    >>> (ubm.predict(X[:3]) == heavy).tolist()
    [True, True, True]
    """

    def __init__(
        self,
        n_components: int = 512,
        *,
        n_iter: int = 20,
        tol: float = 1e-3,
        init: Any = "split",
        variance_floor: float = 1e-3,
        min_weight: float = 1e-5,
        min_occupancy: float = 10.0,
        remove_starved: bool = True,
        n_jobs: int = 1,
        random_state: Any = None,
        verbose: bool = False,
        device: str | None = None,
    ):
        self.n_components = n_components
        self.n_iter = n_iter
        self.tol = tol
        self.init = init
        self.variance_floor = variance_floor
        self.min_weight = min_weight
        self.min_occupancy = min_occupancy
        self.remove_starved = remove_starved
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def _begin(self, shards: list[Any]) -> None:
        from ivector.gmm.init import initialise

        initialise(self, shards)

    def _engine(self) -> DiagonalEngine:
        return self.cached("engine", lambda: DiagonalEngine(*self.parameters()))

    def _accumulate(self, frames: np.ndarray, context: Any = None) -> GMMStatistics:
        """E-step; `context`: selected components of each frame, or None for all."""
        engine = self._engine() if self.device is None else self.on_device(self.device)
        zeroth, first, second, total = engine.accumulate(frames, selected=context)
        return GMMStatistics(zeroth, first, second, total, len(frames))

    def update(self, statistics: GMMStatistics) -> DiagonalGMM:
        """M-step: replace the parameters by the maximum-likelihood ones of `statistics`.

        Variances are floored at `variance_floor` times the variance of all frames; starved
        components are removed or kept (Kaldi, ``MleDiagGmmUpdate``).

        Returns
        -------
        self

        Raises
        ------
        DataError
            No component saw enough frames.
        """
        weights, fed = self._new_weights(statistics.zeroth)
        _, old_means, old_variances = self.parameters()
        count = np.where(fed, statistics.zeroth, 1.0)[:, None]
        means = np.where(fed[:, None], statistics.first / count, old_means)
        variances = statistics.second / count - means**2
        floor = np.asarray(self.variance_floor, np.float64)  # Absolute, if one a dimension.
        if not floor.ndim:
            floor = floor * global_variances(statistics)
        low = (variances < floor) & fed[:, None]
        if low.any():
            logger.info(
                "floored %d variances in %d components", int(low.sum()), int(low.any(1).sum())
            )
        variances = np.where(fed[:, None], np.maximum(variances, floor), old_variances)
        self._replace(weights, means, variances, fed)
        return self

    def _colour(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return noise * np.sqrt(self.covariances_)[labels]

    def gselect(self, X: np.ndarray, n: int = 20) -> np.ndarray:
        """Select the best components of each frame (Gaussian selection).

        Parameters
        ----------
        X : ndarray (n_frames, n_features)
        n : int
            How many; all, if there are fewer.

        Returns
        -------
        ndarray (n_frames, n) of int32
            Component indices by falling log w_c N(x | c).
        """
        n = check_posterior_options(n, 0.0, len(self.parameters()[0]))
        engine = self._engine()
        X = self.check_input(X)
        out = np.empty((len(X), n), np.int32)
        for rows, extended in engine.blocks(X):
            out[rows] = engine.select(extended, n)
        return out

    def posteriors(
        self, X: np.ndarray, num_gselect: int = 20, min_post: float = 0.025
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pruned posteriors of the best components of each frame.

        Parameters
        ----------
        X : ndarray (n_frames, n_features)
        num_gselect : int
            Components kept for a frame, those of highest posterior.
        min_post : float
            Posteriors below become zero and the rest is rescaled to sum to one; if all are below,
            the largest becomes one.

        Returns
        -------
        indices : ndarray (n_frames, num_gselect) of int32
            Best first.
        posts : ndarray (n_frames, num_gselect) of float32
        """
        n = check_posterior_options(num_gselect, min_post, len(self.parameters()[0]))
        X = self.check_input(X)
        if self.device is not None:
            return self.device_posteriors(X, n, min_post)
        engine = self._engine()
        indices = np.empty((len(X), n), np.int32)
        posts = np.empty((len(X), n), np.float32)
        for rows, extended in engine.blocks(X):
            logs = engine.log_prob(extended)
            kernels.top_n(logs, indices[rows])
            best = np.take_along_axis(logs, indices[rows].astype(np.intp), axis=1)
            log_sums, inverse = np.empty((2, len(best)), np.float32)
            kernels.exp_rows(best, log_sums, inverse)
            np.multiply(best, inverse[:, None], out=posts[rows])
        if min_post > 0:
            kernels.prune(posts, np.float32(min_post))
        return indices, posts


def global_variances(statistics: GMMStatistics) -> np.ndarray:
    """Variances (D,) of all frames; a constant dimension is given the smallest of the others.

    Examples
    --------
    >>> import numpy as np
    >>> ubm = DiagonalGMM(1).set_parameters([1.0], [[0.0, 0.0]], [[1.0, 1.0]])
    >>> statistics = ubm.accumulate(np.array([[1.0, 7.0], [5.0, 7.0]]))
    >>> global_variances(statistics).round(3).tolist()
    [4.0, 4.0]
    """
    mean, variances = statistics.global_moments()
    if variances.ndim == 2:
        variances = np.diagonal(variances)
    alive = variances > CONSTANT * (mean**2 + variances)
    if alive.all():
        return variances
    return np.where(alive, variances, variances[alive].min() if alive.any() else 1.0)
