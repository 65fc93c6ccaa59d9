from ivector.gmm.diagonal import DiagonalGMM as DiagonalGMM
from ivector.gmm.diagonal import global_variances as global_variances
from ivector.gmm.statistics import CONSTANT as CONSTANT
