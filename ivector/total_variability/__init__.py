"""Total variability: the EM of T and Sigma, and i-vectors.

model    Total-variability model (i-vector extractor), in Kaldi's and in the classical form.
e_step   Total variability as pure functions: the model, its posteriors, the E-step of a batch.
m_step   Total variability as pure functions: M-step and minimum divergence.
shards   Total variability over shards: what runs in one process on one block of statistics.
initial  Where the EM of a total-variability model starts: at random, or at principal axes.
checks   Options of a total-variability model, checked before anything is computed.
packed   Symmetric matrices in rectangular full packed form (RFP), one a row.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "TotalVariability": "ivector.total_variability.model",
    },
)
