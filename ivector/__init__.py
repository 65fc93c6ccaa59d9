"""I-vector front-end: features, GMM-UBM, Baum-Welch statistics, total variability.

Names are imported on first use, so that importing the package (or one of its command-line
modules) loads neither numba nor scikit-learn before they are needed.
"""

from ivector.base.lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "MFCC": "ivector.features",
        "LogMel": "ivector.features",
        "EnergyVAD": "ivector.vad",
        "SlidingCMVN": "ivector.cmvn",
        "GlobalCMVN": "ivector.cmvn",
        "add_deltas": "ivector.deltas",
        "shifted_delta_cepstra": "ivector.deltas",
        "feature_warping": "ivector.warping",
        "rasta": "ivector.warping",
        "FrontEnd": "ivector.pipeline",
        "LogMelStore": "ivector.store",
        "DiagonalGMM": "ivector.gmm",
        "FullGMM": "ivector.full_gmm",
        "GMMVerifier": "ivector.verification",
        "map_adapt": "ivector.map_adaptation",
        "BaumWelchStatistics": "ivector.statistics",
        "TotalVariability": "ivector.total_variability",
        "read_audio": "ivector.audio",
    },
)
