"""Forensic validation of log-likelihood ratios: what they are worth as evidence, and how surely.

measures        devPAV, bounds of llr (ELUB, invariance), rates of misleading evidence.
overestimation  How much too large llr are, over their range, with fiducial bands.
uncertainty     Intervals of single llr: calibration resampled over speakers, and Bayesian.
shares          Shares of trials with intervals over speakers.
verbal          Verbal scales, and a conclusion in words with its numbers.
validation      `validate`: all of it about one system, as a record; the chapter of the report.
words           The record as tables and sentences.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
