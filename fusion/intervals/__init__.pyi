from fusion.intervals.analytic import AnalyticResult as AnalyticResult
from fusion.intervals.analytic import analytic_interval as analytic_interval
from fusion.intervals.bootstrap import BootstrapResult as BootstrapResult
from fusion.intervals.bootstrap import bootstrap_interval as bootstrap_interval
from fusion.intervals.paired import PairedResult as PairedResult
from fusion.intervals.paired import paired_bootstrap as paired_bootstrap
from fusion.intervals.results import Difference as Difference
from fusion.intervals.results import Interval as Interval
