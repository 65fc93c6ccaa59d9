"""Llr in a domain that they were not calibrated in: how far they can be trusted, without labels.

s  scores of the new trials; d, those of development's nontargets; ε, the doubt

Calibration holds where it was learnt. Elsewhere the scores move, widen and change their shape, and
nobody knows how, without labels or more. What can be seen is how far the bulk of them has moved
from where nontargets were: with medians m and deviations σ (of the median of absolute deviations)
of scores that no bound has flattened,

    δ² = ½ ((m_s − m_d) / σ_d)² + 2 ln² (σ_s / σ_d),        ε = max(ε₀, ½ (1 − exp(−δ²/2)))    (1)

The doubt ε is the share of trials whose scores are taken to say the opposite of what they would
say at home: p'(s | target) = (1 − ε) p(s | target) + ε p(s | nontarget), and likewise the other way
about, so that

    LR' = ((1 − ε) LR + ε) / ((1 − ε) + ε LR)                                                    (2)

No llr is farther from 0 than ln((1 − ε) / ε), 2.9 with ε₀; at ε = ½ all are 0. So that trials near
that bound keep their order in a computer's numbers, a thousandth of arsinh(llr) is added. Equation
(1) is a rule of thumb, not a theorem: its weights are such that on 19 pairs of domains
(docs/domains.md) no system's Cllr rose above 1, nor its cost at P_target 0.01 above that of
rejecting everything.

A list with many targets has its bulk elsewhere, too: it is doubted more than it need be. So doubt
is for trials that are known to be of another domain (`ivector.base.domain`), not for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion.metrics.arrays import checked
from ivector.base.errors import DataError, UsageError

LEAST_DOUBT = 0.05  # ε₀
_MOST_DOUBT = 0.5
_FAR = 1e6  # deviations, or times as wide: as far as is told
_SLOPE = 1e-3  # of arsinh(llr)
_MAD = 1.4826  # deviation of a Gaussian, in medians of absolute deviations


@dataclass(frozen=True)
class Caution:
    """How much llr of another domain are doubted, and why.

    Parameters
    ----------
    doubt : float
        ε, from 0 to ½.
    shift : float
        Of the scores' bulk from development's nontargets, in deviations of those.
    scale : float
        Their deviation over that of development's nontargets.
    """

    doubt: float
    shift: float
    scale: float

    @property
    def most(self) -> float:
        """The largest llr that is left, about."""
        return float(np.log1p(-self.doubt) - np.log(self.doubt)) if self.doubt else np.inf

    def transform(self, llr: Any) -> np.ndarray:
        """Llr (n,) drawn towards 0: equation (2) of the module."""
        llr = np.asarray(llr, dtype=np.float64)
        if not self.doubt:
            return llr
        sure, doubt = np.log1p(-self.doubt), np.log(self.doubt)
        drawn = np.logaddexp(llr + sure, doubt) - np.logaddexp(llr + doubt, sure)
        return drawn + _SLOPE * np.arcsinh(llr)


def caution(scores: Any, nontargets: Any, least: float = LEAST_DOUBT) -> Caution:
    """How much to doubt llr of another domain, from how the bulk of their scores has moved.

    Parameters
    ----------
    scores : array_like (n_trials,)
        Of the new domain, mostly of nontargets: before calibration, or after one without bounds.
    nontargets : array_like (n,)
        Scores of development's nontargets.
    least : float
        Doubt where nothing has moved.

    Raises
    ------
    DataError
        NaN, no scores, or mostly infinite ones.
    UsageError
        `least` is no share up to a half.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion.calibration.caution import caution
    >>> rng = np.random.default_rng(0)
    >>> development, new = rng.normal(-6, 2, 1000), rng.normal(-2, 4, 1000)
    >>> found = caution(new, development)
    >>> round(found.shift, 1), round(found.scale, 1), round(found.doubt, 2), round(found.most, 1)
    (2.2, 2.2, 0.42, 0.3)
    >>> found.transform([-8, 0, 8]).round(1).tolist()
    [-0.3, 0.0, 0.3]
    """
    middle, deviation = _bulk(checked(scores, "new"))
    known, spread = _bulk(checked(nontargets, "development"))
    if not 0 <= least <= _MOST_DOUBT:
        raise UsageError(f"least must be from 0 to {_MOST_DOUBT:g}, got {least!r}")
    if not np.isfinite([middle, known]).all():
        raise DataError("most scores are infinite, so that it is not known how far they have moved")
    shift, scale = (
        float(np.clip(x, -_FAR, _FAR)) for x in ((middle - known) / spread, deviation / spread)
    )
    distance = shift**2 / 2 + 2 * np.log(scale) ** 2
    doubt = float(np.clip(-np.expm1(-distance / 2) / 2, least, _MOST_DOUBT))
    return Caution(doubt, shift, scale)


def _bulk(values: np.ndarray) -> tuple[float, float]:
    """Median, and a deviation that a few scores do not move."""
    middle = float(np.median(values))
    with np.errstate(invalid="ignore"):  # a median that is infinite is refused
        deviation = _MAD * float(np.median(np.abs(values - middle)))
    return middle, max(deviation, 1e-300)
