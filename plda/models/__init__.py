"""Models of speaker vectors, their training and adaptation.

plda            two-covariance PLDA trained by EM, with Kaldi's numbers
em              its E- and M-step in one, the floor of W, the objective
two_covariance  the model itself, however trained: transform, smoothing, projection, scores
adaptation      unsupervised adaptation to unlabelled vectors of another domain, as in Kaldi
averaging       means of the vectors of each speaker, for enrolment with several utterances
recording       scores between the segments of one recording, for diarisation

`BACKENDS` lists by name what compares vectors; a recipe's ``--scoring`` takes these names. A new
one is a module here, its line in the map, and an entry.
"""

from types import MappingProxyType
from typing import NamedTuple

from ivector.base.foreign.schema import Field, Schema


class Entry(NamedTuple):
    """Where a back-end's class is, and what it is.

    The class is an estimator with ``fit(X, y)`` on vectors (n_vectors, n_dims) and their speakers,
    and ``scorer(enrol, test, n_enrol)``; where it takes every enrolment vector on its own,
    ``scorer`` has ``enrol_labels``, too. Options of training are its parameters; ``smooth(share)``
    is optional. As a `plda.scoring.identification.Identifier` it has ``enrol(X, y)`` and
    ``predict(X)``.
    `learnt` says what a file of it holds: its attributes by name, as fields of a schema.
    """

    module: str
    name: str
    about: str
    learnt: Schema = MappingProxyType({})


BACKENDS = {
    "plda": Entry(
        "plda.models.plda",
        "PLDA",
        "probabilistic LDA: a log-likelihood ratio",
        {"mean_": Field(("D",)), "transform_": Field(("D", "D")), "psi_": Field(("D",), least=0)},
    ),
    "cosine": Entry("plda.scoring.cosine", "Cosine", "the cosine of the angle between them"),
}
