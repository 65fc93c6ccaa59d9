"""From scores to calibrated log-likelihood ratios (llr), of one system or of several.

one_system        `Calibration`: the scores of one system become llr; three methods.
estimator         What both are as scikit-learn classifiers: labels, decisions, probabilities.
methods           Its parts: input checks, PAV with knots, two Gaussians, thresholds.
logistic          Prior-weighted logistic regression, by which calibration and fusion learn.
bounded           The same with llr that a few outliers can neither tilt nor pass.
kernels           The loops of both: cost, gradient and Hessian in one pass over blocks of trials.
linear            `LinearFusion`: the scores of several systems become one llr.
crossval          Llr of every trial by a model that has seen neither of its speakers.
worth             What a fusion and its parts are worth on unseen speakers; the guard over them.
grades            How well llr are calibrated, tested against what chance alone loses.
reference         What a fusion keeps of development scores, to know others of their kind by.
notices           What is wrong with scores beside those: range, distribution, agreement, gaps.
applied           The guard over labelled trials that a fusion is applied to.
caution           How far llr can be trusted in a domain that they were not calibrated in.
saving            Calibrations and fusions as small JSON files that can be read by eye.
wording           What an llr says, and how well it is calibrated, in words.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
