"""Back-end: what is done with i-vectors and embeddings, from training to normalised scores.

transforms     centre, whiten, LDA, WCCN, length norm: what vectors go through first
models         PLDA: the two-covariance model, its EM, its adaptation to another domain
domains        a back-end adapted to vectors of another domain, where that is worth it
scoring        log-likelihood ratios and cosines, all pairs at once or the trials of a list
normalisation  score normalisation by a cohort: z, t, zt, s, adaptive s
formats        models and vectors on disk, of this toolkit and of others
training       whole back-ends from files of vectors, whatever fits in memory
kaldi          Kaldi's commands by its names, options and tables
linalg         class statistics and floored eigenproblems, for transforms and models
checks         validation of vectors, labels and options, with errors that give the cure
commands       the table of commands and their modules
train          the door python -m plda.train to the command
transform      the door python -m plda.transform
score          the door python -m plda.score
copy           the door python -m plda.copy
adapt          the door python -m plda.adapt
__main__       python -m plda: lists the commands, or runs one

A back-end in one line, as in Kaldi's speaker-identification recipes:

>>> from sklearn.pipeline import make_pipeline
>>> from plda import LDA, PLDA, Center, LengthNorm
>>> backend = make_pipeline(Center(), LDA(40), LengthNorm(), PLDA())

on 8 vectors of each of 100 speakers, here random ones:

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> speakers = np.repeat(np.arange(100), 8)
>>> X = rng.normal(size=(100, 60))[speakers] + rng.normal(size=(800, 60))
>>> backend = backend.fit(X[::2], speakers[::2])

Who of them speaks, and log-likelihood ratios of any pair, also of speakers unknown to it:

>>> backend.predict(X[1::100]).tolist()
[0, 12, 25, 37, 50, 62, 75, 87]
>>> project, plda = backend[:-1], backend[-1]
>>> plda.score_matrix(project.transform(X[:3]), project.transform(X[:5])).shape
(3, 5)

Names are imported on first use.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
