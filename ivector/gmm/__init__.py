"""Gaussian mixtures: the universal background model, adaptation, verification.

diagonal          Diagonal-covariance Gaussian mixture, the universal background model (UBM).
full              Full-covariance Gaussian mixture: Kaldi's UBM for i-vectors.
init              Starting points of a mixture: random frames, k-means, or binary splitting, on a
                  sample.
base              What both mixtures share: statistics, checks, the EM loop, and the scikit-learn
                  methods.
engine            Likelihoods and statistics of Gaussian mixtures in float32 blocks; private to the
                  mixtures.
statistics        Training data and sufficient statistics of the mixtures.
map_adaptation    MAP adaptation of a diagonal UBM to one speaker (Reynolds, Quatieri & Dunn 2000,
                  section 3.2).
verifier          The classical GMM-UBM verification system (Reynolds, Quatieri & Dunn 2000).
kernels           Numba kernels of the Gaussian mixtures; the classes validate, these compute.
kernels_pairs     Numba kernels of the full-covariance mixture, over (frame, component) pairs.
kernels_products  Numba kernels: the two products of a diagonal mixture, for processors with
                  512-bit vectors.
kernels_verifier  Numba kernel of fast top-N GMM-UBM scoring; `GMMVerifier` validates, this
                  computes.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CONSTANT": "ivector.gmm.diagonal",
        "DiagonalGMM": "ivector.gmm.diagonal",
        "global_variances": "ivector.gmm.diagonal",
    },
)
