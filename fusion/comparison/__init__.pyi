from fusion.comparison.parts import Disagreement as Disagreement
from fusion.comparison.parts import Part as Part
from fusion.comparison.parts import Versus as Versus
from fusion.comparison.result import Comparison as Comparison
from fusion.comparison.systems import compare_systems as compare_systems
from fusion.comparison.systems import holm as holm
from fusion.metrics.table import Key as Key
