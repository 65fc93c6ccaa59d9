"""Commands from recordings to i-vectors: ``python -m ivector`` lists them.

A command is a thin module with `make_parser` and `main`, and a line in this table; what it
computes stands in the rooms beside. Its place is here, past sixteen modules in folders named as
the rooms (``features``, ``gmm``, ``statistics``, ``total_variability``). The one that there is
stands beside the class that it serves.
"""

from ivector.base.commands import Command

COMMANDS = {
    "log-mel-store": Command(
        "ivector.features.store", "compute the log-mel energies of a corpus once, for networks"
    ),
}
