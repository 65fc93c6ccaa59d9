"""What the tests of the mixtures share: both kinds, every start, known models, a loader."""

import numpy as np
import pytest

from ivector import DiagonalGMM, FullGMM

KINDS = [DiagonalGMM, FullGMM]
STARTS = ["split", "kmeans", "random"]
both = pytest.mark.parametrize("kind", KINDS)
all_starts = pytest.mark.parametrize("init", STARTS)


def truth(kind, n_components=4, dim=3, seed=1, spread=3):
    """A mixture of known parameters, far from the origin and differently scaled."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** np.arange(dim)
    means = scale * (100 + spread * rng.standard_normal((n_components, dim)))
    weights = rng.dirichlet(np.full(n_components, 20.0))
    if kind is DiagonalGMM:
        covariances = scale**2 * rng.uniform(0.5, 1.5, (n_components, dim))
    else:
        factors = np.eye(dim) + 0.3 * rng.standard_normal((n_components, dim, dim))
        covariances = np.outer(scale, scale) * (factors @ factors.transpose(0, 2, 1))
    model = kind(n_components, random_state=seed)
    # The condition of a covariance is limited; that of these is 10^(2 (dim − 1)) by their scale.
    model.set_params(**({"max_condition": 1e8} if kind is FullGMM else {}))
    return model.set_parameters(weights, means, covariances)


def dense(model):
    """Reference: joint log-probabilities of all components in float64."""
    covariances = model.covariances_
    if covariances.ndim == 2:
        covariances = covariances[:, :, None] * np.eye(covariances.shape[1])
    inverse = np.linalg.inv(covariances)
    _, log_dets = np.linalg.slogdet(covariances)

    def log_prob(X):
        delta = np.asarray(X, float)[:, None] - model.means_
        squares = np.einsum("ncd,cde,nce->nc", delta, inverse, delta)
        constant = model.means_.shape[1] * np.log(2 * np.pi)
        return np.log(model.weights_) - 0.5 * (constant + log_dets + squares)

    return log_prob


class Block:
    """A picklable loader."""

    def __init__(self, X):
        self.X = X

    def __call__(self):
        return self.X
