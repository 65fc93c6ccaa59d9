"""Error rates, detection costs and information of scores.

rates           Error rates of a detector from the scores of its target and nontarget trials.
arrays          Arrays of scores and log-odds as the metrics take them, checked.
points          Operating points, one by one and those of the evaluations, by name.
kernels         Kernels of the metrics: merging sorted scores, the convex hull, the logarithmic
                cost.
identification  Identification: which of the enrolled speakers a recording is of, if of any.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BayesError": "fusion.metrics.rates",
        "CrossEntropy": "fusion.metrics.rates",
        "DetCurve": "fusion.metrics.rates",
        "OperatingPoints": "fusion.metrics.rates",
        "act_dcf": "fusion.metrics.rates",
        "bayes_error": "fusion.metrics.rates",
        "c_primary": "fusion.metrics.rates",
        "cllr": "fusion.metrics.rates",
        "cost_weights": "fusion.metrics.rates",
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
