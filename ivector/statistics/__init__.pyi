from ivector.statistics.accumulation import accumulate as accumulate
from ivector.statistics.accumulation import accumulate_second as accumulate_second
from ivector.statistics.batch import BaumWelchStatistics as BaumWelchStatistics
from ivector.statistics.extraction import baum_welch as baum_welch
