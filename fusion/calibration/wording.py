"""What log-likelihood ratios say, and how well they are calibrated, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fusion.metrics.table import INFORMATION
from ivector.base.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from fusion.calibration.grades import Grade
    from fusion.metrics.points import OperatingPoint

# What is said of llr of each grade.
_GRADES = {
    "well": "well calibrated: their likelihood ratios can be taken at face value",
    "hinted": "not shown to be off, though more is lost than chance usually loses",
    "blunt": "not shown to be off, but so few errors, or speakers, need not show a shift of their "
    "llr by 1",
    "fairly": "fairly calibrated: their likelihood ratios are somewhat off",
    "poorly": "poorly calibrated: their likelihood ratios should not be used as they are",
    "too few": "not graded: there are too few errors, or speakers, to tell how well their "
    "likelihood ratios are calibrated",
    "nothing": "no better than saying nothing, by their Cllr",
    "misleading": "worse than saying nothing: with a Cllr of more than 1, their likelihood ratios "
    "mislead",
}
# From which power on a good grade is taken at its word, and p-value.
_SHARP, _USUAL = 0.9, 0.1
# Part of a slope, and offset, by which llr on another scale may be off from it, and part of Cllr
# that bounded training leaves where llr far out have made the slope.
_NEAR, _LITTLE, _BETTER = 0.1, 1.0, 0.95
# Grades that a loss at one operating point may decide.
_LOSING = ("fairly", "poorly")
# What decisions at an operating point do, beside the better of accepting all and none, and why.
_COSTS = {
    "unsure": ("are not shown to cost less", ""),
    "unseen": ("are not shown to cost less", ", as there are too few errors to tell"),
    "no less": ("cost no less", ""),
    "more": ("cost more", ""),
}


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
        digits = ".0f" if decimals < 1e15 else ".3g"
        return f"about 10^{decimals:{digits}} times" if math.isfinite(decimals) else "infinitely"
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


def calibration_sentences(
    grades: Mapping[str, Grade], points: Sequence[OperatingPoint] = ()
) -> list[str]:
    """How far the llr of systems can be relied on, by their grades.

    Examples
    --------
    >>> from fusion import grade_calibration
    >>> from fusion.calibration import calibration_sentences
    >>> from fusion.example import simulate
    >>> part = simulate(n_speakers=40)
    >>> found = grade_calibration(part.scores["plda"], part.target, *part.sides)
    >>> print(calibration_sentences({"plda": found})[0])
    plda (Cllr 2.45..., of which 2.12... is lost, and 0.0... would be by chance) is worse than
    saying nothing: ...
    """
    sentences = []
    for word, end in _GRADES.items():
        for where in range(-1, len(points)):
            names = [
                f"{name} ({_loss(grade)})"
                for name, grade in grades.items()
                if _said(grade) == word and where == (grade.where if word in _LOSING else -1)
            ]
            if names:
                said = end.replace("their", "its") if len(names) == 1 else end
                shown = f", as the cost at {points[where].label} shows most" if where >= 0 else ""
                verb = "is" if len(names) == 1 else "are"
                sentences.append(f"{listed(names)} {verb} {said}{shown}.")
    for i, point in enumerate(points):
        for status, (costs, why) in _COSTS.items():
            if names := [name for name, grade in grades.items() if grade.costs[i] == status]:
                sentences.append(
                    f"At {point.label} decisions by the likelihood ratios of {listed(names)} "
                    f"{costs} than {without_scores(point)}{why}."
                )
    return sentences


def _said(grade: Grade) -> str:
    """What is said of a grade: of a good one less, where a bad one could hardly have been had."""
    from fusion.calibration.grades import WELL

    if grade.word != "well":
        return grade.word
    if grade.power < _SHARP:
        return "blunt"
    return "hinted" if grade.p_value <= _USUAL and grade.added > WELL else "well"


def _loss(grade: Grade) -> str:
    """Cllr, and what of it is lost, beside chance where that could lose less."""
    show = INFORMATION.text
    text = f"{INFORMATION.symbol} {show(grade.cllr)}, of which {show(max(grade.loss, 0))} is lost"
    if grade.word == "misleading" and grade.by_chance > 0.99 * grade.loss:
        return text  # one llr for all trials: it loses the same of any of them
    return f"{text}, and {show(grade.by_chance)} would be by chance"


def taken_for_another(llr: np.ndarray, target: np.ndarray) -> str:
    """What to say of llr (N,) that look like decimal logarithms taken for natural ones; else "".

    Their best slope is ln 10 or its inverse and there is next to no offset, and bounded training
    does no better: a few wrong labels or llr far out change the slope as well.
    """
    from fusion.calibration.one_system import Calibration
    from fusion.metrics.rates import cllr

    def bits(fit: Calibration) -> float:
        values = fit.decision_function(llr)
        return cllr(values[target], values[~target])

    fit = Calibration().fit(llr, target)
    slope, unit = float(fit.coef_[0]), math.log(10)
    for factor, given, instead in ((unit, "decimal", "natural"), (1 / unit, "natural", "decimal")):
        if abs(slope / factor - 1) > _NEAR or abs(fit.offset_) > _LITTLE:
            continue
        if bits(Calibration(bounded=True).fit(llr, target)) < _BETTER * bits(fit):
            return ""
        off = f"{max(slope, 1 / slope):.2f} times too {'small' if slope > 1 else 'large'}"
        return (
            f"The llr are {off}, as {given} logarithms taken for {instead} ones would be: "
            "see which they are."
        )
    return ""


def without_scores(point: OperatingPoint) -> str:
    """The decision that costs least at an operating point if nothing is known of a trial."""
    return f"{'accepting' if point.prior > 0.5 else 'rejecting'} every trial"


def listed(names: Sequence[str]) -> str:
    """Names as part of a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
