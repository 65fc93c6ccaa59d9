"""Total-variability model (i-vector extractor), in Kaldi's and in the classical form.

Papers: Kenny, Boulianne, Dumouchel, "Eigenvoice modeling with sparse training data", 2005;
Kenny et al., "A study of inter-speaker variability…", 2008 (minimum divergence); Dehak et al.,
"Front-end factor analysis for speaker verification", 2011; Kaldi's ``ivector-extractor.cc``.

Dimensions
----------
U utterances, C components, D feature dimension, R rank.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state

from ivector.base.errors import (
    DataError,
    DegenerateDataWarning,
    ObjectiveWarning,
    UsageError,
)
from ivector.base.estimators import column_names
from ivector.base.parallel.checkpoint import Checkpoint, identifying, sum_shards
from ivector.base.parallel.shards import map_shards
from ivector.base.parallel.workers import one_thread
from ivector.statistics.accumulation import ubm_means
from ivector.statistics.batch import BaumWelchStatistics
from ivector.total_variability.checks import (
    check_memory,
    check_options,
    check_warm_start,
    degeneracies,
)
from ivector.total_variability.e_step import Accumulators, objective
from ivector.total_variability.fitted import FittedExtractor
from ivector.total_variability.initial import initial_subspace
from ivector.total_variability.m_step import m_step, update_prior
from ivector.total_variability.shards import (
    NO_SECOND,
    Data,
    Shard,
    accumulate_shard,
    evidence_shard,
    extract_shard,
    shards_of,
)
from ivector.total_variability.subspace import Subspace
from ivector.total_variability.supervectors import (
    as_statistics,
    is_matrix,
    one_gaussian,
    with_scatter,
)

logger = logging.getLogger(__name__)

# Relative fall of the objective that rounding of single-precision products can make.
_ROUNDING = 1e-6


class TotalVariability(ClassNamePrefixFeaturesOutMixin, TransformerMixin, FittedExtractor):
    """I-vector extractor: a linear subspace of a GMM's means, trained by EM.

    Parameters
    ----------
    rank : int
        Dimension of the i-vectors. Training costs grow with rank² in the products and rank³ in
        the factorisations; memory with ``n_components · rank²``.
    n_iter : int
        EM iterations. Kaldi's recipes use 5 to 10; from principal axes 5 are enough.
    parametrisation : {"kaldi", "classical"}
        "kaldi": mean of component c = M_c v, v ~ N(p e_0, I); means are re-estimated together
        with the subspace, and the model can be written as Kaldi's ``final.ie``. "classical":
        m_c + T_c w, w ~ N(0, I), with the UBM's means m_c left as they are.
    update_covariance : bool
        Re-estimate the residual covariances; needs second-order statistics.
    min_divergence : bool
        Re-estimate the prior after each M-step by transforming the subspace. Speeds up
        convergence; no reason to switch it off but comparison.
    diagonalise : bool
        Rotate the i-vectors so that their average precision is diagonal, the best determined
        element first (Kaldi's ``--diagonalize``); does not change the likelihood.
    prior_offset : float
        Start of Kaldi's prior offset p; re-estimated in every iteration.
    init : {"pca", "random"}
        Start of the subspace. "pca": principal axes of (some of) the training utterances'
        normalised first-order statistics; better after the same number of iterations.
        "random": N(0, 1), as ``ivector-extractor-init``.
    gaussian_min_count : float
        Components with fewer frames keep their parameters.
    covariance_floor : float
        Covariances are floored at this share of their average.
    warm_start : bool
        Continue from the present state (for example one read from ``final.ie``) instead of
        initialising from the UBM.
    memory : int
        MiB that a process may take, 0 for no limit: an eighth is for a batch of utterances, 256
        MiB at most, and training refuses to begin if its sums alone are too large.
    n_jobs : int
        Processes for training and extraction; results do not depend on it.
    random_state : int, RandomState or None
        Only ``init`` draws random numbers.
    device : str, optional
        "cuda" or "cuda:1": E-steps and `transform` run on that GPU, by torch, and `n_jobs` are
        threads that read ahead for it; the same numbers but for rounding. It holds about 16 bytes
        of each of the ``n_components · rank² / 2`` sums, and 2 GiB. By default Numba and BLAS do.

    Attributes
    ----------
    weights_ : ndarray (n_components,)
    projections_ : ndarray (n_components, n_features, rank)
        M_c, or T_c in the classical form.
    precisions_ : ndarray (n_components, n_features, n_features)
        Σ_c⁻¹ of the residual.
    means_ : ndarray (n_components, n_features)
        Means of the average utterance: p M_c e_0, or the UBM's.
    prior_offset_ : float
        p; 0 in the classical form.
    objective_ : list of float
        Log-likelihood per frame (nats) at the start of each iteration; Kaldi's auxiliary
        function per frame.
    n_frames_, n_utterances_ : float, int
        Of the training data.
    n_features_in_ : int
        ``n_components · n_features``, the length of a supervector.

    Notes
    -----
    A matrix in place of statistics holds supervectors: each row is an utterance, seen once. That
    is plain factor analysis x = m + T w + ε, with the mean and the diagonal Σ of the rows to
    begin with (Kenny et al. 2005 call the columns of T eigenvoices); in the classical form it
    ends where scikit-learn's ``FactorAnalysis`` does, but for `covariance_floor`. With a `ubm` a
    row is cut into the means of its components, each with a full or diagonal Σ_c of its own as
    the UBM has it; that is also what keeps Σ small where supervectors are long. As a row is no
    frame, `gaussian_min_count` plays no part.

    In a search or cross-validation, statistics are split by utterances and lose the second-order
    sum, which is one for all: set ``update_covariance=False``.

    Examples
    --------
    >>> import numpy as np
    >>> from ivector import BaumWelchStatistics, DiagonalGMM
    >>> rng = np.random.default_rng(0)
    >>> ubm = DiagonalGMM(2, random_state=0).fit(rng.normal(size=(1000, 3)))
    >>> means = 0.5 * rng.normal(size=(50, 2, 3))  # 50 utterances of 100 frames a component
    >>> stats = BaumWelchStatistics(np.full((50, 2), 100.0), 100 * means)
    >>> tv = TotalVariability(4, update_covariance=False).fit(stats, ubm=ubm)
    >>> tv.transform(stats).shape
    (50, 4)
    >>> TotalVariability(2).fit_transform(means.reshape(50, 6)).shape  # supervectors
    (50, 2)
    """

    def __init__(
        self,
        rank: int = 400,
        *,
        n_iter: int = 5,
        parametrisation: str = "kaldi",
        update_covariance: bool = True,
        min_divergence: bool = True,
        diagonalise: bool = True,
        prior_offset: float = 100.0,
        init: str = "pca",
        gaussian_min_count: float = 100.0,
        covariance_floor: float = 0.1,
        warm_start: bool = False,
        memory: int = 0,
        n_jobs: int = 1,
        random_state: Any = None,
        device: str | None = None,
    ) -> None:
        self.rank = rank
        self.n_iter = n_iter
        self.parametrisation = parametrisation
        self.update_covariance = update_covariance
        self.min_divergence = min_divergence
        self.diagonalise = diagonalise
        self.prior_offset = prior_offset
        self.init = init
        self.gaussian_min_count = gaussian_min_count
        self.covariance_floor = covariance_floor
        self.warm_start = warm_start
        self.memory = memory
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @one_thread()
    def fit(
        self,
        X: Data,
        y: Any = None,
        *,
        ubm: Any = None,
        checkpoint: Checkpoint | None = None,
    ) -> TotalVariability:
        """Train by EM from Baum-Welch statistics.

        Parameters
        ----------
        X : BaumWelchStatistics, or sequence of them or of picklable functions without arguments
            that return one, or several as an iterable (`StatisticsFile` does); only one block is
            held in memory at a time (one a job). Or supervectors (n_utterances, n_components *
            n_features), see the class's notes.
        y : ignored
        ubm : FullGMM or DiagonalGMM
            The fitted model whose posteriors made the statistics; not needed with `warm_start`
            or supervectors.
        checkpoint : Checkpoint, optional
            Keeps the state after every iteration and the sums of the one under way; a training
            that was stopped goes on from there, to the same bytes.

        Returns
        -------
        self

        Raises
        ------
        UsageError
            Options that make no sense, no UBM, covariances asked for without second order.
        DataError
            Statistics that do not fit the UBM.

        Warns
        -----
        DegenerateDataWarning
            The data do not determine the model; says how many utterances would.
        ObjectiveWarning
            The objective fell.
        """
        check_options(self)
        min_count = self.gaussian_min_count
        whole = is_matrix(X)
        column_names(self, X if whole else None, reset=True)
        if whole:
            X, ubm = self._supervectors(X, ubm)
            min_count = 1.0  # A row is no frame, but an utterance.
        shards = shards_of(X)
        self.objective_: list[float] = []
        identity = {"shards": len(shards), **identifying(self.get_params())}
        state = None if checkpoint is None else checkpoint.begin(identity)
        if state is not None:
            self._restore(*state)
        elif self.warm_start and hasattr(self, "model_"):
            check_warm_start(self)
        else:
            self.set_subspace(self._start(shards, ubm))
        check_memory(self, self.subspace().projection.shape)
        if state is None:
            self._keep(checkpoint)
        for iteration in range(len(self.objective_), self.n_iter):
            total = self._expectation(
                shards, None if checkpoint is None else checkpoint.sums(iteration)
            )
            if iteration == 0:
                self._check_data(total, min_count)
            value = objective(self.model_, total.evidence, total.zeroth, total.second)
            # Without the scatter, what Kaldi's form gains by moving the means is not in it.
            self._record(value, total.second is not None or not self.model_.offset)
            self.set_subspace(self._maximisation(total, min_count))
            self._keep(checkpoint)
        return self

    def _keep(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        values = {"objective": self.objective_}
        if self.objective_:
            values |= {"n_utterances": self.n_utterances_, "n_frames": self.n_frames_}
        checkpoint.save(len(self.objective_), self.subspace().arrays(), values)

    def _restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.set_subspace(Subspace.from_arrays(arrays))
        self.objective_ = values["objective"]
        if self.objective_:
            self.n_utterances_, self.n_frames_ = values["n_utterances"], values["n_frames"]
        logger.info("total variability goes on after iteration %d", len(self.objective_))

    @overload
    def transform(self, X: Data, *, return_cov: Literal[False] = False) -> np.ndarray: ...

    @overload
    def transform(self, X: Data, *, return_cov: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    def transform(
        self, X: Data, *, return_cov: bool = False
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """I-vectors: posterior means of w, Kaldi's prior offset already subtracted.

        An utterance without frames gets the prior's mean, zero.

        Parameters
        ----------
        X : as in `fit`
        return_cov : bool
            Also return the posterior covariances.

        Returns
        -------
        ivectors : ndarray (n_utterances, rank) of float32
        covariances : ndarray (n_utterances, rank, rank) of float32
            Only with `return_cov`.
        """
        derived = self.derived()
        if is_matrix(X):
            X = self._known_supervectors(X)
        shards = shards_of(X)
        if self.device is None:
            parts = list(
                map_shards(
                    extract_shard, shards, nj=self.n_jobs, derived=derived, return_cov=return_cov
                )
            )
        else:
            extractor = self.on_device(self.device)
            parts = [extractor.extract(block, return_cov) for block in self._ahead(shards)]
        if return_cov:
            return tuple(np.concatenate(arrays) for arrays in zip(*parts))
        return np.concatenate([ivectors for ivectors, _ in parts])

    def score(self, X: Data, y: Any = None) -> float:
        """Log-likelihood per frame (nats), alignments fixed; see `objective_`."""
        if is_matrix(X):
            X = with_scatter(self._known_supervectors(X))
        parts = list(
            map_shards(evidence_shard, shards_of(X), nj=self.n_jobs, derived=self.derived())
        )
        scatters = [second for _, _, second in parts if second is not None]
        return objective(
            self.subspace(),
            sum(evidence for evidence, _, _ in parts),
            np.sum([zeroth for _, zeroth, _ in parts], axis=0),
            np.sum(scatters, axis=0) if len(scatters) == len(parts) else None,
        )

    def _supervectors(self, X: Any, ubm: Any) -> tuple[BaumWelchStatistics, Any]:
        """Training statistics of supervectors, and the UBM given or one Gaussian in its place."""
        shape: Any = None
        if ubm is not None:
            shape = ubm_means(ubm).shape
        elif self.warm_start and hasattr(self, "model_"):
            shape = self.model_.projection.shape[:2]
        raw = as_statistics(X, shape)
        check_memory(self, (*raw.shape[1:], self.rank))
        stats = with_scatter(raw)
        return stats, ubm if shape else one_gaussian(stats)

    def _known_supervectors(self, X: Any) -> BaumWelchStatistics:
        """Raw statistics of supervectors like those of `fit`."""
        C, D = self.subspace().projection.shape[:2]
        stats = as_statistics(X, (C, D))
        column_names(self, X, reset=False)
        return stats

    def _start(self, shards: Sequence[Shard], ubm: Any) -> Subspace:
        if ubm is None:
            raise UsageError("training needs the UBM of the statistics: fit(stats, ubm=ubm)")
        return initial_subspace(
            ubm,
            shards,
            rank=self.rank,
            method=self.init,
            offset=self.prior_offset if self.parametrisation == "kaldi" else 0.0,
            rng=check_random_state(self.random_state),
        )

    def _ahead(self, shards: Sequence[Shard]) -> Iterator[Any]:
        """Blocks of all shards, read some steps before a device asks for them."""
        from ivector.gpu.e_step import blocks_of
        from ivector.gpu.streaming import ahead

        shape = self.derived().means.shape
        return ahead([partial(blocks_of, shard, shape) for shard in shards], self.n_jobs)

    def _expectation(self, shards: Sequence[Shard], sums: Path | None) -> Accumulators:
        if self.device is not None:
            extractor = self.on_device(self.device)
            from ivector.gpu.e_step import e_step

            total = e_step(extractor, self._ahead(shards))
            if self.update_covariance and total.second is None:
                raise UsageError(NO_SECOND)
            return total
        return sum_shards(
            accumulate_shard,
            shards,
            Accumulators,
            self.n_jobs,
            sums,
            f"total variability, iteration {len(self.objective_) + 1}",
            derived=self.derived(),
            needs_second=self.update_covariance,
        )

    def _maximisation(self, total: Accumulators, min_count: float) -> Subspace:
        model = m_step(
            self.model_,
            total,
            self.update_covariance,
            min_count,
            self.covariance_floor,
        )
        return update_prior(model, total, self.diagonalise) if self.min_divergence else model

    def _record(self, value: float, complete: bool) -> None:
        """Keep the objective; warn of a fall where it is complete, so that EM forbids one."""
        previous = self.objective_[-1] if self.objective_ else -np.inf
        self.objective_.append(value)
        logger.info(
            "total variability, iteration %d: log-likelihood %.5f per frame",
            len(self.objective_),
            value,
        )
        if complete and value < previous - _ROUNDING * abs(previous):
            warnings.warn(
                f"the objective fell from {previous:.6f} to {value:.6f} per frame in iteration "
                f"{len(self.objective_)}; flooring of covariances or too few data can do this",
                ObjectiveWarning,
                stacklevel=4,
            )

    def _check_data(self, total: Accumulators, min_count: float) -> None:
        self.n_utterances_ = total.n_utterances
        self.n_frames_ = float(total.zeroth.sum())
        if not self.n_frames_:
            raise DataError("the training statistics hold no frames; check features and VAD")
        for text in degeneracies(total, self.subspace().rank, min_count):
            warnings.warn(text, DegenerateDataWarning, stacklevel=4)
