"""Training of whole back-ends on vectors that need not fit in memory.

chain       chains of steps by name: what a back-end is made of
labels      speakers of utterances, in a few bytes each
statistics  sums over a file of vectors, in one pass behind each length norm
detection   error rates of scores of target and nontarget trials
choice      LDA size and smoothing by verification of speakers held out
train       all of it: from files of vectors and speakers to a back-end
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
