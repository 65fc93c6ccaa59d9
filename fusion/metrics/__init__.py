"""Error rates, detection costs and information of scores, and the one table of all metrics.

points          Operating points, one by one and those of the evaluations, by name.
arrays          Arrays of scores and log-odds as the metrics take them, checked.
curve           The errors of a detector at every threshold, from one sort of its scores.
rates           Error rates, costs and information of arrays of scores, as functions.
kernels         The loops of curve: merging sorted scores, the convex hull, the logarithmic cost.
trial_costs     What each trial costs a metric, to first order: its influence function.
table           The table of metrics: name, words, function, direction, influence; add one here.
identification  Which of the enrolled speakers a recording is of, if of any; rates of that.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BayesError": "fusion.metrics.curve",
        "CrossEntropy": "fusion.metrics.curve",
        "DetCurve": "fusion.metrics.curve",
        "METRICS": "fusion.metrics.table",
        "Metric": "fusion.metrics.table",
        "OperatingPoints": "fusion.metrics.curve",
        "act_dcf": "fusion.metrics.rates",
        "bayes_error": "fusion.metrics.rates",
        "c_primary": "fusion.metrics.rates",
        "cllr": "fusion.metrics.rates",
        "cost_weights": "fusion.metrics.points",
        "det_curve": "fusion.metrics.rates",
        "ece": "fusion.metrics.rates",
        "eer": "fusion.metrics.rates",
        "eer_interpolated": "fusion.metrics.rates",
        "min_cllr": "fusion.metrics.rates",
        "min_dcf": "fusion.metrics.rates",
        "pav": "fusion.metrics.rates",
        "rocch": "fusion.metrics.rates",
    },
)
