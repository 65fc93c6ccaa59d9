"""Log-mel store: the log-mel energies of a whole corpus, computed once, read by utterance.

reader    LogMelStore: what a store is on disk, making and opening one, reading from it
writer    how it is made: shard by shard, a killed run continues
importer  log-mel energies that another program stored, as a store
__main__  the door python -m ivector.features.store to the command
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
