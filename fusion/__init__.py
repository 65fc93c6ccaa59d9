"""Score-level work: score and trial files, error rates, DET and ROC plots."""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "LinearFusion": "fusion.linear",
        "OperatingPoints": "fusion.metrics",
        "eer": "fusion.metrics",
        "eer_interpolated": "fusion.metrics",
        "min_dcf": "fusion.metrics",
        "act_dcf": "fusion.metrics",
        "det_curve": "fusion.metrics",
        "rocch": "fusion.metrics",
        "pav": "fusion.metrics",
        "cllr": "fusion.metrics",
        "min_cllr": "fusion.metrics",
        "bootstrap_interval": "fusion.intervals",
        "linked_speakers": "fusion.speakers",
        "mapped_speakers": "fusion.speakers",
        "plot_det": "fusion.plots",
        "plot_roc": "fusion.plots",
        "plot_score_histogram": "fusion.plots",
        "align": "fusion.formats",
        "read_scores": "fusion.formats",
        "read_trials": "fusion.formats",
        "write_scores": "fusion.formats",
    },
)
