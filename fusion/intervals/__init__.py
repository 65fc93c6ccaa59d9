"""Sampling error of every metric: bootstrap over speakers, analytic, paired.

results         What intervals and comparisons are returned as.
replicates      Trials checked and sorted, draws of speakers, and statistics under draws.
kernels         The loop of replicates: error rates of trials weighted by draws of speakers.
influence       Influence of every speaker, or pair of speakers, on each metric; its variance.
optimism        How much too good metrics look that choose thresholds, from half the speakers.
ends            Ends of intervals and p-values from estimates, their optimism and their spread.
bootstrap       Intervals of all metrics by a bootstrap that draws speakers, not trials.
analytic        The same without replicates, ten times as fast.
equalised       Intervals of C_primary equalised over partitions of the trials.
paired          Are two systems different? A paired bootstrap over speakers, and McNemar's test.
identification  Intervals of identification rates by a bootstrap that draws speakers.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
