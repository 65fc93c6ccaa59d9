"""Full-covariance Gaussian mixture: Kaldi's UBM for i-vectors.

The E-step evaluates, for each frame, the components that a diagonal mixture selects
(``fgmm-global-acc-stats --gselect``); the M-step limits the eigenvalues of each covariance
(``MleFullGmmUpdate``).

Dimension legend: C components, D feature dimensions, n frames, N selected components a frame.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from sklearn.base import clone

from ivector.base.errors import DegenerateDataWarning, UsageError
from ivector.gmm import kernels
from ivector.gmm.diagonal import DiagonalGMM, global_variances
from ivector.gmm.em import BaseGMM
from ivector.gmm.engine import FullEngine, cholesky
from ivector.gmm.mixture import check_posterior_options
from ivector.gmm.statistics import CONSTANT, GMMStatistics

logger = logging.getLogger(__name__)

FRAMES_PER_DIMENSION = 10  # A covariance wants ten frames a dimension.


class FullGMM(BaseGMM):
    """Gaussian mixture with full covariances, trained by EM from a diagonal one.

    Parameters
    ----------
    n_components : int
        C, if a diagonal mixture has to be trained first.
    num_gselect : int
        N: components evaluated for a frame. The rest is taken to have no posterior. More costs
        time in proportion and changes little beyond 20.
    n_iter : int
        EM iterations at most.
    tol : float
        EM stops when the log-likelihood per frame changes by less, in nats.
    init : {"split", "kmeans", "random"}, DiagonalGMM or FullGMM
        Start: train a `DiagonalGMM` this way first; or a model (a `DiagonalGMM` without
        parameters is trained first).
    variance_floor : float
        Smallest eigenvalue of a covariance, as a fraction of the smallest variance of all frames.
    max_condition : float
        Largest ratio of a covariance's eigenvalues; smaller ones are raised.
    min_weight, min_occupancy : float
        A component with a smaller weight or fewer frames is starved: not re-estimated.
    remove_starved : bool
        Remove starved components instead of keeping them as they were.
    n_jobs : int
        Processes for the E-step; results do not depend on it.
    random_state : int, RandomState or None
        For the initialisation and for `sample`.
    verbose : bool
        Show progress within iterations.
    device : str, optional
        "cuda" or "cuda:1": the E-step and `posteriors` run on that GPU, by torch, and `n_jobs`
        are threads that read ahead for it; the same numbers but for rounding. "cpu" runs the same
        code on the processor, for tests; by default Numba and BLAS do.

    Attributes
    ----------
    weights_ : ndarray (n_components,)
    means_ : ndarray (n_components, n_features)
    covariances_ : ndarray (n_components, n_features, n_features)
    n_features_in_ : int
    log_likelihood_ : list of float
        Log-likelihood per frame (nats) over the selected components, at the start of every
        iteration.
    n_iter_ : int
    converged_ : bool

    Notes
    -----
    During `fit` components are selected with the diagonal mixture it started from, as Kaldi's
    ``train_full_ubm.sh`` does: the set of a frame stays the same, so that the log-likelihood
    cannot fall. Afterwards they are selected with the diagonal of the model itself.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(5000, 2)) @ [[1, 0.8], [0, 0.6]]
    >>> diagonal = DiagonalGMM(1, random_state=0).fit(X)
    >>> ubm = FullGMM(init=diagonal).fit(X)
    >>> ubm.covariances_.round(1).tolist()
    [[[1.0, 0.8], [0.8, 1.0]]]
    >>> ubm.bic(X) < diagonal.bic(X)
    True
    """

    _full = True

    def __init__(
        self,
        n_components: int = 512,
        *,
        num_gselect: int = 20,
        n_iter: int = 4,
        tol: float = 1e-3,
        init: Any = "split",
        variance_floor: float = 1e-3,
        max_condition: float = 1e4,
        min_weight: float = 1e-5,
        min_occupancy: float = 100.0,
        remove_starved: bool = True,
        n_jobs: int = 1,
        random_state: Any = None,
        verbose: bool = False,
        device: str | None = None,
    ):
        self.n_components = n_components
        self.num_gselect = num_gselect
        self.n_iter = n_iter
        self.tol = tol
        self.init = init
        self.variance_floor = variance_floor
        self.max_condition = max_condition
        self.min_weight = min_weight
        self.min_occupancy = min_occupancy
        self.remove_starved = remove_starved
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    @classmethod
    def from_diagonal(cls, diagonal: DiagonalGMM, **options: Any) -> FullGMM:
        """Full mixture with the parameters of a diagonal one (``gmm-global-to-fgmm``)."""
        weights, means, variances = diagonal.parameters()
        covariances = variances[:, :, None] * np.eye(means.shape[1])
        options.setdefault("n_components", len(weights))
        return cls(**options).set_parameters(weights, means, covariances)

    def to_diagonal(self) -> DiagonalGMM:
        """Diagonal mixture with this one's variances (``fgmm-global-to-gmm``); kept, not copied."""
        return self.cached("diagonal", self._make_diagonal)

    def _make_diagonal(self) -> DiagonalGMM:
        weights, means, covariances = self.parameters()
        return DiagonalGMM(len(weights), random_state=self.random_state).set_parameters(
            weights, means, np.einsum("cdd->cd", covariances)
        )

    def _check_options(self) -> None:
        super()._check_options()
        if self.num_gselect < 1 or not self.max_condition > 1:
            raise UsageError("num_gselect must be at least 1 and max_condition above 1")
        if np.ndim(self.variance_floor):
            raise UsageError("variance_floor of a full mixture is one number, a fraction")

    def _begin(self, shards: list[Any]) -> tuple[np.ndarray, ...]:
        """Set the starting parameters, as option ``init`` says; return the selecting mixture."""
        init = self.init
        if isinstance(init, str):
            init = DiagonalGMM(
                self.n_components, init=init, variance_floor=self.variance_floor,
                min_weight=self.min_weight, min_occupancy=min(self.min_occupancy, 10.0),
                remove_starved=self.remove_starved,
                n_jobs=self.n_jobs, random_state=self.random_state, verbose=self.verbose,
                device=self.device,
            )  # fmt: skip
        if not isinstance(init, DiagonalGMM | FullGMM):
            raise UsageError(f"init must be a name, a DiagonalGMM or a FullGMM, got {init!r}")
        if not hasattr(init, "means_"):
            init = clone(init).fit(shards)  # An option of the user's is not changed.
        if isinstance(init, DiagonalGMM):
            init = FullGMM.from_diagonal(init)
        self.set_parameters(*init.parameters())
        return self.to_diagonal().parameters()

    def _engine(self) -> FullEngine:
        return self.cached("engine", lambda: FullEngine(*self.parameters()))

    def _selecting_engine(self, selector: tuple) -> FullEngine:
        return self.cached("selecting", lambda: FullEngine(*self.parameters(), selector))

    def _accumulate(self, frames: np.ndarray, context: Any = None) -> GMMStatistics:
        """E-step; `context`: parameters of a selecting mixture, selected components, or None."""
        selected = context if isinstance(context, np.ndarray) else None
        engine: Any
        if self.device is not None:
            engine = self.on_device(self.device, context if isinstance(context, tuple) else None)
        elif isinstance(context, tuple):
            engine = self._selecting_engine(context)
        else:
            engine = self._engine()
        count = min(self.num_gselect, len(self.weights_))
        if selected is not None:
            count = selected.shape[1]
        zeroth, first, second, total = engine.accumulate(frames, count, selected)
        return GMMStatistics(zeroth, first, second, total, len(frames))

    def update(self, statistics: GMMStatistics) -> FullGMM:
        """M-step: replace the parameters by the maximum-likelihood ones of `statistics`.

        Eigenvalues of a covariance are raised to the largest divided by `max_condition`, and to
        the floor (Kaldi, ``MleFullGmmUpdate``); starved components are removed or kept.

        Returns
        -------
        self

        Raises
        ------
        DataError
            No component saw enough frames.
        """
        self._update(statistics)
        return self

    def _update(self, statistics: GMMStatistics) -> np.ndarray:
        weights, fed = self._new_weights(statistics.zeroth)
        _, old_means, old_covariances = self.parameters()
        count = np.where(fed, statistics.zeroth, 1.0)
        means = np.where(fed[:, None], statistics.first / count[:, None], old_means)
        covariances = statistics.second / count[:, None, None]
        covariances -= means[:, :, None] * means[:, None, :]
        floor = self.variance_floor * float(global_variances(statistics).min())
        covariances[fed] = limit_eigenvalues(covariances[fed], floor, self.max_condition)
        covariances[~fed] = old_covariances[~fed]
        return self._replace(weights, means, covariances, fed)

    def _maximise(self, total: GMMStatistics, context: Any) -> Any:
        if len(self.log_likelihood_) == 1:
            warn_if_scarce(total)
        kept = self._update(total)
        return tuple(array[kept] for array in context)

    def _colour(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        factors = cholesky(self.covariances_)
        coloured = np.empty_like(noise)
        for c in np.unique(labels):
            coloured[labels == c] = noise[labels == c] @ factors[c].T
        return coloured

    def gselect(self, X: np.ndarray, n: int = 20) -> np.ndarray:
        """Select the best components of each frame with the diagonal of this mixture.

        See `DiagonalGMM.gselect`.
        """
        return self.to_diagonal().gselect(X, n)

    def posteriors(
        self,
        X: np.ndarray,
        num_gselect: int = 20,
        min_post: float = 0.025,
        selected: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Full-covariance posteriors over the components selected for each frame, pruned.

        As Kaldi's ``gmm-gselect | fgmm-global-gselect-to-post``. Fastest on thousands of frames
        at a time: give several short recordings stacked.

        Parameters
        ----------
        X : ndarray (n_frames, n_features)
        num_gselect : int
            Components selected with the diagonal of this mixture.
        min_post : float
            Posteriors below become zero and the rest is rescaled to sum to one; if all are below,
            the largest becomes one.
        selected : ndarray (n_frames, N) of int, optional
            The components of each frame, in place of those that `num_gselect` selects.

        Returns
        -------
        indices : ndarray (n_frames, num_gselect) of int32
            Selected components, by falling likelihood under the diagonal mixture.
        posts : ndarray (n_frames, num_gselect) of float32

        Raises
        ------
        DataError
            Wrong dimension, NaN or infinity.
        UsageError
            `num_gselect` or `min_post` out of range.
        """
        n = check_posterior_options(num_gselect, min_post, len(self.parameters()[0]))
        X = self.check_input(X)
        given = self._check_selected(X, selected)
        if self.device is not None and given is None:
            return self.device_posteriors(X, n, min_post)
        n = n if given is None else given.shape[1]
        engine = self._engine()
        indices = np.empty((len(X), n), np.int32)
        posts = np.empty((len(X), n), np.float32)
        for rows, extended in engine.blocks(X, engine.block_size(n)):
            indices[rows] = engine.selector.select(extended, n) if given is None else given[rows]
            posts[rows] = engine.posteriors(extended, indices[rows])
        if min_post > 0:
            kernels.prune(posts, np.float32(min_post))
        return indices, posts


def limit_eigenvalues(covariances: np.ndarray, floor: float, max_condition: float) -> np.ndarray:
    """Raise small eigenvalues of (C, D, D) to max(floor, largest / max_condition).

    Matrices that need nothing are returned as they are.
    """
    values, vectors = np.linalg.eigh(covariances)
    least = np.maximum(floor, values[:, -1] / max_condition)[:, None]
    low = (values < least).any(axis=1)
    if low.any():
        logger.info(
            "raised %d eigenvalues in %d of %d covariances",
            int((values < least).sum()), int(low.sum()), len(values),
        )  # fmt: skip
        raised = np.maximum(values, least)[low]
        basis = vectors[low]
        limited = (basis * raised[:, None, :]) @ basis.transpose(0, 2, 1)
        covariances[low] = 0.5 * (limited + limited.transpose(0, 2, 1))
    return covariances


def warn_if_scarce(statistics: GMMStatistics) -> None:
    """Warn where the data cannot determine the covariances."""
    n_components, dim = statistics.first.shape
    wanted = FRAMES_PER_DIMENSION * dim * n_components
    if statistics.n_frames < wanted:
        warnings.warn(
            f"{statistics.n_frames} frames are few for {n_components} full covariances of "
            f"{dim} dimensions (want {wanted}); use fewer components, more data or DiagonalGMM",
            DegenerateDataWarning,
            stacklevel=5,
        )
    mean, covariance = statistics.global_moments()
    variances = np.diagonal(covariance)
    alive = variances > CONSTANT * (mean**2 + variances)
    deviations = np.sqrt(variances[alive])
    correlation = covariance[np.ix_(alive, alive)] / np.outer(deviations, deviations)
    rank = int((np.linalg.eigvalsh(correlation) > 1e-5).sum()) if alive.any() else 0
    if rank < dim:
        warnings.warn(
            f"features have rank {rank} of {dim}: some are linear combinations of others; "
            "drop them or reduce by PCA",
            DegenerateDataWarning,
            stacklevel=5,
        )
