"""Scores of enrolment against test vectors, a block of trials as one matrix product.

pairs             a scorer that is prepared once: all pairs, blocks of rows, or listed trials
likelihood_ratio  log-likelihood ratios of the two-covariance model, fast and as written
cosine            cosines, and Kaldi's ivector-compute-dot-products
dense             all pairs of one recording, in its own principal axes
identification    which enrolled speaker a vector is of
kernels           numba: the inner products of listed trials
"""
