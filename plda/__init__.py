"""Back-end: what is done with i-vectors and embeddings, from training to normalised scores.

transforms     centre, whiten, LDA, WCCN, length norm: what vectors go through first
models         PLDA: the two-covariance model, its EM, its adaptation to another domain
scoring        log-likelihood ratios and cosines, all pairs at once or the trials of a list
normalisation  score normalisation by a cohort: z, t, zt, s, adaptive s
formats        models and vectors on disk: Kaldi's files and .npz
linalg         class statistics and floored eigenproblems, for transforms and models
checks         validation of vectors, labels and options, with errors that give the cure
commands       the table of commands and their modules
score          the door python -m plda.score to the command
__main__       python -m plda: lists the commands, or runs one

A back-end in one line, as in Kaldi's speaker-identification recipes:

>>> from sklearn.pipeline import make_pipeline
>>> from plda import LDA, PLDA, Center, LengthNorm
>>> backend = make_pipeline(Center(), LDA(40), LengthNorm(), PLDA())  # doctest: +SKIP
>>> backend.fit(X, speakers)                                          # doctest: +SKIP
>>> project, plda = backend[:-1], backend[-1]                         # doctest: +SKIP
>>> scores = plda.score_matrix(project.transform(enrol), project.transform(test))  # doctest: +SKIP

Names are imported on first use.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
