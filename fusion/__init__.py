"""Score-level work: how good systems are, what their scores mean, and what they do together.

Score files go through the rooms in this order; each imports only from those above it.

formats      Score files and trial lists of many kinds become arrays; defects are named by line.
metrics      Error rates, costs and information, by one sort of the scores; the table of metrics.
intervals    How sure a metric is, and a difference of two systems: speakers drawn, not trials.
calibration  Scores become log-likelihood ratios, of one system or of several fused; their worth.
comparison   Is one system better than another: all metrics, decisions, parts of the trials.
forensic     What log-likelihood ratios are worth as evidence: validation, bounds, conclusions.
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
validate     Validate llr as forensic evidence: bounds, misleading rates, intervals.

commands     The table of commands.
__main__     ``python -m fusion``: lists the commands, or runs one.
speakers     The former name of `fusion.formats.speakers`, kept for scripts.

Names are imported on first use, so that a command's help loads neither numba nor scikit-learn.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
