"""What both mixtures are and do once they have parameters: likelihoods, posteriors, sampling.

Dimension legend: C components, D feature dimensions, n frames, N selected components a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.utils import check_random_state

from ivector.base.errors import DataError, UsageError
from ivector.base.estimators import UnfittedError, column_names
from ivector.gmm import kernels
from ivector.gmm.statistics import check_frames

Model = TypeVar("Model", bound="Mixture")


class Mixture(DensityMixin, BaseEstimator):
    """Parameters of `DiagonalGMM` and `FullGMM`, and what can be asked of them.

    A subclass has the hooks ``_engine`` and ``_colour``.
    """

    n_features_in_: int
    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    random_state: Any
    device: Any

    @property
    def n_features(self) -> int:
        """Dimension D of the trained model."""
        return self.parameters()[1].shape[1]

    def parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights (C,), means (C, D) and covariances.

        Raises
        ------
        UnfittedError
            There are none yet.
        """
        try:
            return self.weights_, self.means_, self.covariances_
        except AttributeError:
            raise UnfittedError(
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
        self.n_features_in_ = arrays[1].shape[1]
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
        """Copy of the options, without what was learned; a trained `init` stays as it is.

        (scikit-learn would take the trained parameters from it, and with them its meaning.)
        """
        options = self.get_params(deep=False)
        return type(self)(**{name: clone_option(value) for name, value in options.items()})

    def __getstate__(self) -> dict[str, Any]:
        # What lies on a device would be found on that device only; its keys are no names.
        state = dict(super().__getstate__())
        if "_cache" in state:
            state["_cache"] = {k: v for k, v in state["_cache"].items() if isinstance(k, str)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("weights_", "means_", "covariances_"):  # Copies of arrays are writable.
            if name in state:
                state[name].flags.writeable = False

    def on_device(self, device: str, selector: Any = None) -> Any:
        """This mixture as a `DeviceMixture`, kept until a parameter is replaced.

        Raises
        ------
        UsageError
            There is no such device.
        MissingExtraError
            torch is not installed.
        """
        from ivector.gpu.mixture import DeviceMixture

        key = (device, selector is not None)
        return self.cached(key, lambda: DeviceMixture(device, *self.parameters(), selector))

    def device_posteriors(
        self, X: np.ndarray, n: int, min_post: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pruned posteriors on option `device` of checked frames; see `posteriors`."""
        indices = np.empty((len(X), n), np.int32)
        posts = np.empty((len(X), n), np.float32)
        for rows, *block in self.on_device(self.device).posteriors(X, n, min_post):
            indices[rows], posts[rows] = (tensor.cpu().numpy() for tensor in block)
        return indices, posts

    def cached(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """Return ``make()``, kept until a parameter array is replaced."""
        parameters = self.parameters()
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

    def check_input(self, X: Any) -> np.ndarray:
        """Return frames (n_frames, n_features) as `check_frames` does, fit for this model."""
        frames = check_frames(X, self.n_features, type(self).__name__)
        column_names(self, X, reset=False)
        return frames

    def _engine(self) -> Any:
        raise NotImplementedError

    def seed(self) -> int:
        """Draw a seed from option `random_state`."""
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Log-likelihood log p(x_t) (n_frames,), natural logarithm, over all components."""
        X = self.check_input(X)
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

    def n_parameters(self) -> int:
        """Count the free parameters: weights (C − 1), means and covariances."""
        n_components, dim = self.parameters()[1].shape
        one = dim * (dim + 1) // 2 if self._full else dim
        return n_components * (dim + one) + n_components - 1

    def bic(self, X: np.ndarray) -> float:
        """Bayesian information criterion −2 log p(X) + p log n; the lower, the better.

        Parameters
        ----------
        X : ndarray (n_frames, n_features)
            Neighbouring frames are not independent, so that it favours more components on
            speech than on drawn samples.
        """
        return -2 * self.score(X) * len(X) + self.n_parameters() * float(np.log(len(X)))

    def aic(self, X: np.ndarray) -> float:
        """Akaike information criterion −2 log p(X) + 2 p; see `bic`."""
        return -2 * self.score(X) * len(X) + 2 * self.n_parameters()

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Joint log-probabilities log w_c N(x_t | c) (n_frames, n_components), float32."""
        X = self.check_input(X)
        out = np.empty((len(X), len(self.weights_)), np.float32)
        for rows, logs in self._log_prob_blocks(X):
            out[rows] = logs
        return out

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Posteriors γ_t(c) over all components (n_frames, n_components), float32."""
        X = self.check_input(X)
        out = np.empty((len(X), len(self.weights_)), np.float32)
        for rows, logs in self._log_prob_blocks(X):
            log_sums, inverse = np.empty((2, len(logs)), np.float32)
            kernels.exp_rows(logs, log_sums, inverse)
            np.multiply(logs, inverse[:, None], out=out[rows])
        return out

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Most probable component of each frame (n_frames,)."""
        X = self.check_input(X)
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
        weights, means, _ = self.parameters()
        rng = np.random.default_rng(self.seed())
        labels = rng.choice(len(weights), n_samples, p=weights / weights.sum())
        noise = rng.standard_normal((n_samples, means.shape[1]))
        return means[labels] + self._colour(noise, labels), labels

    def _colour(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def clone_option(value: Any) -> Any:
    """Copy of an option for a copy of its estimator; a trained mixture is the option itself."""
    return value if hasattr(value, "means_") else clone(value, safe=False)


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
