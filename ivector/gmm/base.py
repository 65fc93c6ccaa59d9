"""What both mixtures share: statistics, checks, the EM loop, and the scikit-learn methods.

Dimension legend: C components, D feature dimensions, n frames, N selected components a frame.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state

from ivector.base.checkpoint import Checkpoint, identifying, sum_shards
from ivector.base.errors import (
    DataError,
    DegenerateDataWarning,
    ObjectiveWarning,
    UsageError,
)
from ivector.base.workers import one_thread
from ivector.gmm import kernels
from ivector.gmm.statistics import Data, GMMStatistics, as_shards, check_frames, load_shard

logger = logging.getLogger(__name__)

__all__ = ["BaseGMM", "Data", "GMMStatistics", "as_shards", "check_frames", "load_shard"]

Model = TypeVar("Model", bound="BaseGMM")


def _accumulate_shard(shard: Any, model: BaseGMM, context: Any) -> GMMStatistics:
    return model._accumulate(load_shard(shard, model.n_features), context)


class BaseGMM(BaseEstimator):
    """Methods common to `DiagonalGMM` and `FullGMM`; not for direct use.

    A subclass has the hyper-parameters named in `fit` and the hooks ``_engine``, ``_accumulate``,
    ``_begin`` and ``update``.
    """

    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
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
    random_state: Any
    verbose: bool

    # ---- parameters ------------------------------------------------------------------------

    @property
    def n_features(self) -> int:
        """Dimension D of the trained model."""
        return self._parameters()[1].shape[1]

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        try:
            return self.weights_, self.means_, self.covariances_
        except AttributeError:
            raise UsageError(
                f"this {type(self).__name__} has no parameters yet; call fit, or read a model"
            ) from None

    def set_parameters(
        self: Model, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
    ) -> Model:
        """Replace the parameters; the arrays are copied to float64 and made read-only.

        (They are read-only because what is derived from them is kept. To change a parameter,
        assign a new array.)

        Parameters
        ----------
        weights : ndarray (n_components,)
            Normalised to sum to one.
        means : ndarray (n_components, n_features)
        covariances : ndarray (n_components, n_features) or with another (…, n_features)

        Raises
        ------
        DataError
            Shapes do not fit, numbers are not finite, or a weight or variance is not positive.
        """
        arrays = [np.array(a, np.float64, order="C") for a in (weights, means, covariances)]
        self._check_parameters(*arrays)
        total = arrays[0].sum()
        # A sum of rounded weights is left alone: dividing would change their last digits.
        if abs(total - 1) > 1e-5:
            arrays[0] /= total
        for array in arrays:
            array.flags.writeable = False
        self.weights_, self.means_, self.covariances_ = arrays
        return self

    def with_parameters(
        self: Model, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
    ) -> Model:
        """Return a new model of the same options with these parameters (see `set_parameters`)."""
        model = type(self)(**self.get_params(deep=False))
        return model.set_parameters(weights, means, covariances)

    def _check_parameters(
        self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
    ) -> None:
        full = self._full
        expected = (*means.shape, means.shape[-1]) if full else means.shape
        if means.ndim != 2 or weights.shape != means.shape[:1] or covariances.shape != expected:
            raise DataError(
                f"parameters of shapes {weights.shape}, {means.shape}, {covariances.shape} "
                "do not belong to one mixture"
            )
        if not all(np.isfinite(a).all() for a in (weights, means, covariances)):
            raise DataError("parameters hold NaN or infinity")
        variances = np.einsum("cdd->cd", covariances) if full else covariances
        if not ((weights >= 0).all() and weights.sum() > 0 and (variances > 0).all()):
            raise DataError("parameters hold a negative weight or a variance that is not positive")

    _full = False

    def __sklearn_clone__(self: Model) -> Model:
        """Copy of the options, without what was learned; a model as `init` stays as it is.

        (scikit-learn would take the trained parameters from it, and with them its meaning.)
        """
        options = self.get_params(deep=False)
        return type(self)(
            **{k: v if k == "init" else clone(v, safe=False) for k, v in options.items()}
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("weights_", "means_", "covariances_"):  # Copies of arrays are writable.
            if name in state:
                state[name].flags.writeable = False

    def _cached(self, name: str, make: Callable[[], Any]) -> Any:
        """Return ``make()``, kept until a parameter array is replaced."""
        parameters = self._parameters()
        cache = self.__dict__.setdefault("_cache", {})
        owner = cache.get("owner")
        if owner is None or any(a is not b for a, b in zip(owner, parameters)):
            for array in parameters:
                if array.flags.owndata:
                    array.flags.writeable = False
            cache.clear()
            cache["owner"] = parameters
        made = cache.get(name)
        if made is None:  # threads may do this twice, with the same outcome
            made = cache[name] = make()
        return made

    def _engine(self) -> Any:
        raise NotImplementedError

    def _accumulate(self, frames: np.ndarray, context: Any) -> GMMStatistics:
        raise NotImplementedError

    def update(self: Model, statistics: GMMStatistics) -> Model:
        """Maximise: replace the parameters by those of `statistics`."""
        raise NotImplementedError

    # ---- training --------------------------------------------------------------------------

    def _check_options(self) -> None:
        for name, low in (("n_components", 1), ("n_iter", 0), ("n_jobs", 1)):
            if not getattr(self, name) >= low:
                raise UsageError(f"{name} must be at least {low}, got {getattr(self, name)}")
        for name in ("tol", "variance_floor", "min_weight", "min_occupancy"):
            if not np.all(np.asarray(getattr(self, name)) >= 0):
                raise UsageError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.min_weight >= 1:
            raise UsageError(f"min_weight must be below 1, got {self.min_weight}")

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _train(self, shards: list[Any], checkpoint: Checkpoint | None) -> None:
        """Start and run EM, or go on from a checkpoint."""
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

    def _begin(self, shards: list[Any]) -> Any:
        """Set the starting parameters; returns the context of the first E-step."""
        raise NotImplementedError

    def _keep(self, checkpoint: Checkpoint | None, context: Any) -> None:
        if checkpoint is None:
            return
        arrays = dict(zip(("weights", "means", "covariances"), self._parameters()))
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
        self._engine()  # Made once here, not in every process.
        total = sum_shards(
            _accumulate_shard, shards, GMMStatistics, self.n_jobs, sums,
            desc if self.verbose else "", model=self, context=context,
        )  # fmt: skip
        if not total.n_frames:
            raise DataError("no frames to train on; check the VAD and the feature files")
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
                f"{total:.0f} frames; use fewer components, more data or a smaller min_occupancy"
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

    # ---- use -------------------------------------------------------------------------------

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
        X = check_frames(X, self.n_features)
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

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Log-likelihood log p(x_t) (n_frames,), natural logarithm, over all components."""
        X = check_frames(X, self.n_features)
        out = np.empty(len(X))
        for rows, logs in self._log_prob_blocks(X):
            log_sums, inverse = np.empty((2, len(logs)), np.float32)
            kernels.exp_rows(logs, log_sums, inverse)
            out[rows] = log_sums
        return out

    def score(self, X: np.ndarray, y: Any = None) -> float:
        """Mean log-likelihood per frame, natural logarithm.

        Raises
        ------
        DataError
            No frames.
        """
        logs = self.score_samples(X)
        if not len(logs):
            raise DataError("no frames to score")
        return float(logs.mean())

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Joint log-probabilities log w_c N(x_t | c) (n_frames, n_components), float32."""
        X = check_frames(X, self.n_features)
        out = np.empty((len(X), len(self.weights_)), np.float32)
        for rows, logs in self._log_prob_blocks(X):
            out[rows] = logs
        return out

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Posteriors γ_t(c) over all components (n_frames, n_components), float32."""
        X = check_frames(X, self.n_features)
        out = np.empty((len(X), len(self.weights_)), np.float32)
        for rows, logs in self._log_prob_blocks(X):
            log_sums, inverse = np.empty((2, len(logs)), np.float32)
            kernels.exp_rows(logs, log_sums, inverse)
            np.multiply(logs, inverse[:, None], out=out[rows])
        return out

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Most probable component of each frame (n_frames,)."""
        X = check_frames(X, self.n_features)
        out = np.empty(len(X), np.int32)
        for rows, logs in self._log_prob_blocks(X):
            out[rows] = logs.argmax(axis=1)
        return out

    def _log_prob_blocks(self, X: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        engine = self._engine()
        for rows, extended in engine.blocks(X, 1024):
            yield rows, engine.log_prob(extended)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw frames from the mixture.

        Returns
        -------
        X : ndarray (n_samples, n_features)
        labels : ndarray (n_samples,) of int
            Component each frame came from.
        """
        weights, means, _ = self._parameters()
        rng = np.random.default_rng(self._seed())
        labels = rng.choice(len(weights), n_samples, p=weights / weights.sum())
        noise = rng.standard_normal((n_samples, means.shape[1]))
        return means[labels] + self._colour(noise, labels), labels

    def _colour(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def check_posterior_options(num_gselect: int, min_post: float, n_components: int) -> int:
    """Return the number of components to select, at most all.

    Raises
    ------
    UsageError
        Fewer than one, or a `min_post` outside [0, 1).
    """
    if num_gselect < 1:
        raise UsageError(f"num_gselect must be at least 1, got {num_gselect}")
    if not 0 <= min_post < 1:
        raise UsageError(f"min_post must lie in [0, 1), got {min_post}")
    return min(int(num_gselect), n_components)
