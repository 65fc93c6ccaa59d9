"""Verbal scales of likelihood ratios, and a conclusion in words that never goes without numbers.

Words are for the reader's ease, the number is the result: scales differ, and so does what readers
take the same words for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ivector.base.errors import DataError, UsageError

_LN10 = math.log(10)
_NEITHER = "no support for either"
ONE, TWO = "one person spoke both", "two people spoke them"


class VerbalScale(NamedTuple):
    """Words for likelihood ratios.

    Parameters
    ----------
    source : str
        Whose scale it is.
    steps : tuple of (float, str)
        Ratio from which on each word goes, ascending from 1.
    """

    source: str
    steps: tuple[tuple[float, str], ...]

    def word(self, llr: float) -> str:
        """Word for an llr, without its direction."""
        # A ratio just below a step by rounding is at it.
        ratio = abs(llr) + 1e-12
        return [text for least, text in self.steps if ratio >= math.log(least)][-1]


SCALES = {
    "enfsi": VerbalScale(
        "ENFSI guideline for evaluative reporting in forensic science, 2015",
        (
            (1, _NEITHER),
            (2, "weak support"),
            (10, "moderate support"),
            (100, "moderately strong support"),
            (1_000, "strong support"),
            (10_000, "very strong support"),
            (1_000_000, "extremely strong support"),
        ),
    ),
    "afsp": VerbalScale(
        "Association of Forensic Science Providers, Science & Justice 49, 2009",
        (
            (1, "weak support"),
            (10, "moderate support"),
            (100, "moderately strong support"),
            (1_000, "strong support"),
            (10_000, "very strong support"),
            (1_000_000, "extremely strong support"),
        ),
    ),
    "nfc": VerbalScale(
        "Swedish National Forensic Centre: A. Nordgaard et al., Law, Probability and Risk 11, 2012",
        (
            (1, f"{_NEITHER} (level 0)"),
            (6, "support to some extent (level 1)"),
            (100, "support (level 2)"),
            (6_000, "strong support (level 3)"),
            (1_000_000, "extremely strong support (level 4)"),
        ),
    ),
}


def scale_of(name: str) -> VerbalScale:
    """A verbal scale by its name.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if name not in SCALES:
        raise UsageError(f"there is no verbal scale {name!r}; there are {', '.join(SCALES)}")
    return SCALES[name]


def ratio_text(llr: float, words: VerbalScale | None = None) -> str:
    """The likelihood ratio of an llr in two digits: 350, 1/350, 10^7.2.

    Beside a word of a scale in as many more as keep it from reading like the next word: 99.7.
    """
    decimals = abs(llr) / _LN10
    if decimals >= 6:
        return f"10^{math.copysign(decimals, llr):.1f}"
    for digits in range(2, 8):
        ratio = float(f"{math.exp(abs(llr)):.{digits}g}")
        if words is None or words.word(math.log(ratio)) == words.word(llr):
            break
    text = f"{ratio:,.0f}" if ratio >= 10 and ratio == round(ratio) else f"{ratio:.{digits}g}"
    return text if llr >= 0 or ratio == 1 else f"1/{text}"


def conclude(
    llr: float,
    *,
    interval: Sequence[float] | None = None,
    bounds: Sequence[float] | None = None,
    scale: str = "enfsi",
) -> str:
    """A conclusion from an llr: its numbers, and the word of a verbal scale.

    Parameters
    ----------
    llr : float
        Natural logarithm.
    interval : (float, float), optional
        Ends of its 95 % interval.
    bounds : (float, float), optional
        Llr that the validation supports (`elub`); one beyond is taken for the nearer bound.
    scale : str
        Name of one of `SCALES`.

    Raises
    ------
    DataError
        A number is not finite.
    UsageError
        There is no such scale, or the ends of the interval or the bounds are the wrong way round.

    Examples
    --------
    >>> from fusion.forensic import conclude
    >>> print(conclude(4.9, interval=(3.8, 6.0)))
    LR 130 (log10 2.13), 95 % interval 45 to 400: moderately strong support (moderate to moderately
    strong support over the interval) that one person spoke both rather than that two people spoke
    them.
    >>> print(conclude(-9.0, bounds=(-5.2, 5.9), scale="nfc"))
    LR 1/8,100 (log10 -3.91), of which the validation supports 1/180 (log10 -2.26): support (level
    2) that two people spoke them rather than that one person spoke both.
    """
    words = scale_of(scale)
    _check(llr, interval, bounds)
    text, taken = f"LR {ratio_text(llr, words)} (log10 {_decimals(llr)})", llr
    if interval is not None:
        low, high = (ratio_text(end, words) for end in interval)
        text += f", 95 % interval {low} to {high}"
    if bounds is not None:
        taken = min(max(llr, bounds[0]), bounds[1])
        if taken != llr:
            text += (
                f", of which the validation supports {ratio_text(taken, words)} "
                f"(log10 {_decimals(taken)})"
            )
    over = "" if interval is None else _over(words, interval, bounds)
    if words.word(taken).startswith(_NEITHER):
        return f"{text}: {words.word(taken)}{over}."
    one, two = (ONE, TWO) if taken >= 0 else (TWO, ONE)
    return f"{text}: {words.word(taken)}{over} that {one} rather than that {two}."


def _decimals(llr: float) -> str:
    return f"{round(llr / _LN10, 2) + 0.0:.2f}"  # never -0.00


def _over(words: VerbalScale, interval: Sequence[float], bounds: Sequence[float] | None) -> str:
    """The words over an interval, if they differ."""
    low, high = interval
    if bounds is not None:
        low, high = (min(max(end, bounds[0]), bounds[1]) for end in interval)
    if low < 0 < high:
        return " (the interval holds 1, so that it may speak for the other side)"
    ends = sorted((low, high), key=abs)
    one, two = (words.word(end) for end in ends)
    if one == two:
        return ""
    if one.endswith(" support") and two.endswith(" support"):
        one = one.removesuffix(" support")
    return f" ({one} to {two} over the interval)"


def _check(llr: float, interval: Sequence[float] | None, bounds: Sequence[float] | None) -> None:
    if not math.isfinite(llr):
        raise DataError(f"a llr of {llr:g} is no conclusion; mend the calibration")
    for what, ends in (("interval", interval), ("bounds", bounds)):
        if ends is None:
            continue
        if not all(map(math.isfinite, ends)):
            raise DataError(f"the {what} of a llr, {ends[0]:g} to {ends[1]:g}, must be finite")
        if ends[0] > ends[1]:
            raise UsageError(f"the {what} must ascend, got {ends[0]:g} to {ends[1]:g}")
