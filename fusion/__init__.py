"""Score-level work: how good systems are, what their scores mean, and what they do together.

Score files go through the rooms in this order; each imports only from those above it.

formats      Score files and trial lists of many kinds become arrays; defects are named by line.
metrics      Error rates, costs and information, by one sort of the scores; the table of metrics.
intervals    How sure a metric is, and a difference of two systems: speakers drawn, not trials.
calibration  Scores become log-likelihood ratios, of one system or of several fused; their worth.
comparison   Is one system better than another: all metrics, decisions, parts of the trials.
plots        DET, ROC, histograms, Tippett, reliability, Bayes error and entropy as files.
terminal     What the commands read from the command line and print.
report       One page, its Markdown and its JSON about systems; ``python -m fusion.report``.

The other commands, each ``python -m fusion.NAME --help``:

example      Write simulated scores of three systems, to try the commands on.
lint         Check score files and trial lists, and say all that is wrong with them.
evaluate     Error rates of score files: EER, minDCF, intervals, DET and ROC plots.
calibrate    Turn the scores of a system into log-likelihood ratios.
fuse         Linear logistic fusion of systems to log-likelihood ratios.
compare      Is one system better than another: differences, intervals, p-values.

commands     The table of commands.
__main__     ``python -m fusion``: lists the commands, or runs one.
speakers     The former name of `fusion.formats.speakers`, kept for scripts.

Names are imported on first use, so that a command's help loads neither numba nor scikit-learn.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "OperatingPoints": "fusion.metrics.curve",
        "eer": "fusion.metrics.rates",
        "eer_interpolated": "fusion.metrics.rates",
        "min_dcf": "fusion.metrics.rates",
        "act_dcf": "fusion.metrics.rates",
        "c_primary": "fusion.metrics.rates",
        "det_curve": "fusion.metrics.rates",
        "rocch": "fusion.metrics.rates",
        "pav": "fusion.metrics.rates",
        "cllr": "fusion.metrics.rates",
        "min_cllr": "fusion.metrics.rates",
        "ece": "fusion.metrics.rates",
        "bayes_error": "fusion.metrics.rates",
        "OperatingPoint": "fusion.metrics.points",
        "PRESETS": "fusion.metrics.points",
        "parse_points": "fusion.metrics.points",
        "top_k_accuracy": "fusion.metrics.identification",
        "confusion": "fusion.metrics.identification",
        "fnir_at_fpir": "fusion.metrics.identification",
        "identification_curve": "fusion.metrics.identification",
        "top_k_interval": "fusion.intervals.identification",
        "fnir_interval": "fusion.intervals.identification",
        "bootstrap_interval": "fusion.intervals.bootstrap",
        "analytic_interval": "fusion.intervals.analytic",
        "compare_systems": "fusion.comparison.systems",
        "paired_bootstrap": "fusion.intervals.paired",
        "linked_speakers": "fusion.formats.speakers",
        "mapped_speakers": "fusion.formats.speakers",
        "Calibration": "fusion.calibration.one_system",
        "LinearFusion": "fusion.calibration.linear",
        "cross_validate": "fusion.calibration.crossval",
        "fit_logistic": "fusion.calibration.logistic",
        "describe_llr": "fusion.calibration.wording",
        "save_model": "fusion.calibration.saving",
        "load_model": "fusion.calibration.saving",
        "plot_det": "fusion.plots.det",
        "plot_roc": "fusion.plots.det",
        "plot_score_histogram": "fusion.plots.det",
        "plot_tippett": "fusion.plots.llr",
        "plot_reliability": "fusion.plots.llr",
        "plot_ape": "fusion.plots.llr",
        "Report": "fusion.report.make",
        "make_report": "fusion.report.make",
        "align": "fusion.formats.files",
        "read_scores": "fusion.formats.files",
        "read_trials": "fusion.formats.files",
        "write_scores": "fusion.formats.files",
        "read_columns": "fusion.formats.measures",
        "trial_columns": "fusion.formats.measures",
    },
)
