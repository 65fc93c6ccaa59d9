"""Commands over vectors and back-ends: ``python -m plda`` lists them, with a name it runs one.

train  train a back-end (LDA, PLDA and others) on vectors of any origin, streaming
transform  apply a back-end's transforms to vectors, or take them into its latent space
score  score a trial list with PLDA, as Kaldi's ivector-plda-scoring
copy  convert a back-end between this toolkit, Kaldi, VBx, pyannote and DiariZen
adapt  adapt a back-end to vectors of another domain, if held-out ones gain by it

A command is a thin module here with `make_parser` and `main`, and a line in this table; what it
computes stands in the rooms beside. Past sixteen modules, they go into folders named as the rooms.
"""

from ivector.base.commands import Command

COMMANDS = {
    "train": Command(
        "plda.commands.train",
        "train a back-end (LDA, PLDA and others) on vectors of any origin, streaming",
    ),
    "transform": Command(
        "plda.commands.transform",
        "apply a back-end's transforms to vectors, or take them into its latent space",
    ),
    "kaldi": Command("plda.kaldi.__main__", "run one of Kaldi's commands over i-vectors and PLDA"),
    "score": Command(
        "plda.commands.score", "score a trial list with PLDA, as Kaldi's ivector-plda-scoring"
    ),
    "copy": Command(
        "plda.commands.copy",
        "convert a back-end between this toolkit, Kaldi, VBx, pyannote and DiariZen",
    ),
    "adapt": Command(
        "plda.commands.adapt",
        "adapt a back-end to vectors of another domain, if held-out ones gain by it",
    ),
}
