"""From scores to calibrated log-likelihood ratios, of one system or several.

calibration       Calibration: the scores of one system become natural-log likelihood ratios.
methods           Parts of `fusion.calibration`: input checks, PAV with knots, two Gaussians,
                  thresholds.
logistic          Prior-weighted logistic regression: weights that turn scores into log-likelihood
                  ratios.
bounded           Bounded logistic regression: log-likelihood ratios that a few outliers can
                  neither tilt nor pass.
linear            Linear logistic fusion: the scores of several systems become one log-likelihood
                  ratio.
crossval          Cross-validation of calibrations and fusions over speakers, honest for every
                  trial.
worth             What a fusion and its parts are worth on speakers they have not seen, and the
                  guard over them.
saving            Calibrations and fusions as small JSON files that can be read by eye.
wording           What log-likelihood ratios say, in words.
kernels_logistic  Kernels of the logistic regression: standardising; cost, gradient, Hessian,
                  margins in one pass.
kernels_bounded   Kernel of the bounded logistic regression: cost and gradient in one pass over
                  blocks of trials.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Calibration": "fusion.calibration.calibration",
        "METHODS": "fusion.calibration.calibration",
    },
)
