"""What log-likelihood ratios say, in words."""

from __future__ import annotations

import math

from ivector.base.errors import DataError, UsageError


def describe_llr(llr: float, prior: float | None = None) -> str:
    """What a log-likelihood ratio says, in words that do not take it for a posterior.

    The ratio is of the probabilities of the recordings given who spoke them. How probable it is
    that one person spoke both depends on a prior, which the recordings do not hold: with one, the
    posterior is told as well.

    Raises
    ------
    DataError
        The llr is not a number.
    UsageError
        The prior is not between 0 and 1.

    Examples
    --------
    >>> from fusion import describe_llr
    >>> print(describe_llr(2.3))
    llr 2.3: these recordings are ten times more probable if one person spoke both than if two did.
    """
    if math.isnan(llr):
        raise DataError("a llr that is not a number says nothing; mend the scoring")
    if prior is not None and not 0 < prior < 1:
        raise UsageError(f"the prior of a target must be between 0 and 1, got {prior}")
    one, two = "one person spoke both", "two did"
    if llr < 0:
        one, two = "two people spoke them", "one person spoke both"
    if abs(llr) < 0.05:
        text = "these recordings are as probable if one person spoke both as if two did"
    else:
        text = f"these recordings are {_times(abs(llr))} more probable if {one} than if {two}"
    text = f"llr {llr:.4g}: {text}."
    if prior is None:
        return text
    odds = llr + math.log(prior) - math.log1p(-prior)
    posterior = 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
    return (
        f"{text} If one person speaking both had a probability of {prior:g} before, it has "
        f"{_probability(posterior, odds)} now."
    )


def _times(logarithm: float) -> str:
    """e to a power as a factor in words, to two digits."""
    decimals = logarithm / math.log(10)
    if decimals > 6:
        return f"about 10^{decimals:.0f} times" if math.isfinite(decimals) else "infinitely"
    ratio = float(f"{math.exp(logarithm):.2g}")
    return f"{_numeral(ratio)} times"


def _numeral(ratio: float) -> str:
    return "ten" if ratio == 10 else f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:g}"


def _probability(value: float, odds: float) -> str:
    """A probability with two digits of it, or of what it lacks to 1."""
    if value <= 0.5:
        return f"{value:.2g}" if odds > -700 else "next to none"
    rest = 1 / (1 + math.exp(odds)) if odds < 700 else 0.0
    digits = max(2, 1 - math.floor(math.log10(rest))) if rest > 1e-12 else 12
    return f"{value:.{digits}f}" if rest > 1e-12 else "nearly 1"
