"""Total variability: the EM of T and Σ, and i-vectors.

model         TotalVariability: options, EM training, i-vectors, likelihood
e_step        posteriors of utterances, and the sums that the M-step needs
m_step        T, then Σ, from these sums; the prior by minimum divergence
subspace      the parameters (T, Σ⁻¹, offset) in both forms, and what is derived of them
initial       where EM starts: at random, or at principal axes
fitted        a trained extractor: its parameters under their public names, its file
supervectors  rows of a matrix in place of statistics: plain factor analysis
raw_sums      the sums of an E-step as Kaldi's files have them, and their M-step
online        i-vectors of the frames so far, every so many frames
shards        what runs in one process on one block of statistics
checks        options refused before training, and what data cannot determine
packed        symmetric matrices in rectangular full packed form, one a row
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
