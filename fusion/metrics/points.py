"""Operating points, one by one and those of the evaluations, by name.

`PRESETS` are those of the evaluation plans, for the core condition or that of telephone speech:

========  ============================================  ========================================
sre08     C_miss 10, C_fa 1, P_target 0.01              NIST SRE 2008 plan, performance measure
sre10     1, 1, 0.001                                   SRE 2010 plan, core test
sre12     1, 1, 0.01 and 0.001 (C_primary: their mean)  SRE 2012 plan, primary measure
sre16     1, 1, 0.01 and 0.005                          SRE 2016 plan, primary metric
sre18     1, 1, 0.01 and 0.005                          SRE 2018 plan, CMN2 (VAST: 0.05)
sre19     1, 1, 0.01 and 0.005                          SRE 2019 CTS challenge (multimedia: 0.05)
sre21     1, 1, 0.01 and 0.05                           SRE 2021 plan, all tracks
voxsrc    1, 1, 0.05                                    VoxCeleb Speaker Recognition Challenges
voxceleb  1, 1, 0.01 and 0.001                          Kaldi's recipe, many papers; no evaluation
========  ============================================  ========================================

Costs are normalised by that of the better decision without scores. C_primary of SRE 2016 and later
is equalised over partitions of the trials (`fusion.metrics.equalised`), those of `PARTITIONS` if
the key has their columns. That of SRE 2016 and 2018 was checked against the code of NIST's scorer;
what could not be is told by `UNCHECKED`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ivector.base.errors import UsageError

_EXTREME = 1e100


@dataclass(frozen=True)
class OperatingPoint:
    """Prior of a target trial and the costs of the two errors.

    Parameters
    ----------
    p_target : float
        Between 0 and 1.
    c_miss, c_fa : float
        Costs of a miss and of a false alarm.

    Raises
    ------
    UsageError
        The prior is not strictly between 0 and 1, a cost is not positive and finite, or they are
        so extreme that the cost has no float64.

    Examples
    --------
    >>> from fusion import OperatingPoint
    >>> point = OperatingPoint(0.01, c_miss=10)
    >>> round(point.threshold, 2), round(point.prior, 3), point.label
    (2.29, 0.092, 'P_tar 0.01, C_miss 10, C_fa 1')
    """

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.p_target < 1:
            raise UsageError(f"priors are between 0 and 1, got {self.p_target:g}")
        if not (0 < self.c_miss < math.inf and 0 < self.c_fa < math.inf):
            raise UsageError(
                f"costs are positive, got c_miss {self.c_miss:g} and c_fa {self.c_fa:g}"
            )
        miss, accept = self.c_miss * self.p_target, self.c_fa * (1 - self.p_target)
        if not (miss < _EXTREME * accept < math.inf and accept < _EXTREME * miss < math.inf):
            raise UsageError(
                f"one error costs next to nothing beside the other at prior {self.p_target:g}, "
                f"c_miss {self.c_miss:g}, c_fa {self.c_fa:g}; take numbers less extreme"
            )

    @property
    def threshold(self) -> float:
        """Log-likelihood ratio (natural) from which accepting costs less than rejecting."""
        miss, accept = self.c_miss * self.p_target, self.c_fa * (1 - self.p_target)
        return math.log(accept) - math.log(miss)

    @property
    def prior(self) -> float:
        """Effective prior: the one that decides alike when both costs are 1."""
        miss, accept = self.c_miss * self.p_target, self.c_fa * (1 - self.p_target)
        return miss / (miss + accept)

    @property
    def label(self) -> str:
        """``P_tar 0.01``, with the costs where they are not 1."""
        text = f"P_tar {self.p_target:g}"
        if (self.c_miss, self.c_fa) != (1, 1):
            text += f", C_miss {self.c_miss:g}, C_fa {self.c_fa:g}"
        return text

    @property
    def statement(self) -> str:
        """What to do with a log-likelihood ratio, in words."""
        return f"{self.label}: accept from llr {self.threshold:.3f} on"


def cost_weights(
    p_target: float, c_miss: float = 1.0, c_fa: float = 1.0, normalised: bool = True
) -> tuple[float, float]:
    """Factors of P_miss and P_fa in the detection cost.

    Normalised costs are divided by that of the better of accepting and rejecting everything
    (NIST SRE 2008 evaluation plan, section 2).

    Raises
    ------
    UsageError
        What `OperatingPoint` raises.

    Examples
    --------
    >>> from fusion.metrics import cost_weights
    >>> [round(weight, 6) for weight in cost_weights(0.01)]
    [1.0, 99.0]
    >>> [round(weight, 6) for weight in cost_weights(0.01, normalised=False)]
    [0.01, 0.99]
    """
    OperatingPoint(p_target, c_miss, c_fa)  # refuses the impossible
    miss, accept = c_miss * p_target, c_fa * (1 - p_target)
    scale = min(miss, accept) if normalised else 1.0
    return miss / scale, accept / scale


PRESETS: dict[str, tuple[OperatingPoint, ...]] = {
    "sre08": (OperatingPoint(0.01, 10, 1),),
    "sre10": (OperatingPoint(0.001),),
    "sre12": (OperatingPoint(0.01), OperatingPoint(0.001)),
    "sre16": (OperatingPoint(0.01), OperatingPoint(0.005)),
    "sre18": (OperatingPoint(0.01), OperatingPoint(0.005)),
    "sre19": (OperatingPoint(0.01), OperatingPoint(0.005)),
    "sre21": (OperatingPoint(0.01), OperatingPoint(0.05)),
    "voxsrc": (OperatingPoint(0.05),),
    "voxceleb": (OperatingPoint(0.01), OperatingPoint(0.001)),
}

# Columns of the keys by which C_primary is equalised.
PARTITIONS: dict[str, tuple[str, ...]] = {
    "sre16": ("gender", "language", "num_enroll_segs", "phone_num_match"),
    "sre18": ("gender", "num_enroll_segs", "phone_num_match", "source_type"),
    "sre19": ("gender", "num_enroll_segs", "phone_num_match", "source_type"),
}
# What of an evaluation's C_primary was not checked against a scorer's code, in words.
UNCHECKED: dict[str, str] = {
    "sre12": "not checked against a scorer's code; the plan weights nontarget trials of known and "
    "unknown speakers alike, here all count alike unless partitions tell them apart",
    "sre19": "its partitions were not checked against a scorer's code",
    "sre21": "its partitions were not checked against a scorer's code; name them",
}


def parse_points(words: Sequence[str]) -> list[OperatingPoint]:
    """Operating points from words, in order; one that several words name is there once.

    Parameters
    ----------
    words : sequence of str
        A prior (``0.01``), a prior and costs (``0.01:10:1``, p:c_miss:c_fa), or the name of one
        of `PRESETS`.

    Raises
    ------
    UsageError
        A word is none of these, impossible, or given twice.

    Examples
    --------
    >>> from fusion import parse_points
    >>> [point.label for point in parse_points(["0.05", "0.01:10:1"])]
    ['P_tar 0.05', 'P_tar 0.01, C_miss 10, C_fa 1']
    >>> len(parse_points(["sre16"]))
    2
    """
    found: dict[OperatingPoint, None] = {}
    for number, word in enumerate(words):
        if word in words[:number]:
            raise UsageError(f"the operating point {word} is given twice")
        found |= dict.fromkeys(PRESETS.get(word.lower()) or [_parse(word)])
    return list(found)


def named_points(points: str | Sequence[OperatingPoint]) -> Sequence[OperatingPoint]:
    """Operating points of a preset, or the ones given.

    Raises
    ------
    UsageError
        No such preset, or no points.
    """
    if not isinstance(points, str):
        if not points:
            raise UsageError("give at least one operating point")
        return points
    if points.lower() not in PRESETS:
        raise UsageError(f"no preset {points!r}; there are {', '.join(PRESETS)}")
    return PRESETS[points.lower()]


def _parse(word: str) -> OperatingPoint:
    try:
        numbers = [float(text) for text in word.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise UsageError(
            f"{word!r} is no operating point; give a prior such as 0.01, a prior and costs such as "
            f"0.01:10:1, or one of {', '.join(PRESETS)}"
        )
    return OperatingPoint(*numbers)
