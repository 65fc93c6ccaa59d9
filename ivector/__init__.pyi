from ivector.features.audio import read_audio as read_audio
from ivector.features.cmvn import GlobalCMVN as GlobalCMVN
from ivector.features.cmvn import SlidingCMVN as SlidingCMVN
from ivector.features.deltas import add_deltas as add_deltas
from ivector.features.deltas import shifted_delta_cepstra as shifted_delta_cepstra
from ivector.features.extractors import MFCC as MFCC
from ivector.features.extractors import LogMel as LogMel
from ivector.features.store.reader import LogMelStore as LogMelStore
from ivector.features.vad import EnergyVAD as EnergyVAD
from ivector.features.warping import feature_warping as feature_warping
from ivector.features.warping import rasta as rasta
from ivector.gmm.diagonal import DiagonalGMM as DiagonalGMM
from ivector.gmm.full import FullGMM as FullGMM
from ivector.gmm.map_adaptation import map_adapt as map_adapt
from ivector.gmm.verifier import GMMVerifier as GMMVerifier
from ivector.pipeline import FrontEnd as FrontEnd
from ivector.statistics.batch import BaumWelchStatistics as BaumWelchStatistics
from ivector.total_variability.model import TotalVariability as TotalVariability

__version__: str
