from ivector.features.store.reader import PRESETS as PRESETS
from ivector.features.store.reader import LogMelStore as LogMelStore
from ivector.features.store.writer import STORAGES as STORAGES
