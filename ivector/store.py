"""`ivector.features.store` by its former name, as import and as command."""

import sys

from ivector.features.store.reader import PRESETS, LogMelStore
from ivector.features.store.writer import STORAGES

__all__ = ["PRESETS", "STORAGES", "LogMelStore"]

if __name__ == "__main__":
    from ivector.base.cli import run
    from ivector.commands.log_mel_store import main, make_parser

    sys.exit(run(make_parser(), main))
