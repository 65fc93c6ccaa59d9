"""PLDA and cosine: training, scoring, adaptation.

plda             Two-covariance PLDA as in Kaldi: EM training, transform with length norm, scoring.
em               EM of the two-covariance model (Kaldi's ``PldaEstimator`` in ``ivector/plda.cc``).
adaptation       Unsupervised adaptation of PLDA to unlabelled in-domain vectors, as in Kaldi.
averaging        Averages of the vectors of one speaker, for enrolment with several utterances.
scoring          Log-likelihood ratios of the two-covariance model, a block of trials as one matrix
                 product.
cosine           Cosine scores of vectors and Kaldi's ``ivector-compute-dot-products``.
kernels_scoring  Numba kernel of trial-list scoring; validated arrays in, scores out.
recording        Scores between the segments of one recording, for diarisation
                 (``ivector-plda-scoring-dense``).
"""
