from ivector.features.extractors import MFCC as MFCC
from ivector.features.extractors import TORCHAUDIO_OFFSET as TORCHAUDIO_OFFSET
from ivector.features.extractors import LogMel as LogMel
