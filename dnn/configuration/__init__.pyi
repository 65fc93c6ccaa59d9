from dnn.configuration.files import read_config as read_config
from dnn.configuration.files import write_config as write_config
from dnn.configuration.options import add_options as add_options
from dnn.configuration.options import configure as configure
from dnn.configuration.presets import PRESETS as PRESETS
from dnn.configuration.presets import Preset as Preset
from dnn.configuration.sections import FIELDS as FIELDS
from dnn.configuration.sections import NetworkConfig as NetworkConfig
