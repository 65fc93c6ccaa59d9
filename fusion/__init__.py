"""Score-level work: score and trial files, error rates, DET and ROC plots."""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "eer": "fusion.metrics",
        "eer_interpolated": "fusion.metrics",
        "min_dcf": "fusion.metrics",
        "det_curve": "fusion.metrics",
        "bootstrap_interval": "fusion.intervals",
        "read_scores": "fusion.formats",
        "read_trials": "fusion.formats",
        "write_scores": "fusion.formats",
    },
)
