"""Gaussian mixtures: the universal background model (UBM), adaptation, verification.

diagonal          DiagonalGMM: diagonal covariances, EM from scratch
full              FullGMM: full covariances, EM from a diagonal mixture
em                the EM loop of both: options, checkpoints, starved components
init              where EM starts: random frames, k-means, or splitting, on a sample
mixture           what both are: parameters, likelihoods, posteriors, sampling
engine            likelihoods and statistics in blocks of float32 products
statistics        training data in shards, and sufficient statistics, which add
map_adaptation    MAP adaptation of a UBM to one speaker
verifier          GMMVerifier: the classical GMM-UBM system
kernels           numba: frames extended, exponentials summed, best components selected
kernels_pairs     numba: full covariances, over pairs of frame and component
kernels_products  numba: the two products of a diagonal mixture with 512-bit vectors
kernels_verifier  numba: top-N scoring of several speaker models
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
