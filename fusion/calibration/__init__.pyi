from fusion.calibration.one_system import METHODS as METHODS
from fusion.calibration.one_system import Calibration as Calibration
from fusion.calibration.wording import calibration_sentences as calibration_sentences
