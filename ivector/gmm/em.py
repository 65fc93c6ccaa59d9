"""EM of both mixtures: the loop, its checkpoint, the removal of starved components.

Dimension legend: C components, D feature dimensions, n frames, N selected components a frame.
"""

from __future__ import annotations

import logging
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ivector.base.errors import (
    DataError,
    DegenerateDataWarning,
    ObjectiveWarning,
    UsageError,
)
from ivector.base.estimators import column_names
from ivector.base.parallel.checkpoint import Checkpoint, identifying, sum_shards
from ivector.base.parallel.workers import one_thread
from ivector.gmm.mixture import Mixture
from ivector.gmm.statistics import Data, GMMStatistics, as_shards, check_frames, load_shard

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound="BaseGMM")


def _accumulate_shard(shard: Any, model: BaseGMM, context: Any) -> GMMStatistics:
    return model._accumulate(load_shard(shard, model.n_features), context)


def _loaded(shard: Any, n_features: int) -> list[np.ndarray]:
    return [load_shard(shard, n_features)]


class BaseGMM(Mixture):
    """A mixture that EM trains: `DiagonalGMM` or `FullGMM`; not for direct use.

    A subclass has the hyper-parameters named in `fit` and the hooks ``_accumulate`` (E-step),
    ``update`` (M-step) and ``_begin``.
    """

    log_likelihood_: list[float]
    n_components: int
    n_iter: int
    tol: float
    variance_floor: float
    min_weight: float
    min_occupancy: float
    remove_starved: bool
    init: Any
    n_jobs: int
    verbose: bool

    def _check_options(self) -> None:
        for name, low in (("n_components", 1), ("n_iter", 0), ("n_jobs", 1)):
            if not getattr(self, name) >= low:
                raise UsageError(f"{name} must be at least {low}, got {getattr(self, name)}")
        for name in ("tol", "variance_floor", "min_weight", "min_occupancy"):
            if not np.all(np.asarray(getattr(self, name)) >= 0):
                raise UsageError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.min_weight >= 1:
            raise UsageError(f"min_weight must be below 1, got {self.min_weight}")

    def fit(self: Model, X: Data, y: Any = None, *, checkpoint: Checkpoint | None = None) -> Model:
        """Train by EM.

        Parameters
        ----------
        X : ndarray (n_frames, n_features), or sequence of loaders
            A loader is a picklable callable without arguments that returns such a block; one
            block per process is in memory at a time.
        y : ignored
        checkpoint : Checkpoint, optional
            Keeps the state after every iteration and the sums of the one under way; a training
            that was stopped goes on from there, to the same bytes.

        Returns
        -------
        self

        Raises
        ------
        DataError
            NaN or infinity, blocks of different dimension, fewer frames than components.
        UsageError
            An option out of range.

        Warns
        -----
        DegenerateDataWarning
            Few frames a component, constant features, starved components; of full covariances,
            fewer than 10 frames a dimension and component, or features without full rank.
        ObjectiveWarning
            The log-likelihood fell.
        """
        self._check_options()
        self._train(X, checkpoint)
        return self

    def _train(self, X: Data, checkpoint: Checkpoint | None) -> None:
        """Start and run EM, or go on from a checkpoint."""
        shards = as_shards(X)
        column_names(self, X, reset=True)
        options = {"class": type(self).__name__, "shards": len(shards)}
        options |= identifying(self.get_params(deep=False))
        state = None if checkpoint is None else checkpoint.begin(options)
        self.log_likelihood_, self.converged_ = [], False
        if state is None:
            context = self._begin(shards)
            self._keep(checkpoint, context)
        else:
            context = self._restore(*state)
        self._expectation_maximisation(shards, context, checkpoint)

    def fit_predict(self, X: Data, y: Any = None, **options: Any) -> np.ndarray:
        """Train, then give the most probable component of each frame (n_frames,).

        Parameters
        ----------
        X : ndarray (n_frames, n_features), or sequence of loaders
        y : ignored
        **options
            Of `fit`.
        """
        self.fit(X, **options)
        frames: Any = X
        if hasattr(X, "shape"):
            return self.predict(frames)
        return np.concatenate([self.predict(load_shard(shard)) for shard in as_shards(X)])

    def _begin(self, shards: list[Any]) -> Any:
        """Set the starting parameters; returns the context of the first E-step."""
        raise NotImplementedError

    def _keep(self, checkpoint: Checkpoint | None, context: Any) -> None:
        if checkpoint is None:
            return
        arrays = dict(zip(("weights", "means", "covariances"), self.parameters()))
        arrays |= {f"context{i}": array for i, array in enumerate(context or ())}
        values = {"log_likelihood": self.log_likelihood_, "converged": self.converged_}
        checkpoint.save(len(self.log_likelihood_), arrays, values)

    def _restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> Any:
        """Take the state of a checkpoint; returns the context of the next E-step."""
        self.set_parameters(*(arrays[name] for name in ("weights", "means", "covariances")))
        self.log_likelihood_ = values["log_likelihood"]
        self.converged_ = values["converged"]
        logger.info("%s goes on after iteration %d", type(self).__name__, len(self.log_likelihood_))
        count = sum(name.startswith("context") for name in arrays)
        return tuple(arrays[f"context{i}"] for i in range(count)) or None

    def _expectation_maximisation(
        self, shards: list[Any], context: Any, checkpoint: Checkpoint | None
    ) -> None:
        """Run EM from the present parameters, keeping the objective."""
        for iteration in range(len(self.log_likelihood_) + 1, self.n_iter + 1):
            if self.converged_:
                break
            began = time.monotonic()
            sums = None if checkpoint is None else checkpoint.sums(iteration)
            total = self._sum_shards(shards, context, f"EM {iteration}/{self.n_iter}", sums)
            self._note_objective(total.log_likelihood / total.n_frames)
            with one_thread():
                context = self._maximise(total, context)
            history = self.log_likelihood_
            logger.info(
                "%s EM %d/%d: %.5f nats per frame, %d components, %.1f s",
                type(self).__name__, iteration, self.n_iter, history[-1], len(self.weights_),
                time.monotonic() - began,
            )  # fmt: skip
            self.converged_ = len(history) > 1 and abs(history[-1] - history[-2]) < self.tol
            self._keep(checkpoint, context)
        self.n_iter_ = len(self.log_likelihood_)

    def _maximise(self, total: GMMStatistics, context: Any) -> Any:
        """M-step inside `fit`; returns the context of the next E-step."""
        self.update(total)
        return context

    def _sum_shards(
        self, shards: list[Any], context: Any, desc: str, sums: Path | None
    ) -> GMMStatistics:
        if self.device is not None:
            total = self._sum_on_device(shards, context)
        else:
            self._engine()  # Made once here, not in every process.
            total = sum_shards(
                _accumulate_shard, shards, GMMStatistics, self.n_jobs, sums,
                desc if self.verbose else "", model=self, context=context,
            )  # fmt: skip
        if not total.n_frames:
            raise DataError("no frames to train on; check the VAD and the feature files")
        return total

    def _sum_on_device(self, shards: list[Any], context: Any) -> GMMStatistics:
        """Sum shards one after the other, the next ones read meanwhile."""
        from ivector.gpu.streaming import ahead

        self.on_device(self.device)  # What is wrong with it is told before anything is read.
        loaders = [partial(_loaded, shard, self.n_features) for shard in shards]
        parts = (self._accumulate(frames, context) for frames in ahead(loaders, self.n_jobs))
        total = next(parts)
        for part in parts:
            total += part
        return total

    def _note_objective(self, value: float) -> None:
        history = self.log_likelihood_
        if not np.isfinite(value):
            raise DataError(
                "the log-likelihood is not finite; features hold absurd values, normalise them"
            )
        # float32 products are good to about 1e-6 of the magnitude.
        if history and value < history[-1] - 1e-4 - 1e-5 * abs(value):
            warnings.warn(
                f"log-likelihood per frame fell from {history[-1]:.5f} to {value:.5f} "
                "(floors or the removal of components can do that once; otherwise report it)",
                ObjectiveWarning,
                stacklevel=4,
            )
        history.append(value)

    def _new_weights(self, zeroth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (C,), and which components (C,) saw enough frames to be re-estimated.

        Raises
        ------
        DataError
            No frames, or no component saw enough.
        """
        total = zeroth.sum()
        if not total > 0:
            raise DataError("statistics hold no frames")
        weights = zeroth / total
        fed = (zeroth > self.min_occupancy) & (weights > self.min_weight)
        if not fed.any():
            raise DataError(
                f"none of {len(zeroth)} components has more than {self.min_occupancy:g} of the "
                f"{total:.0f} frames; use fewer components, more data or a smaller `min_occupancy`"
            )
        return weights, fed

    def _replace(
        self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, fed: np.ndarray
    ) -> np.ndarray:
        """Set new parameters, dropping or keeping starved components; return the kept (C,)."""
        starved = len(fed) - int(fed.sum())
        kept = fed if self.remove_starved else np.ones_like(fed)
        if starved:
            fate = "removed" if self.remove_starved else "left as they were"
            warnings.warn(
                f"{starved} of {len(fed)} components saw no more than {self.min_occupancy:g} "
                f"frames or a share of {self.min_weight:g} and were {fate}; "
                "use fewer components or more data",
                DegenerateDataWarning,
                stacklevel=3,
            )
            weights = np.where(fed, weights, np.maximum(weights, self.min_weight))
        weights = weights[kept]
        self.set_parameters(weights / weights.sum(), means[kept], covariances[kept])
        return kept

    def accumulate(self, X: np.ndarray, selected: np.ndarray | None = None) -> GMMStatistics:
        """E-step: sufficient statistics of a block of frames.

        Parameters
        ----------
        X : ndarray (n_frames, n_features)
        selected : ndarray (n_frames, N) of int, optional
            Components each frame may belong to, for example from `gselect`; posteriors are over
            them alone. Default: all (`FullGMM`: its own selection).

        Returns
        -------
        GMMStatistics

        Raises
        ------
        DataError
            Wrong dimension, NaN or infinity, or indices that are not components.
        """
        X = check_frames(X, self.n_features, type(self).__name__)  # Blocks of `fit` have no names.
        return self._accumulate(X, self._check_selected(X, selected))

    def _check_selected(self, X: np.ndarray, selected: np.ndarray | None) -> np.ndarray | None:
        if selected is None:
            return None
        selected = np.asarray(selected)
        n_components = len(self.weights_)
        if selected.ndim != 2 or len(selected) != len(X) or selected.dtype.kind not in "iu":
            raise DataError(
                f"selected components must be integers ({len(X)}, N), got {selected.dtype} "
                f"{selected.shape}"
            )
        if not selected.shape[1]:
            raise DataError("selected components must be at least one a frame, got none")
        if selected.size and not 0 <= selected.min() <= selected.max() < n_components:
            raise DataError(f"selected components must lie in 0 … {n_components - 1}")
        ordered = np.sort(selected, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise DataError("selected components of a frame must differ, some occur twice")
        return selected.astype(np.int32, copy=False)

    def _accumulate(self, frames: np.ndarray, context: Any) -> GMMStatistics:
        raise NotImplementedError

    def update(self: Model, statistics: GMMStatistics) -> Model:
        """Maximise: replace the parameters by those of `statistics`."""
        raise NotImplementedError
