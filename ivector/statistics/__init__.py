"""Baum-Welch statistics of utterances.

baum_welch  Baum-Welch statistics: what a GMM's posteriors make of utterances, before any subspace.
accumulate  From sparse posteriors of one utterance's frames to its Baum-Welch statistics.
kernels     Numba kernel of the Baum-Welch statistics: posteriors are scattered into their
            components.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BaumWelchStatistics": "ivector.statistics.baum_welch",
        "accumulate": "ivector.statistics.baum_welch",
        "accumulate_second": "ivector.statistics.baum_welch",
        "baum_welch": "ivector.statistics.baum_welch",
    },
)
