"""Curves and distributions of scores, as files of the same bytes every time.

drawing  What all plots share: colours, the figure and its file, the thinning of curves.
det      DET and ROC curves, score histograms.
llr      Of log-likelihood ratios: Tippett, reliability (PAV), Bayes error, cross-entropy.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
