"""I-vector front-end: features, GMM-UBM, Baum-Welch statistics, total variability.

Names are imported on first use, so that importing the package (or one of its command-line
modules) loads neither numba nor scikit-learn before they are needed.
"""

from ivector.base.lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "MFCC": "ivector.features.extractors",
        "LogMel": "ivector.features.extractors",
        "EnergyVAD": "ivector.features.vad",
        "SlidingCMVN": "ivector.features.cmvn",
        "GlobalCMVN": "ivector.features.cmvn",
        "add_deltas": "ivector.features.deltas",
        "shifted_delta_cepstra": "ivector.features.deltas",
        "feature_warping": "ivector.features.warping",
        "rasta": "ivector.features.warping",
        "FrontEnd": "ivector.pipeline",
        "LogMelStore": "ivector.features.store",
        "DiagonalGMM": "ivector.gmm.diagonal",
        "FullGMM": "ivector.gmm.full",
        "GMMVerifier": "ivector.gmm.verifier",
        "map_adapt": "ivector.gmm.map_adaptation",
        "BaumWelchStatistics": "ivector.statistics.batch",
        "TotalVariability": "ivector.total_variability.model",
        "read_audio": "ivector.features.audio",
    },
)
