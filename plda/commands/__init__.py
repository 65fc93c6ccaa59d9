"""Commands over vectors and back-ends: ``python -m plda`` lists them, with a name it runs one.

score  score a trial list with PLDA, as Kaldi's ivector-plda-scoring

A command is a thin module here with `make_parser` and `main`, and a line in this table; what it
computes stands in the rooms beside. Past sixteen modules, they go into folders named as the rooms.
"""

from ivector.base.commands import Command

COMMANDS = {
    "kaldi": Command("plda.kaldi.__main__", "run one of Kaldi's commands over i-vectors and PLDA"),
    "score": Command(
        "plda.commands.score", "score a trial list with PLDA, as Kaldi's ivector-plda-scoring"
    ),
}
