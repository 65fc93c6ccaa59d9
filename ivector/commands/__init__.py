"""Commands from recordings to i-vectors: ``python -m ivector`` lists them, with a name it runs one.

log_mel_store    compute the log-mel energies of a corpus once, for networks
import_log_mels  take in the log-mel energies that another program stored
portable         print what makes results the same on every x86-64

A command is a thin module here with `make_parser` and `main`, and a line in this table; what it
computes stands in the rooms beside. Past sixteen modules, they go into folders named as the rooms.
"""

from ivector.base.commands import Command

COMMANDS = {
    "log-mel-store": Command(
        "ivector.commands.log_mel_store",
        "compute the log-mel energies of a corpus once, for networks",
    ),
    "import-log-mels": Command(
        "ivector.commands.import_log_mels",
        "take in the log-mel energies that another program stored",
    ),
    "kaldi": Command(
        "ivector.kaldi.__main__",
        "run one of Kaldi's commands from recordings to i-vectors",
    ),
    "portable": Command(
        "ivector.commands.portable", "print what makes results the same on every x86-64"
    ),
}
