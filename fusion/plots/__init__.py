"""DET and ROC curves, score distributions, Tippett, reliability and APE plots.

det      DET and ROC curves and score histograms, as PNG or SVG files of the same bytes every time.
llr      Plots of log-likelihood ratios: Tippett, reliability (PAV), normalised Bayes error, and
         ECE.
drawing  What all plots share: colours, the figure and its file, and the thinning of curves.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "COLOURS": "fusion.plots.det",
        "MARKERS": "fusion.plots.det",
        "STYLES": "fusion.plots.det",
        "det_band": "fusion.plots.det",
        "plot_det": "fusion.plots.det",
        "plot_roc": "fusion.plots.det",
    },
)
