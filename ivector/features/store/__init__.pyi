from ivector.features.store.reader import PRESETS as PRESETS
from ivector.features.store.reader import STORAGES as STORAGES
from ivector.features.store.reader import LogMelStore as LogMelStore
