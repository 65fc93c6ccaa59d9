"""Numba kernel of the Baum-Welch statistics: posteriors are scattered into their components.

Dimensions: n frames, k selected components a frame, C components, D feature dimension.
"""

import numpy as np

from ivector.base.jit import njit


@njit(cache=True, nogil=True)
def scatter_statistics(
    indices: np.ndarray,  # (n, k) int32
    posts: np.ndarray,  # (n, k) float32
    features: np.ndarray,  # (n, D) float32
    centre: np.ndarray,  # (C, D) float64
    zeroth: np.ndarray,  # (C,) float64, added to
    first: np.ndarray,  # (C, D) float64, added to
) -> None:
    """Add γ to row c of `zeroth` and γ (x − centre_c) to row c of `first`, frame by frame."""
    n_frames, n_selected = indices.shape
    n_dims = features.shape[1]
    for t in range(n_frames):
        for k in range(n_selected):
            gamma = np.float64(posts[t, k])
            if gamma == 0.0:
                continue
            c = indices[t, k]
            zeroth[c] += gamma
            for d in range(n_dims):
                first[c, d] += gamma * (features[t, d] - centre[c, d])
