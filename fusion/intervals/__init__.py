"""Sampling error of every metric: bootstrap over speakers, analytic, paired.

bootstrap       Confidence intervals of error rates by a bootstrap that draws speakers, not trials.
replicates      Replicates of speaker bootstraps: checked and sorted trials, draws of speakers,
                statistics.
ends            Ends of intervals and p-values from estimates, their optimism and their spread.
optimism        How much too good error rates look that are least over thresholds, from half the
                speakers.
influence       Influence of every trial, and of every speaker, on each error rate.
analytic        Fast confidence intervals of error rates, without replicates.
paired          Are two systems different? A paired bootstrap over speakers, and McNemar's test.
identification  Confidence intervals of identification rates by a bootstrap that draws speakers.
kernels         Kernel of the bootstrap: all error rates of trials that are weighted by draws of
                speakers.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AnalyticResult": "fusion.intervals.bootstrap",
        "BootstrapResult": "fusion.intervals.bootstrap",
        "Difference": "fusion.intervals.bootstrap",
        "Interval": "fusion.intervals.bootstrap",
        "PairedResult": "fusion.intervals.bootstrap",
        "analytic_interval": "fusion.intervals.bootstrap",
        "bootstrap_interval": "fusion.intervals.bootstrap",
        "paired_bootstrap": "fusion.intervals.bootstrap",
    },
)
