"""Error rates, detection costs and information of scores, and the one table of all metrics.

points          Operating points, one by one and those of the evaluations, by name.
arrays          Arrays of scores and log-odds as the metrics take them, checked.
curve           The errors of a detector at every threshold, from one sort of its scores.
rates           Error rates, costs and information of arrays of scores, as functions.
kernels         The loops of curve: merging sorted scores, the convex hull, the logarithmic cost.
order           Do target trials score higher: the area under the ROC, and its error.
equalised       Detection costs in which partitions of the trials count alike, as NIST's scorer has.
trial_costs     What each trial costs a metric, to first order: its influence function.
table           The table of metrics: name, words, function, direction, influence; add one here.
verification    Scorers for scikit-learn's model selection, on trials between held-out speakers.
identification  Which of the enrolled speakers a recording is of, if of any; rates of that.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
