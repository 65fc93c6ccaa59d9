from fusion.plots.det import det_band as det_band
from fusion.plots.det import plot_det as plot_det
from fusion.plots.det import plot_roc as plot_roc
from fusion.plots.drawing import COLOURS as COLOURS
from fusion.plots.drawing import MARKERS as MARKERS
from fusion.plots.drawing import STYLES as STYLES
