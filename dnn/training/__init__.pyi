from dnn.training.trainer import CURVES as CURVES
from dnn.training.trainer import NETWORK as NETWORK
from dnn.training.trainer import SCALARS as SCALARS
from dnn.training.trainer import STEPS_UNCHECKED as STEPS_UNCHECKED
from dnn.training.trainer import Outcome as Outcome
from dnn.training.trainer import Trainer as Trainer
