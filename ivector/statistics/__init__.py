"""Baum-Welch statistics: what a UBM's posteriors make of utterances, before any subspace.

extraction    baum_welch: from the features of utterances and a UBM to their statistics
batch         BaumWelchStatistics: those of a batch of utterances; they add, pool, re-centre
sparse        SparseStatistics: those of the components alone that utterances use
accumulation  one utterance, from sparse posteriors of its frames to sums N, F and S
kernels       numba: posteriors are scattered into their components
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
